"""What Chat has no place for, in ``reasoning_details``: made for answers, read from a history.

A message's ``content``, its ``tool_calls`` and these entries together rebuild the turn block for block.
Source of the form: the list of that name that OpenRouter gave the dialect, which clients send back
unread. ``reasoning.text`` is a signed thinking block; ``reasoning.encrypted`` a redacted one, or, in our
own format, any other block, packed. Beside OpenRouter's members each entry says where it stands:
``after`` characters (code points) of ``content`` and, unless it is 0, ``calls`` tool calls. ``index``
counts the entries: accumulators of SDKs take it for a place in the list, and a gap tells of a loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from isthmus.frontends.packing import packed, unpacked
from isthmus.messages import Block, Input
from isthmus.request import Notes
from isthmus.turns import tool_input

Fields = dict[str, Any]

CLAUDE = "anthropic-claude-v1"
"""The format of thinking that Claude signed or redacted."""
OWN = "isthmus-v1"
"""The format of other blocks, which we packed."""

_NATIVE = ("thinking", "redacted_thinking", "tool_use", "tool_result")
"""Blocks that have a form of their own: packed ones are not ours."""

_UNVERIFIED = "reasoning that Claude did not sign cannot be sent back"
_NO_FIT = "it does not fit the content and the calls beside it, or is not complete"


# --- answers ------------------------------------------------------------------------------------


class Details:
    """Makes the entries of one answer, block by block in their order."""

    def __init__(self) -> None:
        self._entries = 0
        self._characters = 0
        self._calls = 0
        self._before = ""

    def entry(self, block: Block) -> Fields | None:
        """The entry of a complete block; None for one that its message rebuilds without it."""
        kind, before = block["type"], self._before
        place: Fields = {"index": self._entries, "after": self._characters}
        if self._calls:
            place["calls"] = self._calls
        if kind == "tool_use":
            self._calls += 1
            self._before = kind
            return None
        if kind == "text":
            self._characters += len(block["text"])
            self._before = kind if block["text"] else before
        held = _held(block, before)
        if held is None:
            return None
        self._entries += 1
        self._before = ""
        return {**held, **place}


def _held(block: Block, before: str) -> Fields | None:
    """An entry without its place; ``before`` is the type of the block before if that has no entry."""
    kind, given = block["type"], block.get("input")
    if kind == "thinking":
        if _signed(block.get("thinking"), block.get("signature")) is None:
            return None
        held = {"text": block["thinking"], "signature": block["signature"], "format": CLAUDE}
        return {"type": "reasoning.text", **held}
    if kind == "redacted_thinking":
        redacted = _redacted(block.get("data"))
        form = {"type": "reasoning.encrypted", "format": CLAUDE}
        return {**form, "data": redacted["data"]} if redacted else None
    if kind == "text" and not (block["text"] and (block.get("citations") or before)):
        return None
    if isinstance(given, Input) and tool_input(given.text) is None:
        return None
    return {"type": "reasoning.encrypted", "data": packed(block), "format": OWN}


# --- histories ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """A block and its place: so many characters of text and so many calls stand before it."""

    block: Block
    after: int = 0
    calls: int = 0


def entries(value: Any, path: str, notes: Notes) -> list[Entry]:
    """The entries of a client's ``reasoning_details``; notes tell of those that cannot be sent back.

    Thinking without its signature, foreign formats and lists of which a part is lost are dropped:
    never are they refused. An entry without a place stands behind the one before it.
    """
    if not isinstance(value, list):
        notes.dropped(path, _UNVERIFIED)
        return []
    found: list[Entry] = []
    after = calls = 0
    for index, item in enumerate(cast("list[Any]", value)):
        entry = cast("Fields", item) if isinstance(item, dict) else Fields()
        if entry.get("index", index) != index:
            notes.dropped(path, _NO_FIT)
            return []
        block = _block(entry)
        if block is None:
            notes.dropped(f"{path}.{index}", _UNVERIFIED)
            continue
        after, calls = (
            entry.get("after", after),
            entry.get("calls", 0 if "after" in entry else calls),
        )
        found.append(Entry(block, after, calls))
    return found


def _block(entry: Fields) -> Block | None:
    """The block that an entry holds; None if it is not one that Claude or we could have made."""
    form, data = (entry.get("type"), entry.get("format")), entry.get("data")
    if form == ("reasoning.text", CLAUDE):
        return _signed(entry.get("text"), entry.get("signature"))
    if form == ("reasoning.encrypted", CLAUDE):
        return _redacted(data)
    if form == ("reasoning.encrypted", OWN) and isinstance(data, str):
        return _own(unpacked(data))
    return None


def _signed(text: Any, signature: Any) -> Block | None:
    """A thinking block; its text may be missing, since Claude can leave it out, its signature not."""
    text = "" if text is None else text
    if not (isinstance(text, str) and isinstance(signature, str) and signature):
        return None
    return {"type": "thinking", "thinking": text, "signature": signature}


def _redacted(data: Any) -> Block | None:
    return {"type": "redacted_thinking", "data": data} if isinstance(data, str) and data else None


def _own(value: Any) -> Block | None:
    match value:
        case {"type": "text", "text": str(text)}:
            return value if text else None
        case {"type": str(kind)} if kind not in (*_NATIVE, "text"):
            return value
        case _:
            return None


def thinking_blocks(value: Any, path: str, notes: Notes) -> list[Entry]:
    """The blocks of LiteLLM's ``thinking_blocks``, which stand before all else in their turn."""
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    found: list[Entry] = []
    for index, item in enumerate(items):
        fields = cast("Fields", item) if isinstance(item, dict) else Fields()
        block = None
        if fields.get("type") == "thinking":
            block = _signed(fields.get("thinking"), fields.get("signature"))
        elif fields.get("type") == "redacted_thinking":
            block = _redacted(fields.get("data"))
        if block is None:
            notes.dropped(f"{path}.{index}", _UNVERIFIED)
        else:
            found.append(Entry(block))
    return found


def rebuilt(
    texts: Sequence[Block], calls: Sequence[Block], held: Sequence[Entry], path: str, notes: Notes
) -> list[Block]:
    """The blocks of a turn, each where it stood in the answer.

    Where an entry does not fit the texts and the calls, all of them are dropped with a note.
    """
    try:
        return list(_placed(_Texts(texts), calls, held))
    except _Misfit:
        notes.dropped(path, _NO_FIT)
        return [*texts, *calls]


class _Misfit(Exception):
    """An entry cannot stand where it says."""


def _placed(texts: _Texts, calls: Sequence[Block], held: Sequence[Entry]) -> Iterator[Block]:
    done = 0
    for entry in held:
        yield from texts.until(entry.after)
        if not (_is_count(entry.calls) and done <= entry.calls <= len(calls)):
            raise _Misfit
        yield from calls[done : entry.calls]
        done = entry.calls
        if entry.block["type"] != "text":
            yield entry.block
            continue
        pieces = texts.until(entry.after + len(entry.block["text"]))
        if "".join(piece["text"] for piece in pieces) != entry.block["text"]:
            raise _Misfit
        mark = {k: v for k, v in pieces[-1].items() if k == "cache_control"}
        yield {**entry.block, **mark}
    yield from texts.until(texts.length)
    yield from calls[done:]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class _Texts:
    """Text blocks that are taken piece by piece, from the first character to the last."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.length = sum(len(block["text"]) for block in blocks)
        self._blocks = list(reversed(blocks))
        self._taken = 0
        self._start = 0

    def until(self, end: int) -> list[Block]:
        """The pieces up to a character, split where the blocks are; a marker stays on its block's end.

        Raises _Misfit for a place that was passed or that is not there.
        """
        if not (_is_count(end) and self._taken <= end <= self.length):
            raise _Misfit
        pieces: list[Block] = []
        while self._taken < end:
            block = self._blocks[-1]
            offset, last = self._taken - self._start, self._start + len(block["text"])
            piece = {**block, "text": block["text"][offset : end - self._start]}
            if end < last:
                piece.pop("cache_control", None)
            else:
                self._blocks.pop()
                self._start = last
            self._taken = min(end, last)
            if piece["text"]:
                pieces.append(piece)
        return pieces
