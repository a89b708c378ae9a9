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
from urllib.parse import urlsplit

from isthmus.connection import Connection, Unanswered, disconnected
from isthmus.errors import GatewayError
from isthmus.request import Headers, HttpRequest

IDLE_SECONDS = 25.0
"""How long an unused connection is kept: shorter than what providers grant, so that few die in use."""
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

    def __init__(self, connection: Connection, deadlines: Deadlines, started: float) -> None:
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
        self._idle: dict[tuple[bool, str, int], list[Connection]] = {}
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
            except Unanswered:
                pass
        connection = await self._connect(origin, deadlines)
        try:
            return await self._exchange(connection, message, deadlines, started)
        except Unanswered as gone:
            raise disconnected() from gone

    async def _exchange(
        self, connection: Connection, message: bytes, deadlines: Deadlines, started: float
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

    def _reusable(self, origin: Origin) -> Connection | None:
        now = asyncio.get_running_loop().time()
        waiting = self._idle.get((origin.tls, origin.host, origin.port), [])
        while waiting:
            connection = waiting.pop()
            if not connection.closed and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, deadlines: Deadlines) -> Connection:
        key = (origin.tls, origin.host, origin.port)
        waiting = self._idle.setdefault(key, [])
        if origin.tls and self._context is None:
            self._context = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadlines.connect):
                _, connection = await loop.create_connection(
                    lambda: Connection(waiting),
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
