"""Hosts the application: binds the ports, serves until a signal comes, lets streams finish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping

import structlog

from isthmus.application import DEDICATED, MAIN, Application
from isthmus.config import Config
from isthmus.edge.listener import BACKLOG, Edge, Limits, Port
from isthmus.gateway import Gateway

DRAIN_SECONDS = 30
"""How long running exchanges may go on after a signal; a second signal ends them at once."""

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
    ports = {"main": (config.port, MAIN)}
    if config.anthropic_port is not None:
        ports["anthropic"] = (config.anthropic_port, DEDICATED)
    with contextlib.ExitStack() as stack:
        sockets = {
            name: stack.enter_context(bound(config.host, port)) for name, (port, _) in ports.items()
        }
        await gateway.start()
        edge = Edge(Limits())
        try:
            numbers = {name: listener.getsockname()[1] for name, listener in sockets.items()}
            for name, (_, routes) in ports.items():
                application = Application(gateway, routes)
                await edge.listen(sockets[name], Port(application, application.answer))
            with _signals(edge) as (stop, hurry):
                ready(numbers)
                await stop.wait()
                edge.stop()
                await _drained(edge, hurry)
        finally:
            await edge.close()
            await gateway.stop()


async def _drained(edge: Edge, hurry: asyncio.Event) -> None:
    """Wait until all exchanges have ended, but for DRAIN_SECONDS at most, or until we must hurry."""
    waits = [asyncio.ensure_future(edge.drained()), asyncio.ensure_future(hurry.wait())]
    try:
        await asyncio.wait(waits, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


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


@contextlib.contextmanager
def _signals(edge: Edge) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """The first SIGINT or SIGTERM lets running exchanges finish, a second one ends them."""
    loop = edge.loop
    stop, hurry = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (hurry if stop.is_set() else stop).set()

    # Another thread than the main one, as in tests, may not handle signals.
    refusals = (NotImplementedError, ValueError, RuntimeError)
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(*refusals):
            loop.add_signal_handler(number, signalled)
    try:
        yield stop, hurry
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(*refusals):
                loop.remove_signal_handler(number)
