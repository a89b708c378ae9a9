"""A turn that the provider pauses reaches clients of other dialects as one answer."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from isthmus.dialects import FRONTENDS
from isthmus.event import Event
from isthmus.messages import Input, collect
from isthmus.pipeline import Answer, Call, compose
from isthmus.request import Body, Request, Target
from isthmus.simulator import Options
from isthmus.steps.pause import ROUNDS, continue_pauses, summed

from . import legality
from .harness import VERSION, World, error_message, failed_stream, whole_stream

Value = dict[str, Any]
DIALECTS = ("openai-chat", "openai-responses", "gemini")
EACH_DIALECT = pytest.mark.parametrize("dialect", DIALECTS)
EACH_WAY = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
MODEL = "claude-opus-5-5"
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


@pytest.fixture(autouse=True)
def searching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request of another dialect offers web search, whether its dialect has a word for it or not."""
    for dialect in DIALECTS:
        decode = FRONTENDS[dialect].decode

        def with_search(http: Any, *others: Any, decode: Any = decode) -> Request:
            request = decode(http, *others)
            if b"no search" not in http.body:
                request.body.edit("tools", [*(request.body.peek("tools") or []), SEARCH])
            return request

        monkeypatch.setattr(FRONTENDS[dialect], "decode", with_search)


def asked(dialect: str, stream: bool, text: str = "What is new?") -> tuple[str, Value]:
    if dialect == "openai-chat":
        said = [{"role": "user", "content": text}]
        body: Value = {"model": MODEL, "messages": said, "stream": stream}
        usage = {"stream_options": {"include_usage": True}} if stream else {}
        return "/v1/chat/completions", {**body, **usage}
    if dialect == "openai-responses":
        return "/v1/responses", {"model": MODEL, "input": text, "stream": stream}
    how = "streamGenerateContent?alt=sse" if stream else "generateContent"
    said = [{"role": "user", "parts": [{"text": text}]}]
    return f"/v1beta/models/{MODEL}:{how}", {"contents": said}


READS: dict[str, Callable[[bytes], Value]] = {
    "openai-chat": legality.chat_completion,
    "openai-responses": legality.whole_response,
    "gemini": legality.gemini_response,
}


def answered(world: World, dialect: str, stream: bool, text: str = "What is new?") -> Value:
    """A legal answer, joined if it was streamed."""
    path, body = asked(dialect, stream, text)
    reply = world.post(path, body)
    assert reply.status == 200, reply.body
    return whole_stream(dialect, reply).message if stream else READS[dialect](reply.body)


def text_of(dialect: str, answer: Value) -> str:
    if dialect == "openai-chat":
        return answer["choices"][0]["message"]["content"]
    if dialect == "openai-responses":
        parts = [part for item in answer["output"] for part in item.get("content") or ()]
    else:
        parts = answer["candidates"][0]["content"]["parts"]
    return "".join(part["text"] for part in parts if not part.get("thought"))


def tokens(dialect: str, answer: Value) -> tuple[int, int, int]:
    """Tokens of the prompt, those of them from the cache, and those of the answer."""
    if dialect == "openai-chat":
        usage = answer["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        return usage["prompt_tokens"], cached, usage["completion_tokens"]
    if dialect == "openai-responses":
        usage = answer["usage"]
        cached = usage["input_tokens_details"]["cached_tokens"]
        return usage["input_tokens"], cached, usage["output_tokens"]
    usage = answer["usageMetadata"]
    spent = usage["candidatesTokenCount"] + usage.get("thoughtsTokenCount", 0)
    return usage["promptTokenCount"], usage["cachedContentTokenCount"], spent


def finish(dialect: str, answer: Value) -> str:
    if dialect == "openai-chat":
        return answer["choices"][0]["finish_reason"]
    if dialect == "openai-responses":
        return answer["status"]
    return answer["candidates"][0]["finishReason"]


def call(n: int) -> Value:
    return {
        "type": "server_tool_use",
        "id": f"srvtoolu_{n}",
        "name": "web_search",
        "input": {"query": f"news {n}"},
    }


def found(n: int) -> Value:
    row = {
        "type": "web_search_result",
        "url": f"https://example.com/{n}",
        "title": f"News {n}",
        "encrypted_content": f"secret{n}",
        "page_age": None,
    }
    return {"type": "web_search_tool_result", "tool_use_id": f"srvtoolu_{n}", "content": [row]}


def text(words: str) -> Value:
    return {"type": "text", "text": words}


THOUGHT = {"type": "thinking", "thinking": "hm"}
SCRIPTS: list[Value] = [
    {"blocks": [THOUGHT, text("One."), call(1)], "stop_reason": "pause_turn"},
    {"blocks": [found(1), text("Two."), call(2)], "stop_reason": "pause_turn", "ping_every": 1},
    {"blocks": [found(2), THOUGHT, text("Three.")]},
]


def run(world: World, scripts: list[Value]) -> None:
    for script in scripts:
        world.script(usage={"input_tokens": 7, "cache_read_input_tokens": 5}, **script)


def bodies(world: World) -> list[Value]:
    return [json.loads(request.body) for request in world.received()]


# --- one answer ---------------------------------------------------------------------------------


@EACH_WAY
@EACH_DIALECT
def test_rounds_become_one_answer(world: World, dialect: str, stream: bool) -> None:
    run(world, SCRIPTS)
    answer = answered(world, dialect, stream)
    assert text_of(dialect, answer) == "One.Two.Three."
    assert finish(dialect, answer) in ("stop", "completed", "STOP")
    assert len(world.received()) == 3


@EACH_WAY
@EACH_DIALECT
def test_each_round_is_sent_what_was_said_before(world: World, dialect: str, stream: bool) -> None:
    """The model binds its thinking to what stands before it: the simulator would refuse a change."""
    run(world, SCRIPTS)
    answered(world, dialect, stream)
    first, second, third = bodies(world)
    one, two = second["messages"][-1], third["messages"][-1]
    assert second == {**first, "messages": [*first["messages"], one]}
    assert third == {**first, "messages": [*first["messages"], two]}
    assert one["role"] == two["role"] == "assistant"
    thought, *rest = one["content"]
    assert rest == [text("One."), call(1)]
    assert (thought["type"], bool(thought["signature"])) == ("thinking", True)
    assert two["content"] == [*one["content"], found(1), text("Two."), call(2)]


@EACH_WAY
@EACH_DIALECT
def test_what_all_rounds_used_is_told(world: World, dialect: str, stream: bool) -> None:
    for script, spent in zip(SCRIPTS, (10, 20, 30), strict=True):
        usage = {
            "input_tokens": 100 + spent,
            "cache_read_input_tokens": spent,
            "cache_creation_input_tokens": 1,
            "output_tokens": spent * 2,
        }
        world.script(**script, usage={**usage, "output_tokens_details": {"thinking_tokens": 3}})
    answer = answered(world, dialect, stream)
    assert tokens(dialect, answer) == (300 + 60 + 60 + 3, 60, 120)


@EACH_WAY
@EACH_DIALECT
def test_a_turn_that_only_ever_pauses_ends_with_a_pause(
    world: World, dialect: str, stream: bool
) -> None:
    for n in range(ROUNDS + 2):
        blocks = [*([found(n - 1)] if n else []), text(f"{n};"), call(n)]
        world.script(blocks=blocks, stop_reason="pause_turn", usage={"output_tokens": 1})
    answer = answered(world, dialect, stream)
    assert text_of(dialect, answer) == "".join(f"{n};" for n in range(ROUNDS))
    assert len(world.received()) == ROUNDS
    assert tokens(dialect, answer)[2] == ROUNDS
    world.simulator.reset()


@EACH_WAY
@EACH_DIALECT
def test_pauses_that_are_the_clients_own(world: World, dialect: str, stream: bool) -> None:
    """Without a tool of the provider's, and with a call that the client has to answer."""
    pause = {"stop_reason": "pause_turn"}
    world.script(blocks=[text("One.")], **pause)
    assert text_of(dialect, answered(world, dialect, stream, "no search")) == "One."
    world.script(blocks=[text("One."), {"type": "tool_use", "name": "f", "input": {}}], **pause)
    answered(world, dialect, stream)
    world.script(blocks=[], **pause)
    answered(world, dialect, stream)
    assert len(world.received()) == 3


@EACH_WAY
def test_a_claude_client_goes_on_by_itself(world: World, stream: bool) -> None:
    run(world, SCRIPTS[:1])
    said = [{"role": "user", "content": "What is new?"}]
    body = {"model": MODEL, "max_tokens": 200, "messages": said, "tools": [SEARCH]}
    reply = world.post("/v1/messages", {**body, "stream": stream}, **VERSION)
    assert b'"pause_turn"' in reply.body
    assert len(world.received()) == 1


@EACH_DIALECT
def test_white_space_that_cannot_be_sent_back(world: World, dialect: str) -> None:
    """Neither a text of nothing else nor the end of the last text; the client gets all of it."""
    world.script(blocks=[call(1), found(1), text("\n"), text("a \n")], stop_reason="pause_turn")
    world.script(blocks=[text("b "), call(2)], stop_reason="pause_turn")
    world.script(blocks=[found(2), text("c")])
    assert text_of(dialect, answered(world, dialect, stream=True)) == "\na \nb c"
    _, second, third = (body["messages"][-1]["content"] for body in bodies(world))
    assert second == [call(1), found(1), text("a")]
    assert third == [call(1), found(1), text("a \n"), text("b "), call(2)]


@EACH_DIALECT
def test_code_goes_on_in_its_container(world: World, dialect: str) -> None:
    container = {"id": "container_1", "expires_at": "2026-12-31T23:59:59Z"}
    world.script(**SCRIPTS[0], extra={"container": container})
    run(world, SCRIPTS[1:])
    answered(world, dialect, stream=True)
    first, second, third = bodies(world)
    assert "container" not in first
    assert second["container"] == third["container"] == "container_1"


def test_one_key_for_all_rounds() -> None:
    keys = ("sk-first", "sk-second", "sk-third")
    world = World(Options(api_keys=keys), backend={"api_key": None, "api_keys": list(keys)})
    try:
        used = set()
        for n in range(8):
            run(world, SCRIPTS)
            answered(world, "gemini", stream=True, text=f"What is new in {n}?")
            rounds = [dict(request.headers)["x-api-key"] for request in world.received()[-3:]]
            assert len(set(rounds)) == 1
            used |= set(rounds)
        assert len(used) > 1
    finally:
        world.close()


# --- failures -----------------------------------------------------------------------------------


@EACH_DIALECT
def test_a_later_round_that_is_refused(world: World, dialect: str) -> None:
    for stream in (True, False):
        world.script(**SCRIPTS[0])
        world.script(error={"status": 529, "message": "Overloaded"})
        reply = world.post(*asked(dialect, stream))
        if stream:
            assert "Overloaded" in json.dumps(failed_stream(dialect, reply).error)
        else:
            assert (reply.status, error_message(dialect, reply)) == (503, "Overloaded")


@EACH_DIALECT
@pytest.mark.parametrize("kind", ["reset", "truncate", "garbage", "error_event", "not_sse", "html"])
def test_a_later_round_that_breaks(world: World, dialect: str, kind: str) -> None:
    # A reset before the first byte is met by a second try, as for any request.
    for after in (1, 4) if kind == "reset" else (0, 4):
        for stream in (True, False):
            world.script(**SCRIPTS[0])
            world.script(**SCRIPTS[1], fault={"kind": kind, "after": after})
            reply = world.post(*asked(dialect, stream))
            if stream:
                outcome = failed_stream(dialect, reply)
                assert "One." in json.dumps(outcome.message)
            else:
                assert reply.status in (502, 503), reply.body
                assert error_message(dialect, reply)


@pytest.fixture(scope="module")
def hasty() -> Iterator[World]:
    world = World(timeouts={"first_event": 0.9, "idle": 0.9, "total": 1.0, "keepalive": 0.1})
    yield world
    world.close()


@EACH_DIALECT
def test_the_rounds_share_their_time(hasty: World, dialect: str) -> None:
    """Each is shorter than every limit; together they are longer than the whole may be."""
    hasty.simulator.reset()
    for n in range(ROUNDS):
        blocks = [*([found(n - 1)] if n else []), text(f"{n};"), call(n)]
        hasty.script(blocks=blocks, stop_reason="pause_turn", delay=0.03)
    reply = hasty.post(*asked(dialect, stream=False))
    assert (reply.status, bool(error_message(dialect, reply))) == (504, True)
    assert 1 < len(hasty.received()) < ROUNDS


ALIVE = {"openai-chat": b": keep-alive", "openai-responses": b": keep-alive", "gemini": b"\n\n\n\n"}


@EACH_DIALECT
def test_the_client_is_kept_awake_between_rounds(hasty: World, dialect: str) -> None:
    hasty.simulator.reset()
    hasty.script(**SCRIPTS[0])
    hasty.script(**SCRIPTS[1], fault={"kind": "stall", "after": 0, "seconds": 0.5})
    hasty.script(**SCRIPTS[2])
    reply = hasty.post(*asked(dialect, stream=True))
    whole_stream(dialect, reply)
    assert reply.body.count(ALIVE[dialect]) >= 2


@EACH_WAY
@pytest.mark.parametrize("after", [0, 3])
def test_who_leaves_ends_the_round_that_is_under_way(
    world: World, after: int, stream: bool
) -> None:
    before = world.simulator.api.counters.aborted_by_client
    world.script(**SCRIPTS[0])
    world.script(**SCRIPTS[1], fault={"kind": "stall", "after": after})
    path, body = asked("openai-chat", stream)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", world.port), 5) as client:
        client.sendall(head.encode() + data)
        until(lambda: len(world.received()) == 2)
        time.sleep(0.1)
    until(lambda: world.simulator.api.counters.aborted_by_client == before + 1)


def until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not fact() and time.monotonic() < end:
        time.sleep(0.01)
    assert fact()


# --- the step by itself -------------------------------------------------------------------------


def stream(reason: str, *blocks: Value, **usage: Any) -> list[Event]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    head |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, **usage}}
    values: list[Value] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(blocks):
        values.append({"type": "content_block_start", "index": index, "content_block": block})
        values.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": reason, "stop_sequence": None}
    values.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 2}})
    return [Event(value=value) for value in [*values, {"type": "message_stop"}]]


class Rounds:
    """A call that answers with one scripted stream after the other, an event in each batch."""

    def __init__(self, *streams: list[Event]) -> None:
        self.streams = list(streams)
        self.asked: list[Request] = []
        self.closed: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: Request) -> Answer:
        number = len(self.asked)
        self.asked.append(request)
        if number:
            await self.gate.wait()
        events = self._batches(self.streams[number])
        close = lambda: self.closed.append(number)  # noqa: E731
        return Answer(200, (), Target("a", "m"), close, events=events)

    async def _batches(self, events: list[Event]) -> AsyncIterator[list[Event]]:
        for event in events:
            yield [event]


def request(**body: Any) -> Request:
    said = {"messages": [{"role": "user", "content": "hi"}], "tools": [SEARCH], **body}
    target = Target("a", "m")
    return Request("openai-chat", Body(said), "m", stream=True, target=target)


def stepped(rounds: Rounds) -> Call:
    return compose([continue_pauses({"a": "anthropic"}, 0.01)], rounds)


async def events_of(answer: Answer) -> list[Event]:
    assert answer.events is not None
    return [event async for batch in answer.events for event in batch]


TOOLS: list[tuple[Value, bool]] = [
    ({}, True),
    ({"tools": []}, False),
    ({"tools": None}, False),
    ({"tools": [{"name": "f", "input_schema": {}}]}, False),
    ({"tools": [{"type": "custom", "name": "f", "input_schema": {}}]}, False),
    ({"tools": [{"name": "f"}, {"type": "code_execution_20260521"}]}, True),
    ({"tools": [{"type": "tool_of_next_year"}]}, True),
    ({"tools": [], "mcp_servers": [{"name": "m"}]}, True),
]


@pytest.mark.parametrize(("body", "steps_in"), TOOLS, ids=range(len(TOOLS)))
def test_requests_without_the_providers_tools_pass(body: Value, steps_in: bool) -> None:
    async def work() -> None:
        rounds = Rounds(stream("pause_turn", call(1)), stream("end_turn", found(1)))
        events = await events_of(await stepped(rounds)(request(**body)))
        assert len(rounds.asked) == 1 + steps_in
        assert len(collect(events)["content"]) == 1 + steps_in

    asyncio.run(work())


def test_an_answer_without_a_pause_is_what_it_was() -> None:
    async def work() -> None:
        events = stream("end_turn", text("a"))
        got = await events_of(await stepped(Rounds(events))(request()))
        assert [event is same for event, same in zip(got, events, strict=True)] == [True] * 5

    asyncio.run(work())


def test_blocks_are_numbered_on_and_the_last_end_counts() -> None:
    async def work() -> None:
        first = stream("pause_turn", text("a"), call(1), cache_read_input_tokens=4)
        noise = Event(value={"type": "content_block_news"})
        last = [*stream("refusal", found(1), text("b"))[:2], noise]
        last += stream("refusal", found(1), text("b"))[2:]
        rounds = Rounds(first, last)
        message = collect(await events_of(await stepped(rounds)(request())))
        assert message["content"] == [text("a"), call(1), found(1), text("b")]
        assert message["stop_reason"] == "refusal"
        assert message["usage"] == {
            "input_tokens": 2,
            "cache_read_input_tokens": 4,
            "output_tokens": 4,
        }

    asyncio.run(work())


def test_closing_ends_whatever_is_under_way() -> None:
    """The first round, the asking for the second, an answer that nobody took yet, the second round."""

    async def work() -> None:
        paused, end = stream("pause_turn", call(1)), stream("end_turn", found(1))
        rounds = Rounds(paused, end)
        answer = await stepped(rounds)(request())
        answer.close()
        assert rounds.closed == [0]

        for opened in (False, True):
            rounds = Rounds(paused, end)
            rounds.gate.clear()
            answer = await stepped(rounds)(request())
            assert answer.events is not None
            async for batch in answer.events:
                if not batch:
                    break
            if opened:
                rounds.gate.set()
                await asyncio.sleep(0.01)
            answer.close()
            await asyncio.sleep(0.01)
            rounds.gate.set()
            await asyncio.sleep(0.01)
            assert set(rounds.closed) == ({0, 1} if opened else {0})

        rounds = Rounds(paused, end)
        answer = await stepped(rounds)(request())
        await events_of(answer)
        answer.close()
        assert set(rounds.closed) == {0, 1}

    asyncio.run(work())


SUMS: list[tuple[list[Value], Value]] = [
    ([{"input_tokens": 1}], {"input_tokens": 1}),
    ([{"input_tokens": 1}, {"input_tokens": 2}, {"input_tokens": 3}], {"input_tokens": 6}),
    (
        [{"input_tokens": 1, "cache_read_input_tokens": None}, {"output_tokens": 2}],
        {"input_tokens": 1, "cache_read_input_tokens": None, "output_tokens": 2},
    ),
    (
        [
            {"server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}},
            {"server_tool_use": {"web_search_requests": 2}, "cache_creation": {"a": 1}},
            {"server_tool_use": None, "cache_creation": {"a": 1, "b": 2}},
        ],
        {
            "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 0},
            "cache_creation": {"a": 2, "b": 2},
        },
    ),
    ([{"service_tier": "priority"}, {"service_tier": "standard"}], {"service_tier": "standard"}),
    (
        [
            {"input_tokens": 1, "output_tokens": 2},
            {"input_tokens": 3, "iterations": [{"type": "compaction", "input_tokens": 9}]},
        ],
        {
            "input_tokens": 4,
            "output_tokens": 2,
            "iterations": [
                {"type": "message", "input_tokens": 1, "output_tokens": 2},
                {"type": "compaction", "input_tokens": 9},
            ],
        },
    ),
]


@pytest.mark.parametrize(("rounds", "total"), SUMS, ids=range(len(SUMS)))
def test_usage_is_added_and_never_made_up(rounds: list[Value], total: Value) -> None:
    assert summed(rounds) == total


def test_arguments_go_back_as_they_were_read() -> None:
    async def work() -> None:
        use = {**call(1), "input": {}}
        events = stream("pause_turn", use)
        delta = {"type": "input_json_delta", "partial_json": '{"query": "é"}'}
        events.insert(2, Event(value={"type": "content_block_delta", "index": 0, "delta": delta}))
        rounds = Rounds(events, stream("end_turn", found(1)))
        await events_of(await stepped(rounds)(request()))
        pause = rounds.asked[1].pause
        assert pause is not None
        assert pause.blocks == ({**use, "input": Input({"query": "é"}, "")},)

    asyncio.run(work())
