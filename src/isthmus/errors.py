"""What can go wrong: one exception, and the table of its kinds in every dialect."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, cast

Source = Literal["client", "gateway", "upstream"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of failure is named: HTTP status, and the type in each dialect's envelope."""

    status: int
    anthropic: str
    openai: str
    gemini: str
    openai_code: str | None = None


KINDS: dict[str, Kind] = {
    "invalid_request": Kind(
        400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"
    ),
    "context_overflow": Kind(
        400,
        "invalid_request_error",
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "context_length_exceeded",
    ),
    "reasoning_refused": Kind(
        400,
        "invalid_request_error",
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "invalid_encrypted_content",
    ),
    "authentication": Kind(
        401, "authentication_error", "invalid_request_error", "UNAUTHENTICATED", "invalid_api_key"
    ),
    "billing": Kind(
        402, "billing_error", "insufficient_quota", "FAILED_PRECONDITION", "insufficient_quota"
    ),
    "permission": Kind(403, "permission_error", "permission_error", "PERMISSION_DENIED"),
    "not_found": Kind(404, "not_found_error", "invalid_request_error", "NOT_FOUND"),
    "model_not_found": Kind(
        404, "not_found_error", "invalid_request_error", "NOT_FOUND", "model_not_found"
    ),
    "method_not_allowed": Kind(
        405, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"
    ),
    "request_timeout": Kind(408, "timeout_error", "timeout_error", "DEADLINE_EXCEEDED"),
    "previous_response_not_found": Kind(
        400,
        "invalid_request_error",
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "previous_response_not_found",
    ),
    "conflict": Kind(409, "conflict_error", "conflict_error", "ABORTED"),
    "too_large": Kind(413, "request_too_large", "invalid_request_error", "INVALID_ARGUMENT"),
    "uri_too_long": Kind(414, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
    "too_large_head": Kind(
        431, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"
    ),
    "unsupported_encoding": Kind(
        415, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"
    ),
    "upgrade_refused": Kind(
        426, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"
    ),
    "rate_limit": Kind(
        429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED", "rate_limit_exceeded"
    ),
    "internal": Kind(500, "api_error", "server_error", "INTERNAL"),
    "upstream_bad_response": Kind(502, "api_error", "server_error", "UNAVAILABLE"),
    "upstream_dns": Kind(502, "api_error", "server_error", "UNAVAILABLE"),
    "upstream_tls": Kind(502, "api_error", "server_error", "UNAVAILABLE"),
    "upstream_unreachable": Kind(502, "api_error", "server_error", "UNAVAILABLE"),
    "upstream_disconnected": Kind(502, "api_error", "server_error", "UNAVAILABLE"),
    "upstream_refused_key": Kind(502, "api_error", "server_error", "UNAVAILABLE"),
    "unavailable": Kind(503, "api_error", "server_error", "UNAVAILABLE"),
    "loop": Kind(508, "api_error", "server_error", "FAILED_PRECONDITION"),
    "timeout": Kind(504, "timeout_error", "server_error", "DEADLINE_EXCEEDED"),
    "overloaded": Kind(529, "overloaded_error", "overloaded_error", "UNAVAILABLE"),
}
"""Source of the Anthropic column: its errors page; 402 and 529 have no twin in the other dialects."""

OUTSIDE_ANTHROPIC = {529: 503}
"""Statuses that only Anthropic's clients know, and what the others are told instead."""


class GatewayError(Exception):
    """A failure that a client is told about, raised where the fact is known.

    ``kind`` is a key of ``KINDS``; ``param`` the path of the field at fault (``messages.0.content``),
    and ``faults`` all such paths, each with what is wrong there, where there may be several;
    ``retry_after`` is in seconds. ``tokens`` are those of a prompt that is too long and those that the
    target takes, where both are known: a route looks by them for a larger window. ``body`` holds an
    Anthropic provider's own error body, which an Anthropic client receives byte for byte; ``status`` and
    ``headers`` then are the provider's too.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        param: str | None = None,
        source: Source = "client",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.param = param
        self.source: Source = source
        self.retry_after = retry_after
        self.status: int | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        self.body: bytes | None = None
        self.faults: tuple[tuple[str, str], ...] = ()
        self.tokens: tuple[int, int] | None = None

    @property
    def row(self) -> Kind:
        return KINDS[self.kind]

    def status_for(self, dialect: str) -> int:
        """The HTTP status that a client of this dialect is answered with."""
        status = self.status or self.row.status
        return status if dialect == "anthropic" else OUTSIDE_ANTHROPIC.get(status, status)

    def words(self, dialect: str) -> str:
        """The message as a client of this dialect acts on it."""
        form = _OVERFLOWS.get(dialect)
        if form is None or self.tokens is None:
            return self.message
        count, maximum = self.tokens
        return form.format(count=count, maximum=maximum)


_OVERFLOWS = {
    "openai-chat": "This model's maximum context length is {maximum} tokens. However, your messages "
    "resulted in {count} tokens. Please reduce the length of the messages.",
    "openai-responses": "Your input exceeds the context window of this model: its maximum context "
    "length is {maximum} tokens, and your input has {count}. Please adjust your input and try again.",
    "gemini": "The input token count ({count}) exceeds the maximum number of tokens allowed "
    "({maximum}).",
}
"""How each dialect says that a prompt is too long: its clients compact or shorten it when they read this.
Anthropic's own words are the message itself. Source: what OpenAI and Google answer; the matchers of
clients, which look for "maximum context length", "exceeds the context window" and the whole of Google's."""


def overflow(count: int, maximum: int) -> GatewayError:
    """The 400 for a prompt of more tokens than the target takes, in Anthropic's words."""
    text = f"prompt is too long: {count} tokens > {maximum} maximum"
    error = GatewayError("context_overflow", text)
    error.tokens = count, maximum
    return error


def refuse(path: str, message: str) -> GatewayError:
    """A 400 that names the field at fault by its path in the client's own request."""
    return GatewayError("invalid_request", f"{path}: {message}" if path else message, param=path)


# --- what providers do wrong, and say ------------------------------------------------------------


def quoted(data: bytes, limit: int = 200) -> str:
    """At most ``limit`` bytes of a foreign body, fit to be shown."""
    return ascii(data[:limit].decode("utf-8", "replace"))


SECRET_LENGTH = 8
"""Shorter keys are placeholders, which may stand in any text."""
HIDDEN = "[key]"


def hidden(text: str, secret: str) -> str:
    """The text without a secret, nor the beginning of one where a quotation (``quoted``) ends in it."""
    if len(secret) < SECRET_LENGTH:
        return text
    text = text.replace(secret, HIDDEN)
    for size in range(len(secret) - 1, SECRET_LENGTH - 1, -1):
        if text[:-1].endswith(secret[:size]) and text[-1] in "'\"":
            return text[: -size - 1] + HIDDEN + text[-1]
    return text


def broken(what: str) -> GatewayError:
    """The error for a provider that does not keep to its own protocol."""
    return GatewayError("upstream_bad_response", f"the provider sent {what}", source="upstream")


def cut_off() -> GatewayError:
    """The error for a stream that ended without ``message_stop``."""
    return GatewayError(
        "upstream_disconnected",
        "the provider broke off before the answer was complete",
        source="upstream",
    )


_KINDS = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "upstream_refused_key",
    "billing_error": "billing",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "conflict_error": "conflict",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limit",
    "api_error": "internal",
    "timeout_error": "timeout",
    "overloaded_error": "overloaded",
}
_TEXTS = {
    "billing": ("credit balance is too low", "reached your specified API usage limits"),
    "context_overflow": ("prompt is too long", "exceed context limit"),
    "reasoning_refused": (
        *("`signature` in `thinking` block", "`data` in `redacted_thinking` block"),
        "blocks in the latest assistant message cannot be modified",
    ),
}
"""Requests that are invalid in a way of their own, told by the provider's words."""


_TOO_LONG = re.compile(r"prompt is too long: (\d{1,12}) tokens > (\d{1,12}) maximum")
_NO_ROOM = re.compile(r"exceed context limit: (\d{1,12}) \+ (\d{1,12}) > (\d{1,12})")


def _told_tokens(message: str) -> tuple[int, int] | None:
    """The numbers in the provider's words; where the answer has no room, prompt and answer together."""
    if found := _TOO_LONG.search(message):
        return int(found[1]), int(found[2])
    if found := _NO_ROOM.search(message):
        return int(found[1]) + int(found[2]), int(found[3])
    return None


def provider_error(value: Any, otherwise: str = "internal") -> GatewayError:
    """Read Anthropic's error envelope; a type that is not known counts as the kind ``otherwise``."""
    error = value.get("error") if isinstance(value, dict) else None  # pyright: ignore
    error = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
    message = str(error.get("message") or "the provider reported an error without a message")
    kind = _KINDS.get(str(error.get("type")), otherwise)
    if kind == "invalid_request":
        found = (row for row, texts in _TEXTS.items() if any(text in message for text in texts))
        kind = next(found, kind)
    told = GatewayError(kind, message, source="upstream")
    if kind == "context_overflow":
        told.tokens = _told_tokens(message)
    return told
