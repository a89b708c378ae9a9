"""One request and its response as an ASGI 3 application sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import unquote

import structlog

from isthmus.edge import reply
from isthmus.edge.head import Head, body_of

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

GONE = "isthmus.gone"
"""Name of the extension in the scope: call it with what is to be called once the client has left."""
WHOLE = "isthmus.whole"
"""Name of the extension that gives the request's body at once if all of it has come, else None."""
BODY_BUFFER = 256 * 1024
"""Bytes of a request body that wait for the application before the socket is no longer read."""
JOINED = 64 * 1024
"""Up to so many bytes, head and body leave in one write; larger bodies are not copied for that."""

_DISCONNECT: Message = {"type": "http.disconnect"}
_VERSIONS = {"version": "3.0", "spec_version": "2.3"}
_log = structlog.get_logger("isthmus")


class Line(Protocol):
    """What a cycle needs of its connection."""

    scheme: str
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    full: bool

    def write(self, data: bytes) -> None: ...

    async def drained(self) -> None: ...

    def read_on(self) -> None: ...

    def closes(self, cycle: Cycle) -> bool: ...

    def finish(self, cycle: Cycle) -> None: ...


class Cycle:
    """A request being answered. The connection feeds its body and tells it when the client leaves."""

    def __init__(self, connection: Line, head: Head) -> None:
        self.head = head
        self.body = body_of(head)
        self.buffered = 0
        self.gone = False
        self.begun = False
        self.ended = False
        self.close = False
        """Whether the connection ends with this response."""
        self._connection = connection
        self._pieces: list[bytes] = []
        self._told = False
        self._waiter: asyncio.Future[None] | None = None
        self._leavers: list[Callable[[], object]] = []
        self._pending = b""
        self._chunked = False
        self._bodiless = head.method == "HEAD"
        self.task: asyncio.Task[None] | None = None

    # --- what the connection does ---------------------------------------------------------------

    def start(self, app: App) -> None:
        self.task = asyncio.get_running_loop().create_task(self._run(app))

    def put(self, data: bytes) -> None:
        """Add to the request's body."""
        if data:
            self._pieces.append(data)
            self.buffered += len(data)
        if self._waiter is not None and (data or self.body.complete):
            self._wake()

    def leave(self) -> None:
        """The client has left: nobody reads what is still to come."""
        self.gone = True
        self._wake()
        for leaver in self._leavers:
            leaver()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _run(self, app: App) -> None:
        try:
            await app(self._scope(), self.receive, self.send)
        except Exception:
            _log.exception("the application failed", target=self.head.target.decode("latin-1"))
        finally:
            self._connection.finish(self)

    def _scope(self) -> Message:
        raw, _, query = self.head.target.partition(b"?")
        path = raw.decode("latin-1")
        return {
            "type": "http",
            "asgi": _VERSIONS,
            "http_version": self.head.version,
            "method": self.head.method,
            "scheme": self._connection.scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": self.head.fields,
            "client": self._connection.client,
            "server": self._connection.server,
            "extensions": {GONE: self._leavers.append, WHOLE: self.whole},
        }

    # --- what the application does --------------------------------------------------------------

    def whole(self) -> bytes | None:
        """The request's body if all of it has come and none was received yet."""
        if not self.body.complete or self._told or self.gone:
            return None
        self._told = True
        return self._taken()

    def _taken(self) -> bytes:
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.buffered = 0
        self._connection.read_on()
        return data

    async def receive(self) -> Message:
        """The next part of the body, as much as has come; after it, that the client has left."""
        while not (self._pieces or self.gone or (self.body.complete and not self._told)):
            if self.head.expects and not self.begun and not self.body.complete:
                self.head.expects = False
                self._connection.write(reply.CONTINUE)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.gone:
            return _DISCONNECT
        data = self._taken()
        self._told = self.body.complete
        return {"type": "http.request", "body": data, "more_body": not self._told}

    async def send(self, message: Message) -> None:
        """Take a part of the response. The head waits for the first part of the body, to leave with it.

        Returns when the client has room for more; a client that has left takes everything.
        """
        if self.gone or self.ended:
            return
        if message["type"] == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self.begun:
            self._body(message.get("body", b""), more=message.get("more_body", False))
            if self._connection.full:
                await self._connection.drained()
        else:
            raise RuntimeError(f"{message['type']} is not to be sent here")

    def _start(self, status: int, fields: Any) -> None:
        if self.begun:
            raise RuntimeError("the response has begun already")
        rows = list(fields)
        framed = any(name == b"content-length" for name, _ in rows)
        self._bodiless = self._bodiless or status in reply.BODILESS
        self._chunked = not framed and not self._bodiless and self.head.version == "1.1"
        bounded = framed or self._chunked or self._bodiless
        self.close = self._connection.closes(self) or not bounded
        if self.head.version == "1.0" and not self.close:
            rows.append((b"connection", b"keep-alive"))  # unasked, HTTP/1.0 ends with the answer
        self._pending = reply.head(status, rows, chunked=self._chunked, close=self.close)
        self.begun = True
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send the head alone where no body came in the same turn of the loop."""
        if self._pending and not self.gone:
            self._connection.write(self._pending)
            self._pending = b""

    def _body(self, data: bytes, *, more: bool) -> None:
        head, self._pending = self._pending, b""
        if self._bodiless:
            data = b""
        end = b"" if more or not self._chunked else reply.LAST_CHUNK
        if self._chunked and data:
            size = b"%x\r\n" % len(data)
            parts = (head, size, data, b"\r\n", end)
        else:
            parts = (head, data, end)
        if len(data) <= JOINED:
            self._connection.write(b"".join(parts))
        else:
            for part in parts:
                self._connection.write(part)
        self.ended = not more
