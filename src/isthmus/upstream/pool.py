"""The connections to one origin: those that wait for a next request, and how many may be at work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from isthmus.upstream.connection import Connection
from isthmus.upstream.gate import Gate


class Clock(Protocol):
    """What a pool needs of an event loop."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> asyncio.TimerHandle: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections there may be to one origin, and for how many seconds.

    ``per_origin`` and ``per_key`` bound the exchanges at once; beyond them ``line`` requests wait for
    at most ``wait`` seconds. ``idle_seconds`` is shorter than what providers grant an unused
    connection, so that few die in use; ``max_age`` bounds how long a change of address goes unnoticed.
    """

    per_origin: int = 10_000
    per_key: int | None = None
    line: int = 1000
    wait: float = 2.0
    idle: int = 64
    idle_seconds: float = 25.0
    max_age: float = 600.0


@dataclass(slots=True)
class Counts:
    """What has happened to connections since the start."""

    opened: int = 0
    reused: int = 0
    retried: int = 0
    """Requests sent once more, because a reused connection had died."""
    unsolicited: int = 0
    """Connections discarded because bytes came that answered no request."""


class Pool:
    """Lends the connection that was used last; the others grow old, and a timer closes them."""

    def __init__(self, clock: Clock, bounds: Bounds, counts: Counts) -> None:
        self._clock = clock
        self._bounds = bounds
        self._counts = counts
        self._gate = Gate(bounds.per_origin, bounds.line)
        self._owners: dict[str, Gate] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._idle: dict[Connection, None] = {}  # in the order in which they became so
        self._lingering: set[Connection] = set()

    # who may send

    async def enter(self, owner: str) -> None:
        """Wait for the right to one exchange, which ``leave`` gives back. Raises GatewayError."""
        own = self._own(owner)
        if own is not None and not own.admits():
            await own.wait(self._bounds.wait)
        if self._gate.admits():
            return
        try:
            await self._gate.wait(self._bounds.wait)
        except BaseException:
            self._leave_own(owner)
            raise

    def leave(self, owner: str) -> None:
        self._gate.leave()
        self._leave_own(owner)

    def _own(self, owner: str) -> Gate | None:
        if self._bounds.per_key is None:
            return None
        gate = self._owners.get(owner)
        if gate is None:
            gate = self._owners[owner] = Gate(self._bounds.per_key, self._bounds.line)
        return gate

    def _leave_own(self, owner: str) -> None:
        gate = self._owners.get(owner)
        if gate is not None:
            gate.leave()
            if not gate.inside:
                del self._owners[owner]

    # which connection carries it

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self) -> Connection | None:
        """A connection that can carry an exchange, if there is one."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if self._is_fresh(connection):
                self._counts.reused += 1
                return connection
            connection.abort()
        return None

    def lingers(self, connection: Connection) -> None:
        """Note that only the end of an answer is still awaited, by nobody but us."""
        self._lingering.add(connection)

    def ended(self, connection: Connection, clean: bool) -> None:
        self._lingering.discard(connection)
        if connection.owner is not None:
            self.leave(connection.owner)
            connection.owner = None
        if not clean:
            return
        now = connection.idle_since = self._clock.time()
        if len(self._idle) >= self._bounds.idle or now - connection.opened >= self._bounds.max_age:
            connection.abort()
            return
        self._idle[connection] = None
        if self._timer is None:
            self._set_timer(connection)

    def lost(self, connection: Connection) -> None:
        self._idle.pop(connection, None)

    def unsolicited(self) -> None:
        self._counts.unsolicited += 1

    def close(self) -> None:
        """Give up the connections that no exchange uses."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._idle.popitem()[0].abort()
        for connection in list(self._lingering):
            connection.abort()

    def _is_fresh(self, connection: Connection) -> bool:
        now, bounds = self._clock.time(), self._bounds
        young = now - connection.opened < bounds.max_age
        return young and now - connection.idle_since < bounds.idle_seconds and not connection.closed

    def _set_timer(self, eldest: Connection) -> None:
        end = eldest.idle_since + self._bounds.idle_seconds
        self._timer = self._clock.call_at(end, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._clock.time()
        for connection in list(self._idle):
            if now - connection.idle_since < self._bounds.idle_seconds:
                self._set_timer(connection)
                return
            del self._idle[connection]
            connection.abort()
