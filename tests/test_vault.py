"""Clients that cannot carry thinking keep it all the same, as an unbroken run or not at all."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIError, OpenAI

from isthmus.steps.vault import LOST
from tests import material
from tests.harness import World

BOUND = "claude-opus-5-5"
FREE = "claude-opus-4-8"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
SYSTEM = {"role": "system", "content": "You are terse."}
ASKED = {"role": "user", "content": "What is the weather in Oslo? Use get_weather."}


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


class Talk:
    """A program that returns of each answer the text and the calls alone, as stock clients do."""

    def __init__(self, world: World, model: str = BOUND, key: str = "placeholder") -> None:
        self.world = world
        self.client = OpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0)
        self.model = model
        self.messages: list[dict[str, Any]] = [SYSTEM]
        self.notes = ""

    def say(self, message: dict[str, Any], stream: bool = False, **fields: Any) -> dict[str, Any]:
        """Send one more message; what the assistant says is kept as the program would keep it."""
        self.messages.append(message)
        asked = {
            "model": self.model,
            "messages": self.messages,
            "tools": [WEATHER],
            "reasoning_effort": "high",
            **fields,
        }
        said = self._streamed(asked) if stream else self._whole(asked)
        self.messages.append(said)
        return said

    def _whole(self, asked: dict[str, Any]) -> dict[str, Any]:
        raw = self.client.chat.completions.with_raw_response.create(**asked)
        self.notes = raw.headers.get("x-isthmus-notes", "")
        message = raw.parse().choices[0].message
        said: dict[str, Any] = {"role": "assistant", "content": message.content}
        if message.tool_calls:
            said["tool_calls"] = [
                {"id": c.id, "type": "function", "function": _function(c.function)}
                for c in message.tool_calls
            ]
        return said

    def _streamed(self, asked: dict[str, Any]) -> dict[str, Any]:
        text, calls = "", dict[int, dict[str, Any]]()
        for chunk in self.client.chat.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for part in choice.delta.tool_calls or ():
                    call = calls.setdefault(
                        part.index, {"id": part.id, "name": "", "arguments": ""}
                    )
                    call["name"] += part.function.name or ""
                    call["arguments"] += part.function.arguments or ""
        said: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            said["tool_calls"] = [
                {
                    "id": c["id"],
                    "type": "function",
                    "function": {"name": c["name"], "arguments": _respaced(c["arguments"])},
                }
                for c in calls.values()
            ]
        return said

    def answer_calls(self, **fields: Any) -> dict[str, Any]:
        """Give a result for each call of the last message, the last one with its request."""
        calls = self.messages[-1]["tool_calls"]
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": "7 degrees"} for call in calls
        ]
        self.messages += results[:-1]
        return self.say(results[-1], **fields)

    def sent(self) -> Any:
        """The last request that reached the provider."""
        return json.loads(self.world.received()[-1].body)


def _function(function: Any) -> dict[str, str]:
    return {"name": function.name, "arguments": _respaced(function.arguments)}


def _respaced(arguments: str) -> str:
    """Many programs parse the arguments and write them again in their own way."""
    return json.dumps(json.loads(arguments), indent=2, sort_keys=True)


def thoughts(body: Any) -> list[list[str]]:
    """The signatures in each of the assistant's turns."""
    return [
        [b["signature"] for b in turn["content"] if b["type"] == "thinking"]
        for turn in body["messages"]
        if turn["role"] == "assistant"
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", [BOUND, "claude-sonnet-5-5", "claude-haiku-5-5"])
def test_a_stock_client_keeps_reasoning_over_a_tool_loop(
    world: World, model: str, stream: bool
) -> None:
    talk = Talk(world, model)
    for turn in range(4):
        said = talk.say({**ASKED, "content": f"{ASKED['content']} Round {turn}."}, stream)
        assert said["tool_calls"], said
        said = talk.answer_calls(stream=stream)
        assert "7 degrees" in said["content"]
        body = talk.sent()
        # Every turn of the assistant thinks again what it thought: nothing was rejected or dropped.
        assert [len(row) for row in thoughts(body)] == [1] * (2 * turn + 1)
    sent = [json.loads(r.body) for r in world.received()]
    for before, after in itertools.pairwise(sent):
        assert after["messages"][: len(before["messages"])] == before["messages"]
    assert not talk.notes


def test_turns_without_tools_are_kept_too(world: World) -> None:
    talk = Talk(world)
    talk.say({"role": "user", "content": "Hello"})
    talk.say({"role": "user", "content": "And again"})
    assert [len(row) for row in thoughts(talk.sent())] == [1]


def test_what_is_put_back_is_the_providers_turn_as_it_was(world: World) -> None:
    talk = Talk(world)
    thinking = {"type": "thinking", "thinking": ""}
    world.script(
        blocks=[
            thinking,
            {"type": "text", "text": "  First, \n"},
            {"type": "redacted_thinking"},
            {"type": "text", "text": "then."},
            {"type": "tool_use", "name": "get_weather", "input": {"city": "Oslo", "b": [1.0, 1e9]}},
            {"type": "tool_use", "name": "get_weather", "input": {}},
        ]
    )
    first = talk.say(ASKED)
    assert first["content"] == "  First, \nthen."
    talk.answer_calls()
    turn = talk.sent()["messages"][1]["content"]
    assert [block["type"] for block in turn] == [
        *("thinking", "text", "redacted_thinking", "text", "tool_use", "tool_use")
    ]
    assert turn[1]["text"] == "  First, \n"
    assert turn[4]["input"] == {"city": "Oslo", "b": [1.0, 1e9]}


def carried(world: World, items: list[Any], thought: str, words: str | None) -> list[Any]:
    """The output of a response that thinks so and says so, for a client that carries its reasoning."""
    said = [] if words is None else [{"type": "text", "text": words}]
    world.script(blocks=[{"type": "thinking", "thinking": thought}, *said])
    fields = {"include": ["reasoning.encrypted_content"], "store": False}
    reply = world.post("/v1/responses", {"model": BOUND, "input": items, **fields})
    assert reply.status == 200, reply.body
    return reply.json()["output"]


def test_what_a_client_brings_itself_is_its_own(world: World) -> None:
    """Two conversations of one wording, each with its own thinking: neither gets the other's."""
    asked = [{"role": "user", "content": "Hello"}]
    outputs = [carried(world, asked, thought, "Hi.") for thought in ("one", "two")]
    for thought, output in zip(("one", "two"), outputs, strict=True):
        carried(world, [*asked, *output, asked[0]], "more", "Bye.")
        turn = world_sent(world)["messages"][1]["content"]
        assert turn[0]["thinking"] == thought


def test_a_turn_of_thinking_alone_breaks_no_run(world: World) -> None:
    """A Gemini client brings it back, so those before it are still put back as they were."""
    call = {"type": "tool_use", "name": "get_weather", "input": {"b": 1}, "caller": CALLER}
    result = {"functionResponse": {"name": "get_weather", "response": {"output": "7 degrees"}}}
    contents: list[Any] = []
    tools = [{"functionDeclarations": [{"name": "get_weather"}]}]
    answers: list[list[Any]] = [[call], [], [{"type": "text", "text": "Ho."}], []]
    for said, heard in zip(answers, ({"text": "Go."}, result, *[{"text": "Go."}] * 2), strict=True):
        world.script(blocks=[{"type": "thinking", "thinking": "Hm."}, *said])
        contents.append({"role": "user", "parts": [heard]})
        path = f"/v1beta/models/{BOUND}:generateContent"
        reply = world.post(path, {"contents": contents, "tools": tools})
        assert reply.status == 200, reply.body
        contents.append(reply.json()["candidates"][0]["content"])
    sent = [json.loads(request.body)["messages"] for request in world.received()]
    for before, after in itertools.pairwise(sent):
        assert after[: len(before)] == before
    assert sent[-1][1]["content"][1]["caller"] == CALLER
    assert [len(row) for row in thoughts({"messages": sent[-1]})] == [1] * 3


CALLER = {"type": "direct"}


def test_a_forced_tool_in_mid_loop_on_a_model_with_manual_thinking(world: World) -> None:
    """Forced tools exclude thinking there, and thinking cannot be switched off inside a loop."""
    talk = Talk(world, "claude-opus-4-5")
    talk.say(ASKED)
    talk.answer_calls()
    assert [len(row) for row in thoughts(talk.sent())] == [1]
    del talk.messages[-2:]
    talk.answer_calls(tool_choice="required")
    assert thoughts(talk.sent()) == [[]]
    assert "thinking is off: that of the call being answered was left out" in talk.notes
    talk.answer_calls(tool_choice="none")
    assert [len(row) for row in thoughts(talk.sent())] == [1, 0]


def world_sent(world: World) -> Any:
    return json.loads(world.received()[-1].body)


def test_text_that_the_provider_would_refuse_stays_out(world: World) -> None:
    """The model may write white space alone; no request may hold it."""
    talk = Talk(world)
    words = ["a", "\n\n", "b ", " "]
    blocks = [{"type": "text", "text": word} for word in words]
    world.script(blocks=[{"type": "thinking", "thinking": ""}, *blocks])
    talk.say({"role": "user", "content": "Hello"})
    talk.say({"role": "user", "content": "And again"})
    turn = talk.sent()["messages"][1]["content"]
    assert [block.get("text") for block in turn] == [None, "a", "b "]
    assert turn[0]["signature"]


def test_an_edited_history_goes_stripped_with_a_note(world: World) -> None:
    talk = Talk(world)
    talk.say(ASKED)
    talk.answer_calls()
    talk.messages[1] = {"role": "user", "content": "Something else. Use get_weather."}
    talk.say({"role": "user", "content": "Go on"})
    assert LOST in talk.notes
    assert thoughts(talk.sent()) == [[], []]
    # The run begins again with the next answer, and what is older stays out.
    talk.say({"role": "user", "content": "Go on again"})
    assert not talk.notes
    assert [len(row) for row in thoughts(talk.sent())] == [0, 0, 1]


def test_what_comes_after_an_edited_turn_goes_stripped(world: World) -> None:
    talk = Talk(world)
    for number in range(3):
        talk.say({"role": "user", "content": f"Question {number}"})
    assert [len(row) for row in thoughts(talk.sent())] == [1, 1]
    talk.messages[4] = {"role": "assistant", "content": "I never said that."}
    talk.say({"role": "user", "content": "Go on"})
    assert [len(row) for row in thoughts(talk.sent())] == [1, 0, 0]
    assert LOST in talk.notes
    talk.say({"role": "user", "content": "Go on again"})
    assert [len(row) for row in thoughts(talk.sent())] == [1, 0, 0, 1]
    assert not talk.notes


@pytest.mark.parametrize(("model", "kept"), [(BOUND, 0), (FREE, 1)])
def test_other_tools_spoil_bound_reasoning_only(world: World, model: str, kept: int) -> None:
    talk = Talk(world, model)
    talk.say(ASKED)
    other = {"type": "function", "function": {"name": "other", "parameters": {}}}
    talk.answer_calls(tools=[WEATHER, other])
    assert [len(row) for row in thoughts(talk.sent())] == [kept]
    assert (LOST in talk.notes) == (not kept)


def test_one_caller_is_never_given_what_was_kept_for_another() -> None:
    world = World(auth={"keys": ["client-key-one", "client-key-two"]})
    try:
        first, second = Talk(world, key="client-key-one"), Talk(world, key="client-key-two")
        first.say(ASKED)
        second.messages = list(first.messages)
        second.answer_calls()
        assert thoughts(second.sent()) == [[]]
        assert LOST in second.notes
        first.answer_calls()
        assert [len(row) for row in thoughts(first.sent())] == [1]
    finally:
        world.close()


def test_the_vault_is_off_by_one_key() -> None:
    world = World(vault={"enabled": False})
    try:
        talk = Talk(world)
        talk.say(ASKED)
        talk.answer_calls()
        assert thoughts(talk.sent()) == [[]]
    finally:
        world.close()


def test_what_does_not_fit_is_gone_and_the_conversation_goes_on() -> None:
    world = World(vault={"max_bytes": 1})
    try:
        talk = Talk(world)
        talk.say(ASKED)
        talk.answer_calls()
        assert thoughts(talk.sent()) == [[]]
        assert LOST in talk.notes
    finally:
        world.close()


@pytest.mark.parametrize(
    "script",
    [
        {"blocks": [{"type": "text", "text": "No"}], "stop_reason": "refusal"},
        {"fault": {"kind": "truncate", "after": 4}},
    ],
    ids=["refusal", "truncated"],
)
def test_what_is_no_turn_is_not_kept(world: World, script: dict[str, Any]) -> None:
    talk = Talk(world)
    talk.say({"role": "user", "content": "Hello"})
    world.script(**script)
    with contextlib.suppress(APIError):
        talk.say({"role": "user", "content": "Again"}, stream=True)
    if talk.messages[-1]["role"] == "user":
        talk.messages.append({"role": "assistant", "content": "No"})
    for kept in ([1, 0], [1, 0, 1], [1, 0, 1, 1]):
        talk.say({"role": "user", "content": "Go on"})
        assert [len(row) for row in thoughts(talk.sent())] == kept, "what was kept before stays"


CUT: dict[str, dict[str, Any]] = {
    "in its thinking": {"blocks": [{"type": "thinking", "thinking": "Hm.", "signature": ""}]},
    "in its text": {"blocks": [{"type": "text", "text": "An unfinished"}]},
}


@pytest.mark.parametrize("script", CUT.values(), ids=CUT)
def test_an_answer_that_a_limit_cut_off_takes_nothing_with_it(
    world: World, script: dict[str, Any]
) -> None:
    talk = Talk(world)
    talk.say({"role": "user", "content": "Hello"})
    before = talk.sent()["messages"]
    world.script(**script, stop_reason="max_tokens")
    talk.say({"role": "user", "content": "Again"})
    for _ in range(3):
        talk.say({"role": "user", "content": "Go on"})
        sent = talk.sent()["messages"]
        assert sent[: len(before)] == before
        assert len(thoughts(talk.sent())[0]) == 1
        before = sent


def test_the_same_words_of_another_conversation_take_nothing(world: World) -> None:
    """Of two conversations in the same words each goes on with what was sent for it before."""
    items = [{"role": "user", "content": "Hello"}]
    body = {
        "model": BOUND,
        "input": items,
        "reasoning": {"effort": "high"},
        "include": ["reasoning.encrypted_content"],
    }
    script = {"delta_chars": 9}
    other = [*items]
    for mine, text in ((items, "Mine."), (other, "Its own.")):
        for said in ("Hi.", "Yes.", "Well."):
            blocks = [{"type": "thinking", "thinking": text}, {"type": "text", "text": said}]
            world.script(blocks=blocks, **script)
            reply = world.post("/v1/responses", {**body, "input": mine})
            assert reply.status == 200, reply.body
            mine += [*reply.json()["output"], {"role": "user", "content": "Go on"}]
    assert all(request_is_accepted(world, {**body, "input": said}) for said in (items, other))
    told = {row for request in world.received()[-2:] for row in told_thoughts(request)}
    assert told == {"Mine.", "Its own."}


def request_is_accepted(world: World, body: dict[str, Any]) -> bool:
    """Whether the provider takes the request at once, and is not asked again with less."""
    before = len(world.received())
    reply = world.post("/v1/responses", body)
    return reply.status == 200 and len(world.received()) == before + 1


def told_thoughts(request: Any) -> list[str]:
    turns = json.loads(request.body)["messages"]
    blocks = [b for turn in turns if turn["role"] == "assistant" for b in turn["content"]]
    return [block["thinking"] for block in blocks if block["type"] == "thinking"]


def test_two_answers_to_one_request_do_not_mix(world: World) -> None:
    """Who asks twice gets two answers; either can be continued."""
    one, two = Talk(world), Talk(world)
    one.say(ASKED)
    two.say(ASKED)
    one.answer_calls()
    two.answer_calls()
    first, second = (json.loads(r.body) for r in world.received()[-2:])
    assert [len(row) for row in thoughts(first)] == [1]
    assert first["messages"] == second["messages"]


def test_calls_without_ids_are_answered_by_the_ids_that_they_had(world: World) -> None:
    """The older ``functions`` have none."""
    talk = Talk(world)
    fields: dict[str, Any] = {
        "model": BOUND,
        "functions": [WEATHER["function"]],
        "reasoning_effort": "high",
        "messages": [ASKED],
    }
    message = talk.client.chat.completions.create(**fields).choices[0].message
    call = message.function_call
    assert call is not None
    said = {
        "role": "assistant",
        "content": message.content,
        "function_call": {"name": call.name, "arguments": call.arguments},
    }
    result = {"role": "function", "name": call.name, "content": "7 degrees"}
    fields["messages"] = [ASKED, said, result]
    talk.client.chat.completions.create(**fields)
    turn = talk.sent()["messages"]
    assert [len(row) for row in thoughts(talk.sent())] == [1]
    assert turn[1]["content"][-1]["id"] == turn[2]["content"][0]["tool_use_id"]
    assert turn[1]["content"][-1]["id"].startswith("toolu_")


def test_explain_shows_what_would_be_put_back(world: World) -> None:
    talk = Talk(world)
    talk.say(ASKED)
    calls = talk.messages[-1]["tool_calls"]
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": "7 degrees"}
    body = {
        "model": BOUND,
        "messages": [*talk.messages, result],
        "tools": [WEATHER],
        "reasoning_effort": "high",
    }
    answer = world.post("/explain", body, x_isthmus_dialect="openai-chat")
    assert answer.status == 200, answer.body
    shown = json.dumps(answer.json())
    assert '"signature"' in shown
