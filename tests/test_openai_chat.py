"""The Chat Completions frontend: golden cases, the laws, mistakes, and what the official SDK makes of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, cast, get_args

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import Stream
from openai.types import Model as SdkModel
from openai.types.chat import ChatCompletion, ChatCompletionChunk, CompletionCreateParams
from typing_extensions import get_type_hints, is_typeddict

from isthmus import wire
from isthmus.errors import KINDS, GatewayError
from isthmus.frontends import Match, matched, openai_chat, schema
from isthmus.messages import Event, Message, collect, replay
from isthmus.request import HttpRequest, Request

from . import legality
from .strategies import (
    MESSAGES,
    WRONG,
    Said,
    as_chat,
    broken_streams,
    conversations,
    places,
    sent,
    streams,
)
from .strategies import Stream as Drawn

CASES = Path(__file__).parent / "wire" / "openai_chat"
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "recorded" / "openai_chat"
ARRIVED = 1_700_000_000
HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def decoded(body: Any) -> Request:
    source = body if isinstance(body, bytes) else json.dumps(body).encode()
    http = HttpRequest("POST", "/v1/chat/completions", body=source, arrived=ARRIVED)
    return openai_chat.decode(http, Match(openai_chat.ROUTES[0]))


def refused(body: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        decoded(body)
    assert caught.value.kind == "invalid_request"
    return caught.value


def asked(**fields: Any) -> Request:
    return decoded({**HELLO, "stream": True, **fields})


def streamed(request: Request, events: Any) -> bytes:
    encoder = openai_chat.encoder(request)
    return b"".join(encoder.feed(event) for event in events)


def frames(data: bytes) -> list[Any]:
    """The decoded data of each frame; comments are left out."""
    texts = [
        frame[len("data: ") :]
        for frame in data.decode().split("\n\n")
        if frame.startswith("data: ")
    ]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


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
    kept = {name: value for name, value in request.memory.items() if value and name != "created"}
    assert kept == case.get("memory", {})
    assert request.stream == case.get("stream", False)
    assert request.memory["created"] == ARRIVED
    assert request.model == case["request"]["model"]


@pytest.mark.parametrize("case", cases("request_*.json"))
def test_a_request_decodes_to_the_same_bytes_each_time(case: dict[str, Any]) -> None:
    source = json.dumps(case["request"]).encode()
    assert decoded(source).body.wire() == decoded(source).body.wire()


@pytest.mark.parametrize("case", cases("refused.json"))
def test_a_refusal_names_the_member_at_fault(case: dict[str, Any]) -> None:
    error = refused(case["request"])
    assert (error.param, error.message) == (case["param"], case["message"])
    assert error.message.startswith(f"{error.param}: ")


@pytest.mark.parametrize("case", cases("answers.json"))
def test_an_answer_becomes_this_completion(case: dict[str, Any]) -> None:
    request = asked(**case["request"])
    data = openai_chat.encode_message(request, case["message"])
    assert json.loads(data) == case["completion"]
    sdk = ChatCompletion.model_validate_json(data, strict=True)
    assert sdk.choices[0].message.content == case["completion"]["choices"][0]["message"]["content"]


@pytest.mark.parametrize("case", cases("answers.json"))
def test_an_answer_becomes_these_chunks(case: dict[str, Any]) -> None:
    request = asked(**case["request"])
    found = frames(streamed(request, replay(case["message"])))
    head = {name: case["completion"][name] for name in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"
    expected = [{**head, **chunk} if isinstance(chunk, dict) else chunk for chunk in case["chunks"]]
    assert found == expected
    for chunk in found[:-1]:
        ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True)


# --- laws ---------------------------------------------------------------------------------------


def same_answer(joined: dict[str, Any], completion: dict[str, Any]) -> None:
    """A joined stream says what the completion says; null and absent are one."""
    one, other = joined["choices"][0], completion["choices"][0]
    assert one["finish_reason"] == other["finish_reason"]
    message = {name: value for name, value in one["message"].items() if value is not None}
    whole = {name: value for name, value in other["message"].items() if value is not None}
    assert message == whole
    for name in ("id", "created", "model", "usage"):
        assert joined[name] == completion[name]


@given(streams())
def test_a_joined_stream_is_the_completion(stream: Drawn) -> None:
    events = [Event(value=value) for value in stream.values]
    request = asked(stream_options={"include_usage": True})
    outcome = legality.chat(streamed(request, events), usage=True)
    completion = legality.chat_completion(openai_chat.encode_message(request, collect(events)))
    same_answer(outcome.message, completion)


@given(MESSAGES)
def test_a_replayed_message_is_the_completion(message: Message) -> None:
    request = asked(stream_options={"include_usage": True})
    outcome = legality.chat(streamed(request, replay(message)), usage=True)
    same_answer(outcome.message, json.loads(openai_chat.encode_message(request, message)))


@given(streams())
def test_usage_comes_only_if_it_was_asked_for(stream: Drawn) -> None:
    events = (Event(value=value) for value in stream.values)
    legality.chat(streamed(asked(), events), usage=False)


@given(broken_streams())
def test_an_error_ends_a_stream_without_a_terminator(stream: Drawn) -> None:
    encoder = openai_chat.encoder(asked())
    data = b"".join(encoder.feed(Event(value=value)) for value in stream.values)
    assert legality.chat(data).error
    assert b"[DONE]" not in data.split(b'data: {"error"')[-1]
    assert encoder.fail(GatewayError("internal", "x")) == b""


@given(conversations())
def test_earlier_turns_never_change(said: list[Said]) -> None:
    whole = decoded(as_chat(said)).body.value()
    for count in sent(said)[:-1]:
        earlier = decoded(as_chat(said[:count])).body.value()
        assert earlier.get("system") == whole.get("system")
        assert earlier["tools"] == whole["tools"]
        blocks = flat(earlier["messages"])
        assert wire.dumps(blocks) == wire.dumps(flat(whole["messages"])[: len(blocks)])


def flat(turns: list[Any]) -> list[tuple[str, Any]]:
    return [(turn["role"], block) for turn in turns for block in turn["content"]]


@given(conversations())
def test_everything_said_is_carried(said: list[Said]) -> None:
    body = decoded(as_chat(said)).body.value()
    carried = json.dumps([body.get("system"), body["messages"]])
    for item in (item for one in said for item in one.items):
        text = item[3] if item[0] == "result" else item[1]
        assert json.dumps(text)[1:-1] in carried


# --- bad input ----------------------------------------------------------------------------------

REQUESTS = [case.values[0]["request"] for case in cases("request_*.json")]


@st.composite
def mistaken(draw: st.DrawFn) -> dict[str, Any]:
    """A request of the golden cases with up to three of its values replaced or removed."""
    body: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(REQUESTS)))
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(places(body) or [("model",)]))
        inside: Any = body
        for key in above:
            inside = inside[key]
        if draw(st.booleans()):
            inside[last] = copy.deepcopy(draw(WRONG))
        elif isinstance(inside, list) or last in inside:
            del inside[last]
    return body


@given(mistaken())
def test_a_mistaken_request_is_taken_or_refused_by_its_path(body: dict[str, Any]) -> None:
    try:
        request = decoded(body)
    except GatewayError as error:
        assert error.kind == "invalid_request"
        assert error.param is not None
        assert error.message
    else:
        assert request.body.wire()
        assert request.notes.header().isascii()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_is_no_object_is_refused(value: Any) -> None:
    assert refused(value).param == ""


@pytest.mark.parametrize(
    ("body", "param", "text"),
    [
        (b"", "", "not valid JSON"),
        (b'{"model": "m"', "", "not valid JSON"),
        (b'{"model": NaN}', "", "NaN"),
        (b'{"model": "m", "model": "n"}', "model", "twice"),
        (b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "", "nested"),
        (b'{"x": ' + b"[" * 300 + b"]" * 300 + b"}", "", "levels"),
        (b"\xff{}", "", "not valid JSON"),
    ],
)
def test_what_is_no_json_is_refused(body: bytes, param: str, text: str) -> None:
    error = refused(body)
    assert error.param == param
    assert text in error.message


def test_lone_surrogates_are_repaired() -> None:
    request = decoded(b'{"model":"m","messages":[{"role":"user","content":"a\\ud83d"}]}')
    assert request.body.peek("messages")[0]["content"][0]["text"] == "a\ufffd"
    assert [note.reason for note in request.notes.rows] == ["lone surrogates became U+FFFD"]


def test_a_deep_schema_is_refused_before_the_stack_ends() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(150):
        schema = {"items": schema}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert "levels" in refused({**HELLO, "response_format": wanted}).message
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}
    request = decoded({**HELLO, "tools": [tool]})
    assert [note.path for note in request.notes.rows] == ["tools.0.function.strict"]


def test_the_callers_schema_is_not_changed() -> None:
    source = {"anyOf": [{"properties": {"a": {"minimum": 1}}}], "properties": {"b": {}}}
    before = json.dumps(source)
    schema.input_schema(source)
    schema.compiled(source, "")
    assert json.dumps(source) == before


def test_names_never_become_one() -> None:
    names = openai_chat.tools.Names(16)
    made = [names.legal(f"{'a' * n}{mark}") for n in range(20) for mark in ("", ".", "/", "_")]
    taken = names.legal(names.legal("x.y"), use=0)
    assert len(set(made)) == len(made)
    assert taken not in (names.legal("x.y"), *made)
    assert all(len(name) <= 16 for name in made)


# --- what the SDK makes of it -------------------------------------------------------------------


def sdk_stream(data: bytes) -> Stream[ChatCompletionChunk]:
    request = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")
    response = httpx2.Response(200, content=data, request=request)
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
    return Stream(cast_to=ChatCompletionChunk, response=response, client=client)


@given(streams())
def test_the_sdk_reads_every_stream(stream: Drawn) -> None:
    encoder = openai_chat.encoder(asked())
    data = encoder.keep_alive()
    for value in stream.values:
        data += encoder.feed(Event(value=value)) + encoder.keep_alive()
    chunks = list(sdk_stream(data))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    spoken = [block["text"] for block in stream.message["content"] if block["type"] == "text"]
    assert "".join(texts) == "".join(spoken)
    assert chunks[-1].choices[0].finish_reason
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(chunk.model_dump_json(), strict=True)


def test_the_sdk_raises_what_a_broken_stream_says() -> None:
    encoder = openai_chat.encoder(asked())
    start = {"id": "msg_1", "model": "m", "content": [], "usage": {}}
    data = encoder.feed(Event(value={"type": "message_start", "message": start}))
    data += encoder.fail(GatewayError("overloaded", "too busy"))
    with pytest.raises(openai.APIError, match="too busy"):
        list(sdk_stream(data))


# --- errors and models --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_errors_come_in_the_dialects_envelope(kind: str) -> None:
    error = GatewayError(kind, "what is wrong", param="messages.0")
    value = json.loads(openai_chat.encode_error(error, "req_1"))
    assert legality.chat_error(value) == {
        "message": "what is wrong",
        "type": KINDS[kind].openai,
        "param": "messages.0",
        "code": KINDS[kind].openai_code,
    }


def test_an_error_of_the_whole_body_names_no_param() -> None:
    value = json.loads(openai_chat.encode_error(refused(b"x"), ""))
    assert value["error"]["param"] is None


MODELS = [
    {"id": "claude-a", "display_name": "Claude A", "created_at": "2026-09-22T00:00:00Z"},
    {"id": "b/c", "created_at": "2026-09-22T00:00:00"},
    {"id": "d", "created_at": "soon", "owned_by": "d-makers"},
]


def test_models_are_listed_as_openai_lists_them() -> None:
    value = json.loads(openai_chat.encode_models(MODELS, HttpRequest("GET", "/v1/models")))
    assert value == {
        "object": "list",
        "data": [
            {
                "id": "claude-a",
                "object": "model",
                "created": 1_790_035_200,
                "owned_by": "anthropic",
                "display_name": "Claude A",
            },
            {"id": "b/c", "object": "model", "created": 1_790_035_200, "owned_by": "anthropic"},
            {"id": "d", "object": "model", "created": 0, "owned_by": "d-makers"},
        ],
    }
    assert json.loads(openai_chat.encode_model(MODELS[0])) == value["data"][0]
    for model in value["data"]:
        SdkModel.model_validate(model, strict=True)


def test_the_routes() -> None:
    chat, models, model = openai_chat.ROUTES
    assert matched(chat, "/v1/chat/completions")
    assert matched(models, "/v1/models")
    found = matched(model, "/v1/models/b%2Fc")
    assert found is not None
    assert found.parts == {"model": "b/c"}
    assert openai_chat.SIGNS == ()


# --- recordings ---------------------------------------------------------------------------------

RECORDINGS = sorted(RECORDED.glob("*.json"))


@pytest.mark.skipif(not RECORDINGS, reason="the recorded exchanges are not here")
def test_recorded_requests_are_taken_or_refused_for_a_reason() -> None:
    taken = 0
    for path in RECORDINGS:
        body = json.loads(path.read_text())["request"]["body"]
        try:
            request = decoded(body)
        except GatewayError as error:
            assert cast("str", error.param).startswith("messages."), path.name
            assert "input_audio" in error.message or "uploaded files" in error.message, path.name
        else:
            taken += 1
            assert not [note for note in request.notes.rows if note.reason == "not known"], (
                path.name
            )
    assert taken >= len(RECORDINGS) * 3 // 4


# --- the members of the newest SDK --------------------------------------------------------------


def members_of(kind: Any, seen: set[Any]) -> set[str]:
    """The names of all members of the SDK's types for a request, inner ones included."""
    if kind in seen or not (is_typeddict(kind) or get_args(kind)):
        return set()
    seen.add(kind)
    hints = get_type_hints(kind) if is_typeddict(kind) else {}
    inner = [members_of(value, seen) for value in (*hints.values(), *get_args(kind))]
    return set(hints).union(*inner)


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_every_member_that_the_sdk_can_send_has_a_golden_case() -> None:
    """Carried, noted or refused: the case says which. A newer SDK asks for cases of its new members."""
    found = members_of(CompletionCreateParams, set())
    assert {"messages", "prompt_cache_breakpoint", "timezone", "tool_call_id"} <= found
    shown = set().union(*(keys_of(case.values[0]["request"]) for case in cases("re[fq]u*.json")))
    assert found - shown == set()
