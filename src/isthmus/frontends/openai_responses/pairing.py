"""Sees that calls of the provider's own tools come back with their results, or not at all.

Clients may lose an item, or an answer may have been cut between a call and its result: the Messages
API refuses one without the other. Source: Anthropic's page on server tools; its API reference.
"""

from __future__ import annotations

from typing import Any, cast

from isthmus.frontends.openai_responses.sealed import CALLS, is_result
from isthmus.messages import Block, Turn
from isthmus.request import Notes

_LOST = "a call of the provider's own tool without its result, or a result without its call"


def paired(turns: list[Turn], notes: Notes) -> list[Turn]:
    """The turns without the server tools' calls and results that lack the other half.

    A call may wait for its result while the client answers its own calls: its result then begins the
    assistant's next turn.
    """
    kept: list[Turn] = []
    waiting: set[str] = set()
    seen: set[str] = set()
    for index, turn in enumerate(turns):
        if turn["role"] != "assistant":
            kept.append(turn)
            continue
        blocks = cast("list[Block]", turn["content"])
        answered = {block["tool_use_id"] for block in blocks if is_result(block)}
        may_wait = _only_results(turns[index + 1]) if index + 1 < len(turns) else False
        later = _answered_next(turns, index)
        left: list[Block] = []
        for block in blocks:
            if block["type"] in CALLS:
                call = block["id"]
                fits = call not in seen and (call in answered or (may_wait and call in later))
                if fits:
                    seen.add(call)
                    waiting.add(call)
            else:
                fits = not is_result(block) or block["tool_use_id"] in waiting
                waiting.discard(block.get("tool_use_id", ""))
            if fits:
                left.append(block)
        if len(left) < len(blocks):
            notes.dropped("input", _LOST)
        if left:
            kept.append({"role": "assistant", "content": left})
    return kept


def _only_results(turn: Turn) -> bool:
    return turn["role"] == "user" and all(
        block["type"] == "tool_result" for block in cast("list[Block]", turn["content"])
    )


def _answered_next(turns: list[Turn], index: int) -> set[Any]:
    """The calls that the assistant's next turn has results of; any call where that is still to come."""
    after = [turn for turn in turns[index + 1 :] if turn["role"] == "assistant"][:1]
    if not after:
        return {
            block["id"]
            for block in cast("list[Block]", turns[index]["content"])
            if block["type"] in CALLS
        }
    return {
        block["tool_use_id"]
        for block in cast("list[Block]", after[0]["content"])
        if is_result(block)
    }
