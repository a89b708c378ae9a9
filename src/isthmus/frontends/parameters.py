"""What OpenAI's two dialects share in reading a body: its members, and the types of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus import wire
from isthmus.errors import refuse
from isthmus.request import Notes, expect

Check = Callable[[Any, str], Any]
"""Gives back a value that is right; raises GatewayError (400) that names its path where it is not."""

LEVELS = 200
"""How deeply a body may be nested: far beyond any use, and far from the end of the stack."""


def body_of(source: bytes, notes: Notes) -> dict[str, Any]:
    """The decoded body, lone surrogates mended with a note.

    Raises GatewayError (400) for what is no JSON object, a member that stands twice, and more than
    LEVELS levels, so that whatever walks the body later can do so by recursion.
    """
    repeated = wire.members(source).repeated
    if repeated:
        raise refuse(min(repeated), "this member stands twice in the body")
    body, repaired = wire.loads_repaired(source)
    if repaired:
        notes.changed("", "lone surrogates became U+FFFD")
    level: list[Any] = [body]
    for _ in range(LEVELS):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [child for items in inner for child in items if type(child) in (dict, list)]
        if not level:
            return body
    raise refuse("", f"the body has more than {LEVELS} levels")


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
