"""The settings and failures of the upstream client as a gateway's client sees them."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.harness import Reply, World, error_message, message
from tests.peers import FakeUpstream, Script, blackhole, heard, says, stall
from tests.test_server import DIALECTS, HEADERS, asked

KEY = "sk-upstream-canary-0815"
PASSWORD = "sesame-canary-0815"
ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
).encode()
OK = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
    + ANSWER
)


@contextmanager
def gateway(url: str, *, proxy: str | None = None, **config: Any) -> Iterator[World]:
    backend = {"type": "anthropic", "api_key": KEY, "base_url": url, "models": []}
    world = World(backends={"anthropic": {**backend, "proxy": proxy}}, **config)
    try:
        yield world
    finally:
        world.close()


@contextmanager
def provider(*scripts: Script) -> Iterator[FakeUpstream]:
    from tests.harness import Loop

    loop, fake = Loop(), FakeUpstream(*scripts)
    loop.run(fake.start())
    try:
        yield fake
    finally:
        loop.run(fake.stop())
        loop.close()


def ask(world: World) -> Reply:
    return world.post("/anthropic/v1/messages", message(), anthropic_version="2023-06-01")


SOON = {"connect": 0.25}
SPEAKS_PLAINLY = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
UNREACHED = [
    ("http://no-such-host.invalid", "cannot be looked up"),
    ("http://127.0.0.1:1", "cannot be reached"),
    ("https://127.0.0.1:{port}", "TLS failed"),
    ("http://127.0.0.1:{blackhole}", "cannot be reached"),
    ("https://127.0.0.1:{deaf}", "TLS failed"),
]


@pytest.mark.parametrize(("url", "words"), UNREACHED, ids=["DNS", "refused", "plain", "SYN", "TLS"])
def test_t024_t025_t026_what_kept_us_from_the_provider_is_told_apart(url: str, words: str) -> None:
    """In every dialect, in time, without a name, an address or a key; and nothing is sent in the clear."""
    with provider((heard, SPEAKS_PLAINLY)) as fake, provider((stall,)) as deaf, blackhole() as hole:
        place = url.format(port=fake.port, blackhole=hole, deaf=deaf.port)
        with gateway(place, timeouts=SOON) as world:
            for dialect, stream in itertools.product(DIALECTS, (False, True)):
                path, body = asked(dialect, "hi", stream=stream)
                started = time.monotonic()
                reply = world.post(path, body, **HEADERS[dialect])
                assert time.monotonic() - started < 2
                text = error_message(dialect, reply)
                assert (reply.status, words in text) == (502, True), text
                assert reply.headers["x-request-id"]
                for secret in (KEY, "127.0.0.1", "no-such-host", "Traceback", ".py"):
                    assert secret not in reply.body.decode()
        for log in (*fake.logs, *deaf.logs):
            assert b"HTTP" not in log.received
            assert KEY.encode() not in log.received


def test_a_backend_behind_a_proxy() -> None:
    with provider(says(OK, times=9)) as fake:
        way = f"http://user:{PASSWORD}@127.0.0.1:{fake.port}"
        with gateway("http://provider.test", proxy=way) as world:
            reply = ask(world)
            assert (reply.status, reply.body) == (200, ANSWER)
            assert fake.requests[0].startswith(
                b"POST http://provider.test/v1/messages HTTP/1.1\r\n"
            )
            assert PASSWORD not in str(reply)


@pytest.mark.parametrize("url", ["http://provider.test", "https://provider.test"])
def test_a_proxy_that_refuses_us(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    refusal = b"HTTP/1.1 407 Authenticate\r\ncontent-length: 4\r\n\r\nwho?"
    with provider(says(refusal)) as fake:
        way = f"http://user:{PASSWORD}@127.0.0.1:{fake.port}"
        with gateway(url, proxy=way) as world:
            reply = ask(world)
            assert (reply.status, "407" in error_message("anthropic", reply)) == (502, True)
            assert PASSWORD not in str(reply) + "".join(capfd.readouterr())


def test_more_than_the_limit_wait_for_a_short_time() -> None:
    with provider(says(4.0, OK)) as fake:
        limits = {"connections_per_backend": 1}
        with gateway(fake.url, limits=limits) as world:
            first = threading.Thread(target=ask, args=(world,))
            first.start()
            while not fake.logs:
                pass
            reply = ask(world)
            first.join()
            assert (reply.status, reply.headers["retry-after"]) == (503, "2")
            assert "limits" in error_message("anthropic", reply)
            assert len(fake.requests) == 1
