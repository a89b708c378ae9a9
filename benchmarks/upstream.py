"""The mock upstream: Anthropic's Messages API as fast as it can, or at a pace.

``python -m benchmarks.upstream PORT`` serves on loopback. ``PUT /pace?events=100&gap=0.005&faults=0``
sets what it answers, ``GET /counts`` tells what it has seen, ``PUT /hang-up`` ends every connection but
its own. It runs on asyncio's own loop, not uvloop: there a write to an idle socket is a system call at
once, so each event leaves by itself, as a provider's do.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import httptools
import msgspec

from benchmarks import wire

_STREAM = re.compile(rb'"stream"\s*:\s*true')
_SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\nrequest-id: req_011BenchBench\r\ntransfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"


@dataclass
class State:
    """What is answered, and what has been seen.

    ``events`` of a stream in all and seconds of ``gap`` between them (0: none); every ``faults``-th
    request fails in one of the ways of FAULTS, in turn (0: none does). ``abandoned`` are the streams
    whose reader left, ``keys`` how often each key came.
    """

    events: int = 16
    gap: float = 0.0
    faults: int = 0
    requests: int = 0
    streams: int = 0
    failed: int = 0
    abandoned: int = 0
    live: int = 0
    keys: Counter[str] = field(default_factory=Counter[str])
    open: set[Upstream] = field(default_factory=set["Upstream"])

    def set(self, query: str) -> None:
        """Raises ValueError for what is no number, KeyError for what cannot be set."""
        known: dict[str, Callable[[str], Any]] = {"events": int, "gap": float, "faults": int}
        for name, values in parse_qs(query, strict_parsing=True).items():
            setattr(self, name, known[name](values[0]))

    def counts(self) -> bytes:
        return msgspec.json.encode({n: v for n, v in vars(self).items() if n != "open"})


class Upstream(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._parser = httptools.HttpRequestParser(self)
        self._transport = cast("asyncio.Transport", None)
        self._timer: asyncio.TimerHandle | None = None
        self._sending = False
        self._url, self._key = b"", ""
        self._parts: list[bytes] = []

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._state.open.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._reply(400, wire.error_body("invalid_request_error"), str(error))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._sending:
            self._state.abandoned += 1
            self._state.live -= 1

    # what the parser calls

    def on_message_begin(self) -> None:
        self._url, self._key = b"", ""
        self._parts.clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-api-key":
            self._key = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        route = (self._parser.get_method().decode(), urlsplit(self._url.decode()).path)
        answer = _ROUTES.get(route)
        if answer is None:
            self._reply(404, wire.error_body("not_found_error"))
        else:
            answer(self)

    # what the routes do

    def messages(self) -> None:
        state = self._state
        state.requests += 1
        state.keys[self._key] += 1
        streams = _asks_for_stream(b"".join(self._parts))
        self._parts.clear()
        if state.faults and state.requests % state.faults == 0:
            state.failed += 1
            ways = sorted(FAULTS)
            FAULTS[ways[state.failed % len(ways)]](self)
        elif streams:
            self._stream(state.events - wire.FRAME_EVENTS)
        else:
            self._reply(200, _WHOLE)

    def pace(self) -> None:
        try:
            self._state.set(urlsplit(self._url.decode()).query)
        except (KeyError, ValueError) as error:
            self._reply(400, wire.error_body("invalid_request_error"), str(error))
        else:
            self._reply(200, self._state.counts())

    def hang_up(self) -> None:
        for connection in self._state.open - {self}:
            connection.abort()
        self.counts()

    def abort(self) -> None:
        self._transport.abort()

    def counts(self) -> None:
        self._reply(200, self._state.counts())

    def models(self) -> None:
        row = {"type": "model", "id": wire.MODEL, "display_name": "Bench", "created_at": ""}
        self._reply(200, msgspec.json.encode({"data": [row], "has_more": False}))

    def overloaded(self) -> None:
        self._reply(529, wire.error_body("overloaded_error"))

    def broken(self) -> None:
        self._reply(500, wire.error_body("api_error"))

    def cut(self) -> None:
        """Half a stream, and then nothing more."""
        self._open_stream()
        for event in wire.OPENING:
            self._write(event)
        self._sending = False
        self._state.live -= 1
        self._transport.close()

    def error_event(self) -> None:
        self._open_stream()
        for event in (*wire.OPENING, wire.delta(0), wire.ERROR_EVENT):
            self._write(event)
        self._close_stream()

    # writing

    def _reply(self, status: int, content: bytes, reason: str = "-") -> None:
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n"
        ids = f"request-id: req_011BenchBench\r\ncontent-length: {len(content)}\r\n\r\n"
        self._transport.write((head + ids).encode("latin-1") + content)

    def _stream(self, deltas: int) -> None:
        self._open_stream()
        if self._state.gap:
            self._paced(0, deltas, asyncio.get_running_loop().time())
            return
        for event in wire.OPENING:
            self._write(event)
        for _ in range(deltas):
            self._write(wire.delta(_now()))
        for event in wire.CLOSING:
            self._write(event)
        self._close_stream()

    def _paced(self, place: int, deltas: int, start: float) -> None:
        """Send the event of one place and appoint the next: no delay adds up."""
        opening, last = len(wire.OPENING), len(wire.OPENING) + deltas
        if place < opening:
            self._write(wire.OPENING[place])
        elif place < last:
            self._write(wire.delta(_now()))
        else:
            self._write(wire.CLOSING[place - last])
        if place + 1 == last + len(wire.CLOSING):
            self._close_stream()
            return
        due = start + (place + 1) * self._state.gap
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(due, self._paced, place + 1, deltas, start)

    def _open_stream(self) -> None:
        self._state.streams += 1
        self._state.live += 1
        self._sending = True
        self._transport.write(_SSE_HEAD)

    def _close_stream(self) -> None:
        self._transport.write(_END)
        self._timer = None
        self._sending = False
        self._state.live -= 1

    def _write(self, event: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))


FAULTS: dict[str, Callable[[Upstream], None]] = {
    "overloaded": Upstream.overloaded,
    "broken": Upstream.broken,
    "silent": Upstream.abort,
    "cut": Upstream.cut,
    "error_event": Upstream.error_event,
}
_ROUTES: dict[tuple[str, str], Callable[[Upstream], None]] = {
    ("POST", "/v1/messages"): Upstream.messages,
    ("GET", "/v1/models"): Upstream.models,
    ("PUT", "/pace"): Upstream.pace,
    ("PUT", "/hang-up"): Upstream.hang_up,
    ("GET", "/counts"): Upstream.counts,
}
_WHOLE = wire.whole_answer()


def _now() -> int:
    return time.monotonic_ns() // 1000


def _asks_for_stream(content: bytes) -> bool:
    # The fixed text is found ten times faster than the pattern: it matters at 30 MB.
    place = content.find(b'"stream"')
    return place >= 0 and _STREAM.match(content, place) is not None


async def serve(port: int, state: State | None = None) -> asyncio.Server:
    """Listen on loopback; port 0 takes a free one."""
    seen = state or State()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Upstream(seen), "127.0.0.1", port, backlog=4096)


async def _main(port: int) -> None:
    server = await serve(port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
