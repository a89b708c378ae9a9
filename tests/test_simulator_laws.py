"""Laws of the simulator: what it imports, that it is deterministic, that a stream joins to the plain answer."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jiter import from_json

import isthmus.simulator
from isthmus.simulator import Options, Simulator
from isthmus.simulator.json_schema import example, satisfies
from isthmus.simulator.partial_json import closed

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


# --- the stream joins to the message ---------------------------------------------------------------

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


# --- partial JSON and examples of schemas ----------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(-1e6, 1e6)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_a_cut_call_reads_as_the_official_client_reads_it(
    value: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    cut = text[: data.draw(st.integers(1, len(text)))]
    assert closed(text) == value
    assert closed(cut) == from_json(cut.encode(), partial_mode=True)


SCALARS = st.one_of(
    st.builds(lambda n: {"type": "string", "minLength": n, "maxLength": n + 3}, st.integers(0, 30)),
    st.builds(
        lambda low, width: {"type": "integer", "minimum": low, "maximum": low + width},
        st.integers(-50, 50),
        st.integers(0, 5),
    ),
    st.builds(
        lambda low: {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": low + 1},
        st.integers(-50, 50),
    ),
    st.builds(
        lambda step, low: {"type": "integer", "multipleOf": step, "minimum": low},
        st.integers(1, 9),
        st.integers(-20, 20),
    ),
    st.sampled_from(
        [
            {"type": "boolean"},
            {"type": "null"},
            {"const": 7},
            {"enum": ["x", 2, None]},
            {"type": ["null", "integer"]},
        ]
    ),
    st.sampled_from(
        [
            {"type": "string", "format": "date"},
            {"type": "string", "pattern": "^[A-Z]{3}$"},
            {"type": "string", "pattern": "^\\d+$"},
        ]
    ),
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(
            lambda items, n: {"type": "array", "items": items, "minItems": n},
            inner,
            st.integers(0, 3),
        ),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda parts: {
                "type": "object",
                "properties": {f"p{i}": part for i, part in enumerate(parts)},
                "required": [f"p{i}" for i in range(len(parts))][::2],
                "additionalProperties": False,
            },
            st.lists(inner, max_size=4),
        ),
    ),
    max_leaves=8,
)


@given(SCHEMAS)
@settings(max_examples=300, deadline=None)
def test_an_example_satisfies_its_schema(schema: dict[str, Any]) -> None:
    assert satisfies(example(schema), schema)


TREE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "required": ["value", "next"],
}
NAMED: list[tuple[dict[str, Any], Any]] = [
    (
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": {
                    **TREE,
                    "properties": {"value": {"type": "integer"}},
                    "required": ["value"],
                }
            },
        },
        {"value": 1},
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/b"}},
            "required": ["a"],
            "$defs": {"b": {"enum": ["x"]}},
        },
        {"a": "x"},
    ),
    (
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"const": 1}}, "required": ["b"]},
            ]
        },
        {"a": 1, "b": 1},
    ),
    (
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
            "required": ["city"],
        },
        {"city": "city"},
    ),
]


@pytest.mark.parametrize(("schema", "value"), NAMED, ids=range(len(NAMED)))
def test_examples(schema: dict[str, Any], value: Any) -> None:
    assert example(schema) == value
    assert satisfies(value, schema)


def test_a_recursive_schema_has_a_finite_example() -> None:
    schema = {**TREE, "$defs": {"node": TREE}}
    assert satisfies(example(schema), schema)


REFUSED: list[tuple[Any, dict[str, Any]]] = [
    (True, {"type": "integer"}),
    (1.5, {"type": "integer"}),
    ("a", {"enum": ["b"]}),
    (1, {"const": True}),
    ({}, {"required": ["a"]}),
    ({"b": 1}, {"additionalProperties": False}),
    ([1, 1], {"uniqueItems": True}),
    ([1], {"items": {"type": "string"}}),
    (3, {"multipleOf": 2}),
    (1, {"exclusiveMinimum": 1}),
    ("ab", {"maxLength": 1}),
    (1, {"anyOf": [{"type": "string"}]}),
    (1, {"oneOf": [{}, {}]}),
    (1, {"not": {}}),
    ([1, "x"], {"prefixItems": [{}, {"type": "integer"}]}),
]


@pytest.mark.parametrize(("value", "schema"), REFUSED, ids=range(len(REFUSED)))
def test_a_schema_refuses(value: Any, schema: dict[str, Any]) -> None:
    assert not satisfies(value, schema)


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
