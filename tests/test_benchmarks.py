"""The benchmarks measure what they say: the load generator and the mock upstream, one on the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import chart, measure, profiling, proxies, report, upstream, wire
from benchmarks.bench import Figures, opened
from benchmarks.load import Asked, Job, perform, quantiles
from benchmarks.workloads import TARGETS, WORKLOADS, Figure, Target
from isthmus import config

KB = 1024
QUIET: Callable[[str], None] = lambda _: None  # noqa: E731


@contextlib.asynccontextmanager
async def mocked(**state: Any) -> AsyncIterator[tuple[int, upstream.State]]:
    """The mock upstream on a free port."""
    seen = upstream.State(**state)
    server = await upstream.serve(0, seen)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()
        for connection in list(seen.open):
            connection.abort()
        await asyncio.sleep(0)
        await server.wait_closed()


def native(stream: bool = False, marks: int = -1, stamped: bool = False) -> Asked:
    headers = wire.credentials(wire.LANES["native"])
    return Asked("native", KB, stream, marks, stamped, headers)


def after(seconds: float = 0.0) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.sleep(seconds)


def loaded(job: dict[str, Any], **state: Any) -> tuple[list[Any], upstream.State]:
    """The load generator's answers to a job on a mock upstream, and what that saw."""

    async def run() -> tuple[list[Any], upstream.State]:
        answers: list[Any] = []
        async with mocked(**state) as (port, seen):
            whole = Job(**{"kind": "closed", "port": port, "asked": [native()], **job})
            await perform(whole, answers.append, after(0.1))
            for _ in range(100):  # what was hung up on is noticed by the other end a little later
                if not seen.live:
                    break
                await asyncio.sleep(0.01)
            return answers, seen

    return asyncio.run(run())


@pytest.mark.parametrize("lane", wire.LANES.values(), ids=lambda lane: lane.name)
@pytest.mark.parametrize("size", [KB, 10_000, 64 * KB, KB * KB])
def test_a_body_has_the_size_asked_for_and_ends_with_the_user(lane: wire.Lane, size: int) -> None:
    body = wire.body(lane, size, stream=True)
    assert len(body) == size
    document = json.loads(body)
    turns = document.get("messages") or document["contents"]
    assert turns[-1]["role"] == "user"
    assert wire.MARK not in body
    assert upstream._asks_for_stream(body) == (lane.name != "gemini")


def test_no_body_is_smaller_than_its_frame() -> None:
    with pytest.raises(ValueError, match="16 bytes hold no request"):
        wire.body(wire.LANES["native"], 16, stream=False)


def test_every_answer_is_counted_once() -> None:
    answers, seen = loaded({"connections": 3, "seconds": 0.2})
    (done,) = answers
    assert done["completed"] == done["sent"] == seen.requests > 3
    assert done["errors"] == {}
    assert seen.keys == {wire.CLIENT_KEY: seen.requests}
    assert 0 < done["latency"]["p50"] <= done["latency"]["p99"] <= done["latency"]["p100"]


@pytest.mark.parametrize("gap", [0.0, 0.001])
def test_a_stream_has_the_events_asked_for(gap: float) -> None:
    asked = native(stream=True, marks=24, stamped=gap > 0)
    answers, seen = loaded({"asked": [asked], "connections": 2}, events=30, gap=gap)
    (done,) = answers
    assert done["completed"] == done["sent"] == seen.streams > 0
    assert (done["events"] == 24 * seen.streams) is (gap > 0)
    if gap:
        assert done["delay"]["p50"] >= 0
        assert done["latency"]["p50"] >= 29 * gap * 1000
        assert done["gap"]["p50"] == pytest.approx(1, abs=0.9)


def test_a_stream_with_events_missing_is_an_error() -> None:
    answers, _ = loaded({"asked": [native(stream=True, marks=25)], "seconds": 0.0}, events=30)
    assert answers[0]["errors"] == {"24 of 25 text deltas": 1}
    assert answers[0]["completed"] == 0


def test_faults_are_told_by_their_kind() -> None:
    job = {"asked": [native(stream=True, marks=24)], "connections": 1, "seconds": 0.3}
    answers, seen = loaded(job, events=30, faults=2)
    errors = answers[0]["errors"]
    assert sum(errors.values()) == seen.failed >= len(upstream.FAULTS)
    kinds = {text.partition(":")[0] for text in errors}
    assert kinds == {
        *("connection lost", "answer cut off", "1 of 24 text deltas", "status 500", "status 529")
    }
    assert answers[0]["completed"] == seen.requests - seen.failed


def test_open_arrivals_wait_for_no_answer() -> None:
    """Each answer takes 0.15 s; at 100 requests a second about fifteen are under way at once."""
    asked = native(stream=True, marks=0)
    job = {"kind": "open", "asked": [asked], "seconds": 0.5, "rate": 100.0}
    answers, seen = loaded(job, events=wire.FRAME_EVENTS, gap=0.03)
    (done,) = answers
    assert 25 <= done["sent"] <= 90
    assert done["completed"] == done["sent"] == seen.requests
    assert done["seconds"] < 2


def test_the_same_seed_has_the_same_arrivals() -> None:
    job = {"kind": "open", "seconds": 0.2, "rate": 200.0}
    sent = [loaded({**job, "seed": seed})[0][0]["sent"] for seed in (7, 7, 8, 9, 10)]
    assert sent[0] == sent[1]
    assert len(set(sent)) > 1


def test_clients_that_hang_up_are_neither_whole_nor_errors() -> None:
    job = {"asked": [native(stream=True)], "connections": 4, "seconds": 0.4, "cancels": 1.0}
    answers, seen = loaded(job, events=100, gap=0.01)
    (done,) = answers
    assert done["cancelled"] == done["sent"] == seen.abandoned >= 4
    assert done["completed"] == 0
    assert done["errors"] == {}


def test_live_streams_are_held_and_let_go() -> None:
    job = {"kind": "live", "asked": [native(stream=True, stamped=True)], "connections": 60}
    answers, seen = loaded(job, events=10_000, gap=0.01)
    held, done = answers
    assert held["held"] == 60 == seen.streams
    assert done["events"] > 0
    assert (seen.live, seen.abandoned) == (0, 60)


def test_idle_connections_have_had_an_answer() -> None:
    answers, seen = loaded({"kind": "idle", "connections": 40})
    assert answers[0]["held"] == 40 == seen.requests
    assert answers[1]["completed"] == 40


def test_nobody_there_is_an_error() -> None:
    answers: list[Any] = []
    job = Job("closed", proxies.free_port(), [native()], 2, 0.1)
    asyncio.run(perform(job, answers.append, after()))
    assert answers[0]["errors"] == {"no connection: ConnectionRefusedError": 2}
    assert quantiles([]) == {}


def test_stamps_are_found_wherever_the_bytes_are_split() -> None:
    """A server that writes one byte at a time."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        now = time.monotonic_ns() // 1000
        body = wire.delta(now) + wire.delta(now) + wire.CLOSING[-1]
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
        for place in range(len(whole := head + body)):
            writer.write(whole[place : place + 1])
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def run() -> Any:
        answers: list[Any] = []
        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            asked = native(stream=True, marks=2, stamped=True)
            await perform(Job("closed", port, [asked], 1, 0.0), answers.append, after())
        return answers[0]

    done = asyncio.run(run())
    assert (done["completed"], done["events"], done["errors"]) == (1, 2, {})


def test_what_is_read_of_a_process() -> None:
    code = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    child = subprocess.Popen(
        [sys.executable, "-c", code + "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in measure.tree(os.getpid())
        assert measure.tree(child.pid) == [child.pid]
        assert 0.3 <= measure.cpu_seconds(child.pid) < 3
        assert measure.busy_seconds() > measure.own_seconds() > 0
        assert measure.cpu_seconds(os.getpid()) >= measure.cpu_seconds(child.pid)
        assert 2_000_000 < measure.resident(child.pid) < 200_000_000
        assert 3 <= measure.descriptors(child.pid) < 50
        child.communicate(b"\n")
    assert measure.cpu_seconds(child.pid) == 0


def test_every_target_has_its_workloads_and_proxies() -> None:
    for target in TARGETS:
        for figure in (target.figure, target.over, target.less):
            if figure is not None:
                workload, proxy = WORKLOADS[figure.workload], proxies.PROXIES[figure.proxy]
                assert workload.lane in proxy.lanes
                assert not workload.only or proxy.name in workload.only


def figures(**cpu: list[float]) -> Figures:
    found = Figures(versions=dict.fromkeys(cpu, "1"))
    for name, values in cpu.items():
        for value in values:
            found.add(Figure("cpu", "native-1k", name), value)
    return found


def test_targets_are_ratios_of_medians() -> None:
    seen = figures(nginx=[10, 20, 90], isthmus=[80, 100, 120])
    ratio, difference = Figure("cpu", "native-1k"), Figure("cpu", "native-1k", "nginx")
    target = Target("t", ratio, 5, over=difference)
    value = report.measured(seen, target)
    assert value == 5
    assert report.is_met(target, value)
    assert not report.is_met(Target("t", ratio, 4.9, over=difference), value)
    assert report.measured(seen, Target("t", ratio, 1, less=difference, scale=1e-3)) == 0.08
    assert report.measured(seen, Target("t", ratio, 1, over=Figure("cpu", "native-1m"))) is None


def test_the_report_shows_what_was_measured_and_nothing_else() -> None:
    text = report.sections(figures(nginx=[20, 20], isthmus=[90, 110], portkey=[]))
    assert "| 1 KB, native | 20.0 us ±0 % | 100 us (5.0x) ±10 % |" in text
    assert "portkey" not in text
    assert "Memory" not in text
    assert "not measured" in report.targets(figures())


def test_a_page_without_the_marks_is_left_alone() -> None:
    page = "a\n<!-- written by make bench -->\nold\n<!-- end of make bench -->\nz"
    assert "old" not in (new := report.replaced(page, "bench", "new"))
    assert report.replaced(new, "bench", "new") == new
    with pytest.raises(ValueError, match="no place"):
        report.replaced("a", "bench", "new")


def test_the_page_has_its_places() -> None:
    page = (proxies.ROOT / "docs" / "performance.md").read_text()
    assert report.replaced(page, "bench", "figures") != page


def test_charts_are_drawn_to_scale() -> None:
    drawn = ET.fromstring(chart.bars("t", [("g", [("nginx", 10, "x"), ("isthmus", 1000, "<y>")])]))
    first, second = [
        float(rect.attrib["width"]) for rect in drawn.iter() if rect.attrib.get("height") == "12"
    ]
    assert (round(first), round(second)) == (1, 520)
    lines = ET.fromstring(chart.lines("t", [("p", [(0, 1), (5, 2)])]))
    assert len([part for part in lines.iter() if part.tag.endswith("polyline")]) == 1


def test_samples_are_added_up_by_function() -> None:
    text = profiling._of_samples(["run (a/b.py:1);read (x/c.py:5) 3", "run (a/b.py:9) 1"])
    assert text.splitlines()[:3] == ["4 samples", "", "own time"]
    assert " 75.0 %  read (x/c.py)" in text
    assert " 25.0 %  run (a/b.py)" in text
    assert "100.0 %" not in text


def test_the_gateway_is_measured_with_keys_on(tmp_path: Path) -> None:
    site = proxies.Site(tmp_path, 1234, 5678)
    path = Path(site.write("c.yaml", proxies.isthmus_config(site)))
    settings = config.load(path, {}, {}).config
    assert len(settings.auth.keys) == 100
    assert settings.auth.keys[-1].get_secret_value() == wire.CLIENT_KEY
    assert len(settings.backends["anthropic"].keys) == 4


def test_records_are_compared_as_soon_as_there_are_any() -> None:
    """Fails on the day that the config can switch accounting on: then the bench must count."""
    assert proxies.accounting().startswith("skipped")
    assert not set(proxies.ACCOUNTING) & set(config.Config.model_fields)


def test_a_proxy_that_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "PEERS", Path("/nowhere"))
    said: list[str] = []
    with opened(["direct", "litellm"], 1.0, said.append) as bench:
        bench.present()
        assert [proxy.name for proxy in bench.proxies] == ["direct"]
    assert said == ["skipped: litellm: no LiteLLM: make bench-peers"]
    assert bench.figures.absent.keys() == {"litellm"}


def test_the_gateway_goes_through_a_whole_run() -> None:
    """Every lane answers, what is sent arrives upstream, and each kind of figure comes about."""
    live = replace(WORKLOADS["live-1000"], connections=20, gap=0.02)
    wanted = {
        "native-1k": "cpu",
        "chat-s100-paced": "delay_p50",
        "native-1k-open": "added_p50",
        "live-1000": "each",
    }
    with opened(["isthmus"], 0.1, QUIET) as bench:
        seen = bench.run([live, *(WORKLOADS[name] for name in list(wanted)[:3])], 1)
    assert seen.complaints == []
    for name, metric in wanted.items():
        assert seen.median(Figure(metric, name)) is not None, name
