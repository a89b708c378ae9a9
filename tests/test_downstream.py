"""Many clients, and clients that hurt: what they cost the gateway and each other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients_raw import RawClient, request
from tests.harness import VERSION, World, error_message, message
from tests.hosts import Hosted
from tests.peers import Script
from tests.streams_raw import ASKING, Crowd, Provider, delta, streaming, until

MB = 1024 * 1024
LIMITED = ["sh", "-c", 'ulimit -n 256 && exec "$@"', "sh"]
Running = Callable[..., tuple[Hosted, Provider]]


@pytest.fixture
def running() -> Iterator[Running]:
    """Starts a gateway before a scripted provider; in the end nothing of the test may be left of it."""
    made: list[tuple[Hosted, Provider]] = []

    def start(script: Script, **settings: Any) -> tuple[Hosted, Provider]:
        provider = Provider(script)
        hosted = Hosted(url=provider.url, **settings)
        made.append((hosted, provider))
        time.sleep(0.2)  # the list of models has been asked for
        hosted.base = hosted.descriptors()
        return hosted, provider

    yield start
    for hosted, provider in made:
        settled = hosted.settled()
        hosted.close()
        provider.close()
        assert settled
        assert "Traceback" not in hosted.log_text
        assert hosted.process.returncode == 0


async def steady(number: Callable[[], int]) -> None:
    """Wait until a number has stopped to grow."""
    last = -1
    while last != number():
        last = number()
        await asyncio.sleep(0.5)


def latency(hosted: World) -> float:
    """The slowest of some small requests, in seconds."""
    slowest = 0.0
    for _ in range(10):
        started = time.monotonic()
        assert hosted.get("/v1/models").status == 200
        slowest = max(slowest, time.monotonic() - started)
    return slowest


def test_t029_clients_that_read_nothing(running: Running) -> None:
    hosted, provider = running(streaming(delta("x" * 65536), times=3200))
    count = 100

    async def deaf() -> None:
        before = hosted.rss()
        async with Crowd(hosted.port) as crowd:
            await crowd.join(ASKING, times=count, deaf=True)
            assert await until(lambda: provider.asked() == count, 15)
            await steady(lambda: sum(log.sent for log in provider.fake.logs))
            assert sum(log.sent for log in provider.fake.logs) <= count * 8 * MB
            assert hosted.rss() - before <= count * (MB + 256 * 1024)
            assert await asyncio.to_thread(latency, hosted) < 0.5
        assert await until(lambda: provider.open() == 0, 5)

    asyncio.run(deaf())


def test_t030_a_client_that_reads_nothing_for_too_long(running: Running) -> None:
    settings = {"timeouts": {"client_stall": 1}}
    hosted, provider = running(streaming(delta("x" * 65536), times=3200), **settings)
    with RawClient(hosted.port, small=True) as client:
        client.send(ASKING)
        started = time.monotonic()
        while provider.asked() == 0 or provider.open():
            assert time.monotonic() - started < 4
            time.sleep(0.02)
        assert time.monotonic() - started > 0.9
    assert "does not read" in hosted.log.read_text()


def test_t039_slow_heads_by_the_hundreds(running: Running) -> None:
    hosted, _ = running(streaming(delta("x")), timeouts={"head": 2})

    async def dripping() -> None:
        async with Crowd(hosted.port) as crowd:
            await crowd.join(b"GET / HTTP/1.1\r\n", times=500)
            started = time.monotonic()
            alone = asyncio.create_task(asyncio.to_thread(latency, hosted))
            while not all(client.ended.is_set() for client in crowd.peers):
                assert time.monotonic() - started < 8
                for client in crowd.peers:
                    if not client.transport.is_closing():
                        client.transport.write(b"a: b\r\n")
                await asyncio.sleep(0.25)
            assert all(client.got.startswith(b"HTTP/1.1 408") for client in crowd.peers)
            assert await alone < 0.5

    asyncio.run(dripping())


def test_t044_descriptors_run_out(running: Running) -> None:
    hosted, _ = running(streaming(delta("x")), prefix=LIMITED)

    async def crowded() -> list[bytes]:
        async with Crowd(hosted.port) as crowd:
            for _ in range(400):
                with contextlib.suppress(OSError):
                    await crowd.join(request("/v1/models"))
            await asyncio.sleep(0.5)
            spent = hosted.cpu()
            await asyncio.sleep(0.5)
            assert hosted.cpu() - spent < 0.2  # it does not spin
            assert hosted.descriptors() < 256
            return [client.got for client in crowd.peers]

    got = asyncio.run(crowded())
    statuses = {data[9:12] for data in got if data}
    assert statuses == {b"200", b"503"}
    refused = next(data for data in got if data[9:12] == b"503")
    assert b"\r\nretry-after: 1\r\n" in refused
    assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert 60 < sum(data[9:12] == b"200" for data in got) < 128
    started = time.monotonic()
    while True:
        try:
            assert hosted.get("/v1/models").status == 200
            break
        except (AssertionError, OSError):
            assert time.monotonic() - started < 1
    assert hosted.post("/v1/messages", message(stream=True), **VERSION).status == 200
    assert "EMFILE" not in hosted.log.read_text()
    assert "open files" not in hosted.log.read_text()


def test_the_limit_of_connections() -> None:
    world = World(limits={"connections": 3})
    try:
        clients = [RawClient(world.port) for _ in range(3)]
        for client in clients:
            assert client.send(request("/v1/models")).answer().status == 200
        reply = world.get("/v1/models")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "too many connections" in error_message("openai-chat", reply)
        clients.pop().socket.close()
        time.sleep(0.1)
        assert world.get("/v1/models").status == 200
        for client in clients:
            client.socket.close()
    finally:
        world.close()


@pytest.mark.parametrize("expects", [(), ("expect: 100-continue",)])
def test_t047_a_body_of_nobody_is_never_a_request(expects: tuple[str, ...]) -> None:
    """Without its key a client is told so before its body is read, in its dialect."""
    world = World(auth={"keys": ["client-key-1234"]})
    inner = request("/v1/models", None, "x-api-key: client-key-1234") * 10
    try:
        for path in ("/v1/messages", "/v1/chat/completions", "/v1beta/models/x:generateContent"):
            with RawClient(world.port) as client:
                length = f"content-length: {len(inner) + 10}"
                client.send(request(path, None, length, *expects, method="POST"))
                if not expects:
                    client.send(inner)
                got = client.answer()
                assert (got.status, got.field("connection")) == (401, "close")
                assert json.loads(got.body)["error"]["message"]
                assert client.send(inner).rest() == b""
        assert not world.received()
    finally:
        world.close()


def test_t071_a_stop_lets_streams_finish(running: Running) -> None:
    hosted, provider = running(streaming(delta("x"), 0.2, times=10))

    async def stopping() -> None:
        async with Crowd(hosted.port) as crowd:
            (idle,) = await crowd.join(request("/v1/models"))
            clients = await crowd.join(ASKING, times=50)
            assert await until(lambda: provider.asked() == 50, 5)
            assert await until(lambda: all(b"content_block_delta" in c.got for c in clients))
            hosted.process.send_signal(signal.SIGTERM)
            assert await until(idle.ended.is_set, 1)
            with pytest.raises(OSError):  # noqa: PT011 - each loop has its own words for it
                await crowd.join()
            assert not any(client.ended.is_set() for client in clients)
            assert await until(lambda: all(client.ended.is_set() for client in clients), 8)
            ended = time.monotonic()
            assert all(c.got.count(b'{"type": "message_stop"}') == 1 for c in clients)
            assert all(c.got.endswith(b"0\r\n\r\n") for c in clients)
            assert await asyncio.to_thread(hosted.process.wait, 5) == 0
            assert time.monotonic() - ended < 2

    asyncio.run(stopping())


@pytest.mark.parametrize("why", ["drain", "second signal"])
def test_t072_a_stop_ends_what_does_not_finish(running: Running, why: str) -> None:
    settings = {"timeouts": {"drain": 1 if why == "drain" else 60}}
    hosted, provider = running(streaming(delta("x"), 0.2, times=300), **settings)
    with RawClient(hosted.port) as client:
        client.send(ASKING).until(b"content_block_delta")
        started = time.monotonic()
        hosted.process.send_signal(signal.SIGTERM)
        if why != "drain":
            time.sleep(0.3)
            assert hosted.process.poll() is None
            hosted.process.send_signal(signal.SIGTERM)
        rest = client.rest()
        assert b"event: error" in rest
        assert b"shutting down" in rest
        assert b"message_stop" not in rest
        assert rest.endswith(b"0\r\n\r\n")
        assert hosted.process.wait(5) == 0
        assert time.monotonic() - started < 3
        deadline = time.monotonic() + 1
        while provider.open() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not provider.open()
