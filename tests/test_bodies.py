"""Request bodies: their deadlines, the room for them, their encodings."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import brotli
import pytest

from isthmus import bodies
from isthmus.bodies import Bodies, zstd
from isthmus.config import Config
from isthmus.errors import GatewayError
from isthmus.request import HttpRequest
from isthmus.scope import ClientGone
from tests.clients_raw import RawClient, chunked, request
from tests.harness import VERSION, World, error_message, message

LIMIT = 1_000_000
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def config(**limits: Any) -> Config:
    sized = {"body_bytes": LIMIT, **limits}
    return Config.model_validate(
        {"backends": {"a": {"type": "simulator"}}, "limits": sized, "timeouts": {"body_idle": 0.3}}
    )


def read(
    parts: Sequence[bytes | float | None], encoding: str = "", reader: Bodies | None = None
) -> bytes:
    """What is read of parts of a body; a number waits so many seconds, None is the client's leaving."""
    rest = list(parts)

    async def receive() -> dict[str, Any]:
        part = rest.pop(0) if rest else await asyncio.Event().wait()
        while isinstance(part, float):
            await asyncio.sleep(part)
            part = rest.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(rest)}

    fields = (("content-encoding", encoding),) if encoding else ()
    reader = reader or Bodies(config())
    try:
        return asyncio.run(reader.read(HttpRequest("POST", "/", "", fields), receive))
    finally:
        assert reader.held == 0


def refusal(*args: Any) -> str:
    with pytest.raises(GatewayError) as caught:
        read(*args)
    return caught.value.kind


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("size", [0, 5, LIMIT // 2])
def test_encodings_are_undone(encoding: str, size: int) -> None:
    plain = (b"0123456789" * (size // 10 + 1))[:size]
    packed = PACKED[encoding](plain)
    assert read([packed], encoding) == plain
    assert read([packed[:7], packed[7:]], encoding.upper()) == plain
    for spoilt in (packed[:-1], packed + b"x", b"x" + packed, packed[:-5] + b"12345678"):
        assert refusal([spoilt], encoding) == "invalid_request"


def test_what_does_not_compress_takes_several_slices() -> None:
    plain = b"".join(zlib.crc32(b"%d" % n).to_bytes(4, "big") for n in range(LIMIT // 8))
    for encoding, pack in PACKED.items():
        assert len(pack(plain)) > bodies.SLICE
        assert read([pack(plain)], encoding) == plain


@pytest.mark.parametrize("encoding", PACKED)
def test_t051_a_bomb_never_unfolds(encoding: str) -> None:
    bomb = PACKED[encoding](b"a" * 200_000_000)
    assert len(bomb) < LIMIT
    tracemalloc.start()
    started = time.process_time()
    assert refusal([bomb], encoding) == "too_large"
    spent, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * LIMIT
    assert spent < 0.5


def test_a_window_beyond_the_standard_is_refused() -> None:
    wide = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    assert refusal([zstd.compress(b"a" * 20_000_000, options=wide)], "zstd") == "invalid_request"


@pytest.mark.parametrize("encoding", ["gzip, gzip", "compress", "gzip;q=1", "identity, gzip", "é"])
def test_t051_encodings_that_are_not_undone(encoding: str) -> None:
    assert refusal([b"x"], encoding) == "unsupported_encoding"


def test_inflating_lets_others_have_their_turn() -> None:
    turns = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": packed}

    async def counting() -> None:
        while True:
            turns.append(time.perf_counter())
            await asyncio.sleep(0)

    async def both() -> bytes:
        counter = asyncio.create_task(counting())
        asked = HttpRequest("POST", "/", "", (("content-encoding", "gzip"),))
        body = await Bodies(config(body_bytes=32_000_000)).read(asked, receive)
        counter.cancel()
        return body

    packed = gzip.compress(b"abcdefgh" * 4_000_000)
    assert len(asyncio.run(both())) == 32_000_000
    assert len(turns) >= 32_000_000 // bodies.SLICE // 2


# Deadlines and room.


def test_t040_a_body_that_stops() -> None:
    started = time.monotonic()
    assert refusal([b"abc", 9.0, b"d"]) == "request_timeout"
    assert 0.2 < time.monotonic() - started < 2


def test_t040_a_body_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "GRACE_SECONDS", 0.5)
    started = time.monotonic()
    assert refusal([b"x", 0.1] * 100 + [b""]) == "request_timeout"
    assert 0.4 < time.monotonic() - started < 2
    enough = [b"x" * 512, 0.1] * 10 + [b""]
    assert len(read(enough)) == 5120  # slowly, but faster than the slowest that may be


def test_t040_a_body_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "TOTAL_SECONDS", 0.5)
    assert refusal([b"x" * 2000, 0.1] * 100 + [b""]) == "request_timeout"


def test_t041_there_is_room_for_so_many_bodies() -> None:
    reader = Bodies(config(incoming_body_bytes=1000))
    assert len(read([b"x" * 600, b"y" * 400], "", reader)) == 1000
    assert refusal([b"x" * 600, b"y" * 401], "", reader) == "unavailable"
    assert refusal([gzip.compress(b"x" * 2000)], "gzip", reader) == "unavailable"
    reader.held = 500

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 501}

    with pytest.raises(GatewayError) as caught:
        asyncio.run(reader.read(HttpRequest("POST", "/"), receive))
    assert (caught.value.kind, caught.value.retry_after) == ("unavailable", 1.0)
    assert reader.held == 500


def test_a_client_that_leaves_gives_its_room_back() -> None:
    with pytest.raises(ClientGone):
        read([b"abc", None])


# Through the gateway.


@pytest.fixture(scope="module")
def small() -> Iterator[World]:
    made = World(
        limits={"body_bytes": 100_000, "incoming_body_bytes": 150_000},
        timeouts={"body_idle": 1},
    )
    yield made
    made.close()


@pytest.mark.parametrize("encoding", PACKED)
def test_an_encoded_body_reaches_the_provider_decoded(small: World, encoding: str) -> None:
    body = json.dumps(message("é" * 100)).encode()
    reply = small.post("/v1/messages", PACKED[encoding](body), content_encoding=encoding, **VERSION)
    assert reply.status == 200, reply.body
    got = small.received()[-1]
    assert got.body == body
    assert "content-encoding" not in dict(got.headers)


def test_t051_too_large_is_told_before_it_is_read(small: World) -> None:
    for head in (
        request("/v1/messages", None, "content-length: 34603008", method="POST"),
        request(
            "/v1/messages", None, "content-length: 34603008", "expect: 100-continue", method="POST"
        ),
        request("/v1/messages", None, "transfer-encoding: chunked", method="POST")
        + chunked([b"x" * 60_000] * 2)[:-5],
    ):
        with RawClient(small.port) as client:
            got = client.send(head).answer()
            assert got.status == 413
            assert json.loads(got.body)["error"]
            assert client.rest() == b""


def test_t051_bombs_and_unknown_encodings(small: World) -> None:
    for encoding, pack in PACKED.items():
        reply = small.post("/v1/messages", pack(b" " * 2_000_000), content_encoding=encoding)
        assert (reply.status, bool(error_message("anthropic", reply))) == (413, True)
    for encoding in ("gzip, gzip", "lzma"):
        reply = small.post("/v1/messages", b"x", content_encoding=encoding)
        assert reply.status == 415
        assert "br, deflate, gzip" in error_message("anthropic", reply)


def test_t041_bodies_held_at_the_last_byte(small: World) -> None:
    body = json.dumps(message("x" * 60_000)).encode()
    data = request("/v1/messages", body, "anthropic-version: 2023-06-01")
    clients = [RawClient(small.port) for _ in range(3)]
    for client in clients[:2]:
        client.send(data[:-1])
    time.sleep(0.2)
    got = clients[2].send(data[:-1]).answer()
    assert (got.status, got.field("retry-after")) == (503, "1")
    for client in clients[:2]:
        assert client.send(data[-1:]).answer().status == 200
    with RawClient(small.port) as client:
        assert client.send(data).answer().status == 200
    for client in clients:
        client.socket.close()


def test_t040_bodies_that_do_not_come(small: World) -> None:
    for data in (
        request("/v1/messages", b"12345")[:-2],
        request("/v1/messages", None, "transfer-encoding: chunked", method="POST")
        + b"3\r\nabc\r\n",
    ):
        with RawClient(small.port) as client:
            got = client.send(data).answer()
            assert got.status == 408
            assert client.rest() == b""
