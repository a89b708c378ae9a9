"""Makes of a Messages body what one model accepts, as its profile says, with a note on each change.

Used where the gateway itself built the body or chose the model. Each rule reads the profile alone.
Source of the rules: Anthropic's Messages API reference, the pages on extended and adaptive thinking,
effort, tool use and prompt caching, and the migration guides.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, cast

from isthmus import thinking
from isthmus.errors import refuse
from isthmus.messages import Block
from isthmus.profiles import Profile
from isthmus.request import Body, Notes

BREAKPOINTS = 4


def adapt(body: Body, profile: Profile, notes: Notes) -> None:
    """Edit the body in place so that the profile's model accepts it.

    The body must have passed ``request.check_shapes``.
    """
    for rule in RULES:
        rule(body, profile, notes)


# --- limits -------------------------------------------------------------------------------------


def _max_tokens(body: Body, profile: Profile, notes: Notes) -> None:
    """`max_tokens` is what the model writes at most, where it is absent or above that."""
    asked = body.peek("max_tokens")
    if asked is None:
        body.edit("max_tokens", profile.max_output)
    elif isinstance(asked, int) and asked > profile.max_output:
        body.edit("max_tokens", profile.max_output)
        notes.changed("max_tokens", f"{profile.id} writes at most {profile.max_output} tokens")


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
    elif fields.get("type") in ("any", "tool") and (
        not profile.forced_tools or thinking.continues(body)
    ):
        rest = {k: v for k, v in fields.items() if k == "disable_parallel_tool_use"}
        body.edit("tool_choice", {"type": "auto", **rest})
        who = f"{profile.id} cannot be forced to use a tool"
        why = f"{who} after an assistant message" if profile.forced_tools else who
        notes.changed("tool_choice", f"{why}: auto")


def refuse_continuation(body: Body, profile: Profile) -> None:
    """Raises GatewayError (400) for an assistant message at the end that the model cannot go on from.

    For bodies that we built: a Claude client is told so by the provider, in words that it knows.
    """
    if not thinking.continues(body):
        return
    if not profile.prefill:
        raise refuse(
            "messages", f"{profile.id} continues no assistant message: end with one of the user"
        )
    if "format" in (body.peek("output_config") or {}):
        raise refuse("output_config.format", "not together with an assistant message at the end")


def close_turn(body: Body, profile: Profile, notes: Notes) -> None:
    """Put a user turn of one character behind a final assistant message that the model cannot go on from.

    For bodies that are only counted: clients count what they hold, whoever spoke last.
    """
    if not profile.prefill and thinking.continues(body):
        body.edit("messages", [*body.peek("messages"), {"role": "user", "content": "."}])
        notes.changed("messages", f'{profile.id} counts no answer alone: a user\'s "." follows it')


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
    if thinking.thinks(body, profile):
        _drop_sampling(body, "temperature", "not together with thinking", notes)
        _drop_sampling(body, "top_k", "not together with thinking", notes)
        top_p = body.peek("top_p")
        if isinstance(top_p, int | float) and not 0.95 <= top_p <= 1:
            _drop_sampling(body, "top_p", "with thinking only 0.95 to 1", notes)
    if profile.sampling == "one" and "temperature" in body:
        _drop_sampling(body, "top_p", f"{profile.id} takes temperature or top_p, not both", notes)


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
    thinking.kind,
    thinking.loop,
    thinking.edits,
    thinking.effort,
    _sampling,
    _speed,
    _stop_sequences,
    _geography,
    _breakpoints,
)
"""In this order: all look at the turns as they will be; budgets depend on limits and tool choice,
effort and sampling on thinking.
"""
