"""What the simulator answers by itself, and how it starts and stops."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from isthmus.simulator import Options, Simulator, serve_forever
from isthmus.simulator.json_schema import satisfies

from .simulator_client import Answer, post, with_simulator
from .simulator_requests import TIME, WEATHER, png, user

MODEL = "claude-sonnet-4-5"
Body = dict[str, Any]


def ask(text: Any, script: Body | None = None, **more: Any) -> Answer:
    async def work(simulator: Simulator) -> Answer:
        if script is not None:
            simulator.scripts.append(script)
        body = {"model": MODEL, "max_tokens": 1000, "messages": user(text), **more}
        return await post(simulator, "/v1/messages", body, more.pop("headers", None))

    answer = with_simulator(work)
    assert answer.status == 200, answer.body
    return answer


def calls(answer: Answer) -> list[str]:
    return [block["name"] for block in answer.json()["content"] if block["type"] == "tool_use"]


ONE = {"type": "auto", "disable_parallel_tool_use": True}
CHOICES: list[tuple[str, Body | None, list[str]]] = [
    ("Hello there", None, []),
    ("Please get_weather", None, ["get_weather"]),
    ("get_weather and get_time", None, ["get_weather", "get_time"]),
    ("get_weather and get_time", ONE, ["get_weather"]),
    ("get_weather and get_time", {"type": "none"}, []),
    ("the weather, please", None, ["get_weather"]),
    ("current temperature", None, ["get_weather"]),
    ("Hello there", {"type": "any"}, ["get_weather"]),
    ("what time is it", {"type": "any"}, ["get_time"]),
    ("Hello there", {"type": "tool", "name": "get_time"}, ["get_time"]),
]


@pytest.mark.parametrize(("text", "choice", "names"), CHOICES)
def test_which_tools_are_called(text: str, choice: Body | None, names: list[str]) -> None:
    more = {"tool_choice": choice} if choice else {}
    answer = ask(text, tools=[WEATHER, TIME], **more)
    assert calls(answer) == names
    assert answer.json()["stop_reason"] == ("tool_use" if names else "end_turn")


CLIENT_TOOLS = [
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    {"type": "memory_20250818", "name": "memory"},
]


@pytest.mark.parametrize("tool", CLIENT_TOOLS, ids=lambda tool: tool["name"])
def test_anthropics_client_tools_are_called(tool: Body) -> None:
    answer = ask(f"use {tool['name']}", tools=[tool]).json()
    assert answer["content"][0]["name"] == tool["name"]
    assert answer["content"][0]["input"]


def test_deferred_tools_are_not_called() -> None:
    assert calls(ask("get_weather get_time", tools=[WEATHER, {**TIME, "defer_loading": True}])) == [
        "get_weather"
    ]


def test_input_examples_are_used() -> None:
    value = {"city": "Rome", "unit": "celsius", "days": None, "where": {"lat": 1}}
    answer = ask("get_weather", tools=[{**WEATHER, "input_examples": [value]}])
    assert answer.json()["content"][0]["input"] == value


def test_results_are_quoted() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "get_time", "input": {}}
    other = {**call, "id": "t2"}
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": "noon"},
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "content": [{"type": "text", "text": "no clock"}],
            "is_error": True,
        },
    ]
    messages = [*user("get_time"), {"role": "assistant", "content": [call, other]}, *user(results)]
    text = ask("", tools=[TIME], messages=messages).json()["content"][0]["text"]
    assert text == 'The tool returned: "noon"\nThe tool failed with: "no clock"'


def test_images_and_documents_are_described() -> None:
    picture = png(10, 20)
    data = base64.b64encode(picture).decode()
    blocks = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"},
        },
        {
            "type": "document",
            "source": {
                "type": "base64",
                "media_type": "application/pdf",
                "data": base64.b64encode(b"%PDF-1.4").decode(),
            },
        },
        {"type": "text", "text": "What is this?"},
    ]
    text = ask(blocks).json()["content"][0]["text"]
    assert text.splitlines() == [
        f"I see an image: image/png, {len(picture)} bytes, 10 x 20 pixels.",
        "I see an image at https://example.com/a.png.",
        "I see a document: text/plain, 7 bytes.",
        "I see a document: application/pdf, 8 bytes.",
        'Claude Sonnet 4.5 (simulated) heard: "What is this?"',
    ]


JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x14\x00\x0a" + b"\0" * 20
GIF = b"GIF89a\x0a\x00\x14\x00" + b"\0" * 8
WEBP_X = b"RIFF\x00\x00\x00\x00WEBPVP8X" + b"\x0a\0\0\0" + b"\0\0\0\0" + b"\x09\0\0" + b"\x13\0\0"
WEBP_L = b"RIFF\x00\x00\x00\x00WEBPVP8L" + b"\0\0\0\0\x2f" + (9 | 19 << 14).to_bytes(4, "little")
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 " + b"\0" * 10 + b"\x0a\x00\x14\x00"
PICTURES = [
    (JPEG, "jpeg"),
    (GIF, "gif"),
    (WEBP_X, "webp"),
    (WEBP_L, "webp"),
    (WEBP, "webp"),
    (png(10, 20), "png"),
]


@pytest.mark.parametrize(("raw", "kind"), PICTURES, ids=range(len(PICTURES)))
def test_the_size_of_every_kind_of_image(raw: bytes, kind: str) -> None:
    source = {
        "type": "base64",
        "media_type": f"image/{kind}",
        "data": base64.b64encode(raw).decode(),
    }
    text = ask([{"type": "image", "source": source}]).json()["content"][0]["text"]
    assert text == f"I see an image: image/{kind}, {len(raw)} bytes, 10 x 20 pixels."


def test_structured_output_satisfies_its_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1},
            "note": {"type": ["string", "null"]},
        },
        "required": ["name", "tags", "note"],
        "additionalProperties": False,
    }
    answer = ask("Hi", output_config={"format": {"type": "json_schema", "schema": schema}}).json()
    assert satisfies(json.loads(answer["content"][0]["text"]), schema)


def test_web_search_has_call_result_citation_and_usage() -> None:
    answer = ask(
        "search the web for cats", tools=[{"type": "web_search_20250305", "name": "web_search"}]
    ).json()
    call, result, text = answer["content"]
    assert (call["type"], result["type"], text["type"]) == (
        "server_tool_use",
        "web_search_tool_result",
        "text",
    )
    assert call["id"] == result["tool_use_id"]
    assert text["citations"][0]["url"] == result["content"][0]["url"]
    assert answer["usage"]["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}
    assert answer["stop_reason"] == "end_turn"


def test_what_it_answers_it_accepts_back() -> None:
    async def work(simulator: Simulator) -> list[int]:
        tools = [{"type": "web_search_20250305", "name": "web_search"}]
        statuses = []
        for model in ("claude-sonnet-4-5", "claude-opus-5", "claude-opus-5-5", "claude-fable-5-2"):
            body = {
                "model": model,
                "max_tokens": 900,
                "tools": tools,
                "messages": user("search the web for cats"),
            }
            answer = await post(simulator, "/v1/messages", body)
            body["messages"] = [
                *body["messages"],
                {"role": "assistant", "content": answer.json()["content"]},
                *user("more"),
            ]
            statuses.append((await post(simulator, "/v1/messages", body)).status)
        return statuses

    assert with_simulator(work) == [200, 200, 200, 200]


TEXTS = [{"type": "text", "text": "one two three"}, {"type": "text", "text": "four END five"}]
CUTS: list[tuple[Body, Body, list[str], str, str | None]] = [
    ({"stop_sequences": ["END", "five"]}, {}, ["one two three", "four "], "stop_sequence", "END"),
    ({"stop_sequences": ["four"]}, {}, ["one two three"], "stop_sequence", "four"),
    ({"stop_sequences": ["nothing"]}, {}, ["one two three", "four END five"], "end_turn", None),
    ({"max_tokens": 2}, {}, ["one two "], "max_tokens", None),
    ({"max_tokens": 5}, {}, ["one two three", "four"], "max_tokens", None),
    ({"max_tokens": 2, "stop_sequences": ["END"]}, {}, ["one two "], "max_tokens", None),
    ({"max_tokens": 2}, {"stop_reason": "refusal"}, ["one two "], "max_tokens", None),
    (
        {},
        {"stop_reason": "stop_sequence", "stop_sequence": "X"},
        ["one two three", "four END five"],
        "stop_sequence",
        "X",
    ),
]


@pytest.mark.parametrize(("more", "script", "texts", "reason", "sequence"), CUTS)
def test_limits_really_cut(
    more: Body, script: Body, texts: list[str], reason: str, sequence: str | None
) -> None:
    answer = ask("Hi", {"blocks": TEXTS, **script}, **more).json()
    assert [block["text"] for block in answer["content"]] == texts
    assert (answer["stop_reason"], answer["stop_sequence"]) == (reason, sequence)
    assert answer["usage"]["output_tokens"] <= more.get("max_tokens", 1000)


def test_max_tokens_cuts_a_tool_call() -> None:
    block = {
        "type": "tool_use",
        "name": "get_time",
        "input": {"zone": "Europe/Rome", "long": "x" * 100},
    }
    script = {"blocks": [block]}
    plain = ask("Hi", script, max_tokens=20).json()
    assert (plain["content"][0]["input"], plain["stop_reason"]) == (
        {"zone": "Europe/Rome"},
        "max_tokens",
    )
    events = ask("Hi", script, max_tokens=20, stream=True).events()
    raw = "".join(
        event["delta"].get("partial_json", "")
        for event in events
        if event["type"] == "content_block_delta"
    )
    assert json.dumps(block["input"], separators=(",", ":")).startswith(raw)
    assert raw.startswith('{"zone":"Europe/Rome","long":"xx')


def test_a_full_window_stops_models_that_stop() -> None:
    text = ask("x" * 799_900, max_tokens=64_000).json()
    assert text["stop_reason"] == "model_context_window_exceeded"
    assert 0 < text["usage"]["output_tokens"] < 60


def test_on_demand_compaction() -> None:
    headers = {"anthropic-beta": "compact-2026-09-04"}
    body = {
        "model": "claude-opus-5",
        "max_tokens": 500,
        "messages": user("Hello there"),
        "compaction": {"type": "summarize"},
    }
    answer = with_simulator(
        lambda simulator: post(simulator, "/v1/messages", body, dict(headers))
    ).json()
    assert ([block["type"] for block in answer["content"]], answer["stop_reason"]) == (
        ["compaction"],
        "compaction",
    )
    body["messages"] = [{"role": "assistant", "content": answer["content"]}, *user("go on")]
    del body["compaction"]
    assert (
        with_simulator(
            lambda simulator: post(simulator, "/v1/messages", body, dict(headers))
        ).status
        == 200
    )


def test_members_that_some_requests_get() -> None:
    betas = "dangerous-tool-use-2026-09-03,context-management-2025-06-27"
    body = {
        "model": MODEL,
        "max_tokens": 100,
        "messages": user("get_time"),
        "tools": [TIME],
        "safeguards": [{"type": "dangerous_tool_use", "classifier_context": {"a": 1}}],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "container": "container_1",
        "diagnostics": {"previous_message_id": "msg_1"},
    }
    answer = with_simulator(
        lambda simulator: post(simulator, "/v1/messages", body, {"anthropic-beta": betas})
    ).json()
    call = answer["content"][0]["id"]
    assert answer["safeguard_results"][0]["status"]["tool_uses"] == {
        call: {"type": "evaluated", "outcome": "not_flagged"}
    }
    assert answer["context_management"] == {"applied_edits": []}
    assert answer["container"]["id"] == "container_1"
    assert answer["diagnostics"]["cache_miss_reason"]["type"] == "previous_message_not_found"


def test_start_stop_and_reset() -> None:
    async def run() -> None:
        simulator = Simulator()
        with pytest.raises(RuntimeError):
            _ = simulator.url
        await simulator.stop()
        await simulator.start()
        port = simulator.port
        assert simulator.url == f"http://127.0.0.1:{port}"
        await post(simulator, "/v1/messages", {})
        simulator.scripts.append({})
        simulator.reset()
        assert (simulator.requests, list(simulator.scripts)) == ([], [])
        await simulator.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(run())


def test_serve_forever_ends_when_it_is_cancelled() -> None:
    async def run() -> int:
        first = Simulator()
        await first.start()
        port = first.port
        await first.stop()
        task = asyncio.create_task(serve_forever(Options(port=port)))
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/hello HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\n\r\n")
        line = await reader.readline()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        writer.close()
        return int(line.split()[1])

    assert asyncio.run(run()) == 200
