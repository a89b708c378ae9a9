"""Rewrites: rules that turn the model a client asks for into another selector.

Their patterns are RE2's, which matches in time linear in the text: neither what an operator wrote nor
what a client sends can stall the gateway. Source of the syntax: RE2's page "Syntax".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import re2

LONGEST_PATTERN = 1_000
LONGEST_NAME = 2_000
"""Characters; a name beyond that is no selector either, so no rule is asked about it."""
MOST_MEMORY = 1 << 20
"""Bytes that a compiled pattern may take, with what it remembers while it matches."""

_LACKING = (
    (re.compile(r"\(\?<?[=!]"), "lookahead and no lookbehind"),
    (re.compile(r"\\[1-9]|\(\?P$"), "references back to a group"),
)
"""What RE2 complains of, and what it means to those who know other kinds of patterns."""

_REFERENCE = re.compile(r"\\([0-9\\])")
_COMPOSITE = re.compile(r"[|^!]|hybrid:\[")

Template = tuple[str | int, ...]
"""A replacement in pieces: text, and the numbers of groups."""


class Rewritten(NamedTuple):
    """What a name was rewritten to, and the query behind the name, whose parameters win over those of
    ``text``. ``place`` is that of the row which said so (from 0); None where ``text`` is what was asked.
    """

    text: str
    query: str
    place: int | None


class Rules:
    """Ordered rows of pattern and replacement; the first whose pattern matches the whole name counts."""

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        """Raises ValueError for a row that ``compiled`` or ``template`` refuses."""
        self._rows: list[tuple[Any, Template]] = []
        for pattern, replacement in rows:
            found = compiled(pattern)
            self._rows.append((found, template(replacement, found.groups)))

    def rewritten(self, text: str) -> Rewritten:
        """What stands for ``text`` now.

        A leaf is matched up to the ``?`` of its parameters; a composite selector is matched as it is
        written. What holds a character that cannot be printed matches nothing.
        """
        if not self._rows or len(text) > LONGEST_NAME or not text.isprintable():
            return Rewritten(text, "", None)
        name, _, query = (text, "", "") if _COMPOSITE.search(text) else text.partition("?")
        for place, (pattern, pieces) in enumerate(self._rows):
            match = pattern.fullmatch(name)
            if match:
                new = "".join(p if isinstance(p, str) else match[p] or "" for p in pieces)
                return Rewritten(new, query, place)
        return Rewritten(text, "", None)


def compiled(pattern: str) -> Any:
    """The pattern as RE2 reads it. Raises ValueError that tells why it is none."""
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"must have {LONGEST_PATTERN:,} characters at most")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MOST_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace")
    except UnicodeEncodeError:
        reason = "half a surrogate pair"
    lacking = next((what for sign, what in _LACKING if sign.search(reason)), None)
    said = reason.partition(": ")[2] or reason
    raise ValueError(f"RE2 has no {lacking}: {said}" if lacking else f"is no pattern: {reason}")


def template(replacement: str, groups: int) -> Template:
    r"""The pieces of a replacement: ``\1`` to ``\9`` are groups, ``\0`` the whole name, ``\\`` a backslash.

    Raises ValueError for another character behind a backslash, and for a group above ``groups``.
    """
    pieces: list[str | int] = []
    for number, piece in enumerate(_REFERENCE.split(replacement)):
        if number % 2 == 0 and "\\" in piece:
            raise ValueError(r"behind a backslash stands the number of a group, or a backslash")
        if number % 2 == 0 or piece == "\\":
            pieces.append(piece)
        elif int(piece) > groups:
            has = {0: "no groups", 1: "1 group"}.get(groups, f"{groups} groups")
            raise ValueError(f"there is no group \\{piece}: the pattern has {has}")
        else:
            pieces.append(int(piece))
    return tuple(piece for piece in pieces if piece != "")
