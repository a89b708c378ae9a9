"""The server's edge over an application that records what it is asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from isthmus.edge import reply
from isthmus.edge.connection import Limits, Port
from isthmus.edge.head import Refused
from isthmus.edge.listener import Edge
from isthmus.sockets import tcp
from tests.harness import Loop

App = Callable[[Any, Any, Any], Awaitable[None]]
STATUS = {
    "invalid_request": 400,
    "request_timeout": 408,
    "uri_too_long": 414,
    "too_large_head": 431,
    "internal": 500,
    "unavailable": 503,
}


def answer(refused: Refused) -> bytes:
    body = refused.message.encode()
    fields = [(b"content-length", b"%d" % len(body))]
    return reply.head(STATUS[refused.kind], fields, chunked=False, close=True) + body


class Served:
    """An edge on a port of its own. Without an application each request is answered with its body."""

    def __init__(self, app: App | None = None, **limits: float) -> None:
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []
        self.left = 0
        """How often the application was told that its client has left."""
        self._app = app or self.echo
        self._loop = Loop()
        self.edge: Edge = self._loop.run(self._start(Limits(**limits)))  # type: ignore[arg-type]

    async def _start(self, limits: Limits) -> Edge:
        edge = Edge(limits)
        listener: socket.socket = tcp("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        await edge.listen(listener, Port(self._app, answer))
        return edge

    def call(self, function: Callable[[], Any]) -> Any:
        """Call something of the edge in its loop."""

        async def called() -> Any:
            return function()

        return self._loop.run(called())

    def connections(self) -> int:
        return len(self.edge._connections)

    def close(self) -> None:
        self._loop.run(self.edge.close())
        self._loop.close()

    async def body(self, scope: Any, receive: Any) -> bytes:
        """The body of a request, which is on record once it is whole."""
        self.scopes.append(scope)
        data, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                raise asyncio.CancelledError
            data += message["body"]
            more = message["more_body"]
        self.bodies.append(data)
        return data

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        await whole(send, await self.body(scope, receive))


async def whole(send: Any, body: bytes, status: int = 200) -> None:
    """Send an answer of a known length."""
    fields = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
