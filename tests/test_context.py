"""Prompts that are too long for their target are refused before they are sent."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from isthmus.errors import GatewayError, provider_error
from isthmus.event import Event
from isthmus.frontends import anthropic, gemini, openai_chat, openai_responses
from isthmus.pipeline import Answer, Call
from isthmus.profiles import profile
from isthmus.rates import Ratios
from isthmus.request import Body, Limit, Request, Target
from isthmus.routing.windows import Windows, limit_of
from isthmus.steps import context
from isthmus.steps.context import COUNTED, enforce_context
from isthmus.tokens import estimate

from .harness import World, error_message, message
from .test_server import DIALECTS, HEADERS, asked

Value = dict[str, Any]
MODEL = "claude-sonnet-4-5"
WINDOW = 200_000
WORDS = "a road between two oceans, seen at dawn. "
EACH_DIALECT = pytest.mark.parametrize("dialect", DIALECTS)


def prompt(tokens: int) -> str:
    """Text of about so many tokens."""
    return WORDS * round(tokens / TOKENS_OF_WORDS)


def counted(text: str) -> int:
    body = Body({"messages": [{"role": "user", "content": text}]})
    return estimate(body, MODEL).tokens


TOKENS_OF_WORDS = counted(WORDS * 1000) / 1000


# --- which limit holds --------------------------------------------------------------------------


def target(model: str = MODEL, most: int | None = None, row: str | None = MODEL) -> Target:
    return Target("a", model, profile=profile(row) if row else None, max_context=most)


GIVEN = {MODEL: {"context_window": 150_000, "max_input_tokens": 120_000}}
PROFILED = Limit(WINDOW, "context_window of the profile")


@pytest.mark.parametrize(
    ("found", "windows", "limit"),
    [
        (target(), Windows(), PROFILED),
        (target(row=None), Windows(), PROFILED),
        (target("claude-sonnet-4-5-20250929"), Windows(), PROFILED),
        (target("claude-sonnet-4-5-20990101"), Windows(), PROFILED),
        # a model that nobody knows counts as the newest one in all else
        (target("llama3:8b", row="claude-fable-5-2"), Windows(), None),
        (target("llama3:8b", row=None), Windows(), None),
        (target("llama3:8b", 8000), Windows(), Limit(8000, "max_context of the selector")),
        (target("llama3:8b"), Windows(forced=4000), Limit(4000, "force_context_window")),
        (target(), Windows(forced=900_000), Limit(900_000, "force_context_window")),
        (target(most=50_000), Windows(forced=90_000), Limit(50_000, "max_context of the selector")),
        (target(most=500_000), Windows(), PROFILED),
        (target(), Windows(limits={"other": {"context_window": 5}}), PROFILED),
        (target(), Windows(limits={MODEL: {"context_window": 900_000}}), PROFILED),
        (
            target(most=150_000),
            Windows(forced=900_000, limits=GIVEN),
            Limit(120_000, f"model_defaults.{MODEL}.limits.max_input_tokens"),
        ),
    ],
)
def test_the_smallest_limit_holds(found: Target, windows: Windows, limit: Limit | None) -> None:
    assert limit_of(found, windows) == limit


# --- the step over scripted calls ---------------------------------------------------------------


class Provider:
    """Answers in place of a provider: ``count`` what count_tokens says, ``used`` what an answer does."""

    def __init__(self, count: Any = None, used: int = 10, *, streams: bool = True) -> None:
        self.count = count
        self.used = used
        self.streams = streams
        self.asked: list[Request] = []
        self.closed = 0

    async def call(self, request: Request) -> Answer:
        self.asked.append(request)
        assert request.target is not None
        answer = Answer(200, (), request.target, self._close)
        if request.operation == "count_tokens":
            if isinstance(self.count, Exception):
                raise self.count
            if self.count == "never":
                await asyncio.Event().wait()
            raw = isinstance(self.count, bytes)
            answer.whole = self.count if raw else json.dumps({"input_tokens": self.count}).encode()
        elif self.streams:
            answer.events = self._events()
        else:
            answer.whole = json.dumps({"id": "m", "usage": self._usage()}).encode()
        return answer

    def _close(self) -> None:
        self.closed += 1

    def _usage(self) -> Value:
        return {"input_tokens": 1, "cache_read_input_tokens": self.used - 1}

    async def _events(self) -> AsyncIterator[list[Event]]:
        start = {"type": "message_start", "message": {"usage": self._usage()}}
        yield []
        yield [Event(b": x\n\n"), Event(value=start), Event(b"event: ping\ndata: {broken\n\n")]
        yield [Event(b"event: content_block_delta\ndata: {broken\n\n")]

    @property
    def operations(self) -> list[str]:
        return [request.operation for request in self.asked]


class Untouched(Body):
    """A body of which nobody may decode anything."""

    def peek(self, name: str) -> Any:
        raise AssertionError(name)


def request(text: str, *, kind: Callable[[bytes], Body] = Body, **fields: Any) -> Request:
    body = kind(json.dumps(message(text, **fields)).encode())
    made = Request("anthropic", body, MODEL, stream=True)
    made.target = target()
    return made


def run(
    asks: Request,
    provider: Provider,
    ratios: Ratios | None = None,
    counting: tuple[str, ...] = ("a",),
    windows: Windows | None = None,
) -> list[list[Event]]:
    """The batches that the step gives, all of them read."""
    call: Call = provider.call
    step = enforce_context(ratios or Ratios(), counting)
    assert asks.target is not None
    asks.target = replace(asks.target, window=limit_of(asks.target, windows or Windows()))

    async def read() -> list[list[Event]]:
        answer = await step(asks, call)
        return [batch async for batch in answer.events] if answer.events is not None else []

    return asyncio.run(read())


def refused(asks: Request, provider: Provider, **options: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        run(asks, provider, **options)
    assert "messages" not in provider.operations
    error = caught.value
    assert error.kind == "context_overflow"
    assert error.tokens is not None
    count, maximum = error.tokens
    assert error.message == f"prompt is too long: {count} tokens > {maximum} maximum"
    return error


def test_far_below_the_limit_nothing_is_decoded() -> None:
    provider = Provider()
    run(request("x" * 170_000, kind=Untouched), provider)
    assert provider.operations == ["messages"]


def test_what_fits_by_the_estimate_is_not_counted() -> None:
    provider = Provider()
    batches = run(request(prompt(170_000)), provider)
    assert provider.operations == ["messages"]
    assert [len(batch) for batch in batches] == [0, 3, 1]


def test_what_is_far_too_long_is_refused_without_a_call() -> None:
    provider = Provider(count=5)
    error = refused(request(prompt(230_000)), provider)
    assert error.tokens == (pytest.approx(230_000, rel=0.01), WINDOW)
    assert provider.operations == []


@pytest.mark.parametrize("tokens", [185_000, 215_000])
@pytest.mark.parametrize("count", [199_000, WINDOW, 200_001])
def test_near_the_limit_the_provider_counts(tokens: int, count: int) -> None:
    provider = Provider(count=count)
    if count > WINDOW:
        assert refused(request(prompt(tokens)), provider).tokens == (count, WINDOW)
        assert provider.operations == ["count_tokens"]
    else:
        run(request(prompt(tokens)), provider)
        assert provider.operations == ["count_tokens", "messages"]
    assert provider.closed == 1


FAILURES = [
    GatewayError("rate_limit", "slow down", source="upstream"),
    GatewayError("invalid_request", "no"),
    *(b"", b"<html>", b"[]", b'{"input_tokens":"many"}', b'{"tokens":5}'),
    "never",
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_where_no_count_comes_the_estimate_decides(
    failure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "COUNT_SECONDS", 0.01)
    provider = Provider(count=failure)
    run(request(prompt(195_000)), provider)
    assert provider.operations == ["count_tokens", "messages"]
    refused(request(prompt(205_000)), Provider(count=failure))


def test_a_backend_that_does_not_count_is_not_asked() -> None:
    provider = Provider(count=5)
    run(request(prompt(195_000)), provider, counting=("b",))
    assert provider.operations == ["messages"]
    refused(request(prompt(205_000)), Provider(count=5), counting=())


def test_a_refusal_to_count_may_tell_the_count() -> None:
    told = provider_error(
        {
            "error": {
                "type": "invalid_request_error",
                "message": "prompt is too long: 201234 tokens > 200000 maximum",
            }
        }
    )
    assert refused(request(prompt(195_000)), Provider(count=told)).tokens == (201_234, WINDOW)
    run(request(prompt(215_000)), Provider(count=told), windows=Windows(forced=210_000))


def test_a_count_asks_for_the_very_prompt() -> None:
    given = {"tools": [{"name": "f", "input_schema": {}}], "thinking": {"type": "disabled"}}
    rest = {"metadata": {"user_id": "u"}, "stop_sequences": ["x"], "service_tier": "auto"}
    provider = Provider(count=5)
    asks = request(prompt(195_000), stream=True, temperature=0.5, **given, **rest)
    asks.headers = (("anthropic-beta", "b-2026-01-01"),)
    run(asks, provider)
    sent, attempt = provider.asked
    assert set(sent.body.value()) == {"model", "messages", "tools", "thinking"} <= set(COUNTED)
    whole = asks.body.value()
    assert sent.body.value() == {name: whole[name] for name in sent.body.value()}
    assert (sent.stream, sent.headers, sent.target) == (False, asks.headers, asks.target)
    assert attempt is asks
    assert attempt.body.wire() == asks.body.wire()


@pytest.mark.parametrize("count", [5, WINDOW + 1])
def test_an_estimate_with_unseen_parts_is_counted_before_it_refuses(count: int) -> None:
    far = {"type": "document", "source": {"type": "url", "url": "https://pages.test/a"}}
    asks = request("hi")
    asks.body.edit("messages", [{"role": "user", "content": [far] * 20}])
    provider = Provider(count=count)
    if count > WINDOW:
        refused(asks, provider)
    else:
        run(asks, provider)
    assert provider.operations[0] == "count_tokens"
    refused(asks, Provider(), counting=())


def test_a_prompt_that_the_provider_shortens_itself_is_refused_by_its_count_alone() -> None:
    edits = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    asks = request(prompt(400_000), context_management=edits)
    run(asks, Provider(), counting=())
    run(asks, Provider(count=FAILURES[0]))
    run(asks, Provider(count=150_000))
    refused(asks, Provider(count=WINDOW + 1))


def test_a_request_for_a_count_is_never_refused() -> None:
    asks = request(prompt(500_000))
    asks.operation = "count_tokens"
    provider = Provider(count=500_000)
    run(asks, provider)
    assert provider.operations == ["count_tokens"]


def test_where_no_limit_is_known_nothing_is_enforced() -> None:
    for found in (target("llama3:8b"), None):
        asks = request(prompt(2_000_000), kind=Untouched)
        asks.target = found
        step = enforce_context(Ratios(), ())
        provider = Provider()

        async def call(_: Request, provider: Provider = provider) -> Answer:
            return await provider.call(request(""))

        assert asyncio.run(step(asks, call)).events is not None


def test_a_leaf_of_the_selector_narrows_the_window() -> None:
    asks = request(prompt(2000))
    asks.target = target(most=1000)
    assert refused(asks, Provider()).tokens == (pytest.approx(2000, rel=0.05), 1000)


# --- what answers teach -------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
def test_real_usage_corrects_the_next_estimate(streams: bool) -> None:
    ratios = Ratios()
    for _ in range(12):
        run(request(prompt(160_000)), Provider(used=192_000, streams=streams), ratios, ())
    assert ratios.ratio("a", MODEL) == pytest.approx(1.2, abs=0.02)
    assert ratios.ratio("b", MODEL) == 1
    error = refused(request(prompt(190_000)), Provider(), ratios=ratios)
    assert error.tokens == (pytest.approx(228_000, rel=0.03), WINDOW)
    run(request(prompt(190_000)), Provider(count=190_000), ratios)
    over = request(prompt(230_000))
    lower = Ratios()
    for _ in range(12):
        run(request(prompt(170_000)), Provider(used=119_000, streams=streams), lower)
    run(over, Provider(), lower)


def test_a_count_teaches_too() -> None:
    ratios = Ratios()
    refused(request(prompt(210_000)), Provider(count=230_000), ratios=ratios)
    assert ratios.ratio("a", MODEL) == pytest.approx(1 + 0.3 * (230 / 210 - 1), abs=0.01)


def test_small_requests_teach_nothing_and_cost_nothing() -> None:
    ratios = Ratios()
    run(request("hi"), Provider(used=10**9), ratios)
    assert not ratios.rows


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"mcp_servers": [{"type": "url"}]},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    ],
)
def test_nothing_is_learned_of_what_was_not_seen(fields: Value) -> None:
    ratios = Ratios()
    run(request(prompt(170_000), **fields), Provider(used=170_000), ratios)
    assert not ratios.rows


@pytest.mark.parametrize(
    "whole", [b"", b"<html>", b"[]", b'{"usage":5}', b'{"usage":1,"usage":2}', b'{"usage":{}}']
)
def test_an_answer_without_usage_teaches_nothing(whole: bytes) -> None:
    ratios = Ratios()
    step = enforce_context(ratios, ())
    asks = request(prompt(170_000))

    async def call(_: Request) -> Answer:
        return Answer(200, (), target(), lambda: None, whole=whole)

    assert asyncio.run(step(asks, call)).whole == whole
    assert not ratios.rows


# --- the words ----------------------------------------------------------------------------------

FRONTENDS: Mapping[str, Any] = {
    "anthropic": anthropic,
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "gemini": gemini,
}
WORDS_OF = {
    "anthropic": "prompt is too long: {0} tokens > {1} maximum",
    "openai-chat": "This model's maximum context length is {1} tokens. However, your messages "
    "resulted in {0} tokens. Please reduce the length of the messages.",
    "openai-responses": "Your input exceeds the context window of this model: its maximum context "
    "length is {1} tokens, and your input has {0}. Please adjust your input and try again.",
    "gemini": "The input token count ({0}) exceeds the maximum number of tokens allowed ({1}).",
}
REST = {
    "anthropic": {"type": "invalid_request_error"},
    "openai-chat": {"code": "context_length_exceeded", "param": "messages"},
    "openai-responses": {"code": "context_length_exceeded", "param": "input"},
    "gemini": {"code": 400, "status": "INVALID_ARGUMENT"},
}


@EACH_DIALECT
def test_our_own_refusal_in_each_dialect(dialect: str) -> None:
    error = refused(request(prompt(250_000)), Provider())
    assert error.tokens is not None
    value = json.loads(FRONTENDS[dialect].encode_error(error, ""))["error"]
    assert value["message"] == WORDS_OF[dialect].format(*error.tokens)
    assert value.items() >= REST[dialect].items()
    assert error.status_for(dialect) == 400


# --- over a real gateway ------------------------------------------------------------------------


@pytest.fixture
def gate() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def sent(world: World, since: int) -> list[str]:
    return [one.path.partition("?")[0] for one in world.received()[since:]]


@pytest.mark.parametrize("stream", [True, False])
@EACH_DIALECT
def test_a_long_prompt_is_refused_before_anything_is_sent(
    gate: World, dialect: str, stream: bool
) -> None:
    path, body = asked(dialect, prompt(230_000), stream=stream)
    since = len(gate.received())
    reply = gate.post(path, body, **HEADERS[dialect])
    assert reply.status == 400
    error_message(dialect, reply)
    form = re.escape(WORDS_OF[dialect]).replace(r"\{0\}", r"(\d+)").replace(r"\{1\}", "200000")
    words = re.fullmatch(form, reply.json()["error"]["message"])
    assert words is not None
    assert int(words[1]) == pytest.approx(230_000, rel=0.01)
    assert reply.json()["error"].items() >= REST[dialect].items()
    assert sent(gate, since) == []


@EACH_DIALECT
def test_near_the_limit_a_real_count_decides(gate: World, dialect: str) -> None:
    """The simulator has four bytes to a token, where these words are estimated at nearly five."""
    for tokens, status in ((160_000, 200), (190_000, 400)):
        path, body = asked(dialect, prompt(tokens))
        since = len(gate.received())
        reply = gate.post(path, body, **HEADERS[dialect])
        assert reply.status == status, reply.body[:300]
        asked_for = sent(gate, since)
        assert ("/v1/messages" in asked_for) is (status == 200)
        assert asked_for == (["/v1/messages"] if status == 200 else ["/v1/messages/count_tokens"])


def test_a_count_of_a_long_prompt_is_the_providers_to_judge(gate: World) -> None:
    body = message(prompt(300_000))
    del body["max_tokens"]
    since = len(gate.received())
    gate.post("/v1/messages/count_tokens", body, **HEADERS["anthropic"])
    assert sent(gate, since) == ["/v1/messages/count_tokens"]
