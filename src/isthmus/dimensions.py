"""How large pictures and PDFs are, told from their bytes without decoding a picture or a page.

Sources: the PNG specification (IHDR), GIF89a (logical screen), ITU T.81 (JPEG's frame header), Google's
WebP container specification, ISO 32000 (page objects).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from struct import error as too_short
from struct import unpack_from

Size = tuple[int, int]
"""Width and height in pixels."""

HEAD = 64
"""Characters of base64 in which every format but JPEG says its size."""
JPEG_HEAD = 512 * 1024
"""The same for JPEG, whose size may stand behind a thumbnail and a colour profile."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that begin a frame; the three left out are tables of their own."""
_SEGMENTS = 1000
"""JPEG segments that are passed over at most: more are no picture."""


def picture_size(base64: str) -> Size | None:
    """The size of a PNG, GIF, WebP or JPEG that is given as base64; None where it cannot be told."""
    head = _decoded(base64[:HEAD])
    for mark, size in _FORMATS:
        if head.startswith(mark):
            if mark == _JPEG:
                head = _decoded(base64[:JPEG_HEAD])
            return _told(size, head)
    return None


def _told(size: Callable[[bytes], Size | None], head: bytes) -> Size | None:
    try:
        found = size(head)
    except (too_short, IndexError):
        return None
    return found if found and min(found) > 0 else None


def _decoded(base64: str) -> bytes:
    """The bytes of base64 that may be cut anywhere; b"" for what is none."""
    try:
        return binascii.a2b_base64(base64[: len(base64) // 4 * 4])
    except ValueError:
        return b""


def _png(head: bytes) -> Size:
    width, height = unpack_from(">II", head, 16)
    return width, height


def _gif(head: bytes) -> Size:
    width, height = unpack_from("<HH", head, 6)
    return width, height


def _webp(head: bytes) -> Size | None:
    """By its first chunk: lossy, lossless, or the extended head."""
    if head[8:12] != b"WEBP":
        return None
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return _three(head, 24) + 1, _three(head, 27) + 1
    return None


def _three(head: bytes, at: int) -> int:
    low, high = unpack_from("<HB", head, at)
    return low | high << 16


def _jpeg(head: bytes) -> Size | None:
    """By the first frame header, which segments of any length may precede."""
    at = 2
    for _ in range(_SEGMENTS):
        while head[at] == 0xFF and head[at + 1] == 0xFF:  # a marker may be padded
            at += 1
        if head[at] != 0xFF:
            return None
        if head[at + 1] in _FRAMES:
            height, width = unpack_from(">HH", head, at + 5)
            return width, height
        (length,) = unpack_from(">H", head, at + 2)
        at += 2 + max(2, length)
    return None


_JPEG = b"\xff\xd8"
_FORMATS: tuple[tuple[bytes, Callable[[bytes], Size | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
    (_JPEG, _jpeg),
)

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


def pdf_pages(base64: str) -> int | None:
    """How many pages a PDF that is given as base64 has; None where they are compressed out of sight."""
    return len(_PAGE.findall(_decoded(base64))) or None
