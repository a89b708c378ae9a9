"""Bytes and values: JSON with its edge cases, server-sent events both ways, data URLs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import msgspec

from isthmus.errors import GatewayError, refuse

# --- JSON ---------------------------------------------------------------------------------------

_decode = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_KEY = re.compile(rb'\s*"([^"\\]*+)"\s*:\s*')
_NEXT = re.compile(rb'\s*,\s*"([^"\\]*+)"\s*:\s*')
"""A member's name without escapes and what is between it and its value."""
_BLANK = re.compile(rb"[ \t\r\n]*")
_START = re.compile(rb"\s*\{")
_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON in the order of the dicts, so that equal values are equal bytes."""
    return _encode(value)


def canonical(value: Any) -> bytes:
    """JSON in which the order of members makes no difference."""
    return _encode_sorted(value)


def loads(text: bytes | str) -> Any:
    """Decode JSON that a provider sent; lone surrogates become U+FFFD.

    Raises ValueError for anything that is not JSON.
    """
    try:
        return _decode(text)
    except _REFUSALS as error:
        return _repaired_or_refused(text, error)


def loads_repaired(text: bytes) -> tuple[Any, bool]:
    """Decode a client's JSON; lone surrogates become U+FFFD, and the flag says that some did.

    Raises GatewayError (400) with the place of the first mistake.
    """
    try:
        return _decode(text), False
    except _REFUSALS as error:
        try:
            return _repaired_or_refused(text, error), True
        except ValueError as wrong:
            raise refuse("", f"the body is not valid JSON: {wrong}") from None


def _repaired_or_refused(text: bytes | str, error: Exception) -> Any:
    """What msgspec refuses though JSON allows it (escaped lone surrogates), mended; else ValueError."""
    try:
        value = loads_halves(text)
        mended = _repaired(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if isinstance(error, RecursionError) or mended == value:
        raise ValueError(f"it cannot be read: {error}")
    return mended


def loads_halves(text: bytes | str) -> Any:
    """Decode JSON whose strings may hold lone surrogates, and keep them. Raises ValueError."""
    try:
        source = text.decode() if isinstance(text, bytes) else text
        return json.loads(source, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError as wrong:
        raise ValueError(f"byte {wrong.start} is not UTF-8") from None
    except json.JSONDecodeError as wrong:
        raise ValueError(f"{wrong.msg} (line {wrong.lineno}, column {wrong.colno})") from None
    except ValueError as wrong:
        if "int_max_str_digits" in str(wrong):
            raise ValueError("a whole number has too many digits") from None
        raise


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:20]} is out of range")
    return value


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_repaired(k): _repaired(v) for k, v in value.items()}  # pyright: ignore
    return [_repaired(item) for item in value] if isinstance(value, list) else value  # pyright: ignore


LEVELS = 200
"""How deeply a client's value may be nested: far beyond any use, and far from the end of the stack."""


def is_deep(value: Any) -> bool:
    """Whether a value has more than LEVELS levels of objects and arrays."""
    level: list[Any] = [value]
    for _ in range(LEVELS):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [child for items in inner for child in items if type(child) in (dict, list)]
        if not level:
            return False
    return True


def opening(text: bytes) -> tuple[bytes, int]:
    """The text of the first item of a JSON array, and how many there are; b"" and 0 for anything else."""
    try:
        items = _decode_items(text)
    except _REFUSALS:
        return b"", 0
    return (bytes(items[0]), len(items)) if items else (b"", 0)


def items(text: bytes) -> list[tuple[int, int]]:
    """Where the items of a JSON array begin and end in its text; [] for anything else.

    Raises GatewayError (400) for what is no JSON that can be read.
    """
    try:
        values = _decode_items(text)
    except msgspec.ValidationError:
        return []
    except _REFUSALS:
        raise refuse("", "an array that cannot be read") from None
    found: list[tuple[int, int]] = []
    position = text.index(b"[") + 1
    for value in values:
        start = blank_end(text, position)
        found.append((start, start + len(memoryview(value))))
        position = blank_end(text, found[-1][1]) + 1
    return found


def blank_end(text: bytes, position: int) -> int:
    """The position behind the white space that begins at this one."""
    match = _BLANK.match(text, position)
    return match.end() if match else position


class Span(NamedTuple):
    """Where one top-level member stands in a body, as byte offsets."""

    key: int
    value: int
    end: int


class Members(dict[str, Span]):
    """The top-level members of a JSON object, of a repeated one the last.

    ``rows`` has them all in their order; ``repeated`` names those that stand there twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, Span]] = []
        self.repeated: set[str] = set()

    def add(self, name: str, span: Span) -> None:
        if name in self:
            self.repeated.add(name)
        self[name] = span
        self.rows.append((name, span))


def members(body: bytes) -> Members:
    """Find the top-level members of a JSON object without decoding their values.

    Of a repeated member the last span is given. Raises GatewayError (400) for what is not a JSON object.
    """
    try:
        values = _decode_members(body)
    except _REFUSALS:
        return _members_slowly(body)
    return _walk(body, values) or _members_slowly(body)


def _walk(body: bytes, values: Mapping[str, msgspec.Raw]) -> Members | None:
    """Follow the members along values whose text is known; None if the text goes another way.

    The body is JSON: what stands behind a value, if it is no further member, is the end.
    """
    found = Members()
    opening = _START.match(body)
    key = opening and _KEY.match(body, opening.end())
    while key:
        name, start = key[1].decode(), key.end()
        value = values.get(name)
        if value is None or name in found:
            return None
        text = bytes(value)  # to compare it as the view that it is takes ten times as long
        end = start + len(text)
        if not body.startswith(text, start):
            return None
        found.add(name, Span(key.start(1) - 1, start, end))
        key = _NEXT.match(body, end)
    return found if len(found) == len(values) else None


def _members_slowly(body: bytes) -> Members:
    """The same by the standard library, which also says precisely what is wrong."""
    value, _ = loads_repaired(body)
    if not isinstance(value, dict):
        raise refuse("", f"the body must be a JSON object, not {kind_of(value)}")
    text, scan = body.decode(), json.JSONDecoder().raw_decode
    found = Members()
    position, counted = _past(text, text.index("{") + 1), _Counter(text)
    while text[position] != "}":
        name, after = scan(text, position)
        start = _past(text, after)
        _, end = scan(text, start)
        found.add(_repaired(name), Span(*map(counted.bytes_before, (position, start, end))))
        position = _past(text, end)
    return found


class _Counter:
    """Byte offsets of growing character offsets, in one pass over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._characters = self._bytes = 0

    def bytes_before(self, position: int) -> int:
        self._bytes += len(self._text[self._characters : position].encode())
        self._characters = position
        return self._bytes


def _past(text: str, position: int) -> int:
    """The position after white space and the punctuation between members."""
    while text[position] in " \t\r\n,:":
        position += 1
    return position


_NAMES = {str: "a string", dict: "an object", list: "an array", bool: "a boolean", int: "a number"}


def kind_of(value: Any) -> str:
    """The JSON name of a value's type, for messages to people."""
    return "null" if value is None else _NAMES.get(type(value), "a number")  # pyright: ignore


# --- server-sent events -------------------------------------------------------------------------

EVENT_LIMIT = 16 * 1024 * 1024
"""Bytes of one event; no library bounds this, and an endless line would fill the memory."""

_FRAME_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Frames:
    """Cuts a byte stream into server-sent event frames, each with its closing blank line.

    Any split of the input gives the same events (WHATWG, server-sent events, section 9.2.6).
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._started = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that these bytes complete. Raises GatewayError when one exceeds EVENT_LIMIT."""
        buffer = self._buffer
        if not buffer and self._started and data.endswith(b"\n\n") and b"\r" not in data:
            # What a read brings is nearly always whole frames.
            plain = data.split(b"\n\n")
            if not plain.pop() and len(data) <= EVENT_LIMIT:
                return [frame + b"\n\n" for frame in plain]
        buffer += data
        if not self._started:
            self._skip_mark()
        frames: list[bytes] = []
        taken, scan = 0, self._scanned
        while (end := _FRAME_END.search(buffer, scan)) is not None:
            frames.append(bytes(buffer[taken : end.end()]))
            taken = scan = end.end()
        if taken:
            del buffer[:taken]
        self._scanned = max(0, len(buffer) - 3)
        if len(buffer) > EVENT_LIMIT or any(len(frame) > EVENT_LIMIT for frame in frames):
            raise GatewayError(
                "upstream_bad_response",
                f"the provider sent an event of more than {EVENT_LIMIT} bytes",
                source="upstream",
            )
        return frames

    def _skip_mark(self) -> None:
        if self._buffer.startswith(_BOM):
            del self._buffer[:3]
        self._started = not _BOM.startswith(bytes(self._buffer[:3]))

    def ahead(self, data: bytes, frames: re.Pattern[bytes]) -> tuple[bytes, bytes]:
        """What has come divided into whole frames that the pattern matches, and the rest for ``feed``.

        The pattern is for whole frames of one line each for name and data, as providers write them.
        Before the first event, or for more than EVENT_LIMIT bytes, nothing is taken ahead.
        """
        if not self._started or len(self._buffer) + len(data) > EVENT_LIMIT:
            return b"", data
        if self._buffer:
            if b"\n\n" not in data and not (data[:1] == b"\n" == self._buffer[-1:]):
                return b"", data  # to copy a frame that goes on with every read would be quadratic
            data = bytes(self._buffer) + data
            self._buffer.clear()
            self._scanned = 0
        found = frames.match(data)
        end = found.end() if found else 0
        return data[:end], data[end:]

    @property
    def rest(self) -> bytes:
        """Bytes of a frame that is not complete."""
        return bytes(self._buffer)


def fields(frame: bytes) -> tuple[str, bytes]:
    """The event name ("" if it has none) and the data of one frame."""
    name = b""
    data: list[bytes] = []
    for line in _LINE_END.split(frame):
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return name.decode("utf-8", "replace"), b"\n".join(data)


def frame(data: bytes, name: str = "") -> bytes:
    """One event ready to send; the data must hold no line break, as compact JSON never does."""
    return (b"event: %b\ndata: %b\n\n" % (name.encode(), data)) if name else b"data: %b\n\n" % data


# --- data URLs ----------------------------------------------------------------------------------

_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", re.IGNORECASE | re.DOTALL)
_URL_SAFE = str.maketrans("-_", "+/")


def data_url(url: str) -> tuple[str, str] | None:
    """The media type (lower case, "" if none) and the standard base64 text of a data URL.

    None when the text is no data URL or is not base64 (RFC 2397).
    """
    match = _DATA_URL.fullmatch(url)
    if match is None or "base64" not in match[2].lower().split(";"):
        return None
    return match[1].strip().lower(), standard_base64(match[3])


def standard_base64(text: str) -> str:
    """Base64 in the alphabet and with the padding that Anthropic takes (RFC 4648, section 4)."""
    bare = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
    return bare + "=" * (-len(bare) % 4)
