"""Hosts the application: binds the ports, serves until a signal comes, lets streams finish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from isthmus.application import DEDICATED, MAIN, Application
from isthmus.config import Config
from isthmus.gateway import Gateway

DRAIN_SECONDS = 30
"""How long running exchanges may go on after a signal; a second signal ends them at once."""
KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048
FAREWELL_SECONDS = 2.0
"""How long exchanges that are ended early may take to tell their clients so."""
_UPGRADE = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)
_HIDDEN_NAME = b"x-isthmus-upgrade"
_HIDDEN = b"\r\n" + _HIDDEN_NAME

Ready = Callable[[Mapping[str, int]], None]


def run(config: Config, ready: Ready) -> None:
    """Serve until SIGINT or SIGTERM.

    Once everything is bound ``ready`` is told the ports by name: ``main``, and ``anthropic`` where
    there is a dedicated one. Raises OSError when a port cannot be bound; nothing is bound then.
    """
    log_to_stderr()
    if sys.platform == "win32":
        asyncio.run(serve(config, ready))
        return
    import uvloop

    uvloop.run(serve(config, ready))


def log_to_stderr() -> None:
    """One line of JSON for each record. Tracebacks hold no local values, which may be secrets."""
    shared: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, render], logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


async def serve(config: Config, ready: Ready) -> None:
    """The same in a running loop; ends when it is cancelled or signalled."""
    gateway = Gateway(config)
    ports = {"main": config.port}
    if config.anthropic_port is not None:
        ports["anthropic"] = config.anthropic_port
    with contextlib.ExitStack() as stack:
        sockets = {
            name: stack.enter_context(bound(config.host, port)) for name, port in ports.items()
        }
        await gateway.start()
        try:
            servers = {name: _Server(gateway, name) for name in ports}
            with _signals(list(servers.values())):
                tasks = [
                    asyncio.create_task(server.serve(sockets=[sockets[name]]))
                    for name, server in servers.items()
                ]
                for server in servers.values():
                    await server.accepting.wait()
                ready({name: listener.getsockname()[1] for name, listener in sockets.items()})
                await _all_ended(tasks, list(servers.values()))
        finally:
            await gateway.stop()


async def _all_ended(tasks: Sequence[asyncio.Task[None]], servers: Sequence[_Server]) -> None:
    """Wait for the servers; where we are cancelled they close at once, and we wait for that."""
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for server in servers:
            server.end_now()
        await asyncio.wait(tasks)
        await _said_farewell(servers)
        raise
    await _said_farewell(servers)
    for task in tasks:
        task.result()


async def _said_farewell(servers: Sequence[_Server]) -> None:
    """End the exchanges that still run, each with an error in its client's dialect."""
    running = [task for server in servers for task in server.server_state.tasks]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=FAREWELL_SECONDS)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError naming the address when it cannot be had."""
    info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = info[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        error.filename = f"{host}:{port}"
        raise
    return listener


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which does not lose the body of a request that offers an upgrade.

    The parser ends at an ``Upgrade`` header (RFC 9110, section 7.8, lets a server ignore it; Java's
    client sends one by default), so the parser sees it under another name.
    """

    _in_body = False

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(_HIDDEN, head) + end + rest
        super().data_received(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(b"upgrade" if name.lower() == _HIDDEN_NAME else name, value)

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()


class _Server(uvicorn.Server):
    """One port's server. It leaves the signals to us: there may be two of them."""

    def __init__(self, gateway: Gateway, port: str) -> None:
        application = Application(gateway, DEDICATED if port == "anthropic" else MAIN)
        super().__init__(
            uvicorn.Config(
                application,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    def end_now(self) -> None:
        """Stop without waiting: each running exchange tells its client, and its connection ends."""
        self.should_exit = self.force_exit = True
        for task in self.server_state.tasks:
            task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _signals(servers: Sequence[_Server]) -> Iterator[None]:
    """The first SIGINT or SIGTERM lets running exchanges finish, a second one ends them."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            if server.should_exit:
                server.end_now()
            server.should_exit = True

    # Another thread than the main one, as in tests, may not handle signals.
    refusals = (NotImplementedError, ValueError, RuntimeError)
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(*refusals):
            loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(*refusals):
                loop.remove_signal_handler(number)
