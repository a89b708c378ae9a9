"""Stores keep what they are given, first come first kept, within their bounds."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from isthmus.storage import Store
from isthmus.storage.memory import ENTRY_BYTES, MemoryStore


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run(steps: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(steps())


def test_what_was_added_is_there_until_it_is_deleted(clock: Clock) -> None:
    async def steps() -> None:
        store: Store = MemoryStore(10_000, 60, clock)
        await store.add(b"a", b"1")
        await store.add(b"b", b"")
        assert await store.get([b"b", b"x", b"a"]) == [b"", None, b"1"]
        assert await store.delete(b"a") is True
        assert await store.delete(b"a") is False
        assert await store.get([b"a", b"b"]) == [None, b""]

    run(steps)


def test_the_first_value_of_a_key_stays(clock: Clock) -> None:
    async def steps() -> None:
        store = MemoryStore(10_000, 60, clock)
        await store.add(b"a", b"first")
        await store.add(b"a", b"second")
        assert await store.get([b"a"]) == [b"first"]

    run(steps)


def test_what_is_not_used_for_its_age_is_gone(clock: Clock) -> None:
    async def steps() -> None:
        store = MemoryStore(10_000, 60, clock)
        await store.add(b"used", b"1")
        await store.add(b"left", b"2")
        clock.now += 40
        assert await store.get([b"used"]) == [b"1"]
        clock.now += 40
        assert await store.get([b"used", b"left"]) == [b"1", None]
        clock.now += 60
        assert await store.get([b"used"]) == [None]
        assert store.bytes == 0

    run(steps)


def test_room_is_made_by_what_was_used_longest_ago(clock: Clock) -> None:
    async def steps() -> None:
        one = 1 + 100 + ENTRY_BYTES
        store = MemoryStore(3 * one, 60, clock)
        for key in (b"a", b"b", b"c"):
            await store.add(key, bytes(100))
        assert store.bytes == 3 * one
        await store.get([b"a"])
        await store.add(b"d", bytes(100))
        found = await store.get([b"a", b"b", b"c", b"d"])
        assert [value is not None for value in found] == [True, False, True, True]
        assert store.bytes == 3 * one

    run(steps)


def test_a_value_that_is_larger_than_the_store_drives_nothing_out(clock: Clock) -> None:
    async def steps() -> None:
        store = MemoryStore(1000, 60, clock)
        await store.add(b"a", b"1")
        await store.add(b"b", bytes(1000))
        assert await store.get([b"a", b"b"]) == [b"1", None]

    run(steps)
