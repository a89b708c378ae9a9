"""Refusals: the one exception of the simulator and Anthropic's error envelope."""

from __future__ import annotations

from typing import Any

import msgspec

# HTTP status -> error.type (anthropic-messages-api, section 3.1).
TYPES: dict[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Refusal(Exception):
    """A request that is answered with an error; raised where the fact is known.

    `message` is the text that a client sees. `kind` is `error.type`; when absent the status decides it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str | None = None,
        details: dict[str, Any] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind or TYPES.get(status, "api_error")
        self.details = details
        self.headers = headers


def envelope(
    kind: str, message: str, request_id: str | None, details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Anthropic's error object: the body of a refusal and the data of an `error` event."""
    error: dict[str, Any] = {"type": kind, "message": message}
    if details:
        error["details"] = details
    body: dict[str, Any] = {"type": "error", "error": error}
    if request_id is not None:
        body["request_id"] = request_id
    return body


def encode_refusal(refusal: Refusal, request_id: str) -> bytes:
    """The bytes of a refusal's body."""
    return msgspec.json.encode(envelope(refusal.kind, refusal.message, request_id, refusal.details))
