"""Builds the turns of a conversation as the Messages API takes them, for dialects that are looser.

Every rewriting here is a function of what stands before it alone, so that a conversation's earlier
turns never change on a later request: prompt caches and bound thinking depend on that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from isthmus import wire
from isthmus.messages import Block, Turn
from isthmus.request import Notes

Rows = list[tuple[Block, str]]
"""Blocks of one turn, each with the place where it stands in the client's request."""

NO_RESULT = "No result was recorded for this call."


class Turns:
    """Collects blocks by role, merges neighbours of one role, and pairs tool calls with results."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._turns: list[tuple[str, Rows]] = []

    def add(self, role: str, blocks: Iterable[Block], path: str) -> None:
        """Append blocks said by ``role`` (user, assistant or system).

        ``path`` is where they stand in the client's request, for notes. Text without a visible
        character is left out, since the Messages API refuses it; a note says so unless it is empty.
        """
        kept = [(block, path) for block in blocks if not self._is_blank(block, path)]
        if not kept:
            return
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(kept)
        else:
            self._turns.append((role, kept))

    def _is_blank(self, block: Block, path: str) -> bool:
        if block["type"] != "text" or block["text"].strip():
            return False
        if block["text"]:
            self._notes.dropped(path, "text without a visible character is not accepted")
        return True

    def finish(self) -> list[Turn]:
        """The turns: each call answered in the very next user turn, results before other content.

        What stands between a call and its results, system turns included, moves behind them.
        """
        turns: list[Turn] = []
        waiting: list[str] = []
        between: list[tuple[str, Rows]] = []
        for role, rows in self._turns:
            if role != "assistant":
                between.append((role, rows))
                continue
            self._hear(turns, between, waiting)
            blocks = [block for block, _ in rows]
            _say(turns, role, blocks)
            waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
            between = []
        self._hear(turns, between, waiting)
        return turns

    def _hear(self, turns: list[Turn], between: list[tuple[str, Rows]], waiting: list[str]) -> None:
        """Append what was said between two turns of the assistant, a result for each call first."""
        results: dict[str, Block] = {}
        others: list[tuple[str, list[Block]]] = []
        passed: list[str] = []
        for role, rows in between:
            said: list[Block] = []
            for block, path in rows:
                if block["type"] != "tool_result":
                    said.append(block)
                elif block["tool_use_id"] in waiting and block["tool_use_id"] not in results:
                    results[block["tool_use_id"]] = block
                    self._note_moved(passed)
                else:
                    said += self._orphan(block, path)
            others.append((role, said))
            if role == "system":
                passed.append(rows[0][1])
        made_up = [self._made_up(call) for call in waiting if call not in results]
        _say(turns, "user", [*results.values(), *made_up])
        for role, said in others:
            _say(turns, role, said)

    def _note_moved(self, passed: list[str]) -> None:
        """Say, once each, that these system turns go behind a result that came after them."""
        for path in passed:
            self._notes.changed(path, "sent behind the results of the calls before it")
        passed.clear()

    def _made_up(self, call: str) -> Block:
        self._notes.changed(
            "messages", f"tool call {call} had no result: an error result was added"
        )
        return unanswered(call)

    def _orphan(self, block: Block, path: str) -> list[Block]:
        content = block.get("content")
        if not content:
            self._notes.dropped(path, "an empty tool result answers no call before it")
            return []
        self._notes.changed(path, "a tool result that answers no call before it was sent as text")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        head: Block = {"type": "text", "text": "Tool result:"}
        return [head, *cast("list[Block]", parts)]


def _say(turns: list[Turn], role: str, blocks: list[Block]) -> None:
    """Append a turn, or to the last one if it has the same role."""
    if blocks and turns and turns[-1]["role"] == role:
        cast("list[Block]", turns[-1]["content"]).extend(blocks)
    elif blocks:
        turns.append(cast("Turn", {"role": role, "content": blocks}))


def trimmed(turns: list[Turn], notes: Notes, path: str) -> list[Turn]:
    """The turns without what may not end a final assistant turn: thinking, white space after a text.

    Only the very tail may be changed so: it stands again untouched on the next request. Source:
    Anthropic's error messages; in earlier turns thinking may stand last (CLIProxyAPI#5321).
    """
    if not turns or turns[-1]["role"] != "assistant":
        return turns
    blocks = list(cast("list[Block]", turns[-1]["content"]))
    while blocks and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
        blocks.pop()
    if len(blocks) < len(turns[-1]["content"]):
        notes.dropped(path, "reasoning cannot end a conversation that is to be continued")
    if not blocks:
        return turns[:-1]
    text = str(blocks[-1].get("text", "")).rstrip()
    if blocks[-1]["type"] == "text" and text != blocks[-1]["text"]:
        notes.changed(path, "the white space at the end of the final text was removed")
        blocks[-1] = {**blocks[-1], "text": text}
    return [*turns[:-1], {"role": "assistant", "content": blocks}]


def unanswered(call: str) -> Block:
    """The result of a call whose result the client does not have."""
    return {"type": "tool_result", "tool_use_id": call, "content": NO_RESULT, "is_error": True}


def tool_input(text: str) -> dict[str, Any] | None:
    """The arguments that a client sent as JSON text; "" counts as none, None if it is no object.

    Nor is one that is nested too deeply for a body.
    """
    if not text.strip():
        return {}
    try:
        value = wire.loads(text)
    except ValueError:
        return None
    fits = isinstance(value, dict) and not wire.is_deep(value)
    return cast("dict[str, Any]", value) if fits else None
