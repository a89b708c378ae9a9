"""What the tests of the official SDKs show and offer to Claude: a picture, a PDF, tools, a long text."""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from tests.harness import World

SETTINGS = ("ANTHROPIC_", "OPENAI_", "GOOGLE_", "GEMINI_")
"""How the names of the variables begin that would change what an SDK does."""

OLD, NEW, FIRST = "claude-sonnet-4-5", "claude-sonnet-5-5", "claude-3-5-sonnet-20241022"
"""A model with thinking budgets and sampling, one with efforts and neither, and the page's own."""

QUIET = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")
"""The SDK warns of models that Anthropic will retire; the page names some of them."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _png(width: int, height: int) -> bytes:
    rows = b"".join(b"\0" + b"\xff\xfe\xfd" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PNG = _png(3, 2)
PNG_TEXT = base64.b64encode(PNG).decode()
SEEN_PNG = f"image: image/png, {len(PNG)} bytes, 3 x 2 pixels."
"""The simulator's words for the picture."""
ADDRESS = "https://example.com/image.jpg"
SEEN_ADDRESS = f"image at {ADDRESS}."

PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R>>endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF\n\xfb\xff\xfe"
)
"""Its end becomes other letters in URL-safe base64."""
PDF_TEXT = base64.b64encode(PDF).decode()
SEEN_PDF = f"document: application/pdf, {len(PDF)} bytes."

WEATHER = {
    "type": "object",
    "properties": {"location": {"type": "string", "description": "City name"}},
    "required": ["location"],
}
CLOCK = {"type": "object", "properties": {"zone": {"type": "string"}}}

GUIDE = "You are a helpful assistant with extensive domain knowledge. " * 400
"""A system prompt that is long enough to be cached by every model."""

BROKEN: tuple[Mapping[str, Any], ...] = (
    {"kind": "reset"},
    {"kind": "truncate"},
    {"kind": "garbage"},
    {"kind": "error_event", "error": {"type": "overloaded_error", "message": "Overloaded"}},
)


def break_off(world: World, fault: Mapping[str, Any]) -> None:
    """The next stream breaks after two pieces of its text."""
    text = {"type": "text", "text": "one two three four five"}
    world.script(blocks=[text], delta_chars=4, fault={**fault, "after": 4})


def last(world: World) -> Any:
    """The body of the newest request that the provider received."""
    return json.loads(world.received()[-1].body)


def refuse(world: World, status: int, kind: str, message: str = "no", **error: Any) -> None:
    """The next answer of the provider is an error."""
    world.script(error={"status": status, "type": kind, "message": message, **error})


def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no setting of the machine's own, and no proxy, reach an SDK."""
    for name in list(os.environ):
        if name.startswith(SETTINGS) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
