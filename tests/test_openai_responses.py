"""The Responses frontend: golden cases, free-form tools, fuzz, and what the official SDK makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from isthmus.errors import KINDS, GatewayError
from isthmus.frontends import Match, openai_responses
from isthmus.frontends.openai_responses.freeform import Unwrapper
from isthmus.messages import Event, collect, replay
from isthmus.request import HttpRequest, Request

from . import legality
from .strategies import NAMES, TEXT, WRONG, Stream, cuts, places, streams

CASES = Path(__file__).parent / "wire" / "openai_responses"
ARRIVED = 1_700_000_000
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
FREE = {"type": "custom", "name": "get_weather"}
SPACE = {"type": "namespace", "name": "n", "description": "", "tools": [FREE]}


def decoded(body: Any) -> Request:
    http = HttpRequest("POST", "/v1/responses", body=json.dumps(body).encode(), arrived=ARRIVED)
    return openai_responses.decode(http, Match(openai_responses.ROUTES[0]))


def asked(**fields: Any) -> Request:
    return decoded({"model": "m", "input": "Hello", "stream": True, **fields})


def streamed(request: Request, events: Iterable[Event]) -> list[Any]:
    """The events that a client gets; the stream is legal."""
    encoder = openai_responses.encoder(request)
    data = b"".join(encoder.feed(event) for event in events)
    legality.responses(data)
    return [json.loads(text) for _, text in legality.frames(data)]


def cases(pattern: str) -> list[Any]:
    found = sorted(CASES.glob(pattern))
    assert found
    return [
        pytest.param(case, id=f"{path.stem}: {name}")
        for path in found
        for name, case in json.loads(path.read_text()).items()
    ]


# --- golden cases -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("request_*.json"))
def test_a_request_becomes_this_messages_body(case: dict[str, Any]) -> None:
    request = decoded(case["request"])
    assert request.body.value() == case["hub"]
    assert [str(note) for note in request.notes.rows] == case["notes"]
    kept = {k: v for k, v in request.memory.items() if v and k not in ("created", "echo")}
    assert kept == case.get("memory", {})
    assert request.stream == case.get("stream", False)
    assert request.memory["created"] == ARRIVED
    assert request.body.wire() == decoded(case["request"]).body.wire()


@pytest.mark.parametrize("case", cases("refused.json"))
def test_a_refusal_names_the_member_at_fault(case: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        decoded(case["request"])
    assert caught.value.row.status == 400
    assert (caught.value.param, caught.value.message) == (case["param"], case["message"])
    assert caught.value.message.startswith(f"{caught.value.param}: ")


@pytest.mark.parametrize("case", cases("answers.json"))
def test_an_answer_becomes_this_response(case: dict[str, Any]) -> None:
    request = asked(**case["request"])
    data = openai_responses.encode_message(request, case["message"])
    assert json.loads(data) == case["response"]
    Response.model_validate_json(data)
    events = streamed(request, replay(case["message"]))
    assert [event.pop("sequence_number") for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[2:-1] == case["events"]
    assert events[-1] == {"type": case["end"], "response": case["response"]}


# --- the SDK's own types ------------------------------------------------------------------------


@given(stream=streams(), tools=st.sampled_from([[], [FREE], [SPACE]]))
def test_every_event_and_response_is_of_the_types_of_the_sdk(
    stream: Stream, tools: list[Any]
) -> None:
    request = asked(tools=tools, include=["reasoning.encrypted_content"])
    for event in streamed(request, stream.events):
        EVENTS.validate_python(event)
    data = openai_responses.encode_message(request, collect(stream.events))
    Response.model_validate_json(data)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_failure_is_a_failed_response(kind: str) -> None:
    request = asked()
    message: Any = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    message |= {"content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}
    encoder = openai_responses.encoder(request)
    data = encoder.feed(Event(value={"type": "message_start", "message": message}))
    data += encoder.fail(GatewayError(kind, "broken", source="upstream"))
    assert encoder.fail(GatewayError(kind, "again", source="upstream")) == b""
    outcome = legality.responses(data)
    assert outcome.message["status"] == "failed"
    known = {"context_overflow": "context_length_exceeded", "rate_limit": "rate_limit_exceeded"}
    if kind in known:
        assert outcome.message["error"]["code"] == known[kind]


def test_what_had_come_is_in_a_failed_response() -> None:
    message: Any = {
        "id": "msg_1",
        "model": "m",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        ],
    }
    events = list(replay(message))
    kept = {"reasoning": 3, "message": 7, "function_call": 11}
    for kind, count in kept.items():
        encoder = openai_responses.encoder(asked())
        data = b"".join(encoder.feed(event) for event in events[:count])
        data += encoder.fail(GatewayError("overloaded", "broken", source="upstream"))
        outcome = legality.responses(data)
        assert outcome.message["output"][-1]["type"] == kind
        assert outcome.message["error"] == {"code": "server_is_overloaded", "message": "broken"}


def test_an_event_of_next_year_may_hold_anything() -> None:
    """Nobody decodes what nobody knows."""
    events = list(replay(MESSAGE))
    odd = Event(b"event: of_next_year\ndata: no JSON\n\n")
    assert streamed(asked(), [*events[:2], odd, *events[2:]]) == streamed(asked(), events)


# --- free-form tools ----------------------------------------------------------------------------


@given(text=TEXT, data=st.data(), ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_free_form_input_is_unwrapped_wherever_it_is_cut(
    text: str, data: st.DataObject, ascii_only: bool, indent: int | None
) -> None:
    """Inside an escape and between the halves of a character as well."""
    wrapped = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=indent)
    unwrapper = Unwrapper()
    pieces = [unwrapper.feed(piece) for piece in data.draw(cuts(wrapped))]
    assert "".join([*pieces, unwrapper.finish()]) == text


ODD = {
    "": "",
    "{ }": "",
    '{"input": "a\\ud83d"}': "a\ufffd",
    '{"input": "\\udc00\\ud83dx"}': "\ufffd\ufffdx",
    '{"input": "\\b\\f\\t\\/"}': "\b\f\t/",
    '{"input": "cut \\u00': "cut ",
    '{"input": "cut': "cut",
    '{"inp': "",
    '{"input": 5}': '{"input": 5}',
    '{"other": "a", "input": "b"}': '{"other": "a", "input": "b"}',
    "[1]": "[1]",
}


@pytest.mark.parametrize(("wrapped", "text"), ODD.items())
def test_what_is_not_wrapped_as_it_should_be_is_not_lost(wrapped: str, text: str) -> None:
    for size in (1, 2, 100):
        unwrapper = Unwrapper()
        pieces = [unwrapper.feed(wrapped[i : i + size]) for i in range(0, len(wrapped), size)]
        assert "".join([*pieces, unwrapper.finish()]) == text


@given(text=TEXT, name=NAMES, space=st.one_of(st.just(""), NAMES))
def test_a_free_form_call_goes_there_and_back(text: str, name: str, space: str) -> None:
    tool: Any = {"type": "custom", "name": name}
    tools = [{"type": "namespace", "name": space, "tools": [tool]}] if space else [tool]
    request = asked(tools=tools)
    legal = request.body.value()["tools"][0]["name"]
    message: Any = {
        "id": "msg_1",
        "model": "m",
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "content": [{"type": "tool_use", "id": "toolu_1", "name": legal, "input": {"input": text}}],
    }
    response = json.loads(openai_responses.encode_message(request, message))
    [call] = response["output"]
    assert (call["name"], call["input"], call.get("namespace", "")) == (name, text, space)
    again = asked(tools=tools, input=[{"role": "user", "content": "a"}, call])
    assert again.body.value()["messages"][1]["content"] == message["content"]


# --- mistakes -----------------------------------------------------------------------------------

BODIES = [case.values[0]["request"] for case in cases("request_*.json")]


@given(data=st.data())
def test_wrong_types_at_every_level_are_read_or_refused(data: st.DataObject) -> None:
    """In every golden request; the laws do the same for conversations."""
    body = json.loads(json.dumps(data.draw(st.sampled_from(BODIES))))
    path = data.draw(st.sampled_from([path for path in places(body) if path]))
    inside = body
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = data.draw(WRONG)
    try:
        request = decoded(body)
        request.body.wire()
        streamed(request, replay(MESSAGE))
    except GatewayError as error:
        assert error.row.status == 400
        assert error.source == "client"


MESSAGE: Any = {
    "id": "msg_1",
    "model": "m",
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
    "content": [{"type": "text", "text": "a"}],
}
