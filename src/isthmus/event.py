"""One event of a stream, and the characters that come in halves over two of them."""

from __future__ import annotations

import re
from typing import Any, cast

from isthmus import wire
from isthmus.errors import GatewayError, broken, provider_error, quoted

_PLAIN_NAME = re.compile(rb"event: ([a-z_]+)[\r\n]+data: \{")
"""How nearly every frame begins; any other is read field by field."""
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


class Event:
    """One event of a stream: its wire bytes, decoded only when somebody looks.

    ``type`` is "" for frames that carry nothing but comments.
    """

    __slots__ = ("_data", "_type", "_value", "_wire")

    def __init__(self, frame: bytes | None = None, value: dict[str, Any] | None = None) -> None:
        self._wire = frame
        self._value = value
        self._type: str | None = None
        self._data = 0

    @property
    def wire(self) -> bytes:
        if self._wire is None:
            self._wire = wire.frame(wire.dumps(self._value), self.type)
        return self._wire

    @property
    def type(self) -> str:
        if self._type is None:
            self._type = self._read_type()
        return self._type

    def _read_type(self) -> str:
        if self._value is None and self._wire is not None:
            plain = _PLAIN_NAME.match(self._wire)
            if plain is not None:
                self._data = plain.end() - 1
                return plain[1].decode()
            name, data = wire.fields(self._wire)
            if name or not data:
                return name
        return str(self.value.get("type", ""))

    @property
    def value(self) -> dict[str, Any]:
        """The decoded event. Raises GatewayError when the data is no JSON object."""
        if self._value is None:
            frame, start = self._wire or b"", self._data
            # Nearly every frame has its data in one line, whose beginning is known with the name.
            plain = start and frame.find(b"\n", start) == len(frame) - 2 and b"\r" not in frame
            self._value = _decoded(frame[start:-2] if plain else wire.fields(frame)[1])
        return self._value

    @property
    def has_halves(self) -> bool:
        """Whether the data may hold half a character, as an escaped surrogate."""
        return self._wire is not None and _HALF.search(self._wire) is not None

    @property
    def unmended(self) -> dict[str, Any]:
        """The decoded event in which lone surrogates stay as they are."""
        if self._wire is None:
            return self.value
        _, data = wire.fields(self._wire)
        try:
            value = wire.loads_halves(data)
        except ValueError:
            return self.value
        return cast("dict[str, Any]", value) if isinstance(value, dict) else self.value

    def __repr__(self) -> str:
        return f"Event({self.wire!r})"


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        value = wire.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise broken(f"an event whose data is no JSON object: {quoted(data)}")
    return cast("dict[str, Any]", value)


def stream_error(event: Event) -> GatewayError:
    """The error that an ``error`` event reports."""
    return provider_error(event.value)


class Halves:
    """Joins a character whose two UTF-16 halves came as escapes in two deltas.

    A half at the end of a delta waits for the next one; a half that stays alone becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._held = ""
        self._name = ""
        self._last: dict[str, Any] = {}

    def joined(self, event: Event) -> list[Event]:
        kind = event.type
        if kind == "content_block_delta" and (self._held or event.has_halves):
            return self._grown(event)
        if kind == "content_block_stop" and self._held:
            return [self._delta("\ufffd"), event]
        return [event]

    def _grown(self, event: Event) -> list[Event]:
        """The delta without a half at its end; before another kind of delta the half is given up."""
        text = _text_of(event.unmended)
        alone = [self._delta("\ufffd")] if self._held and text[0] != self._name else []
        if not text[0]:
            return [*alone, event]
        self._name, self._last = text[0], event.value
        whole = self._held + text[1]
        held = whole[-1:] if "\ud800" <= whole[-1:] <= "\udbff" else ""
        units = whole.removesuffix(held).encode("utf-16-le", "surrogatepass")
        grown = self._delta(units.decode("utf-16-le", "replace"))
        self._held = held
        return [*alone, grown]

    def _delta(self, text: str) -> Event:
        self._held = ""
        return Event(value={**self._last, "delta": {**self._last["delta"], self._name: text}})


def _text_of(value: dict[str, Any]) -> tuple[str, str]:
    """The name and the text of the field that a delta makes grow; "" and "" if there is none."""
    delta = value.get("delta")
    for name in GROWING if isinstance(delta, dict) else ():
        text = delta.get(name) if isinstance(delta, dict) else None
        if isinstance(text, str):
            return name, text
    return "", ""


GROWING = ("text", "thinking", "partial_json")
"""The fields of a delta that are joined; citations are listed, and any other field replaces."""
