"""The load generator: a process that reads jobs as JSON lines and answers each with one line.

``closed``: a fixed number of connections, each sending its next request when the last is answered.
``open``: requests at a fixed average rate, whatever becomes of them. ``live``: streams that are held
open. ``idle``: connections that have had one answer. The last two answer when everything stands, and
once more when the next line (``release``) has had them closed.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, BinaryIO

import msgspec

from benchmarks import wire
from benchmarks.client import Client, Shot, Tally

OPENED_AT_ONCE = 25
"""Connections begun per step of a ramp, so that no backlog overflows."""
STEP_SECONDS = 0.05
CANCEL_SECONDS = 0.2
"""A stream that is given up is given up within this time, any other answer before it comes."""
QUANTILES = (0.5, 0.9, 0.99, 1.0)


class Asked(msgspec.Struct, frozen=True):
    """A kind of request: its lane, the size of its body, what its answer must hold."""

    lane: str
    size: int
    stream: bool = False
    marks: int = -1
    stamped: bool = False
    headers: dict[str, str] = {}

    def shot(self) -> Shot:
        lane = wire.LANES[self.lane]
        data = wire.request(lane, self.size, self.stream, self.headers)
        end = lane.end_of_stream if self.stream else b""
        return Shot(data, self.marks, end, self.stamped)


class Job(msgspec.Struct, frozen=True):
    """What to do. Times in seconds; ``rate`` per second; ``cancels`` is the share that hangs up.

    After ``seconds`` nothing new is sent, and after ``patience`` more nothing is waited for.
    """

    kind: str
    port: int
    asked: list[Asked]
    connections: int = 1
    seconds: float = 1.0
    rate: float = 0.0
    cancels: float = 0.0
    patience: float = 20.0
    seed: int = 1


class Run:
    """The connections of one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tally = Tally()
        self.shots = [asked.shot() for asked in job.asked]
        self.dice = random.Random(job.seed)
        self.idle: list[Client] = []
        self.busy: set[Client] = set()
        self.next: Callable[[Client], None] = self._rest
        self._all_done = asyncio.Event()
        self._connecting = 0

    def _rest(self, client: Client) -> None:
        if not client.closed:
            self.idle.append(client)

    def _finished(self, client: Client) -> None:
        self.busy.discard(client)
        self.next(client)
        if not self.busy and not self._connecting:
            self._all_done.set()

    async def connect(self) -> Client | None:
        """A new connection, or None, which is tallied as an error."""
        self._connecting += 1
        try:
            loop = asyncio.get_running_loop()
            make = loop.create_connection(
                lambda: Client(self.tally, self._finished), "127.0.0.1", self.job.port
            )
            return (await asyncio.wait_for(make, self.job.patience))[1]
        except (OSError, TimeoutError) as error:
            self.tally.fail(f"no connection: {type(error).__name__}")
            return None
        finally:
            self._connecting -= 1

    def fire(self, client: Client) -> None:
        """Send a request of any kind that was asked for; a share of them hangs up soon after."""
        shot = self.shots[0] if len(self.shots) == 1 else self.dice.choice(self.shots)
        self._all_done.clear()
        self.busy.add(client)
        client.begin(shot)
        if self.job.cancels and self.dice.random() < self.job.cancels:
            delay = self.dice.random() * (CANCEL_SECONDS if shot.end else 0)
            asyncio.get_running_loop().call_later(delay, client.cancel, client.exchanges)

    async def settle(self) -> None:
        """Wait until nothing is under way; what lasts longer than the patience is an error."""
        if self.busy or self._connecting:
            self._all_done.clear()
            try:
                await asyncio.wait_for(self._all_done.wait(), self.job.patience)
            except TimeoutError:
                self.next = self._rest
                for client in list(self.busy):
                    client.close()
                self.tally.fail("no answer in time")

    def close(self) -> None:
        for client in (*self.idle, *self.busy):
            client.close()
        self.idle.clear()


async def closed(run: Run) -> float:
    """Returns the seconds that it took."""
    started = time.monotonic()
    end = started + run.job.seconds
    replacements: set[asyncio.Task[None]] = set()

    def again(client: Client) -> None:
        if time.monotonic() >= end:
            run.idle.append(client)
        elif client.closed:
            task = asyncio.create_task(begin())
            replacements.add(task)
            task.add_done_callback(replacements.discard)
        else:
            run.fire(client)

    async def begin() -> None:
        client = await run.connect()
        if client is not None:
            run.fire(client)

    run.next = again
    await asyncio.gather(*(begin() for _ in range(run.job.connections)))
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    if replacements:
        await asyncio.wait(replacements)
    await run.settle()
    return time.monotonic() - started


async def open_loop(run: Run) -> float:
    """Arrivals are those of a Poisson process, the same for each seed. Latency counts from the
    moment of sending, which waits for no answer: only our own lateness is left out.
    """
    job, loop = run.job, asyncio.get_running_loop()
    run.idle += [c for c in [await run.connect() for _ in range(job.connections)] if c]
    started = due = loop.time()

    async def fresh() -> None:
        client = await run.connect()
        if client is not None:
            run.fire(client)

    pending: set[asyncio.Task[None]] = set()
    while due - started < job.seconds:
        due += run.dice.expovariate(job.rate)
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        while run.idle and run.idle[-1].closed:
            run.idle.pop()
        if run.idle:
            run.fire(run.idle.pop())
        else:
            task = asyncio.create_task(fresh())
            pending.add(task)
            task.add_done_callback(pending.discard)
    if pending:
        await asyncio.wait(pending)
    await run.settle()
    return loop.time() - started


async def ramp(run: Run, ready: Callable[[Client], bool]) -> int:
    """Open the connections step by step; returns how many are ``ready`` in the end."""
    clients: list[Client] = []
    while len(clients) < run.job.connections:
        count = min(OPENED_AT_ONCE, run.job.connections - len(clients))
        opened = [c for c in await asyncio.gather(*(run.connect() for _ in range(count))) if c]
        if not opened:
            break
        for client in opened:
            run.fire(client)
        clients += opened
        await asyncio.sleep(STEP_SECONDS)
    end = time.monotonic() + run.job.patience
    while time.monotonic() < end and not all(map(ready, clients)):  # noqa: ASYNC110
        await asyncio.sleep(STEP_SECONDS)
    return sum(map(ready, clients))


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Milliseconds by quantile, as ``p50``; nothing for no values."""
    ordered = sorted(values)
    last = len(ordered) - 1
    names = {share: f"p{share * 100:g}" for share in QUANTILES}
    return {name: ordered[round(share * last)] * 1e3 for share, name in names.items() if ordered}


def result(run: Run, seconds: float) -> dict[str, Any]:
    tally = run.tally
    return {
        "sent": tally.sent,
        "completed": tally.completed,
        "cancelled": tally.cancelled,
        "events": len(tally.delays),
        "errors": tally.errors,
        "seconds": seconds,
        "latency": quantiles(tally.whole),
        "first": quantiles(tally.first),
        "delay": quantiles(tally.delays),
        "gap": quantiles(tally.gaps),
    }


async def perform(
    job: Job, reply: Callable[[Any], None], told: Callable[[], Awaitable[Any]]
) -> None:
    """Do one job; ``told`` waits for the word that ends a ``live`` or ``idle`` one."""
    run = Run(job)
    try:
        if job.kind in ("closed", "open"):
            seconds = await (closed(run) if job.kind == "closed" else open_loop(run))
            reply(result(run, seconds))
            return
        live = job.kind == "live"
        held = await ramp(run, lambda c: c.marks > 0 if live else c in run.idle)
        run.tally.delays.clear()  # those of the ramp: the hold is what counts
        run.tally.gaps.clear()
        started = time.monotonic()
        reply({"held": held, "errors": run.tally.errors})
        await told()
        reply(result(run, time.monotonic() - started))
    finally:
        run.close()


async def _main(source: BinaryIO, sink: BinaryIO) -> None:
    loop = asyncio.get_running_loop()

    def reply(value: Any) -> None:
        sink.write(msgspec.json.encode(value) + b"\n")
        sink.flush()

    async def line() -> bytes:
        # A thread: the standard input may be a file, which no event loop can watch.
        return await loop.run_in_executor(None, source.readline)

    while text := await line():
        await perform(msgspec.json.decode(text, type=Job), reply, line)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_main(sys.stdin.buffer, sys.stdout.buffer))
    else:
        uvloop.run(_main(sys.stdin.buffer, sys.stdout.buffer))
