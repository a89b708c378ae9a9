"""The head of a response as bytes, and its body's framing (RFC 9112)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import cache, lru_cache
from http import HTTPStatus

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
BODILESS = frozenset({204, 304})


@cache
def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


@lru_cache(1)
def _date(second: int) -> bytes:
    """The Date field (RFC 9110, section 6.6.1), made once a second."""
    return b"date: %b\r\n" % formatdate(second, usegmt=True).encode()


def head(
    status: int, fields: Sequence[tuple[bytes, bytes]], *, chunked: bool, close: bool
) -> bytes:
    """The head of a response. Raises ValueError for a field that would be several lines."""
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    if not lines.count(b"\r") == lines.count(b"\n") == len(fields):
        raise ValueError("a header field holds a line break")
    framing = b"transfer-encoding: chunked\r\n" if chunked else b""
    ending = b"connection: close\r\n\r\n" if close else b"\r\n"
    date = _date(int(time.time()))
    return b"".join((_status_line(status), date, lines, framing, ending))


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; none for no bytes, which would end it."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
