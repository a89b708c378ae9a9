"""The command line: ``python -m benchmarks``, which ``make bench`` calls."""

from __future__ import annotations

import argparse
import json
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

from benchmarks import chart, measure, profiling, proxies, report
from benchmarks.bench import Failed, Figures, opened
from benchmarks.workloads import WORKLOADS, Figure, Workload

PAGE = proxies.ROOT / "docs" / "performance.md"
CHART = proxies.ROOT / "docs" / "performance.svg"
ROUNDS = 3
QUICK_SECONDS = 0.3
"""By this the length of every workload is scaled in the quick mode."""
QUIET = 0.1
"""The share of the machine that other programs may take before figures suffer."""
CHARTED = ("1k", "1m", "s100-saturated", "s100-paced")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a minute or two, beside nginx only; writes no docs")
    add("--only", help="workloads by name, with * and commas: native-1k,chat-s100-*")
    add("--proxies", help="proxies by name, with commas; by default all that are installed")
    add("--rounds", type=int, help="how often each workload is repeated")
    add("--seconds", type=float, help="scales the length of every workload (1 is the full run's)")
    add(
        "--profile",
        action="store_true",
        help="show where the gateway's time goes, one workload each",
    )
    add("--json", type=Path, help="write every value of every figure to a file")
    add(
        "--write",
        action="store_true",
        help="write the tables and the chart into docs/, as the full run does",
    )
    add("--list", action="store_true", help="name the workloads and end")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[Workload]:
    """Raises SystemExit where a name fits no workload."""
    if not given.only:
        return [row for row in WORKLOADS.values() if row.quick or not given.quick]
    names: list[str] = []
    for pattern in given.only.split(","):
        found = [name for name in WORKLOADS if fnmatch(name, pattern)]
        if not found:
            raise SystemExit(f"no workload is named {pattern}; there are {', '.join(WORKLOADS)}")
        names += found
    return [row for name, row in WORKLOADS.items() if name in names]


def named_proxies(given: argparse.Namespace) -> list[str]:
    """Raises SystemExit where a name is no proxy's."""
    everyone = [name for name in proxies.PROXIES if name != "direct"]
    if not given.proxies:
        return [n for n in everyone if not (given.quick and n in proxies.PEER_NAMES)]
    names = given.proxies.split(",")
    for name in names:
        if name not in everyone:
            raise SystemExit(f"no proxy is named {name}; there are {', '.join(everyone)}")
    return [name for name in everyone if name in names]


def main() -> int:
    given = arguments()
    if given.list:
        rows = [[row.name, row.title, "yes" if row.quick else ""] for row in WORKLOADS.values()]
        print(report.table(["workload", "what", "quick"], rows))
        return 0
    proxies.prepare()
    proxies.accounting()  # not only at the end, where it would spoil a whole run
    seconds = given.seconds or (QUICK_SECONDS if given.quick else 1.0)
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    workloads = chosen(given)
    try:
        with opened(named_proxies(given), seconds, say) as bench:
            if given.profile:
                for workload in (row for row in workloads if row.kind == "closed"):
                    print(f"== {workload.name}\n{profiling.profile(bench, workload)}\n")
                return 0
            rounds = given.rounds or ROUNDS
            figures = bench.run(workloads, rounds)
    except (Failed, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    text = written(figures, rounds, seconds)
    print(text)
    if given.json:
        given.json.write_text(json.dumps(plain(figures), indent=1) + "\n")
    if given.write or not (given.quick or given.only or given.proxies):
        report.write(PAGE, "bench", text)
        CHART.write_text(drawing(figures))
    return 0


def written(figures: Figures, rounds: int, seconds: float) -> str:
    """The whole report as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in figures.versions.items())
    parts = [
        f"One run: {measure.machine()}; {versions}; medians of {rounds} rounds, their length "
        f"{seconds:g} of the full one. {meanwhile(figures.others)}",
        f"Usage records compared with the requests sent: {proxies.accounting()}.",
        *(f"Left out: {name}: {reason}." for name, reason in figures.absent.items()),
        "### Targets",
        report.targets(figures),
        report.sections(figures),
    ]
    if figures.complaints:
        parts += ["### What went wrong", "\n".join(f"* {text}" for text in grouped(figures))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def meanwhile(others: float) -> str:
    """How quiet the machine was, and what that means for the figures."""
    text = f"Other programs took {100 * others:.0f} % of the machine meanwhile"
    return (
        f"{text}." if others < QUIET else f"{text}: the latencies say little, the rest is too high."
    )


def grouped(figures: Figures) -> list[str]:
    """Each complaint once, in brackets how often."""
    counts: dict[str, int] = {}
    for text in figures.complaints:
        counts[text] = counts.get(text, 0) + 1
    return [f"{text} ({count}x)" if count > 1 else text for text, count in counts.items()]


def plain(figures: Figures) -> list[dict[str, object]]:
    return [
        {"metric": f.metric, "workload": f.workload, "proxy": f.proxy, "values": values}
        for f, values in figures.values.items()
    ]


def drawing(figures: Figures) -> str:
    """CPU time per request by workload and proxy."""
    groups: list[tuple[str, list[tuple[str, float, str]]]] = []
    for shape in CHARTED:
        for lane in ("native", "chat", "gemini"):
            workload = WORKLOADS.get(f"{lane}-{shape}")
            if workload is not None:
                found = [
                    (proxy, value, report.quantity(value, "us"))
                    for proxy in figures.versions
                    if (value := figures.median(Figure("cpu", workload.name, proxy)))
                ]
                groups.append((workload.title, found))
    filled = [(title, rows) for title, rows in groups if rows]
    return chart.bars("CPU time per request (logarithmic)", filled)


if __name__ == "__main__":
    sys.exit(main())
