"""The Anthropic frontend: clients of the Messages API, whose bytes are the hub's own.

Source: Anthropic's API reference (Messages, count_tokens, models, errors, streaming).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from isthmus import wire
from isthmus.errors import GatewayError, refuse
from isthmus.event import Event
from isthmus.frontends import Match, Model, Route
from isthmus.messages import Message
from isthmus.request import Body, HttpRequest, Request, expect

DIALECT = "anthropic"

_PATHS = (
    ("POST", "/v1/messages", "messages"),
    ("POST", "/v1/messages/count_tokens", "count_tokens"),
    ("GET", "/v1/models", "models"),
    ("GET", "/v1/models/{model}", "model"),
)
PREFIX = "/anthropic"
_SHARED = "/v1/models"
VERSION = "anthropic-version"

BARE = tuple(Route(method, path, operation) for method, path, operation in _PATHS)
"""The routes of the dedicated port, where the API stands at the root."""

ROUTES = (
    *(Route(method, PREFIX + path, operation) for method, path, operation in _PATHS),
    *(
        Route(method, path, operation, (VERSION,) if path.startswith(_SHARED) else ())
        for method, path, operation in _PATHS
    ),
)
SIGNS = (PREFIX, "/v1/messages", VERSION)
NAMES: Mapping[str, str] = {}

_TOOL_CHOICES = ("auto", "none", "any")
"""Choices that some documentation writes as a bare string."""


def decode(http: HttpRequest, match: Match) -> Request:
    """Read what the gateway itself needs of a Messages request; the rest is the provider's to judge.

    Raises GatewayError (400) for a body that is no JSON object, a wrong type or a repetition of the
    members read here, and a missing ``model``, ``messages`` or ``max_tokens``.
    """
    body = Body(http.body)
    counting = match.route.operation == "count_tokens"
    for name in ("model", "messages") if counting else ("model", "max_tokens", "messages"):
        if name not in body:
            raise refuse(name, "Field required")
    model = expect(body.peek("model"), str, "model", "a string")
    stream = body.peek("stream")
    if not counting:
        expect(body.peek("max_tokens"), int, "max_tokens", "a whole number")
        stream = False if stream is None else expect(stream, bool, "stream", "a boolean")
    request = Request(
        dialect=DIALECT,
        body=body,
        model=model,
        stream=bool(stream) and not counting,
        operation="count_tokens" if counting else "messages",
        headers=http.headers,
        query=http.query,
    )
    choice = body.peek("tool_choice")
    if isinstance(choice, str):
        if choice not in _TOOL_CHOICES:
            raise refuse("tool_choice", 'expected an object such as {"type": "auto"}')
        body.edit("tool_choice", {"type": choice})
        request.notes.changed("tool_choice", f'"{choice}" became {{"type": "{choice}"}}')
    return request


class _Encoder:
    """Passes events on as they came."""

    content_type = "text/event-stream; charset=utf-8"

    def feed(self, event: Event) -> bytes:
        return event.wire

    def fail(self, error: GatewayError) -> bytes:
        return wire.frame(encode_error(error, ""), "error")

    def keep_alive(self) -> bytes:
        return b'event: ping\ndata: {"type": "ping"}\n\n'


def encoder(request: Request) -> _Encoder:
    return _Encoder()


def encode_message(request: Request, message: Message) -> bytes:
    return wire.dumps(message)


def encode_count(request: Request, tokens: int) -> bytes:
    return wire.dumps({"input_tokens": tokens})


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """Anthropic's envelope; a provider's own body, where there is one, byte for byte."""
    if error.body is not None:
        return error.body
    value: dict[str, Any] = {
        "type": "error",
        "error": {"type": error.row.anthropic, "message": error.message},
    }
    return wire.dumps({**value, "request_id": request_id} if request_id else value)


# --- model lists --------------------------------------------------------------------------------


def encode_models(models: Sequence[Model], http: HttpRequest) -> bytes:
    """A page by ``limit`` (1 to 1000, default 20), ``after_id`` and ``before_id``."""
    asked = {name: values[-1] for name, values in parse_qs(http.query).items()}
    rows = _after(list(models), asked)
    limit = _limit(asked)
    page = rows[-limit:] if "before_id" in asked else rows[:limit]
    return wire.dumps(
        {
            "data": [_described(model) for model in page],
            "has_more": len(rows) > len(page),
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }
    )


def _after(rows: list[Model], asked: Mapping[str, str]) -> list[Model]:
    ids = [model["id"] for model in rows]
    for name, cut in (("after_id", slice(1, None)), ("before_id", slice(0, 0))):
        if name not in asked:
            continue
        if asked[name] not in ids:
            raise refuse(name, f"no model {asked[name]!r} in this list")
        at = ids.index(asked[name])
        return rows[at:][cut] if name == "after_id" else rows[:at]
    return rows


def _limit(asked: Mapping[str, str]) -> int:
    text = asked.get("limit", "20")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise refuse("limit", f"expected a whole number from 1 to 1000, got {text!r}")
    return int(text)


def _described(model: Model) -> Model:
    return {"type": "model", "display_name": model["id"], "created_at": _EPOCH, **model}


_EPOCH = "1970-01-01T00:00:00Z"
"""What the SDKs' types want where nobody knows when a model came out."""


def encode_model(model: Model) -> bytes:
    return wire.dumps(_described(model))
