"""The head of a request, read strictly, and how its body is framed (RFC 9112)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import httptools

HEAD_LIMIT = 32 * 1024
"""Bytes of all header fields."""
FIELD_LIMIT = 100
TARGET_LIMIT = 8 * 1024
CHUNK_HEAD_LIMIT = 4 * 1024
"""Bytes that a chunked body may spend between two pieces of data: sizes, extensions, trailers."""

_END = b"\r\n"
_ENDS = b"\r\n\r\n"
_LENGTH = re.compile(rb"[0-9]{1,18}")
_SUSPECT = (b"\0", b"\r\n ", b"\r\n\t")
"""A NUL, and lines that go on in the next one."""
_TARGET = re.compile(rb"/[!-\"$-~]*|\*")
"""The origin form of a target without a fragment, and the form of OPTIONS."""


class Refused(Exception):
    """A request that cannot be read: ``kind`` is a key of ``errors.KINDS``.

    ``path`` is the target as far as it is known, for the choice of the dialect that tells it.
    """

    def __init__(self, kind: str, message: str, path: str = "/") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.path = path


@dataclass(slots=True)
class Head:
    """A request's head. Header names are in lower case, everything else is as it was sent.

    ``length`` is the body's in bytes, None where it comes in chunks. ``keep_alive`` says whether the
    client may send another request, ``expects`` whether it waits for a word before it sends the body.
    """

    method: str
    target: bytes
    version: str
    fields: list[tuple[bytes, bytes]]
    length: int | None = 0
    keep_alive: bool = True
    expects: bool = False


class _Sink:
    """What the parser calls."""

    __slots__ = ("fields", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))


def end_of(data: bytes | bytearray) -> int:
    """Where the head ends in the bytes that came so far; 0 if its end is not there yet.

    Raises Refused where it is too long already.
    """
    end = data.find(_ENDS)
    size = end if end >= 0 else len(data)
    if size > TARGET_LIMIT and b"\r\n" not in data[: TARGET_LIMIT + 64]:
        raise Refused("uri_too_long", f"the request target has more than {TARGET_LIMIT} bytes")
    if size > HEAD_LIMIT + TARGET_LIMIT:
        raise Refused("too_large_head", f"the head has more than {HEAD_LIMIT} bytes")
    return end + len(_ENDS) if end >= 0 else 0


def parse(data: bytes) -> Head:
    """Read a complete head. Raises Refused for whatever two readers could read in two ways."""
    sink = _Sink()
    parser = httptools.HttpRequestParser(sink)
    lines = data.count(_END)
    if data.count(b"\r") != lines or data.count(b"\n") != lines or any(s in data for s in _SUSPECT):
        raise Refused("invalid_request", "the head holds a bare line end, a folded line or a NUL")
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # what else it says is read; an upgrade is never made (RFC 9110, section 7.8)
    except httptools.HttpParserError as error:
        raise Refused("invalid_request", f"the request is not HTTP/1.1: {error}") from None
    path = sink.target.partition(b"?")[0].decode("latin-1")
    _check_sizes(sink, len(data), path)
    if _TARGET.fullmatch(sink.target) is None:
        raise Refused("invalid_request", "the request target is not a path", path)
    version = parser.get_http_version()
    if version not in ("1.1", "1.0"):
        raise Refused("invalid_request", f"HTTP/{version} is not spoken here", path)
    head = Head(parser.get_method().decode("latin-1"), sink.target, version, sink.fields)
    _frame(head, path)
    return head


def _check_sizes(sink: _Sink, size: int, path: str) -> None:
    if len(sink.target) > TARGET_LIMIT:
        raise Refused(
            "uri_too_long", f"the request target has more than {TARGET_LIMIT} bytes", path
        )
    if len(sink.fields) > FIELD_LIMIT:
        raise Refused("too_large_head", f"more than {FIELD_LIMIT} header fields", path)
    if size - len(sink.target) > HEAD_LIMIT:
        raise Refused("too_large_head", f"more than {HEAD_LIMIT} bytes of header fields", path)


def _frame(head: Head, path: str) -> None:
    """Set how the body is framed and what becomes of the connection."""
    lengths: list[bytes] = []
    codings: list[bytes] = []
    options = b""
    for name, value in head.fields:
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"connection":
            options += b"," + value.lower()
        elif name == b"expect":
            head.expects = value.strip().lower() == b"100-continue" and head.version == "1.1"
    if codings:
        if lengths or head.version == "1.0" or [c.strip().lower() for c in codings] != [b"chunked"]:
            raise Refused("invalid_request", "the body is not framed in one way alone", path)
        head.length = None
    elif lengths:
        if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
            raise Refused("invalid_request", "content-length is not one number", path)
        head.length = int(lengths[0])
    asked = {option.strip() for option in options.split(b",")} if options else set[bytes]()
    head.keep_alive = b"close" not in asked and (head.version == "1.1" or b"keep-alive" in asked)


class Body(Protocol):
    """Cuts a request's body out of the bytes of its connection."""

    complete: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The body's bytes among these, and what follows the body. Raises Refused."""
        ...


class FixedBody:
    """A body of a length that is known."""

    __slots__ = ("complete", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.complete = not length

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        if len(data) <= self.left:
            self.left -= len(data)
            self.complete = not self.left
            return data, b""
        own, rest = data[: self.left], data[self.left :]
        self.left, self.complete = 0, True
        return own, rest


class ChunkedBody:
    """A body in chunks. What follows it in the same bytes is not told apart, so it is refused."""

    def __init__(self) -> None:
        self.complete = False
        self._pieces: list[bytes] = []
        self._overhead = 0
        self._more = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Refused("invalid_request", f"the chunked body is broken: {error}") from None
        own = b"".join(self._pieces)
        self._pieces.clear()
        self._overhead = 0 if own else self._overhead + len(data)
        if self._overhead > CHUNK_HEAD_LIMIT:
            raise Refused("invalid_request", "the chunked body holds more framing than data")
        if self._more:
            raise Refused("invalid_request", "another request follows a chunked body at once")
        return own, b""

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        self.complete = True

    def on_message_begin(self) -> None:
        self._more = self.complete


def body_of(head: Head) -> Body:
    return ChunkedBody() if head.length is None else FixedBody(head.length)
