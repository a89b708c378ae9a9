"""Free-form tools: what OpenAI's custom tools take as plain text travels as one string property.

Claude is offered ``{"input": string}``. ``Unwrapper`` gives a call's text back while its JSON arrives,
wherever the pieces are cut. Source: OpenAI's guide to function calling (custom tools); RFC 8259.
"""

from __future__ import annotations

import re
from typing import Any

PROPERTY = "input"

_OPENING = re.compile(rf'\s*\{{\s*"{PROPERTY}"\s*:\s*"')
_PLAIN = re.compile(r'[^"\\]+')
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNIT = re.compile(r"[0-9a-fA-F]{4}")
_LOST = "\ufffd"


def schema(grammar: str) -> dict[str, Any]:
    """The schema of a free-form tool; ``grammar`` is put into words since nothing can enforce it."""
    said = "The whole input of this tool, as plain text."
    if grammar:
        said += f" It must match this grammar:\n\n{grammar}"
    return {
        "type": "object",
        "properties": {PROPERTY: {"type": "string", "description": said}},
        "required": [PROPERTY],
        "additionalProperties": False,
    }


class Unwrapper:
    """Reads the JSON of one call as it grows and gives the text inside.

    A call whose JSON is no object that begins with the property is given as it is, so that nothing
    of it is lost.
    """

    def __init__(self) -> None:
        self._held = ""
        self._inside = self._raw = self._closed = False
        self._high = ""

    def feed(self, piece: str) -> str:
        """The text that this piece of JSON adds, which may be none yet."""
        self._held += piece
        if not self._inside and not self._raw:
            self._begin()
        if self._raw:
            held, self._held = self._held, ""
            return held
        return self._decoded() if self._inside and not self._closed else ""

    def finish(self) -> str:
        """What is left when the JSON ends: half a character, since a mere beginning says nothing."""
        return self._lost() if self._inside and not self._closed else ""

    def _begin(self) -> None:
        opening = _OPENING.match(self._held)
        if opening is not None:
            self._inside = True
            self._held = self._held[opening.end() :]
        else:
            self._raw = not _may_open(self._held) and not _is_empty(self._held)

    def _decoded(self) -> str:
        """Decode what is held as far as it is complete."""
        text, at, found = self._held, 0, list[str]()
        while at < len(text):
            plain = _PLAIN.match(text, at)
            if plain is not None:
                found += (self._lost(), plain[0])
                at = plain.end()
            elif text[at] == '"':
                found.append(self._lost())
                self._closed = True
                break
            else:
                end = at + (6 if text[at + 1 : at + 2] == "u" else 2)
                if end > len(text):
                    break
                found.append(self._escaped(text[at + 1 : end]))
                at = end
        self._held = text[at:]
        return "".join(found)

    def _escaped(self, escape: str) -> str:
        """The character of one escape, without its backslash; half of one waits for the other."""
        if escape[0] != "u":
            return self._lost() + _ESCAPES.get(escape, escape)
        if not _UNIT.fullmatch(escape, 1):
            return self._lost() + _LOST
        unit = chr(int(escape[1:], 16))
        if "\ud800" <= unit <= "\udbff":
            lost, self._high = self._lost(), unit
            return lost
        if "\udc00" <= unit <= "\udfff":
            if not self._high:
                return _LOST
            pair, self._high = self._high + unit, ""
            return pair.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        return self._lost() + unit

    def _lost(self) -> str:
        """What stands for half a character whose other half did not come."""
        lost, self._high = (_LOST if self._high else ""), ""
        return lost


_STEPS = (r"\s*", r"\{", r"\s*", *map(re.escape, f'"{PROPERTY}"'), r"\s*", ":", r"\s*", '"')
_BEGINNING = re.compile("".join(f"(?:{step}" for step in _STEPS) + ")?" * len(_STEPS))


def _may_open(text: str) -> bool:
    """Whether a text can still grow into the beginning of a wrapped call."""
    return _BEGINNING.fullmatch(text) is not None


def _is_empty(text: str) -> bool:
    return "".join(text.split()) in ("", "{}")
