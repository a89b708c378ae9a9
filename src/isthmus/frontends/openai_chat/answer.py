"""The answers of the Chat Completions dialect: streams, completions, errors and model lists.

Source: OpenAI's API reference (the chat completion object, the chunk object, streaming, models,
error codes); ``reasoning_content`` is the field that reasoning models of other vendors share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from isthmus import wire
from isthmus.errors import GatewayError
from isthmus.event import Event, stream_error
from isthmus.frontends import Model
from isthmus.frontends.openai_chat.details import Details
from isthmus.frontends.usage import whole_usage
from isthmus.messages import Block, Growing, Message, input_text
from isthmus.request import HttpRequest, Request

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
"""The finish reason of each stop reason; any other is ``stop``, or ``tool_calls`` after a call."""

UNFINISHED = ("max_tokens", "model_context_window_exceeded", "refusal", "pause_turn")
"""Stop reasons that say more than the tool calls of their turn do."""

DECLINED = "The model declined to respond."
"""The refusal of an answer whose provider gives no explanation."""


# --- what a completion and a stream have in common ----------------------------------------------


def _identity(message: Mapping[str, Any], request: Request, kind: str) -> dict[str, Any]:
    """The members that name an answer; its id and time come from what is known, not from dice."""
    return {
        "id": "chatcmpl-" + str(message.get("id") or "").removeprefix("msg_"),
        "object": kind,
        "created": request.memory.get("created", 0),
        "model": message.get("model") or request.model,
    }


def _finish(reason: str | None, calls: int, legacy: bool) -> str:
    if calls and reason not in UNFINISHED:
        return "function_call" if legacy else "tool_calls"
    return FINISH.get(reason or "", "stop")


def _refusal(reason: str | None, details: Any) -> str | None:
    """What a refused client is told; None for an answer that was not refused."""
    if reason != "refusal":
        return None
    known = cast("dict[str, Any]", details) if isinstance(details, dict) else {}
    return str(known.get("explanation") or DECLINED)


def _usage(usage: Mapping[str, Any]) -> dict[str, Any] | None:
    """Messages count cached tokens beside the prompt, Chat inside it; what is unknown stays out."""
    usage = whole_usage(usage)
    fresh, written, read = (_count(usage, name) for name in _PROMPT)
    answer = _count(usage, "output_tokens")
    if fresh is None and answer is None:
        return None
    prompt = sum(count or 0 for count in (fresh, written, read))
    value: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": answer or 0,
        "total_tokens": prompt + (answer or 0),
    }
    cached = {"cached_tokens": read, "cache_write_tokens": written}
    if known := {name: count for name, count in cached.items() if count is not None}:
        value["prompt_tokens_details"] = known
    details = usage.get("output_tokens_details")
    if isinstance(details, dict):
        thought = _count(cast("dict[str, Any]", details), "thinking_tokens")
        if thought is not None:
            value["completion_tokens_details"] = {"reasoning_tokens": thought}
    return value


_PROMPT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) else None


def _annotations(citations: Any, start: int, end: int) -> list[dict[str, Any]]:
    """Citations of what has an address; each belongs to the whole text block that holds it.

    ``start`` and ``end`` count characters (code points) of the content, the end not included.
    """
    found: list[dict[str, Any]] = []
    for citation in cast("list[Any]", citations) if isinstance(citations, list) else ():
        cited = cast("dict[str, Any]", citation) if isinstance(citation, dict) else {}
        address = cited.get(_ADDRESSES.get(str(cited.get("type")), "url"))
        if isinstance(address, str) and address.startswith(("https://", "http://")):
            title = cited.get("title")
            place = {"start_index": start, "end_index": end}
            named = {"title": title if title and isinstance(title, str) else address}
            row = {**place, **named, "url": address}
            found.append({"type": "url_citation", "url_citation": row})
    return found


_ADDRESSES = {"search_result_location": "source"}
"""The member that holds a citation's address where it is not ``url``."""


# --- a whole completion -------------------------------------------------------------------------


def encode_message(request: Request, message: Message) -> bytes:
    """The ``chat.completion`` object of a complete answer, always with one choice."""
    answer, calls = _answer(request, message)
    reason = message.get("stop_reason")
    choice = {
        "index": 0,
        "message": answer,
        "logprobs": None,
        "finish_reason": _finish(reason, calls, _legacy(request)),
    }
    value = {**_identity(message, request, "chat.completion"), "choices": [choice]}
    usage = _usage(message.get("usage") or {})
    return wire.dumps(value if usage is None else {**value, "usage": usage})


def _answer(request: Request, message: Message) -> tuple[dict[str, Any], int]:
    """The assistant's message, and how many calls it holds."""
    blocks = message.get("content") or []
    text, annotations = "", list[dict[str, Any]]()
    for block in blocks:
        if block["type"] == "text":
            end = len(text) + len(block["text"])
            annotations += _annotations(block.get("citations"), len(text), end)
            text += block["text"]
    calls = [_call(request, block) for block in blocks if block["type"] == "tool_use"]
    refusal = _refusal(message.get("stop_reason"), message.get("stop_details"))
    empty = None if calls or refusal else ""
    answer: dict[str, Any] = {"role": "assistant", "content": text or empty, "refusal": refusal}
    reasoning = "".join(_thought(block) for block in blocks)
    details = Details()
    first = calls[:1] if _legacy(request) else []
    optional = {
        "reasoning_content": reasoning,
        "reasoning_details": [entry for entry in map(details.entry, blocks) if entry],
        "function_call": first[0]["function"] if first else None,
        "tool_calls": calls[len(first) :],
        "annotations": annotations,
    }
    answer.update({name: value for name, value in optional.items() if value})
    return answer, len(calls)


def _call(request: Request, block: Block) -> dict[str, Any]:
    function = {"name": _own_name(request, block), "arguments": _arguments(block)}
    return {"id": block["id"], "type": "function", "function": function}


def _arguments(block: Block) -> str:
    value = block.get("input")
    return "{}" if value is None else input_text(value)


def _own_name(request: Request, block: Block) -> str:
    """The tool's name as the client wrote it."""
    names = cast("Mapping[str, str]", request.memory.get("names") or {})
    return names.get(block["name"], block["name"])


def _thought(block: Block) -> str:
    """What a block shows of the model's reasoning; its signature travels in the side field."""
    return str(block.get("thinking") or "") if block["type"] == "thinking" else ""


def _legacy(request: Request) -> bool:
    """Whether the client offered ``functions``, and so expects one ``function_call``."""
    return bool(request.memory.get("legacy"))


# --- a stream -----------------------------------------------------------------------------------


class Encoder:
    """Turns events into chunks, each sent as it comes; the last says why the answer ended."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: Request) -> None:
        self._request = request
        self._legacy = _legacy(request)
        self._counts = bool(request.memory.get("include_usage"))
        self._head = b""
        self._tail = b',"usage":null}' if self._counts else b"}"
        self._ended = False
        self._block: Block = {}
        self._growing = Growing({})
        self._details = Details()
        self._unsent = ""
        self._calls = 0
        self._length = 0
        self._start = 0
        self._annotations: list[dict[str, Any]] = []
        self._usage: dict[str, Any] = {}
        self._end: dict[str, Any] = {}

    def feed(self, event: Event) -> bytes:
        """The chunks of one event. A ping becomes a comment, so that the client sees it too."""
        read = _READ.get(event.type)
        if read is None or self._ended:
            return b""
        return read(self, event.value)

    def fail(self, error: GatewayError) -> bytes:
        """One frame with the error, after which neither a finish reason nor ``[DONE]`` comes."""
        if self._ended:
            return b""
        self._ended = True
        return wire.frame(encode_error(error, ""))

    def keep_alive(self) -> bytes:
        return b": keep-alive\n\n"

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return b'%b"choices":[{"index":0,"delta":%b,"finish_reason":%b}]%b\n\n' % (
            self._head,
            wire.dumps(delta),
            b"null" if finish is None else wire.dumps(finish),
            self._tail,
        )

    def _open_message(self, value: dict[str, Any]) -> bytes:
        message = value["message"]
        identity = _identity(message, self._request, "chat.completion.chunk")
        self._head = b"data: " + wire.dumps(identity)[:-1] + b","
        self._usage.update(message.get("usage") or {})
        return self._chunk({"role": "assistant", "content": None})

    def _open_block(self, value: dict[str, Any]) -> bytes:
        block = self._block = value["content_block"]
        self._growing = Growing(block)
        if block["type"] == "tool_use":
            self._calls += 1
            self._unsent = _arguments(block)
            named = {"name": _own_name(self._request, block), "arguments": ""}
            return self._chunk(self._call_delta(named, {"id": block["id"], "type": "function"}))
        if block["type"] == "text":
            self._start = self._length
            return self._grown("content", str(block.get("text") or ""))
        return self._grown("reasoning_content", _thought(block))

    def _delta(self, value: dict[str, Any]) -> bytes:
        delta = value["delta"]
        kind = delta["type"]
        self._growing.add(delta)
        if kind == "text_delta":
            return self._grown("content", delta["text"])
        if kind == "thinking_delta":
            return self._grown("reasoning_content", delta["thinking"])
        if kind == "input_json_delta" and self._block["type"] == "tool_use":
            return self._argued(delta["partial_json"])
        return b""

    def _argued(self, piece: str) -> bytes:
        """The chunk with a piece of a call's arguments, which become "{}" if no piece has any."""
        if not piece:
            self._unsent = self._unsent and "{}"
            return b""
        self._unsent = ""
        return self._chunk(self._call_delta({"arguments": piece}))

    def _grown(self, field: str, piece: str) -> bytes:
        """The chunk that makes a text longer; none for an empty piece."""
        if not piece:
            return b""
        if field == "content":
            self._length += len(piece)
        return self._chunk({field: piece})

    def _call_delta(
        self, function: dict[str, Any], call: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        if self._legacy and self._calls == 1:
            return {"function_call": function}
        index = self._calls - 1 - self._legacy
        return {"tool_calls": [{"index": index, **(call or {}), "function": function}]}

    def _close_block(self, value: dict[str, Any]) -> bytes:
        block, self._block = self._block, {"type": ""}
        last = self._argued(self._unsent) if block["type"] == "tool_use" else b""
        whole = self._growing.finish()
        if block["type"] == "text":
            citations = whole.get("citations")
            self._annotations += _annotations(citations, self._start, self._length)
        entry = self._details.entry(whole)
        return last + self._chunk({"reasoning_details": [entry]}) if entry else last

    def _settle(self, value: dict[str, Any]) -> bytes:
        self._end.update(value["delta"])
        self._usage.update(value.get("usage") or {})
        return b""

    def _stop(self, value: dict[str, Any]) -> bytes:
        reason = self._end.get("stop_reason")
        optional = {
            "refusal": _refusal(reason, self._end.get("stop_details")),
            "annotations": self._annotations,
        }
        delta: dict[str, Any] = {name: value for name, value in optional.items() if value}
        if not (self._length or self._calls or reason == "refusal"):
            delta["content"] = ""
        last = self._chunk(delta, _finish(reason, self._calls, self._legacy))
        usage = _usage(self._usage) if self._counts else None
        if usage is not None:
            last += b'%b"choices":[],"usage":%b}\n\n' % (self._head, wire.dumps(usage))
        self._ended = True
        return last + b"data: [DONE]\n\n"

    def _error(self, value: dict[str, Any]) -> bytes:
        return self.fail(stream_error(Event(value=value)))

    def _ping(self, value: dict[str, Any]) -> bytes:
        return b": ping\n\n"


_READ: dict[str, Callable[[Encoder, dict[str, Any]], bytes]] = {
    "message_start": Encoder._open_message,
    "content_block_start": Encoder._open_block,
    "content_block_delta": Encoder._delta,
    "content_block_stop": Encoder._close_block,
    "message_delta": Encoder._settle,
    "message_stop": Encoder._stop,
    "error": Encoder._error,
    "ping": Encoder._ping,
}


def encoder(request: Request) -> Encoder:
    return Encoder(request)


# --- errors, counts, models ---------------------------------------------------------------------


def encode_error(error: GatewayError, request_id: str) -> bytes:
    return envelope(error, "openai-chat", "messages")


def envelope(error: GatewayError, dialect: str, prompt: str) -> bytes:
    """OpenAI's envelope, which has no place for the request's id: that is a header's matter.

    ``prompt`` is the field that is at fault where the prompt is too long.
    """
    row = error.row
    fields = {
        "message": error.words(dialect),
        "type": row.openai,
        "param": error.param or (prompt if error.kind == "context_overflow" else None),
        "code": row.openai_code,
    }
    return wire.dumps({"error": fields})


def encode_count(request: Request, tokens: int) -> bytes:
    """The dialect counts no tokens; no route leads here."""
    return wire.dumps({"input_tokens": tokens})


def encode_models(models: Sequence[Model], http: HttpRequest) -> bytes:
    """The whole list: the dialect knows no pages."""
    return wire.dumps({"object": "list", "data": [_described(model) for model in models]})


def encode_model(model: Model) -> bytes:
    return wire.dumps(_described(model))


def _described(model: Model) -> dict[str, Any]:
    value: dict[str, Any] = {
        "id": model["id"],
        "object": "model",
        "created": _seconds(model.get("created_at")),
        "owned_by": model.get("owned_by") or "anthropic",
    }
    if model.get("display_name"):
        value["display_name"] = model["display_name"]
    return value


def _seconds(moment: Any) -> int:
    """Seconds since 1970 of an RFC 3339 time; 0, which the dialect demands, where none is known."""
    try:
        read = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        return 0
    return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp())
