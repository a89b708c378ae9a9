"""The selector: what is a backend, what is a model, and what each parameter does to a request."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.errors import GatewayError
from isthmus.request import Body
from isthmus.routing.selector import PARAMETERS, Selector, apply, parse

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
        ("m?effort=huge", "one of low, medium, high, xhigh, max"),
        ("m?temperature", "not a list of name=value"),
        ("m?top_k=1&top_k=2", "stands twice"),
    ],
)
def test_refusals_name_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        parse(text, BACKENDS)
    assert says in refusal.value.message
    assert (refusal.value.param, refusal.value.row.status) == ("model", 400)


@pytest.mark.parametrize(
    ("parameters", "after"),
    [
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"effort": "low"}, {"output_config": {"format": 1, "effort": "low"}}),
        ({"reasoning_effort": "max"}, {"output_config": {"format": 1, "effort": "max"}}),
        ({"thinking_budget": 2000}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        ({"thinking_budget": 0}, {"thinking": {"type": "disabled"}}),
        ({"service_tier": "auto", "speed": "fast"}, {"service_tier": "auto", "speed": "fast"}),
    ],
)
def test_apply(parameters: dict[str, Any], after: dict[str, Any]) -> None:
    body = Body(b'{"temperature":1,"output_config":{"format":1}}')
    apply(parameters, body)
    assert {name: body.peek(name) for name in after} == after


def test_every_parameter_is_documented() -> None:
    from pathlib import Path

    page = Path(__file__).parents[1] / "docs" / "uri-model-parameters.md"
    text = page.read_text()
    assert [name for name in PARAMETERS if f"`{name}`" not in text] == []
