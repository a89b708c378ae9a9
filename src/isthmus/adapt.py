"""Makes of a Messages body what one model accepts, as its profile says, with a note on each change.

Used where the gateway itself built the body or chose the model. Each rule reads the profile alone.
Source of the rules: Anthropic's Messages API reference, the pages on extended and adaptive thinking,
effort, tool use and prompt caching, and the migration guides.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, cast

from isthmus.errors import refuse
from isthmus.messages import Block
from isthmus.profiles import EFFORTS, Profile
from isthmus.request import Body, Notes

BUDGETS = {"low": 2_000, "medium": 8_000, "high": 16_000, "xhigh": 24_000, "max": 32_000}
"""Thinking budget in tokens for each effort, for models that know budgets only."""
BUDGET_EFFORTS = ((2_000, "low"), (8_000, "medium"), (24_000, "high"))
"""The effort that a budget below so many tokens stands for; any other is ``xhigh``."""
MIN_BUDGET = 1024
BREAKPOINTS = 4


def adapt(body: Body, profile: Profile, notes: Notes) -> None:
    """Edit the body in place so that the profile's model accepts it.

    The body must have passed ``request.check_shapes``.
    """
    for rule in RULES:
        rule(body, profile, notes)


# --- limits and thinking ------------------------------------------------------------------------


def _max_tokens(body: Body, profile: Profile, notes: Notes) -> None:
    """`max_tokens` is what the model writes at most, where it is absent or above that."""
    asked = body.peek("max_tokens")
    if asked is None:
        body.edit("max_tokens", profile.max_output)
    elif isinstance(asked, int) and asked > profile.max_output:
        body.edit("max_tokens", profile.max_output)
        notes.changed("max_tokens", f"{profile.id} writes at most {profile.max_output} tokens")


def _thinking(body: Body, profile: Profile, notes: Notes) -> None:
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
        output["effort"] = _effort_of(asked.get("budget_tokens"))
        body.edit("output_config", output)
    body.edit("thinking", value)


def _effort_of(budget: Any) -> str:
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
    if _continues(body):
        return "an assistant message at the end excludes thinking with a budget"
    if _loop_lacks_thinking(body.peek("messages") or []):
        return "the tool call being answered came without its thinking"
    return None


def _continues(body: Body) -> bool:
    """Whether the model is to go on from an assistant message (prefill)."""
    turns = body.peek("messages")
    return bool(turns) and turns[-1]["role"] == "assistant"


def _loop_lacks_thinking(turns: list[dict[str, Any]]) -> bool:
    """Whether the last turn answers tools whose own turn does not begin with thinking."""
    if len(turns) < 2 or turns[-2].get("role") != "assistant":
        return False
    answers = any(block.get("type") == "tool_result" for block in _blocks(turns[-1]))
    began = [block.get("type") for block in _blocks(turns[-2])][:1]
    return answers and began not in (["thinking"], ["redacted_thinking"])


def _blocks(turn: dict[str, Any]) -> list[Block]:
    content = turn.get("content")
    items = cast("list[Any]", content) if isinstance(content, list) else []
    return [item for item in items if isinstance(item, dict)]


def _edits(body: Body, profile: Profile, notes: Notes) -> None:
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


def _effort(body: Body, profile: Profile, notes: Notes) -> None:
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


# --- tools, sampling, stop sequences ------------------------------------------------------------


def _tool_choice(body: Body, profile: Profile, notes: Notes) -> None:
    """`tool_choice` becomes `auto` where the model cannot be forced, and goes without tools."""
    choice = body.peek("tool_choice")
    if not isinstance(choice, dict):
        return
    fields = cast("dict[str, Any]", choice)
    if not body.peek("tools"):
        body.drop("tool_choice")
        notes.dropped("tool_choice", "there are no tools to choose from")
    elif fields.get("type") in ("any", "tool") and (not profile.forced_tools or _continues(body)):
        rest = {k: v for k, v in fields.items() if k == "disable_parallel_tool_use"}
        body.edit("tool_choice", {"type": "auto", **rest})
        who = f"{profile.id} cannot be forced to use a tool"
        why = f"{who} after an assistant message" if profile.forced_tools else who
        notes.changed("tool_choice", f"{why}: auto")


def refuse_continuation(body: Body, profile: Profile) -> None:
    """Raises GatewayError (400) for an assistant message at the end that the model cannot go on from.

    For bodies that we built: a Claude client is told so by the provider, in words that it knows.
    """
    if not _continues(body):
        return
    if not profile.prefill:
        raise refuse(
            "messages", f"{profile.id} continues no assistant message: end with one of the user"
        )
    if "format" in (body.peek("output_config") or {}):
        raise refuse("output_config.format", "not together with an assistant message at the end")


def _sampling(body: Body, profile: Profile, notes: Notes) -> None:
    """`temperature` is 1 at most; it, `top_p` and `top_k` go where they are refused."""
    temperature = body.peek("temperature")
    if isinstance(temperature, int | float) and temperature > 1:
        body.edit("temperature", 1.0)
        notes.changed("temperature", "the highest is 1")
    if profile.sampling == "default":
        for name in ("temperature", "top_p", "top_k"):
            _drop_sampling(body, name, f"{profile.id} takes no sampling values", notes)
        return
    if _thinks(body, profile):
        _drop_sampling(body, "temperature", "not together with thinking", notes)
        _drop_sampling(body, "top_k", "not together with thinking", notes)
        top_p = body.peek("top_p")
        if isinstance(top_p, int | float) and not 0.95 <= top_p <= 1:
            _drop_sampling(body, "top_p", "with thinking only 0.95 to 1", notes)
    if profile.sampling == "one" and "temperature" in body:
        _drop_sampling(body, "top_p", f"{profile.id} takes temperature or top_p, not both", notes)


def _thinks(body: Body, profile: Profile) -> bool:
    kind = (body.peek("thinking") or {}).get("type")
    return kind in ("enabled", "adaptive") or (kind is None and profile.thinking_default != "off")


def _drop_sampling(body: Body, name: str, reason: str, notes: Notes) -> None:
    """Leave a value out; that it was the default already is not worth a note."""
    if name not in body:
        return
    if name == "top_k" or body.peek(name) != 1:
        notes.dropped(name, reason)
    body.drop(name)


def _geography(body: Body, profile: Profile, notes: Notes) -> None:
    """`inference_geo` goes where the model does not take it."""
    if "inference_geo" in body and not profile.geography:
        body.drop("inference_geo")
        notes.dropped("inference_geo", f"{profile.id} does not say where it runs")


def _speed(body: Body, profile: Profile, notes: Notes) -> None:
    """`speed: fast` goes where the model has no fast mode."""
    if body.peek("speed") == "fast" and not profile.fast:
        body.drop("speed")
        notes.dropped("speed", f"{profile.id} has no fast mode")


def _stop_sequences(body: Body, profile: Profile, notes: Notes) -> None:
    """`stop_sequences` lose those without a visible character."""
    asked = body.peek("stop_sequences")
    if not isinstance(asked, list):
        return
    texts = cast("list[Any]", asked)
    kept = [text for text in texts if not isinstance(text, str) or text.strip()]
    if len(kept) < len(texts):
        notes.dropped("stop_sequences", "a sequence without a visible character is not accepted")
        body.edit("stop_sequences", kept) if kept else body.drop("stop_sequences")


# --- cache breakpoints and system turns ---------------------------------------------------------


def _breakpoints(body: Body, profile: Profile, notes: Notes) -> None:
    """`cache_control` stays on the latest blocks, four at most."""
    allowed = BREAKPOINTS - ("cache_control" in body)
    early, late = _marked(body)
    if len(early) + len(late) <= allowed:
        return
    value = {name: copy.deepcopy(body.peek(name)) for name in _CACHED if name in body}
    for name, members in value.items():
        body.edit(name, members)
    early, late = _marked(body)
    kept_early = early[-(allowed - 1) :] if late else early[-allowed:]
    kept = [*kept_early, *late[max(0, len(late) - allowed + len(kept_early)) :]]
    for block in (*early, *late):
        if not any(block is other for other in kept):
            del block["cache_control"]
    notes.dropped("cache_control", f"at most {BREAKPOINTS} breakpoints: the earliest ones went")


_CACHED = ("tools", "system", "messages")


def _marked(body: Body) -> tuple[list[Block], list[Block]]:
    """The blocks with a breakpoint: those of tools and system, and those of the messages."""
    early = [*_walk(body.peek("tools")), *_walk(body.peek("system"))]
    late = [b for turn in body.peek("messages") or [] for b in _walk(turn.get("content"))]
    return [b for b in early if b.get("cache_control")], [b for b in late if b.get("cache_control")]


def _walk(blocks: Any) -> Iterator[Block]:
    for block in cast("list[Any]", blocks) if isinstance(blocks, list) else ():
        if isinstance(block, dict):
            yield cast("Block", block)
            yield from _walk(cast("Block", block).get("content"))


def _system_turns(body: Body, profile: Profile, notes: Notes) -> None:
    """A `system` turn stays where the model knows the role and it follows a user turn.

    Anywhere else it becomes user text at the same place: hoisting it would change its meaning, the
    cached prefix, and the thinking that is bound to that prefix.

    At the very end it is a `system` turn too. Where no answer then follows it, because the client broke
    it off or had nothing of it to send back, it becomes user text after all: the API takes no user turn
    behind a `system` one. The cache then misses from there on; no thinking stands behind it.
    """
    turns = cast("list[dict[str, Any]]", body.peek("messages") or [])
    if not any(turn.get("role") == "system" for turn in turns):
        return
    kept: list[dict[str, Any]] = []
    for index, turn in enumerate(turns):
        after = turns[index + 1]["role"] if index + 1 < len(turns) else "assistant"
        before = kept[-1]["role"] if kept else None
        if turn["role"] == "system" and not (
            profile.system_turns and before == "user" and after == "assistant"
        ):
            notes.changed("messages", f"a system message at {index} was sent as user text")
            said: dict[str, Any] = {"role": "user", "content": _reminder(turn)}
            for name in turn.keys() - {"role", "content"}:
                notes.dropped(f"messages.{index}.{name}", "user turns have nothing like it")
        else:
            said = turn
        if said["role"] == before == "user":
            kept[-1] = {**kept[-1], "content": [*_content(kept[-1]), *_content(said)]}
        else:
            kept.append(said)
    body.edit("messages", kept)


def _reminder(turn: dict[str, Any]) -> list[Block]:
    return [
        {**block, "text": f"<system-reminder>\n{block['text']}\n</system-reminder>"}
        if block.get("type") == "text"
        else block
        for block in _content(turn)
    ]


def _content(turn: dict[str, Any]) -> list[Block]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


RULES = (
    _system_turns,
    _max_tokens,
    _tool_choice,
    _thinking,
    _edits,
    _effort,
    _sampling,
    _speed,
    _stop_sequences,
    _geography,
    _breakpoints,
)
"""In this order: all look at the turns as they will be; budgets depend on limits and tool choice,
effort and sampling on thinking.
"""
