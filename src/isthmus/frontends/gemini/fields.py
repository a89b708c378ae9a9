"""Reads the API's own messages: camelCase and snake_case alike, types checked, the rest noted."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, cast

from isthmus.errors import refuse
from isthmus.request import Notes, expect

_LARGEST = 2**53
_SNAKE = re.compile(r"_+([a-zA-Z0-9])")


def camel(key: str) -> str:
    """The camelCase name of a key; Google's parser takes either form (protobuf's JSON mapping)."""
    return _SNAKE.sub(lambda match: match[1].upper(), key.lstrip("_"))


def joined(path: str, name: str | int) -> str:
    return f"{path}.{name}" if path else str(name)


class Fields:
    """The members of one API message under their camelCase names; null counts as absent.

    Never wrap what belongs to the user in it (arguments, responses, schemas' property names): there
    a key is a key. Raises GatewayError (400) for what is no object and for a member in both forms;
    members that are not in ``known`` are left out with a note.
    """

    def __init__(self, value: Any, path: str, known: Collection[str], notes: Notes) -> None:
        members = cast("dict[str, Any]", expect(value, dict, path, "an object"))
        self.at = path
        self._values: dict[str, Any] = {}
        self._keys: dict[str, str] = {}
        for key, member in members.items():
            name = camel(key)
            if name in self._keys:
                raise refuse(
                    joined(path, key), f"this member stands twice, also as {self._keys[name]}"
                )
            self._keys[name] = key
            if name not in known:
                notes.dropped(joined(path, key), "not known")
            elif member is not None:
                self._values[name] = member

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def path(self, name: str) -> str:
        """Where the member stands in the client's request, spelled as the client spells it."""
        return joined(self.at, self._keys.get(name, name))

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def string(self, name: str) -> str | None:
        return self._typed(name, str, "a string")

    def boolean(self, name: str) -> bool | None:
        return self._typed(name, bool, "a boolean")

    def number(self, name: str) -> float | None:
        return self._typed(name, (int, float), "a number")

    def integer(self, name: str) -> int | None:
        """A whole number; 40.0 is one, since SDKs hold some counts as floats."""
        value = self.number(name)
        if value is not None and (abs(value) > _LARGEST or value != int(value)):
            raise refuse(self.path(name), "expected a whole number within 2^53")
        return None if value is None else int(value)

    def object(self, name: str) -> dict[str, Any] | None:
        return self._typed(name, dict, "an object")

    def array(self, name: str) -> list[Any]:
        return self._typed(name, list, "an array") or []

    def items(self, name: str) -> list[tuple[str, Any]]:
        """The entries of a repeated message with their paths; one alone may stand without brackets.

        Google's documentation itself writes ``"parts": {"text": ...}``.
        """
        value, path = self._values.get(name), self.path(name)
        if isinstance(value, dict):
            return [(path, value)]
        rows = cast("list[Any]", expect([] if value is None else value, list, path, "an array"))
        return [(joined(path, index), row) for index, row in enumerate(rows)]

    def _typed(self, name: str, kind: type | tuple[type, ...], wanted: str) -> Any:
        value = self._values.get(name)
        return None if value is None else expect(value, kind, self.path(name), wanted)


def cache_control(fields: Fields) -> dict[str, Any] | None:
    """Anthropic's cache breakpoint, which a client may put on parts, tools and the root."""
    value = fields.object("cacheControl")
    if value is not None and value.get("type") != "ephemeral":
        raise refuse(joined(fields.path("cacheControl"), "type"), 'expected "ephemeral"')
    return value
