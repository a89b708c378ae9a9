"""Hosts the application: binds the ports, serves until a signal comes, lets streams finish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import structlog

from isthmus import sockets, stores
from isthmus.application import DEDICATED, MAIN, Application
from isthmus.bodies import Bodies
from isthmus.config import Config, ConfigError, ConfigErrors, is_loopback
from isthmus.edge.connection import Limits, Port
from isthmus.edge.listener import Edge
from isthmus.gateway import Gateway
from isthmus.storage.board import Copy
from isthmus.storage.pools import Pools
from isthmus.storage.shared import Line

ROUTES = {"main": MAIN, "anthropic": DEDICATED}
"""What is served on each port."""

Ready = Callable[[Mapping[str, int]], None]


@dataclass(frozen=True, slots=True)
class Team:
    """What a worker shares with the others: the gateway's id, its sockets, and the line to the state."""

    gateway: str
    listeners: Mapping[str, socket.socket]
    line: socket.socket


def run(config: Config, ready: Ready, team: Team | None = None) -> None:
    """Serve until SIGINT or SIGTERM; as one worker of a team, where there is one.

    Once everything is bound ``ready`` is told the TCP ports by name: ``main``, and ``anthropic``
    where there is a dedicated one. Raises OSError when an address cannot be bound, ConfigErrors
    where sockets were passed that may not be served; nothing is bound then.
    """
    log_to_stderr()
    in_loop(serve(config, ready, team=team))


def in_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run to its end, in the fastest loop that there is."""
    if sys.platform == "win32":
        asyncio.run(main)
        return
    import uvloop

    uvloop.run(main)


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


async def serve(
    config: Config,
    ready: Ready,
    environ: Mapping[str, str] = os.environ,
    team: Team | None = None,
) -> None:
    """The same in a running loop; ends when it is cancelled or signalled."""
    kept = stores.in_memory(config, monotonic)
    async with contextlib.AsyncExitStack() as stack:
        # First of all: a signal that comes while we start must leave nothing behind.
        stop, hurry = stack.enter_context(signals())
        bound = listeners(config, environ, stack) if team is None else team.listeners
        line = pools = None
        if team is not None:
            line = await Line.open(team.line)
            stack.push_async_callback(line.close)
            kept = stores.over(line, kept)
            pools = await _shared(line, config)
        gateway = Gateway(config, kept, None if team is None else team.gateway, pools)
        bodies = Bodies(config)
        await gateway.start()
        edge = Edge(_limits(config))
        try:
            for name, listener in bound.items():
                application = Application(gateway, ROUTES[name], bodies)
                port = Port(application, application.answer)
                await edge.listen(listener, port, _tls(config, listener))
            ready(ports(bound))
            await _told(stop, line)
            edge.stop()
            await _drained(edge, hurry, config.timeouts.drain)
        finally:
            await edge.close()
            await gateway.stop()


async def _shared(line: Line, config: Config) -> Pools:
    """The keys as all workers know them."""
    copy = Copy(line, stores.policy(config), stores.weights(config))
    await copy.join()
    return Pools(copy.health, copy.claim)


async def _told(stop: asyncio.Event, line: Line | None) -> None:
    """Wait until we are to stop: a worker also where its supervisor is gone."""
    reasons = [stop, line.lost] if line is not None else [stop]
    waits = [asyncio.ensure_future(reason.wait()) for reason in reasons]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def ports(bound: Mapping[str, socket.socket]) -> dict[str, int]:
    """The numbers of the TCP ports by name."""
    names = {name: listener.getsockname() for name, listener in bound.items()}
    return {name: address[1] for name, address in names.items() if isinstance(address, tuple)}


def listeners(
    config: Config,
    environ: Mapping[str, str],
    stack: contextlib.ExitStack | contextlib.AsyncExitStack,
) -> dict[str, socket.socket]:
    """The sockets to serve on by the names of their ports; the stack closes them.

    Those that are passed win: the first is the main port, the second the dedicated one.
    """
    given = [stack.enter_context(listener) for listener in sockets.passed(environ)]
    if given:
        _refuse_open(config, given)
        return dict(zip(ROUTES, given, strict=False))
    bound: dict[str, socket.socket] = {}
    if config.unix_socket is not None:
        bound["main"] = stack.enter_context(sockets.unix(Path(config.unix_socket)))
    else:
        bound["main"] = stack.enter_context(sockets.tcp(config.host, config.port))
    if config.anthropic_port is not None:
        second = sockets.tcp(config.host, config.anthropic_port)
        bound["anthropic"] = stack.enter_context(second)
    return bound


def _refuse_open(config: Config, given: Sequence[socket.socket]) -> None:
    """Raise ConfigErrors where a socket that was passed would be open to everybody."""
    hosts = [sockets.host_of(listener) for listener in given]
    wrong = next((host for host in hosts if not is_loopback(host)), None)
    if len(given) > len(ROUTES):
        text = f"{len(given)} sockets were passed: the main port's and the dedicated one's are all"
    elif wrong is not None and not config.auth.keys:
        text = f"{wrong} is not a loopback address, so clients need keys: set ISTHMUS_API_KEYS"
    else:
        return
    raise ConfigErrors([ConfigError(text, source="environment LISTEN_FDS")])


def _limits(config: Config) -> Limits:
    times = config.timeouts
    limits = Limits(
        head_seconds=times.head, idle_seconds=times.client_idle, stall_seconds=times.client_stall
    )
    most = config.limits.connections
    return limits if most is None else replace(limits, connections=config.share(most))


def _tls(config: Config, listener: socket.socket) -> ssl.SSLContext | None:
    cert, key = config.tls.cert, config.tls.key
    if cert is None or key is None or not isinstance(listener.getsockname(), tuple):
        return None
    return sockets.tls(cert, key)


async def _drained(edge: Edge, hurry: asyncio.Event, seconds: float) -> None:
    """Wait until all exchanges have ended, but so many seconds at most, or until we must hurry."""
    waits = [asyncio.ensure_future(edge.drained()), asyncio.ensure_future(hurry.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


@contextlib.contextmanager
def signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """The first SIGINT or SIGTERM lets running exchanges finish, a second one ends them."""
    loop = asyncio.get_running_loop()
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
