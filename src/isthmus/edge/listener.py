"""Accepts connections on any number of sockets, sees to their deadlines, and lets them finish."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from isthmus import sockets
from isthmus.edge.connection import Connection, Limits, Port

SWEEPS = 8
"""How often within the shortest deadline the deadlines are looked at."""
SWEEP_SECONDS = 1.0
FAREWELL_SECONDS = 2.0
"""How long exchanges that are ended early may take to tell their clients so."""


class Edge:
    """All connections of this process."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        shortest = min(limits.head_seconds, limits.idle_seconds, limits.stall_seconds)
        self._tick = min(SWEEP_SECONDS, shortest / SWEEPS)
        self._timer = self.loop.call_later(self._tick, self._sweep)
        self._empty = asyncio.Event()

    async def listen(
        self, listener: socket.socket, port: Port, tls: ssl.SSLContext | None = None
    ) -> None:
        """Serve a port on a bound socket, which is the edge's to close from then on.

        A handshake has as long as the head of a request.
        """
        unix = listener.family == getattr(socket, "AF_UNIX", None)
        create = self.loop.create_unix_server if unix else self.loop.create_server
        server = await create(
            lambda: Connection(self, port),
            sock=listener,
            ssl=tls,
            backlog=sockets.BACKLOG,
            ssl_handshake_timeout=self.limits.head_seconds if tls else None,
            ssl_shutdown_timeout=self.limits.linger_seconds if tls else None,
        )
        self._servers.append(server)

    # --- what connections do --------------------------------------------------------------------

    def admit(self, connection: Connection) -> int:
        """Count a connection, and tell how many more there may be; below 0 it is one too many."""
        self._connections.add(connection)
        self._empty.clear()
        return self.limits.connections - len(self._connections)

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.expire()
        self._timer = self.loop.call_later(self._tick, self._sweep)

    # --- the end --------------------------------------------------------------------------------

    def stop(self) -> None:
        """Accept nobody any more; each connection ends with the request that it is answering."""
        self.draining = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.quit()

    async def drained(self) -> None:
        """Wait until all connections have ended."""
        if self._connections:
            await self._empty.wait()

    async def close(self) -> None:
        """End at once: what is still being answered is cancelled and may tell its client so."""
        self.stop()
        running = [c.busy.task for c in self._connections if c.busy is not None and c.busy.task]
        for task in running:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self.drained()
        self._timer.cancel()
        for connection in list(self._connections):
            connection.abort()
