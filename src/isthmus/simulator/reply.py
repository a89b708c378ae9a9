"""What goes back over the wire: a status, headers, and either a body or the frames of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

from .script import Fault

JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream; charset=utf-8"
PHRASES = {status.value: status.phrase for status in HTTPStatus} | {529: "Site Overloaded"}


@dataclass(slots=True)
class Reply:
    """An answer. `frames` makes it a stream; `body` is then what a client gets that is refused the stream."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    frames: list[bytes] | None = None
    content_type: str = JSON_TYPE
    fault: Fault | None = None
    chunk_bytes: int | None = None
    delay: float = 0.0
    request_id: str = ""
    close: bool = False


def json_reply(value: Any, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, body=msgspec.json.encode(value))


def head_bytes(reply: Reply, length: int | None, keep_alive: bool) -> bytes:
    """The status line and headers; without a length the body is chunked."""
    lines = [f"HTTP/1.1 {reply.status} {PHRASES.get(reply.status, 'Unknown')}"]
    named = {name.lower() for name, _ in reply.headers}
    standard = [("content-type", reply.content_type)]
    if length is None:
        standard += [("cache-control", "no-cache"), ("transfer-encoding", "chunked")]
    else:
        standard.append(("content-length", str(length)))
    if not keep_alive:
        standard.append(("connection", "close"))
    lines += [f"{name}: {value}" for name, value in standard if name not in named]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
