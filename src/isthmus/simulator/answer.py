"""A checked request becomes a message: script or generator, cuts, thinking, cache, usage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from . import betas
from .cache import Accounting, input_tokens
from .conversation import Request
from .draft import Draft, Piece, cut_to, piece_of, piece_tokens, stop_at_sequence
from .generate import answer_blocks, request_seed, short_id
from .script import Script
from .thinking import Policy, Verdict, hidden_thinking, signed_blocks

ID_PREFIXES = {"tool_use": "toolu", "server_tool_use": "srvtoolu", "mcp_tool_use": "mcptoolu"}
WEB_COUNTERS = {"web_search": "web_search_requests", "web_fetch": "web_fetch_requests"}
CUTS = ("max_tokens", "stop_sequence", "model_context_window_exceeded")
RUNNERS = ("code_execution", "bash_code_execution", "text_editor_code_execution")


@dataclass(frozen=True, slots=True)
class Answer:
    """The message as the non-streaming answer shows it, the pieces a stream is made of, and their output tokens."""

    message: dict[str, Any]
    pieces: list[Piece]
    tokens: int


def answer(
    request: Request, script: Script, accounting: Accounting, policy: Policy, verdict: Verdict
) -> Answer:
    """The answer to a request that broke no rule."""
    draft = make_draft(request, script)
    draft = sign(draft, request, policy, verdict)
    tokens = sum(piece_tokens(piece, request.model) for piece in draft.pieces)
    if request.body["max_tokens"] and not tokens:
        tokens = 1
    content = [piece.content() for piece in draft.pieces]
    message: dict[str, Any] = {
        "id": short_id("msg", request_seed(request)),
        "type": "message",
        "role": "assistant",
        "model": draft.model or request.model.id,
        "content": content,
        "stop_reason": draft.stop_reason,
        "stop_sequence": draft.stop_sequence,
        "stop_details": draft.stop_details,
        "usage": {**usage(request, draft, accounting, tokens), **draft.usage},
    }
    message.update(extras(request, content, verdict))
    message.update(script.extra)
    return Answer(message, draft.pieces, tokens)


def make_draft(request: Request, script: Script) -> Draft:
    """What is to be said, with ids, cut as the request asks."""
    if request.body["max_tokens"] == 0:
        return Draft([], "max_tokens")
    scripted = script.blocks is not None
    blocks = script.blocks if script.blocks is not None else answer_blocks(request)
    pieces = [piece_of(block, hidden_text(block)) for block in with_ids(request, blocks)]
    if not scripted:
        pieces = displayed(request, pieces)
    draft = Draft(pieces, natural_stop(pieces))
    draft = stop_at_sequence(draft, request.body.get("stop_sequences") or [])
    draft = cut_to(draft, request.body["max_tokens"], request.model, "max_tokens")
    draft = cut_to(draft, window_left(request), request.model, "model_context_window_exceeded")
    return directed(draft, script)


def directed(draft: Draft, script: Script) -> Draft:
    """The script's members of the message; a cut by the caller's own limits keeps its reason."""
    draft = replace(draft, model=script.message.get("model"), usage=script.usage)
    if draft.stop_reason in CUTS:
        return draft
    members = {name: value for name, value in script.message.items() if name != "model"}
    return replace(draft, **members)


def window_left(request: Request) -> int:
    """Output tokens that the context window still has room for."""
    return max(0, request.model.context_window - input_tokens(request))


def hidden_text(block: dict[str, Any]) -> str:
    """The raw thinking that output tokens are counted from."""
    return str(block.get("thinking", "")) if block["type"] == "thinking" else ""


def displayed(request: Request, pieces: list[Piece]) -> list[Piece]:
    """Thinking as the model or the request displays it."""
    display = (request.body.get("thinking") or {}).get("display")
    if not hidden_thinking(request.model, display):
        return pieces
    return [
        replace(piece, block={**piece.block, "thinking": ""}) if piece.kind == "thinking" else piece
        for piece in pieces
    ]


def with_ids(request: Request, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every call gets an id where it has none, every result of a server tool the id of the call before it."""
    done: list[dict[str, Any]] = []
    call = ""
    for index, block in enumerate(blocks):
        kind = block["type"]
        prefix = ID_PREFIXES.get(kind)
        made = block
        if prefix and not block.get("id"):
            made = {"type": kind, "id": short_id(prefix, request_seed(request), index), **block}
        elif kind.endswith("_tool_result") and "tool_use_id" not in block:
            made = {"type": kind, "tool_use_id": call, **block}
        if kind in ("server_tool_use", "mcp_tool_use"):
            call = made["id"]
        done.append(made)
    return done


def natural_stop(pieces: list[Piece]) -> str:
    """tool_use when the client is to act, compaction when that is all there is, else end_turn."""
    if any(piece.kind == "tool_use" for piece in pieces):
        return "tool_use"
    if pieces and all(piece.kind == "compaction" for piece in pieces):
        return "compaction"
    return "end_turn"


def sign(draft: Draft, request: Request, policy: Policy, verdict: Verdict) -> Draft:
    """Put signatures on the thinking that is left after the cuts."""
    signed = signed_blocks(
        [piece.block for piece in draft.pieces], request, policy, verdict.previous
    )
    pieces = [
        replace(piece, block=block) for piece, block in zip(draft.pieces, signed, strict=True)
    ]
    return replace(draft, pieces=pieces)


def usage(request: Request, draft: Draft, accounting: Accounting, output: int) -> dict[str, Any]:
    """The usage object."""
    model = request.model
    thinking = sum(piece_tokens(piece, model) for piece in draft.pieces if piece.kind == "thinking")
    found: dict[str, Any] = {
        "input_tokens": accounting.fresh,
        "cache_creation_input_tokens": accounting.written_5m + accounting.written_1h,
        "cache_read_input_tokens": accounting.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": accounting.written_5m,
            "ephemeral_1h_input_tokens": accounting.written_1h,
        },
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": thinking},
        "service_tier": "standard",
        "inference_geo": request.body.get("inference_geo")
        or ("global" if model.inference_geo else "not_available"),
    }
    if request.body.get("speed"):
        found["speed"] = "standard" if model.fast == "ignored" else request.body["speed"]
    counters = dict.fromkeys(WEB_COUNTERS.values(), 0)
    called = [piece.block.get("name") for piece in draft.pieces if piece.kind == "server_tool_use"]
    for name in called:
        if name in WEB_COUNTERS:
            counters[WEB_COUNTERS[name]] += 1
    if called:
        found["server_tool_use"] = counters
    return found


def extras(request: Request, content: list[dict[str, Any]], verdict: Verdict) -> dict[str, Any]:
    """Members of the message that only some requests get."""
    body = request.body
    found: dict[str, Any] = {}
    if body.get("container") or any(block.get("name") in RUNNERS for block in content):
        found["container"] = container(request)
    if body.get("context_management"):
        found["context_management"] = {"applied_edits": list[dict[str, Any]]()}
    if request.caller.betas & betas.BINDING:
        found["input_transformations"] = verdict.transformations
    if body.get("diagnostics"):
        found["diagnostics"] = diagnostics(body["diagnostics"])
    if body.get("safeguards"):
        found["safeguard_results"] = safeguard_results(content)
    return found


def container(request: Request) -> dict[str, Any]:
    """The container of code execution; one named in the request is used again."""
    named = request.body.get("container")
    if isinstance(named, dict):
        skills, named = named.get("skills"), named.get("id")
    else:
        skills = None
    made = named or short_id("container", request_seed(request))
    found: dict[str, Any] = {"id": made, "expires_at": "2026-12-31T23:59:59Z"}
    return {**found, "skills": skills} if skills else found


def diagnostics(asked: dict[str, Any]) -> dict[str, Any]:
    """The simulator keeps no messages: a named one is always unknown."""
    previous = asked.get("previous_message_id")
    reason = {"type": "previous_message_not_found"} if previous else None
    return {"cache_miss_reason": reason}


def safeguard_results(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every tool call is evaluated and none is flagged."""
    verdicts = {
        block["id"]: {"type": "evaluated", "outcome": "not_flagged"}
        for block in content
        if block["type"] == "tool_use"
    }
    return [{"type": "dangerous_tool_use", "status": {"type": "available", "tool_uses": verdicts}}]
