"""JSON that stops in the middle: the value of what is complete so far.

The official SDK reads a cut tool call in the same way: a string, key or word that is not finished is left out, objects
and lists are closed, a number stands as far as it goes.
"""

from __future__ import annotations

import json
import re
from typing import Any

SPACE = re.compile(r"[ \t\r\n]*")
NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


class _End(Exception):
    """The text ended inside a value."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        self.at = SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        if self.at >= len(self.text):
            raise _End
        return self.text[self.at]

    def value(self) -> Any:
        first = self.peek()
        if first == "{":
            return self.mapping()
        if first == "[":
            return self.array()
        if first == '"':
            return self.string()
        for word, value in WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        return self.number()

    def number(self) -> Any:
        match = NUMBER.match(self.text, self.at)
        if match is None or self.text[match.end() : match.end() + 1] in (".", "e", "E"):
            raise _End
        self.at = match.end()
        return json.loads(match.group())

    def string(self) -> str:
        try:
            value, self.at = json.decoder.scanstring(self.text, self.at + 1)  # type: ignore[attr-defined]
        except json.JSONDecodeError:
            raise _End from None
        return str(value)

    def mapping(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        try:
            while self.peek() != "}":
                if self.text[self.at] == ",":
                    self.at += 1
                    self.peek()
                key = self.string()
                self.peek()
                self.at += 1
                found[key] = self.value()
        except _End:
            self.at = len(self.text)
            return found
        self.at += 1
        return found

    def array(self) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        try:
            while self.peek() != "]":
                if self.text[self.at] == ",":
                    self.at += 1
                found.append(self.value())
        except _End:
            self.at = len(self.text)
            return found
        self.at += 1
        return found


def closed(text: str) -> Any:
    """The value of a JSON text that may be cut anywhere; an empty one means `{}`."""
    nothing: dict[str, Any] = {}
    try:
        return _Reader(text).value()
    except _End:
        return nothing
