"""The Anthropic backend: Messages requests for Anthropic's API and whatever speaks it.

Source: Anthropic's API reference (Messages, errors, streaming, versions and beta headers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from isthmus import properties, wire
from isthmus.adapt import adapt, close_turn, refuse_continuation
from isthmus.errors import GatewayError, broken, cut_off, provider_error, quoted
from isthmus.event import Event
from isthmus.messages import STREAM_EVENTS, Turn, replay
from isthmus.profiles import Profile, profile
from isthmus.prompt_cache import marked
from isthmus.request import (
    Body,
    Headers,
    HttpRequest,
    Notes,
    Pause,
    Request,
    Target,
    check_shapes,
    is_short,
)
from isthmus.routing import parameters
from isthmus.turns import trimmed

DIALECT = "anthropic"
PATHS = {"messages": "/v1/messages", "count_tokens": "/v1/messages/count_tokens"}

TRANSLATED_VERSION = "2023-06-01"
"""The API version of bodies that the gateway builds: it still takes sampling on the models that do."""

FAST = "fast-mode-2026-02-01"
"""The beta that a request for speed needs on most models: added where a selector asked for it."""
_FAST_FAMILY = "fast-mode-"
"""Two versions of one beta in a request are refused, so a version that the client names stands alone."""

ON_DEMAND = "compact-2026-09-04"
AT_A_THRESHOLD = "compact-2026-01-12"
"""The betas of the two ways of compacting; the blocks of either are known under both."""

_NOT_COUNTED = (
    "max_tokens",
    "stream",
    "metadata",
    "stop_sequences",
    "service_tier",
    "temperature",
    "top_p",
    "top_k",
)
"""Members of a Messages body that count_tokens does not know."""

_KEPT_BACK = frozenset(
    "authorization x-api-key x-goog-api-key api-key cookie proxy-authorization proxy-connection "
    "connection keep-alive te trailer transfer-encoding upgrade host content-length content-type "
    "content-encoding accept-encoding expect origin referer forwarded via x-real-ip".split()
)
_KEPT_BACK_PREFIXES = ("x-forwarded-", "x-isthmus-", "sec-", "access-control-", "cf-")
"""Headers that are the connection's, the gateway's or a credential: all others are the provider's."""

_PASSED = ("request-id", "retry-after", "retry-after-ms", "x-should-retry")
_PASSED_PREFIXES = ("anthropic-ratelimit-", "anthropic-priority-", "anthropic-fast-")


def encode(request: Request, target: Target, notes: Notes) -> HttpRequest:
    """The request for one attempt: a Claude client's own bytes, with only what must be edited."""
    body = request.body.copy()
    native = request.dialect == DIALECT
    if body.peek("model") != target.model:
        body.edit("model", target.model)
    if not native and request.operation == "messages" and not is_short(request, target):
        body.edit("stream", True)
    if not native:
        _fit(body, request, target, notes)
        if request.operation == "count_tokens":
            close_turn(body, _taken(target), notes)
        elif "compaction" not in body:
            refuse_continuation(body, _taken(target))
        _declare(body, notes)
        if request.pause is not None:
            _resume(body, request.pause)
        properties.rename(body, notes)
    elif target.changed:
        body = _fitted_if_sound(body, request, target, notes)
    return HttpRequest(
        method="POST",
        path=PATHS[request.operation],
        query=_without_key(request.query) if native else "",
        headers=(*_headers(request, body, native), ("x-api-key", request.key)),
        body=_cached(body, request, target).wire(),
    )


def _cached(body: Body, request: Request, target: Target) -> Body:
    """The body with the markers that the operator asks for; what is only counted needs none."""
    wanted = target.prompt_cache and request.operation == "messages"
    return marked(body) if wanted else body


def _resume(body: Body, pause: Pause) -> None:
    """Put a paused turn at the end of a body that is otherwise the one of the first round.

    The code that the turn runs goes on in its container.
    """
    turn: Turn = {"role": "assistant", "content": list(pause.blocks)}
    body.edit("messages", trimmed([*body.peek("messages"), turn], Notes(), "messages"))
    if pause.container is not None:
        asked = body.peek("container")
        named = {**asked, "id": pause.container} if isinstance(asked, dict) else pause.container
        body.edit("container", named)


def _taken(target: Target) -> Profile:
    """What the target's model takes: as the configuration says, or else the package's table."""
    return target.profile or profile(target.model)


def _fitted_if_sound(body: Body, request: Request, target: Target, notes: Notes) -> Body:
    """A Claude client's body for a model that we chose; a malformed one is the provider's to refuse."""
    twin, made = body.copy(), Notes()
    try:
        _fit(twin, request, target, made)
    except GatewayError:
        return body
    notes.take(made, {})
    return twin


def _fit(body: Body, request: Request, target: Target, notes: Notes) -> None:
    """Make the body one that the target's model takes, with the selector's parameters and its defaults."""
    check_shapes(body)
    parameters.apply(parameters.taken(target.parameters, DIALECT, notes), body)
    if target.defaults:
        parameters.supply(parameters.taken(target.defaults, DIALECT, Notes()), body)
    adapt(body, _taken(target), notes)
    if request.operation == "count_tokens":
        for name in _NOT_COUNTED:
            body.drop(name)


def _declare(body: Body, notes: Notes) -> None:
    """Declare the tools of earlier calls where no tool is: a history with calls needs them.

    None can be called: the client offers none, and what their input is is not known.
    """
    if body.peek("tools"):
        return
    blocks = (b for turn in body.peek("messages") for b in turn["content"] if type(b) is dict)
    names = dict.fromkeys(str(b.get("name")) for b in blocks if b.get("type") == "tool_use")
    if names:
        notes.changed("tools", "the tools of earlier calls were declared, and cannot be called")
        schema = {"type": "object"}
        body.edit("tools", [{"name": name, "input_schema": schema} for name in names])
        body.edit("tool_choice", {"type": "none"})


def _headers(request: Request, body: Body, native: bool) -> Headers:
    own = (("content-type", "application/json"), ("accept-encoding", "identity"))
    betas = tuple(row for row in request.headers if row[0] == "anthropic-beta")
    named = any(_FAST_FAMILY in value for _, value in betas)
    if body.edited and body.peek("speed") == "fast" and not named:
        own = (*own, ("anthropic-beta", FAST))
    if native:
        listed = {
            t.strip().lower() for k, v in request.headers if k == "connection" for t in v.split(",")
        }
        return (*(row for row in request.headers if _passes(row[0]) and row[0] not in listed), *own)
    needed = (("anthropic-beta", beta) for beta in _betas(body) if beta not in str(betas))
    return (("anthropic-version", TRANSLATED_VERSION), *betas, *needed, *own)


def _betas(body: Body) -> list[str]:
    """The betas that a body which we built cannot do without."""
    edits = (body.peek("context_management") or {}).get("edits") or ()
    turns = body.peek("messages") or ()
    replayed = any(
        block["type"] == "compaction"
        for turn in turns
        for block in (turn["content"] if isinstance(turn["content"], list) else ())
    )
    threshold = any(edit.get("type") == "compact_20260112" for edit in edits)
    wanted = {
        AT_A_THRESHOLD: threshold or replayed,
        ON_DEMAND: "compaction" in body or replayed,
    }
    return [beta for beta, needed in wanted.items() if needed]


def _passes(name: str) -> bool:
    return name not in _KEPT_BACK and not name.startswith(_KEPT_BACK_PREFIXES)


def _without_key(query: str) -> str:
    """The query without ``key=``, where a client may have put the gateway's own key."""
    if "key=" not in query:
        return query
    return "&".join(part for part in query.split("&") if not part.startswith("key="))


_WITHIN = frozenset({"content_block_start", "content_block_delta", "content_block_stop"})
"""Events that change nothing of what the decoder keeps in mind."""


_CONTENT = re.compile(
    rb"(?:event: content_block_(?:delta|start|stop)\ndata: \{[^\r\n]*+(?<=\})\n\n)*+"
)
"""Frames of content as Anthropic writes them."""


class _Decoder:
    """Cuts the stream into events and sees that it ends as it should.

    For a client of the provider's own dialect frames of content stay together: one event holds all
    that came in one read, since nobody looks into them.
    """

    def __init__(self, renamed: Mapping[str, properties.Names], *, native: bool) -> None:
        self._own = properties.Restored(renamed) if renamed else None
        self._native = native and not renamed
        self._frames = wire.Frames()
        self._begun = False
        self.ended = False
        self.failure: GatewayError | None = None

    def feed(self, data: bytes) -> list[Event]:
        if not self._native:
            return self._cut(data)
        events: list[Event] = []
        if not self._begun:
            first = data.find(b"\n\n") + 2
            events, data = self._cut(data[:first]), data[first:]
        if self._begun and not (self.ended or self.failure):
            content, data = self._frames.ahead(data, _CONTENT)
            if not _is_text(content):
                content, data = b"", content + data
            if content:
                events.append(Event(content))
        return events + self._cut(data) if data else events

    def _cut(self, data: bytes) -> list[Event]:
        """One event for each frame."""
        events: list[Event] = []
        try:
            for frame in self._frames.feed(data):
                if self.ended or self.failure:
                    break
                event = Event(frame)
                plain = self._begun and event.type in _WITHIN and frame.isascii()
                if not plain or b"\ndata: {" not in frame:
                    self._follow(event)
                if self._own is None:
                    events.append(event)
                else:
                    events += self._own.feed(event)
        except GatewayError as error:
            self.failure = error
        return events

    def _follow(self, event: Event) -> None:
        kind = event.type
        if not _is_sound(event):
            raise _not_a_stream(event.wire)
        if kind in ("message_stop", "error"):
            self.ended = True
        if self._begun or kind not in STREAM_EVENTS or kind == "error":
            return
        if kind != "message_start" or not isinstance(event.value.get("message"), dict):
            raise _not_a_stream(event.wire)
        self._begun = True

    def finish(self) -> None:
        if not self.ended:
            raise (
                cut_off()
                if self._begun or not self._frames.rest
                else _not_a_stream(self._frames.rest)
            )


def _is_text(data: bytes) -> bool:
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
    return True


def _is_sound(event: Event) -> bool:
    """Whether a frame holds what its kind must, without decoding it: UTF-8, and an object as data."""
    frame = event.wire
    if not _is_text(frame):
        return False
    if event.type:
        return b"\ndata: {" in frame or bool(event.value)
    return not frame.strip() or frame.startswith((b":", b"id:", b"retry:"))


def _not_a_stream(data: bytes) -> GatewayError:
    return GatewayError(
        "upstream_bad_response",
        f"the provider sent something other than a Messages stream: {quoted(data)}",
        source="upstream",
    )


def decoder(request: Request) -> _Decoder:
    native = request.dialect == DIALECT
    renamed = {} if native else properties.renamed(request.body.peek("tools"))
    return _Decoder(renamed, native=native)


def decode_message(request: Request, body: bytes) -> list[Event]:
    """The events of a whole answer. Raises GatewayError for what is no message."""
    try:
        value = wire.loads(body)
        events = list(replay(value))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise broken(f"no message: {quoted(body)}") from None
    renamed = properties.renamed(request.body.peek("tools"))
    if not renamed:
        return events
    own = properties.Restored(renamed)
    return [kept for event in events for kept in own.feed(event)]


_BY_STATUS = {
    400: "invalid_request",
    402: "billing",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limit",
    503: "unavailable",
    504: "timeout",
    529: "overloaded",
}


def decode_error(status: int, headers: Headers, body: bytes) -> GatewayError:
    """Read an error answer, by its status where its type is not known.

    401 and 403 speak of the gateway's key, which is no fault of the client.
    """
    try:
        value = wire.loads(body)
    except ValueError:
        value = None
    envelope = isinstance(value, dict) and isinstance(value.get("error"), dict)  # pyright: ignore
    if envelope:
        error = provider_error(value, _BY_STATUS.get(status, "internal"))
    else:
        kind = _BY_STATUS.get(status, "upstream_bad_response")
        text = f"the provider answered {status} with {quoted(body)}" if body else f"HTTP {status}"
        error = GatewayError(kind, text, source="upstream")
    error.headers = passed_headers(headers)
    error.retry_after = _seconds(dict(headers).get("retry-after"))
    if status in (401, 403):
        error.kind = "upstream_refused_key"
        return error
    if 400 <= status <= 599:
        error.status = status
        error.body = body if envelope else None
    return error


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None


def passed_headers(headers: Headers) -> Headers:
    """The answer headers that a client may see: request id, rate limits, retry hints."""
    return tuple(row for row in headers if row[0] in _PASSED or row[0].startswith(_PASSED_PREFIXES))
