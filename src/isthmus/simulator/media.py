"""Images and PDFs inside a request: base64, type by the leading bytes, size in pixels."""

from __future__ import annotations

import base64
import binascii
import re
import struct

from .errors import Refusal

ALPHABET = re.compile(r"[A-Za-z0-9+/]*={0,2}")
MAX_IMAGE_BASE64 = 10 * 1024 * 1024
MAX_SIDE = 8000
HEADER_BYTES = 64 * 1024


def decode_base64(data: str, path: str) -> bytes:
    """The bytes of a standard base64 string; the URL-safe alphabet, white space and bad padding are refused."""
    if not data:
        raise Refusal(
            f"{path}: image cannot be empty" if "image" in path else f"{path}: PDF cannot be empty"
        )
    if not ALPHABET.fullmatch(data) or len(data) % 4:
        raise Refusal(f"{path}: invalid base64 data")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise Refusal(f"{path}: invalid base64 data") from None


def sniff(data: bytes) -> str | None:
    """The media type that the leading bytes tell."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if b"%PDF-" in data[:1024]:
        return "application/pdf"
    return None


def image_size(data: str) -> tuple[int, int] | None:
    """Width and height of a base64 image, read from its header; None when it has none that we know."""
    head = data[: HEADER_BYTES - HEADER_BYTES % 4]
    try:
        raw = base64.b64decode(head + "=" * (-len(head) % 4))
    except (binascii.Error, ValueError):
        return None
    return pixel_size(raw)


def pixel_size(raw: bytes) -> tuple[int, int] | None:
    """Width and height from the leading bytes of an image."""
    kind = sniff(raw)
    try:
        if kind == "image/png":
            return struct.unpack(">II", raw[16:24])
        if kind == "image/gif":
            return struct.unpack("<HH", raw[6:10])
        if kind == "image/jpeg":
            return jpeg_size(raw)
        if kind == "image/webp":
            return webp_size(raw)
    except (struct.error, IndexError):
        return None
    return None


def jpeg_size(raw: bytes) -> tuple[int, int] | None:
    """Walk the JPEG segments to the frame header."""
    at = 2
    while at + 9 < len(raw):
        if raw[at] != 0xFF:
            return None
        marker = raw[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return width, height
        at += 2 + struct.unpack(">H", raw[at + 2 : at + 4])[0]
    return None


def webp_size(raw: bytes) -> tuple[int, int] | None:
    """The three kinds of WebP header."""
    chunk = raw[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(raw[24:27], "little"), 1 + int.from_bytes(raw[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", raw[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None
