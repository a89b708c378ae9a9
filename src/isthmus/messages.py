"""The hub: Anthropic's Messages as plain dicts, the grammar of a legal stream, collect and replay.

Source of the shapes and the grammar: Anthropic's Messages API reference and its streaming page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, cast

from isthmus import wire
from isthmus.errors import broken, cut_off
from isthmus.event import GROWING, Event, Halves, stream_error

Block = dict[str, Any]
"""A content block: ``type`` and whatever belongs to it, known to us or not."""


class Turn(TypedDict):
    """One entry of ``messages``; ``system`` turns in the middle are legal on newer models."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Message(TypedDict, total=False):
    """A complete answer, as a request without ``stream`` gets it."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Block]
    stop_reason: str | None
    stop_sequence: str | None
    stop_details: dict[str, Any] | None
    usage: dict[str, Any]


# --- the grammar of a stream ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """What a block of one type looks like in a stream.

    ``empty`` holds the fields of ``content_block_start`` before any delta, ``deltas`` the delta types
    that may follow, beside those of a newer API; a block type without a row arrives complete and
    takes none.
    """

    empty: dict[str, Any]
    deltas: tuple[str, ...]


_JSON = Shape({"input": {}}, ("input_json_delta",))
_CALL = {"id": str, "name": str, "input": dict}

GRAMMAR: dict[str, Shape] = {
    "text": Shape({"text": ""}, ("text_delta", "citations_delta")),
    "thinking": Shape({"thinking": "", "signature": ""}, ("thinking_delta", "signature_delta")),
    "tool_use": _JSON,
    "server_tool_use": _JSON,
    "mcp_tool_use": _JSON,
    "compaction": Shape({"content": None}, ("compaction_delta",)),
}

DELTAS = frozenset(kind for shape in GRAMMAR.values() for kind in shape.deltas)
"""Every delta type that we know. A newer API may send others, which mean nothing to us."""

REQUIRED: dict[str, dict[str, type]] = {
    "text": {"text": str},
    "thinking": {"thinking": str},
    "redacted_thinking": {"data": str},
    "tool_use": _CALL,
    "server_tool_use": _CALL,
    "mcp_tool_use": _CALL,
    "text_delta": {"text": str},
    "thinking_delta": {"thinking": str},
    "signature_delta": {"signature": str},
    "input_json_delta": {"partial_json": str},
    "citations_delta": {"citation": dict},
}
"""What a block or a delta of a type must hold, so that whoever reads it need not ask again."""


class Input(dict[str, Any]):
    """A tool call's input with the JSON text it was streamed as, which may be cut off by a limit."""

    __slots__ = ("text",)

    def __init__(self, value: dict[str, Any], text: str) -> None:
        super().__init__(value)
        self.text = text


def input_text(value: dict[str, Any]) -> str:
    """The JSON text of a tool call's input, as the model wrote it where that is known."""
    return value.text if isinstance(value, Input) else wire.dumps(value).decode()


_GROWN = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
"""Deltas of one field that grows, which are nearly all of them."""


class Growing:
    """One block of a stream, which its deltas make whole. ``block`` is complete after ``finish``.

    Deltas that a block of its type does not have are of a newer API, and pass without a trace.
    """

    def __init__(self, start: Block) -> None:
        self.block = dict(start)
        self._pieces = defaultdict[str, list[str]](list)
        self._shape = GRAMMAR.get(str(start.get("type")))

    def add(self, delta: dict[str, Any]) -> None:
        kind = delta["type"]
        if self._shape and kind not in self._shape.deltas:
            return
        field = _GROWN.get(kind)
        if field is not None and len(delta) == 2:
            self._pieces[field].append(delta[field])
            return
        for name, piece in delta.items():
            if name in GROWING:
                self._pieces[name].append(piece)
            elif name == "citation":
                self.block["citations"] = [*(self.block.get("citations") or []), piece]
            elif name not in ("type", "estimated_tokens"):
                self.block[name] = piece

    def finish(self) -> Block:
        for name, pieces in self._pieces.items():
            text = "".join(pieces)
            if name == "partial_json":
                self.block["input"] = _parsed(text or "{}")
            else:
                self.block[name] = self.block.get(name, "") + text
        return self.block


class Reader:
    """Follows one stream by the grammar and collects its message.

    ``stream := message_start (ping | block)* message_delta+ message_stop``; blocks are numbered from
    0 without gaps and never overlap; ``ping`` and unknown events may stand anywhere, and unknown
    deltas in any block, whose message they leave as it is; an ``error`` event ends the stream.
    """

    def __init__(self) -> None:
        self.message: Message = {}
        self.state: Literal["new", "open", "block", "delta", "done", "error"] = "new"
        self._growing = Growing({})
        self._halves = Halves()

    def feed(self, event: Event) -> list[Event]:
        """Take one event and give those that it amounts to: itself, but for halves of characters.

        Raises GatewayError (upstream_bad_response) where it is not legal.
        """
        events = self._halves.joined(event)
        for whole in events:
            kind = whole.type
            step = _STEPS.get(kind)
            if step is not None:
                self._take(kind, whole, step)
        return events

    def _take(self, kind: str, event: Event, step: tuple[tuple[str, ...], Any]) -> None:
        if self.state not in step[0]:
            raise broken(f"a {kind} event out of order (after {self.state})")
        try:
            step[1](self, event.value)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise broken(f"a malformed {kind} event ({type(error).__name__}: {error})") from error

    def finish(self) -> Message:
        """The complete message. Raises GatewayError when the stream broke off."""
        if self.state != "done":
            raise cut_off()
        return self.message

    def _start(self, value: dict[str, Any]) -> None:
        message = dict(value["message"])
        message["content"] = list(message["content"])
        message["usage"] = dict(message["usage"])
        self.message = cast("Message", message)
        self.state = "open"

    def _open(self, value: dict[str, Any]) -> None:
        self._growing = Growing(value["content_block"])
        block = self._growing.block
        if value["index"] != len(self.message["content"]):
            raise broken(f"block {value['index']} where {len(self.message['content'])} was due")
        _complete(block)
        self.message["content"].append(block)
        self.state = "block"

    def _delta(self, value: dict[str, Any]) -> None:
        block, delta = self.message["content"][-1], value["delta"]
        if value["index"] != len(self.message["content"]) - 1:
            raise broken(f"a delta for block {value['index']}, which is not open")
        _complete(delta)
        if not grows(block, delta):
            if delta["type"] in DELTAS:
                raise broken(f"a {delta['type']} in a {block['type']} block")
            return
        self._growing.add(delta)

    def _close(self, value: dict[str, Any]) -> None:
        if value["index"] != len(self.message["content"]) - 1:
            raise broken(f"the end of block {value['index']}, which is not open")
        self._growing.finish()
        self.state = "open"

    def _settle(self, value: dict[str, Any]) -> None:
        message = cast("dict[str, Any]", self.message)
        message.update(value["delta"])
        reason = value["delta"].get("stop_reason")
        if not isinstance(reason, str | None):
            raise TypeError("stop_reason is no string")
        told = (value.get("usage") or {}).items()
        message["usage"].update({name: count for name, count in told if count is not None})
        extra = {k: v for k, v in value.items() if k not in ("type", "delta", "usage")}
        message.update(extra)
        self.state = "delta"

    def _stop(self, value: dict[str, Any]) -> None:
        self.state = "done"

    def _fail(self, value: dict[str, Any]) -> None:
        self.state = "error"


_STEPS: dict[str, tuple[tuple[str, ...], Any]] = {
    "message_start": (("new",), Reader._start),
    "content_block_start": (("open",), Reader._open),
    "content_block_delta": (("block",), Reader._delta),
    "content_block_stop": (("block",), Reader._close),
    "message_delta": (("open", "delta"), Reader._settle),
    "message_stop": (("delta",), Reader._stop),
    "error": (("new", "open", "block", "delta"), Reader._fail),
}
"""Event type -> the states in which it is legal, and what it does. Other events may stand anywhere."""

STREAM_EVENTS = frozenset(_STEPS)


def grows(block: Mapping[str, Any], delta: Mapping[str, Any]) -> bool:
    """Whether a delta is a part of its block: one of a newer API leaves a block that we know as it is."""
    shape = GRAMMAR.get(block["type"])
    return shape is None or delta["type"] in shape.deltas


_NOTHING: dict[str, type] = {}


def _complete(value: dict[str, Any]) -> None:
    """Raises TypeError or KeyError where a block or a delta lacks what its type requires."""
    kind = value["type"]
    for name, wanted in REQUIRED.get(kind, _NOTHING).items():
        if not isinstance(value[name], wanted):
            raise TypeError(f"{kind}.{name} is {wire.kind_of(value[name])}")


def _parsed(text: str) -> Input:
    """A tool call's input; where the text was cut off by a limit the text alone is kept."""
    try:
        value = wire.loads(text)
    except ValueError:
        value = None
    return Input(cast("dict[str, Any]", value) if isinstance(value, dict) else {}, text)


def sendable(content: Iterable[Block]) -> list[Block]:
    """The blocks of an answer that can be sent back: not text without a visible character.

    The model may write such a text, for instance between two calls, and the API then refuses it.
    """
    return [b for b in content if b["type"] != "text" or b["text"].strip()]


def collect(events: Iterable[Event]) -> Message:
    """Join a stream into its message. Raises GatewayError when it is illegal, failed or cut off."""
    reader = Reader()
    for event in events:
        reader.feed(event)
        if reader.state == "error":
            raise stream_error(event)
    return reader.finish()


def replay(message: Message) -> Iterator[Event]:
    """The legal stream of a complete message, one delta for each growing field."""
    head: dict[str, Any] = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    head["usage"] = {**message["usage"], "output_tokens": 0}
    if "stop_details" in head:
        head["stop_details"] = None
    yield Event(value={"type": "message_start", "message": head})
    for index, block in enumerate(message["content"]):
        yield from _replay_block(index, block)
    delta = {k: message.get(k) for k in ("stop_reason", "stop_sequence")}
    delta |= {k: v for k, v in message.items() if k in ("stop_details", "container")}
    yield Event(value={"type": "message_delta", "delta": delta, "usage": message["usage"]})
    yield Event(value={"type": "message_stop"})


def _replay_block(index: int, block: Block) -> Iterator[Event]:
    shape = GRAMMAR.get(block["type"])
    start = {**block, **shape.empty} if shape else block
    if block["type"] == "text" and block.get("citations"):
        start = {**start, "citations": None}
    yield Event(value={"type": "content_block_start", "index": index, "content_block": start})
    for delta in _deltas(block) if shape else ():
        yield Event(value={"type": "content_block_delta", "index": index, "delta": delta})
    yield Event(value={"type": "content_block_stop", "index": index})


def _deltas(block: Block) -> Iterator[dict[str, Any]]:
    kind = block["type"]
    if kind == "text":
        if block["text"]:
            yield {"type": "text_delta", "text": block["text"]}
        for citation in block.get("citations") or ():
            yield {"type": "citations_delta", "citation": citation}
    elif kind == "thinking":
        if block["thinking"]:
            yield {"type": "thinking_delta", "thinking": block["thinking"]}
        yield {"type": "signature_delta", "signature": block.get("signature", "")}
    elif kind == "compaction":
        fields = {k: v for k, v in block.items() if k in ("content", "encrypted_content")}
        yield {"type": "compaction_delta", **fields}
    elif (text := input_text(block["input"])) != "{}":
        yield {"type": "input_json_delta", "partial_json": text}
