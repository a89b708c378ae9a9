"""What ``encrypted_content`` holds beside thinking: blocks of an answer, whole and in their order.

Clients keep that member unread and send it back. Ours is base64 of ``MAGIC`` and a JSON list of blocks
for which the dialect has no form of its own: calls of tools that the provider runs, their results,
compactions. Source: OpenAI's API reference (reasoning and compaction items).
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import Any, cast

from isthmus import wire
from isthmus.messages import REQUIRED, Block

MAGIC = b"isthmus-blocks1"

CALLS = ("server_tool_use", "mcp_tool_use")
"""The calls of tools that the provider runs; each result names its call by ``tool_use_id``."""

OWN = frozenset(
    "text image document search_result thinking redacted_thinking tool_use tool_result".split()
)
"""Blocks that have forms of their own in the dialect: they are read there, and checked."""


def sealed(blocks: list[Block]) -> str:
    """The content that holds these blocks."""
    return b64encode(MAGIC + wire.dumps(blocks)).decode()


def opened(content: str) -> list[Block] | None:
    """The blocks of a content that we issued; None for any other, and for one that was tampered with."""
    try:
        source = b64decode(wire.standard_base64(content), validate=True)
        rows = wire.loads(source.removeprefix(MAGIC)) if source.startswith(MAGIC) else None
    except (ValueError, binascii.Error):
        return None
    if not isinstance(rows, list) or not all(map(_is_sound, cast("list[Any]", rows))):
        return None
    return cast("list[Block]", rows)


def is_result(block: Block) -> bool:
    """Whether a block is what a tool of the provider's brought."""
    return block["type"].endswith("_tool_result")


def _is_sound(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    block = cast("Block", row)
    kind = block.get("type")
    if not isinstance(kind, str) or kind in OWN:
        return False
    needed = {"tool_use_id": str} if is_result(block) else REQUIRED.get(kind, {})
    return all(isinstance(block.get(name), wanted) for name, wanted in needed.items())
