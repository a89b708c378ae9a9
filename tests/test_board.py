"""What one worker learns of a key all know at once, whoever dies; and one probe goes out, not one from each."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.request import Place
from isthmus.routing.health import Effect, Health, Policy
from isthmus.storage import shared
from isthmus.storage.board import Board, Copy
from isthmus.storage.pools import Pools
from isthmus.storage.shared import Line
from tests.conftest import Run
from tests.copies import chosen

A, B = Place("a", "1"), Place("a", "2")
PROGRAM = Path(__file__).with_name("copies.py")
AT_ONCE = 0.1
"""Seconds in which what one worker learned must have reached all."""


class Worker:
    """A process with a copy of the board."""

    def __init__(self, process: asyncio.subprocess.Process, serving: asyncio.Task[None]) -> None:
        self.process = process
        self.serving = serving

    @classmethod
    async def start(cls, board: Board) -> Worker:
        own, other = socket.socketpair()
        with other:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(PROGRAM), str(other.fileno())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=[other.fileno()],
            )
        serving = asyncio.create_task(shared.serve({}, own, board))
        worker = cls(process, serving)
        assert await worker._line() == b"ready\n"
        return worker

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        return await self.process.stdout.readline()

    async def do(self, *what: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        return json.loads(await self._line())

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
        await asyncio.wait([self.serving])


@asynccontextmanager
async def workers(count: int) -> AsyncIterator[tuple[Board, list[Worker]]]:
    board = Board()
    team = await asyncio.gather(*(Worker.start(board) for _ in range(count)))
    try:
        yield board, team
    finally:
        for worker in team:
            await worker.kill()


async def soon(condition: Callable[[], Any]) -> None:
    """Wait until something holds, which is a matter of milliseconds where nothing else runs."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.005)


async def all_say(team: list[Worker], key: str, state: str) -> float:
    """Wait until all workers say so of a key; the seconds that it took."""
    began = time.monotonic()
    while {await worker.do("state", key) for worker in team} != {state}:
        assert time.monotonic() < began + 5, f"{state}: it has not reached all"
    return time.monotonic() - began


linux = pytest.mark.skipif(sys.platform == "win32", reason="no descriptor can be passed on")


@linux
def test_what_one_worker_learns_all_respect_whoever_dies() -> None:
    async def scenario() -> None:
        async with workers(3) as (board, team):
            took: list[float] = []
            for n in range(5):
                await team[n % 3].do("failed", f"other {n}", "cool", 60)
                took.append(await all_say(team, f"other {n}", "cooling"))
            assert min(took) < AT_ONCE
            await team[0].do("failed", "1", "cool", 2)
            end = time.monotonic() + 2
            await all_say(team, "1", "cooling")
            assert [await worker.do("choose", ["1"], None) for worker in team] == [None] * 3
            for dead in (0, 1):
                await team[dead].kill()
                team[dead] = await Worker.start(board)
                assert await team[dead].do("state", "other 0") == "cooling"
            while time.monotonic() < end - 0.1:
                found = [await worker.do("choose", ["1", "2"], "root") for worker in team]
                assert found == [["2", "open"]] * 3
                await asyncio.sleep(0.05)
            await asyncio.sleep(max(0.0, end - time.monotonic()))
            found = await asyncio.gather(*(worker.do("choose", ["1"], None) for worker in team))
            assert found.count(None) == 2
            assert await team[2].do("state", "1") == "cooling"
            await team[found.index(["1", "probe"])].do("answered", "1")
            await all_say(team, "1", "open")
            found = [await worker.do("choose", ["1"], None) for worker in team]
            assert found == [["1", "open"]] * 3

    asyncio.run(asyncio.wait_for(scenario(), 30))


@linux
def test_failures_count_together_and_conversations_stay_whichever_worker_answers() -> None:
    async def scenario() -> None:
        async with workers(3) as (_, team):
            for n in range(Policy().failures):
                await team[n % 3].do("failed", "1", "fail", None)
            await all_say(team, "1", "ejected")
            await team[1].do("answered", "1")
            await all_say(team, "1", "open")
            roots = [f"root {n}" for n in range(20)]
            for n, root in enumerate(roots):
                await team[n % 3].do("keep", "12"[n % 2], root)
            for n, worker in enumerate(team):
                # What it posted before has reached all once this has.
                await worker.do("failed", f"mark {n}", "bench", None)
                await all_say(team, f"mark {n}", "benched")
            for worker in team:
                chosen = [(await worker.do("choose", ["1", "2"], root))[0] for root in roots]
                assert chosen == ["1", "2"] * 10

    asyncio.run(asyncio.wait_for(scenario(), 30))


# --- in one process, over real sockets ----------------------------------------------------------


@asynccontextmanager
async def copies(board: Board, count: int) -> AsyncIterator[list[Copy]]:
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            mine, theirs = socket.socketpair()
            serving = asyncio.create_task(shared.serve({}, mine, board))
            stack.push_async_callback(asyncio.wait, [serving])
            line = await Line.open(theirs)
            stack.push_async_callback(line.close)
            copy = Copy(line)
            await copy.join()
            found.append(copy)
        yield found


def known(health: Health) -> list[Any]:
    """What two that say the same must have alike."""
    marks, kept = health.whole()
    return [sorted(map(tuple, marks)), sorted(map(tuple, kept))]


def test_all_copies_come_to_say_the_same(run: Run) -> None:
    drawn = random.Random(5)
    effects: list[Effect] = ["none", "cool", "cool_long", "bench", "fail", "fail", "fail"]

    async def scenario() -> None:
        board = Board()
        async with copies(board, 3) as team:
            for n in range(600):
                copy, place = drawn.choice(team), drawn.choice([A, B])
                health = copy.health
                what = drawn.randrange(4)
                if what == 0:
                    health.answered(place, "opus", (), n * 3.0)
                elif what == 1:
                    health.keep(str(n).encode(), place)
                elif what == 2:
                    health.failed(place, "opus", drawn.choice(effects), 5, n * 3.0)
                else:
                    await chosen(Pools(health, copy.claim), [A, B], "opus", None, n * 3.0)
                if drawn.random() < 0.2:
                    await asyncio.sleep(0)
            assert known(board.health) != known(Health())
            await soon(lambda: all(known(copy.health) == known(board.health) for copy in team))
            async with copies(board, 1) as (late,):
                assert known(late.health) == known(board.health)

    run(scenario)


def test_a_probe_is_claimed_once_and_freed_for_all(run: Run) -> None:
    async def scenario() -> None:
        async with copies(Board(), 3) as team:
            pools = [Pools(copy.health, copy.claim) for copy in team]

            def all_say(now: float, *, probing: bool) -> bool:
                stands = [each.health.standing(A, "opus", now) for each in pools]
                return all((s.state, s.probing) == ("cooling", probing) for s in stands)

            team[0].health.failed(A, "opus", "cool", 5, 0.0)
            team[0].health.keep(b"root", A)
            await soon(lambda: all_say(5.0, probing=False))
            await chosen(pools[0], [A], "opus", None, 5.0)
            await soon(lambda: all_say(5.0, probing=True))
            team[0].health.released(A, "opus")
            await soon(lambda: all_say(5.0, probing=False))
            for now in (5.0, 6.0):
                asked = (chosen(each, [A], "opus", None, now) for each in pools for _ in range(5))
                found = await asyncio.gather(*asked)
                assert [choice.kind for choice in found if choice is not None] == ["probe"]
                winner = pools[next(at for at, choice in enumerate(found) if choice) // 5]
                await soon(lambda now=now: all_say(now, probing=True))
                for each in pools:
                    if each is not winner:
                        each.health.released(A, "opus")
                await asyncio.sleep(AT_ONCE)
                assert all_say(now, probing=True)
                winner.health.released(A, "opus")
                await soon(lambda now=now: all_say(now, probing=False))
            # Whoever comes too late for the key of the conversation gets another at once.
            asked = (chosen(each, [A, B], "opus", b"root", 7.0) for each in pools)
            kinds = [choice.kind for choice in await asyncio.gather(*asked) if choice is not None]
            assert sorted(kinds) == ["open", "open", "probe"]

    run(scenario)


class Script:
    """A line whose owner says what a test wants, when it wants."""

    def __init__(self) -> None:
        self.heard: Callable[[Any], None] | None = None
        self.posted: list[Any] = []

    def post(self, store: str, operation: str, *arguments: Any) -> bool:
        self.posted += arguments
        return True

    async def call(self, store: str, operation: str, *arguments: Any) -> Any:
        raise TimeoutError

    def say(self, *message: Any) -> None:
        assert self.heard is not None
        self.heard(message)


def test_what_a_worker_has_just_learned_is_not_undone_by_older_news() -> None:
    line = Script()
    health = Copy(line).health
    owner, other = Health(), Health()
    other.failed(B, "opus", "bench", None, 0.0)
    health.failed(A, "opus", "fail", None, 0.0)
    health.failed(A, "opus", "cool", 50, 1.0)
    assert len(line.posted) == 2
    for event in line.posted:
        line.say("marks", False, other.marks(B, "opus"))
        line.say("marks", False, Health().marks(A, "opus"))
        assert health.standing(A, "opus", 1.0).state == "cooling"
        owner.apply(event)
        line.say("marks", True, owner.marks(A, "opus"))
        assert health.standing(A, "opus", 1.0).state == "cooling"
    assert health.standing(B, "opus", 1.0).state == "benched"
    # All that we posted has been answered: from here the owner's word counts again.
    line.say("marks", False, Health().marks(A, "opus"))
    assert health.standing(A, "opus", 1.0).state == "open"


def test_an_owner_out_of_reach_stops_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "CALL_SECONDS", 0.05)
    monkeypatch.setattr(shared, "UNREAD_LIMIT", 100_000)

    async def scenario() -> None:
        mine, theirs = socket.socketpair()
        line = await Line.open(theirs)
        copy = Copy(line)
        began = time.monotonic()
        await copy.join()
        copy.health.failed(A, "opus", "cool", 5, 0.0)
        assert copy.health.choose([A], "opus", None, 1.0) is None
        choice = await chosen(Pools(copy.health, copy.claim), [A], "opus", None, 5.0)
        assert choice == (A, "probe")
        copy.health.answered(A, "opus", (), 5.5)
        assert copy.health.choose([A], "opus", None, 6.0) == A
        for n in range(10_000):
            copy.health.keep(str(n).encode(), A)
        assert line.unread <= 101_000
        assert time.monotonic() - began < 5
        mine.close()
        await line.close()

    run(scenario)


def test_a_worker_that_does_not_read_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "UNREAD_LIMIT", 100_000)

    async def scenario() -> None:
        board = Board()
        mine, theirs = socket.socketpair()
        serving = asyncio.create_task(shared.serve({}, mine, board))
        data = shared._encode([1, "keys", "join", []])
        theirs.sendall(len(data).to_bytes(4, "big") + data)
        async with copies(board, 1) as (copy,):
            for n in range(60_000):
                copy.health.keep(str(n).encode(), A)
                if n % 1000 == 0:
                    await asyncio.sleep(0)
            await asyncio.wait_for(serving, 10)
        theirs.close()

    run(scenario)
