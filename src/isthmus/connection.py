"""One HTTP/1.1 connection to a provider: an exchange at a time, bounded in all that is read."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools

from isthmus.errors import GatewayError

HEAD_LIMIT = 64 * 1024
"""Bytes of status line and header fields of one response, interim responses included."""
FIELD_LIMIT = 200
HIGH_WATER = 256 * 1024
"""Bytes that wait for a slow reader before the socket is no longer read."""
IDLE_PER_ORIGIN = 64
LINGER_SECONDS = 1.0


class Unanswered(Exception):
    """The connection ended before a byte of the answer."""


class Connection(asyncio.Protocol):
    """One connection: at most one exchange at a time, then back to the pool or gone."""

    def __init__(self, pool: list[Connection]) -> None:
        self._pool = pool
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._busy = False
        self._failure: Exception | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self.closed = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.head_complete = self.complete = False
        self._head_bytes = self._fields = self._field_bytes = 0
        self._any_byte = False
        self._reusable = False

    # what the exchange does

    def begin(self, message: bytes) -> None:
        self._reset()
        self._busy = True
        self._transport.write(message)

    def take(self) -> bytes:
        """All bytes of the body that have come since the last time."""
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        if self._paused and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def more(self, seconds: float) -> bool:
        """Wait until something happens; false if nothing did. Raises what has failed."""
        if self._failure is not None:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._waiter
        except TimeoutError:
            return False
        finally:
            self._waiter = None
        if self._failure is not None and not self._buffer:
            raise self._failure
        return True

    def leave(self, linger: bool) -> None:
        """End the exchange: a clean connection goes back to the pool, any other is aborted."""
        if not self._busy or self._lingering is not None:
            return
        self._buffer.clear()
        if self._paused and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        if linger and not self.complete and not self.closed:
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(LINGER_SECONDS, self.abort)
        else:
            self._settle()

    def _settle(self) -> None:
        self._busy = False
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._is_clean() and len(self._pool) < IDLE_PER_ORIGIN:
            self.idle_since = asyncio.get_running_loop().time()
            self._pool.append(self)
        else:
            self.abort()

    def _is_clean(self) -> bool:
        """Whether the next request would be the next thing on the wire, and its answer the next."""
        unsent = not self.closed and self._transport.get_write_buffer_size()
        return self.complete and self._reusable and not self.closed and not unsent

    def abort(self) -> None:
        self._busy = False
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if not self.closed:
            self.closed = True
            self._transport.abort()

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy or self.complete:
            self._unsolicited()
            return
        self._any_byte = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(_not_http("an upgrade that nobody asked for"))
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, GatewayError) else _not_http(str(error)))
        if not self.head_complete:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT:
                self._fail(_not_http("too large a head"))
        if self.complete and self._lingering is not None:
            self._settle()  # only now: the same read may have brought more than was asked for
        self._wake()

    def _unsolicited(self) -> None:
        """Bytes that answer no request: the next caller must never see them."""
        self._reusable = False
        if not self._busy:
            self.abort()
            if self in self._pool:
                self._pool.remove(self)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self in self._pool:
            self._pool.remove(self)
        if self.complete or not self._busy:
            return
        if self.head_complete and self._until_close() and exc is None:
            self.complete = True
        elif not self._any_byte:
            self._failure = self._failure or Unanswered()
        else:
            self._failure = self._failure or disconnected()
        self._wake()

    def _until_close(self) -> bool:
        return not any(key in ("content-length", "transfer-encoding") for key, _ in self.headers)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        if not self.closed:
            self.closed = True
            self._transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # what the parser calls

    def on_message_begin(self) -> None:
        if self.complete:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        self._fields += 1
        self._field_bytes += len(name) + len(value) + 4
        if self._fields > FIELD_LIMIT or self._field_bytes > HEAD_LIMIT:
            raise _not_http("too large a head")
        if self.head_complete:
            return  # a trailer: nothing that we use stands there
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        self.status = self._parser.get_status_code()
        self._reusable = self._parser.should_keep_alive()
        self.head_complete = self.status >= 200

    def on_body(self, body: bytes) -> None:
        if self.complete or self._lingering is not None:
            return
        self._buffer.append(body)
        self._buffered += len(body)
        if self._buffered > HIGH_WATER and not self._paused and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.status < 200:
            self.headers = []
            return
        self.complete = True


def disconnected() -> GatewayError:
    return GatewayError(
        "upstream_disconnected",
        "the provider closed the connection in the middle",
        source="upstream",
    )


def _not_http(what: Any) -> GatewayError:
    return GatewayError(
        "upstream_bad_response", f"the provider sent bad HTTP: {what}", source="upstream"
    )
