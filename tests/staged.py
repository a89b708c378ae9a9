"""A gateway before a provider that is scripted byte for byte, and what its clients may be told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness import Reply, World, error_message, failed_stream
from tests.peers import FakeUpstream, Part, says
from tests.streams_raw import Provider
from tests.test_server import HEADERS, asked

KEY = "sk-upstream-canary-2357"
FIRST, IDLE, KEEPALIVE = 0.8, 0.9, 0.2
"""What a hurried gateway waits for, in seconds."""
PATIENT = 20.0
"""What the others wait: longer than a busy machine can keep a test waiting."""
ENDS = (b"[DONE]", b"response.completed", b"message_stop", b"finishReason", b'"finish_reason":"')
"""What a stream holds only where it has come to a regular end."""


class Stage:
    """A gateway before a provider that plays the scripts it is given."""

    def __init__(self, *, hurried: bool = False) -> None:
        self.provider = Provider(())
        backend = {
            "type": "anthropic",
            "api_key": KEY,
            "base_url": self.provider.url,
            "models": [],
        }
        first, idle = (FIRST, IDLE) if hurried else (PATIENT, PATIENT)
        times = {"first_event": first, "idle": idle, "keepalive": KEEPALIVE, "total": first}
        self.world = World(backends={"anthropic": backend}, timeouts=times)
        self.begin()

    def begin(self) -> None:
        """Forget what was played, and count what there is before a test."""
        self.fake.logs.clear()
        self.tasks = self._tasks()
        self.descriptors = _descriptors()

    @property
    def fake(self) -> FakeUpstream:
        return self.provider.fake

    def plays(self, *parts: Part, times: int = 1) -> None:
        """What answers each of the next requests, ``times`` of them on one connection."""
        self.fake.scripts[:] = [says(*parts, times=times)]

    def ask(self, dialect: str, *, stream: bool = True) -> Reply:
        path, body = asked(dialect, "hi", stream=stream)
        reply = self.world.post(path, body, **HEADERS[dialect])
        tells_nothing(reply)
        return reply

    def settled(self) -> bool:
        """Whether no task, descriptor or connection is left of a test, within a second."""
        return eventually(
            lambda: (
                self.provider.open() == 0
                and self._tasks() <= self.tasks
                and _descriptors() <= self.descriptors
            )
        )

    def _tasks(self) -> int:
        async def count() -> int:
            return len(asyncio.all_tasks())

        return self.world.loop.run(count())

    def close(self) -> None:
        self.world.close()
        self.provider.close()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def eventually(fact: Callable[[], bool], seconds: float = 1.0) -> bool:
    deadline = time.monotonic() + seconds
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.01)
    return fact()


def tells_nothing(reply: Reply) -> None:
    """No key, no place in our code and no address; and an id by which the request is found."""
    text = reply.body.decode()
    for secret in (KEY, "Traceback", ".py", "127.0.0.1", "isthmus/"):
        assert secret not in text
    assert reply.headers["x-request-id"]
    assert reply.headers["x-isthmus-exchange"]


def broken_off(dialect: str, reply: Reply) -> str:
    """The message of the error that ends a stream, which shows no other end."""
    outcome = failed_stream(dialect, reply)
    assert not [end for end in ENDS if end in reply.body]
    assert outcome.error is not None
    return outcome.error["message"]


def refused(dialect: str, reply: Reply, status: int) -> str:
    """The message of an error answer of this status, which Anthropic's clients find under its id."""
    assert reply.status == status, reply.body
    if dialect == "anthropic":
        assert reply.json()["request_id"] == reply.headers["request-id"]
    return error_message(dialect, reply)
