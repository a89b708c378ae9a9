"""Runs the workloads over the proxies, their rounds interleaved, and collects the figures."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from benchmarks import measure
from benchmarks.load import Asked, Job
from benchmarks.proxies import (
    PROXIES,
    ROOT,
    Absent,
    Proxy,
    Running,
    Site,
    free_port,
    running,
    spawn,
    stop,
)
from benchmarks.workloads import LATENCY_OF, Figure, Workload

WARM_UP = 0.4
"""The part of a workload's seconds that is run before, unmeasured."""
MOST_RATE = 1500.0
"""Requests per second of an open workload at most: above that the load generator is the slow one."""
QUIET_SECONDS = 1.0

Say = Callable[[str], None]


class Failed(Exception):
    """A measurement that says nothing: the text says why."""


@dataclass
class Figures:
    """All values of each figure, one for each round, and what went wrong."""

    values: dict[Figure, list[float]] = field(default_factory=dict[Figure, list[float]])
    complaints: list[str] = field(default_factory=list[str])
    versions: dict[str, str] = field(default_factory=dict[str, str])
    absent: dict[str, str] = field(default_factory=dict[str, str])
    others: float = 0.0
    """The share of the machine's CPU time that other programs took meanwhile."""

    def add(self, figure: Figure, value: float) -> None:
        self.values.setdefault(figure, []).append(value)

    def median(self, figure: Figure | None) -> float | None:
        values = self.values.get(figure) if figure else None
        return statistics.median(values) if values else None

    def spread(self, figure: Figure) -> float:
        """Half the distance between the largest and the smallest value, as a share of the median."""
        values, middle = self.values[figure], self.median(figure)
        return (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0


class Mock:
    """The mock upstream's process."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        argv = [sys.executable, "-m", "benchmarks.upstream", str(self.port)]
        self.process = spawn(argv, folder / "upstream.log", {})
        self._ask_until_up()

    def _ask_until_up(self) -> None:
        end = time.monotonic() + 10
        while True:
            try:
                self.counts()
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def pace(self, **values: float) -> dict[str, Any]:
        return self._ask("PUT", f"/pace?{urlencode(values)}")

    def counts(self) -> dict[str, Any]:
        return self._ask("GET", "/counts")

    def hang_up(self) -> None:
        """End every connection, idle ones included."""
        self._ask("PUT", "/hang-up")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def stop(self) -> None:
        stop(self.process)


class Loader:
    """The load generator's process: a line of JSON for each job, and one back."""

    def __init__(self) -> None:
        argv = [sys.executable, "-m", "benchmarks.load"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe)
        self._rest = b""

    def do(self, job: Job) -> dict[str, Any]:
        return self.say(msgspec.json.encode(job), job.seconds + 3 * job.patience + 30)

    def say(self, line: bytes, seconds: float) -> dict[str, Any]:
        """Raises Failed where no answer comes in time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            readable, _, _ = select.select(
                [self.process.stdout], (), (), max(0.0, end - time.monotonic())
            )
            data = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not data:
                raise Failed("the load generator did not answer")
            self._rest += data
        answer, _, self._rest = self._rest.partition(b"\n")
        return json.loads(answer)

    def stop(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        stop(self.process)


class Bench:
    """One run: the mock upstream and the load generator, and what they are used for."""

    def __init__(self, folder: Path, names: Sequence[str], seconds: float, say: Say) -> None:
        self.folder = folder
        self.mock = Mock(folder)
        self.loader = Loader()
        self.figures = Figures()
        self.proxies = [PROXIES[name] for name in names]
        self.seconds = seconds
        self.say = say
        self.number = 0
        self._sites = 0

    def close(self) -> None:
        self.loader.stop()
        self.mock.stop()

    def site(self, proxy: Proxy) -> Site:
        self._sites += 1
        return Site(self.folder / f"{proxy.name}-{self._sites}", free_port(), self.mock.port)

    def started(self, proxy: Proxy) -> contextlib.AbstractContextManager[Running]:
        self.mock.pace(events=16, gap=0, faults=0)
        return running(proxy, self.site(proxy), self.complaint)

    def complaint(self, there: Running) -> str:
        """What is wrong with a proxy that should answer a request in each of its lanes; "" if nothing."""
        for lane in there.proxy.lanes:
            asked = Asked(lane, 1024, headers=there.headers(lane))
            done = self.loader.do(Job("closed", there.port, [asked], seconds=0.0, patience=5))
            if done["errors"] or not done["completed"]:
                return f"{lane}: {done['errors']}"
        return ""

    def runs(self, workload: Workload, proxy: Proxy) -> bool:
        wanted = not workload.only or proxy.name in workload.only
        beside = proxy.name != "direct" or workload.kind == "open"
        return wanted and beside and workload.lane in proxy.lanes

    # what is held: memory

    def hold(self, workload: Workload, proxy: Proxy) -> None:
        """Memory with many connections or streams, in a process that has done nothing else."""
        with self.started(proxy) as there:
            self.mock.pace(events=workload.events, gap=workload.gap)
            time.sleep(QUIET_SECONDS)
            before = measure.resident(there.pid)
            self._add("rest", workload, proxy, before / 1e6)
            job = self._job(workload, there)
            held = self.loader.do(job)
            if held["held"] < workload.connections:
                self._complain(workload, proxy, f"{held['held']} held, {held['errors']}")
            if not held["held"]:
                return
            cpu, start = measure.cpu_seconds(there.pid), time.monotonic()
            time.sleep(max(QUIET_SECONDS, workload.seconds * self.seconds))
            cpu = measure.cpu_seconds(there.pid) - cpu
            lasted = time.monotonic() - start
            grown = measure.resident(there.pid) - before
            done = self.loader.say(b'"release"', 30)
            self._add("each", workload, proxy, grown / 1e3 / held["held"])
            self._add("share", workload, proxy, 100 * cpu / lasted)
            if done["delay"]:
                events = done["events"] / done["seconds"]
                self._add("event_cpu", workload, proxy, 1e6 * cpu / lasted / events)
                self._add("delay_p50", workload, proxy, done["delay"]["p50"])
                self._add("delay_p99", workload, proxy, done["delay"]["p99"])
            self._note_errors(workload, proxy, done)

    # what is repeated: CPU and latency

    def round(self, workload: Workload, there: Running) -> None:
        self.mock.pace(events=workload.events, gap=workload.gap)
        if workload.kind == "open":
            self._latency(workload, there)
        else:
            self._cpu(workload, there)

    def _cpu(self, workload: Workload, there: Running) -> None:
        job = self._job(workload, there)
        self.loader.do(msgspec.structs.replace(job, seconds=job.seconds * WARM_UP))
        seen = self.mock.counts()["requests"]
        before = measure.cpu_seconds(there.pid)
        done = self.loader.do(job)
        used = measure.cpu_seconds(there.pid) - before
        self._note_errors(workload, there.proxy, done)
        reached = self.mock.counts()["requests"] - seen
        if reached != done["sent"]:
            self._complain(workload, there.proxy, f"{done['sent']} sent, {reached} went upstream")
        if done["completed"]:
            self._add("cpu", workload, there.proxy, 1e6 * used / done["completed"])
            self._add("rate", workload, there.proxy, done["completed"] / done["seconds"])
        if workload.gap and done["delay"]:
            for name in ("p50", "p99"):
                self._add(f"delay_{name}", workload, there.proxy, done["delay"][name])
                self._add(f"gap_{name}", workload, there.proxy, done["gap"][name])

    def _latency(self, workload: Workload, there: Running) -> None:
        """The same arrivals without and with the proxy, one behind the other.

        A translated lane is compared with what is direct of the native one: nothing else is.
        """
        rate = self._half_load(workload, there.proxy)
        if rate is None:
            self._complain(
                workload, there.proxy, "its rate needs the closed loop of the same shape"
            )
            return
        direct = Running(PROXIES["direct"], there.site, None)
        native = Asked("native", workload.size, workload.stream, headers=direct.headers("native"))
        job = self._job(workload, there)
        job = msgspec.structs.replace(job, rate=rate, seed=self.number + 1)
        bare = msgspec.structs.replace(job, port=direct.port, asked=[native])
        base, done = self.loader.do(bare), self.loader.do(job)
        self._note_errors(workload, there.proxy, done)
        if not done["completed"] or not base["completed"]:
            return
        self._add("arrivals", workload, there.proxy, rate)
        for name in ("p50", "p99"):
            added = done["latency"][name] - base["latency"][name]
            self._add(f"added_{name}", workload, there.proxy, added)
            self._add(f"first_{name}", workload, there.proxy, done["first"][name])
            self._add(f"direct_{name}", workload, there.proxy, base["latency"][name])

    def _half_load(self, workload: Workload, proxy: Proxy) -> float | None:
        """Half of the requests per second that the closed loop of the same shape came to.

        All of the machine's share in it, as it will in this: the upstream and the generator run
        on the same cores.
        """
        for end, other in LATENCY_OF.items():
            if workload.name.endswith(end):
                name = workload.name.removesuffix(end) + other
                rate = self.figures.median(Figure("rate", name, proxy.name))
                return min(MOST_RATE, 0.5 * rate) if rate else None
        return None

    def _job(self, workload: Workload, there: Running) -> Job:
        asked = workload.asked(there.headers(workload.lane))
        share = there.proxy.share if workload.gap and workload.kind == "closed" else 1.0
        connections = max(1, round(workload.connections * share))
        seconds = workload.seconds * self.seconds
        return Job(workload.kind, there.port, [asked], connections, seconds)

    def _add(self, metric: str, workload: Workload, proxy: Proxy, value: float) -> None:
        self.figures.add(Figure(metric, workload.name, proxy.name), value)

    def _complain(self, workload: Workload, proxy: Proxy, text: str) -> None:
        self.figures.complaints.append(f"{workload.name}, {proxy.name}: {text}")

    def _note_errors(self, workload: Workload, proxy: Proxy, done: dict[str, Any]) -> None:
        if done["errors"]:
            self._complain(workload, proxy, f"{done['completed']} whole, {done['errors']}")

    # the whole run

    def present(self) -> None:
        """Leave out the proxies that cannot be started here, and say so."""
        for proxy in list(self.proxies):
            try:
                if proxy.command is not None:
                    proxy.command(self.site(proxy))
                self.figures.versions[proxy.name] = proxy.version()
            except Absent as reason:
                self.proxies.remove(proxy)
                self.figures.absent[proxy.name] = str(reason)
                self.say(f"skipped: {proxy.name}: {reason}")

    def run(self, workloads: Sequence[Workload], rounds: int) -> Figures:
        """Everything: first what is held, then the rounds of what is repeated."""
        self.present()
        for workload in workloads:
            if workload.kind in ("idle", "live"):
                self._hold_all(workload)
        with contextlib.ExitStack() as stack:
            everyone = [stack.enter_context(self.started(proxy)) for proxy in self.proxies]
            for self.number in range(rounds):
                for workload in workloads:
                    if workload.kind in ("closed", "open"):
                        self.say(f"round {self.number + 1} of {rounds}: {workload.name}")
                        self._round_of_all(workload, everyone)
        return self.figures

    def _hold_all(self, workload: Workload) -> None:
        for proxy in self.proxies:
            if self.runs(workload, proxy) and proxy.command is not None:
                self.say(f"{workload.name}: {proxy.name}")
                self.hold(workload, proxy)

    def _round_of_all(self, workload: Workload, everyone: Sequence[Running]) -> None:
        for there in everyone:
            if self.runs(workload, there.proxy) and there.pid:
                self.round(workload, there)


@contextlib.contextmanager
def opened(names: Sequence[str], seconds: float, say: Say) -> Iterator[Bench]:
    """A bench over the named proxies; ``seconds`` scales the length of every workload."""
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
        bench = Bench(Path(folder), names, seconds, say)
        everything, ours, started = measure.busy_seconds(), measure.own_seconds(), time.monotonic()
        try:
            yield bench
        finally:
            bench.close()
            # Only now: what we started is counted as ours when it has ended.
            foreign = measure.busy_seconds() - everything - (measure.own_seconds() - ours)
            cores = os.cpu_count() or 1
            bench.figures.others = max(0.0, foreign / cores / (time.monotonic() - started))
