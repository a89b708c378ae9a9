"""A client that says bytes, whatever they are, and the servers' answers taken apart."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 5.0
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection."""


@dataclass(frozen=True)
class Got:
    """One answer: header names in lower case, the body without its framing."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def field(self, name: str) -> str | None:
        found = [value for key, value in self.fields if key == name]
        assert len(found) < 2, f"{name} stands {len(found)} times"
        return found[0] if found else None


class RawClient:
    """A connection. ``small`` gives it little room for what it does not read."""

    def __init__(
        self, port: int, *, small: bool = False, unix: Path | None = None, seconds: float = SECONDS
    ) -> None:
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        if small:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(seconds)
        try:
            self.socket.connect(str(unix) if unix else ("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.unread = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def send(self, *parts: bytes, every: float = 0.0) -> RawClient:
        """Send the parts, with ``every`` seconds between them; a server that closed hears no more."""
        for place, part in enumerate(parts):
            time.sleep(every if place else 0)
            with contextlib.suppress(ConnectionError):
                self.socket.sendall(part)
        return self

    def rest(self) -> bytes:
        """Everything up to the end of the connection, which a reset is too."""
        with contextlib.suppress(ConnectionError):
            while data := self.socket.recv(1 << 16):
                self.unread += data
        data, self.unread = self.unread, b""
        return data

    def until(self, mark: bytes) -> bytes:
        """Everything up to a mark. Raises EOFError where the connection ends before."""
        while mark not in self.unread:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError(self.unread)
            self.unread += data
        end = self.unread.index(mark) + len(mark)
        data, self.unread = self.unread[:end], self.unread[end:]
        return data

    def some(self, size: int) -> bytes:
        while len(self.unread) < size:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError(self.unread)
            self.unread += data
        data, self.unread = self.unread[:size], self.unread[size:]
        return data

    def answer(self, method: str = "GET") -> Got:
        """The next answer, complete. Raises EOFError where the connection ends before."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        assert version == "HTTP/1.1"
        fields = tuple(
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines[1:-2])
        )
        bare = Got(int(status), fields, b"")
        if method == "HEAD" or bare.status in (204, 304) or bare.status < 200:
            return bare
        return Got(bare.status, fields, self._body(bare))

    def _body(self, head: Got) -> bytes:
        length = head.field("content-length")
        if head.field("transfer-encoding") != "chunked":
            return self.some(int(length)) if length is not None else self.rest()
        assert length is None
        body = b""
        while size := int(self.until(b"\r\n"), 16):
            body += self.some(size)
            assert self.some(2) == b"\r\n"
        assert self.some(2) == b"\r\n"
        return body

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def ended(self, seconds: float = SECONDS) -> bool:
        """Whether the server ends the connection in time, saying nothing more."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


def request(
    path: str = "/",
    body: bytes | None = None,
    *fields: str,
    method: str = "",
    host: str = "localhost",
) -> bytes:
    """The bytes of a request; a body is announced by its length."""
    lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1", f"host: {host}"]
    length = [] if body is None else [f"content-length: {len(body)}"]
    head = "\r\n".join([*lines, *fields, *length, "", ""])
    return head.encode("latin-1") + (body or b"")


def chunked(parts: Sequence[bytes]) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
