"""Request bodies: read within deadlines and limits, their encoding undone piece by piece."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

import brotli

from isthmus.config import Config
from isthmus.errors import GatewayError
from isthmus.request import HttpRequest
from isthmus.scope import ClientGone, Receive

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TOTAL_SECONDS = 120.0
"""How long a body may take in all."""
GRACE_SECONDS = 10.0
"""How long a body may come as slowly as it likes."""
SLOWEST = 1024
"""Bytes a second that it must have brought on average after that."""
RETRY_SECONDS = 1.0
"""When a client may come again that found no room for its body."""
SLICE = 256 * 1024
"""Bytes that are inflated at a time, in about a millisecond; then others have their turn."""
ZSTD_WINDOW_LOG = 23
"""8 MiB: no decoder of the content coding needs more (RFC 9659)."""


Came = Callable[[], bytes | None]


class Bodies:
    """Reads the bodies of all requests of a process.

    ``config.limits`` bounds each one, as it comes and decoded, and all that are being read at a time.
    """

    def __init__(self, config: Config) -> None:
        self._limit = config.limits.body_bytes
        self._room = config.share(config.limits.incoming_body_bytes)
        self._idle = config.timeouts.body_idle
        self.held = 0
        """Bytes of bodies that are not complete yet, or not decoded."""

    async def read(self, http: HttpRequest, receive: Receive, came: Came | None = None) -> bytes:
        """A request's body without its encoding. Raises ClientGone where the client leaves.

        ``came`` gives a body at once that has come already.

        Raises GatewayError: 413 above the limit (before reading where the length is announced), 408
        where the client falls silent or is slow, 415 for an encoding that is not known, 400 for a
        broken one, 503 where there is no room.
        """
        announced = http.header("content-length") or ""
        if announced.isascii() and announced.isdigit() and int(announced) > self._limit:
            raise self._too_large()
        encoding = (http.header("content-encoding") or "identity").strip().lower()
        if encoding not in _INFLATERS and encoding != "identity":
            known = ", ".join(sorted(_INFLATERS))
            text = f"content-encoding {encoding!r}: known are {known}"
            raise GatewayError("unsupported_encoding", text)
        body = came() if came is not None else None
        if body is not None and encoding == "identity" and len(body) <= self._limit:
            return body
        taken = _Taken(self)
        try:
            if body is None:
                body = await self._received(receive, taken)
            elif len(body) > self._limit:
                raise self._too_large()
            if encoding == "identity":
                return body
            return await self._inflated(body, encoding, taken)
        finally:
            self.held -= taken.size

    async def _received(self, receive: Receive, taken: _Taken) -> bytes:
        parts: list[bytes] = []
        more = True
        clock = asyncio.get_running_loop().time
        start = clock()
        while more:
            now = clock()
            slow = start + min(TOTAL_SECONDS, max(GRACE_SECONDS, taken.size / SLOWEST))
            message = await _within(min(self._idle, slow - now), receive)
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            if taken.size + len(part) > self._limit:
                raise self._too_large()
            taken.take(len(part))
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)

    async def _inflated(self, body: bytes, encoding: str, taken: _Taken) -> bytes:
        """Undo an encoding; never much more than the limit comes to exist."""
        inflater = _INFLATERS[encoding]()
        parts: list[bytes] = []
        size, at = 0, 0
        try:
            while at < len(body) and not inflater.ended:
                part = inflater.read(body[at : at + SLICE])
                at += SLICE
                if at > SLICE:
                    await asyncio.sleep(0)
                while part:
                    size += len(part)
                    if size > self._limit:
                        raise self._too_large()
                    taken.take(len(part))
                    parts.append(part)
                    if size >= SLICE:
                        await asyncio.sleep(0)
                    part = b"" if inflater.ended else inflater.read(b"")
        except _BROKEN:
            raise GatewayError("invalid_request", f"the body is not {encoding}") from None
        if not inflater.ended or inflater.unused or at < len(body):
            text = f"the {encoding} body does not end where it should"
            raise GatewayError("invalid_request", text)
        return b"".join(parts)

    def _too_large(self) -> GatewayError:
        return GatewayError("too_large", f"the request body has more than {self._limit} bytes")

    def take(self, size: int) -> None:
        self.held += size
        if self.held > self._room:
            text = "the gateway is reading too many request bodies"
            raise GatewayError("unavailable", text, source="gateway", retry_after=RETRY_SECONDS)


class _Taken:
    """What one body has of the room of all."""

    __slots__ = ("_bodies", "size")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0

    def take(self, size: int) -> None:
        self.size += size
        self._bodies.take(size)


async def _within(seconds: float, receive: Receive) -> MutableMapping[str, Any]:
    try:
        async with asyncio.timeout(seconds):
            return await receive()
    except TimeoutError:
        raise GatewayError("request_timeout", "the request body did not come in time") from None


class _Inflater(Protocol):
    """Undoes one encoding."""

    @property
    def ended(self) -> bool:
        """Whether the end of the encoded data has been read."""
        ...

    @property
    def unused(self) -> bool:
        """Whether there was something behind it."""
        ...

    def read(self, data: bytes) -> bytes:
        """About SLICE bytes of what this and earlier data comes to; none where more is needed."""
        ...


class _Zlib:
    def __init__(self, window: int) -> None:
        self._inflater = zlib.decompressobj(window)

    @property
    def ended(self) -> bool:
        return self._inflater.eof

    @property
    def unused(self) -> bool:
        return bool(self._inflater.unused_data)

    def read(self, data: bytes) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, SLICE)


class _Brotli:
    def __init__(self) -> None:
        self._inflater = brotli.Decompressor()
        self.unused = False  # what stands behind the end is an error to the library

    @property
    def ended(self) -> bool:
        return self._inflater.is_finished()

    def read(self, data: bytes) -> bytes:
        return self._inflater.process(data, output_buffer_limit=SLICE)


class _Zstd:
    def __init__(self) -> None:
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        self._inflater = zstd.ZstdDecompressor(options=options)

    @property
    def ended(self) -> bool:
        return self._inflater.eof

    @property
    def unused(self) -> bool:
        return bool(self._inflater.unused_data)

    def read(self, data: bytes) -> bytes:
        return self._inflater.decompress(data, SLICE)


_INFLATERS: dict[str, Callable[[], _Inflater]] = {
    "gzip": lambda: _Zlib(31),
    "x-gzip": lambda: _Zlib(31),
    "deflate": lambda: _Zlib(15),
    "br": _Brotli,
    "zstd": _Zstd,
}
"""Content encodings that are undone (RFC 9110, section 8.4.1; RFC 7932; RFC 8878)."""
_BROKEN = (zlib.error, brotli.error, zstd.ZstdError)
