"""The frontends: each turns one dialect's requests into the hub's, and the hub's answers back.

A frontend is a module that fits ``Frontend``: pure and synchronous, bytes and values in, bytes and
values out. ``isthmus.server`` holds the table of those that are served.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol
from urllib.parse import unquote

from isthmus.errors import GatewayError
from isthmus.event import Event
from isthmus.messages import Message
from isthmus.request import HttpRequest, Request

Stored = Literal["response", "delete_response", "input_items", "cancel_response"]
"""What can be asked of a response that was stored."""
Served = Literal["messages", "count_tokens", "models", "model", "explain", "routes"] | Stored

Model = dict[str, Any]
"""A model as Anthropic's ``/v1/models`` describes it; only ``id`` is always there."""


@dataclass(frozen=True, slots=True)
class Route:
    """One served path. ``{model}`` in the pattern matches the rest of the path, slashes included.

    ``signs`` are header names (or ``?key`` for a query parameter): where two dialects share a path,
    the one that finds a sign of its own in the request gets it, and the one without signs the rest.
    """

    method: str
    pattern: str
    operation: Served
    signs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """The route that a request took, with the percent-decoded parts of its path."""

    route: Route
    parts: Mapping[str, str] = field(default_factory=dict[str, str])


class Encoder(Protocol):
    """Turns the events of one stream into the client's bytes; each method's bytes are sent at once."""

    content_type: str

    def feed(self, event: Event) -> bytes:
        """The bytes for one event, which may be none. Accepts every legal stream, pings included."""
        ...

    def fail(self, error: GatewayError) -> bytes:
        """The bytes that tell a failure after the stream began; the last ones, with no terminator."""
        ...

    def keep_alive(self) -> bytes:
        """Bytes that keep a silent stream open and mean nothing."""
        ...


class Frontend(Protocol):
    """One dialect as its clients speak it. Every ``decode`` raises GatewayError for a bad request."""

    @property
    def DIALECT(self) -> str: ...

    @property
    def ROUTES(self) -> tuple[Route, ...]: ...

    @property
    def SIGNS(self) -> tuple[str, ...]:
        """Path prefixes and header names that tell this dialect's clients where no route matched."""
        ...

    @property
    def NAMES(self) -> Mapping[str, str]:
        """The hub's field paths that this dialect calls otherwise, for notes to its clients."""
        ...

    def decode(self, http: HttpRequest, match: Match) -> Request: ...

    def encoder(self, request: Request) -> Encoder: ...

    def encode_message(self, request: Request, message: Message) -> bytes: ...

    def encode_count(self, request: Request, tokens: int) -> bytes: ...

    def encode_models(self, models: Sequence[Model], http: HttpRequest) -> bytes:
        """The list of models, paged as the query of the request asks."""
        ...

    def encode_model(self, model: Model) -> bytes: ...

    def encode_error(self, error: GatewayError, request_id: str) -> bytes:
        """The body of an error answer; its status is ``error.status_for(DIALECT)``."""
        ...


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    names = [f"(?P<{p}>.+)" if i % 2 else re.escape(p) for i, p in enumerate(parts)]
    return re.compile("".join(names))


def matched(route: Route, path: str) -> Match | None:
    """Match a request's path, as it was sent, by this route; each part is percent-decoded once."""
    if "{" not in route.pattern:
        return Match(route) if path == route.pattern else None
    found = _compiled(route.pattern).fullmatch(path)
    if found is None:
        return None
    return Match(route, {k: unquote(v) for k, v in found.groupdict().items()})
