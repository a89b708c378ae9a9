"""Many clients at once while their providers fail in every way: each is answered, wholly and once.

2,000 requests through one process, in a few seconds, and some through three workers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from isthmus.simulator import Options
from tests import material
from tests.harness import UPSTREAM_KEY, VERSION, World, message
from tests.staged import eventually
from tests.storm import BENCH, CASES, EJECT, FIRST_EVENT, LONG, MODEL, Place, Storm

NAMES = ("a", "b", "c")
KEYS = tuple(f"sk-storm-{number}-{'x' * 20}" for number in range(3))
RETRY = {"long_cool_seconds": LONG, "bench_seconds": BENCH, "eject_seconds": EJECT}
ORDERED = f"a:{MODEL}|b:{MODEL}|c:{MODEL}"
WEIGHTED = f"[weight=2]a:{MODEL}^b:{MODEL}^c:{MODEL}"
BY_TYPE = f"anthropic:{MODEL}"
ACROSS_WORKERS = 0.3
"""Seconds, many times what word of a key takes from one worker to another on an idle machine."""


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


def three_backends(**config: Any) -> World:
    """Three accounts at three providers."""
    # Without lists of models every request that arrives is one of the storm's.
    backend = {"models": []}
    timeouts = {"first_event": FIRST_EVENT}
    return World(names=NAMES, backend=backend, retry=RETRY, timeouts=timeouts, **config)


def three_keys(**config: Any) -> World:
    """Three keys of one backend."""
    backend = {"models": [], "api_key": None, "api_keys": list(KEYS)}
    options = Options(api_keys=KEYS)
    timeouts = {"first_event": FIRST_EVENT}
    return World(options, backend=backend, retry=RETRY, timeouts=timeouts, **config)


def at_rest(world: World) -> bool:
    """Whether no simulator is still answering anybody."""
    return eventually(lambda: not any(s.api.counters.streams for s in world.simulators.values()), 5)


def test_all_are_answered_by_one_of_three_backends() -> None:
    world = three_backends()
    try:
        storm = Storm(world, Place("c", UPSTREAM_KEY))
        storm.blow(1500, [ORDERED, WEIGHTED, BY_TYPE])
        storm.each_is_answered_once()
        storm.each_is_told()
        storm.order_is_kept(ORDERED, NAMES)
        assert storm.no_shut_key_is_asked() > 3
        assert storm.met("ab").keys() == CASES.keys(), "every trouble has its turn"
        assert at_rest(world)
    finally:
        world.close()


def test_all_are_answered_with_one_of_three_keys() -> None:
    world = three_keys()
    try:
        storm = Storm(world, Place("anthropic", KEYS[2]), seed=6)
        storm.blow(500, [MODEL])
        storm.each_is_answered_once()
        storm.each_is_told()
        assert storm.no_shut_key_is_asked() > 1
        assert at_rest(world)
    finally:
        world.close()


# --- several workers ----------------------------------------------------------------------------

processes = pytest.mark.skipif(sys.platform != "linux", reason="workers share their sockets")


@processes
@pytest.mark.parametrize("kind", ["backends", "keys"])
def test_all_are_answered_by_three_workers(kind: str) -> None:
    world = three_backends(workers=3) if kind == "backends" else three_keys(workers=3)
    safe = Place("c", UPSTREAM_KEY) if kind == "backends" else Place("anthropic", KEYS[2])
    try:
        storm = Storm(world, safe, seed=7)
        storm.blow(150, [ORDERED, WEIGHTED, BY_TYPE] if kind == "backends" else [MODEL])
        storm.each_is_answered_once()
        storm.each_is_told()
        assert storm.no_shut_key_is_asked(ACROSS_WORKERS) > 1
        assert at_rest(world)
    finally:
        world.close()


@processes
def test_a_cooled_key_is_left_alone_by_all_workers_and_probed_by_one() -> None:
    world = three_keys(workers=3)
    slow = '[[sim:{"fault": {"kind": "slow_head", "seconds": 0.6}}]]'

    def ask(number: int) -> None:
        reply = world.post("/v1/messages", message(f"no.{number}; {slow}"), **VERSION)
        assert reply.status == 200, reply.body

    def used() -> list[str]:
        return [dict(received.headers)["x-api-key"] for received in world.received()]

    try:
        world.script(error={"status": 429, "retry_after": 2})
        ask(0)
        began = time.monotonic()
        [cooled, *_] = used()
        with ThreadPoolExecutor(12) as threads:
            time.sleep(ACROSS_WORKERS)
            list(threads.map(ask, range(12)))
            assert used().count(cooled) == 1, "all of them know"
            time.sleep(max(0.0, began + 2.1 - time.monotonic()))
            list(threads.map(ask, range(12)))
            assert used().count(cooled) == 2, "one probe of all workers together"
            list(threads.map(ask, range(12)))
            assert used().count(cooled) > 3, "and its answer opens the key for all"
    finally:
        world.close()
