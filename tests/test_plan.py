"""The plan of an attempt: where notes come from, and that a strict client gets them as a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.config import BackendConfig, Config
from isthmus.dialects import BACKENDS, FRONTENDS
from isthmus.errors import GatewayError
from isthmus.frontends import matched
from isthmus.plan import is_strict, plan
from isthmus.request import HttpRequest, Request
from tests.harness import VERSION, World, error_message, message, target_of

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
LOSSY: dict[str, dict[str, Any]] = {
    "anthropic": message(tools=[{"name": "a", "input_schema": {"type": "object"}}])
    | {"tool_choice": "auto"},
    "openai-chat": {
        "model": "claude-opus-5-5",
        "messages": HELLO,
        "seed": 7,
        "tools": [TOOL],
        "tool_choice": "required",
    },
    "openai-responses": {
        "model": "claude-opus-5-5",
        "input": "Hello",
        "truncation": "auto",
        "tools": [{"type": "tool_search"}, {"type": "function", **TOOL["function"]}],
        "tool_choice": "required",
    },
    "gemini": {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "generationConfig": {"seed": 7, "temperature": 0.5, "topP": 0.5},
    },
}
"""A request of each dialect that cannot be sent without notes, and what these are about."""

PATHS = {
    "anthropic": "/v1/messages",
    "openai-chat": CHAT,
    "openai-responses": "/v1/responses",
    "gemini": "/v1beta/models/claude-sonnet-4-5:generateContent",
}
NOTED = {
    "anthropic": ['tool_choice changed: "auto" became {"type": "auto"}'],
    "openai-chat": [
        "seed dropped: Anthropic has nothing like it",
        "tool_choice changed: claude-opus-5-5 cannot be forced to use a tool: auto",
    ],
    "openai-responses": [
        "truncation dropped: nothing is left out of a conversation here",
        "tools.0 dropped: every tool is offered at once: there is nothing to be searched",
        "tool_choice changed: claude-opus-5-5 cannot be forced to use a tool: auto",
    ],
    "gemini": [
        "generationConfig.seed dropped: Claude has no seed",
        "generationConfig.topP dropped: "
        "claude-sonnet-4-5-20250929 takes temperature or top_p, not both",
    ],
}


@pytest.fixture(scope="module")
def strict_world() -> Iterator[World]:
    world = World(strict=True)
    yield world
    world.close()


@pytest.mark.parametrize("dialect", LOSSY)
def test_notes_of_both_halves_become_one_refusal(world: World, dialect: str) -> None:
    reply = world.post(PATHS[dialect], LOSSY[dialect], x_isthmus_strict="true", **VERSION)
    said = error_message(dialect, reply)
    assert reply.status == 400
    assert said == "strict: the request cannot be sent as it is: " + "; ".join(NOTED[dialect])
    assert world.received() == []
    reply = world.post(PATHS[dialect], LOSSY[dialect], **VERSION)
    assert reply.status == 200
    assert reply.headers["x-isthmus-notes"] == "; ".join(NOTED[dialect])
    assert len(world.received()) == 1


@pytest.mark.parametrize("dialect", LOSSY)
def test_the_config_is_strict_for_all_and_a_header_for_one(
    strict_world: World, dialect: str
) -> None:
    strict_world.simulator.reset()
    path, body = PATHS[dialect], LOSSY[dialect]
    assert strict_world.post(path, body, **VERSION).status == 400
    assert strict_world.received() == []
    assert strict_world.post(path, body, x_isthmus_strict=" False ", **VERSION).status == 200


def test_a_strict_stream_is_refused_before_it_begins(strict_world: World) -> None:
    reply = strict_world.post(CHAT, {**LOSSY["openai-chat"], "stream": True})
    assert reply.status == 400
    assert reply.json()["error"]["param"] == "seed"
    count = "/v1beta/models/claude-sonnet-4-5:countTokens"
    reply = strict_world.post(count, {"contents": [{"parts": [{"text": "a"}]}], "labels": {}})
    assert "labels dropped" in error_message("gemini", reply)


def test_gemini_clients_get_every_field_as_a_violation(strict_world: World) -> None:
    reply = strict_world.post(PATHS["gemini"], LOSSY["gemini"])
    [bad] = [row for row in reply.json()["error"]["details"] if "fieldViolations" in row]
    assert [row["field"] for row in bad["fieldViolations"]] == [
        "generationConfig.seed",
        "generationConfig.topP",
    ]
    assert [row["description"] for row in bad["fieldViolations"]] == NOTED["gemini"]


def test_what_has_no_notes_passes_a_strict_gateway(strict_world: World) -> None:
    strict_world.simulator.reset()
    native = message(top_p=0.5, temperature=0.5, unheard_of=1)
    reply = strict_world.post("/v1/messages", native, **VERSION)
    assert "unheard_of" in error_message("anthropic", reply), "the provider judged it"
    assert len(strict_world.received()) == 1
    reply = strict_world.post(CHAT, {"model": "claude-sonnet-4-5", "messages": HELLO})
    assert reply.status == 200


@pytest.mark.parametrize("value", ["", "yes", "1", "true, false", "true\t!"])
def test_a_bad_switch_is_refused(world: World, value: str) -> None:
    reply = world.post("/v1/messages", message(), x_isthmus_strict=value, **VERSION)
    assert error_message("anthropic", reply) == "x-isthmus-strict: expected true or false"
    assert (reply.status, world.received()) == (400, [])


def chat(headers: tuple[tuple[str, str], ...] = (), **body: Any) -> Request:
    frontend = FRONTENDS["openai-chat"]
    match = matched(frontend.ROUTES[0], CHAT)
    assert match
    return frontend.decode(HttpRequest("POST", CHAT, "", headers, json.dumps(body).encode()), match)


def test_a_header_sent_twice() -> None:
    once = chat(
        (("x-isthmus-strict", "TRUE"), ("x-isthmus-strict", "true")), model="m", messages=HELLO
    )
    assert is_strict(once, otherwise=False)
    both = chat(
        (("x-isthmus-strict", "true"), ("x-isthmus-strict", "false")), model="m", messages=HELLO
    )
    with pytest.raises(GatewayError, match="expected true or false"):
        is_strict(both, otherwise=False)


def test_a_default_that_is_a_pool_begins_with_its_first_backend() -> None:
    backends = {name: BackendConfig(type="simulator") for name in ("a", "b")}
    config = Config(backends=backends, default_backend="simulator")
    request = chat(model="claude-opus-5-5", messages=HELLO)
    assert target_of(request, config).backend == "a"


def test_a_plan_names_its_target_and_changes_no_request() -> None:
    config = Config(force_model="claude-opus-5-5?effort=max")
    request = chat(model="gpt-7", messages=HELLO, seed=1)
    target = target_of(request, config)
    assert (target.backend, target.model, target.changed) == ("anthropic", "claude-opus-5-5", True)
    first = plan(request, target, BACKENDS["anthropic"], strict=False)
    assert first == plan(request, target, BACKENDS["anthropic"], strict=False)
    assert [note.path for note in first.notes.rows] == ["seed"]
    assert [note.path for note in request.notes.rows] == ["seed"]
    assert first.refusal is None


UNCONTINUED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": (
        "messages",
        {"model": "claude-opus-5-5", "messages": [*HELLO, {"role": "assistant", "content": "Hi"}]},
    ),
    "openai-responses": (
        "input",
        {"model": "claude-opus-5-5", "input": [*HELLO, {"role": "assistant", "content": "Hi"}]},
    ),
    "gemini": (
        "contents",
        {
            "contents": [
                {"role": "user", "parts": [{"text": "Hello"}]},
                {"role": "model", "parts": [{"text": "Hi"}]},
            ]
        },
    ),
}
"""An answer to continue, in each dialect, and what its client calls the conversation."""


@pytest.mark.parametrize("dialect", UNCONTINUED)
def test_what_a_model_refuses_is_named_as_its_client_does(world: World, dialect: str) -> None:
    path, body = UNCONTINUED[dialect]
    address = PATHS[dialect].replace("claude-sonnet-4-5", "claude-opus-5-5")
    reply = world.post(address, body)
    assert (reply.status, world.received()) == (400, [])
    assert error_message(dialect, reply) == (
        f"{path}: claude-opus-5-5 continues no assistant message: end with one of the user"
    )


def test_what_is_only_counted_may_end_with_an_answer(world: World) -> None:
    path, body = UNCONTINUED["gemini"]
    address = "/v1beta/models/claude-opus-5-5:countTokens"
    reply = world.post(address, body)
    assert (reply.status, reply.json()["totalTokens"] > 0) == (200, True)
    told = f'{path} changed: claude-opus-5-5 counts no answer alone: a user\'s "." follows it'
    assert reply.headers["x-isthmus-notes"] == told
    *_, last = json.loads(world.received()[0].body)["messages"]
    assert last == {"role": "user", "content": "."}
