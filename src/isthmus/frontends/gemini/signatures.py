"""What a thoughtSignature holds: what an answer has and Gemini's parts have not, to be restored.

Gemini's clients return a part's signature unread. Ours packs a list of entries ``[after, ...]`` in
the order of the answer: ``[after, thinking, signature]`` a thinking block, ``[after, data]`` a redacted
one, ``[after, block]`` any other block as it came (a server tool's call or result, a compaction),
``[after]`` the border of two text blocks and ``[after, {"type": "text", "citations": [...]}]`` the end
of one that has citations. ``after`` counts the characters of text between the entry and the end of the
signed part's text (or the signed call), so that neither chunks of text nor chunks merged by the client
move a block. -1 stands for the beginning of the signed part, since a client may join to it the texts
that follow.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, cast

from isthmus import wire
from isthmus.frontends import packing
from isthmus.messages import Block

START = -1
"""The place before the signed part's text."""

Entry = tuple[int, Block | None]
"""Characters of text that follow, and the block, or None where one text ends."""

_STUBS = (b"skip_thought_signature_validator", b"context_engineering_is_the_way_to_go")
_DUMMIES = frozenset(form for stub in _STUBS for form in (stub.decode(), b64encode(stub).decode()))
"""What Google's page on thought signatures tells clients to send where they have none."""

_CALL: dict[str, type] = {"id": str, "name": str, "input": dict}
_HELD: dict[str, dict[str, type]] = {
    "server_tool_use": _CALL,
    "mcp_tool_use": _CALL,
    "text": {"citations": list},
}
"""What a block must hold to be restored, beside its type; of a text only its citations are packed."""

_NEVER = ("tool_use", "tool_result", "thinking", "redacted_thinking", "image", "document")
"""Types that have parts or rows of their own, so that no block of them comes from a signature."""


def is_dummy(signature: str) -> bool:
    """Whether the client only says that it has no signature for a part."""
    return wire.standard_base64(signature) in _DUMMIES or signature in _DUMMIES


def packed(entries: list[Entry]) -> str:
    """The signature that holds these entries."""
    rows = [[after, *_fields(block)] for after, block in entries]
    return packing.packed(rows)


def _fields(block: Block | None) -> list[Any]:
    if block is None:
        return []
    if block["type"] == "redacted_thinking":
        return [block["data"]]
    if block["type"] == "thinking":
        return [block["thinking"], block["signature"]]
    return [block]


def unpacked(signature: str) -> list[Entry] | None:
    """The entries of a signature that we issued, in either base64 alphabet; None for any other."""
    rows = packing.unpacked(signature)
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
        case [int(after), {"type": str()} as block] if can_hold(cast("Block", block)):
            return after, cast("Block", block)
        case [int(after)]:
            return after, None
        case _:
            return None


def can_hold(block: Block) -> bool:
    """Whether a signature can carry this block as it is."""
    kind = cast("str", block["type"])
    wanted = _HELD.get(kind, {})
    if kind.endswith("_tool_result"):
        wanted = {"tool_use_id": str}
    whole = all(isinstance(block.get(name), form) for name, form in wanted.items())
    return whole and kind not in _NEVER


def together(early: list[Entry], late: list[Entry]) -> list[Entry]:
    """The entries of two signatures of one run of text, of which the later may repeat the earlier."""
    known = [block for _, block in early if block is not None]
    again = [block for _, block in late if block is not None][: len(known)]
    return late if again == known else [*early, *late]


def placed(text: str, entries: list[Entry]) -> list[Block]:
    """The text as blocks with the entries at their places; a place outside the text is its edge."""
    blocks: list[Block] = []
    start = 0
    for after, block in entries:
        cut = min(max(len(text) - after, start), len(text))
        ended = block if block is not None and block["type"] == "text" else {}
        if cut > start:
            cited = {"citations": ended["citations"]} if ended else {}
            blocks.append({"type": "text", "text": text[start:cut], **cited})
        if block is not None and not ended:
            blocks.append(block)
        start = cut
    if start < len(text):
        blocks.append({"type": "text", "text": text[start:]})
    return blocks
