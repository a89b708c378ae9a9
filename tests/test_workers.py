"""Several workers are one gateway: what one has kept another finds, and none is missed when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from isthmus import workers
from isthmus.config import Config
from isthmus.storage import shared
from isthmus.storage.board import Board
from isthmus.storage.memory import MemoryStore
from isthmus.storage.shared import Line, SharedStore
from tests import material
from tests.harness import VERSION, World, message
from tests.test_vault import ASKED, Talk, thoughts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

COUNT = 3
SECONDS = 20


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture(scope="module")
def team() -> Iterator[World]:
    world = World(workers=COUNT)
    yield world
    world.close()


def children() -> list[int]:
    """The workers of this process, oldest first."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return sorted(pid for pid in found if b"isthmus.workers" in command(pid))


def command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextlib.contextmanager
def only(index: int) -> Iterator[None]:
    """Stop all workers but one, so that it answers."""
    others = [pid for at, pid in enumerate(children()) if at != index % COUNT]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def eventually(condition: Any, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


# --- one state ----------------------------------------------------------------------------------


def test_reasoning_is_kept_whichever_worker_answers(team: World) -> None:
    talk = Talk(team)
    for turn in range(COUNT):
        with only(turn):
            talk.client = OpenAI(base_url=f"{team.url}/v1", api_key="any", max_retries=0)
            if turn == 0:
                talk.say(ASKED)
            else:
                talk.answer_calls() if "tool_calls" in talk.messages[-1] else talk.say(ASKED)
        assert [len(row) for row in thoughts(talk.sent())] == [1] * turn
    assert not talk.notes


def test_responses_are_stored_for_all_workers(team: World) -> None:
    def ask(worker: int, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with only(worker):
            return team.ask(method, path, data)

    first = ask(0, "POST", "/v1/responses", {"model": "claude-opus-5", "input": "My name is Ada"})
    name = first.json()["id"]
    going_on = {"model": "claude-opus-5", "input": "What is it?", "previous_response_id": name}
    second = ask(1, "POST", "/v1/responses", going_on)
    assert second.status == 200, second.body
    assert b"My name is Ada" in team.received()[-1].body
    assert ask(2, "GET", f"/v1/responses/{name}").json()["id"] == name
    assert ask(0, "DELETE", f"/v1/responses/{name}").status == 200
    assert ask(1, "GET", f"/v1/responses/{name}").status == 404


def test_what_was_refused_is_known_to_all_workers(team: World) -> None:
    talk = Talk(team)
    forged = {"type": "thinking", "thinking": "I", "signature": "c2lnbmF0dXJl"}
    talk.messages += [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi", "thinking_blocks": [forged]},
    ]
    body = {"model": talk.model, "messages": [*talk.messages, {"role": "user", "content": "Go on"}]}
    for worker in range(2):
        before = len(team.received())
        with only(worker):
            reply = team.post("/v1/chat/completions", body)
        assert reply.status == 200, reply.body
        assert len(team.received()) - before == (2 if worker == 0 else 1)


def test_every_worker_has_a_copy_of_what_is_known_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    monkeypatch.setattr(workers, "Board", lambda policy: board)
    before = set(children())
    world = World(workers=COUNT)
    try:
        assert board.copies == COUNT
        mine = set(children()) - before
        os.kill(min(mine), signal.SIGKILL)
        eventually(lambda: len(set(children()) - before - mine) == 1 and board.copies == COUNT)
    finally:
        world.close()
    assert board.copies == 0


# --- life and death -----------------------------------------------------------------------------


def test_a_worker_that_dies_is_replaced_and_disturbs_nobody(team: World) -> None:
    before = children()
    assert len(before) == COUNT
    with only(0):
        stream = socket.create_connection(("127.0.0.1", team.port), SECONDS)
        body = json.dumps(message('Hi [[sim:{"delay": 0.05}]]', stream=True)).encode()
        head = (
            f"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:{team.port}\r\n"
            f"content-length: {len(body)}\r\nanthropic-version: 2023-06-01\r\n\r\n"
        )
        stream.sendall(head.encode() + body)
        answer = stream.recv(65536)
    assert b"200 OK" in answer
    os.kill(before[1], signal.SIGKILL)
    eventually(lambda: len(children()) == COUNT and before[1] not in children(), 5)
    while b"message_stop" not in answer:
        part = stream.recv(65536)
        assert part, answer
        answer += part
    stream.close()
    for _ in range(20):
        assert team.post("/v1/messages", message("Hello"), **VERSION).status == 200
    assert before[0] in children()


def test_workers_that_cannot_start_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    config = Config.model_validate(
        {"port": 0, "workers": 2, "backends": {"a": {"type": "simulator"}}}
    )
    with pytest.raises(workers.Failed, match="before it served"):
        asyncio.run(workers.supervise(config, lambda ports: None, {}))


def test_workers_that_cannot_even_be_spawned_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    config = Config.model_validate(
        {"port": 0, "workers": 2, "backends": {"a": {"type": "simulator"}}}
    )
    with pytest.raises(workers.Failed, match="cannot be started"):
        asyncio.run(workers.supervise(config, lambda ports: None, {}))


@pytest.mark.parametrize(("limit", "count", "each"), [(10_000, 1, 10_000), (10, 3, 4), (1, 4, 1)])
def test_workers_share_a_limit(limit: int, count: int, each: int) -> None:
    assert Config.model_validate({"workers": count}).share(limit) == each


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A supervisor of its own on the command line: its pid and its port."""
    file = tmp_path / "config.yaml"
    file.write_text("port: 0\nworkers: 2\nbackends:\n  a:\n    type: simulator\n")
    script = (
        "import sys; from isthmus import cli; sys.argv = ['isthmus', 'serve', '--config', "
        f"{str(file)!r}]; cli.main()"
    )
    read, write = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", script],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_CLOSE, read)],
    )
    os.close(write)
    text = b""
    while b"/v1\n" not in text:
        part = os.read(read, 4096)
        assert part, text
        text += part
    port = int(text.split(b"http://127.0.0.1:")[1].split(b"/")[0])
    yield pid, port
    os.close(read)
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def workers_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"isthmus.workers" in command(int(child))]


def test_all_workers_end_with_their_supervisor(served: tuple[int, int]) -> None:
    pid, _ = served
    mine = workers_of(pid)
    assert len(mine) == 2
    os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not any(command(worker) for worker in mine)


def test_workers_end_where_their_supervisor_was_killed(served: tuple[int, int]) -> None:
    pid, port = served
    mine = workers_of(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    eventually(lambda: not any(b"isthmus.workers" in command(worker) for worker in mine))
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)


# --- the line to the state ----------------------------------------------------------------------


def test_a_store_over_a_line_is_the_store() -> None:
    async def scenario() -> None:
        mine, theirs = socket.socketpair()
        kept = MemoryStore(10_000_000, 60, time.monotonic)
        serving = asyncio.create_task(shared.serve({"vault": kept}, mine))
        line = await Line.open(theirs)
        store = SharedStore(line, "vault")
        big = os.urandom(3_000_000)
        await store.add(b"a", b"1")
        await store.add(b"a", b"2")
        await store.add(b"big", big)
        assert await store.get([b"a", b"x", b"big"]) == [b"1", None, big]
        many = await asyncio.gather(*(store.get([b"a"]) for _ in range(100)))
        assert many == [[b"1"]] * 100
        assert await store.delete(b"a") is True
        assert await store.delete(b"a") is False
        await line.close()
        await asyncio.wait_for(serving, 5)

    asyncio.run(scenario())


def test_an_owner_that_hangs_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "CALL_SECONDS", 0.01)
    monkeypatch.setattr(shared, "UNREAD_LIMIT", 1_000_000)

    async def scenario() -> None:
        mine, theirs = socket.socketpair()
        line = await Line.open(theirs)
        store = SharedStore(line, "vault")
        for _ in range(20):
            await store.add(b"a", bytes(500_000))
        assert line.unread <= 1_500_000 + 1000
        mine.close()
        await line.close()

    asyncio.run(scenario())


def test_nobody_waits_for_an_owner_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "CALL_SECONDS", 0.05)

    async def scenario() -> None:
        mine, theirs = socket.socketpair()
        line = await Line.open(theirs)
        store = SharedStore(line, "vault")
        began = time.monotonic()
        assert await store.get([b"a", b"b"]) == [None, None]
        assert await store.delete(b"a") is False
        assert time.monotonic() - began < 2
        mine.close()
        await asyncio.wait_for(line.lost.wait(), 5)
        assert await store.get([b"a"]) == [None]
        await line.close()

    asyncio.run(scenario())
