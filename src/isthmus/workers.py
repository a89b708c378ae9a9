"""Several processes that serve the same sockets, and the one that starts them and keeps their state.

The supervisor binds, starts the workers, replaces one that dies, passes signals on, and owns what is
kept between exchanges, so that it makes no difference which worker a client meets. It serves no
request itself. A worker whose supervisor is gone lets its exchanges finish and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

import structlog

from isthmus import server, stores
from isthmus.config import Config
from isthmus.server import Ready, Team
from isthmus.storage import Store, shared
from isthmus.storage.board import Board

READY = b"ready\n"
START_SECONDS = 60.0
"""How long a worker may take until it serves."""
STEADY_SECONDS = 10.0
"""A worker that served for less has failed; the next one waits twice as long as the one before."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
MARGIN_SECONDS = 10.0
"""What a worker may take beyond its time to drain before it is killed."""

_log = structlog.get_logger("isthmus")


class Failed(Exception):
    """A worker ended before it served."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told when it starts; sockets are descriptors that it inherits."""

    config: Config
    gateway: str
    listeners: Mapping[str, int]
    line: int


def run(config: Config, ready: Ready) -> None:
    """Serve until SIGINT or SIGTERM, as ``server.run`` does."""
    server.log_to_stderr()
    server.in_loop(supervise(config, ready))


async def supervise(config: Config, ready: Ready, environ: Mapping[str, str] = os.environ) -> None:
    """Serve with ``config.workers`` processes until signalled, as ``server.serve`` does with one.

    Raises OSError when an address cannot be bound, and Failed when the first workers do not start.
    """
    async with contextlib.AsyncExitStack() as stack:
        stop, hurry = stack.enter_context(server.signals())
        listeners = server.listeners(config, environ, stack)
        board = Board(stores.policy(config))
        crew = _Crew(config, listeners, stores.in_memory(config, monotonic), board)
        stack.push_async_callback(crew.end)
        await crew.start()
        ready(server.ports(listeners))
        await stop.wait()
        crew.stop()
        waits = [asyncio.create_task(crew.ended()), asyncio.create_task(hurry.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if hurry.is_set():
            crew.stop()
        await waits[0]
        waits[1].cancel()


@dataclass(slots=True)
class _Crew:
    """The workers. Each has a task that starts it again whenever it ends."""

    config: Config
    listeners: Mapping[str, socket.socket]
    kept: Mapping[str, Store]
    board: Board
    gateway: str = field(default_factory=lambda: secrets.token_hex(8))
    stopping: bool = False
    _running: set[asyncio.subprocess.Process] = field(default_factory=set)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Have all workers serve. Raises Failed where one does not."""
        firsts = [asyncio.get_running_loop().create_future() for _ in range(self.config.workers)]
        self._tasks = [asyncio.create_task(self._keep(number)) for number in firsts]
        await asyncio.gather(*firsts)

    def stop(self) -> None:
        """Let the workers finish; when asked again, end them at once."""
        self.stopping = True
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    async def ended(self) -> None:
        """Wait for the workers, and kill those that take too long."""
        seconds = self.config.timeouts.drain + MARGIN_SECONDS
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for process in self._running:
            _log.error("a worker did not end and is killed", pid=process.pid)
            process.kill()

    async def end(self) -> None:
        """End whatever is left, on any way out."""
        self.stop()
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _keep(self, first: asyncio.Future[None]) -> None:
        """Keep one worker running, the first time until it serves."""
        pause = FIRST_PAUSE
        while not self.stopping:
            began = monotonic()
            try:
                await self._run(first)
            except (Failed, OSError) as error:
                if not first.done():
                    first.set_exception(Failed(f"a worker cannot be started: {error}"))
                    return
                _log.error("a worker cannot be started", reason=str(error))
            if self.stopping:
                return
            steady = monotonic() - began > STEADY_SECONDS
            pause = FIRST_PAUSE if steady else min(LONGEST_PAUSE, pause * 2)
            await asyncio.sleep(pause)

    async def _run(self, first: asyncio.Future[None]) -> None:
        """One worker from its start to its end. Raises Failed where it ends before it serves."""
        own, other = socket.socketpair()
        with other:
            try:
                process = await self._spawn(other)
            except OSError:
                own.close()
                raise
        self._running.add(process)
        serving = asyncio.create_task(shared.serve(self.kept, own, self.board))
        try:
            async with asyncio.timeout(START_SECONDS):
                started = process.stdout is not None and await process.stdout.readline() == READY
            if not started:
                raise Failed(f"a worker ended with {await process.wait()} before it served")
            if not first.done():
                first.set_result(None)
            code = await process.wait()
            if not self.stopping:
                _log.error("a worker ended and is replaced", pid=process.pid, status=code)
        except TimeoutError:
            raise Failed("a worker did not start in time") from None
        finally:
            self._running.discard(process)
            await _over(process)
            serving.cancel()
            await asyncio.wait([serving])

    async def _spawn(self, line: socket.socket) -> asyncio.subprocess.Process:
        numbers = {name: listener.fileno() for name, listener in self.listeners.items()}
        orders = Orders(self.config, self.gateway, numbers, line.fileno())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "isthmus.workers"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[*numbers.values(), line.fileno()],
        )
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):
            # By a pipe, since other users of the machine can read a command line.
            process.stdin.write(pickle.dumps(orders))
            await process.stdin.drain()
        process.stdin.close()
        return process


async def _over(process: asyncio.subprocess.Process) -> None:
    """See that a process has ended, and its pipes with it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()
    if process.stdout is not None:
        await process.stdout.read()


def work() -> None:
    """A worker's life: reads its orders from the standard input and serves."""
    orders: Orders = pickle.loads(sys.stdin.buffer.read())
    # A terminal tells the whole group; the supervisor then tells us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listeners = {name: socket.socket(fileno=number) for name, number in orders.listeners.items()}
    for listener in listeners.values():
        listener.setblocking(False)
    team = Team(orders.gateway, listeners, socket.socket(fileno=orders.line))
    server.run(orders.config, _tell, team)


def _tell(ports: Mapping[str, int]) -> None:
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()


if __name__ == "__main__":
    work()
