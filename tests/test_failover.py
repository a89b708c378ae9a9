"""Failover: what follows from each failure, as clients of each dialect see it over real sockets."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from isthmus import attempt, gateway
from isthmus.dialects import BACKENDS
from isthmus.errors import GatewayError
from isthmus.request import Body, Request
from isthmus.simulator import Options
from isthmus.upstream import Upstream
from tests.harness import UPSTREAM_KEY, Reply, World, failed_stream, whole_stream
from tests.peers import blackhole
from tests.staged import eventually, refused
from tests.test_server import DIALECTS, HEADERS, asked
from tests.test_upstream_dial import at

MODEL = "claude-sonnet-4-5"
OTHER = "claude-haiku-4-5"
NAMES = ("a", "b", "c")
EACH = pytest.mark.parametrize("dialect", DIALECTS)
BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def fleet(**config: Any) -> World:
    """A gateway before three providers, which tries no target twice unless it is told to."""
    # Without lists of models no connection is there yet, which might be the one that dies.
    quiet = {"names": NAMES, "backend": {"models": []}, "retry": {"repeats": 0}}
    return World(**{**quiet, **config})


@pytest.fixture
def world() -> Iterator[World]:
    made = fleet()
    yield made
    made.close()


def send(
    world: World,
    dialect: str,
    selector: str,
    *,
    stream: bool = False,
    text: str = "hi",
    **headers: str,
) -> Reply:
    path, body = asked(dialect, text, stream=stream)
    if dialect == "gemini":
        path = path.replace(MODEL, quote(selector, safe=""))
    else:
        body["model"] = selector
    return world.post(path, body, **HEADERS[dialect], **headers)


def well(dialect: str, reply: Reply, *, stream: bool) -> None:
    """A complete answer of the dialect."""
    assert reply.status == 200, reply.body
    if stream:
        whole_stream(dialect, reply)


def counts(world: World) -> list[int]:
    return [len(world.received(name)) for name in NAMES]


FAILURES: dict[str, dict[str, Any]] = {
    "429 with a time": {"error": {"status": 429, "type": "rate_limit_error", "retry_after": 20}},
    "429 without": {"error": {"status": 429, "type": "rate_limit_error"}},
    "529": {"error": {"status": 529, "type": "overloaded_error"}},
    "500": {"error": {"status": 500, "type": "api_error"}},
    "502, a page": {"error": {"status": 502, "raw_body": "<html>bad gateway</html>"}},
    "503": {"error": {"status": 503, "type": "api_error"}},
    "408": {"error": {"status": 408, "type": "timeout_error"}},
    "409": {"error": {"status": 409, "type": "conflict_error"}},
    "401": {"error": {"status": 401, "type": "authentication_error"}},
    "403": {"error": {"status": 403, "type": "permission_error"}},
    "404": {"error": {"status": 404, "type": "not_found_error", "message": "model: x"}},
    "402": {"error": {"status": 402, "type": "billing_error"}},
    "400 for credit": {
        "error": {
            "status": 400,
            "type": "invalid_request_error",
            "message": "Your credit balance is too low to access the Anthropic API.",
        }
    },
    "400 for a limit": {
        "error": {
            "status": 400,
            "type": "invalid_request_error",
            "message": "You have reached your specified API usage limits.",
        }
    },
    "reset": {"fault": {"kind": "reset"}},
    "closed": {"fault": {"kind": "close"}},
    "no stream": {"fault": {"kind": "html"}},
}


@EACH
@BOTH
@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_before_the_content_goes_on_to_the_next_target(
    world: World, dialect: str, stream: bool, case: str
) -> None:
    world.script("a", **FAILURES[case])
    reply = send(world, dialect, f"a:{MODEL}|b:{OTHER}", stream=stream)
    well(dialect, reply, stream=stream)
    assert reply.headers["x-isthmus-target"] == f"b:{OTHER}"
    first, second = reply.headers["x-isthmus-attempts"].split("; ")
    assert first.startswith(f"a:{MODEL} ")
    assert second == f"b:{OTHER} 200"
    assert counts(world) == [1, 1, 0]
    assert OTHER.encode() in reply.body


@EACH
@BOTH
def test_a_provider_that_cannot_be_reached(dialect: str, stream: bool) -> None:
    nowhere = {"type": "anthropic", "api_key": "k", "base_url": "http://127.0.0.1:9"}
    there = World(backend={"models": []})
    section = {"type": "anthropic", "api_key": UPSTREAM_KEY, "base_url": there.simulator.url}
    world = World(backends={"a": nowhere, "b": section}, default_backend="a", retry={"repeats": 0})
    try:
        reply = send(world, dialect, f"a:{MODEL}|b:{MODEL}", stream=stream)
        well(dialect, reply, stream=stream)
        assert "upstream_unreachable" in reply.headers["x-isthmus-attempts"]
    finally:
        world.close()
        there.close()


@contextmanager
def beside(url: str, **config: Any) -> Iterator[tuple[World, World]]:
    """A gateway before ``dead``, at an address, and ``good``; and the world whose simulator is ``good``."""
    there = World(backend={"models": []})
    one = {"type": "anthropic", "api_key": UPSTREAM_KEY, "models": []}
    place = url.format(port=there.simulator.port)
    backends = {
        "dead": {**one, "base_url": place},
        "good": {**one, "base_url": there.simulator.url},
    }
    world = World(backends=backends, default_backend="dead", retry={"repeats": 0}, **config)
    try:
        yield world, there
    finally:
        world.close()
        there.close()


def timed(world: World, dialect: str) -> tuple[Reply, float]:
    """The answer, which is whole, and the seconds that it took."""
    began = time.monotonic()
    reply = send(world, dialect, f"dead:{MODEL}|good:{MODEL}")
    well(dialect, reply, stream=False)
    return reply, time.monotonic() - began


@EACH
def test_t026_a_refused_connection_costs_the_next_target_no_time(dialect: str) -> None:
    with beside("http://127.0.0.1:1") as (world, _):
        reply, seconds = timed(world, dialect)
        assert "upstream_unreachable" in reply.headers["x-isthmus-attempts"]
        assert seconds < 0.5  # a tenth of a second, on a machine that is idle


def test_t026_a_black_hole_is_left_when_the_time_to_connect_is_over() -> None:
    with (
        blackhole() as port,
        beside(f"http://127.0.0.1:{port}", timeouts={"connect": 0.4}) as (world, _),
    ):
        reply, seconds = timed(world, "anthropic")
        assert "upstream_unreachable" in reply.headers["x-isthmus-attempts"]
        assert 0.3 < seconds < 2


def test_t026_a_dead_address_beside_a_good_one_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with blackhole() as hole:
        both = partial(Upstream, lookup=lambda host, port: at(hole, port))
        monkeypatch.setattr(gateway, "Upstream", both)
        with beside("http://provider.test:{port}") as (world, there):
            reply, seconds = timed(world, "anthropic")
            assert reply.headers["x-isthmus-target"] == f"dead:{MODEL}"
            assert len(there.received()) == 1
            assert seconds < 2  # a quarter of one, on a machine that is idle


NEVER = {
    "400": (
        {"error": {"status": 400, "type": "invalid_request_error", "message": "max_tokens: no"}},
        400,
    ),
    "413": ({"error": {"status": 413, "type": "request_too_large"}}, 413),
    "422": ({"error": {"status": 422, "type": "invalid_request_error", "message": "no"}}, 422),
}


@EACH
@BOTH
@pytest.mark.parametrize("case", NEVER)
def test_what_is_the_request_s_own_fault_is_told_at_once(
    world: World, dialect: str, stream: bool, case: str
) -> None:
    script, status = NEVER[case]
    world.script("a", **script)
    refused(dialect, send(world, dialect, f"a:{MODEL}|b:{MODEL}", stream=stream), status)
    assert counts(world) == [1, 0, 0]


@EACH
@BOTH
def test_t021_an_overload_in_the_stream_before_its_content(
    world: World, dialect: str, stream: bool
) -> None:
    """The provider has said 200 and begun its message; nothing of that reaches the client."""
    if dialect == "anthropic" and not stream:
        pytest.skip("a Claude client that wants no stream is asked for none upstream")
    world.script("a", fault={"kind": "error_event", "after": 1})
    reply = send(world, dialect, f"a:{MODEL}|b:{OTHER}", stream=stream)
    well(dialect, reply, stream=stream)
    assert reply.headers["x-isthmus-attempts"] == f"a:{MODEL} 529 overloaded; b:{OTHER} 200"
    if dialect == "anthropic":
        assert reply.body.count(b"event: message_start") == 1


@EACH
def test_t021_an_overload_in_the_stream_after_content(world: World, dialect: str) -> None:
    world.script("a", fault={"kind": "error_event", "after": 4})
    reply = send(world, dialect, f"a:{MODEL}|b:{OTHER}", stream=True)
    failed_stream(dialect, reply)
    assert counts(world) == [1, 0, 0], "nothing is said twice"


@EACH
@BOTH
def test_a_stall_before_the_content_is_not_waited_for_longer_than_the_first_event(
    dialect: str, stream: bool
) -> None:
    world = fleet(timeouts={"first_event": 0.3, "idle": 0.3, "total": 1.5})
    try:
        world.script("a", fault={"kind": "stall", "seconds": 5})
        began = time.monotonic()
        reply = send(world, dialect, f"a:{MODEL}|b:{OTHER}", stream=stream)
        if stream or dialect != "anthropic":
            well(dialect, reply, stream=stream)
        else:
            refused(dialect, reply, 504)  # the one deadline of the exchange is over
        assert time.monotonic() - began < 3
    finally:
        world.close()


def test_failover_can_be_switched_off_for_one_request(world: World) -> None:
    world.script("a", **FAILURES["529"])
    reply = send(world, "anthropic", f"a:{MODEL}|b:{MODEL}", x_isthmus_failover="off")
    refused("anthropic", reply, 529)
    assert counts(world) == [1, 0, 0]
    assert reply.headers["x-isthmus-attempts"] == f"a:{MODEL} 529 overloaded"
    reply = send(world, "openai-chat", f"a:{MODEL}", x_isthmus_failover="maybe")
    assert "x-isthmus-failover" in refused("openai-chat", reply, 400)


@EACH
def test_each_target_gets_a_request_made_for_it_alone(world: World, dialect: str) -> None:
    """What the first one does not take is there again for the second: temperature, here."""
    world.script("a", **FAILURES["529"])
    second = f"b:{OTHER}?temperature=0.7"
    selector = f"a:claude-sonnet-5-5?temperature=0.7&effort=high|{second}"
    well(dialect, send(world, dialect, selector), stream=False)
    well(dialect, send(world, dialect, second), stream=False)
    first = json.loads(world.received("a")[0].body)
    assert "temperature" not in first
    assert first["output_config"]["effort"] == "high"
    moved, direct = world.received("b")
    assert json.loads(moved.body)["temperature"] == 0.7
    assert moved.body == direct.body
    betas = [[v for n, v in one.headers if n == "anthropic-beta"] for one in (moved, direct)]
    assert betas[0] == betas[1]


MANY = {
    "the rate limit before the broken one": (["500", "429 with a time", "404"], 429, "rate_limit"),
    "the overload before the missing model": (["529", "404", "401"], 529, "overloaded"),
    "the provider's error before our key": (["401", "500", "403"], 500, "internal"),
    "our key before the missing model": (["404", "401", "404"], 502, "refused"),
}


@pytest.mark.parametrize("case", MANY)
def test_when_all_fail_the_most_useful_failure_is_told(world: World, case: str) -> None:
    failures, status, _ = MANY[case]
    for name, failure in zip(NAMES, failures, strict=True):
        world.script(name, **FAILURES[failure])
    reply = send(world, "anthropic", f"a:{MODEL}|b:{MODEL}|c:{MODEL}")
    refused("anthropic", reply, status)
    assert counts(world) == [1, 1, 1]
    assert len(reply.headers["x-isthmus-attempts"].split("; ")) == 3
    if status == 502:
        assert "backend 'b'" in refused("anthropic", reply, 502), "a client is not to blame"


@EACH
def test_a_rate_limit_is_told_with_the_soonest_time(world: World, dialect: str) -> None:
    for name, seconds in zip(NAMES, (50, 7, 90), strict=True):
        error = {"status": 429, "type": "rate_limit_error", "retry_after": seconds}
        world.script(name, error=error)
    reply = send(world, dialect, f"a:{MODEL}|b:{MODEL}|c:{MODEL}")
    refused(dialect, reply, 429)
    assert 6 <= int(reply.headers["retry-after"]) <= 7
    before = counts(world)
    began = time.monotonic()
    reply = send(world, dialect, f"a:{MODEL}|b:{MODEL}|c:{MODEL}")
    assert time.monotonic() - began < 0.5
    text = refused(dialect, reply, 429)
    assert "cooling" in text
    assert UPSTREAM_KEY not in text
    assert 5 <= int(reply.headers["retry-after"]) <= 7
    assert counts(world) == before, "not one request to a key that cools down"


def test_a_rate_limit_cools_one_family_of_models(world: World) -> None:
    world.script("a", **FAILURES["429 with a time"])
    well("anthropic", send(world, "anthropic", f"a:{MODEL}|b:{MODEL}"), stream=False)
    reply = send(world, "anthropic", f"a:{MODEL}|b:{MODEL}")
    assert reply.headers["x-isthmus-target"] == f"b:{MODEL}"
    reply = send(world, "anthropic", f"a:{OTHER}|b:{MODEL}")
    assert reply.headers["x-isthmus-target"] == f"a:{OTHER}"


SPOKEN = {
    "true on a 400": (
        {"status": 400, "type": "invalid_request_error", "message": "x"},
        "true",
        200,
        2,
    ),
    "false on a 503": ({"status": 503, "type": "api_error"}, "false", 503, 1),
}


@pytest.mark.parametrize("case", SPOKEN)
def test_t059_the_provider_s_word_on_retries(case: str) -> None:
    error, said, status, requests = SPOKEN[case]
    world = World(retry={"repeats": 1})
    try:
        world.script(error={**error, "headers": {"x-should-retry": said}})
        reply = send(world, "openai-chat", MODEL)
        assert (reply.status, len(world.received())) == (status, requests)
    finally:
        world.close()


def test_one_target_is_asked_again_as_often_as_the_config_says() -> None:
    world = World(retry={"repeats": 2})
    try:
        for _ in range(2):
            world.script(**FAILURES["529"])
        well("gemini", send(world, "gemini", MODEL, stream=True), stream=True)
        assert len(world.received()) == 3
        for _ in range(4):
            world.script(**FAILURES["529"])
        refused("gemini", send(world, "gemini", MODEL), 503)
        assert len(world.received()) == 6
    finally:
        world.close()


def test_the_budget_of_repeats_is_held() -> None:
    world = World(retry={"repeats": 2, "budget_percent": 0, "budget_per_second": 0})
    try:
        world.script(**FAILURES["529"])
        refused("anthropic", send(world, "anthropic", MODEL), 529)
        assert len(world.received()) == 1
    finally:
        world.close()


# --- keys ---------------------------------------------------------------------------------------


KEYS = [f"sk-pool-{number}-{'x' * 20}" for number in range(1, 4)]


def pooled(**config: Any) -> World:
    """One provider, three keys."""
    backend = {"api_key": None, "api_keys": KEYS}
    retry = {"repeats": 0}
    return World(Options(api_keys=tuple(KEYS)), backend=backend, **{"retry": retry, **config})


def keys_used(world: World) -> list[str]:
    return [dict(one.headers)["x-api-key"] for one in world.received()]


@pytest.mark.parametrize("status", [401, 403])
def test_t062_a_refused_key_is_benched_and_the_others_serve(status: int) -> None:
    world = pooled()
    try:
        world.script(error={"status": status, "type": "authentication_error", "message": "no"})
        for _ in range(12):
            reply = send(world, "openai-chat", MODEL)
            well("openai-chat", reply, stream=False)
            assert not any(key.encode() in reply.body for key in KEYS)
            assert not any(key in str(reply.headers) for key in KEYS)
        used = keys_used(world)
        assert len(used) == 13
        assert Counter(used)[used[0]] == 1, "the refused key is not used again"
        assert len(set(used)) == 3
    finally:
        world.close()


def test_t056_a_request_is_tried_with_three_keys_of_a_target_at_most() -> None:
    many = [f"sk-many-{number:02}-{'x' * 20}" for number in range(20)]
    backend = {"api_key": None, "api_keys": many}
    world = World(Options(api_keys=tuple(many)), backend=backend, retry={"repeats": 0})
    try:
        for _ in range(3):
            world.script(error={"status": 429, "type": "rate_limit_error", "retry_after": 30})
        reply = send(world, "anthropic", MODEL)
        refused("anthropic", reply, 429)
        assert len(world.received()) == 3
        assert 1 <= int(reply.headers["retry-after"]) <= 30
        well("anthropic", send(world, "anthropic", MODEL), stream=False)
    finally:
        world.close()


def test_one_key_can_be_asked_for_by_its_name() -> None:
    world = pooled()
    try:
        for _ in range(4):
            well("openai-chat", send(world, "openai-chat", f"anthropic.2:{MODEL}"), stream=False)
        assert set(keys_used(world)) == {KEYS[1]}
    finally:
        world.close()


# --- weights and races --------------------------------------------------------------------------


def test_weights_hold_over_many_requests(world: World) -> None:
    for number in range(120):
        selector = f"[weight=3]a:{MODEL}^[weight=1]b:{MODEL}"
        well("anthropic", send(world, "anthropic", selector, text=f"n {number}"), stream=False)
    a, b, _ = counts(world)
    assert a + b == 120
    assert 15 <= b <= 47, "a quarter, with five standard deviations"


def test_a_conversation_stays_where_its_weights_sent_it(world: World) -> None:
    selector = f"a:{MODEL}^b:{MODEL}^c:{MODEL}"
    for number in range(8):
        headers = {**HEADERS["anthropic"], "x_claude_code_session_id": f"session-{number}"}
        targets = set[str]()
        for _ in range(5):
            path, body = asked("anthropic", "hi")
            reply = world.post(path, {**body, "model": selector}, **headers)
            targets.add(reply.headers["x-isthmus-target"])
        assert len(targets) == 1


def test_the_other_members_of_a_weighted_choice_stand_in(world: World) -> None:
    for _ in range(20):
        world.script("a", **FAILURES["500"])
    for _ in range(20):
        reply = send(world, "anthropic", f"[weight=9]a:{MODEL}^[weight=1]b:{MODEL}")
        well("anthropic", reply, stream=False)


@EACH
@BOTH
def test_t063_a_race_is_won_by_the_first_content(world: World, dialect: str, stream: bool) -> None:
    world.script("a", fault={"kind": "stall", "seconds": 20})
    reply = send(world, dialect, f"a:{MODEL}!b:{OTHER}", stream=stream)
    well(dialect, reply, stream=stream)
    assert reply.headers["x-isthmus-target"] == f"b:{OTHER}"
    assert counts(world)[:2] == [1, 1]
    assert eventually(lambda: world.simulators["a"].api.counters.aborted_by_client == 1)


@EACH
def test_t063_a_race_is_over_once_there_is_content(world: World, dialect: str) -> None:
    """What the winner breaks off is not begun anew by the other, which was hung up on."""
    world.script("a", fault={"kind": "error_event", "after": 4})
    world.script("b", fault={"kind": "stall", "seconds": 20})
    reply = send(world, dialect, f"a:{MODEL}!b:{OTHER}", stream=True)
    failed_stream(dialect, reply)
    assert counts(world)[:2] == [1, 1]
    assert eventually(lambda: world.simulators["b"].api.counters.aborted_by_client == 1)


def test_a_handicap_gives_the_other_a_head_start(world: World) -> None:
    reply = send(world, "anthropic", f"a:{MODEL}![handicap=5]b:{OTHER}")
    assert reply.headers["x-isthmus-target"] == f"a:{MODEL}"
    assert counts(world) == [1, 0, 0], "the answer came before the other was asked"
    world.script("a", **FAILURES["529"])
    began = time.monotonic()
    reply = send(world, "anthropic", f"a:{MODEL}![handicap=5]b:{OTHER}")
    assert reply.headers["x-isthmus-target"] == f"b:{OTHER}"
    assert time.monotonic() - began < 2, "nobody is left to give a start to"


# --- between the head and the content -----------------------------------------------------------


@EACH
def test_failover_stays_open_while_only_the_head_has_gone_out(
    dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "HEAD_SECONDS", 0.1)
    world = fleet(timeouts={"keepalive": 0.1, "first_event": 5, "idle": 0.6})
    try:
        world.script("a", fault={"kind": "stall", "after": 1, "seconds": 3})
        reply = send(world, dialect, f"a:{MODEL}|b:{OTHER}", stream=True)
        well(dialect, reply, stream=True)
        assert counts(world) == [1, 1, 0]
        assert reply.body.count(b"message_start") <= 2, "one name and one type"
    finally:
        world.close()


@EACH
@pytest.mark.parametrize("ends", ["another answers", "none does"])
def test_a_client_is_not_left_in_silence_by_a_provider_without_a_head(
    dialect: str, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "HEAD_SECONDS", 0.1)
    world = fleet(timeouts={"keepalive": 0.1, "first_event": 0.5, "idle": 5})
    try:
        world.script("a", fault={"kind": "stall", "seconds": 3})
        selector = f"a:{MODEL}|b:{OTHER}" if ends == "another answers" else f"a:{MODEL}"
        reply = send(world, dialect, selector, stream=True)
        assert reply.status == 200
        if ends == "another answers":
            well(dialect, reply, stream=True)
            assert OTHER.encode() in reply.body
        else:
            failed_stream(dialect, reply)
    finally:
        world.close()


# --- all together -------------------------------------------------------------------------------


def test_no_client_fails_while_any_target_can_serve() -> None:
    """Scripted trouble of every kind at two of three providers, behind each kind of selector."""
    trouble = ["429 with a time", "529", "500", "401", "reset", "in the stream"]
    world = fleet(timeouts={"first_event": 1.0})
    selectors = [
        f"a:{MODEL}|b:{MODEL}|c:{MODEL}",
        f"[weight=2]a:{MODEL}^b:{MODEL}^c:{MODEL}",
        f"anthropic:{MODEL}",
    ]
    try:
        for number in range(60):
            case = trouble[number % len(trouble)]
            script = FAILURES.get(case) or {"fault": {"kind": "error_event", "after": 1}}
            world.script("ab"[number % 2], **script)

        def one(number: int) -> Reply:
            dialect = DIALECTS[number % 4]
            selector = selectors[number % len(selectors)]
            reply = send(world, dialect, selector, stream=number % 3 > 0, text=f"n {number}")
            well(dialect, reply, stream=number % 3 > 0)
            return reply

        with ThreadPoolExecutor(8) as threads:
            replies = list(threads.map(one, range(400)))
        assert all(reply.status == 200 for reply in replies)
    finally:
        world.close()


# --- answers that are asked for as a whole ------------------------------------------------------


TRANSLATED = [dialect for dialect in DIALECTS if dialect != "anthropic"]
LIMITS = {"openai-chat": "max_tokens", "openai-responses": "max_output_tokens"}


def limited(world: World, dialect: str, most: int, **more: Any) -> Reply:
    path, body = asked(dialect, "hi")
    if dialect == "gemini":
        body = {**body, "generationConfig": {"maxOutputTokens": most}}
    else:
        body[LIMITS[dialect]] = most
    return world.post(path, {**body, **more}, **HEADERS[dialect])


@pytest.mark.parametrize("dialect", TRANSLATED)
def test_a_short_answer_is_asked_for_as_a_whole(dialect: str) -> None:
    """And is then the one that a stream would have become."""
    world = World()
    try:
        whole, streamed = limited(world, dialect, 4096), limited(world, dialect, 4097)
        sent = [json.loads(one.body).get("stream") for one in world.received()]
        assert sent == [None, True]
        assert whole.status == streamed.status == 200
        assert b"simulated" in whole.body
    finally:
        world.close()


NO_MESSAGE = (
    b"{}",
    b"[1]",
    b"<html>",
    b'{"type":"message"}',
    b'{"type":"message","content":[1],"usage":{}}',
    b'{"type":"message","content":[{"type":"text"}],"usage":{}}',
)


@pytest.mark.parametrize("answer", NO_MESSAGE)
def test_a_whole_answer_that_is_no_message(answer: bytes) -> None:
    request = Request("openai-chat", Body({"messages": []}), MODEL, False)
    with pytest.raises(GatewayError) as caught:
        BACKENDS["anthropic"].decode_message(request, answer)
    assert caught.value.kind == "upstream_bad_response"


@pytest.mark.parametrize("dialect", TRANSLATED)
@pytest.mark.parametrize("kind", ["html", "garbage"])
def test_what_comes_in_place_of_a_whole_answer(world: World, dialect: str, kind: str) -> None:
    world.script("a", fault={"kind": kind})
    refused(dialect, limited(world, dialect, 100), 502)
