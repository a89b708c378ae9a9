"""What a body says of thinking, as one model accepts it: its kind, its budget, its effort.

Part of ``adapt``. Source of the rules: Anthropic's pages on extended and adaptive thinking, on effort
and on context editing.
"""

from __future__ import annotations

from typing import Any, cast

from isthmus.messages import Block
from isthmus.profiles import EFFORTS, Profile
from isthmus.request import Body, Notes

BUDGETS = {"low": 2_000, "medium": 8_000, "high": 16_000, "xhigh": 24_000, "max": 32_000}
"""Thinking budget in tokens for each effort, for models that know budgets only."""
BUDGET_EFFORTS = ((2_000, "low"), (8_000, "medium"), (24_000, "high"))
"""The effort that a budget below so many tokens stands for; any other is ``xhigh``."""
MIN_BUDGET = 1024
THINKING = ("thinking", "redacted_thinking")


def kind(body: Body, profile: Profile, notes: Notes) -> None:
    """`thinking` becomes the nearest kind that the model has; a budget fits below `max_tokens`."""
    thinking = body.peek("thinking")
    if not isinstance(thinking, dict):
        return
    asked = cast("dict[str, Any]", thinking)
    kind = asked.get("type")
    if kind not in _SUBSTITUTES:
        return
    if kind not in profile.thinking:
        substitute = next((s for s in _SUBSTITUTES[kind] if s in profile.thinking), None)
        _substitute(body, asked, substitute, profile, notes)
    if (body.peek("thinking") or {}).get("type") == "enabled":
        _fit_budget(body, notes)


_SUBSTITUTES = {
    "enabled": ("adaptive",),
    "adaptive": ("enabled",),
    "disabled": ("between_tools",),
    "between_tools": ("disabled", "adaptive"),
}
"""What comes nearest to a kind of thinking that the model does not have, best first."""


def _substitute(
    body: Body, asked: dict[str, Any], kind: str | None, profile: Profile, notes: Notes
) -> None:
    """Put another kind of thinking in place, and say in effort or budget what the first kind said."""
    if kind is None:
        body.drop("thinking")
        if asked["type"] != "disabled" or profile.thinking_default != "off":
            notes.dropped("thinking", f"{profile.id} has no {asked['type']} thinking")
        return
    notes.changed("thinking", f"{profile.id} has no {asked['type']} thinking: {kind} in its place")
    value: dict[str, Any] = {"type": kind}
    if kind in ("enabled", "adaptive") and "display" in asked:
        value["display"] = asked["display"]
    output = dict(body.peek("output_config") or {})
    if kind == "enabled":
        value["budget_tokens"] = BUDGETS.get(output.get("effort", ""), BUDGETS["high"])
    elif asked["type"] == "enabled" and "effort" not in output and profile.efforts:
        output["effort"] = effort_of(asked.get("budget_tokens"))
        body.edit("output_config", output)
    body.edit("thinking", value)


def effort_of(budget: Any) -> str:
    """The effort that comes nearest to a budget in tokens; that of any other value is ``high``'s."""
    tokens = budget if isinstance(budget, int) else BUDGETS["high"]
    return next((effort for limit, effort in BUDGET_EFFORTS if tokens < limit), "xhigh")


def _fit_budget(body: Body, notes: Notes) -> None:
    """A budget is at least 1,024 tokens and below ``max_tokens``; manual thinking has more conditions."""
    thinking = cast("dict[str, Any]", body.peek("thinking"))
    reason = _why_not_manual(body)
    if reason is not None:
        body.drop("thinking")
        notes.dropped("thinking", reason)
        return
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        return
    limit = body.peek("max_tokens")
    fitted = max(MIN_BUDGET, min(budget, limit - 1) if isinstance(limit, int) else budget)
    if fitted != budget:
        body.edit("thinking", {**thinking, "budget_tokens": fitted})
        notes.changed("thinking.budget_tokens", f"{fitted} fits between 1024 and max_tokens")


def _why_not_manual(body: Body) -> str | None:
    limit = body.peek("max_tokens")
    if isinstance(limit, int) and limit <= MIN_BUDGET:
        return f"max_tokens {limit} leaves no room for a budget of {MIN_BUDGET}"
    if (body.peek("tool_choice") or {}).get("type") in ("any", "tool"):
        return "a forced tool excludes thinking with a budget"
    if continues(body):
        return "an assistant message at the end excludes thinking with a budget"
    if _loop_lacks_thinking(body.peek("messages") or []):
        return "the tool call being answered came without its thinking"
    return None


def _loop_lacks_thinking(turns: list[dict[str, Any]]) -> bool:
    """Whether the last turn answers tools whose own turn does not begin with thinking."""
    if len(turns) < 2 or turns[-2].get("role") != "assistant":
        return False
    return _answers(turns[-1]) and not _begins_with_thinking(turns[-2])


def loop(body: Body, profile: Profile, notes: Notes) -> None:
    """The call that is being answered loses its thinking where thinking is off.

    Models with manual thinking refuse to have it switched off in the middle of a tool loop.
    """
    turns = cast("list[dict[str, Any]]", body.peek("messages") or [])
    if "enabled" not in profile.thinking or thinks(body, profile) or len(turns) < 2:
        return
    *early, call, answer = turns
    if call.get("role") == "assistant" and _answers(answer) and _begins_with_thinking(call):
        kept = [block for block in _blocks(call) if block.get("type") not in THINKING]
        body.edit("messages", [*early, {**call, "content": kept}, answer])
        notes.dropped("messages", "thinking is off: that of the call being answered was left out")


def _answers(turn: dict[str, Any]) -> bool:
    """Whether a turn holds results of tools."""
    return any(block.get("type") == "tool_result" for block in _blocks(turn))


def _begins_with_thinking(turn: dict[str, Any]) -> bool:
    return any(block.get("type") in THINKING for block in _blocks(turn)[:1])


def _blocks(turn: dict[str, Any]) -> list[Block]:
    content = turn.get("content")
    items = cast("list[Any]", content) if isinstance(content, list) else []
    return [item for item in items if isinstance(item, dict)]


def edits(body: Body, profile: Profile, notes: Notes) -> None:
    """`context_management` loses the edit that clears thinking where there is none."""
    management = body.peek("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    kind = (body.peek("thinking") or {}).get("type")
    off = kind == "disabled" or (kind is None and profile.thinking_default == "off")
    if not off or not isinstance(edits, list):
        return
    kept = [edit for edit in edits if not _clears_thinking(edit)]
    if len(kept) == len(edits):
        return
    notes.dropped("context_management", "there is no thinking to be cleared")
    if kept:
        body.edit("context_management", {**cast("dict[str, Any]", management), "edits": kept})
    else:
        body.drop("context_management")


def _clears_thinking(edit: Any) -> bool:
    return isinstance(edit, dict) and str(edit.get("type")).startswith("clear_thinking_")


def effort(body: Body, profile: Profile, notes: Notes) -> None:
    """`output_config.effort` becomes the nearest level that the model has, or goes."""
    output = body.peek("output_config")
    if not isinstance(output, dict) or "effort" not in output:
        return
    fields = cast("dict[str, Any]", output)
    asked = fields["effort"]
    if asked not in EFFORTS:
        return
    if not profile.efforts:
        rest = {k: v for k, v in fields.items() if k != "effort"}
        body.edit("output_config", rest) if rest else body.drop("output_config")
        if (body.peek("thinking") or {}).get("type") != "enabled":
            notes.dropped("output_config.effort", f"{profile.id} has no effort levels")
        return
    allowed = profile.efforts
    off = (body.peek("thinking") or {}).get("type") in ("disabled", "between_tools")
    if off and profile.thinking_off_effort:
        allowed = allowed[: allowed.index(profile.thinking_off_effort) + 1]
    if asked not in allowed:
        below = [level for level in allowed if EFFORTS.index(level) < EFFORTS.index(asked)]
        nearest = below[-1] if below else allowed[0]
        body.edit("output_config", {**fields, "effort": nearest})
        notes.changed("output_config.effort", f"{profile.id} takes {nearest} at most here")


def thinks(body: Body, profile: Profile) -> bool:
    kind = (body.peek("thinking") or {}).get("type")
    return kind in ("enabled", "adaptive") or (kind is None and profile.thinking_default != "off")


def continues(body: Body) -> bool:
    """Whether the model is to go on from an assistant message (prefill)."""
    turns = body.peek("messages")
    return bool(turns) and turns[-1]["role"] == "assistant"
