"""Where the gateway's time goes under one workload: by sampling, or with cProfile in its place."""

from __future__ import annotations

import io
import pstats
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec

from benchmarks.bench import Bench
from benchmarks.load import Job
from benchmarks.proxies import PEERS, PROXIES, Command, Site, running
from benchmarks.workloads import Workload

SECONDS = 6.0
RATE = 400
"""Samples a second."""
SHOWN = 40


def sampler() -> str | None:
    """The program py-spy, where it is installed."""
    return shutil.which("py-spy", path=str(PEERS / "bin")) or shutil.which("py-spy")


def profile(bench: Bench, workload: Workload) -> str:
    """A text: own and cumulative time of functions, the largest first."""
    program = sampler()
    path = bench.folder / "profile"
    proxy = PROXIES["isthmus"]
    if program is None and proxy.command is not None:
        plain = proxy.command

        def under_cprofile(site: Site) -> Command:
            python, *rest = plain(site).argv
            return Command([python, "-m", "cProfile", "-o", str(path), *rest])

        proxy = replace(proxy, command=under_cprofile)
    with ExitStack() as stack:
        there = stack.enter_context(running(proxy, bench.site(proxy), bench.complaint))
        bench.mock.pace(events=workload.events, gap=workload.gap)
        asked = [workload.asked(there.headers(workload.lane))]
        job = Job("closed", there.port, asked, workload.connections, seconds=1.0)
        bench.loader.do(job)
        job = msgspec.structs.replace(job, seconds=SECONDS + 1)
        if program is None:
            bench.loader.do(job)
            return _of_cprofile(stack, path)
        spy = subprocess.Popen(
            _spying(program, there.pid, path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.3)
        done = bench.loader.do(job)
        spy.wait(60)
        return f"{done['completed']} requests\n{_of_samples(path.read_text().splitlines())}"


def _spying(program: str, pid: int, path: Path) -> list[str]:
    where = ["--pid", str(pid), "--output", str(path), "--format", "raw"]
    return [program, "record", *where, "--duration", f"{SECONDS:.0f}", "--rate", str(RATE)]


def _of_cprofile(stack: ExitStack, path: Path) -> str:
    stack.close()  # it is written when the process ends
    sink = io.StringIO()
    stats = pstats.Stats(str(path), stream=sink)
    stats.strip_dirs().sort_stats("tottime").print_stats(SHOWN)
    return sink.getvalue()


_PLACE = re.compile(r"\((?:.*/)?([^/]+/[^/]+?)(?::\d+)?\)$")
"""Of a frame's ``(path:line)`` the folder and the file: a function is one row, whatever its line."""


def _of_samples(lines: Iterable[str]) -> str:
    """Sampled stacks, ``outer;inner COUNT`` each, added up by function.

    A sample is taken of whatever is not asleep: what waits for a core while it could run counts too.
    """
    own, whole, total = Counter[str](), Counter[str](), 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [_PLACE.sub(r"(\1)", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        whole.update(dict.fromkeys(frames, int(count)))
        total += int(count)
    parts = [f"{total} samples"]
    # Of what is always below there is nothing to learn.
    inner = Counter({name: count for name, count in whole.items() if count < 0.99 * total})
    for title, counts in (("own time", own), ("with what it calls", inner)):
        parts.append(f"\n{title}")
        parts += [f"{100 * n / total:5.1f} %  {name}" for name, n in counts.most_common(SHOWN)]
    return "\n".join(parts)
