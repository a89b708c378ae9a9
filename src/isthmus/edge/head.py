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
"""Bytes of the line before a chunk, with its extensions, and of all the trailer."""

_END = b"\r\n"
_ENDS = b"\r\n\r\n"
_LENGTH = re.compile(rb"[0-9]{1,18}")
_FOLDED = (b"\r\n ", b"\r\n\t")
"""Lines that go on in the next one (RFC 9112, section 5.2)."""
_START = re.compile(rb"[A-Z-]+ (?:/[!-\"$-~]*|\*) HTTP/1\.[01]\r\n")
"""The one way to write a first line: a target without a fragment, in origin form or as of OPTIONS."""
_BEGUN = re.compile(rb"[A-Z-]{1,32}(?: [^\0-\x1f]*)?\r?", re.DOTALL)
"""How a first line may look before its end has come."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n")
_SMALL = re.compile(rb"(0?[1-9A-Fa-f][0-9A-Fa-f]{0,3})\r\n")
_TRAILER = re.compile(rb"(?:[!-9;-~]+:[\t -~\x80-\xff]*)?\r\n")
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")


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
        self.fields.append((name.lower(), value.strip(b" \t")))


def without_empty_lines(data: bytes) -> bytes:
    """What a connection sent, less empty lines before a request (RFC 9112, section 2.2)."""
    empty = _EMPTY_LINES.match(data)
    return data[empty.end() :] if empty else data


def end_of(data: bytes) -> int:
    """Where the head ends in the bytes that came so far; 0 if its end is not there yet.

    Raises Refused where it is too long already, or where what came is no head whatever follows.
    """
    end = data.find(_ENDS)
    size = end if end >= 0 else len(data)
    if size > TARGET_LIMIT and b"\r\n" not in data[: TARGET_LIMIT + 64]:
        raise Refused("uri_too_long", f"the request target has more than {TARGET_LIMIT} bytes")
    if size > HEAD_LIMIT + TARGET_LIMIT:
        raise Refused("too_large_head", f"the head has more than {HEAD_LIMIT} bytes")
    if end < 0:
        _check_beginning(data)
        return 0
    return end + len(_ENDS)


def _check_beginning(data: bytes) -> None:
    """Tell at once who speaks something else, such as TLS or HTTP/0.9: they wait for an answer."""
    line = data.find(_END)
    if line < 0:
        wrong = _BEGUN.fullmatch(data) is None and data != b"\r"
    else:
        # The last line end may be half there.
        wrong = _START.match(data) is None or data.count(b"\n") != data.count(_END)
    if wrong:
        raise Refused("invalid_request", "this is not the beginning of an HTTP/1.1 request")


def parse(data: bytes) -> Head:
    """Read a complete head. Raises Refused for whatever two readers could read in two ways."""
    sink = _Sink()
    parser = httptools.HttpRequestParser(sink)
    lines = data.count(_END)
    if data.count(b"\r") != lines or data.count(b"\n") != lines or any(f in data for f in _FOLDED):
        raise Refused("invalid_request", "the head holds a bare line end or a folded line")
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # what else it says is read; an upgrade is never made (RFC 9110, section 7.8)
    except httptools.HttpParserError as error:
        raise Refused("invalid_request", f"the request is not HTTP/1.1: {error}") from None
    path = sink.target.partition(b"?")[0].decode("latin-1")
    _check_sizes(sink, len(data), path)
    if _START.match(data) is None:
        raise Refused("invalid_request", "the first line is not METHOD /PATH HTTP/1.1", path)
    version = parser.get_http_version()
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
    """A body in chunks (RFC 9112, section 7.1). Extensions and trailers are read past.

    The parser of heads cannot tell where a body ended in what it was fed, and a request may follow.
    """

    __slots__ = ("_left", "_overhead", "_trailing", "_unread", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._unread = b""
        self._left = 0
        """Bytes of the chunk that are still to come, its line end among them."""
        self._trailing = False
        self._overhead = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        data = self._unread + data if self._unread else data
        own: list[bytes] = []
        at = 0 if self._left or self._trailing else _whole_chunks(data, own)
        while at < len(data) and not self.complete:
            step = self._in_chunk if self._left else self._in_line
            end = step(data, at, own)
            if end == at:
                break
            at = end
        rest = data[at:]
        if self.complete:
            return b"".join(own), rest
        self._unread = rest
        return b"".join(own), b""

    def _in_chunk(self, data: bytes, at: int, own: list[bytes]) -> int:
        """Read of a chunk's data what is there, and its line end once that is whole."""
        size = self._left - len(_END)
        if size:
            part = data[at : at + size]
            own.append(part)
            self._left -= len(part)
            return at + len(part)
        if len(data) - at < len(_END):
            return at
        if not data.startswith(_END, at):
            raise _broken("a chunk is longer than its size says")
        self._left = 0
        return at + len(_END)

    def _in_line(self, data: bytes, at: int, own: list[bytes]) -> int:
        """Read the line before a chunk, or one of the trailer's, once it is whole."""
        match = (_TRAILER if self._trailing else _SIZE).match(data, at)
        end = match.end() if match else len(data)
        framing = end - at + (self._overhead if self._trailing else 0)
        if framing > CHUNK_HEAD_LIMIT:
            raise _broken("its framing is too long")
        if match is None:
            if data.find(b"\n", at) >= 0:
                raise _broken("a line of its framing is malformed")
            return at
        if self._trailing:
            self.complete = end - at == len(_END)
            self._overhead = framing
        else:
            size = int(match[1], 16)
            self._trailing = not size
            self._left = size + len(_END) if size else 0
        return end


def _whole_chunks(data: bytes, own: list[bytes]) -> int:
    """Read the small chunks that stand whole at the beginning, which may be many; where they end."""
    at = 0
    while match := _SMALL.match(data, at):
        start = match.end()
        end = start + int(match[1], 16)
        if data[end : end + 2] != _END:
            break
        own.append(data[start:end])
        at = end + 2
    return at


def _broken(what: str) -> Refused:
    return Refused("invalid_request", f"the chunked body is broken: {what}")


def body_of(head: Head) -> Body:
    return ChunkedBody() if head.length is None else FixedBody(head.length)
