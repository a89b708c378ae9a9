"""The models that the simulator knows: rows of `models.json`, looked up by id or alias."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec

from .errors import Refusal


@dataclass(frozen=True, slots=True)
class Model:
    """What one model accepts. Field by field a row of `models.json`.

    `thinking_default` is off, on or always; `sampling` any, not_both or default_only; `binding` none, new_accounts
    or always; `off_effort` the levels at which thinking may be switched off (empty: any); `fast` no, beta, yes or
    ignored; `overflow` refuse (a 400) or stop (`model_context_window_exceeded`); `tokenizer` classic or new.
    """

    id: str
    display_name: str
    line: str
    aliases: list[str]
    lifecycle: str
    created_at: str
    deprecated_at: str | None
    retires_at: str | None
    context_window: int
    max_tokens: int
    min_cacheable: int
    thinking: list[str]
    thinking_default: str
    display: str
    effort: list[str]
    effort_default: str | None
    sampling: str
    prefill: bool
    forced_tool_choice: bool
    system_role: bool
    binding: str
    family: str
    reads: list[str]
    inference_geo: bool
    fast: str
    off_effort: list[str]
    overflow: str
    image_tokens: int
    tokenizer: str


class _File(msgspec.Struct):
    as_of: str
    models: list[Model]


def load_models() -> tuple[Model, ...]:
    """The rows of the data file that ships with the package."""
    raw = files("isthmus.simulator").joinpath("models.json").read_bytes()
    return tuple(msgspec.json.decode(raw, type=_File).models)


MODELS = load_models()
BY_NAME: dict[str, Model] = {name: model for model in MODELS for name in (model.id, *model.aliases)}


def find_model(name: str, retired: bool) -> Model:
    """The model of that name; an unknown one, or a retired one when those are off, is a 404."""
    model = BY_NAME.get(name)
    if model is None or (model.lifecycle == "retired" and not retired):
        raise Refusal(f"model: {name}", status=404)
    return model


def supported(flag: bool) -> dict[str, bool]:
    """A leaf of `capabilities`."""
    return {"supported": flag}


def timestamp(day: str | None) -> str | None:
    """A date of the table as RFC 3339."""
    return f"{day}T00:00:00Z" if day else None


def capabilities(model: Model) -> dict[str, Any]:
    """The `capabilities` object of a model."""
    modern = model.lifecycle != "retired"
    types = ("adaptive", "between_tools", "disabled", "enabled")
    thinks = any(kind != "disabled" for kind in model.thinking)
    levels = ("low", "medium", "high", "xhigh", "max")
    return {
        "batch": supported(True),
        "citations": supported(True),
        "code_execution": supported(modern),
        "context_management": {
            "supported": modern,
            "clear_tool_uses_20250919": supported(modern),
            "clear_thinking_20251015": supported(modern),
            "compact_20260112": supported(model.context_window >= 1_000_000),
        },
        "effort": {
            "supported": bool(model.effort),
            **{level: supported(level in model.effort) for level in levels},
        },
        "image_input": supported(True),
        "pdf_input": supported(True),
        "server_tools": {
            "supported": modern,
            "web_search": supported(modern),
            "code_execution": supported(modern),
        },
        "structured_outputs": supported(modern),
        "thinking": {
            "supported": thinks,
            "types": {kind: supported(kind in model.thinking) for kind in types},
        },
    }


def describe(model: Model) -> dict[str, Any]:
    """The ModelInfo object of `/v1/models`."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": timestamp(model.created_at),
        "line": model.line,
        "lifecycle": model.lifecycle,
        "deprecated_at": timestamp(model.deprecated_at),
        "retires_at": timestamp(model.retires_at),
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_tokens,
        "capabilities": capabilities(model),
    }


def list_models(query: dict[str, list[str]], retired: bool) -> dict[str, Any]:
    """The answer of `GET /v1/models`: one page, newest first; retired models only when asked for by `lifecycle`."""
    stages = query.get("lifecycle[]", []) + query.get("lifecycle", [])
    for stage in stages:
        if stage not in ("active", "deprecated", "retired"):
            raise Refusal("lifecycle: Input should be 'active', 'deprecated' or 'retired'")
    wanted = set(stages or ("active", "deprecated"))
    if not retired:
        wanted.discard("retired")
    rows = sorted(
        (model for model in MODELS if model.lifecycle in wanted),
        key=lambda m: m.created_at,
        reverse=True,
    )
    limit = page_limit(query)
    start, stop = page_bounds([model.id for model in rows], query, limit)
    page = rows[start:stop]
    backwards = "before_id" in query
    return {
        "data": [describe(model) for model in page],
        "has_more": start > 0 if backwards else stop < len(rows),
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def page_limit(query: dict[str, list[str]]) -> int:
    """`limit`, 1 to 1000."""
    text = query.get("limit", ["20"])[-1]
    if not text.isascii() or not text.isdigit():
        raise Refusal(
            "limit: Input should be a valid integer, unable to parse string as an integer"
        )
    limit = int(text)
    if limit < 1:
        raise Refusal("limit: Input should be greater than or equal to 1")
    if limit > 1000:
        raise Refusal("limit: Input should be less than or equal to 1000")
    return limit


def page_bounds(ids: list[str], query: dict[str, list[str]], limit: int) -> tuple[int, int]:
    """The slice of the list that a page shows."""
    for name in ("after_id", "before_id"):
        if name in query and query[name][-1] not in ids:
            raise Refusal(f"{name}: model not found: {query[name][-1]}")
    if "before_id" in query:
        stop = ids.index(query["before_id"][-1])
        return max(0, stop - limit), stop
    start = ids.index(query["after_id"][-1]) + 1 if "after_id" in query else 0
    return start, min(len(ids), start + limit)
