"""Routing as hostile clients, providers and operators use it: each test is something that once went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any

import pytest

from isthmus import attempt
from isthmus.config import Config
from isthmus.errors import GatewayError
from isthmus.pipeline import Answer, Call
from isthmus.profile_settings import profiles_of
from isthmus.request import Body, Place, Request
from isthmus.routes import Routing
from isthmus.routing.journey import Journey
from isthmus.steps.failover import failover
from tests.clients_raw import RawClient, request
from tests.harness import UPSTREAM_KEY, World, failed_stream
from tests.peers import Part, says
from tests.staged import eventually, refused
from tests.streams_raw import END, START, STREAM, Provider, chunk
from tests.test_failover import FAILURES, MODEL, NAMES, OTHER, counts, fleet, send, well
from tests.test_server import asked

LINE = "sonnet"


@pytest.fixture
def world() -> Iterator[World]:
    made = fleet()
    yield made
    made.close()


# --- without sockets ----------------------------------------------------------------------------


def routing(time_of: Callable[[], float] = lambda: 100.0, **config: Any) -> Routing:
    """Three backends of one key each, and no repeats."""
    row = {"type": "anthropic", "api_key": UPSTREAM_KEY, "base_url": "http://127.0.0.1:9"}
    settings = {"backends": dict.fromkeys(NAMES, row), "default_backend": "a", **config}
    checked = Config.model_validate({"retry": {"repeats": 0}, **settings})
    return Routing(checked, profiles_of(checked.profiles), None, time_of)


def wanted(selector: str) -> Request:
    body = {"model": selector, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    return Request("anthropic", Body(body), selector, stream=False)


def never(request: Request) -> float:
    return inf


def failing(kind: str = "internal") -> GatewayError:
    return GatewayError(kind, "no", source="upstream")


def answering(request: Request, close: Callable[[], None] = lambda: None) -> Answer:
    assert request.target is not None
    return Answer(200, (), request.target, close, whole=b"{}")


def tried(found: Routing, selector: str) -> list[str]:
    """The backends that a request is sent to when each attempt fails."""
    journey = Journey(found.around, wanted(selector), found.router.route(selector))
    names: list[str] = []
    for trial in journey.trials():
        for pick in trial.picks:
            names.append(pick.place.backend)
            journey.failed(pick, failing())
    return names


def eject(found: Routing, *names: str) -> None:
    """As after failures in a row, for the models of MODEL's line."""
    for name in names:
        for _ in range(5):
            found.around.health.failed(Place(name, ""), LINE, "fail", None, 100.0)


def standings(found: Routing) -> Mapping[str, Any]:
    """The rows of keys, by the name of their backend, but for those of whole keys."""
    return {row["key"]: row for row in found.shown()["keys"] if row["family"]}


def test_a_race_of_ejected_keys_asks_each_of_them_once() -> None:
    found = routing()
    eject(found, *NAMES)
    assert {row["state"] for row in standings(found).values()} == {"ejected"}
    assert sorted(tried(found, f"a:{MODEL}!b:{MODEL}!c:{MODEL}")) == ["a", "b", "c"]


def test_a_probe_that_a_race_did_not_come_to_is_let_go() -> None:
    now = [100.0]
    found = routing(lambda: now[0])
    found.around.health.failed(Place("b", ""), LINE, "bench", None, now[0])
    now[0] += 301
    step = failover(found.around, found.keys, found.pools.granted, never, 1.0)

    async def call(request: Request) -> Answer:
        return answering(request)

    request = wanted(f"a:{MODEL}![handicap=5]b:{MODEL}")
    assert asyncio.run(answered(step, request, call)).target.backend == "a"
    assert tried(found, f"b:{MODEL}") == ["b"], "nobody is trying it"


async def answered(step: Any, request: Request, call: Call) -> Answer:
    return await step(request, call)


def test_a_client_that_leaves_while_the_loser_lets_go_leaves_no_answer_open() -> None:
    found = routing()
    step = failover(found.around, found.keys, found.pools.granted, never, 1.0)
    closed: list[str] = []

    async def call(request: Request) -> Answer:
        assert request.target is not None
        name = request.target.backend
        if name == "b":
            try:
                await asyncio.sleep(5)
            finally:
                await asyncio.sleep(0.2)
        return answering(request, lambda: closed.append(name))

    async def leave() -> None:
        asking = asyncio.create_task(answered(step, wanted(f"a:{MODEL}!b:{MODEL}"), call))
        await asyncio.sleep(0.1)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await asking).close()

    asyncio.run(leave())
    assert closed == ["a"]


def test_what_a_rewrite_made_is_no_choice_of_the_caller() -> None:
    """Only its own choice of a model goes to the provider as it is."""
    rows = [{"pattern": "my-(.*)", "replacement": r"\1"}]
    found = routing(model_aliases=rows)
    for asked_for, changed in ((f"my-{MODEL}", True), (MODEL, False), (f"a:{MODEL}", False)):
        assert found.first(wanted(asked_for)).changed is changed


def test_the_budget_of_repeats_grows_with_the_requests() -> None:
    found = routing(retry={"repeats": 1, "budget_percent": 50, "budget_per_second": 0})
    asked_for = [len(tried_again(found)) for _ in range(6)]
    assert asked_for == [1, 2, 1, 2, 1, 2], "every other request may be repeated"


def tried_again(found: Routing) -> list[str]:
    step = failover(found.around, found.keys, found.pools.granted, never, 1.0)
    names: list[str] = []

    async def call(request: Request) -> Answer:
        assert request.target is not None
        names.append(request.target.backend)
        raise failing("conflict")

    with pytest.raises(GatewayError):
        asyncio.run(answered(step, wanted(f"a:{MODEL}"), call))
    return names


@pytest.mark.parametrize("timeless", [False, True])
def test_a_limit_on_counting_tokens_is_none_on_messages(timeless: bool) -> None:
    found = routing()
    error = failing("rate_limit")
    error.headers = () if timeless else (("retry-after", "30"),)
    counting = wanted(f"a:{MODEL}")
    counting.operation = "count_tokens"
    journey = Journey(found.around, counting, found.router.route(counting.model))
    for trial in journey.trials():
        journey.failed(trial.picks[0], error)
    assert [row["family"] for row in standings(found).values()] == [f"{LINE} count_tokens"]
    assert tried(found, f"a:{MODEL}") == ["a"]


# --- over sockets -------------------------------------------------------------------------------


def failures(world: World, backend: str) -> int:
    """How many failures in a row are known of a backend's key, for any family of models."""
    rows = world.get("/admin/routes").json()["keys"]
    return max((row["failures"] for row in rows if row["key"] == backend), default=0)


def test_a_failure_behind_the_head_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "HEAD_SECONDS", 0.1)
    world = fleet(timeouts={"keepalive": 0.1, "first_event": 5, "idle": 0.4})
    try:
        world.script("a", fault={"kind": "stall", "after": 1, "seconds": 3})
        reply = send(world, "anthropic", f"a:{MODEL}|b:{OTHER}", stream=True)
        well("anthropic", reply, stream=True)
        assert failures(world, "a") == 1
    finally:
        world.close()


def test_a_target_is_not_asked_when_the_time_for_all_of_them_is_over() -> None:
    world = fleet(timeouts={"total": 0.4})
    try:
        world.script("a", fault={"kind": "stall", "seconds": 3})
        reply = send(world, "anthropic", f"a:{MODEL}|b:{MODEL}|c:{MODEL}")
        refused("anthropic", reply, 504)
        assert counts(world) == [1, 0, 0]
        assert failures(world, "b") == failures(world, "c") == 0
        assert reply.headers["x-isthmus-attempts"] == f"a:{MODEL} 504 timeout"
    finally:
        world.close()


def test_no_pause_is_longer_than_the_time_that_is_left() -> None:
    world = fleet(timeouts={"total": 0.3}, retry={"repeats": 2})
    try:
        world.script("a", error={"status": 529, "type": "overloaded_error"})
        began = time.monotonic()
        refused("anthropic", send(world, "anthropic", f"a:{MODEL}"), 529)
        assert time.monotonic() - began < 0.45
        assert counts(world) == [1, 0, 0]
    finally:
        world.close()


def test_a_backend_whose_only_key_is_refused_is_named_as_long_as_it_rests() -> None:
    world = fleet(retry={"repeats": 0, "bench_seconds": 1})
    try:
        world.script("a", **FAILURES["401"])
        for _ in range(3):
            said = refused("openai-chat", send(world, "openai-chat", f"a:{MODEL}"), 502)
            assert "refused" in said
            assert "of a " in said or "'a'" in said
        assert counts(world) == [1, 0, 0]
        time.sleep(1.1)
        well("openai-chat", send(world, "openai-chat", f"a:{MODEL}"), stream=False)
    finally:
        world.close()


class Scripted:
    """A gateway before ``a``, which plays bytes, and ``b``, a simulator."""

    def __init__(self, *parts: Part, **config: Any) -> None:
        self.provider = Provider(says(*parts, times=8))
        self.there = World()
        row = {"type": "anthropic", "api_key": UPSTREAM_KEY, "models": []}
        urls = {"a": self.provider.url, "b": self.there.simulator.url}
        backends = {name: {**row, "base_url": url} for name, url in urls.items()}
        settings = {"backends": backends, "default_backend": "a", "retry": {"repeats": 0}}
        self.world = World(**{**settings, **config})

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: Any) -> None:
        self.world.close()
        self.there.close()
        self.provider.close()


_CUT = START.index(b"event: content_block_start") - len(b"\r\n")
MESSAGE = START[: START.rindex(b"\r\n", 0, _CUT) + len(b"\r\n")]
BLOCK = START[len(MESSAGE) :]
PING = chunk("ping")


def streamed(selector: str) -> bytes:
    """A request for a stream, as bytes."""
    body = {**asked("anthropic", "hi", stream=True)[1], "model": selector}
    return request("/v1/messages", json.dumps(body).encode(), "anthropic-version: 2023-06-01")


def test_pings_without_end_keep_a_client_informed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no content, so another target may still answer; but the client must hear something."""
    monkeypatch.setattr(attempt, "HEAD_SECONDS", 0.1)
    pings = [part for _ in range(16) for part in (PING, 0.05)]
    with (
        Scripted(STREAM + MESSAGE, *pings, BLOCK + END, timeouts={"keepalive": 5}) as there,
        RawClient(there.world.port) as client,
    ):
        began = time.monotonic()
        client.send(streamed(f"a:{MODEL}|b:{MODEL}")).until(b"event: ping")
        assert time.monotonic() - began < 0.5
        client.until(b"event: message_stop")


def test_an_error_right_behind_the_start_of_the_content_is_remembered() -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    with Scripted(STREAM + MESSAGE + BLOCK + chunk("error", error=error)) as there:
        reply = send(there.world, "anthropic", f"a:{MODEL}|b:{MODEL}", stream=True)
        failed_stream("anthropic", reply)
        assert there.there.received() == [], "nothing is said twice"
        assert failures(there.world, "a") == 1
        assert eventually(lambda: there.provider.open() == 0, 3)


HELLO = chunk("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
THOUGHT = (
    chunk("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    + chunk("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"})
    + chunk("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2ln"})
    + chunk("content_block_stop", index=0)
    + chunk("content_block_start", index=1, content_block={"type": "text", "text": ""})
    + chunk("content_block_delta", index=1, delta={"type": "text_delta", "text": "Hello"})
    + END.replace(b'"index": 0', b'"index": 1')
)


def test_a_key_that_a_broken_stream_repeats_is_hidden_in_a_restored_conversation() -> None:
    junk = b"data: no JSON but the key %b\n\n" % UPSTREAM_KEY.encode()
    broken = (STREAM + MESSAGE + BLOCK + HELLO, 0.1, b"%x\r\n%b\r\n" % (len(junk), junk))
    with Scripted() as there:
        there.provider.fake.scripts[:] = [says(STREAM + MESSAGE + THOUGHT), says(*broken)]
        turns: list[Any] = [{"role": "user", "content": "hi"}]
        body = {"model": f"a:{MODEL}", "messages": turns, "reasoning_effort": "low"}
        first = there.world.post("/v1/chat/completions", body)
        turns += [first.json()["choices"][0]["message"], {"role": "user", "content": "more"}]
        reply = there.world.post("/v1/chat/completions", {**body, "stream": True})
        assert b'"signature":"c2ln"' in there.provider.fake.requests[-1], "it was restored"
        assert b"[key]" in reply.body
        assert UPSTREAM_KEY.encode() not in reply.body


def test_a_key_in_a_header_of_the_provider_is_hidden() -> None:
    head = b"HTTP/1.1 529 No\r\nrequest-id: %b\r\ncontent-length: 0\r\n\r\n"
    with Scripted(head % UPSTREAM_KEY.encode()) as there:
        for dialect in ("anthropic", "openai-chat"):
            reply = send(there.world, dialect, f"a:{MODEL}")
            refused(dialect, reply, 529 if dialect == "anthropic" else 503)
            assert UPSTREAM_KEY not in str(reply.headers)
            assert UPSTREAM_KEY.encode() not in reply.body
