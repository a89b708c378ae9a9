"""How large pictures and PDFs are, by their first bytes."""

from __future__ import annotations

import time
from base64 import b64encode
from struct import pack

import pytest

from isthmus.dimensions import pdf_pages, picture_size


def jpeg(*segments: bytes, frame: int = 0xC0, width: int = 540, height: int = 360) -> bytes:
    head = b"\xff\xd8" + b"".join(segments)
    return head + bytes([0xFF, frame]) + pack(">HBHHB", 11, 8, height, width, 1) + bytes(8)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + pack(">H", len(data) + 2) + data


PNG = b"\x89PNG\r\n\x1a\n" + pack(">I4sII", 13, b"IHDR", 800, 600) + bytes(40)
GIF = b"GIF89a" + pack("<HH", 320, 200) + bytes(60)
LOSSY = b"RIFF\0\0\0\0WEBPVP8 " + bytes(7) + b"\x9d\x01\x2a" + pack("<HH", 0x4000 | 640, 480)
LOSSLESS = b"RIFF\0\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + pack("<I", 99 | 49 << 14) + bytes(40)
EXTENDED = b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + pack("<HBHB", 1999, 0, 0x869F, 1) + bytes(40)
THUMBNAIL = segment(0xE1, b"\xff\xc0" + bytes(65_000))
TABLES = segment(0xC4, bytes(20)) + segment(0xDB, bytes(65))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (PNG, (800, 600)),
        (GIF, (320, 200)),
        (GIF.replace(b"89a", b"87a"), (320, 200)),
        (LOSSY + bytes(40), (640, 480)),
        (LOSSLESS, (100, 50)),
        (EXTENDED, (2000, 100_000)),
        (jpeg(segment(0xE0, bytes(14))), (540, 360)),
        (jpeg(TABLES, frame=0xC2), (540, 360)),
        (jpeg(*[THUMBNAIL] * 5, TABLES), (540, 360)),
        (jpeg(b"\xff\xff" + segment(0xE0, bytes(14))), (540, 360)),
        # what tells nothing
        (b"", None),
        (b"%PDF-1.7", None),
        (PNG[:20], None),
        (PNG.replace(pack(">I", 800), pack(">I", 0)), None),
        (b"RIFF\0\0\0\0WAVEfmt " + bytes(40), None),
        (b"RIFF\0\0\0\0WEBPALPH" + bytes(40), None),
        (jpeg()[:6], None),
        (b"\xff\xd8\xff", None),
        (b"\xff\xd8" + bytes(300), None),
        (jpeg(*[segment(0xFE, b"")] * 5000), None),
    ],
)
def test_a_picture_tells_its_size(data: bytes, size: tuple[int, int] | None) -> None:
    assert picture_size(b64encode(data).decode()) == size


@pytest.mark.parametrize("text", ["?", "iVBOR", "\u00e9" * 100, "====", "-_-_" * 30])
def test_what_is_no_base64_tells_none(text: str) -> None:
    assert picture_size(text) is None
    assert pdf_pages(text) is None


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        (b"%PDF-1.4\n<</Type/Catalog>> <</Type /Pages/Count 2>>" + b"<</Type /Page>>" * 2, 2),
        (b"%PDF-1.4\n<</Type\n/Page/Parent 2 0 R>>", 1),
        (b"%PDF-1.5\n<</Type/ObjStm>> <</Type/PageLabel>>", None),
        (b"", None),
    ],
)
def test_a_pdf_tells_its_pages(data: bytes, pages: int | None) -> None:
    assert pdf_pages(b64encode(data).decode()) == pages


def test_a_large_picture_is_not_read() -> None:
    data = b64encode(PNG + bytes(20_000_000)).decode()
    began = time.perf_counter()
    for _ in range(100):
        assert picture_size(data) == (800, 600)
    assert time.perf_counter() - began < 0.5
