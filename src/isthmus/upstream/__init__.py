"""The HTTP/1.1 client that talks to providers: pool, deadlines, cancellation, back-pressure.

Ours because it is the data path: general clients cost several times as much per request, and the
ones we measured hand an unsolicited response to the next caller or cannot be cancelled before the
headers. It follows no redirect and asks for no compression.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

from isthmus.errors import GatewayError
from isthmus.request import Headers, HttpRequest
from isthmus.upstream.connection import Connection, Unanswered, disconnected
from isthmus.upstream.dial import Dialer, Lookup, Resolver, system_lookup
from isthmus.upstream.origin import Origin
from isthmus.upstream.pool import Bounds, Counts, Pool

__all__ = ["Bounds", "Counts", "Deadlines", "Origin", "Response", "Upstream"]

RACE_SECONDS = 3.0
"""How long a reused connection may have been about to close when a request was sent on it. One that
dies later may have died of the request, which then is not sent again."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: to connect (TLS included), to the response head, between bytes, in all, and without
    progress in sending the request.
    """

    connect: float = 5.0
    first_event: float = 300.0
    idle: float = 300.0
    total: float = 600.0
    write: float = 30.0


class Response:
    """The head of an answer, and its body as an iterator of what each read brought.

    Whoever holds it calls ``close`` in the end, at any moment; unread bytes are then given up.
    """

    def __init__(self, connection: Connection, deadlines: Deadlines, started: float) -> None:
        self._connection = connection
        self._deadlines = deadlines
        self._started = started
        self._closed = False
        self.status = connection.answer.status
        self.headers: Headers = tuple(connection.answer.headers)

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def close(self, *, linger: bool = False) -> None:
        """End the exchange. With ``linger`` the end of the body may still come, for LINGER_SECONDS,
        so that the connection can be used again: for a stream whose last event is known. Only the
        first call counts: after it the connection may carry another's exchange.
        """
        if not self._closed:
            self._closed = True
            self._connection.leave(linger)

    async def chunks(self, tick: float) -> AsyncIterator[bytes]:
        """The body as it comes; b"" after every ``tick`` seconds of silence.

        Raises GatewayError on a stall (``first_event``, then ``idle``; ``total``) and on a body that
        breaks off.
        """
        connection, clock = self._connection, asyncio.get_running_loop().time
        answer = connection.answer
        end = self._started + self._deadlines.total
        silent = min(end, self._started + self._deadlines.first_event)
        while True:
            data = connection.take()
            now = clock()
            if data:
                silent = min(end, now + self._deadlines.idle)
                yield data
            elif answer.complete:
                return
            if now >= silent:
                what = "takes too long" if now >= end else "fell silent"
                raise GatewayError("timeout", f"the provider {what}", source="upstream")
            if not data and not await connection.more(min(silent, now + tick)):
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
    """Keeps connections to origins and sends requests over them, all in one event loop.

    ``context`` stands in for the system's certificate authorities, ``lookup`` for its resolver.
    """

    def __init__(
        self,
        bounds: Bounds | None = None,
        context: ssl.SSLContext | None = None,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._bounds = bounds or Bounds()
        self._dialer = Dialer(context, Resolver(lookup))
        self._pools: dict[Origin, Pool] = {}
        self.counts = Counts()

    async def send(
        self, origin: Origin, request: HttpRequest, deadlines: Deadlines, key: str = ""
    ) -> Response:
        """Send one request and wait for the head of its answer. ``key`` is whose limits it counts to.

        A request on a reused connection that died before a byte of an answer is sent once more on a
        new one (RFC 9112, section 9.3.1). Raises GatewayError when the provider cannot be reached,
        answers nothing in time, or answers what is not HTTP, and when too many requests are running.
        """
        head = origin.head(request)
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(asyncio.get_running_loop(), self._bounds, self.counts)
        await pool.enter(key)
        try:
            connection, started = await self._answering(
                pool, origin, (head, request.body), deadlines
            )
        except BaseException:
            pool.leave(key)
            raise
        connection.owner = key
        if connection.answer.status == 407 and origin.proxy is not None and not origin.tls:
            connection.leave(False)
            text = "the proxy cannot be reached: it refused the request with 407"
            raise GatewayError("upstream_unreachable", text, source="upstream")
        return Response(connection, deadlines, started)

    async def _answering(
        self, pool: Pool, origin: Origin, message: tuple[bytes, bytes], deadlines: Deadlines
    ) -> tuple[Connection, float]:
        """A connection on which the head of the answer has come, and when the request was begun."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        connection = pool.take()
        if connection is not None:
            try:
                await _exchange(connection, message, deadlines, started)
            except Unanswered as gone:
                if loop.time() - started > RACE_SECONDS:
                    raise disconnected() from gone
                self.counts.retried += 1
            else:
                return connection, started
        try:
            connection = await self._dialer.dial(
                origin, lambda: Connection(pool, loop), deadlines.connect
            )
        except GatewayError as error:
            if error.kind == "unavailable":
                self.close()  # what is idle makes room for the next
            raise
        self.counts.opened += 1
        try:
            await _exchange(connection, message, deadlines, started)
        except Unanswered as gone:
            raise disconnected() from gone
        return connection, started

    def close(self) -> None:
        """Give up all connections that no exchange uses."""
        for pool in self._pools.values():
            pool.close()


async def _exchange(
    connection: Connection, message: tuple[bytes, bytes], deadlines: Deadlines, started: float
) -> None:
    """Send a request and wait for the head of its answer. What fails takes the connection with it."""
    connection.begin(*message)
    end = started + deadlines.first_event
    answer = connection.answer
    try:
        while not answer.head_complete:
            until = end
            if connection.stuck:
                until = min(end, connection.progress + deadlines.write)
            if await connection.more(until):
                continue
            if connection.stuck and connection.progress + deadlines.write < end:
                text = "the provider does not take the request"
            else:
                text = "the provider did not answer in time"
            raise GatewayError("timeout", text, source="upstream")
    except BaseException:
        connection.abort()
        raise
