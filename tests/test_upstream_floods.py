"""Providers that send too much, or much at a time: what it costs a gateway in a process of its own."""

from __future__ import annotations

import gzip
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import brotli
import pytest

from isthmus.bodies import zstd
from tests.harness import Reply, error_message, whole_stream
from tests.hosts import Hosted
from tests.peers import Talk, asked
from tests.staged import broken_off, eventually
from tests.streams_raw import END, MODELS, START, STREAM, Provider, delta
from tests.test_server import HEADERS
from tests.test_server import asked as written

MB = 1024 * 1024
LANES = ("anthropic", "openai-chat")
EACH = pytest.mark.parametrize("dialect", LANES)


class Flooded:
    """A gateway before a provider that plays the parts it is given, whatever is asked."""

    def __init__(self) -> None:
        self.provider = Provider((self._play,))
        self.hosted = Hosted(url=self.provider.url)
        assert eventually(lambda: bool(self.provider.fake.requests), 5)
        time.sleep(0.2)  # the list of models has been asked for
        self.base = self.hosted.descriptors()
        self.parts: Callable[[], Iterator[bytes]] = lambda: iter(())

    async def _play(self, talk: Talk) -> None:
        await asked(talk)
        if talk.log.requests[-1].startswith(b"GET "):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
            await talk.send(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(MODELS), MODELS))
            return
        for part in self.parts():
            await talk.send(part)

    def ask(self, dialect: str, *parts: bytes, stream: bool = True) -> Reply:
        return self.ask_for(dialect, lambda: iter(parts), stream=stream)

    def ask_for(
        self, dialect: str, parts: Callable[[], Iterator[bytes]], *, stream: bool = True
    ) -> Reply:
        self.parts = parts
        path, body = written(dialect, "hi", stream=stream)
        return self.hosted.post(path, body, **HEADERS[dialect])

    def settled(self) -> bool:
        return eventually(
            lambda: self.provider.open() == 0 and self.hosted.descriptors() <= self.base, 5
        )

    @contextmanager
    def costing(self, megabytes: float, seconds: float) -> Iterator[None]:
        """What is done within may cost the gateway so much memory at a time, and so much CPU."""
        ended = threading.Event()
        before, spent = self.hosted.rss(), self.hosted.cpu()
        seen = [before]

        def watch() -> None:
            while not ended.wait(0.005):
                seen.append(self.hosted.rss())

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()
        assert (max(seen) - before) / MB <= megabytes
        assert self.hosted.cpu() - spent <= seconds


@pytest.fixture(scope="module")
def sluice() -> Iterator[Flooded]:
    flooded = Flooded()
    for dialect in LANES:  # what a first request takes is not counted
        flooded.ask(dialect, STREAM + START + delta("x" * MB) + END)
    yield flooded
    flooded.hosted.close()
    flooded.provider.close()
    assert "Traceback" not in flooded.hosted.log_text


@pytest.fixture
def flooded(sluice: Flooded) -> Iterator[Flooded]:
    sluice.provider.fake.logs.clear()
    yield sluice
    assert sluice.settled()


def pieces(data: bytes, size: int = 4096) -> Iterator[bytes]:
    """Data in chunks of this size."""
    for at in range(0, len(data), size):
        part = data[at : at + size]
        yield b"%x\r\n%b\r\n" % (len(part), part)


def bare(framed: bytes) -> bytes:
    """A chunk without its framing."""
    return framed.partition(b"\r\n")[2][:-2]


# --- events -------------------------------------------------------------------------------------


@EACH
def test_t011_an_event_of_ten_megabytes(flooded: Flooded, dialect: str) -> None:
    event = bare(delta("x" * 10_000_000))
    with flooded.costing(megabytes=64, seconds=2):
        for _ in range(3):  # which would cost more if any of it were kept
            reply = flooded.ask_for(dialect, lambda: iter([STREAM + START, *pieces(event), END]))
            assert reply.body.count(b"x" * 10_000_000) == 1
    whole_stream(dialect, reply)


@EACH
def test_t012_an_event_of_seventeen_megabytes(flooded: Flooded, dialect: str) -> None:
    event = bare(delta("x" * 17_000_000))
    with flooded.costing(megabytes=48, seconds=1):
        reply = flooded.ask_for(dialect, lambda: iter([STREAM + START, *pieces(event, 65536), END]))
    assert "an event of more than" in broken_off(dialect, reply)
    assert b"xxx" not in reply.body


@EACH
@pytest.mark.parametrize("first", [STREAM, STREAM + START], ids=["first", "later"])
def test_t012_a_line_without_end(flooded: Flooded, dialect: str, first: bytes) -> None:
    def endless() -> Iterator[bytes]:
        yield first
        while True:
            yield b"10000\r\n" + b"x" * 65536 + b"\r\n"

    with flooded.costing(megabytes=48, seconds=1):
        reply = flooded.ask_for(dialect, endless)
    if first == STREAM:
        assert reply.status == 502
        text = error_message(dialect, reply)
    else:
        text = broken_off(dialect, reply)
    assert "an event of more than" in text
    assert eventually(lambda: flooded.provider.open() == 0)


@EACH
def test_t013_a_hundred_thousand_events(flooded: Flooded, dialect: str) -> None:
    count = 100_000
    words = [delta(f"{n} ") for n in range(count)]
    blocks = [b"".join(words[at : at + 500]) for at in range(0, count, 500)]
    slowest: list[float] = []
    done = threading.Event()

    def beside() -> None:
        while not done.is_set():
            started = time.monotonic()
            assert flooded.hosted.get("/v1/models").status == 200
            slowest.append(time.monotonic() - started)

    other = threading.Thread(target=beside)
    other.start()
    try:
        with flooded.costing(megabytes=20, seconds=5):
            reply = flooded.ask(dialect, STREAM + START, *blocks, END)
    finally:
        done.set()
        other.join()
    text = "".join(f"{n} " for n in range(count))
    assert text in json.dumps(whole_stream(dialect, reply).message)
    assert sorted(slowest)[len(slowest) // 2] < 0.5


@EACH
def test_t014_an_event_of_many_lines(flooded: Flooded, dialect: str) -> None:
    def seconds(lines: int) -> float:
        event = b'event: ping\ndata: {"type":"ping",\n' + b"data: \n" * lines + b'data: "x":1}\n\n'
        started = flooded.hosted.cpu()
        for _ in range(3):
            reply = flooded.ask(dialect, STREAM + START, *pieces(event, 16384), END)
            if dialect == "anthropic":  # as it came, of which the tests' own reader is no judge
                assert event in reply.body
                assert b"event: message_stop" in reply.body
            else:
                whole_stream(dialect, reply)
        return flooded.hosted.cpu() - started

    small, large = seconds(10_000), seconds(100_000)
    assert large / max(small, 0.03) <= 15


# --- bombs and heads ----------------------------------------------------------------------------

ZEROS = 200 * MB


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1)


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gzip,
    "deflate": lambda data: zlib.compress(data, 1),
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": zstd.compress,
    "gzip, gzip": lambda data: _gzip(_gzip(data)),
}


@pytest.mark.parametrize("encoding", BOMBS)
def test_t016_bombs(flooded: Flooded, encoding: str) -> None:
    packed = BOMBS[encoding](b"\0" * ZEROS)
    for kind, stream in (("text/event-stream", True), ("application/json", False)):
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: {encoding}\r\n"
        answer = f"{head}content-length: {len(packed)}\r\n\r\n".encode() + packed
        with flooded.costing(megabytes=8, seconds=0.5):
            for dialect in LANES:
                reply = flooded.ask(dialect, answer, stream=stream)
                assert reply.status == 502
                assert "compressed" in error_message(dialect, reply)


HEADS: dict[str, bytes] = {
    "a field of 1 MB": b"HTTP/1.1 200 OK\r\nx: " + b"a" * MB + b"\r\n\r\n",
    "10,000 fields": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
    "10,000 times 103": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000,
}


@pytest.mark.parametrize("case", HEADS)
def test_t017_heads_without_end(flooded: Flooded, case: str) -> None:
    with flooded.costing(megabytes=4, seconds=0.5):
        for dialect in LANES:
            reply = flooded.ask(dialect, HEADS[case], STREAM, START, END)
            assert reply.status == 502, reply
            assert error_message(dialect, reply)
    assert len(flooded.provider.fake.logs) == 2, "each on a connection of its own"


@EACH
def test_t017_trailers_without_end(flooded: Flooded, dialect: str) -> None:
    """The answer is whole before they come: they only end the use of the connection."""
    trailers = END.removesuffix(b"\r\n") + b"x: " + b"a" * 500_000 + b"\r\n\r\n"
    with flooded.costing(megabytes=4, seconds=0.5):
        for _ in range(2):
            whole_stream(dialect, flooded.ask(dialect, STREAM + START + delta("x"), trailers))
            time.sleep(0.1)
    assert len(flooded.provider.fake.logs) == 2
