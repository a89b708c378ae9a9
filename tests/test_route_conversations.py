"""A conversation whose key is cooled in its middle goes on with another account, as its client sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types

from isthmus.simulator import Options
from isthmus.steps.refused import LEFT_OUT
from tests import material
from tests.harness import VERSION, World
from tests.test_vault import ASKED, Talk, thoughts

KEYS = tuple(f"sk-account-{number}-{'x' * 20}" for number in range(3))
GUIDE = "You know this house and all that is in it, and you tell it to whoever asks. " * 120
MARK = {"type": "ephemeral"}
TOOL = {
    "name": "read_file",
    "description": "Reads a file",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}
LIMITED = {"error": {"status": 429, "type": "rate_limit_error", "retry_after": 60}}
REFUSED = {
    "error": {
        "status": 400,
        "type": "invalid_request_error",
        "message": "messages.1.content.0: Invalid `signature` in `thinking` block",
    }
}
MODELS = ["claude-sonnet-5-5", "claude-opus-5-5"]
"""One whose reasoning only its own account can read, and one whose reasoning all can."""


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture
def world() -> Iterator[World]:
    """Three keys of three accounts, each with a prompt cache of its own."""
    backend = {"models": [], "api_key": None, "api_keys": list(KEYS)}
    options = Options(api_keys=KEYS, organization_per_key=True)
    made = World(options, backend=backend)
    yield made
    made.close()


def keys_used(world: World) -> list[str]:
    return [dict(one.headers)["x-api-key"] for one in world.received()]


class Session:
    """A conversation as Claude Code sends it: its id in a header, the end of each request marked."""

    def __init__(self, world: World, model: str) -> None:
        self.world = world
        self.model = model
        self.turns: list[dict[str, Any]] = []
        self.attempts = self.notes = ""
        self.dropped: list[str] = []

    def say(self, *content: dict[str, Any]) -> dict[str, Any]:
        """One more turn; its usage is given."""
        self.turns.append({"role": "user", "content": list(content)})
        last = {**content[-1], "cache_control": MARK}
        marked = [*self.turns[:-1], {"role": "user", "content": [*content[:-1], last]}]
        body = {
            "model": self.model,
            "max_tokens": 2000,
            "system": [{"type": "text", "text": GUIDE, "cache_control": MARK}],
            "tools": [TOOL],
            "messages": marked,
            "thinking": {"type": "adaptive"},
        }
        reply = self.world.post(
            "/v1/messages?beta=true",
            body,
            **VERSION,
            anthropic_beta="thinking-binding-controls-2026-08-01",
            x_claude_code_session_id="session-1",
        )
        assert reply.status == 200, reply.body
        self.attempts = reply.headers.get("x-isthmus-attempts", "")
        self.notes = reply.headers.get("x-isthmus-notes", "")
        answer = reply.json()
        self.dropped = [row["reason"] for row in answer.get("input_transformations") or ()]
        self.turns.append({"role": "assistant", "content": answer["content"]})
        assert json.loads(self.world.received()[-1].body) == body, "the client's own request"
        return answer["usage"]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


@pytest.mark.parametrize("model", MODELS)
def test_a_claude_code_conversation_goes_on_with_another_account(world: World, model: str) -> None:
    """Reasoning goes along as it was signed; the provider drops what the other account cannot read."""
    talk = Session(world, model)
    assert talk.say(text("Read the file with read_file."))["cache_read_input_tokens"] == 0
    for turn in range(2):
        calls = [b for b in talk.turns[-1]["content"] if b["type"] == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": "Oslo"} for call in calls
        ]
        usage = talk.say(*results, text(f"And now {turn}?"))
        assert usage["cache_read_input_tokens"] > 1000
        assert not talk.notes
    [first] = set(keys_used(world))

    world.script(**LIMITED)
    usage = talk.say(text("Go on."))
    assert usage["cache_read_input_tokens"] == 0, "the other account has cached nothing of it"
    assert talk.attempts == f"anthropic:{model} 429 rate_limit; anthropic:{model} 200"
    assert "the conversation moved to another key" in talk.notes
    assert ("organization_binding_mismatch" in talk.dropped) == (model == MODELS[0])
    *_, limited, second = keys_used(world)
    assert limited == first != second

    for _ in range(3):
        assert talk.say(text("And on."))["cache_read_input_tokens"] > 1000
        assert not talk.notes
    assert keys_used(world)[-3:] == [second] * 3


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", MODELS)
def test_an_openai_client_moves_to_another_account(world: World, model: str, stream: bool) -> None:
    """In the middle of a tool loop, with the reasoning that the vault keeps for it."""
    talk = Talk(world, model=model)
    talk.say(ASKED)
    world.script(**LIMITED)
    talk.answer_calls(stream=stream)
    before, after = (thoughts(json.loads(one.body)) for one in world.received()[-2:])
    assert before == after
    assert [len(row) for row in after] == [1], "as it was signed, for either account"
    if not stream:
        assert "the conversation moved to another key" in talk.notes
    talk.say({"role": "user", "content": "Thanks."})
    first, limited, second, last = keys_used(world)
    assert first == limited != second == last


def test_what_the_other_account_refuses_is_left_out_and_stays_out(world: World) -> None:
    talk = Talk(world, model=MODELS[1])
    talk.say(ASKED)
    world.script(**LIMITED)
    world.script(**REFUSED)
    talk.answer_calls()
    assert [thoughts(json.loads(one.body)) for one in world.received()[-2:]][-1] == [[]]
    assert LEFT_OUT in talk.notes
    talk.say({"role": "user", "content": "Thanks."})
    assert thoughts(talk.sent())[0] == []
    assert len(world.received()) == 5, "one limited, one refused, and none of them again"


@pytest.mark.parametrize("model", MODELS)
def test_a_gemini_client_moves_to_another_account(world: World, model: str) -> None:
    client = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=world.url))
    config = types.GenerateContentConfig(
        thinking_config=types.ThinkingConfig(include_thoughts=True)
    )
    chat = client.chats.create(model=model, config=config)
    assert chat.send_message("Where is Oslo? Think hard.").text
    assert chat.send_message("And Rome?").text
    world.script(**LIMITED)
    assert chat.send_message("And Bern?").text
    assert chat.send_message("And Kyiv?").text
    *rest, limited, second, last = keys_used(world)
    assert set(rest) == {limited}
    assert limited != second == last
    before, after = (thoughts(json.loads(one.body)) for one in world.received()[-3:-1])
    assert before == after
    assert any(after), "reasoning went along, as it was signed"
