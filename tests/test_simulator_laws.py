"""Laws of the simulator: what it imports, that it is deterministic, that a stream joins to the plain answer."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from jiter import from_json

import isthmus.simulator
from isthmus.simulator import Options, Simulator

from .simulator_client import post, with_simulator

PACKAGE = Path(isthmus.simulator.__file__).parent
ALLOWED = {"httptools", "msgspec"}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, relative ones as `.name`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def test_the_package_knows_nothing_of_the_gateway() -> None:
    import sys

    files = sorted(PACKAGE.glob("**/*.py"))
    assert len(files) > 20
    for path in files:
        for name in imported(path):
            top = name.split(".")[0]
            inside = name.startswith(".") and not name.startswith("..")
            assert inside or top in ALLOWED or top in sys.stdlib_module_names, (path.name, name)
            assert top != "isthmus"


def test_house_limits() -> None:
    for path in PACKAGE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert (node.end_lineno or 0) - node.lineno < 50, (path.name, node.name)
                assert len(node.args.args) + len(node.args.kwonlyargs) <= 7, (path.name, node.name)


KEEP = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def join(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a stream tells, by the published grammar; an illegal stream fails an assertion."""
    events = [event for event in events if event["type"] != "ping"]
    assert [event["type"] for event in events].count("message_start") == 1
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    message = events[0]["message"]
    assert message["content"] == []
    assert message["stop_reason"] is None
    position = 1
    while events[position]["type"] == "content_block_start":
        position = join_block(events, position, message["content"])
    assert position == len(events) - 2
    last = events[-2]
    message.update(last["delta"])
    message["usage"].update(last["usage"])
    message.update(
        {key: value for key, value in last.items() if key not in ("type", "delta", "usage")}
    )
    return message


def join_block(events: list[dict[str, Any]], position: int, content: list[dict[str, Any]]) -> int:
    start = events[position]
    block = dict(start["content_block"])
    assert start["index"] == len(content)
    raw = ""
    signatures = 0
    position += 1
    while events[position]["type"] == "content_block_delta":
        delta = events[position]["delta"]
        assert events[position]["index"] == len(content)
        if delta["type"] == "input_json_delta":
            raw += delta["partial_json"]
        elif delta["type"] == "citations_delta":
            block["citations"] = [*block["citations"], delta["citation"]]
        elif delta["type"] == "signature_delta":
            signatures += 1
            block["signature"] = delta["signature"]
        elif delta["type"] == "compaction_delta":
            block.update({key: value for key, value in delta.items() if key != "type"})
        else:
            assert signatures == 0
            block[KEEP[delta["type"]]] += delta[KEEP[delta["type"]]]
        position += 1
    assert events[position] == {"type": "content_block_stop", "index": len(content)}
    if block["type"] in ("tool_use", "server_tool_use", "mcp_tool_use"):
        assert block["input"] == {}
        block["input"] = from_json(raw.encode(), partial_mode=True) if raw else {}
    assert signatures == (block["type"] == "thinking")
    content.append(block)
    return position + 1


TOOL = {
    "name": "get_weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
TWO = [TOOL, {**TOOL, "name": "get_time"}]
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "21C"}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
FORMAT = {
    "format": {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    }
}
EVERY_BLOCK = [
    {"type": "thinking", "thinking": "let me see"},
    {"type": "redacted_thinking"},
    {
        "type": "text",
        "text": "Zwölf 🦊",
        "citations": [
            {
                "type": "char_location",
                "cited_text": "x",
                "document_index": 0,
                "document_title": None,
                "start_char_index": 0,
                "end_char_index": 1,
            }
        ],
    },
    {"type": "server_tool_use", "name": "web_search", "input": {"query": "x"}},
    {
        "type": "web_search_tool_result",
        "content": [
            {
                "type": "web_search_result",
                "title": "t",
                "url": "u",
                "encrypted_content": "e",
                "page_age": None,
            }
        ],
    },
    {
        "type": "mcp_tool_use",
        "name": "ask",
        "server_name": "s",
        "input": {"q": [1, 2.5, None, True]},
    },
    {"type": "mcp_tool_result", "is_error": False, "content": [{"type": "text", "text": "r"}]},
    {"type": "container_upload", "file_id": "file_1"},
    {"type": "compaction", "content": "summary", "encrypted_content": "e"},
    {
        "type": "tool_use",
        "name": "get_weather",
        "input": {"city": "Łódź", "deep": {"a": [1, {"b": "c"}]}},
    },
    {"type": "tool_use", "name": "get_weather", "partial_json": '{"city": "Par'},
    {"type": "tool_use", "name": "get_weather", "input": {}},
    {"type": "something_new", "payload": [1]},
]


def case(
    text: str = "Hello there", model: str = "claude-sonnet-4-5", **more: Any
) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "max_tokens": 2000, "messages": messages, **more}


CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (case(), {}),
    (case(max_tokens=5), {}),
    (case(max_tokens=0), {}),
    (case(stop_sequences=["there"]), {}),
    (case("what does get_weather say", tools=TWO), {}),
    (case("get_weather and get_time", tools=TWO), {}),
    (case("get_weather", tools=TWO, max_tokens=14), {}),
    (case("search the web for news", tools=[SEARCH]), {}),
    (case(model="claude-opus-5-5"), {}),
    (case(model="claude-opus-5-5", max_tokens=8), {}),
    (case(model="claude-opus-5", thinking={"type": "adaptive", "display": "summarized"}), {}),
    (case(thinking={"type": "enabled", "budget_tokens": 1024}), {}),
    (case(output_config=FORMAT), {}),
    (
        case(
            tools=TWO,
            messages=[
                *case()["messages"],
                {"role": "assistant", "content": [CALL]},
                {"role": "user", "content": [RESULT]},
            ],
        ),
        {},
    ),
    (case(), {"blocks": EVERY_BLOCK}),
    (case(), {"blocks": EVERY_BLOCK, "delta_chars": 1, "ping_every": 1}),
    (case(), {"blocks": []}),
    (
        case(),
        {
            "blocks": [],
            "stop_reason": "refusal",
            "stop_details": {"type": "refusal", "category": "cyber", "explanation": None},
        },
    ),
    (
        case(),
        {
            "stop_reason": "pause_turn",
            "model": "claude-other",
            "usage": {"output_tokens": 77, "iterations": []},
        },
    ),
    (
        case(),
        {
            "extra": {
                "container": {"id": "c", "expires_at": "2026-01-01T00:00:00Z"},
                "context_management": {"applied_edits": []},
            }
        },
    ),
]


@pytest.mark.parametrize(("body", "script"), CASES, ids=range(len(CASES)))
def test_a_stream_joins_to_the_plain_answer(body: dict[str, Any], script: dict[str, Any]) -> None:
    async def work(simulator: Simulator) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        simulator.scripts.extend([script, script])
        plain = await post(simulator, "/v1/messages", body)
        assert plain.status == 200, plain.body
        if not body["max_tokens"]:
            return plain.json(), []
        return plain.json(), (
            await post(simulator, "/v1/messages", {**body, "stream": True})
        ).events()

    plain, events = with_simulator(work)
    if not body["max_tokens"]:
        assert (plain["content"], plain["stop_reason"], plain["usage"]["output_tokens"]) == (
            [],
            "max_tokens",
            0,
        )
        return
    joined = join(events)
    assert joined == plain
    assert list(plain["content"]) == plain["content"]


def test_the_same_request_gets_the_same_bytes() -> None:
    bodies = [
        {**body, "stream": stream}
        for body, _ in CASES
        for stream in (False, True)
        if body["max_tokens"]
    ]

    async def work(simulator: Simulator) -> list[bytes]:
        return [(await post(simulator, "/v1/messages", body)).body for body in bodies]

    first = with_simulator(work)
    assert with_simulator(work) == first
    ids = {json.loads(body)["id"] for body in first[::2]}
    assert len(ids) > len(CASES) // 2


def test_ids_look_like_the_providers() -> None:
    answer = with_simulator(lambda simulator: post(simulator, "/v1/messages", CASES[5][0])).json()
    calls = [block for block in answer["content"] if block["type"] == "tool_use"]
    assert [block["name"] for block in calls] == ["get_weather", "get_time"]
    assert len({block["id"] for block in calls}) == 2
    for value, prefix in ((answer["id"], "msg_01"), (calls[0]["id"], "toolu_01")):
        assert value.startswith(prefix)
        assert len(value) == len(prefix) + 22


def test_two_simulators_live_side_by_side() -> None:
    async def run() -> list[int]:
        first, second = Simulator(Options()), Simulator(Options())
        await first.start()
        await second.start()
        assert first.url != second.url
        answers = await asyncio.gather(
            *[post(one, "/v1/messages", case()) for one in (first, second) for _ in range(20)]
        )
        counts = [len(first.requests), len(second.requests)]
        await first.stop()
        await second.stop()
        assert {answer.status for answer in answers} == {200}
        return counts

    assert asyncio.run(run()) == [20, 20]
