"""Thousands of clients, and bodies by the gigabyte: `make test-nightly`."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import time

import pytest

from tests.clients_raw import RawClient, request
from tests.harness import message
from tests.streams_raw import ASKING, Crowd, delta, streaming, until
from tests.test_downstream import MB, Running, latency, running

__all__ = ["running"]

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(240)]


def descriptors(wanted: int) -> None:
    """Skip where a process, the tests' or the gateway's, may not have so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} descriptors, and {hard} may be open")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def test_t037_five_hundred_clients_leave_at_random(running: Running) -> None:
    hosted, provider = running(streaming(delta("x"), 0.05, times=100))
    dice = random.Random(37)

    async def leaving() -> None:
        async with Crowd(hosted.port) as crowd:
            peers = await crowd.join(ASKING, times=500)
            moments = sorted((dice.uniform(0, 2), place) for place in range(500))
            started = time.monotonic()
            for moment, place in moments:
                await asyncio.sleep(max(0.0, started + moment - time.monotonic()))
                peers[place].transport.abort()
        assert await until(lambda: provider.open() == 0, 5)

    asyncio.run(leaving())
    assert provider.asked() > 100
    assert latency(hosted) < 0.5


def test_t041_bodies_held_at_the_last_byte(running: Running) -> None:
    descriptors(4096)
    hosted, _ = running(streaming(delta("x")), timeouts={"body_idle": 30})
    text = json.dumps(message("x" * (31 * MB), stream=True)).encode()
    data = request("/v1/messages", text, "anthropic-version: 2023-06-01")
    before = hosted.rss()

    async def hold(gate: asyncio.Semaphore) -> tuple[asyncio.StreamWriter, bytes]:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", hosted.port)
            answer = asyncio.create_task(reader.read(4096))
            try:
                for at in range(0, len(data) - 1, MB):
                    writer.write(data[at : min(at + MB, len(data) - 1)])
                    await writer.drain()
                    if answer.done():
                        break
            except ConnectionError:
                pass
            done, _ = await asyncio.wait([answer], timeout=0.2)
            if not done:
                answer.cancel()
                return writer, b""
            try:
                return writer, answer.result()
            except ConnectionError:
                return writer, b"reset"

    async def holding() -> None:
        gate = asyncio.Semaphore(20)
        held = await asyncio.gather(*[hold(gate) for _ in range(1000)])
        waiting = sum(not got for _, got in held)
        refused = [got for _, got in held if got.startswith(b"HTTP/1.1 503")]
        assert 10 <= waiting <= 512 // 31
        assert len(refused) > 900
        assert all(b"retry-after: 1" in got for got in refused)
        assert hosted.rss() - before <= 640 * MB
        assert await asyncio.to_thread(latency, hosted) < 1
        for writer, _ in held:
            writer.transport.abort()
        await asyncio.sleep(0.5)

    asyncio.run(holding())
    with RawClient(hosted.port, seconds=20) as client:
        assert client.send(data[:100]).send(data[100:]).answer().status == 200


def test_t042_ten_thousand_idle_connections(running: Running) -> None:
    descriptors(11_000)
    hosted, _ = running(
        streaming(delta("x")),
        limits={"connections": 12_000},
        timeouts={"head": 20, "client_idle": 40},
    )
    before = hosted.rss()

    async def idling() -> None:
        async with Crowd(hosted.port) as crowd:
            silent = await crowd.join(times=5000)
            kept = await crowd.join(request("/v1/models"), times=5000)
            assert await until(lambda: all(b"\r\n\r\n" in peer.got for peer in kept), 20)
            assert (hosted.rss() - before) / 10_000 <= 20 * 1024
            assert await asyncio.to_thread(latency, hosted) < 0.2
            assert await until(lambda: all(peer.ended.is_set() for peer in silent), 40)
            assert not any(peer.ended.is_set() for peer in kept)
            assert await until(lambda: all(peer.ended.is_set() for peer in kept), 60)

    asyncio.run(idling())


def test_t043_eight_thousand_live_streams_and_one_more(running: Running) -> None:
    count = 8000
    descriptors(2 * count + 1000)
    hosted, provider = running(
        streaming(delta("x"), 5.0, times=60), limits={"connections": count + 100}
    )
    before = hosted.rss()

    async def streams() -> None:
        async with Crowd(hosted.port) as crowd:
            peers = []
            for _ in range(count // 200):
                peers += await crowd.join(ASKING, times=200)
                wanted = len(peers)
                assert await until(lambda wanted=wanted: provider.asked() >= wanted, 30)
            assert await until(lambda: all(b"content_block_delta" in p.got for p in peers), 60)
            assert (hosted.rss() - before) / count <= 60 * 1024
            (one,) = await crowd.join(ASKING)
            started = time.monotonic()
            assert await until(lambda: b"content_block_delta" in one.got, 5)
            assert time.monotonic() - started < 2
            many = await crowd.join(ASKING, times=120)
            assert await until(lambda: any(b"HTTP/1.1 503" in peer.got for peer in many), 5)
        assert await until(lambda: provider.open() == 0, 20)

    asyncio.run(streams())
