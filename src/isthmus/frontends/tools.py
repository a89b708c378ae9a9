"""What the dialects' tools have in common: strictness, a choice among some, the search of the web.

Source: Anthropic's API reference (``tool_choice``) and its pages on strict tools, on prompt caching,
on preserved thinking and on the web search tool.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from isthmus.frontends import schema as schemas
from isthmus.frontends.parameters import note_others, optional
from isthmus.messages import Block
from isthmus.request import Notes

WEB_SEARCH: Block = {
    "type": "web_search_20260318",
    "name": "web_search",
    "allowed_callers": ["direct"],
}
"""Claude's search. Called by the model itself, every search is a call of its own with results that can
be cited; else the model would search from within code, which older models do not run."""

_PLACE = ("city", "region", "country", "timezone")


def make_strict(block: Block, path: str, notes: Notes) -> None:
    """Make of a declared tool, in place, one whose input is bound to its schema, where that can be.

    ``path`` is where the client's declaration stands, with the schema in ``parameters``.
    """
    strict = schemas.strict_form(block["input_schema"], f"{path}.parameters")
    if strict is None:
        notes.dropped(f"{path}.strict", "the schema goes beyond what strict tools may have")
    else:
        block |= {"input_schema": strict, "strict": True}


def limited(
    allowed: Iterable[str], offered: Iterable[str], path: str, notes: Notes, *, forced: bool
) -> Block:
    """The choice among some of the tools that are offered, all named as in the hub.

    Claude can be bound to all tools, to one or to none. Whatever lies between stays a note on
    ``path``: to leave tools out would change the prefix that caches and thinking are bound to.
    """
    names = list(dict.fromkeys(allowed))
    if not names:
        return {"type": "none"}
    if forced and len(names) == 1:
        return {"type": "tool", "name": names[0]}
    if not set(offered) <= set(names):
        notes.dropped(path, "Claude is bound to all tools, to one or to none: all stay on offer")
    return {"type": "any" if forced else "auto"}


def place(told: dict[str, Any], path: str, notes: Notes, beside: Collection[str] = ()) -> Block:
    """What the search is told of where the user is; nothing where ``told`` names no place.

    ``beside`` are members of ``told`` that were read elsewhere.
    """
    named = {name: optional(told, name, str, path, "a string") for name in _PLACE}
    known = {name: value for name, value in named.items() if value}
    note_others(told, (*beside, *_PLACE), path, notes)
    return {"user_location": {"type": "approximate", **known}} if known else {}
