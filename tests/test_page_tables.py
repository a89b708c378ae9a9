"""The seed page's JSON fragments and tables, and those of our own page, held against the product.

Each fragment is sent in a complete request through the native lane, where it must arrive byte for
byte, and as its counterpart through Chat and Gemini, where it must arrive as the page says.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests import legality, printed
from tests.harness import VERSION, World, whole_stream
from tests.printed import ROOT

OURS = (ROOT / "docs" / "anthropic.md").read_text("utf-8")
SEED = printed.seed()
seeded = pytest.mark.skipif(not SEED, reason="the seed page is not here")

MODEL = "claude-3-5-sonnet-20241022"
THINKER = "claude-sonnet-4-20250514"
NEWEST = "claude-sonnet-5-5"
CHAT = "/v1/chat/completions"
PNG, PDF = re.findall(r'"data": "([\w+/=]{80,})"', OURS)
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Get current weather for a location",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "City name"}},
        "required": ["location"],
    },
}
HELLO = [{"role": "user", "content": "Hello"}]


def last_body(world: World) -> dict[str, Any]:
    return json.loads(world.received()[-1].body)


def native(world: World, body: dict[str, Any]) -> dict[str, Any]:
    """Send a Messages request, streaming or not: it arrives as it is, and is answered."""
    data = json.dumps(body).encode()
    reply = world.post("/anthropic/v1/messages", data, **VERSION)
    assert reply.status == 200, reply.body
    assert world.received()[-1].body == data
    if body.get("stream"):
        return whole_stream("anthropic", reply).message
    assert reply.json()["type"] == "message"
    streamed = json.dumps({**body, "stream": True}).encode()
    whole_stream("anthropic", world.post("/anthropic/v1/messages", streamed, **VERSION))
    assert world.received()[-1].body == streamed
    return reply.json()


def chat(world: World, members: dict[str, Any]) -> dict[str, Any]:
    """Send a Chat request, streaming and not: accepted, and the same body arrives but for ``stream``."""
    body = {"model": MODEL, "messages": HELLO, **members}
    whole_stream("openai-chat", world.post(CHAT, {**body, "stream": True}))
    arrived = last_body(world)
    reply = world.post(CHAT, body)
    assert reply.status == 200, reply.body
    legality.chat_completion(reply.body)
    assert {**last_body(world), "stream": True} == arrived
    return arrived


def gemini(world: World, members: dict[str, Any]) -> dict[str, Any]:
    """The same for a Gemini request; ``model`` goes into its path."""
    body = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}], **members}
    path = f"/v1beta/models/{body.pop('model', MODEL)}"
    whole_stream("gemini", world.post(f"{path}:streamGenerateContent?alt=sse", body))
    arrived = last_body(world)
    reply = world.post(f"{path}:generateContent", body)
    assert reply.status == 200, reply.body
    legality.gemini_response(reply.body)
    assert last_body(world) == arrived
    return arrived


# --- fragments ----------------------------------------------------------------------------------


def complete(fragment: dict[str, Any]) -> dict[str, Any]:
    """A fragment as a whole request, real data in the place of its placeholders."""
    text = json.dumps(fragment)
    text = text.replace("<base64-encoded-image>", PNG).replace("<base64-encoded-pdf>", PDF)
    value = json.loads(text)
    if "source" in value:
        content = [value, {"type": "text", "text": "What is this?"}]
        value = {"messages": [{"role": "user", "content": content}]}
    return {"model": MODEL, "max_tokens": 1024, "messages": HELLO, **value}


@seeded
@pytest.mark.parametrize("fragment", printed.fragments(SEED), ids=lambda f: "-".join(f)[:40])
def test_a_fragment_of_the_seed_page_through_the_native_lane(
    world: World, fragment: dict[str, Any]
) -> None:
    native(world, complete(fragment))


@seeded
def test_which_fragments_the_seed_page_has() -> None:
    found = printed.fragments(SEED)
    assert [next(iter(fragment)) for fragment in found] == [
        *("model", "model", "type", "type", "type", "system", "tools")
    ]
    assert found[0]["thinking"] == {"type": "enabled", "budget_tokens": 10000}
    assert found[1]["service_tier"] == "auto"
    assert [fragment["type"] for fragment in found[2:5]] == ["image", "image", "document"]
    assert found[6]["tools"] == [WEATHER]


@pytest.mark.parametrize("body", printed.fragments(OURS), ids=lambda body: "-".join(body)[:40])
def test_a_request_of_our_page_through_the_native_lane(world: World, body: dict[str, Any]) -> None:
    native(world, body)


def content(body: dict[str, Any]) -> list[dict[str, Any]]:
    return body["messages"][0]["content"]


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}]}


def gemini_user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [*parts, {"text": "?"}]}]}


def test_thinking(world: World) -> None:
    budget = {"type": "enabled", "budget_tokens": 10000}
    config = {"thinkingConfig": {"thinkingBudget": 10000}, "maxOutputTokens": 16000}
    got = chat(world, {"model": THINKER, "max_tokens": 16000, "thinking": budget})
    assert (got["thinking"], got["max_tokens"]) == (budget, 16000)
    got = gemini(world, {"model": THINKER, "generationConfig": config})
    assert got["max_tokens"] == 16000
    assert got["thinking"].items() >= budget.items()


def test_thinking_is_answered_with_blocks(world: World) -> None:
    thinking = {"type": "enabled", "budget_tokens": 10000}
    body = complete({"model": THINKER, "max_tokens": 16000, "thinking": thinking})
    kinds = [block["type"] for block in native(world, body)["content"]]
    assert kinds == ["thinking", "text"]


@pytest.mark.parametrize("tier", ["auto", "standard_only"])
def test_service_tier(world: World, tier: str) -> None:
    native(world, complete({"service_tier": tier}))
    assert chat(world, {"service_tier": tier})["service_tier"] == tier


def test_images(world: World) -> None:
    inline = {"type": "base64", "media_type": "image/png", "data": PNG}
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    for got in (
        chat(world, user(part)),
        gemini(world, gemini_user({"inlineData": {"mimeType": "image/png", "data": PNG}})),
    ):
        assert content(got)[0] == {"type": "image", "source": inline}
    part = {"type": "image_url", "image_url": {"url": "https://example.com/image.jpg"}}
    source = {"type": "url", "url": "https://example.com/image.jpg"}
    assert content(chat(world, user(part)))[0] == {"type": "image", "source": source}


def test_documents(world: World) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    document = {"type": "document", "source": source, "title": "document.pdf"}
    assert content(chat(world, user(document)))[0] == document
    assert content(gemini(world, gemini_user(document)))[0] == document
    file = {"filename": "document.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
    assert content(chat(world, user({"type": "file", "file": file})))[0] == document
    got = gemini(world, gemini_user({"inlineData": {"mimeType": "application/pdf", "data": PDF}}))
    assert content(got)[0] == {"type": "document", "source": source}


def test_a_cache_marker_in_the_system_prompt(world: World) -> None:
    text = "You are a helpful assistant with extensive domain knowledge..."
    block = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
    got = chat(world, {"messages": [{"role": "system", "content": [block]}, *HELLO]})
    assert got["system"] == [block]
    got = gemini(world, {"systemInstruction": {"parts": [{"text": text}]}})
    assert [(b["type"], b["text"]) for b in got["system"]] == [("text", text)]


def chat_tool(name: str = "get_weather") -> dict[str, Any]:
    function = {"name": name, "description": WEATHER["description"]}
    return {"type": "function", "function": {**function, "parameters": WEATHER["input_schema"]}}


def gemini_tools(name: str = "get_weather") -> list[dict[str, Any]]:
    schema = {"parametersJsonSchema": WEATHER["input_schema"]}
    row = {"name": name, "description": WEATHER["description"], **schema}
    return [{"functionDeclarations": [row]}]


def test_tools(world: World) -> None:
    for got in (
        chat(world, {"tools": [chat_tool()]}),
        gemini(world, {"tools": gemini_tools()}),
    ):
        assert got["tools"][0].items() >= WEATHER.items()


# --- tool choice --------------------------------------------------------------------------------


def choices() -> list[tuple[str, Any]]:
    """The rows of both pages' tables, the seed's strings among them."""
    rows = printed.table(OURS, "`tool_choice`")
    rows += printed.table(SEED, "Value") if SEED else []
    return [(row[0], json.loads(row[0])) for row in rows]


NAMED = {"type": "function", "function": {"name": "tool_name"}}
COUNTERPARTS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    '{"type": "auto"}': ({"tool_choice": "auto"}, {"mode": "AUTO"}),
    '{"type": "none"}': ({"tool_choice": "none"}, {"mode": "NONE"}),
    '{"type": "any"}': ({"tool_choice": "required"}, {"mode": "ANY"}),
    '{"type": "tool", "name": "tool_name"}': (
        {"tool_choice": NAMED},
        {"mode": "ANY", "allowedFunctionNames": ["tool_name"]},
    ),
    '{"type": "any", "disable_parallel_tool_use": true}': (
        {"tool_choice": "required", "parallel_tool_calls": False},
        None,  # Gemini has no word for it
    ),
}


@pytest.mark.parametrize("choice", [c for _, c in choices()], ids=[name for name, _ in choices()])
def test_a_tool_choice_through_the_native_lane(world: World, choice: Any) -> None:
    name = choice.get("name", "f") if isinstance(choice, dict) else "f"
    body = complete({"tools": [{**WEATHER, "name": name}], "tool_choice": choice})
    reply = world.post("/anthropic/v1/messages", body, **VERSION)
    assert reply.status == 200, reply.body
    as_object = choice if isinstance(choice, dict) else {"type": choice}
    assert last_body(world) == {**body, "tool_choice": as_object}
    assert ("x-isthmus-notes" in reply.headers) == isinstance(choice, str)
    called = [block["type"] for block in reply.json()["content"]].count("tool_use")
    if as_object["type"] in ("any", "tool"):
        assert called == 1
        assert reply.json()["stop_reason"] == "tool_use"
    elif as_object["type"] == "none":
        assert not called


@pytest.mark.parametrize("text", COUNTERPARTS)
def test_a_tool_choice_in_the_other_dialects(world: World, text: str) -> None:
    in_chat, in_gemini = COUNTERPARTS[text]
    got = chat(world, {"tools": [chat_tool("tool_name")], **in_chat})
    assert got.get("tool_choice", {"type": "auto"}) == json.loads(text)
    if in_gemini is not None:
        config = {"functionCallingConfig": in_gemini}
        got = gemini(world, {"tools": gemini_tools("tool_name"), "toolConfig": config})
        assert got.get("tool_choice", {"type": "auto"}) == json.loads(text)


def test_every_row_of_the_tool_choice_tables_has_a_counterpart() -> None:
    for text, choice in choices():
        row = f'{{"type": "{choice}"}}' if isinstance(choice, str) else text
        assert row.replace("get_weather", "tool_name") in COUNTERPARTS


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_the_newest_models_refuse_to_be_forced(world: World, choice: dict[str, Any]) -> None:
    body = complete({"model": NEWEST, "tools": [WEATHER], "tool_choice": choice})
    assert world.post("/v1/messages", body, **VERSION).status == 400
    # Where the gateway builds the body it asks for what the model takes, and says so.
    asked = {"model": NEWEST, "messages": HELLO, "tools": [chat_tool()]}
    reply = world.post(CHAT, {**asked, "tool_choice": "required"})
    assert reply.status == 200, reply.body
    assert "tool_choice changed" in reply.headers["x-isthmus-notes"]


# --- translation --------------------------------------------------------------------------------


def test_stop_sequences(world: World) -> None:
    world.script(blocks=[{"type": "text", "text": "one STOP two"}])
    said = world.post("/v1/messages", complete({"stop_sequences": ["STOP"]}), **VERSION).json()
    assert (said["stop_reason"], said["stop_sequence"]) == ("stop_sequence", "STOP")
    assert chat(world, {"stop": ["STOP"]})["stop_sequences"] == ["STOP"]
    assert chat(world, {"stop": "STOP"})["stop_sequences"] == ["STOP"]
    got = gemini(world, {"generationConfig": {"stopSequences": ["STOP"]}})
    assert got["stop_sequences"] == ["STOP"]


ROWS = {
    "thinking": test_thinking,
    "service_tier": test_service_tier,
    "image blocks": test_images,
    "document blocks": test_documents,
    "tool_choice: any": test_a_tool_choice_in_the_other_dialects,
    "stop_sequences": test_stop_sequences,
}
"""Each row of the translation tables with the test that holds it."""


def test_every_row_of_the_translation_tables_is_tested() -> None:
    assert [row[0] for row in printed.table(OURS, "Anthropic")] == list(ROWS)
    if SEED:
        rows = printed.table(SEED, "Anthropic Feature")
        assert [row[0].lower() for row in rows] == list(ROWS)


def test_what_cannot_be_carried_is_refused_and_hints_are_noted(world: World) -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    reply = world.post(CHAT, {"model": MODEL, **user(audio)})
    assert reply.status == 400
    assert "messages[0].content[0]" in reply.json()["error"]["param"] or "messages" in str(
        reply.json()["error"]
    )
    hints = {"seed": 7, "presence_penalty": 0.5}
    reply = world.post(CHAT, {"model": MODEL, "messages": HELLO, **hints})
    assert reply.status == 200, reply.body
    for name in hints:
        assert f"{name} dropped" in reply.headers["x-isthmus-notes"]


# --- members, answers, events -------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
MEMBERS: dict[str, list[dict[str, Any]]] = {
    "model": [{}],
    "messages": [
        {},
        {"messages": [*HELLO, {"role": "assistant", "content": "Hi"}, *HELLO]},
    ],
    "max_tokens": [{"max_tokens": 5}],
    "system": [
        {"system": "Be brief."},
        {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
    ],
    "temperature": [{"temperature": 0.0}, {"temperature": 1.0}],
    "top_p": [{"top_p": 0.9}],
    "top_k": [{"top_k": 40}],
    "stop_sequences": [{"stop_sequences": ["END", "STOP"]}],
    "stream": [{"stream": True}, {"stream": False}],
    "metadata": [{"metadata": {"user_id": "user-1"}}],
    "tools": [{"tools": [WEATHER]}],
    "tool_choice": [{"tools": [WEATHER], "tool_choice": {"type": "auto"}}],
    "service_tier": [{"service_tier": "auto"}, {"service_tier": "standard_only"}],
    "thinking": [
        {
            "model": THINKER,
            "max_tokens": 2000,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        }
    ],
    "output_config": [
        {"model": NEWEST, "output_config": {"effort": "low"}},
        {"model": NEWEST, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ],
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_of_a_request(world: World, name: str) -> None:
    for members in MEMBERS[name]:
        native(world, complete(members))


def test_every_row_of_the_member_tables_is_sent() -> None:
    ours = [name for row in printed.table(OURS, "Member") for name in row[0].split(", ")]
    assert ours == list(MEMBERS)
    if SEED:
        assert {row[0] for row in printed.table(SEED, "Parameter")} <= set(MEMBERS)


@pytest.mark.parametrize("members", [{"temperature": 0.5}, {"top_p": 0.5}, {"top_k": 5}], ids=str)
def test_members_that_newer_models_refuse(world: World, members: dict[str, Any]) -> None:
    for model in ("claude-opus-4-7", "claude-opus-5", NEWEST):
        body = complete({"model": model, **members})
        assert world.post("/v1/messages", body, **VERSION).status == 400
    for model in ("claude-sonnet-4-6", MODEL):
        native(world, complete({"model": model, **members}))


def test_the_budget_s_rules(world: World) -> None:
    def status(model: str, budget: int) -> int:
        thinking = {"type": "enabled", "budget_tokens": budget}
        body = complete({"model": model, "max_tokens": 2000, "thinking": thinking})
        return world.post("/v1/messages", body, **VERSION).status

    assert [status("claude-sonnet-4-6", n) for n in (1023, 1024, 1999, 2000)] == [
        400,
        200,
        200,
        400,
    ]
    assert status(NEWEST, 1024) == 400


def test_every_event_of_the_tables(world: World) -> None:
    thinking, text = ({"type": kind, kind: "word " * 40} for kind in ("thinking", "text"))
    call = {"type": "tool_use", "name": "get_weather", "input": {"location": "London"}}
    world.script(blocks=[thinking, text, call], ping_every=3)
    budget = {"type": "enabled", "budget_tokens": 1024}
    body = {"model": THINKER, "max_tokens": 2000, "thinking": budget, "tools": [WEATHER]}
    reply = world.post("/v1/messages", complete({**body, "stream": True}), **VERSION)
    events = reply.events()
    world.script(blocks=[text], fault={"kind": "error_event", "after": 3})
    failed = world.post("/v1/messages", complete({"stream": True}), **VERSION).events()
    assert {name for name, _ in events + failed} == {row[0] for row in printed.table(OURS, "Event")}
    if SEED:
        assert {name for name, _ in events} == {row[0] for row in printed.table(SEED, "Event")}
    values = [(name, value) for name, value in events if name == value["type"]]
    assert len(values) == len(events)
    [start] = [value["message"] for name, value in events if name == "message_start"]
    assert {"id", "model", "usage"} <= start.keys()
    assert start["content"] == []
    begun = [v["content_block"]["type"] for name, v in events if name == "content_block_start"]
    assert begun == ["thinking", "text", "tool_use"]
    [delta] = [value for name, value in events if name == "message_delta"]
    assert delta["delta"]["stop_reason"] == "tool_use"
    assert delta["usage"]["output_tokens"] > 0


SCRIPTED = ("pause_turn", "refusal", "model_context_window_exceeded")
REASONS: dict[str, dict[str, Any]] = {
    "end_turn": {},
    "max_tokens": {"max_tokens": 3},
    "stop_sequence": {"stop_sequences": ["heard"]},
    "tool_use": {"tools": [WEATHER], "tool_choice": {"type": "any"}},
}


@pytest.mark.parametrize("reason", [*REASONS, *SCRIPTED])
def test_every_stop_reason_of_the_tables(world: World, reason: str) -> None:
    if reason in SCRIPTED:
        world.script(stop_reason=reason)
    body = complete(REASONS.get(reason, {}))
    said = world.post("/v1/messages", body, **VERSION).json()
    assert said["stop_reason"] == reason
    assert said["stop_sequence"] == ("heard" if reason == "stop_sequence" else None)
    row = dict(printed.table(OURS, "Member", 1))["stop_reason"]
    assert re.findall(r"[a-z]+_[a-z_]+|refusal", row) == [*REASONS, *SCRIPTED]
    if SEED:
        row = dict(printed.table(SEED, "Field"))["stop_reason"]
        assert re.findall(r"[a-z]+_[a-z_]+", row) == list(REASONS)


def test_every_field_of_the_answer_tables(world: World) -> None:
    for said in (native(world, complete({})), native(world, complete({"stream": True}))):
        assert re.fullmatch(r"msg_\w{20,}", said["id"])
        assert (said["type"], said["role"], said["model"]) == ("message", "assistant", MODEL)
        ours = [name for row in printed.table(OURS, "Member", 1) for name in row[0].split(", ")]
        assert set(ours) <= said.keys()
        tables = [dict(printed.table(OURS, "Member", 1))]
        if SEED:
            tables.append(dict(printed.table(SEED, "Field")))
            assert set(tables[1]) <= said.keys()
        for table in tables:
            assert set(re.findall(r"\w+_tokens", table["usage"])) <= said["usage"].keys()


def test_input_tokens_do_not_include_what_the_cache_gave_or_took(world: World) -> None:
    block = {"type": "text", "text": "A long text. " * 2000, "cache_control": {"type": "ephemeral"}}
    body = complete({"system": [block]})
    first, second = (world.post("/v1/messages", body, **VERSION).json()["usage"] for _ in range(2))
    assert first["cache_creation_input_tokens"] == second["cache_read_input_tokens"] > 1000
    assert first["input_tokens"] == second["input_tokens"] < 50
    short = complete({"system": [{**block, "text": "A short text."}]})
    usage = world.post("/v1/messages", short, **VERSION).json()["usage"]
    assert usage["cache_creation_input_tokens"] == 0
