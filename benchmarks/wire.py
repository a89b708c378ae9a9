"""What travels in a benchmark: the requests of each lane, and the answers of the mock upstream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

MODEL = "claude-haiku-4-5"
CLIENT_KEY = "sk-bench-client-0001"
"""The key that clients present to a proxy; its config holds it among others."""
MARK = b"@"
"""Stands once in every text delta of the upstream and nowhere else, so that counting it counts them."""
STAMP = 15
"""Digits behind a mark: microseconds of CLOCK_MONOTONIC, which all processes of a machine share."""
FRAME_EVENTS = 6
"""Events of a stream that are no text delta: two starts, a ping, two stops, and the usage."""

Turns = list[tuple[str, str]]

_TURN_BYTES = 4096
_TURN_FRAME = 96
"""Room for what a dialect writes around the text of a turn."""
_PHRASE = 'def total(rows):\n\treturn sum(row["price"] for row in rows)  # Grüße, 合計\n'
_SYSTEM = "You are a careful engineer. Answer in one paragraph, and say what you do not know."


@dataclass(frozen=True)
class Lane:
    """A client dialect: where its requests go, what they look like, how its streams end.

    ``key`` is the header that carries the client's key, with ``{}`` for the key itself.
    """

    name: str
    path: str
    stream_path: str
    headers: Mapping[str, str]
    key: tuple[str, str]
    document: Callable[[Turns, bool], dict[str, Any]]
    end_of_stream: bytes


def _native(turns: Turns, stream: bool) -> dict[str, Any]:
    messages = [{"role": role, "content": text} for role, text in turns]
    head = {"model": MODEL, "max_tokens": 1024, "stream": stream, "system": _SYSTEM}
    return {**head, "messages": messages}


def _chat(turns: Turns, stream: bool) -> dict[str, Any]:
    messages = [{"role": role, "content": text} for role, text in [("system", _SYSTEM), *turns]]
    return {"model": MODEL, "max_tokens": 1024, "stream": stream, "messages": messages}


def _gemini(turns: Turns, stream: bool) -> dict[str, Any]:
    names = {"user": "user", "assistant": "model"}
    return {
        "systemInstruction": {"parts": [{"text": _SYSTEM}]},
        "generationConfig": {"maxOutputTokens": 1024},
        "contents": [{"role": names[role], "parts": [{"text": text}]} for role, text in turns],
    }


_COMMON = {
    # What the official SDKs send, in number and size: heads cost something too.
    "accept": "application/json",
    "user-agent": "Anthropic/Python 2.12.0",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "2.12.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.11.7",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
    "content-type": "application/json",
}
_BEARER = ("authorization", "Bearer {}")

LANES = {
    lane.name: lane
    for lane in (
        Lane(
            "native",
            "/v1/messages",
            "/v1/messages",
            {**_COMMON, "anthropic-version": "2023-06-01"},
            ("x-api-key", "{}"),
            _native,
            b"event: message_stop",
        ),
        Lane(
            "chat",
            "/v1/chat/completions",
            "/v1/chat/completions",
            _COMMON,
            _BEARER,
            _chat,
            b"data: [DONE]",
        ),
        Lane(
            "gemini",
            f"/v1beta/models/{MODEL}:generateContent",
            f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse",
            _COMMON,
            ("x-goog-api-key", "{}"),
            _gemini,
            b"finishReason",
        ),
    )
}


def body(lane: Lane, size: int, stream: bool) -> bytes:
    """A request body of exactly ``size`` bytes: a conversation in turns of about 4 KB.

    Raises ValueError where not even the empty conversation fits.
    """
    count = max(1, size // _TURN_BYTES) | 1
    text = _padded(_PHRASE, _TURN_BYTES - _TURN_FRAME)
    turns = [(("user", "assistant")[place % 2], f"{place}: {text}") for place in range(count - 1)]
    bare = msgspec.json.encode(lane.document([*turns, ("user", "")], stream))
    room = size - len(bare)
    if room < 0:
        raise ValueError(f"{size} bytes hold no request of lane {lane.name}")
    last = _padded(_PHRASE, room)
    return msgspec.json.encode(lane.document([*turns, ("user", last)], stream))


def _padded(phrase: str, size: int) -> str:
    """Text that takes ``size`` bytes as the inside of a JSON string."""
    unit = len(msgspec.json.encode(phrase)) - 2
    whole = min(size, _TURN_BYTES) // unit
    return phrase * whole + "x" * (size - unit * whole)


def request(lane: Lane, size: int, stream: bool, headers: Mapping[str, str]) -> bytes:
    """A whole HTTP request as bytes; ``headers`` come on top of the lane's own."""
    content = body(lane, size, stream)
    path = lane.stream_path if stream else lane.path
    fields = {"host": "127.0.0.1", **lane.headers, **headers, "content-length": str(len(content))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def credentials(lane: Lane) -> dict[str, str]:
    """The client's key where the lane's dialect puts it."""
    name, form = lane.key
    return {name: form.format(CLIENT_KEY)}


# Anthropic's Messages API, the streaming section: the shapes and the order of the events.
_USAGE = {"input_tokens": 250, "output_tokens": 1}
_MESSAGE: dict[str, Any] = {
    "id": "msg_01BenchBenchBenchBench",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": _USAGE,
}


def _event(kind: str, **members: Any) -> bytes:
    data = msgspec.json.encode({"type": kind, **members})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


OPENING = (
    _event("message_start", message=_MESSAGE),
    _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    _event("ping"),
)
CLOSING = (
    _event("content_block_stop", index=0),
    _event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": 120},
    ),
    _event("message_stop"),
)
ERROR_EVENT = _event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def delta(microseconds: int) -> bytes:
    """A text delta with its mark and the time at which it is sent."""
    return b"%s%s%0*d%s" % (_DELTA[0], MARK, STAMP, microseconds, _DELTA[1])


_DELTA = _event(
    "content_block_delta", index=0, delta={"type": "text_delta", "text": " tokens|: all is well,"}
).split(b"|")


def whole_answer() -> bytes:
    """The body of an answer that is not streamed: about 1 KB."""
    text = f"All is well {MARK.decode()}{'0' * STAMP}. " + "The answer goes on for a while. " * 20
    content = [{"type": "text", "text": text}]
    return msgspec.json.encode({**_MESSAGE, "content": content, "stop_reason": "end_turn"})


def error_body(kind: str) -> bytes:
    """An error answer as Anthropic writes one."""
    error = {"type": kind, "message": "made by the benchmark"}
    return msgspec.json.encode({"type": "error", "error": error})
