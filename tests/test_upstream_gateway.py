"""The settings and failures of the upstream client as a gateway's client sees them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.harness import Reply, World, error_message, message
from tests.peers import FakeUpstream, Script, says

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
PATHS = {"anthropic": "/anthropic/v1/messages", "openai-chat": "/v1/chat/completions"}


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


def ask(world: World, dialect: str = "anthropic") -> Reply:
    return world.post(PATHS[dialect], message(), anthropic_version="2023-06-01")


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://no-such-host.invalid", "cannot be looked up"),
        ("http://127.0.0.1:1", "cannot be reached"),
        ("https://127.0.0.1:{port}", "TLS failed"),
    ],
)
def test_what_kept_us_from_the_provider_is_told_apart(dialect: str, url: str, words: str) -> None:
    with provider(says(OK)) as fake, gateway(url.format(port=fake.port)) as world:
        reply = ask(world, dialect)
        text = error_message(dialect, reply)
        assert (reply.status, words in text) == (502, True)
        for secret in (KEY, "127.0.0.1", "no-such-host"):
            assert secret not in text


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
