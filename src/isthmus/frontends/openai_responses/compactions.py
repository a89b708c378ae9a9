"""Compactions in a conversation: which one counts, and where it stands.

One that the API made by itself, within an answer, stays in its place: the API leaves out what comes
before it. One that was asked for stands alone and first, in place of what it sums up. Source:
Anthropic's pages on compaction; OpenAI's guide to it, by which clients may keep what came before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from isthmus.errors import refuse
from isthmus.frontends.parameters import count, optional
from isthmus.messages import Block, Turn
from isthmus.request import Notes, expect

KIND = "compaction"
ON_DEMAND = {"type": "summarize"}
"""The hub's ``compaction``: the answer is to be a summary of the conversation and nothing else."""

LOWEST = 50_000
"""Input tokens from which the API compacts by itself at the earliest."""

ASKED: Block = {"type": "asked_for"}
"""Sealed beside a compaction that was asked for: clients put both kinds into the same places."""

_OLDER = "a newer compaction stands for it"
_BEFORE = "it stands for the turns before it, which were left out"
_MOVED = "sent before the messages that were kept beside it"


@dataclass(frozen=True, slots=True)
class Found:
    """One compaction of the input, where it stood, and whether a client asked for it."""

    block: Block
    path: str
    asked: bool


def settled(turns: list[Turn], found: list[Found], notes: Notes) -> list[Turn]:
    """The turns with the newest compaction alone, ``found`` being all of them in their order."""
    if not found:
        return turns
    *older, newest = found
    for one in older:
        notes.dropped(one.path, _OLDER)
        turns = _without(turns, one.block)
    if not newest.asked:
        return turns
    at = next(i for i, turn in enumerate(turns) if any(b is newest.block for b in turn["content"]))
    blocks = cast("list[Block]", turns[at]["content"])
    place = next(i for i, block in enumerate(blocks) if block is newest.block)
    before, after = turns[:at], turns[at + 1 :]
    if place or any(turn["role"] == "assistant" for turn in before):
        notes.changed(newest.path, _BEFORE)
        before = before[:0]
    elif before:
        notes.changed(newest.path, _MOVED)
    rest = blocks[place + 1 :]
    continued: list[Turn] = [{"role": "assistant", "content": rest}] if rest else []
    return [{"role": "assistant", "content": [newest.block]}, *before, *continued, *after]


def _without(turns: list[Turn], block: Block) -> list[Turn]:
    rest: list[Turn] = []
    for turn in turns:
        left = [b for b in cast("list[Block]", turn["content"]) if b is not block]
        if left:
            rest.append(cast("Turn", {**turn, "content": left}))
    return rest


def edits(value: Any, path: str, notes: Notes) -> dict[str, Any] | None:
    """The hub's form of ``context_management``, None where nothing of it has one.

    A threshold is a count of input tokens; the API has a lowest one and, where none is given, its own.
    """
    found: list[dict[str, Any]] = []
    for index, item in enumerate(expect(value, list, path, "an array of objects")):
        at = f"{path}.{index}"
        asked = cast("dict[str, Any]", expect(item, dict, at, "an object"))
        kind = expect(asked.get("type"), str, f"{at}.type", "a string")
        if kind != KIND or found:
            notes.dropped(at, f"only {KIND} is known, once")
            continue
        limit = optional(asked, "compact_threshold", int, at, "a whole number")
        edit: dict[str, Any] = {"type": "compact_20260112"}
        if limit is not None:
            tokens = max(LOWEST, count(1)(limit, f"{at}.compact_threshold"))
            if tokens != limit:
                notes.changed(f"{at}.compact_threshold", f"the lowest is {LOWEST}")
            edit["trigger"] = {"type": "input_tokens", "value": tokens}
        found.append(edit)
    return {"edits": found} if found else None


def read(blocks: list[Block] | None, path: str) -> Found:
    """The compaction of an item. Raises GatewayError (400) for one that we did not issue."""
    if not blocks or blocks[0]["type"] != KIND or blocks[1:] not in ([], [ASKED]):
        raise refuse(path, "only the provider that wrote a compaction can read it")
    return Found(blocks[0], path, asked=len(blocks) > 1)
