"""What a thoughtSignature holds: the thinking of an answer, to be restored when the client echoes it.

Gemini's clients return a part's signature unread. Ours is base64 of ``MAGIC`` and a JSON list of
entries ``[after, ...]`` in the order of the answer: ``[after, thinking, signature]`` a thinking
block, ``[after, data]`` a redacted one, ``[after]`` the border of two text blocks. ``after`` counts
the characters of text between the entry and the end of the signed part's text (or the signed call),
so that neither chunks of text nor chunks merged by the client move a block.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import Any, cast

from isthmus import wire
from isthmus.messages import Block

MAGIC = b"isthmus1"

Entry = tuple[int, Block | None]
"""Characters of text that follow, and the thinking block, or None where one text ends."""


def packed(entries: list[Entry]) -> str:
    """The signature that holds these entries."""
    rows = [[after, *_fields(block)] for after, block in entries]
    return b64encode(MAGIC + wire.dumps(rows)).decode()


def _fields(block: Block | None) -> list[str]:
    if block is None:
        return []
    if block["type"] == "redacted_thinking":
        return [block["data"]]
    return [block["thinking"], block["signature"]]


def unpacked(signature: str) -> list[Entry] | None:
    """The entries of a signature that we issued, in either base64 alphabet; None for any other."""
    try:
        content = b64decode(wire.standard_base64(signature), validate=True)
        rows = wire.loads(content.removeprefix(MAGIC)) if content.startswith(MAGIC) else None
    except (ValueError, binascii.Error):
        return None
    if not isinstance(rows, list):
        return None
    entries = [_entry(row) for row in cast("list[Any]", rows)]
    found = [entry for entry in entries if entry is not None]
    return found if len(found) == len(entries) else None


def _entry(row: Any) -> Entry | None:
    match row:
        case [int(after), str(thinking), str(signature)]:
            return after, {"type": "thinking", "thinking": thinking, "signature": signature}
        case [int(after), str(data)]:
            return after, {"type": "redacted_thinking", "data": data}
        case [int(after)]:
            return after, None
        case _:
            return None


def placed(text: str, entries: list[Entry]) -> list[Block]:
    """The text as blocks with the entries at their places; a place outside the text is its edge."""
    blocks: list[Block] = []
    start = 0
    for after, block in entries:
        cut = min(max(len(text) - after, start), len(text))
        if cut > start:
            blocks.append({"type": "text", "text": text[start:cut]})
        if block is not None:
            blocks.append(block)
        start = cut
    if start < len(text):
        blocks.append({"type": "text", "text": text[start:]})
    return blocks
