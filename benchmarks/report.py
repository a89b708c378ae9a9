"""Figures as Markdown: a table for each kind of measurement, and the targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.bench import Figures
from benchmarks.workloads import TARGETS, WORKLOADS, Figure, Target, Workload

Cell = Callable[[Figures, Workload, str], str]
"""What a table shows of a proxy under a workload; "" for nothing."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned so that it can be read as it is."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = ["| " + " | ".join(t.ljust(w) for t, w in zip(r, widths, strict=True)) for r in cells]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths))
    return "\n".join(f"{line} |" for line in lines)


def quantity(value: float, unit: str) -> str:
    """A number as people read it: three significant digits, CPU time in us or ms."""
    if unit == "us" and value >= 10_000:
        value, unit = value / 1000, "ms"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def base_of(workload: str) -> str:
    """The native workload of the same shape: what nginx can do."""
    _, _, shape = workload.partition("-")
    return f"native-{shape}"


def ratio_to_nginx(figures: Figures, workload: str, proxy: str) -> float | None:
    base = figures.median(Figure("cpu", base_of(workload), "nginx"))
    value = figures.median(Figure("cpu", workload, proxy))
    return value / base if base and value else None


def _cpu_cell(figures: Figures, workload: Workload, proxy: str) -> str:
    figure = Figure("cpu", workload.name, proxy)
    value = figures.median(figure)
    if value is None:
        return ""
    ratio = ratio_to_nginx(figures, workload.name, proxy)
    beside = f" ({ratio:.1f}x)" if ratio is not None and proxy != "nginx" else ""
    return f"{quantity(value, 'us')}{beside} ±{100 * figures.spread(figure):.0f} %"


def _cells(*rows: tuple[str, str]) -> Cell:
    """Several metrics of one proxy in one cell, each with its unit."""

    def cell(figures: Figures, workload: Workload, proxy: str) -> str:
        found = [
            (figures.median(Figure(metric, workload.name, proxy)), unit) for metric, unit in rows
        ]
        shown = [quantity(value, unit) for value, unit in found if value is not None]
        return " / ".join(shown) if len(shown) == len(rows) else ""

    return cell


SECTIONS: tuple[tuple[str, str, Cell], ...] = (
    (
        "CPU time per request",
        "User and system time of the process tree, in brackets the ratio to nginx's for the same "
        "shape in the native lane; half the spread of the rounds.",
        _cpu_cell,
    ),
    (
        "Added latency",
        "Beyond the same arrivals without a proxy, p50 / p99, and the arrivals per second: half of "
        "what the closed loop came to, 1,500 at most. Translated lanes are compared with the native "
        "one.",
        _cells(("added_p50", "ms"), ("added_p99", "ms"), ("arrivals", "/s")),
    ),
    (
        "Time to the first byte of the body",
        "Under the same arrivals, with the proxy, p50 / p99.",
        _cells(("first_p50", "ms"), ("first_p99", "ms")),
    ),
    (
        "Delay of events",
        "From the upstream's write of an event to its arrival, p50 / p99; the gap between two "
        "arrivals p50 / p99.",
        _cells(("delay_p50", "ms"), ("delay_p99", "ms"), ("gap_p50", "ms"), ("gap_p99", "ms")),
    ),
    (
        "Memory",
        "Resident at rest, and what each connection or stream adds.",
        _cells(("rest", "MB"), ("each", "KB")),
    ),
    (
        "Many live streams",
        "An event a second on each: CPU time per event, delay of the events p50 / p99.",
        _cells(("event_cpu", "us"), ("delay_p50", "ms"), ("delay_p99", "ms")),
    ),
)


def sections(figures: Figures) -> str:
    """Every table that has a figure, under its heading."""
    parts: list[str] = []
    for title, text, cell in SECTIONS:
        proxies = [p for p in figures.versions if _filled(figures, cell, p)]
        rows = [
            [workload.title, *(cell(figures, workload, proxy) for proxy in proxies)]
            for workload in WORKLOADS.values()
        ]
        rows = [row for row in rows if any(row[1:])]
        if rows:
            parts.append(f"### {title}\n\n{text}\n\n{table(['', *proxies], rows)}\n")
    return "\n".join(parts)


def _filled(figures: Figures, cell: Cell, proxy: str) -> bool:
    return any(cell(figures, workload, proxy) for workload in WORKLOADS.values())


def measured(figures: Figures, target: Target) -> float | None:
    """The value that a target is held against; None where a part of it was not measured."""
    value = figures.median(target.figure)
    for other in (target.over, target.less):
        if other is not None and figures.median(other) is None:
            value = None
    if value is None:
        return None
    if target.over is not None:
        value /= figures.median(target.over) or 1.0
    if target.less is not None:
        value -= figures.median(target.less) or 0.0
    return value * target.scale


def is_met(target: Target, value: float) -> bool:
    return value >= target.limit if target.at_least else value <= target.limit


def targets(figures: Figures) -> str:
    """The table of the targets: measured, wanted, met."""
    rows = [_target_row(target, measured(figures, target)) for target in TARGETS]
    return table(["target", "measured", "wanted", "met"], rows)


def _target_row(target: Target, value: float | None) -> list[str]:
    sign = "≥" if target.at_least else "≤"
    wanted = f"{sign} {target.limit:g} {target.unit}"
    if value is None:
        return [target.text, "", wanted, "not measured"]
    met = "yes" if is_met(target, value) else "no"
    return [target.text, quantity(value, target.unit), wanted, met]


def replaced(page: str, name: str, text: str) -> str:
    """A page with ``text`` between the marks that ``make NAME`` writes between.

    Raises ValueError where the page has no such place.
    """
    begin, end = f"<!-- written by make {name} -->", f"<!-- end of make {name} -->"
    marks = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"no place for the figures: {begin} ... {end}")
    return marks.sub(lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", page)


def write(path: Path, name: str, text: str) -> None:
    """Put ``text`` into its place on a page. Raises as ``replaced``."""
    path.write_text(replaced(path.read_text(), name, text))
