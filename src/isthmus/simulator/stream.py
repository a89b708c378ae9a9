"""A message as server-sent events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from .draft import Piece

Event = dict[str, Any]
# Members of the final usage that `message_delta` repeats (cumulative totals).
DELTA_USAGE = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
    "iterations",
)
DELTA_MEMBERS = ("stop_reason", "stop_sequence", "stop_details", "container", "safeguard_results")
# Members that travel in neither event's inner object but beside `delta`.
TAIL_MEMBERS = ("context_management",)


def frame(event: Event) -> bytes:
    """One event on the wire."""
    return b"event: " + event["type"].encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"


def message_events(
    message: dict[str, Any], pieces: list[Piece], delta_chars: int, count_thinking: bool = False
) -> list[Event]:
    """The events whose join is the message. A ping follows the first block's start, as the provider does it."""
    events: list[Event] = [message_start(message)]
    for index, piece in enumerate(pieces):
        events.append(
            {"type": "content_block_start", "index": index, "content_block": opening(piece)}
        )
        if index == 0:
            events.append({"type": "ping"})
        events.extend(
            {"type": "content_block_delta", "index": index, "delta": delta}
            for delta in deltas(piece, delta_chars, count_thinking)
        )
        events.append({"type": "content_block_stop", "index": index})
    return [*events, message_delta(message), {"type": "message_stop"}]


def message_start(message: dict[str, Any]) -> Event:
    """The head of the message: no content, no stop reason, one output token."""
    late = (*DELTA_MEMBERS, *TAIL_MEMBERS)
    head = {
        key: value
        for key, value in message.items()
        if key not in late or key in ("stop_reason", "stop_sequence")
    }
    usage = {
        key: value
        for key, value in message["usage"].items()
        if key not in ("output_tokens_details", "server_tool_use", "iterations")
    }
    usage["output_tokens"] = usage["output_tokens"] and 1
    head.update(content=[], stop_reason=None, stop_sequence=None, stop_details=None, usage=usage)
    return {"type": "message_start", "message": head}


def message_delta(message: dict[str, Any]) -> Event:
    """How the message ended."""
    usage = message["usage"]
    event: Event = {
        "type": "message_delta",
        "delta": {key: message[key] for key in DELTA_MEMBERS if key in message},
        "usage": {key: usage[key] for key in DELTA_USAGE if key in usage},
    }
    event.update({key: message[key] for key in TAIL_MEMBERS if key in message})
    return event


def opening(piece: Piece) -> dict[str, Any]:
    """The placeholder of `content_block_start`."""
    block = piece.block
    if piece.kind == "text":
        return {**block, "text": "", **({"citations": []} if block.get("citations") else {})}
    if piece.kind == "thinking":
        return {**block, "thinking": "", "signature": ""}
    if piece.kind == "compaction":
        return {"type": "compaction", "content": None}
    return block


def deltas(piece: Piece, size: int, count_thinking: bool) -> Iterator[dict[str, Any]]:
    """The deltas of one block."""
    block = piece.block
    if piece.kind == "text":
        for part in parts(block["text"], size):
            yield {"type": "text_delta", "text": part}
        for citation in block.get("citations") or ():
            yield {"type": "citations_delta", "citation": citation}
    elif piece.kind == "thinking":
        yield from thinking_deltas(piece, size, count_thinking)
    elif piece.kind == "compaction":
        yield {**block, "type": "compaction_delta"}
    elif piece.raw is not None:
        yield {"type": "input_json_delta", "partial_json": ""}
        for part in parts(piece.raw if piece.raw != "{}" else "", size):
            yield {"type": "input_json_delta", "partial_json": part}


def thinking_deltas(piece: Piece, size: int, count_thinking: bool) -> Iterator[dict[str, Any]]:
    """Text, or with the token-count beta empty deltas that count what is hidden, then the signature."""
    for part in parts(piece.block["thinking"], size):
        yield {"type": "thinking_delta", "thinking": part}
    if count_thinking and not piece.block["thinking"]:
        for part in parts(piece.hidden, size):
            yield {
                "type": "thinking_delta",
                "thinking": "",
                "estimated_tokens": max(1, len(part) // 4),
            }
    yield {"type": "signature_delta", "signature": piece.block["signature"]}


def parts(text: str, size: int) -> Iterator[str]:
    """A text in pieces of `size` characters."""
    for start in range(0, len(text), size):
        yield text[start : start + size]


def with_pings(events: list[Event], every: int | None) -> list[Event]:
    """A ping after each `every` events."""
    if every is None:
        return events
    spaced: list[Event] = []
    for index, event in enumerate(events, start=1):
        spaced.append(event)
        if index % every == 0 and index < len(events):
            spaced.append({"type": "ping"})
    return spaced
