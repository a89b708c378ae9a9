"""Turns the hub's events and messages into Gemini's chunks and responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from isthmus import wire
from isthmus.errors import GatewayError, broken
from isthmus.event import Event, stream_error
from isthmus.frontends.gemini.served import Grounding, outcome_part, run_part
from isthmus.frontends.gemini.signatures import START, can_hold, packed
from isthmus.frontends.usage import whole_usage
from isthmus.messages import Block, Input, Message, grows

Part = dict[str, Any]
Chunk = dict[str, Any]

FINISH = {
    "end_turn": "STOP",
    "stop_sequence": "STOP",
    "tool_use": "STOP",
    "pause_turn": "STOP",
    "compaction": "STOP",
    "max_tokens": "MAX_TOKENS",
    "model_context_window_exceeded": "MAX_TOKENS",
    "refusal": "SAFETY",
}
"""stop_reason -> finishReason; any other is OTHER. Gemini has no word for a call of a function."""

_CUTTING = ("max_tokens", "model_context_window_exceeded", "refusal")
"""Reasons that can end an answer inside a call's arguments."""

_BRIEF = ("thinking", "redacted_thinking", "compaction")
"""What the signature of the first text carries already."""

_REFUSED = "The model declined to respond."


def usage_metadata(usage: Mapping[str, Any]) -> dict[str, int]:
    """Gemini's counts: what was cached is part of the prompt, and thoughts stand beside the answer.

    A count that the hub does not know is absent.
    """
    usage = whole_usage(usage)
    found: dict[str, int] = {}
    cached = _count(usage, "cache_read_input_tokens")
    fresh, spent = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    details = usage.get("output_tokens_details")
    thoughts = (
        _count(cast("Any", details), "thinking_tokens") if isinstance(details, dict) else None
    )
    if fresh is not None:
        found["promptTokenCount"] = (
            fresh + (_count(usage, "cache_creation_input_tokens") or 0) + (cached or 0)
        )
    if fresh is not None and cached is not None:
        found["cachedContentTokenCount"] = cached
    if spent is not None:
        found["candidatesTokenCount"] = max(spent - (thoughts or 0), 0)
    if thoughts is not None:
        found["thoughtsTokenCount"] = thoughts
    if fresh is not None and spent is not None:
        found["totalTokenCount"] = found["promptTokenCount"] + max(spent, thoughts or 0)
    return found


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class Parts:
    """Makes the parts of one answer from its blocks, in pieces or whole.

    What no part can hold - signed thinking, the calls and results of server tools, citations,
    compactions - travels in signatures: on the next function call, or else on a last part. Thinking
    travels on the first text after it as well, since Gemini CLI joins a last part without words to
    the text before it and loses its signature, and since the AI SDK keeps the last one of a text. A
    call goes out whole when its block ends; one without arguments waits for what follows, since a
    limit may have cut it off before they began.
    """

    def __init__(self, memory: Mapping[str, Any]) -> None:
        self._names = cast("Mapping[str, str]", memory.get("names") or {})
        self._shown = bool(memory.get("thoughts"))
        self._block: Block = {}
        self._json: list[str] = []
        self._waiting: Block | None = None
        self._malformed = ""
        self._kept: list[tuple[int, Block | None]] = []
        self._told = 0
        self._length = 0
        self._grounding = Grounding()

    def open(self, block: Mapping[str, Any]) -> list[Part]:
        """The parts that the start of a block completes."""
        done = self._release()
        self._block = dict(block)
        self._json.clear()
        kind = block["type"]
        if kind == "text":
            if self._length and (not self._kept or self._kept[-1][0] < self._length):
                self._kept.append((self._length, None))
            self._block["text"] = ""
            return [*done, *self._text(block.get("text") or "")]
        if kind == "thinking":
            return [*done, *self._thought(block.get("thinking") or "")]
        return done

    def delta(self, delta: Mapping[str, Any]) -> list[Part]:
        kind, block = delta["type"], self._block
        if kind == "text_delta" and block["type"] == "text":
            return self._text(delta["text"])
        if kind == "thinking_delta":
            block["thinking"] = block.get("thinking", "") + delta["thinking"]
            return self._thought(delta["thinking"])
        if kind == "input_json_delta":
            self._json.append(delta["partial_json"])
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif grows(block, delta):
            block.update({k: v for k, v in delta.items() if k not in ("type", "estimated_tokens")})
        return []

    def close(self) -> list[Part]:
        """The parts that the end of a block completes."""
        block = self._block
        kind = block["type"]
        if kind == "tool_use":
            text = "".join(self._json) or (
                wire.dumps(block["input"]).decode() if block["input"] else ""
            )
            if text in ("", "{}"):
                self._waiting = block
                return []
            return self._call(block, text)
        if kind == "text":
            self._grounding.said(block["text"], block.get("citations"))
            if block.get("citations") and block["text"]:
                cited = {"type": "text", "citations": block["citations"]}
                self._kept.append((self._length, cited))
        elif kind == "redacted_thinking" or (kind == "thinking" and block.get("signature")):
            self._kept.append((self._length, block))
        elif kind != "thinking":
            return self._served(block)
        return []

    def _served(self, block: Block) -> list[Part]:
        """Keep what Gemini's parts cannot hold, and show what they can."""
        if text := "".join(self._json):
            arguments = _parsed(text)
            if arguments is None:  # a limit cut it off: it never ran
                return []
            block = {**block, "input": arguments}
        if not can_hold(block):
            return []
        self._kept.append((self._length, block))
        if block["type"] == "server_tool_use":
            self._grounding.called(block)
            return run_part(block)
        self._grounding.brought(block)
        return outcome_part(block)

    def finish(self, reason: str | None, details: Any) -> tuple[list[Part], dict[str, Any]]:
        """The last parts, and how the candidate says why it ended."""
        if reason in _CUTTING:
            self._waiting = None
        parts = self._release()
        if self._untold():
            parts.append({"text": "", "thoughtSignature": self._signature()})
        parts, end = self._ended(parts, reason, details)
        return parts, {**end, **self._grounding.metadata()}

    def _ended(
        self, parts: list[Part], reason: str | None, details: Any
    ) -> tuple[list[Part], dict[str, Any]]:
        if self._malformed and reason not in _CUTTING:
            why = f"the arguments of {self._malformed} are not a JSON object"
            return parts, {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": why}
        end = {"finishReason": FINISH.get(str(reason), "OTHER")}
        if reason == "refusal":
            said = cast("Any", details).get("explanation") if isinstance(details, dict) else None
            end["finishMessage"] = said if isinstance(said, str) and said else _REFUSED
        elif reason not in FINISH:
            end["finishMessage"] = f"the model stopped for the reason {reason}"
        return parts, end

    def _text(self, text: str) -> list[Part]:
        if not text:
            return []
        part: Part = {"text": text}
        # What servers' tools brought is long, and more is to follow: it goes once, at the end.
        brief = all(block and block["type"] in _BRIEF for _, block in self._kept)
        if not self._length and self._kept and brief and not self._told:
            part["thoughtSignature"] = packed([(START, block) for _, block in self._kept])
            self._told = len(self._kept)
        self._length += len(text)
        self._block["text"] += text
        return [part]

    def _thought(self, text: str) -> list[Part]:
        return [{"text": text, "thought": True}] if text and self._shown else []

    def _release(self) -> list[Part]:
        """The call that waited, if one did."""
        block, self._waiting = self._waiting, None
        return [] if block is None else self._call(block, "{}")

    def _call(self, block: Block, text: str) -> list[Part]:
        name = self._names.get(block["name"], block["name"])
        arguments = _raw_object(text)
        if arguments is None:
            self._malformed = name
            return []
        part: Part = {"functionCall": {"id": block["id"], "name": name, "args": arguments}}
        if any(block for _, block in self._kept):
            part["thoughtSignature"] = self._signature()
        self._kept.clear()
        self._told = self._length = 0
        return [part]

    def _untold(self) -> bool:
        """Whether there is something that no signature has carried yet."""
        return any(block for _, block in self._kept[self._told :])

    def _signature(self) -> str:
        return packed([(self._length - place, block) for place, block in self._kept])


def _parsed(text: str) -> dict[str, Any] | None:
    """The arguments of a server tool; None where they are no JSON object."""
    try:
        value, _ = wire.loads_repaired(text.encode())
    except (GatewayError, UnicodeEncodeError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _raw_object(text: str) -> msgspec.Raw | None:
    """The JSON text of an object as the model wrote it; None where it is no object.

    Line breaks, which can stand between its tokens only, become blanks: they would end a field of
    an event. Lone surrogates become U+FFFD: SDKs read them and fail when they send them back.
    """
    try:
        value, repaired = wire.loads_repaired(text.encode())
    except (GatewayError, UnicodeEncodeError):
        return None
    if not isinstance(value, dict):
        return None
    plain = wire.dumps(value) if repaired else text.encode()
    return msgspec.Raw(plain.replace(b"\r", b" ").replace(b"\n", b" "))


def response(parts: list[Part], end: Mapping[str, Any], message: Mapping[str, Any]) -> Chunk:
    """One GenerateContentResponse; ``end`` holds what only the last one of an answer says.

    It always has a part: the chats of Google's SDKs forget a turn of which one chunk has none.
    """
    content = {"parts": parts or [{"text": ""}], "role": "model"}
    chunk: Chunk = {"candidates": [{"content": content, **end, "index": 0}]}
    if end and (usage := usage_metadata(message.get("usage") or {})):
        chunk["usageMetadata"] = usage
    for name, key in (("modelVersion", "model"), ("responseId", "id")):
        if isinstance(message.get(key), str):
            chunk[name] = message[key]
    return chunk


def whole(message: Message, memory: Mapping[str, Any]) -> Chunk:
    """The response of a client that asked for no stream."""
    made, parts = Parts(memory), list[Part]()
    for block in message.get("content", ()):
        parts += made.open(_emptied(block))
        for delta in _growth(block):
            parts += made.delta(delta)
        parts += made.close()
    last, end = made.finish(message.get("stop_reason"), message.get("stop_details"))
    return response(joined([*parts, *last]), end, message)


def _emptied(block: Block) -> Block:
    """The block without what a stream would send as the text of its arguments."""
    return {**block, "input": {}} if isinstance(block.get("input"), Input) else block


def _growth(block: Block) -> Iterable[dict[str, Any]]:
    value = block.get("input")
    if isinstance(value, Input):
        yield {"type": "input_json_delta", "partial_json": value.text}


def joined(parts: Iterable[Part]) -> list[Part]:
    """Parts as clients join those of a stream: neighbouring text of one kind becomes one part.

    Nothing is joined to what stands before its signature; a part that says nothing stands only where
    it is the whole answer.
    """
    rows: list[Part] = []
    for part in parts:
        last = rows[-1] if rows else {}
        same = last.get("thought") == part.get("thought") and "thoughtSignature" not in part
        if part.get("text") and last.get("text") and same:
            rows[-1] = {**last, **part, "text": last["text"] + part["text"]}
        elif part.get("text") != "" or "thoughtSignature" in part:
            rows.append(part)
    return rows


def failure(error: GatewayError, request_id: str = "") -> dict[str, Any]:
    """Google's error envelope (google.rpc.Status), with details of google.rpc's own types."""
    details: list[dict[str, Any]] = []
    kind = "type.googleapis.com/google.rpc."
    if error.param:
        faults = error.faults or ((error.param, error.message),)
        rows = [{"field": path, "description": said} for path, said in faults]
        details.append({"@type": f"{kind}BadRequest", "fieldViolations": rows})
    if error.retry_after is not None:
        delay = f"{error.retry_after:.3f}".rstrip("0").rstrip(".")
        details.append({"@type": f"{kind}RetryInfo", "retryDelay": f"{delay}s"})
    if request_id:
        details.append({"@type": f"{kind}RequestInfo", "requestId": request_id})
    status: dict[str, Any] = {
        "code": error.status_for("gemini"),
        "message": error.words("gemini"),
        "status": error.row.gemini,
    }
    return {"error": {**status, "details": details} if details else status}


_LINE_ENDS = (
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xc2\x85", b"\\u0085"),
)
"""Characters inside strings at which older releases of Google's Python SDK cut a line."""


class Encoder:
    """A stream as server-sent events (``alt=sse``)."""

    content_type = "text/event-stream"

    def __init__(self, memory: Mapping[str, Any]) -> None:
        self._parts = Parts(memory)
        self._message: dict[str, Any] = {}
        self._ended = False

    def feed(self, event: Event) -> bytes:
        step = _STEPS.get(event.type)
        if step is None or self._ended:
            return b""
        try:
            return step(self, event)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise broken(f"a malformed {event.type} event ({type(error).__name__})") from error

    def fail(self, error: GatewayError) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        return self._framed(failure(error)) + self._closed()

    def keep_alive(self) -> bytes:
        """An empty event: Google's SDKs take a comment for the text of an error."""
        return b"\n\n"

    def _framed(self, chunk: Chunk) -> bytes:
        text = wire.dumps(chunk)
        for mark, escape in _LINE_ENDS:
            text = text.replace(mark, escape)
        return wire.frame(text)

    def _closed(self) -> bytes:
        return b""

    def _send(self, parts: list[Part]) -> bytes:
        return self._framed(response(parts, {}, self._message)) if parts else b""

    def _start(self, event: Event) -> bytes:
        self._message = dict(event.value["message"])
        self._message["usage"] = dict(self._message.get("usage") or {})
        return b""

    def _open(self, event: Event) -> bytes:
        return self._send(self._parts.open(event.value["content_block"]))

    def _delta(self, event: Event) -> bytes:
        return self._send(self._parts.delta(event.value["delta"]))

    def _close(self, event: Event) -> bytes:
        return self._send(self._parts.close())

    def _settle(self, event: Event) -> bytes:
        self._message.update(event.value["delta"])
        self._message["usage"].update(event.value.get("usage") or {})
        return b""

    def _stop(self, event: Event) -> bytes:
        message = self._message
        parts, end = self._parts.finish(message.get("stop_reason"), message.get("stop_details"))
        data = self._framed(response(parts, end, message)) + self._closed()
        self._ended = True
        return data

    def _fail(self, event: Event) -> bytes:
        return self.fail(stream_error(event))


_STEPS = {
    "message_start": Encoder._start,
    "content_block_start": Encoder._open,
    "content_block_delta": Encoder._delta,
    "content_block_stop": Encoder._close,
    "message_delta": Encoder._settle,
    "message_stop": Encoder._stop,
    "error": Encoder._fail,
}


class ArrayEncoder(Encoder):
    """A stream as one JSON array, complete however it ends: a failure is its last element."""

    content_type = "application/json"

    def __init__(self, memory: Mapping[str, Any]) -> None:
        super().__init__(memory)
        self._begun = False

    def keep_alive(self) -> bytes:
        """White space, which may stand before, between and after the elements."""
        return b"\n"

    def _framed(self, chunk: Chunk) -> bytes:
        opening = b"\n," if self._begun else b"["
        self._begun = True
        return opening + wire.dumps(chunk)

    def _closed(self) -> bytes:
        return b"]"
