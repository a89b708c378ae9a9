"""The workloads, a row each, and the targets that their figures are held against."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import wire
from benchmarks.load import Asked

KB, MB = 1024, 1024 * 1024
ANSWER_EVENTS = 16
"""Events of an upstream stream whose answer a client wants whole: about 1 KB in either form."""
PACE = 0.005
LIVE_PACE = 1.0
"""Seconds between the events of many live streams: about what two cores can carry for 2,000."""
LIVE_EVENTS = 100_000
"""More than any live stream sends before it is released."""

OURS = ("nginx", "isthmus")
"""Who runs what would take the others too long."""


@dataclass(frozen=True)
class Workload:
    """``kind`` is a job's kind (`benchmarks.load`); ``events`` of each upstream stream and the
    seconds of ``gap`` between them. ``only`` names the proxies that run it, () for all that have
    the lane; ``quick`` has it run in the quick mode too.
    """

    name: str
    title: str
    kind: str
    lane: str
    size: int = KB
    stream: bool = False
    events: int = ANSWER_EVENTS
    gap: float = 0.0
    connections: int = 16
    seconds: float = 2.0
    quick: bool = True
    only: tuple[str, ...] = ()

    def asked(self, headers: dict[str, str]) -> Asked:
        counted = self.stream and self.kind != "live"
        marks = self.events - wire.FRAME_EVENTS if counted else -1
        stamped = self.gap > 0
        return Asked(self.lane, self.size, self.stream, marks, stamped, headers)


def _closed() -> list[Workload]:
    """CPU per request: plain answers, large bodies, streams, in each lane."""
    quick_lanes = ("native", "chat")
    rows = [
        Workload(f"{lane}-1k", f"1 KB, {lane}", "closed", lane, quick=True) for lane in wire.LANES
    ]
    rows += [
        Workload(f"{lane}-1m", f"1 MB, {lane}", "closed", lane, MB, connections=4, quick=on)
        for lane, on in (("native", True), ("chat", True), ("gemini", False))
    ]
    rows.append(
        Workload("native-30m", "30 MB, native", "closed", "native", 30 * MB, connections=2,
                 only=OURS)
    )  # fmt: skip
    for events in (100, 1000):
        for gap, word in ((0.0, "saturated"), (PACE, "paced")):
            for lane in wire.LANES:
                quick = events == 100 and lane in quick_lanes
                rows.append(
                    Workload(
                        f"{lane}-s{events}-{word}",
                        f"stream of {events:,}, {word}, {lane}",
                        "closed",
                        lane,
                        stream=True,
                        events=events,
                        gap=gap,
                        connections=20 if gap else 8,
                        seconds=3.0 if gap else 2.0,
                        quick=quick,
                        only=OURS if events > 100 else (),
                    )
                )
    return rows


def _open() -> list[Workload]:
    """Added latency at a fixed arrival rate, and the time to the first event."""
    return [
        *(
            Workload(f"{lane}-1k-open", f"1 KB, {lane}", "open", lane, seconds=3.0, quick=quick)
            for lane, quick in (("native", True), ("chat", True), ("gemini", False))
        ),
        *(
            Workload(f"{lane}-s100-open", f"stream of 100, {lane}", "open", lane,
                     stream=True, events=100, seconds=3.0, quick=quick)
            for lane, quick in (("native", True), ("chat", False))
        ),
    ]  # fmt: skip


def _held() -> list[Workload]:
    """Memory, in a process of its own each; and events of many live streams."""
    live = {"lane": "native", "stream": True, "events": LIVE_EVENTS, "gap": LIVE_PACE}
    return [
        Workload("idle-1000", "1,000 idle connections", "idle", "native", connections=1000),
        Workload("live-1000", "1,000 live streams, native", "live", **live, connections=1000,
                 seconds=6.0, quick=False),
        Workload("live-1000-chat", "1,000 live streams, chat", "live", **{**live, "lane": "chat"},
                 connections=1000, seconds=6.0, quick=False),
        Workload("live-2000", "2,000 live streams, native", "live", **live, connections=2000,
                 seconds=6.0, only=OURS),
    ]  # fmt: skip


WORKLOADS = {row.name: row for row in (*_held(), *_closed(), *_open())}
LATENCY_OF = {"1k-open": "1k", "s100-open": "s100-saturated"}
"""From the end of an open workload's name to that of the one whose throughput sets its rate."""


@dataclass(frozen=True)
class Figure:
    """One measured number: a metric of a proxy under a workload."""

    metric: str
    workload: str
    proxy: str = "isthmus"


@dataclass(frozen=True)
class Target:
    """``figure``, or its ratio to ``over``, or its difference from ``less``, against ``limit``."""

    text: str
    figure: Figure
    limit: float
    over: Figure | None = None
    less: Figure | None = None
    unit: str = "x"
    at_least: bool = False
    scale: float = 1.0


def _cpu(workload: str, proxy: str = "isthmus") -> Figure:
    return Figure("cpu", workload, proxy)


def _beside_nginx(text: str, workload: str, limit: float, base: str = "") -> Target:
    return Target(f"{text}: CPU to nginx's", _cpu(workload), limit, _cpu(base or workload, "nginx"))


TARGETS = (
    _beside_nginx("1 KB native", "native-1k", 5),
    _beside_nginx("1 KB chat", "chat-1k", 7, "native-1k"),
    _beside_nginx("stream of 100 saturated, native", "native-s100-saturated", 1.3),
    _beside_nginx("stream of 100 saturated, chat", "chat-s100-saturated", 2.0,
                  "native-s100-saturated"),
    _beside_nginx("stream of 100 paced, native", "native-s100-paced", 2.2),
    _beside_nginx("stream of 100 paced, chat", "chat-s100-paced", 3.2, "native-s100-paced"),
    _beside_nginx("1 MB native", "native-1m", 4),
    Target("1 MB native: CPU beyond a small one's", _cpu("native-1m"), 2.5,
           less=_cpu("native-1k"), unit="ms", scale=1e-3),
    Target("30 MB native: CPU to that of 1 MB", _cpu("native-30m"), 33, _cpu("native-1m")),
    *(
        Target(f"{title}: {peer}'s CPU to ours", _cpu(name, peer), limit, _cpu(name), at_least=True)
        for peer, limit, lanes in (
            ("litellm", 100, ("native", "chat", "gemini")),
            ("portkey", 10, ("native", "chat")),
        )
        for name, title in ((f"{lane}-1k", f"1 KB {lane}") for lane in lanes)
    ),
    *(
        Target(f"{title}: added p50 at half load", Figure("added_p50", name), 1.0, unit="ms")
        for name, title in (("native-1k-open", "1 KB native"), ("chat-1k-open", "1 KB chat"))
    ),
    Target("memory at rest", Figure("rest", "idle-1000"), 80, unit="MB"),
    Target("memory per live stream at 2,000", Figure("each", "live-2000"), 40, unit="KB"),
)  # fmt: skip
