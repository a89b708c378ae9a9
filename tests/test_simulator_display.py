"""When the simulator thinks, and what of it a client sees."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.simulator import Simulator

from .simulator_client import Answer, post, with_simulator

SONNET = "claude-sonnet-5-5"
Body = dict[str, Any]


def first_request(model: str = "claude-opus-5-5") -> Body:
    return {
        "model": model,
        "max_tokens": 500,
        "messages": [{"role": "user", "content": "Hello there"}],
    }


DISPLAY = [
    ("claude-opus-5", None, False),
    ("claude-opus-5", "summarized", True),
    ("claude-opus-4-6", None, True),
    ("claude-opus-4-6", "omitted", False),
]


@pytest.mark.parametrize(("model", "display", "visible"), DISPLAY)
def test_display(model: str, display: str | None, visible: bool) -> None:
    def change(body: Body) -> None:
        body["thinking"] = {"type": "adaptive"} | ({"display": display} if display else {})
        body["tools"] = []

    async def work(simulator: Simulator) -> Answer:
        body = first_request(model)
        change(body)
        return await post(simulator, "/v1/messages", body)

    block, text = with_simulator(work).json()["content"]
    assert bool(block["thinking"]) == visible
    assert text["type"] == "text"


DEFAULTS = [
    ("claude-opus-4-8", None, False),
    ("claude-sonnet-5", None, True),
    ("claude-sonnet-4-5", None, False),
    ("claude-fable-5", None, True),
    ("claude-sonnet-5", {"type": "disabled"}, False),
    (SONNET, {"type": "between_tools"}, False),
    ("claude-opus-4-8", {"type": "adaptive"}, True),
]


@pytest.mark.parametrize(("model", "config", "thinks"), DEFAULTS)
def test_when_a_model_thinks(model: str, config: Body | None, thinks: bool) -> None:
    body = first_request(model) | ({"thinking": config} if config else {})
    answer = with_simulator(lambda simulator: post(simulator, "/v1/messages", body)).json()
    assert ("thinking" in [block["type"] for block in answer["content"]]) == thinks
    assert (answer["usage"]["output_tokens_details"]["thinking_tokens"] > 0) == thinks


def test_the_token_count_beta_counts_hidden_thinking() -> None:
    body = {**first_request(), "stream": True}
    headers: dict[str, str | None] = {"anthropic-beta": "thinking-token-count-2026-05-13"}
    answer = with_simulator(lambda simulator: post(simulator, "/v1/messages", body, headers))
    deltas = [event["delta"] for event in answer.events() if event["type"] == "content_block_delta"]
    counted = [delta for delta in deltas if delta["type"] == "thinking_delta"]
    assert counted
    assert all(delta["thinking"] == "" and delta["estimated_tokens"] > 0 for delta in counted)
