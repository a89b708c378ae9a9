"""One client connection: sends a request, times its answer, and says whether it was whole."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from benchmarks import wire

_STAMPS = re.compile(re.escape(wire.MARK) + rb"(\d{%d})" % wire.STAMP)
_STAMPED = len(wire.MARK) + wire.STAMP


@dataclass(frozen=True)
class Shot:
    """A request as bytes, and what a whole answer to it has.

    ``marks``: how many text deltas (-1: any number); ``end``: what stands in the last event.
    ``stamped`` has the time stamps of the deltas read.
    """

    data: bytes
    marks: int = -1
    end: bytes = b""
    stamped: bool = False


@dataclass
class Tally:
    """What the exchanges of one job came to; times in seconds."""

    sent: int = 0
    completed: int = 0
    cancelled: int = 0
    errors: dict[str, int] = field(default_factory=dict[str, int])
    whole: list[float] = field(default_factory=list[float])
    """From the request to the last byte of its answer."""
    first: list[float] = field(default_factory=list[float])
    """From the request to the first byte of the answer's body."""
    delays: list[float] = field(default_factory=list[float])
    """From the upstream's write of an event to its arrival."""
    gaps: list[float] = field(default_factory=list[float])
    """Between the arrivals of two events of one stream."""

    def fail(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1


class Client(asyncio.Protocol):
    """A connection that is kept: one exchange at a time, then ``finished`` is told."""

    def __init__(self, tally: Tally, finished: Callable[[Client], None]) -> None:
        self._tally = tally
        self._finished = finished
        self._transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpResponseParser(self)
        self._shot: Shot | None = None
        self._started = 0.0
        self._last = 0.0
        self._answered = False
        self._tail = b""
        self._status = 0
        self._error = b""
        self._reusable = True
        self.exchanges = 0
        self.marks = 0
        """Text deltas of the exchange under way, so far."""
        self.closed = False

    def begin(self, shot: Shot) -> None:
        self._shot = shot
        self.marks, self._tail, self._error, self._last = 0, b"", b"", 0.0
        self._answered = False
        self._status = 0
        self.exchanges += 1
        self._tally.sent += 1
        self._started = time.monotonic()
        self._transport.write(shot.data)

    def cancel(self, exchange: int) -> None:
        """Hang up in the middle, as a client does that has lost interest; not if it has ended."""
        if self._shot is not None and not self.closed and self.exchanges == exchange:
            self._shot = None
            self._tally.cancelled += 1
            self.close()
            self._finished(self)

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:  # pyright: ignore[reportUnnecessaryComparison]
            self._transport.abort()

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"not HTTP: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._shot is not None:
            self._end("connection lost" if not self._status else "answer cut off")

    # what the parser calls

    def on_message_begin(self) -> None:
        self._status = 0

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._reusable = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        shot = self._shot
        if shot is None:
            return
        if not self._answered:
            self._answered = True
            self._tally.first.append(time.monotonic() - self._started)
        if self._status != 200:
            self._error = (self._error + data)[:200]
            return
        if shot.stamped:
            self._read_stamps(data)
        else:
            self.marks += data.count(wire.MARK)
        if shot.end or shot.stamped:
            self._tail = (self._tail + data)[-400:]

    def on_message_complete(self) -> None:
        if self._status < 200 or self._shot is None:
            return
        if not self._reusable:
            self.close()
        self._end(self._complaint(self._shot))

    def _read_stamps(self, data: bytes) -> None:
        now = time.monotonic()
        # Less of the last read than a mark is long, so that none is found twice.
        for found in _STAMPS.finditer(self._tail[1 - _STAMPED :] + data):
            self.marks += 1
            self._tally.delays.append(now - int(found[1]) / 1e6)
            if self._last:
                self._tally.gaps.append(now - self._last)
            self._last = now

    def _complaint(self, shot: Shot) -> str:
        if self._status != 200:
            return f"status {self._status}: {self._error.decode(errors='replace')}"
        if shot.marks >= 0 and self.marks != shot.marks:
            return f"{self.marks} of {shot.marks} text deltas"
        if shot.end not in self._tail:
            return "no end of the stream"
        return ""

    def _end(self, complaint: str) -> None:
        tally = self._tally
        self._shot = None
        if complaint:
            tally.fail(complaint)
        else:
            tally.completed += 1
            tally.whole.append(time.monotonic() - self._started)
        self._finished(self)
