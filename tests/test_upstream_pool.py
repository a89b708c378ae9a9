"""Who may send, in which order, and how long a connection is kept: by a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from isthmus.errors import GatewayError
from isthmus.upstream.connection import Connection
from isthmus.upstream.gate import Gate
from isthmus.upstream.pool import Bounds, Clock, Counts, Pool
from tests.conftest import Run


class Hands:
    """A clock that stands still until it is turned; what was to be called by then is called."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.alarms: list[tuple[float, Callable[[], Any]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], Any]) -> Any:
        alarm = (when, callback)
        self.alarms.append(alarm)

        class Handle:
            def cancel(_) -> None:  # noqa: N805
                self.alarms.remove(alarm)

        return Handle()

    def turn(self, seconds: float) -> None:
        self.now += seconds
        for alarm in [each for each in self.alarms if each[0] <= self.now]:
            self.alarms.remove(alarm)
            alarm[1]()


class Line:
    """As much of a connection as a pool sees."""

    def __init__(self, hands: Hands, owner: str | None = None) -> None:
        self.opened = self.idle_since = hands.now
        self.owner = owner
        self.closed = False

    def abort(self) -> None:
        self.closed = True


def pool(hands: Hands, **bounds: Any) -> Pool:
    return Pool(cast("Clock", hands), Bounds(**bounds), Counts())


def line(hands: Hands, owner: str | None = None) -> Connection:
    return cast("Connection", Line(hands, owner))


def test_the_connection_used_last_is_lent_first() -> None:
    hands = Hands()
    one = pool(hands)
    lines = [line(hands) for _ in range(3)]
    for each in lines:
        one.ended(each, True)
    assert [one.take() for _ in range(4)] == [*reversed(lines), None]


def test_a_timer_closes_what_is_idle() -> None:
    hands = Hands()
    one = pool(hands, idle_seconds=10.0)
    first, second = line(hands), line(hands)
    one.ended(first, True)
    hands.turn(6)
    one.ended(second, True)
    hands.turn(4)
    assert (first.closed, second.closed, one.idle) == (True, False, 1)
    hands.turn(6)
    assert (second.closed, one.idle, hands.alarms) == (True, 0, [])


def test_an_old_connection_is_not_kept_so_that_a_new_address_is_found() -> None:
    hands = Hands()
    one = pool(hands, max_age=100.0, idle_seconds=30.0)
    old = line(hands)
    for _ in range(3):
        hands.turn(30)
        one.ended(old, True)
        assert one.take() is old
    one.ended(old, True)
    hands.turn(15)
    assert one.take() is None
    assert old.closed
    late = line(hands)
    hands.turn(100)
    one.ended(late, True)
    assert (late.closed, one.idle) == (True, 0)


def test_so_many_idle_ones_are_kept() -> None:
    hands = Hands()
    one = pool(hands, idle=2)
    lines = [line(hands) for _ in range(3)]
    for each in lines:
        one.ended(each, True)
    assert [each.closed for each in lines] == [False, False, True]
    one.lost(lines[0])
    assert one.idle == 1
    one.close()
    assert (one.idle, lines[1].closed, hands.alarms) == (0, True, [])


def test_a_place_goes_to_who_waits_longest(run: Run) -> None:
    async def body() -> None:
        gate = Gate(1, 10)
        order: list[int] = []

        async def visitor(number: int) -> None:
            await gate.wait(5)
            order.append(number)

        assert gate.admits()
        tasks = [asyncio.create_task(visitor(number)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        for _ in range(3):
            assert not gate.admits()
            gate.leave()
            await asyncio.sleep(0.01)
        assert order == [0, 2, 3]
        gate.leave()
        assert gate.inside == 0

    run(body)


def test_a_waiter_who_is_cancelled_as_his_turn_comes_passes_it_on(run: Run) -> None:
    async def body() -> None:
        gate = Gate(1, 10)
        assert gate.admits()
        tasks = [asyncio.create_task(gate.wait(5)) for _ in range(2)]
        await asyncio.sleep(0)
        gate.leave()
        tasks[0].cancel()
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()
        assert not tasks[1].cancelled()
        assert gate.inside == 1

    run(body)


def test_nobody_waits_for_long_nor_in_a_long_line(run: Run) -> None:
    async def body() -> None:
        gate = Gate(1, 1)
        assert gate.admits()
        waiting = asyncio.create_task(gate.wait(0.05))
        await asyncio.sleep(0)
        for call in (gate.wait(0.05), waiting):
            with pytest.raises(GatewayError) as failure:
                await call
            error = failure.value
            assert (error.kind, error.retry_after, error.source) == ("unavailable", 1, "gateway")
        gate.leave()
        assert (gate.inside, gate.admits()) == (0, True)

    run(body)


def test_keys_have_limits_of_their_own(run: Run) -> None:
    async def body() -> None:
        hands = Hands()
        one = pool(hands, per_origin=3, per_key=1, wait=0.05)
        await one.enter("a")
        with pytest.raises(GatewayError):
            await one.enter("a")
        await one.enter("b")
        await one.enter("c")
        with pytest.raises(GatewayError):
            await one.enter("d")
        one.ended(line(hands, "b"), False)
        await one.enter("d")
        for owner in "acd":
            one.leave(owner)
        assert (one._gate.inside, one._owners) == (0, {})

    run(body)
