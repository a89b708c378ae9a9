"""The HTTP/1.1 client that talks to providers: pool, deadlines, cancellation, back-pressure.

Ours because it is the data path: general clients cost several times as much per request, and the
ones we measured hand an unsolicited response to the next caller or cannot be cancelled before the
headers. It follows no redirect and asks for no compression.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from isthmus.errors import GatewayError
from isthmus.request import Headers, HttpRequest

HEAD_LIMIT = 64 * 1024
"""Bytes of status line and header fields of one response, interim responses included."""
FIELD_LIMIT = 200
HIGH_WATER = 256 * 1024
"""Bytes that wait for a slow reader before the socket is no longer read."""
IDLE_SECONDS = 25.0
"""How long an unused connection is kept: shorter than what providers grant, so that few die in use."""
IDLE_PER_ORIGIN = 64
LINGER_SECONDS = 1.0
_SAFE_TARGET = frozenset(map(chr, range(0x21, 0x7F)))
_FORBIDDEN = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: to connect (TLS included), to the response head, between bytes, and in all."""

    connect: float = 5.0
    first_event: float = 300.0
    idle: float = 300.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a base URL points: scheme, host, port, and the path that every request path follows."""

    tls: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def of(cls, base_url: str) -> Origin:
        """Raises ValueError for what is no http or https URL with a host."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url!r} is not an http or https URL")
        tls = parts.scheme == "https"
        return cls(tls, parts.hostname, parts.port or (443 if tls else 80), parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Response:
    """The head of an answer, and its body as an iterator of what each read brought.

    Whoever holds it calls ``close`` in the end, at any moment; unread bytes are then given up.
    """

    def __init__(self, connection: _Connection, deadlines: Deadlines, started: float) -> None:
        self._connection = connection
        self._deadlines = deadlines
        self._started = started
        self.status = connection.status
        self.headers: Headers = tuple(connection.headers)

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def close(self, *, linger: bool = False) -> None:
        """End the exchange. With ``linger`` the end of the body may still come, for LINGER_SECONDS,
        so that the connection can be used again: for a stream whose last event is known.
        """
        self._connection.leave(linger)

    async def chunks(self, tick: float) -> AsyncIterator[bytes]:
        """The body as it comes; b"" after every ``tick`` seconds of silence.

        Raises GatewayError on a stall (``first_event``, then ``idle``; ``total``) and on a body that
        breaks off.
        """
        connection, loop = self._connection, asyncio.get_running_loop()
        end = self._started + self._deadlines.total
        silent = self._started + self._deadlines.first_event
        while True:
            data = connection.take()
            if data:
                silent = loop.time() + self._deadlines.idle
                yield data
            elif connection.complete:
                return
            else:
                left = min(silent, end) - loop.time()
                if left <= 0:
                    raise GatewayError("timeout", "the provider fell silent", source="upstream")
                if not await connection.more(min(left, tick)):
                    yield b""

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises GatewayError when it has more than ``limit`` bytes."""
        parts: list[bytes] = []
        size = 0
        async for data in self.chunks(self._deadlines.total):
            parts.append(data)
            size += len(data)
            if size > limit:
                raise GatewayError(
                    "upstream_bad_response",
                    f"the provider's answer has more than {limit} bytes",
                    source="upstream",
                )
        return b"".join(parts)


class Upstream:
    """Keeps connections to origins and sends requests over them."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._idle: dict[tuple[bool, str, int], list[_Connection]] = {}
        self._context = context

    async def send(self, origin: Origin, request: HttpRequest, deadlines: Deadlines) -> Response:
        """Send one request and wait for the head of its answer.

        A request on a reused connection that died before a byte of an answer is sent once more on a
        new one (RFC 9112, section 9.3.1). Raises GatewayError when the provider cannot be reached,
        answers nothing in time, or answers what is not HTTP.
        """
        message = _serialised(origin, request)
        started = asyncio.get_running_loop().time()
        connection = self._reusable(origin)
        if connection is not None:
            try:
                return await self._exchange(connection, message, deadlines, started)
            except _Unanswered:
                pass
        connection = await self._connect(origin, deadlines)
        try:
            return await self._exchange(connection, message, deadlines, started)
        except _Unanswered as gone:
            raise _disconnected() from gone

    async def _exchange(
        self, connection: _Connection, message: bytes, deadlines: Deadlines, started: float
    ) -> Response:
        connection.begin(message)
        try:
            end = started + deadlines.first_event
            while not connection.head_complete:
                if not await connection.more(end - asyncio.get_running_loop().time()):
                    raise GatewayError(
                        "timeout", "the provider did not answer in time", source="upstream"
                    )
        except BaseException:
            connection.abort()
            raise
        return Response(connection, deadlines, started)

    def _reusable(self, origin: Origin) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        waiting = self._idle.get((origin.tls, origin.host, origin.port), [])
        while waiting:
            connection = waiting.pop()
            if not connection.closed and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, deadlines: Deadlines) -> _Connection:
        key = (origin.tls, origin.host, origin.port)
        waiting = self._idle.setdefault(key, [])
        if origin.tls and self._context is None:
            self._context = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadlines.connect):
                _, connection = await loop.create_connection(
                    lambda: _Connection(waiting),
                    origin.host,
                    origin.port,
                    ssl=self._context if origin.tls else None,
                )
        except TimeoutError:
            raise _unreachable("no connection in time") from None
        except ssl.SSLError as error:
            raise _unreachable(f"TLS failed ({error.reason or 'handshake'})") from error
        except OSError as error:
            raise _unreachable(error.strerror or type(error).__name__) from error
        return connection

    def close(self) -> None:
        """Give up all idle connections."""
        for waiting in self._idle.values():
            while waiting:
                waiting.pop().abort()


class _Unanswered(Exception):
    """The connection ended before a byte of the answer."""


class _Connection(asyncio.Protocol):
    """One connection: at most one exchange at a time, then back to the pool or gone."""

    def __init__(self, pool: list[_Connection]) -> None:
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
            self._failure = self._failure or _Unanswered()
        else:
            self._failure = self._failure or _disconnected()
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


def _serialised(origin: Origin, request: HttpRequest) -> bytes:
    """The request as bytes. Raises GatewayError for what would smuggle in a line of its own."""
    target = origin.prefix + request.path + (f"?{request.query}" if request.query else "")
    if not _SAFE_TARGET.issuperset(target):
        raise GatewayError("invalid_request", "the request path holds characters that HTTP forbids")
    lines = [f"{request.method} {target} HTTP/1.1", f"host: {origin.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    if request.body or request.method == "POST":
        lines.append(f"content-length: {len(request.body)}")
    if _FORBIDDEN.search("".join(lines)):
        raise GatewayError("invalid_request", "a header value holds a line break")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body


def _unreachable(reason: str) -> GatewayError:
    return GatewayError(
        "upstream_unreachable", f"the provider cannot be reached: {reason}", source="upstream"
    )


def _disconnected() -> GatewayError:
    return GatewayError(
        "upstream_disconnected",
        "the provider closed the connection in the middle",
        source="upstream",
    )


def _not_http(what: Any) -> GatewayError:
    return GatewayError(
        "upstream_bad_response", f"the provider sent bad HTTP: {what}", source="upstream"
    )
