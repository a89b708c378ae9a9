"""One connection to a provider: an exchange at a time, back-pressure both ways, given up at any moment."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

from isthmus.errors import GatewayError
from isthmus.upstream.parser import ResponseParser

HIGH_WATER = 64 * 1024
"""Bytes that wait for a slow reader before the socket is no longer read."""
SMALL = 64 * 1024
"""Bytes of a request body that rather are copied behind their head than written by themselves."""
PIECE = 256 * 1024
"""How much of a larger one is given to TLS at a time, which makes a copy of all that it is given."""
LINGER_SECONDS = 1.0


class Unanswered(Exception):
    """The connection ended before a byte of the answer."""


class Home(Protocol):
    """Where a connection belongs."""

    def lingers(self, connection: Connection) -> None:
        """Nobody but the connection itself waits for the end of its exchange."""
        ...

    def ended(self, connection: Connection, clean: bool) -> None:
        """An exchange has ended; a clean connection can carry another."""
        ...

    def lost(self, connection: Connection) -> None:
        """An idle connection is gone."""
        ...

    def unsolicited(self) -> None:
        """Bytes came that answer no request."""
        ...


class Connection(asyncio.Protocol):
    """One connection: at most one exchange at a time, then back home or gone."""

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self._home = home
        self._loop = loop
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._waiter: asyncio.Future[bool] | None = None
        self._until = self._timed = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reading = self._writing = True
        self._encrypted = False
        self._unsent: memoryview | None = None
        self._busy = False
        self._failure: Exception | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self.answer = ResponseParser()
        self.closed = False
        self.opened = self.idle_since = self.progress = loop.time()
        self.owner: str | None = None
        """Whose exchange it carries and accounts for at its home; None for nobody's."""

    # what the exchange does

    def begin(self, head: bytes, body: bytes) -> None:
        """Send a request; what the transport does not take now follows as it drains."""
        self.answer.reset()
        self._busy = True
        if len(body) <= SMALL:
            self._transport.write(head + body)
            return
        self._transport.write(head)
        if self._encrypted:
            self._unsent = memoryview(body)
            self._send()
        else:
            self._transport.write(body)

    @property
    def stuck(self) -> bool:
        """Whether the provider is not taking the request, since ``progress``."""
        return not self._writing

    def take(self) -> bytes:
        """All bytes of the body that have come since the last time."""
        data = self.answer.take()
        if not self._reading:
            self._read_on()
        return data

    async def more(self, until: float) -> bool:
        """Wait until something happens; false if nothing did by that time. Raises what has failed."""
        if self._failure is not None:
            raise self._failure
        waiter = self._waiter = self._loop.create_future()
        self._until = until
        # A timer that is early enough is not set anew for each wait: it looks when it goes off.
        if self._timer is None or self._timed > until:
            self._set_timer()
        try:
            happened = await waiter
        finally:
            self._waiter = None
        if self._failure is not None and not self.answer.body:
            raise self._failure
        return happened

    def leave(self, linger: bool) -> None:
        """End the exchange: a clean connection goes home, any other is aborted."""
        if not self._busy or self._lingering is not None:
            return
        self.answer.discarding = True
        self.take()
        if linger and not self.answer.complete and not self.closed:
            self._lingering = self._loop.call_later(LINGER_SECONDS, self.abort)
            self._home.lingers(self)
        else:
            self._settle()

    def abort(self) -> None:
        """Give the connection up, with what it carries."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._hang_up()
        if self._busy:
            self._busy = False
            self._home.ended(self, False)

    def _settle(self) -> None:
        """Whether the next request would be the next thing on the wire, and its answer the next."""
        answer = self.answer
        if not answer.complete or not answer.reusable or self.closed or self._has_unsent():
            self.abort()
            return
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._busy = False
        self._home.ended(self, True)

    def _has_unsent(self) -> bool:
        return not self._writing or self._transport.get_write_buffer_size() > 0

    def _hang_up(self) -> None:
        self._unsent = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.closed:
            self.closed = True
            self._transport.abort()

    def _read_on(self) -> None:
        self._reading = True
        if not self.closed:
            self._transport.resume_reading()

    def _send(self) -> None:
        while self._unsent is not None and self._writing and not self.closed:
            piece, rest = self._unsent[:PIECE], self._unsent[PIECE:]
            self._unsent = rest or None
            self._transport.write(piece)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timed = self._until
        self._timer = self._loop.call_at(self._timed, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._until:
            self._set_timer()
        else:
            self._waiter.set_result(False)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._hang_up()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._encrypted = transport.get_extra_info("ssl_object") is not None

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if not self._busy or answer.complete:
            self._unsolicited()
            return
        try:
            answer.feed(data)
        except GatewayError as error:
            self._fail(error)
        if answer.complete:
            if self._lingering is not None:
                self._settle()  # only now: the same read may have brought more than was asked for
        elif answer.held > HIGH_WATER and self._reading and not self.closed:
            self._reading = False
            self._transport.pause_reading()
        self._wake()

    def _unsolicited(self) -> None:
        """Bytes that answer no request: the next caller must never see them."""
        self._home.unsolicited()
        self.answer.reusable = False
        if not self._busy:
            self.abort()
            self._home.lost(self)

    def pause_writing(self) -> None:
        self._writing = False
        self.progress = self._loop.time()
        self._wake()  # whoever waits has another deadline now

    def resume_writing(self) -> None:
        self._writing = True
        self.progress = self._loop.time()
        self._send()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._hang_up()
        if not self._busy:
            self._home.lost(self)
            return
        if self._lingering is not None:
            self.abort()
            return
        answer = self.answer
        if answer.complete or (exc is None and self._failure is None and answer.finish()):
            self._wake()
            return
        if self._failure is None:
            self._failure = _failure(exc, answer.any_byte)
        self._wake()


def _failure(exc: Exception | None, any_byte: bool) -> Exception:
    """Why an exchange broke off."""
    if isinstance(exc, ssl.SSLError) and not any_byte:
        # TLS 1.3 tells only after the handshake that a client certificate was wanted.
        reason = exc.reason or "protocol error"
        return GatewayError(
            "upstream_tls", f"the provider's TLS failed: {reason}", source="upstream"
        )
    return disconnected() if any_byte else Unanswered()


def disconnected() -> GatewayError:
    return GatewayError(
        "upstream_disconnected",
        "the provider closed the connection in the middle",
        source="upstream",
    )
