"""A provider of bytes: plays a script on each connection, and logs what was done to it and when.

    async with FakeUpstream(says(b"HTTP/1.1 200 OK\\r\\n", 0.2, rst)) as fake: ...

A script is a row of parts: bytes are sent, a number waits so many seconds, a step does what its name
says. The first connection plays the first script, the last script is played again and again. When
its script ends a connection is closed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, cast

Step = Callable[["Talk"], Awaitable[None]]
Part = bytes | float | Step
Script = tuple[Part, ...]

HIGH_WATER = 64 * 1024
HANDSHAKE_FAILURE = b"\x15\x03\x03\x00\x02\x02\x28"
"""A fatal TLS alert: nothing that both sides can speak."""


@dataclass
class Log:
    """One connection as its provider saw it. Times are monotonic seconds, None for what never was."""

    opened: float = field(default_factory=monotonic)
    first_byte: float | None = None
    closed: float | None = None
    """When the other side was seen to close or reset."""
    reset: bool = False
    """Whether the connection ended in an error rather than in an orderly end."""
    received: bytearray = field(default_factory=bytearray)
    requests: list[bytes] = field(default_factory=list[bytes])
    """Whole requests that steps have read, heads and bodies."""
    sent: int = 0
    """Bytes that the transport took over and that are below its high-water mark."""


class Talk(asyncio.Protocol):
    """One connection and the script on it. It reads all the time, unless it is made deaf."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self.log = Log()
        self.unread = bytearray()
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.gone = asyncio.Event()
        """Set when the other side has closed, or when nothing is left of the connection."""
        self._upstream = upstream
        self._news = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._task: asyncio.Task[None] | None = None
        self._lost = False

    # what steps use

    async def more(self) -> None:
        """Wait for bytes. Raises EOFError where none will come."""
        if self.gone.is_set():
            raise EOFError
        self._news.clear()
        await self._news.wait()

    async def send(self, data: bytes) -> None:
        self.transport.write(data)
        await self._may_write.wait()
        if self.transport.is_closing():
            raise ConnectionResetError
        self.log.sent += len(data)

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(HIGH_WATER)
        script = self._upstream.joined(self)
        self._task = asyncio.create_task(self._play(script))

    def data_received(self, data: bytes) -> None:
        self.log.first_byte = self.log.first_byte or monotonic()
        self.log.received += data
        self.unread += data
        self._news.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def eof_received(self) -> bool:
        self._seen_closed()
        return self.transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self.log.reset = exc is not None
        self._seen_closed()
        self._may_write.set()

    def _seen_closed(self) -> None:
        self.log.closed = self.log.closed or monotonic()
        self.gone.set()
        self._news.set()

    async def _play(self, script: Script) -> None:
        try:
            for part in script:
                if isinstance(part, bytes):
                    await self.send(part)
                elif isinstance(part, (int, float)):
                    await asyncio.sleep(part)
                else:
                    await part(self)
        except (ConnectionError, EOFError):
            pass
        finally:
            self.transport.close()

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if not self._lost:  # asyncio fails at some transports that are closed already
            self.transport.abort()


class FakeUpstream:
    """Listens on loopback while the ``async with`` lasts, or from ``start`` to ``stop``."""

    def __init__(
        self, *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.scripts = list(scripts)
        self.logs: list[Log] = []
        self.port = 0
        self._tls = tls
        self._host = host
        self._talks: list[Talk] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    @property
    def requests(self) -> list[bytes]:
        """The requests of all connections, in the order of the connections."""
        return [request for log in self.logs for request in log.requests]

    def joined(self, talk: Talk) -> Script:
        script = self.scripts[min(len(self.logs), len(self.scripts) - 1)]
        self.logs.append(talk.log)
        self._talks.append(talk)
        return script

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Talk(self), self._host, self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.end()
        await asyncio.sleep(0)

    async def closed(self, connection: int = 0, seconds: float = 1.0) -> None:
        """Wait until the other side has closed a connection. Raises TimeoutError where it has not."""
        async with asyncio.timeout(seconds):
            await self._talks[connection].gone.wait()

    async def __aenter__(self) -> FakeUpstream:
        await self.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.stop()


# --- steps ---------------------------------------------------------------------------------------


async def asked(talk: Talk) -> None:
    """Read one request with its body, of a fixed length."""
    while (end := talk.unread.find(b"\r\n\r\n")) < 0:
        await talk.more()
    lines = bytes(talk.unread[:end]).lower().split(b"\r\n")
    length = next((int(x[15:]) for x in lines if x.startswith(b"content-length:")), 0)
    while len(talk.unread) < end + 4 + length:
        await talk.more()
    talk.log.requests.append(bytes(talk.unread[: end + 4 + length]))
    del talk.unread[: end + 4 + length]


async def heard(talk: Talk) -> None:
    """Wait for a first byte of whatever kind."""
    if not talk.unread:
        await talk.more()


async def stall(talk: Talk) -> None:
    """Do nothing more, until the other side closes."""
    await talk.gone.wait()


async def rst(talk: Talk) -> None:
    """Reset the connection."""
    sock = talk.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.transport.abort()


async def half_close(talk: Talk) -> None:
    """Say that nothing more will be sent, and go on reading."""
    talk.transport.write_eof()


async def deaf(talk: Talk) -> None:
    """Read nothing more: what the other side sends piles up at its own end."""
    talk.transport.pause_reading()


async def tls_bad(talk: Talk) -> None:
    """Answer the first bytes of a handshake with a fatal alert."""
    await heard(talk)
    await talk.send(HANDSHAKE_FAILURE)


def tunnel(port: int) -> Step:
    """Pass bytes on between the connection and another port of this machine, as a proxy does."""

    async def step(talk: Talk) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def back() -> None:
            try:
                while data := await reader.read(HIGH_WATER):
                    await talk.send(data)
                talk.transport.close()
            except ConnectionError:
                await rst(talk)

        task = asyncio.create_task(back())
        try:
            while not task.done():
                if talk.unread:
                    writer.write(bytes(talk.unread))
                    talk.unread.clear()
                await talk.more()
        finally:
            task.cancel()
            writer.close()

    return step


def says(*parts: Part, times: int = 1) -> Script:
    """Reads a request and plays the parts, ``times`` times."""
    return (asked, *parts) * times


@contextmanager
def blackhole() -> Iterator[int]:
    """A port of 127.0.0.1 that answers no attempt to connect: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
