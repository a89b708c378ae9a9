"""Several keys over real sockets: which one is asked, which is left alone, and what clients see of that.

``Clock`` puts the gateway's own clock forward, so that the times are those of the documentation.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest

from isthmus import gateway
from isthmus.profiles import profile
from isthmus.request import Target
from isthmus.routing.journey import family
from isthmus.simulator import Options
from isthmus.steps.failover import MOVED
from isthmus.steps.refused import LEFT_OUT
from tests.harness import VERSION, Reply, World, message
from tests.staged import eventually, refused
from tests.test_failover import FAILURES, KEYS, fleet, keys_used, pooled, send, well
from tests.test_refused import Talk
from tests.test_server import DIALECTS

MODEL = "claude-sonnet-4-5"
OTHER = "claude-haiku-4-5"
EACH = pytest.mark.parametrize("dialect", DIALECTS)


class Clock:
    """The time that a gateway goes by: its event loop's, and ``ahead`` seconds more."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(gateway, "now", made)
    return made


@pytest.fixture
def pool(clock: Clock) -> Iterator[World]:
    """One provider, three keys."""
    made = pooled()
    yield made
    made.close()


def limited(seconds: float | None = None, **headers: str) -> dict[str, Any]:
    error: dict[str, Any] = {"status": 429, "type": "rate_limit_error", "headers": headers}
    return {"error": error if seconds is None else {**error, "retry_after": seconds}}


def standings(world: World, family: str | None = None) -> dict[str, str]:
    """The state of each key, as a whole or for a family of models."""
    rows = world.get("/admin/routes").json()["keys"]
    return {row["key"]: row["state"] for row in rows if row["family"] == family}


# --- which key ----------------------------------------------------------------------------------


def test_a_session_keeps_its_key_whatever_it_says(pool: World) -> None:
    used: set[str] = set()
    for session in range(12):
        for turn in range(3):
            body = message(f"word {session} {turn}", model=MODEL)
            headers = {**VERSION, "x_claude_code_session_id": f"s-{session}"}
            assert pool.post("/v1/messages", body, **headers).status == 200
        last = keys_used(pool)[-3:]
        assert len(set(last)) == 1
        used |= set(last)
    assert len(used) > 1, "sessions spread"


def test_accounts_under_names_of_their_own_are_one_pool_by_their_type() -> None:
    world = fleet()
    try:
        for number in range(9):
            reply = send(world, "anthropic", f"anthropic:{MODEL}", text=f"n {number}")
            well("anthropic", reply, stream=False)
        assert [len(world.received(name)) for name in "abc"] == [3, 3, 3]
    finally:
        world.close()


def test_the_key_with_the_most_headroom_is_asked(pool: World) -> None:
    """What is left of the scarcest limit counts, in tenths; the first answer tells of little."""
    limits = {"anthropic-ratelimit-requests-limit": "100"}
    for left in ("5", "60", "50"):
        pool.script(headers={**limits, "anthropic-ratelimit-requests-remaining": left})
    for _ in KEYS:
        well("anthropic", send(pool, "anthropic", MODEL), stream=False)
    first = keys_used(pool)
    assert sorted(first) == KEYS, "what is not known is full"
    pool.script(headers={**limits, "anthropic-ratelimit-requests-remaining": "4"})
    for _ in range(2):
        well("anthropic", send(pool, "anthropic", MODEL), stream=False)
    assert keys_used(pool)[3:] == first[1:]


# --- limits -------------------------------------------------------------------------------------


def storm() -> list[dict[str, Any]]:
    """Every way to say when to come again, the senseless ones too."""
    now = time.time()
    said = ["0", "-1", "1.5", "1e9", formatdate(now - 60, usegmt=True), "soon", ""]
    said += [formatdate(now + 30, usegmt=True)]
    rows = [limited(**{"retry-after": text}) for text in said]
    return [*rows, limited(), limited(**{"retry-after-ms": "2500"})]


@EACH
def test_t056_a_storm_of_rate_limits(dialect: str) -> None:
    """Twenty keys: three are tried for each request, nothing is waited for, and a sane time is told."""
    many = [f"sk-many-{number:02}-{'x' * 20}" for number in range(20)]
    backend = {"api_key": None, "api_keys": many}
    world = World(Options(api_keys=tuple(many)), backend=backend, retry={"repeats": 2})
    try:
        for row in storm() * 3:
            world.script(**row)
        began = time.monotonic()
        for number in range(10):
            before = len(world.received())
            reply = send(world, dialect, MODEL, text=f"n {number}")
            if reply.status == 429:
                assert 1 <= int(reply.headers["retry-after"]) <= 3600
            else:
                well(dialect, reply, stream=False)  # all that were scripted have been told
            assert len(world.received()) - before <= 3
        assert time.monotonic() - began < 5
        used = keys_used(world)[:20]
        assert len(set(used)) == 20, "no key is asked again while others are left"
    finally:
        world.close()


def test_t057_all_keys_cool_and_five_hundred_ask(pool: World) -> None:
    for seconds in (300, 120, 240):
        pool.script(**limited(seconds))
    assert send(pool, "anthropic", MODEL).status == 429
    assert len(pool.received()) == 3
    assert set(standings(pool, "sonnet").values()) == {"cooling"}
    for dialect in DIALECTS:
        began = time.monotonic()
        for number in range(125):
            reply = send(pool, dialect, MODEL, text=f"n {number}", stream=number % 2 > 0)
            text = refused(dialect, reply, 429)
            assert "cooling down" in text
            assert not any(key in str(reply) for key in KEYS)
            assert 60 < int(reply.headers["retry-after"]) <= 120, "the soonest of the three"
        assert time.monotonic() - began < 125 * 0.020
    assert len(pool.received()) == 3, "not one request to a key that cools down"


def test_t058_one_request_tries_each_key_whose_time_has_come(pool: World, clock: Clock) -> None:
    for _ in KEYS:
        pool.script(**limited(30))
    assert send(pool, "anthropic", MODEL).status == 429
    clock.ahead += 31
    for _ in KEYS:
        pool.script(fault={"kind": "stall", "seconds": 1.5})

    def one(number: int) -> Reply:
        return send(pool, "anthropic", MODEL, text=f"n {number}")

    with ThreadPoolExecutor(30) as herd:
        replies = list(herd.map(one, range(30)))
    assert Counter(reply.status for reply in replies) == {200: 3, 429: 27}
    told = [int(reply.headers["retry-after"]) for reply in replies if reply.status == 429]
    assert max(told) <= 10, "a probe holds nobody up for longer"
    assert sorted(keys_used(pool)[3:]) == KEYS, "one request to each key"
    for number in range(6):
        well("anthropic", one(number), stream=False)
    assert len(pool.received()) == 12


def test_a_limit_on_one_family_leaves_the_key_to_the_others(pool: World) -> None:
    for _ in KEYS:
        pool.script(**limited(60))
    assert send(pool, "openai-chat", MODEL).status == 429
    well("openai-chat", send(pool, "openai-chat", OTHER), stream=False)
    assert send(pool, "openai-chat", MODEL).status == 429


@pytest.mark.parametrize(
    ("model", "row", "name"),
    [
        (MODEL, MODEL, "sonnet"),
        (f"{MODEL}-20250929", MODEL, "sonnet"),
        # a model that nobody knows counts as the newest one in all but its limits
        ("llama3:8b", "claude-fable-5-2", "llama3:8b"),
        ("llama3:8b", None, "llama3:8b"),
    ],
)
def test_models_that_share_a_limit(model: str, row: str | None, name: str) -> None:
    assert family(Target("a", model, profile=profile(row) if row else None), "messages") == name


NO_TIME = {
    "429 without a time": (limited(), 429),
    "credit": (FAILURES["400 for credit"], 400),
    "spend limit": (FAILURES["400 for a limit"], 400),
    "402": (FAILURES["402"], 402),
}


@pytest.mark.parametrize("case", NO_TIME)
def test_a_key_without_credit_rests_for_long_and_for_all_models(
    pool: World, clock: Clock, case: str
) -> None:
    script, status = NO_TIME[case]
    pool.script(**script)
    well("openai-chat", send(pool, "openai-chat", MODEL), stream=False)
    spent = keys_used(pool)[0]
    clock.ahead += 590  # long_cool_seconds is 600
    for model in (MODEL, OTHER) * 6:
        well("openai-chat", send(pool, "openai-chat", model), stream=False)
    assert keys_used(pool).count(spent) == 1
    clock.ahead += 11
    for _ in range(6):
        well("openai-chat", send(pool, "openai-chat", MODEL), stream=False)
    assert keys_used(pool).count(spent) > 1, "nothing is shut for ever"
    for _ in KEYS:
        pool.script(**script)
    refused("openai-chat", send(pool, "openai-chat", MODEL), status)


@EACH
def test_an_hour_is_not_waited_for(dialect: str) -> None:
    """It is passed on at once, or another target answers."""
    world = fleet(retry={"repeats": 2})
    try:
        world.script("a", **limited(3600))
        began = time.monotonic()
        well(dialect, send(world, dialect, f"a:{MODEL}|b:{MODEL}"), stream=False)
        reply = send(world, dialect, f"a:{MODEL}")
        refused(dialect, reply, 429)
        assert 3500 < int(reply.headers["retry-after"]) <= 3600
        assert time.monotonic() - began < 2
        assert len(world.received("a")) == 1
    finally:
        world.close()


# --- failures -----------------------------------------------------------------------------------


def test_t061_one_of_three_fails_and_then_all(clock: Clock) -> None:
    world = fleet()
    selector = f"anthropic:{MODEL}"

    def ask(times: int) -> list[int]:
        """What each provider gets of so many requests, all of which are answered."""
        before = [len(world.received(name)) for name in "abc"]
        for _ in range(times):
            well("anthropic", send(world, "anthropic", selector), stream=False)
        return [len(world.received(n)) - b for n, b in zip("abc", before, strict=True)]

    try:
        for _ in range(6):
            world.script("b", **FAILURES["500"])
        assert ask(24)[1] == 5, "five failures in a row, and its share is 0"
        assert standings(world, "sonnet")["b"] == "ejected"
        clock.ahead += 29
        assert ask(6)[1] == 0
        clock.ahead += 2
        assert ask(12)[1] == 1, "one request tries it, and fails"
        clock.ahead += 59
        assert ask(6)[1] == 0, "twice as long"
        clock.ahead += 2
        assert ask(12)[1] > 1, "it is back"

        for name in "abc":
            for _ in range(9):
                world.script(name, **FAILURES["500"])
        for _ in range(6):
            assert send(world, "anthropic", selector).status == 500
        states = standings(world, "sonnet")
        assert set(states.values()) == {"ejected"}
        before = len([r for name in "abc" for r in world.received(name)])
        assert send(world, "anthropic", selector).status == 500
        after = len([r for name in "abc" for r in world.received(name)])
        assert after > before, "where nothing else is left they are tried all the same"
        for simulator in world.simulators.values():
            simulator.scripts.clear()
        well("anthropic", send(world, "anthropic", selector), stream=False)
    finally:
        world.close()


# --- clients that leave ---------------------------------------------------------------------------


def leave(world: World, seen: int) -> None:
    """Ask, and hang up once the provider has been asked ``seen`` times."""
    connection = http.client.HTTPConnection("127.0.0.1", world.port, timeout=10)
    body = json.dumps(message("hi", model=MODEL, stream=True))
    connection.request("POST", "/v1/messages", body, {"anthropic-version": "2023-06-01"})
    assert eventually(lambda: len(world.received()) >= seen, 5)
    connection.close()


def test_a_client_that_leaves_counts_against_no_key(clock: Clock) -> None:
    world = World(retry={"failures": 2, "repeats": 0})
    try:
        for number in range(1, 6):
            world.script(fault={"kind": "stall", "after": number % 3, "seconds": 20})
            leave(world, number)
        assert eventually(lambda: world.simulator.api.counters.aborted_by_client == 5)
        well("anthropic", send(world, "anthropic", MODEL), stream=False)
        rows = world.get("/admin/routes").json()["keys"]
        assert {(row["state"], row["failures"]) for row in rows} == {("open", 0)}
        # Neither does a probe that a client abandons: the next request is one.
        world.script(**limited(30))
        assert send(world, "anthropic", MODEL).status == 429
        clock.ahead += 31
        world.script(fault={"kind": "stall", "seconds": 20})
        leave(world, 8)
        assert eventually(lambda: send(world, "anthropic", MODEL).status == 200, 5)
    finally:
        world.close()


def test_a_client_that_leaves_between_two_attempts_ends_them() -> None:
    world = World(retry={"repeats": 2})
    try:
        for _ in range(3):
            world.script(**FAILURES["529"])
        leave(world, 1)  # before the pause of half a second is over
        time.sleep(1.0)
        assert len(world.received()) == 1
    finally:
        world.close()


# --- what moves with a conversation ---------------------------------------------------------------


def talked(**options: Any) -> tuple[World, Talk]:
    """A conversation with reasoning, whose key has just been limited; each key is another account's."""
    made = Options(api_keys=tuple(KEYS), organization_per_key=True, **options)
    backend = {"api_key": None, "api_keys": KEYS}
    world = World(made, backend=backend, retry={"repeats": 0})
    talk = Talk(world)
    for text in ("One", "Two"):
        assert talk.say(text).status == 200
    assert len(set(keys_used(world))) == 1
    world.script(**limited(60))
    return world, talk


def test_a_conversation_moves_to_another_account_with_a_note() -> None:
    world, talk = talked()
    try:
        assert talk.say("Three").status == 200
        assert MOVED in talk.notes
        assert talk.thoughts() == [1, 1], "its reasoning goes along as it is"
        moved = keys_used(world)[-1]
        assert moved not in keys_used(world)[:-1]
        assert talk.say("Four").status == 200
        assert talk.notes == ""
        assert keys_used(world)[-1] == moved
    finally:
        world.close()


def test_what_another_account_refuses_is_left_out_once() -> None:
    world, talk = talked()
    try:
        text = "messages.1.content.0: Invalid `signature` in `thinking` block"
        error = {"status": 400, "type": "invalid_request_error", "message": text}
        world.script(error=error)
        assert talk.say("Three").status == 200
        assert LEFT_OUT in talk.notes
        assert talk.thoughts() == [0, 0]
        assert len(world.received()) == 5, "limited, refused, answered"
    finally:
        world.close()


# --- places ---------------------------------------------------------------------------------------


def test_a_place_at_a_provider_is_given_back_and_blames_no_key() -> None:
    """One connection to each provider: who finds none goes on, or is told when to come again."""
    world = fleet(limits={"connections_per_backend": 1})
    try:
        for number in range(1, 4):
            world.script("a", fault={"kind": "stall", "after": 1, "seconds": 20})
            leave(world, number)
        world.script("a", fault={"kind": "stall", "seconds": 3.5})
        with ThreadPoolExecutor(3) as threads:
            first = threads.submit(send, world, "anthropic", f"a:{MODEL}")
            assert eventually(lambda: len(world.received("a")) == 4)
            moved = threads.submit(send, world, "anthropic", f"a:{MODEL}|b:{MODEL}")
            turned_away = send(world, "anthropic", f"a:{MODEL}")
            refused("anthropic", turned_away, 503)
            assert int(turned_away.headers["retry-after"]) >= 1
            assert moved.result().headers["x-isthmus-target"] == f"b:{MODEL}"
            well("anthropic", first.result(), stream=False)
        assert len(world.received("a")) == 4
        assert set(standings(world).values()) == {"open"}
        assert "ejected" not in standings(world, "sonnet").values()
    finally:
        world.close()
