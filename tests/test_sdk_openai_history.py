"""What the official `openai` sends back of an answer is that answer: thinking, searches, compactions.

Behind the gateway stand models that refuse thinking which does not fit all that stands before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests import material, oracle
from tests.harness import UPSTREAM_KEY, World
from tests.material import CLOCK, WEATHER, last

BOUND = ["claude-opus-5-5", "claude-sonnet-5-5"]
"""Models that think always, or unless they are told not to, bound to their prefix."""
BINDING = {"anthropic-beta": "thinking-binding-controls-2026-08-01"}

SENT: list[oracle.Line] = []
"""What all tests of this file made the gateway send, but for betas, which those types do not hold."""


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture(scope="module")
def forgetful() -> Iterator[World]:
    """A gateway that remembers nothing: what it knows of earlier turns the client has told it."""
    world = World(vault={"enabled": False})
    yield world
    world.close()


@pytest.fixture
def world(forgetful: World) -> World:
    forgetful.simulator.reset()
    return forgetful


@pytest.fixture(autouse=True)
def gathered(world: World) -> Iterator[None]:
    yield
    lines = oracle.translated(world)
    SENT.extend(line for line in lines if "context_management" not in line["body"])


@pytest.fixture(scope="module")
def client(forgetful: World) -> Iterator[OpenAI]:
    base = f"{forgetful.url}/v1"
    with OpenAI(base_url=base, api_key="placeholder", max_retries=0) as client:
        yield client


def function(name: str, parameters: Any) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [function("get_weather", WEATHER), function("get_time", CLOCK)]


def whole(client: OpenAI, **fields: Any) -> Any:
    """The assistant's message as an application keeps it that asked for no stream."""
    return client.chat.completions.create(**fields).choices[0].message


def helped(client: OpenAI, **fields: Any) -> Any:
    """The message that the SDK's stream helper puts together."""
    with client.chat.completions.stream(**fields) as stream:
        return stream.get_final_completion().choices[0].message


Ask = Callable[..., Any]
BOTH_WAYS = pytest.mark.parametrize("ask", [whole, helped])


def judged(world: World) -> list[Any]:
    """What the provider says that it dropped of the request that it received last."""
    headers = {"x-api-key": UPSTREAM_KEY, "anthropic-version": "2023-06-01", **BINDING}
    url = f"{world.simulator.url}/v1/messages"
    answer = httpx2.post(url, json=last(world), headers=headers)
    assert answer.status_code == 200, answer.text
    start = json.loads(answer.text.split("data: ", 1)[1].split("\n")[0])
    return start["message"]["input_transformations"]


def kinds(turn: Any) -> list[str]:
    return [block["type"] for block in turn["content"]]


def thinks(text: str = "Hm.") -> Any:
    return {"type": "thinking", "thinking": text}


def calls(name: str, **value: Any) -> Any:
    return {"type": "tool_use", "name": name, "input": value}


def answers(message: Any) -> list[Any]:
    """A result for each call of a message."""
    return [
        {"role": "tool", "tool_call_id": call.id, "content": "18 C"}
        for call in message.tool_calls or []
    ]


ROUNDS: list[list[Any]] = [
    [thinks(), {"type": "text", "text": "I look 😀. "}, calls("get_weather", location="Zürich")],
    [
        *(thinks(""), {"type": "redacted_thinking", "data": ""}, calls("get_time", zone="CET")),
        calls("get_weather", location="Bern"),
    ],
    [
        {"type": "text", "text": "One. "},
        {"type": "text", "text": "Two."},
        thinks(),
        calls("get_time"),
    ],
    [thinks(), {"type": "text", "text": "Done."}],
]
"""What the model says in the turns of one loop."""


@BOTH_WAYS
@pytest.mark.parametrize("model", BOUND)
def test_a_tool_loop_keeps_its_thinking(client: OpenAI, world: World, model: str, ask: Ask) -> None:
    turns: list[Any] = [{"role": "user", "content": "What is the weather?"}]
    for blocks in ROUNDS:
        world.script(blocks=blocks, delta_chars=3)
        message = ask(client, model=model, messages=turns, tools=TOOLS, reasoning_effort="low")
        turns.append(message)
        turns += answers(message)
    turns.append({"role": "user", "content": "And tomorrow?"})
    ask(client, model=model, messages=turns, tools=TOOLS, reasoning_effort="low")
    sent = [turn for turn in last(world)["messages"] if turn["role"] == "assistant"]
    assert [kinds(turn) for turn in sent] == [[block["type"] for block in one] for one in ROUNDS]
    assert judged(world) == []


@BOTH_WAYS
@pytest.mark.parametrize("model", [*BOUND, "claude-sonnet-4-5"])
def test_a_model_left_to_itself_gets_its_thinking_back(
    client: OpenAI, world: World, model: str, ask: Ask
) -> None:
    """Nothing is scripted; the older model refuses a tool loop whose thinking is lost."""
    turns: list[Any] = [{"role": "user", "content": "Use get_weather and get_time."}]
    for _ in range(2):
        message = ask(client, model=model, messages=turns, tools=TOOLS, reasoning_effort="medium")
        turns.append(message)
        turns += answers(message)
    assert [turn["role"] for turn in last(world)["messages"]] == ["user", "assistant", "user"]
    assert kinds(last(world)["messages"][1]) == ["thinking", "tool_use", "tool_use"]
    assert last(world)["thinking"]["type"] in ("adaptive", "enabled")
    assert judged(world) == []


def test_nothing_is_said_of_what_came_back(client: OpenAI, world: World) -> None:
    """No note: the readable text of the reasoning came with its signature."""
    turns: list[Any] = [{"role": "user", "content": "Hello"}]
    fields: Any = {"model": BOUND[0], "reasoning_effort": "low"}
    message = whole(client, messages=turns, **fields)
    assert message.reasoning_content
    turns += [message, {"role": "user", "content": "And?"}]
    raw = client.chat.completions.with_raw_response.create(messages=turns, **fields)
    assert "x-isthmus-notes" not in raw.headers
    assert judged(world) == []


def test_reasoning_details_have_openrouters_form(client: OpenAI) -> None:
    message = whole(
        client,
        model=BOUND[0],
        messages=[{"role": "user", "content": "Hello"}],
        reasoning_effort="low",
    )
    (entry,) = message.reasoning_details
    assert entry["type"] == "reasoning.text"
    assert entry["text"] == message.reasoning_content
    assert entry["format"] == "anthropic-claude-v1"
    assert (entry["index"], entry["after"]) == (0, 0)
    assert json.dumps(message.model_dump())


SEARCHED = ["server_tool_use", "web_search_tool_result", "text"]


@BOTH_WAYS
@pytest.mark.parametrize("model", BOUND)
def test_a_search_comes_back_as_it_was(client: OpenAI, world: World, model: str, ask: Ask) -> None:
    """The client sees text and annotations, and no call; the provider sees its own blocks again."""
    fields: Any = {"model": model, "tools": [function("web_search", WEATHER)]}
    fields["web_search_options"] = {"search_context_size": "medium"}
    turns: list[Any] = [{"role": "user", "content": "What is the latest?"}]
    message = ask(client, messages=turns, **fields)
    assert not message.tool_calls
    (annotation,) = message.annotations
    place = annotation.url_citation
    assert place.url == "https://example.com/simulated"
    said = message.content[place.start_index : place.end_index]
    assert said.startswith("A simulated sentence")
    turns += [message, {"role": "user", "content": "And in Bern?"}]
    world.script(blocks=[thinks(), calls(last(world)["tools"][0]["name"], location="Bern")])
    message = ask(client, messages=turns, **fields)
    (call,) = message.tool_calls
    assert call.function.name == "web_search"
    before = last(world)["messages"][1]
    assert kinds(before)[-3:] == SEARCHED
    assert before["content"][-1]["citations"][0]["encrypted_index"]
    turns += [message, *answers(message)]
    ask(client, messages=turns, **fields)
    assert judged(world) == []


@BOTH_WAYS
def test_a_search_that_fails_is_no_failure(client: OpenAI, world: World, ask: Ask) -> None:
    failed = {"type": "web_search_tool_result_error", "error_code": "too_many_requests"}
    search = {"type": "server_tool_use", "name": "web_search", "input": {"query": "x"}}
    blocks = [
        {**search, "id": "srvtoolu_1"},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": failed},
        {"type": "text", "text": "I could not search."},
    ]
    world.script(blocks=blocks)
    fields: Any = {"model": BOUND[1], "web_search_options": {}}
    turns: list[Any] = [{"role": "user", "content": "Search."}]
    message = ask(client, messages=turns, **fields)
    assert (message.content, message.tool_calls) == ("I could not search.", None)
    turns += [message, {"role": "user", "content": "Never mind."}]
    assert ask(client, messages=turns, **fields).content
    assert last(world)["messages"][1]["content"] == blocks


def test_a_history_of_calls_needs_no_tools(client: OpenAI, world: World) -> None:
    """What was called is declared, so that the provider takes the history, and is not called again."""
    model = "claude-sonnet-4-5"
    turns: list[Any] = [{"role": "user", "content": "Use get_weather and get_time."}]
    message = whole(client, model=model, messages=turns, tools=TOOLS)
    turns += [message, *answers(message)]
    raw = client.chat.completions.with_raw_response.create(model=model, messages=turns)
    assert "18 C" in (raw.parse().choices[0].message.content or "")
    assert "tools changed" in raw.headers["x-isthmus-notes"]
    assert [tool["name"] for tool in last(world)["tools"]] == ["get_weather", "get_time"]
    assert last(world)["tool_choice"] == {"type": "none"}


@BOTH_WAYS
def test_a_compaction_comes_back(client: OpenAI, world: World, ask: Ask) -> None:
    """Anthropic's own context management, whose summary of the turns before it Chat cannot show."""
    compaction = {"type": "compaction", "content": "We spoke of Bern."}
    usage = [
        {"type": "compaction", "input_tokens": 1000, "output_tokens": 20},
        {"type": "message", "input_tokens": 10, "output_tokens": 2},
    ]
    world.script(blocks=[compaction], stop_reason="compaction", usage={"iterations": usage})
    fields: Any = {
        "model": BOUND[0],
        "extra_headers": {"anthropic-beta": "compact-2026-01-12,context-management-2025-06-27"},
        "extra_body": {"context_management": {"edits": [{"type": "compact_20260112"}]}},
    }
    turns: list[Any] = [{"role": "user", "content": "Hello"}]
    message = ask(client, messages=turns, **fields)
    assert not message.content
    turns += [message, {"role": "user", "content": "And?"}]
    assert ask(client, messages=turns, **fields).content
    assert last(world)["context_management"] == fields["extra_body"]["context_management"]
    (block,) = last(world)["messages"][1]["content"]
    assert {k: v for k, v in block.items() if v is not None} == compaction


def test_every_body_fits_anthropics_own_types() -> None:
    """The last test of this file: what the others sent, judged by the SDK of that API version."""
    oracle.assert_legal(SENT)
