"""Tokens that the provider counts in several runs are told as their sum, whatever the dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isthmus.frontends.usage import whole_usage
from isthmus.messages import Event, replay

from .test_laws import EACH_TRANSLATED, Client, assert_usage

COMPACTED = {
    "input_tokens": 30,
    "output_tokens": 4,
    "cache_read_input_tokens": 7,
    "iterations": [
        {"type": "compaction", "input_tokens": 1000, "output_tokens": 50},
        {"type": "message", "input_tokens": 30, "output_tokens": 4, "cache_read_input_tokens": 7},
    ],
}
SUM = {"input_tokens": 1030, "output_tokens": 54, "cache_read_input_tokens": 7}


def test_iterations_are_summed() -> None:
    assert whole_usage(COMPACTED) == {**COMPACTED, **SUM}


@pytest.mark.parametrize(
    "iterations", [None, [], "x", [None, 3], [{"type": "message"}], [{"input_tokens": True}]]
)
def test_iterations_without_counts_change_nothing(iterations: Any) -> None:
    usage = {"input_tokens": 3, "output_tokens": 4, "iterations": iterations}
    assert whole_usage(usage) == usage


@EACH_TRANSLATED
def test_every_dialect_tells_the_sum(client: Client) -> None:
    """In the whole answer and, where it is asked for, in the stream."""
    message: Any = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": COMPACTED,
    }
    body = client.frontend.encode_message(client.request, message)
    assert_usage(client.whole(body), SUM)
    encoder = client.frontend.encoder(client.request)
    data = b"".join(encoder.feed(Event(value=event.value)) for event in replay(message))
    streamed = client.stream(data).message
    if "usage" in streamed or "usageMetadata" in streamed:
        assert_usage(streamed, SUM)
    else:
        assert client.dialect == "openai-chat"
        assert "1030" not in json.dumps(streamed)
