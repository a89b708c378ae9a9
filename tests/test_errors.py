"""What a client is told when the provider refuses: status, type and words of its dialect, at once."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from isthmus.errors import hidden
from tests.harness import World, error_message
from tests.test_server import DIALECTS, HEADERS, asked

Told = tuple[int, Any, Any]
"""Status, the error's type (Gemini's status in words), and its code."""

ROWS: list[tuple[dict[str, Any], Told, Told, Told]] = [
    # what the provider says, then what clients of Anthropic, of OpenAI's two and of Gemini are told
    (
        {"status": 400, "type": "invalid_request_error", "message": "messages: no"},
        (400, "invalid_request_error", None),
        (400, "invalid_request_error", None),
        (400, "INVALID_ARGUMENT", 400),
    ),
    (
        {
            "status": 400,
            "type": "invalid_request_error",
            "message": "prompt is too long: 210000 tokens > 200000 maximum",
        },
        (400, "invalid_request_error", None),
        (400, "invalid_request_error", "context_length_exceeded"),
        (400, "INVALID_ARGUMENT", 400),
    ),
    (
        {"status": 402, "type": "billing_error", "message": "Your credit is used up"},
        (402, "billing_error", None),
        (402, "insufficient_quota", "insufficient_quota"),
        (402, "FAILED_PRECONDITION", 402),
    ),
    (
        {"status": 404, "type": "not_found_error", "message": "model: claude-x"},
        (404, "not_found_error", None),
        (404, "invalid_request_error", None),
        (404, "NOT_FOUND", 404),
    ),
    (
        {"status": 413, "type": "request_too_large", "message": "Request exceeds the maximum"},
        (413, "request_too_large", None),
        (413, "invalid_request_error", None),
        (413, "INVALID_ARGUMENT", 413),
    ),
    (
        {"status": 429, "type": "rate_limit_error", "message": "Slow down", "retry_after": 3600},
        (429, "rate_limit_error", None),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (429, "RESOURCE_EXHAUSTED", 429),
    ),
    (
        {"status": 500, "type": "api_error", "message": "Oops"},
        (500, "api_error", None),
        (500, "server_error", None),
        (500, "INTERNAL", 500),
    ),
    (
        {"status": 504, "type": "timeout_error", "message": "Too slow"},
        (504, "timeout_error", None),
        (504, "server_error", None),
        (504, "DEADLINE_EXCEEDED", 504),
    ),
    (
        {"status": 429, "type": "quota_error", "message": "Of a newer type", "retry_after": 3},
        (429, "quota_error", None),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (429, "RESOURCE_EXHAUSTED", 429),
    ),
    (
        {"status": 422, "type": "schema_error", "message": "Of another newer type"},
        (422, "schema_error", None),
        (422, "invalid_request_error", None),
        (422, "INVALID_ARGUMENT", 422),
    ),
    (
        {"status": 529, "type": "overloaded_error", "message": "Overloaded", "retry_after": 9},
        (529, "overloaded_error", None),
        (503, "overloaded_error", None),
        (503, "UNAVAILABLE", 503),
    ),
]
OVERFLOWS = {
    "openai-chat": "This model's maximum context length is 200000 tokens. However, your messages "
    "resulted in 210000 tokens. Please reduce the length of the messages.",
    "openai-responses": "Your input exceeds the context window of this model: its maximum context "
    "length is 200000 tokens, and your input has 210000. Please adjust your input and try again.",
    "gemini": "The input token count (210000) exceeds the maximum number of tokens allowed (200000).",
}
"""What clients act on where the prompt is too long; Anthropic's read the provider's own words."""
SPOKEN = {"anthropic": 1, "openai-chat": 2, "openai-responses": 2, "gemini": 3}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0]["message"])
def test_a_refusal(world: World, dialect: str, stream: bool, row: Any) -> None:
    """Nobody waits for what the provider wants to be waited for: the client is told how long."""
    error, (status, kind, code) = row[0], row[SPOKEN[dialect]]
    world.script(error=error)
    path, body = asked(dialect, "hi", stream=stream)
    started = time.monotonic()
    reply = world.post(path, body, **HEADERS[dialect])
    assert time.monotonic() - started < 2
    assert len(world.received()) == 1
    assert reply.status == status
    words = OVERFLOWS.get(dialect) if "too long" in error["message"] else None
    assert error_message(dialect, reply) == (words or error["message"])
    told = reply.json()["error"]
    assert told["status" if dialect == "gemini" else "type"] == kind
    assert told.get("code") == code
    if words and "param" in told:
        assert told["param"] == ("input" if dialect == "openai-responses" else "messages")
    waits = error.get("retry_after")
    assert reply.headers.get("retry-after") == (None if waits is None else str(waits))
    assert reply.headers["request-id"].startswith("req_011"), "the provider's own"
    assert reply.headers["x-isthmus-exchange"]


WORDS = [
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`.",
    "messages.3: Unexpected role `system`.",
]


@pytest.mark.parametrize("words", WORDS)
def test_a_claude_client_gets_the_very_bytes(world: World, words: str) -> None:
    """It mends its own request by Anthropic's words, and by members that nobody else knows."""
    error = {"type": "invalid_request_error", "message": words, "details": {"of": ["next", 1.0]}}
    body = json.dumps({"type": "error", "error": error, "x": None}, indent=1)
    for stream in (True, False):
        world.script(error={"status": 400, "raw_body": body})
        path, asks = asked("anthropic", "hi", stream=stream)
        reply = world.post(path, asks, **HEADERS["anthropic"])
        assert (reply.status, reply.body.decode()) == (400, body)
        assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no sk-secret-4711 here", "no [key] here"),
        ("a page: 'x sk-secret-4711'", "a page: 'x [key]'"),
        ("a page: 'x sk-secret-47'", "a page: 'x [key]'"),
        ("a page: \"'x' sk-secre\"", "a page: \"'x' [key]\""),
        ("a page: 'x sk-secr'", "a page: 'x sk-secr'"),
        ("'sk-secret-47' is none", "'sk-secret-47' is none"),
        ("", ""),
    ],
)
def test_a_key_is_hidden_whole_or_cut(text: str, shown: str) -> None:
    assert hidden(text, "sk-secret-4711") == shown
    assert hidden(text, "secret") == text, "too short to be a key"
