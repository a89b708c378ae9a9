"""An answer before it is sent: pieces of content, cut by stop sequences and by `max_tokens`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from .catalog import Model
from .partial_json import closed
from .tokens import BYTES_PER_TOKEN, json_tokens, text_tokens

CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")


@dataclass(frozen=True, slots=True)
class Piece:
    """One content block. `raw` is a call's input as JSON text, `hidden` thinking that the client does not see."""

    block: dict[str, Any]
    raw: str | None = None
    hidden: str = ""

    @property
    def kind(self) -> str:
        """The block's type."""
        return str(self.block["type"])

    def content(self) -> dict[str, Any]:
        """The block as the non-streaming answer shows it."""
        return self.block if self.raw is None else {**self.block, "input": closed(self.raw)}


@dataclass(frozen=True, slots=True)
class Draft:
    """What will be answered."""

    pieces: list[Piece]
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    model: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)


def piece_of(block: dict[str, Any], hidden: str = "") -> Piece:
    """A piece of a block as a script or the generator writes it; `partial_json` stands for a call's raw input."""
    if block["type"] not in CALLS:
        return Piece(block, hidden=hidden)
    rest = {key: value for key, value in block.items() if key not in ("input", "partial_json")}
    raw = block.get("partial_json")
    if raw is None:
        raw = msgspec.json.encode(block.get("input", {})).decode()
    return Piece({**rest, "input": {}}, raw=raw)


def piece_tokens(piece: Piece, model: Model) -> int:
    """What a piece costs in output tokens; results of server tools cost nothing."""
    if piece.kind == "text":
        return text_tokens(piece.block["text"], model)
    if piece.kind == "thinking":
        return text_tokens(piece.hidden or piece.block["thinking"], model)
    if piece.raw is not None:
        return 10 + text_tokens(piece.raw, model)
    return 0 if piece.kind.endswith("_result") else json_tokens(piece.block, model)


def stop_at_sequence(draft: Draft, sequences: list[str]) -> Draft:
    """Cut where a stop sequence first occurs in text; the sequence itself is not sent."""
    for index, piece in enumerate(draft.pieces):
        if piece.kind != "text":
            continue
        text = piece.block["text"]
        hits = [(text.index(sequence), sequence) for sequence in sequences if sequence in text]
        if not hits:
            continue
        at, sequence = min(hits, key=lambda hit: hit[0])
        kept = draft.pieces[:index]
        if at:
            kept = [*kept, replace(piece, block={**piece.block, "text": text[:at]})]
        return replace(draft, pieces=kept, stop_reason="stop_sequence", stop_sequence=sequence)
    return draft


def cut_to(draft: Draft, budget: int, model: Model, reason: str) -> Draft:
    """Cut after `budget` output tokens, inside a text or a call's JSON if need be."""
    left = budget
    for index, piece in enumerate(draft.pieces):
        cost = piece_tokens(piece, model)
        if cost <= left:
            left -= cost
            continue
        part = cut_piece(piece, left, model)
        kept = [*draft.pieces[:index], *([part] if part else [])]
        return replace(draft, pieces=kept, stop_reason=reason, stop_sequence=None)
    return draft


def cut_piece(piece: Piece, budget: int, model: Model) -> Piece | None:
    """The beginning of a piece that fits the budget; None when nothing of it does."""
    size = int(budget * BYTES_PER_TOKEN[model.tokenizer])
    if piece.kind == "text":
        text = first_bytes(piece.block["text"], size)
        return replace(piece, block={**piece.block, "text": text}) if text else None
    if piece.kind == "thinking":
        hidden = first_bytes(piece.hidden or piece.block["thinking"], size)
        visible = piece.block["thinking"]
        shown = first_bytes(visible, size)
        return (
            replace(piece, block={**piece.block, "thinking": shown}, hidden=hidden)
            if hidden
            else None
        )
    if piece.raw is not None and budget > 10:
        return replace(
            piece, raw=first_bytes(piece.raw, size - int(10 * BYTES_PER_TOKEN[model.tokenizer]))
        )
    return None


def first_bytes(text: str, size: int) -> str:
    """The longest beginning of a text whose UTF-8 fits."""
    return text.encode("utf-8", "surrogatepass")[: max(0, size)].decode("utf-8", "ignore")
