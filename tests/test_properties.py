"""Parameters whose names Claude does not take travel under others, and come back under their own."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.backends import anthropic as backend
from isthmus.event import Event
from isthmus.messages import collect, replay
from isthmus.properties import Restored, renamed
from isthmus.request import Body, Notes, Request, Target

from .strategies import cuts

LEGAL = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
TARGET = Target("anthropic", "claude-sonnet-5-5")
SCHEMA: Any = {
    "type": "object",
    "properties": {
        "user name": {"type": "string", "description": "A name"},
        "größe": {"$ref": "#/$defs/a b"},
        "plain.name-1": {"type": "integer"},
        "x" * 65: {"anyOf": [{"properties": {"größe": {}}, "required": ["größe", 3]}]},
        "": {"items": {"$ref": "#"}},
        "a/b~c": {"const": {"a/b~c": 1}, "properties": {"in side": {}}},
    },
    "required": ["user name", "plain.name-1"],
    "dependentRequired": {"user name": ["größe"]},
    "default": {"user name": "x", "other": [{"größe": 1}]},
    "not": {"allOf": [{"$ref": "#/properties/user name"}, {"$ref": "#/properties/a~1b~0c"}]},
    "$defs": {"a b": {"type": "number"}},
}
INPUT: Any = {
    "user name": 'say "user name": now',
    "größe": 1.5,
    "x" * 65: {"größe": "größe"},
    "": [{"user name": "x", "": []}],
    "a/b~c": {"in side": None},
}


def request(**fields: Any) -> Request:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": INPUT}
    other = {**call, "id": "toolu_2", "name": "g"}
    results = [
        {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": "ok"} for n in (1, 2)
    ]
    value = {
        "tools": [
            {"name": "f", "input_schema": SCHEMA},
            {"name": "g", "input_schema": {"type": "object", "properties": {"a": {}}}},
            {"type": "web_search_20260318", "name": "web_search"},
        ],
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [call, other]},
            {"role": "user", "content": results},
        ],
        **fields,
    }
    return Request("openai-chat", Body(value), "m", stream=True)


def sent(asked: Request) -> tuple[Any, list[str]]:
    notes = Notes()
    return json.loads(backend.encode(asked, TARGET, notes).body), [str(n) for n in notes.rows]


def test_what_is_sent_is_legal_and_one_to_one() -> None:
    body, notes = sent(request())
    schema = body["tools"][0]["input_schema"]
    found = list(schema["properties"])
    assert all(LEGAL.fullmatch(name) for name in found)
    assert len(set(found)) == len(found) == len(SCHEMA["properties"])
    user, size, _, long, _, slashed = found
    assert schema["required"] == [user, "plain.name-1"]
    assert schema["dependentRequired"] == {user: [size]}
    assert schema["default"] == {user: "x", "other": [{size: 1}]}
    assert schema["properties"][size] == {"$ref": "#/$defs/a b"}
    assert schema["properties"][long]["anyOf"] == [
        {"properties": {size: {}}, "required": [size, 3]}
    ]
    assert schema["properties"][slashed]["const"] == {slashed: 1}
    assert schema["properties"][slashed]["properties"] == {"in side": {}}
    pointers = [{"$ref": f"#/properties/{user}"}, {"$ref": f"#/properties/{slashed}"}]
    assert schema["not"] == {"allOf": pointers}
    assert body["tools"][1:] == request().body.peek("tools")[1:]
    calls = body["messages"][1]["content"]
    assert list(calls[0]["input"]) == [
        user,
        size,
        *[n for n in found if n in calls[0]["input"]][2:],
    ]
    assert calls[1]["input"] == INPUT
    assert len(notes) == 5
    assert notes[0] == (
        f"tools changed: parameter 'user name' of f is sent as {user}; answers carry your name"
    )


def test_the_callers_own_values_are_not_changed() -> None:
    asked = request()
    before = json.dumps(asked.body.value())
    first = sent(asked)
    assert sent(asked) == first
    assert json.dumps(asked.body.value()) == before


def test_the_native_lane_is_left_alone() -> None:
    asked = request()
    asked.dialect = "anthropic"
    assert sent(asked)[0]["tools"][0]["input_schema"] == SCHEMA
    assert backend.decoder(asked).feed(b"") == []


def test_legal_names_cost_nothing() -> None:
    inner = {"properties": {"the API": {"looks": "at the root"}}}
    assert renamed([{"name": "f", "input_schema": {"properties": {"a.b-c_1": inner}}}]) == {}
    for tools in (None, [], "x", [None, {}, {"name": 3, "input_schema": []}]):
        assert renamed(tools) == {}


def test_a_made_name_gives_way_to_a_declared_one() -> None:
    made = renamed([{"name": "f", "input_schema": {"properties": {"a b": {}}}}])["f"]["a b"]
    both = {"properties": {"a b": {}, made: {}}}
    other = renamed([{"name": "f", "input_schema": both}])["f"]
    assert list(other) == ["a b"]
    assert other["a b"] != made


def answer(text: str, pieces: list[str], name: str = "f") -> list[Event]:
    """The stream of an answer with one call, as the provider sends it."""
    use = {"type": "tool_use", "id": "toolu_9", "name": name, "input": {}}
    message: Any = {"id": "msg_1", "model": "m", "content": [use], "usage": {"output_tokens": 1}}
    message |= {"type": "message", "role": "assistant", "stop_reason": "tool_use"}
    events = [event.value for event in replay(message)]
    at = next(i for i, value in enumerate(events) if value["type"] == "content_block_stop")
    events[at:at] = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": piece},
        }
        for piece in pieces
    ]
    return [Event(value=value) for value in events]


@given(st.data())
def test_answers_carry_the_clients_names(data: st.DataObject) -> None:
    body, _ = sent(request())
    given_back = body["messages"][1]["content"][0]["input"]
    text = json.dumps(given_back, indent=data.draw(st.sampled_from([None, 1])))
    wire = b"".join(event.wire for event in answer(text, data.draw(cuts(text))))
    decoder, events = backend.decoder(request()), list[Event]()
    for piece in data.draw(cuts(wire.decode())):
        events += decoder.feed(piece.encode())
    decoder.finish()
    assert collect(events)["content"][0]["input"] == INPUT


def test_what_a_limit_cut_off_has_the_clients_names_too() -> None:
    made = renamed(request().body.peek("tools"))
    cut = '{"' + made["f"]["user name"] + '": "x", "' + made["f"]["größe"] + '": 1.'
    restored = Restored(made)
    events = [kept for event in answer(cut, [cut[:9], cut[9:]]) for kept in restored.feed(event)]
    pieces = [e.value["delta"]["partial_json"] for e in events if "partial_json" in str(e.value)]
    assert pieces == ['{"user name": "x", "größe": 1.']


@pytest.mark.parametrize("name", ["g", "unheard_of"])
def test_other_calls_stream_as_they_come(name: str) -> None:
    events = answer("{}", ["{", "}"], name)
    restored = Restored(renamed(request().body.peek("tools")))
    assert [kept for event in events for kept in restored.feed(event)] == events


def test_a_block_without_arguments_stays_empty() -> None:
    events = answer("", [])
    restored = Restored(renamed(request().body.peek("tools")))
    assert [kept for event in events for kept in restored.feed(event)] == events
