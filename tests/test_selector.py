"""The selector: what is a backend, what is a model, and what a parameter may not be."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.errors import GatewayError
from isthmus.routing.selector import Selector, parse

BACKENDS = ("anthropic", "local")


@pytest.mark.parametrize(
    ("text", "backend", "model", "parameters"),
    [
        ("claude-x", None, "claude-x", {}),
        ("anthropic:claude-x", "anthropic", "claude-x", {}),
        ("local:llama3:8b", "local", "llama3:8b", {}),
        ("llama3:8b", None, "llama3:8b", {}),
        ("openrouter/anthropic/claude-x:beta", None, "openrouter/anthropic/claude-x:beta", {}),
        ("unknown:claude-x", None, "unknown:claude-x", {}),
        ("anthropic:claude-x?temperature=0.7", "anthropic", "claude-x", {"temperature": 0.7}),
        ("m?effort=high&top_k=0", None, "m", {"effort": "high", "top_k": 0}),
        ("m?", None, "m", {}),
        ("m?thinking_budget=0", None, "m", {"thinking_budget": 0}),
    ],
)
def test_parse(text: str, backend: str | None, model: str, parameters: dict[str, Any]) -> None:
    assert parse(text, BACKENDS) == Selector(backend, model, parameters)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no model"),
        ("anthropic:", "names no model"),
        ("?temperature=1", "names no model"),
        ("m?temprature=1", "did you mean 'temperature'?"),
        ("m?x=1", "known are temperature"),
        ("m?temperature=hot", "a number from 0 to 2"),
        ("m?temperature=3", "a number from 0 to 2"),
        ("m?temperature=nan", "a number from 0 to 2"),
        ("m?top_p=1.1", "a number from 0 to 1"),
        ("m?max_tokens=0", "a whole number from 1"),
        ("m?max_tokens=1.5", "a whole number from 1"),
        ("m?effort=huge", "low, medium, high, xhigh or max"),
        ("m?temperature", "not a list of name=value"),
        ("m?top_k=1&top_k=2", "stands twice"),
    ],
)
def test_refusals_name_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        parse(text, BACKENDS)
    assert says in refusal.value.message
    assert (refusal.value.param, refusal.value.row.status) == ("model", 400)
