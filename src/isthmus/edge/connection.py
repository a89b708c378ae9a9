"""One client's connection: requests one after the other, in order, each within its deadlines."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import structlog

from isthmus.edge.cycle import BODY_BUFFER, App, Cycle
from isthmus.edge.head import Head, Refused, end_of, parse, without_empty_lines

PIPELINED = 64 * 1024
"""Bytes of later requests that are read while one is answered: so its client's leaving is seen."""
DISCARDED = 1024 * 1024
"""Bytes of a body nobody wants that are read after the answer, lest the client never see that."""

TURNED_AWAY = 32
"""Connections beyond the limit that are told so at a time; any more are reset."""
SLOWEST = 1024
"""Bytes a second that a client must read of what waits for it."""

_log = structlog.get_logger("isthmus")


def most_connections() -> int:
    """How many clients there may be, given that each may need a connection to a provider too."""
    if sys.platform == "win32":
        return 4096
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return 65_536
    return max(8, (allowed - min(256, allowed // 4)) // 2)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and sizes that hold for every connection."""

    head_seconds: float = 10.0
    """For a head in all, however its bytes drip."""
    idle_seconds: float = 75.0
    """Between two requests."""
    stall_seconds: float = 30.0
    """That a client may read less than SLOWEST before it is given up."""
    linger_seconds: float = 2.0
    """For what a client still sends after an answer that ended its connection."""
    buffer_bytes: int = 64 * 1024
    """That wait for a client to read before its provider is read no further."""
    connections: int = field(default_factory=most_connections)


@dataclass(frozen=True, slots=True)
class Port:
    """What is served on a socket: an application, and what a request that cannot be read is told.

    ``answer`` makes a complete response, which ends the connection.
    """

    app: App
    answer: Callable[[Refused], bytes]


class Owner(Protocol):
    """What a connection needs of the edge."""

    limits: Limits
    draining: bool
    loop: asyncio.AbstractEventLoop

    def admit(self, connection: Connection) -> int: ...

    def forget(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """A connection of a client.

    ``deadline`` is the loop's time at which ``expire`` is due; nothing is due while an application
    answers and the client reads.
    """

    def __init__(self, edge: Owner, port: Port) -> None:
        self._edge = edge
        self._port = port
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._loop = edge.loop
        self._waiting = b""
        self._cycle: Cycle | None = None
        self._idle = False
        self._reading = True
        self._discarding = -1
        self._unsent = 0
        self._drain: asyncio.Future[None] | None = None
        self.full = False
        """Whether the client has to read before more is written."""
        self.deadline = math.inf
        self.scheme = "http"
        self.client: Any = None
        self.server: Any = None

    @property
    def busy(self) -> Cycle | None:
        """The request that is being answered."""
        return self._cycle

    # --- what the loop calls --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._edge.limits.buffer_bytes)
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        self.deadline = self._loop.time() + self._edge.limits.head_seconds
        room = self._edge.admit(self)
        if room < -TURNED_AWAY:
            self._transport.abort()
        elif room < 0:
            self._refuse(Refused("unavailable", "the gateway has too many connections"))

    def data_received(self, data: bytes) -> None:
        cycle = self._cycle
        if self._discarding >= 0:
            self._discard(len(data))
        elif cycle is not None and not cycle.body.complete:
            self._read_body(cycle, data)
        else:
            self._waiting = self._waiting + data if self._waiting else data
            if cycle is None:
                self._next()
            elif len(self._waiting) > PIPELINED:
                self._stop_reading()

    def eof_received(self) -> bool:
        """A client that will send no more counts as gone: one that has left looks the same."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.deadline = math.inf
        self._edge.forget(self)
        self.resume_writing()
        if self._cycle is not None:
            self._cycle.leave()

    def pause_writing(self) -> None:
        self.full = True
        self._await_reader()

    def resume_writing(self) -> None:
        self.full = False
        if self._discarding < 0 and self._cycle is not None:
            self.deadline = math.inf
        elif self._discarding < 0:
            limits = self._edge.limits
            rest = limits.idle_seconds if self._idle else limits.head_seconds
            self.deadline = self._loop.time() + rest
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)

    def _await_reader(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self._edge.limits.stall_seconds

    # --- requests -------------------------------------------------------------------------------

    def _next(self) -> None:
        """Begin with the next request, if its head is here."""
        try:
            data = self._waiting
            if data[:1] == b"\r":
                data = self._waiting = without_empty_lines(data)
            end = end_of(data) if data else 0
            if end:
                self._begin(parse(data[:end]), data[end:])
                return
        except Refused as refused:
            self._refuse(refused)
            return
        if self._waiting and self._idle:
            self._idle = False
            self.deadline = self._loop.time() + self._edge.limits.head_seconds

    def _begin(self, head: Head, rest: bytes) -> None:
        self._waiting = b""
        self._idle = False
        self.deadline = math.inf
        cycle = self._cycle = Cycle(self, head)
        if cycle.body.complete:
            self._waiting = rest
        elif rest:
            self._read_body(cycle, rest)
        if self._discarding < 0:
            cycle.start(self._port.app)

    def _read_body(self, cycle: Cycle, data: bytes) -> None:
        try:
            own, self._waiting = cycle.body.feed(data)
        except Refused as refused:
            cycle.close = True
            cycle.leave()
            if cycle.begun:
                self._transport.abort()
            else:
                self._refuse(refused)
            return
        cycle.put(own)
        if cycle.buffered > BODY_BUFFER:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _refuse(self, refused: Refused) -> None:
        """Answer what could not be read as a request, and end the connection."""
        self.write(self._port.answer(refused))
        self._end(linger=True)

    # --- what a cycle asks for ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has read enough, or has left."""
        if self._drain is None or self._drain.done():
            self._drain = self._loop.create_future()
        await self._drain

    def read_on(self) -> None:
        """There is room again for what the client sends."""
        if not self._reading and len(self._waiting) <= PIPELINED:
            self._reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def closes(self, cycle: Cycle) -> bool:
        """Whether the connection ends after this response."""
        return not cycle.head.keep_alive or self._edge.draining or not cycle.body.complete

    def finish(self, cycle: Cycle) -> None:
        """The application is done with a request."""
        if cycle is not self._cycle or self._discarding >= 0 or cycle.gone:
            return
        self._cycle = None
        if not cycle.begun:
            self._refuse(Refused("internal", "an error of the gateway itself"))
        elif not cycle.ended:
            self._transport.abort()
        elif cycle.close or self._edge.draining:
            self._end(linger=not cycle.body.complete or bool(self._waiting))
        else:
            self._idle = True
            if not self.full:
                self.deadline = self._loop.time() + self._edge.limits.idle_seconds
            self.read_on()
            if self._waiting:
                self._next()

    # --- the end --------------------------------------------------------------------------------

    def _end(self, *, linger: bool) -> None:
        """Close after what was written has left.

        With ``linger`` the client may still send: closing at once would reset the connection, and
        the answer could be lost on the way (RFC 9112, section 9.6).
        """
        self._discarding = 0
        if not linger:
            self._await_reader()
            self._transport.close()
            return
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self._edge.limits.linger_seconds
        self._reading = True
        self._waiting = b""
        if not self._transport.is_closing():
            self._transport.resume_reading()
            if self._transport.can_write_eof():  # TLS cannot, but its answers say their length
                self._transport.write_eof()

    def _discard(self, size: int) -> None:
        self._discarding += size
        if self._discarding > DISCARDED:
            self._transport.abort()

    def quit(self) -> None:
        """Close if nothing of a request has come; else after it has been answered."""
        if self._cycle is None and self._discarding < 0 and not self._waiting:
            self._end(linger=False)

    def abort(self) -> None:
        self._transport.abort()

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = math.inf
        if self.full or self._discarding >= 0:
            self._expire_unread()
        elif self._idle or not self._waiting:
            self._end(linger=False)
        else:
            self._refuse(Refused("request_timeout", "the head of the request did not come in time"))

    def _expire_unread(self) -> None:
        """Give up a client that does not read, but not one that reads slowly."""
        due = SLOWEST * self._edge.limits.stall_seconds
        unsent = self._transport.get_write_buffer_size()
        if unsent and unsent <= self._unsent - due:
            self._await_reader()
            return
        if unsent:
            _log.warning("a client does not read", client=self.client)
        self._transport.abort()


def _address(value: Any) -> tuple[str, int] | None:
    return (value[0], value[1]) if isinstance(value, tuple) else None
