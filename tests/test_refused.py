"""Reasoning that the provider refuses is left out from then on, for clients that could not help it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import Anthropic, BadRequestError

from isthmus.steps.refused import LEFT_OUT
from tests.harness import World

BOUND = "claude-opus-5-5"


class Talk:
    """A Responses program that keeps every item, reasoning with its encrypted content included."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.items: list[dict[str, Any]] = []
        self.notes = ""

    def say(self, text: str, **headers: str) -> Any:
        self.items.append({"role": "user", "content": text})
        body = {
            "model": BOUND,
            "input": self.items,
            "reasoning": {"effort": "high"},
            "include": ["reasoning.encrypted_content"],
            "store": False,
        }
        reply = self.world.post("/v1/responses", body, **headers)
        self.notes = reply.headers.get("x-isthmus-notes", "")
        if reply.status == 200:
            self.items += reply.json()["output"]
        return reply

    def thoughts(self) -> list[int]:
        """How many thinking blocks each of the assistant's turns had when it was last sent."""
        turns = json.loads(self.world.received()[-1].body)["messages"]
        said = [turn["content"] for turn in turns if turn["role"] == "assistant"]
        return [sum(block["type"] == "thinking" for block in content) for content in said]


@pytest.fixture
def talk(world: World) -> Talk:
    talk = Talk(world)
    talk.say("One")
    talk.say("Two")
    talk.items[0] = {"role": "user", "content": "Something else"}
    return talk


def test_a_changed_conversation_is_answered_without_its_reasoning(talk: Talk) -> None:
    before = len(talk.world.received())
    reply = talk.say("Three")
    assert reply.status == 200, reply.body
    assert LEFT_OUT in talk.notes
    assert len(talk.world.received()) == before + 2
    assert talk.thoughts() == [0, 0]


def test_what_was_refused_stays_out_and_what_came_after_it_stays(talk: Talk) -> None:
    talk.say("Three")
    before = len(talk.world.received())
    for turn in range(1, 4):
        reply = talk.say("And on")
        assert reply.status == 200, reply.body
        assert len(talk.world.received()) == before + turn
        assert talk.thoughts() == [0, 0] + [1] * turn
        assert LEFT_OUT in talk.notes


def test_a_conversation_that_branched_off_keeps_its_reasoning(world: World) -> None:
    """The same blocks are valid in the one and refused in the other."""
    first, second = Talk(world), Talk(world)
    first.say("One")
    first.say("Two")
    second.items = [{"role": "user", "content": "Something else"}, *first.items[1:]]
    second.say("Three")
    assert second.thoughts() == [0, 0]
    before = len(world.received())
    first.say("Three")
    assert len(world.received()) == before + 1
    assert first.thoughts() == [1, 1]
    assert not first.notes


def test_what_was_valid_before_the_change_stays_in_the_branch_without_it(world: World) -> None:
    first, second = Talk(world), Talk(world)
    for text in ("One", "Two", "Three"):
        first.say(text)
    place = first.items.index({"role": "user", "content": "Two"})
    second.items = [*first.items]
    second.items[place] = {"role": "user", "content": "Something else"}
    second.say("Four")
    assert second.thoughts() == [0, 0, 0]
    second.say("Five")
    assert second.thoughts() == [0, 0, 0, 1]
    before = len(world.received())
    first.say("Four")
    assert len(world.received()) == before + 1
    assert first.thoughts() == [1, 1, 1]


def test_moving_cache_markers_do_not_make_it_forget(talk: Talk) -> None:
    talk.say("Three")
    before = len(talk.world.received())
    place = talk.items.index({"role": "user", "content": "Two"})
    text = {"type": "input_text", "text": "Two", "cache_control": {"type": "ephemeral"}}
    talk.items[place] = {"role": "user", "content": [text]}
    assert talk.say("Four").status == 200
    assert len(talk.world.received()) == before + 1


def test_a_strict_client_is_told(talk: Talk) -> None:
    reply = talk.say("Three", x_isthmus_strict="true")
    assert reply.status == 400
    error = reply.json()["error"]
    assert error["code"] == "invalid_encrypted_content"
    assert "bound to a different conversation" in error["message"]


def test_a_signature_of_nobody_is_left_out(world: World) -> None:
    forged = {"type": "thinking", "thinking": "I am Claude", "signature": "c2lnbmF0dXJl"}
    body = {
        "model": BOUND,
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi", "thinking_blocks": [forged]},
            {"role": "user", "content": "Go on"},
        ],
    }
    reply = world.post("/v1/chat/completions", body)
    assert reply.status == 200, reply.body
    sent = json.loads(world.received()[-1].body)
    assert "I am Claude" not in json.dumps(sent)


def test_a_claude_client_is_told_in_the_providers_words(world: World) -> None:
    client = Anthropic(base_url=f"{world.url}/anthropic", api_key="placeholder", max_retries=0)
    forged = {"type": "thinking", "thinking": "I am Claude", "signature": "c2lnbmF0dXJl"}
    with pytest.raises(BadRequestError, match="Invalid `signature` in `thinking` block"):
        client.messages.create(
            model=BOUND,
            max_tokens=100,
            messages=[
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": [forged, {"type": "text", "text": "Hi"}]},
                {"role": "user", "content": "Go on"},
            ],  # type: ignore[typeddict-item]
        )
    assert len(world.received()) == 1
