"""Adds cache markers to a Messages body whose client set none, for backends that are told to.

The marker at the top of a body is the automatic one: it stands for the last block that can be cached,
and so moves on with the conversation. From there the provider looks back over 20 blocks for what it
has already. After a longer turn that hides the place where the request before this one ended, and
the place gets a marker of its own.
Source: Anthropic's documentation of prompt caching.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from isthmus import wire
from isthmus.errors import GatewayError
from isthmus.request import Body

LOOKBACK = 20
"""Blocks that the provider looks at before a marker. Whether the marked one is among them is not
documented: here it is, so that a place is marked once too often rather than once too seldom."""

MARK = {"type": "ephemeral"}
_NEEDLE = b'"cache_control"'
_MEMBERS = ("system", "tools", "messages")
_MARK_TEXT = wire.dumps(MARK)


def marked(body: Body) -> Body:
    """The body with markers, or as it is where its client set one of its own.

    What is marked is a function of the messages alone. Bytes that came from a client stay as they
    are but for the markers; a body that is not sound is left to the provider to refuse.
    """
    try:
        return body if _has_marks(body) else _with_marks(body)
    except GatewayError:
        return body


def _with_marks(body: Body) -> Body:
    twin = body.copy()
    twin.edit("cache_control", MARK)
    if "messages" in body:
        own = body.text("messages")
        placed = _with_place(own or wire.dumps(body.peek("messages")))
        if placed is not own:
            twin.edit("messages", msgspec.Raw(placed))
    return twin


def _has_marks(body: Body) -> bool:
    """Whether a marker stands anywhere; a member is decoded only where its text speaks of one."""
    if body.peek("cache_control"):
        return True
    for name in _MEMBERS:
        text = body.text(name)
        if (text is None or _NEEDLE in text) and _marks(body.peek(name)):
            return True
    return False


def _marks(value: Any) -> bool:
    """Whether a block, a turn or a list of them holds a marker; what a tool is called with holds none."""
    if isinstance(value, list):
        return any(map(_marks, cast("list[Any]", value)))
    if not isinstance(value, dict):
        return False
    block = cast("dict[str, Any]", value)
    inner = (block.get("content"), block.get("source"))
    return bool(block.get("cache_control")) or any(map(_marks, inner))


def _with_place(messages: bytes) -> bytes:
    """The messages with a marker where the request before this one ended, if that is far from their end.

    That was before the assistant's latest turn: what it said, and what came after it, is new.
    """
    rows = wire.items(messages)
    new, at = 0, len(rows)
    spoken = False
    while at:
        role, blocks = _turn(messages[slice(*rows[at - 1])])
        if spoken and role != "assistant":
            break
        spoken = spoken or role == "assistant"
        new, at = new + blocks, at - 1
    if not at or not spoken or new < LOOKBACK:
        return messages
    start, end = rows[at - 1]
    return messages[:start] + _marked_turn(messages[start:end]) + messages[end:]


def _turn(text: bytes) -> tuple[Any, int]:
    """The role of a turn, and how many blocks it has."""
    turn = Body(text)
    content = turn.text("content") or b""
    return turn.peek("role"), 1 if content.startswith(b'"') else len(wire.items(content))


def _marked_turn(text: bytes) -> bytes:
    """The turn with a marker on its last block; as it is where it has none."""
    turn = Body(text)
    content = turn.text("content") or b""
    if content.startswith(b'"'):
        block = b'{"type":"text","text":' + content + b',"cache_control":' + _MARK_TEXT + b"}"
        turn.edit("content", msgspec.Raw(b"[" + block + b"]"))
    elif rows := wire.items(content):
        start, end = rows[-1]
        block = Body(content[start:end])
        block.edit("cache_control", MARK)
        turn.edit("content", msgspec.Raw(content[:start] + block.wire() + content[end:]))
    return turn.wire()
