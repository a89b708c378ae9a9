"""The simulator as a server on a socket."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from .api import Api
from .options import Options, Received
from .wire import Connection

BACKLOG = 512


class Simulator:
    """A strict simulator of Anthropic's Messages API, inside the running event loop.

    `start` binds the socket (port 0: any free one), `url` tells where, `stop` closes everything. `requests` holds the
    newest 1,000 requests with their exact bytes; a script appended to `scripts` is used by the next `/v1/messages`.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.api = Api(self.options)
        self._server: asyncio.Server | None = None

    @property
    def requests(self) -> list[Received]:
        """What was received, oldest first."""
        return self.api.requests

    @property
    def scripts(self) -> deque[dict[str, Any]]:
        """Scripts that wait for their request."""
        return self.api.scripts

    @property
    def port(self) -> int:
        """The port in use."""
        if self._server is None:
            raise RuntimeError("the simulator is not started")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """`http://host:port`."""
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{self.port}"

    def reset(self) -> None:
        """Forget requests, scripts, cache entries and counters."""
        self.api.reset()

    async def start(self) -> None:
        """Listen. Raises OSError when the address is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self.api), self.options.host, self.options.port, backlog=BACKLOG
        )

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in list(self.api.open_connections):
            connection.ours = True
            if connection.transport is not None:
                connection.transport.abort()
        await server.wait_closed()


async def serve_forever(options: Options) -> None:
    """Serve until cancelled; for the command line."""
    simulator = Simulator(options)
    await simulator.start()
    try:
        await asyncio.Event().wait()
    finally:
        await simulator.stop()
