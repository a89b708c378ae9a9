"""Minutes of mixed load on the gateway: does anything grow, does everything return?

``python -m benchmarks.soak --minutes 10``. All lanes, streamed and not, small and large, 5 % of the
requests given up by their clients, 5 % failed by the upstream. Ends with 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import chart, measure, report, wire
from benchmarks.bench import Bench, opened
from benchmarks.load import Asked, Job
from benchmarks.proxies import (
    PROXIES,
    ROOT,
    Command,
    Running,
    Site,
    isthmus_config,
    prepare,
    running,
)

RATE = 60.0
"""Requests per second: a load that two cores carry beside the upstream and the generator."""
CANCELS = 0.05
FAULT_EVERY = 20
EVENTS, GAP = 40, 0.005
SAMPLE_SECONDS = 2.0
SETTLED = 0.2
"""The part of the time after which memory must not grow: minute 2 of 10."""
GROWTH_LIMIT = 2e6
REST_SECONDS = 8.0
"""How long everything may take to return after the last request."""
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "soak.svg"
KINDS = (
    *((lane, 1024, stream) for lane in wire.LANES for stream in (False, True)),
    ("native", 64 * 1024, True),
    ("chat", 64 * 1024, False),
)


@dataclass(frozen=True)
class Sample:
    """Of one moment: minutes since the start, bytes, and two counts."""

    minutes: float
    resident: int
    descriptors: int
    tasks: int


@dataclass(frozen=True)
class Outcome:
    """``before`` and ``after`` the load, ``during`` it, and what the generator says of it."""

    before: Sample
    during: list[Sample]
    after: Sample
    load: dict[str, Any]
    upstream: dict[str, Any]

    def growth(self) -> float:
        """Bytes by which memory grew, from when it had settled to the end of the load.

        Each end is the mean of a tenth of the samples, so that a garbage collection decides nothing.
        """
        settled = [s for s in self.during if s.minutes >= SETTLED * self.during[-1].minutes]
        few = max(1, len(settled) // 10)
        first, last = settled[:few], settled[-few:]
        return (sum(s.resident for s in last) - sum(s.resident for s in first)) / few

    def failed(self) -> int:
        return sum(self.load["errors"].values())

    def complaints(self) -> list[str]:
        found: list[str] = []
        if self.growth() > GROWTH_LIMIT:
            found.append(f"memory grew by {self.growth() / 1e6:.1f} MB")
        for name in ("descriptors", "tasks"):
            before, after = getattr(self.before, name), getattr(self.after, name)
            if after > before:
                found.append(f"{name}: {before} before, {after} after")
        if self.failed() > self.upstream["failed"]:
            found.append(
                f"{self.failed()} failed, only {self.upstream['failed']} were made to fail"
            )
        if self.upstream["live"]:
            found.append(f"{self.upstream['live']} streams are still open upstream")
        return found


def watched(site: Site) -> Command:
    """The gateway with its tasks counted."""
    site.folder.mkdir(parents=True, exist_ok=True)
    path = site.write("isthmus.yaml", isthmus_config(site))
    return Command([sys.executable, "-m", "benchmarks.watched", path])


def sample(there: Running, started: float) -> Sample:
    numbers = [line for line in _tail(there.site.folder / "log") if line.isdigit()]
    return Sample(
        (time.monotonic() - started) / 60,
        measure.resident(there.pid),
        measure.descriptors(there.pid),
        int(numbers[-1]) if numbers else 0,
    )


def _tail(path: Path) -> list[str]:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 4096))
        return log.read().decode(errors="replace").splitlines()


def soak(bench: Bench, minutes: float, rest: float = REST_SECONDS) -> Outcome:
    """Run it. Raises RuntimeError where the gateway dies on the way."""
    proxy = replace(PROXIES["isthmus"], command=watched)
    with running(proxy, bench.site(proxy), bench.complaint) as there:
        asked = [
            Asked(lane, size, stream, headers=there.headers(lane)) for lane, size, stream in KINDS
        ]
        job = Job("open", there.port, asked, 1, minutes * 60, RATE, CANCELS)
        time.sleep(rest / 2)
        started = time.monotonic()
        before = sample(there, started)
        bench.mock.pace(events=EVENTS, gap=GAP, faults=FAULT_EVERY)
        loads: list[dict[str, Any]] = []
        loading = threading.Thread(target=lambda: loads.append(bench.loader.do(job)), daemon=True)
        loading.start()
        during: list[Sample] = []
        while loading.is_alive():
            loading.join(SAMPLE_SECONDS)
            during.append(sample(there, started))
            bench.say(f"{during[-1].minutes:5.1f} min  {during[-1].resident / 1e6:6.1f} MB")
            if there.process is not None and there.process.poll() is not None:
                raise RuntimeError("the gateway has ended")
        bench.mock.pace(faults=0)
        bench.mock.hang_up()
        time.sleep(rest)
        after = sample(there, started)
        if not loads:
            raise RuntimeError("the load generator has ended")
        return Outcome(before, during, after, loads[0], bench.mock.counts())


def text_of(outcome: Outcome) -> str:
    load, seen = outcome.load, outcome.upstream
    rows = [
        f"* {load['sent']} requests: {load['completed']} whole, {load['cancelled']} given up, "
        f"{outcome.failed()} failed",
        f"* upstream: {seen['requests']} requests, {seen['failed']} faults made, "
        f"{seen['abandoned']} streams abandoned",
        f"* memory: {outcome.before.resident / 1e6:.1f} MB before, {outcome.after.resident / 1e6:.1f} after, "
        f"grown by {outcome.growth() / 1e6:.2f} MB once settled",
        f"* descriptors: {outcome.before.descriptors} before, {outcome.after.descriptors} after",
        f"* tasks: {outcome.before.tasks} before, {outcome.after.tasks} after",
    ]
    kinds = Counter[str]()
    for reason, count in load["errors"].items():
        kinds[reason.partition(":")[0]] += count
    return "\n".join([*rows, *(f"* {count} {kind}" for kind, count in kinds.most_common())])


def drawing(outcome: Outcome) -> str:
    points = [outcome.before, *outcome.during, outcome.after]
    return chart.lines(
        f"{outcome.load['sent']:,} requests, mixed lanes, 5 % given up, 5 % failed upstream",
        [
            ("resident memory, MB", [(s.minutes, s.resident / 1e6) for s in points]),
            ("open descriptors", [(s.minutes, s.descriptors) for s in points]),
            ("asyncio tasks", [(s.minutes, s.tasks) for s in points]),
        ],
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--write", action="store_true", help="write the outcome into docs/")
    given = parser.parse_args()
    prepare()
    with opened(["isthmus"], 1.0, print) as bench:
        outcome = soak(bench, given.minutes)
    text, complaints = text_of(outcome), outcome.complaints()
    print(text)
    if given.write:
        report.write(PAGE, "soak", f"{measure.machine()}, {given.minutes:g} minutes:\n\n{text}")
        CHART.write_text(drawing(outcome))
    print("\n".join(complaints) or "nothing grew, everything returned")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
