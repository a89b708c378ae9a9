"""The HTTP/1.1 side of a connection: bytes to requests on httptools, one answer at a time."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol, cast

import httptools

from .reply import Reply
from .send import Counters, send_reply

MAX_HEADER_BYTES = 128 * 1024
MAX_PIPELINED = 32
LINGER_SECONDS = 0.2


@dataclass(slots=True)
class HttpRequest:
    """A parsed request; `too_large` when its body went over the limit and was not kept."""

    method: str = ""
    target: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    keep_alive: bool = True
    too_large: bool = False


class App(Protocol):
    """What answers requests."""

    counters: Counters
    open_connections: set[Connection]
    max_body: int

    def answer(self, http: HttpRequest) -> Reply:
        """The reply to a request; never raises."""
        ...


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.counters: Counters = app.counters
        self.parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport | None = None
        self.waiting: deque[HttpRequest] = deque()
        self.task: asyncio.Task[None] | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.ours = False
        self.header_bytes = 0
        self.current = HttpRequest()
        self.parts: list[bytes] = []
        self.size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection and switch Nagle off."""
        # Not checked with isinstance: uvloop's transports are no asyncio.Transport.
        self.transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.counters.connections += 1
        self.app.open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what was being sent; a client that left in the middle is counted."""
        self.counters.connections -= 1
        self.app.open_connections.discard(self)
        self.writable.set()
        if self.task is not None and not self.task.done():
            if not self.ours:
                self.counters.aborted_by_client += 1
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.bad_request("Upgrade is not supported")
        except httptools.HttpParserError as error:
            self.bad_request(str(error))

    def eof_received(self) -> bool:
        """A client that closes its half has left: the transport closes and `connection_lost` counts it."""
        return False

    def pause_writing(self) -> None:
        """The client does not read."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.writable.set()

    def on_message_begin(self) -> None:
        """A new request."""
        self.current = HttpRequest()
        self.parts = []
        self.size = 0
        self.header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self.current.target += url
        self.limit_headers(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, its name as it was sent."""
        self.limit_headers(len(name) + len(value))
        self.current.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def limit_headers(self, more: int) -> None:
        """End a request whose head grows without bound."""
        self.header_bytes += more
        if self.header_bytes > MAX_HEADER_BYTES:
            raise ValueError("the header is too large")

    def on_headers_complete(self) -> None:
        """Answer `Expect`, and refuse early what is too large by its own account."""
        self.current.keep_alive = self.parser.should_keep_alive()
        self.current.method = self.parser.get_method().decode()
        named = {name.lower(): value for name, value in self.current.headers}
        length = named.get("content-length", "0")
        if length.isdigit() and int(length) > self.app.max_body:
            self.current.too_large = True
            self.current.keep_alive = False
            self.accept()
        elif named.get("expect", "").lower() == "100-continue" and self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body; over the limit the request is answered at once and the rest ignored."""
        self.size += len(body)
        if self.current.too_large:
            return
        if self.size > self.app.max_body:
            self.current.too_large = True
            self.current.keep_alive = False
            self.parts = []
            self.accept()
            return
        self.parts.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self.current.too_large:
            self.current.body = b"".join(self.parts)
            self.accept()

    def accept(self) -> None:
        """Queue the request; one task answers them in order."""
        self.waiting.append(self.current)
        if len(self.waiting) > MAX_PIPELINED and self.transport is not None:
            self.transport.pause_reading()
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self.serve())
            self.task.add_done_callback(self.served)

    async def serve(self) -> None:
        """Answer what waits."""
        while self.waiting and self.transport is not None:
            request = self.waiting.popleft()
            reply = self.app.answer(request)
            keep_alive = request.keep_alive and not reply.close
            await send_reply(self, reply, keep_alive, request.method == "HEAD")
            if not keep_alive:
                await self.linger(request)
                self.finish()
                return
            self.transport.resume_reading()

    def served(self, task: asyncio.Task[None]) -> None:
        """A defect of the simulator ends the connection with a 500 instead of leaving the client to wait."""
        if task.cancelled() or task.exception() is None:
            return
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.finish()
        context = {"message": "the simulator failed", "exception": task.exception(), "task": task}
        asyncio.get_running_loop().call_exception_handler(context)

    async def linger(self, request: HttpRequest) -> None:
        """Take in the rest of a refused upload, so that the refusal is not overtaken by a RST."""
        self.ours = True
        if not request.too_large or self.transport is None or not self.transport.can_write_eof():
            return
        self.transport.write_eof()
        before = -1
        while self.size != before and not self.transport.is_closing():
            before = self.size
            await asyncio.sleep(LINGER_SECONDS)

    async def write(self, data: bytes) -> None:
        """Write and wait while the client's buffers are full."""
        assert self.transport is not None
        self.transport.write(data)
        await self.writable.wait()

    def finish(self) -> None:
        """Close after what is written has gone out."""
        self.ours = True
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Drop the connection with a RST."""
        self.ours = True
        assert self.transport is not None
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def bad_request(self, reason: str) -> None:
        """Answer what is not HTTP, and close."""
        if self.transport is None or self.transport.is_closing():
            return
        text = f"Bad Request: {reason}".encode()
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(text) + text)
        self.finish()
