"""What OpenAI's two dialects share in reading a body: its members, and the types of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from isthmus import wire
from isthmus.errors import refuse
from isthmus.request import Notes, expect

Check = Callable[[Any, str], Any]
"""Gives back a value that is right; raises GatewayError (400) that names its path where it is not."""

UNKNOWN = "not known"
"""Why a member that nobody reads was dropped."""


def body_of(source: bytes, notes: Notes) -> dict[str, Any]:
    """The decoded body, lone surrogates mended with a note.

    Raises GatewayError (400) for what is no JSON object, a member that stands twice, and more than
    ``wire.LEVELS`` levels, so that whatever walks the body later can do so by recursion.
    """
    repeated = wire.members(source).repeated
    if repeated:
        raise refuse(min(repeated), "this member stands twice in the body")
    body, repaired = wire.loads_repaired(source)
    if repaired:
        notes.changed("", "lone surrogates became U+FFFD")
    if wire.is_deep(body):
        raise refuse("", f"the body has more than {wire.LEVELS} levels")
    return body


def number(low: float, high: float) -> Check:
    """A number in a range, its ends included."""

    def check(value: Any, path: str) -> Any:
        wanted = f"a number from {low:g} to {high:g}"
        if not low <= expect(value, (int, float), path, wanted) <= high:
            raise refuse(path, f"expected {wanted}, got {value}")
        return value

    return check


def count(low: int) -> Check:
    """A whole number from ``low``."""

    def check(value: Any, path: str) -> int:
        if expect(value, int, path, "a whole number") < low:
            raise refuse(path, f"must be at least {low}")
        return value

    return check


def text(value: Any, path: str) -> str:
    return expect(value, str, path, "a string")


def mapping(value: Any, path: str) -> dict[str, Any]:
    return expect(value, dict, path, "an object")


def required_text(owner: dict[str, Any], name: str, path: str) -> str:
    """A member that must be a string with at least one character."""
    text = cast("str", expect(owner.get(name), str, f"{path}.{name}", "a string"))
    if not text:
        raise refuse(f"{path}.{name}", "must not be empty")
    return text


def optional(owner: dict[str, Any], name: str, kind: type, path: str, wanted: str) -> Any:
    """A member that may be absent or null, and then is None."""
    value = owner.get(name)
    at = f"{path}.{name}" if path else name
    return None if value is None else expect(value, kind, at, wanted)


def cache_control(owner: dict[str, Any], path: str) -> dict[str, Any] | None:
    """Anthropic's cache marker on a part, message, tool or request; its inside is the provider's."""
    mark = optional(owner, "cache_control", dict, path, "an object")
    if mark is not None:
        required_text(mark, "type", f"{path}.cache_control")
    return mark


def note_others(
    owner: dict[str, Any], known: Sequence[str], path: str, notes: Notes, reason: str = UNKNOWN
) -> None:
    """Say of every other member that it was dropped; empty ones are not worth a note."""
    for name, value in owner.items():
        if name not in known and value not in (None, "", [], {}):
            notes.dropped(f"{path}.{name}", reason)
