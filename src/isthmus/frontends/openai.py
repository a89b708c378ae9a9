"""The parameters that OpenAI's two dialects share, and the draft of a hub body that they fill.

Source: OpenAI's API reference (create chat completion, create a response); Anthropic's for what each
one becomes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from isthmus.errors import refuse
from isthmus.frontends import schema as schemas
from isthmus.frontends.parameters import Check, mapping, note_others, optional, required_text, text
from isthmus.request import Notes, expect


@dataclass(slots=True)
class Draft:
    """A hub body in the making; ``path`` is where the member being read stands."""

    hub: dict[str, Any]
    memory: dict[str, Any]
    notes: Notes = field(default_factory=Notes)
    path: str = ""


Read = Callable[[Draft, Any], None]
"""Reads one parameter into the draft. Raises GatewayError (400) that names the member at fault."""


def passing(name: str, check: Check) -> Read:
    """Reads a parameter that the hub has too, by this name."""

    def read(draft: Draft, value: Any) -> None:
        draft.hub[name] = check(value, draft.path)

    return read


def stream(draft: Draft, value: Any) -> None:
    draft.memory["stream"] = expect(value, bool, draft.path, "a boolean")


EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def effort(draft: Draft, value: Any, path: str, display: str) -> None:
    """An effort switches thinking on, "none" off; a ``thinking`` object, read before, decides itself."""
    if value not in EFFORTS:
        raise refuse(path, f"expected one of {', '.join(EFFORTS)}")
    if value == "none":
        if draft.hub.setdefault("thinking", {"type": "disabled"}) != {"type": "disabled"}:
            draft.notes.dropped(path, "thinking decides")
        return
    if value == "minimal":
        draft.notes.changed(path, "the lowest effort is low")
    draft.hub.setdefault("thinking", {"type": "adaptive", "display": display})
    draft.hub["output_config"] = {"effort": "low" if value == "minimal" else value}


def json_schema(draft: Draft, form: dict[str, Any], path: str) -> None:
    """Bind the answer to the schema of a ``json_schema`` format that stands at ``path``."""
    source = mapping(form.get("schema"), f"{path}.schema")
    optional(form, "strict", bool, path, "a boolean")
    said = optional(form, "description", str, path, "a string")
    schema, changed = schemas.compiled(source, f"{path}.schema")
    if changed:
        draft.notes.changed(f"{path}.schema", f"fitted to the answer grammar: {', '.join(changed)}")
    if said:
        schema = {**schema, "description": schema.get("description") or said}
    output = draft.hub.setdefault("output_config", {})
    output["format"] = {"type": "json_schema", "schema": schema}
    note_others(form, ("name", "description", "schema", "strict"), path, draft.notes)


_TIERS = {"auto": "auto", "default": "auto", "standard_only": "standard_only"}


def service_tier(draft: Draft, value: Any) -> None:
    tier = _TIERS.get(text(value, draft.path))
    if tier is None:
        draft.notes.dropped(draft.path, "Anthropic has auto and standard_only")
        return
    if tier != value:
        draft.notes.changed(draft.path, f"sent as {tier}")
    draft.hub["service_tier"] = tier


def metadata(draft: Draft, value: Any, reason: str = "only user_id can be sent") -> None:
    fields = mapping(value, draft.path)
    name = optional(fields, "user_id", str, draft.path, "a string")
    if name:
        draft.hub["metadata"] = {"user_id": name}
    note_others(fields, ("user_id",), draft.path, draft.notes, reason)


def user(draft: Draft, value: Any) -> None:
    """The end user by any of three names; the first that is given wins."""
    name = text(value, draft.path)
    if name and draft.hub.setdefault("metadata", {"user_id": name})["user_id"] != name:
        draft.notes.dropped(draft.path, "another name of the user counts")


def marked(draft: Draft, value: Any) -> None:
    """Anthropic's cache marker on the whole request."""
    mark = mapping(value, draft.path)
    required_text(mark, "type", draft.path)
    draft.hub["cache_control"] = mark
