"""Requests drawn from the SDK's own types: read or refused with a 400, and then sent to any model."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import typing_extensions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseInputItemParam, ToolParam
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import (
    ResponseCreateParamsStreaming,
    ToolChoice,
)

from isthmus.dialects import BACKENDS
from isthmus.errors import GatewayError
from isthmus.frontends import Match, openai_responses
from isthmus.messages import collect
from isthmus.request import HttpRequest, Notes, Request, Target

from . import legality
from .strategies import JSON, NAMES, TEXT, Stream, mistaken, streams

MODELS = ["claude-sonnet-4-5", "claude-opus-5-5", "model-x"]
DEPTH = 5
"""How many objects may stand inside each other; beyond that only what is demanded is drawn."""
QUICK = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
WORDS = st.one_of(
    TEXT,
    NAMES,
    st.sampled_from(["data:image/png;base64,AAAA", "https://example.com/a.pdf", "{}", "auto"]),
)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: WORDS,
    int: st.integers(-2, 10**6),
    float: st.floats(-1, 3, allow_nan=False),
    bool: st.booleans(),
    type(None): st.none(),
    object: JSON,
    Any: JSON,
}


def drawn(hint: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of one of the SDK's types, TypedDicts with or without what they may lack."""
    if hint in SIMPLE:
        return SIMPLE[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*(st.deferred(lambda a=a: drawn(a, depth)) for a in args))
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (typing_extensions.Annotated, typing_extensions.Required):
        return drawn(args[0], depth)
    if origin in (dict, Mapping) or (origin is not None and issubclass(origin, Mapping)):
        return st.dictionaries(NAMES, drawn(args[1], depth + 1), max_size=2)
    if origin is not None and issubclass(origin, Iterable):
        size = 0 if depth > DEPTH else 3
        return st.lists(st.deferred(lambda: drawn(args[0], depth + 1)), max_size=size)
    if typing_extensions.is_typeddict(hint):
        return objects(hint, depth)
    raise AssertionError(hint)


@cache
def objects(hint: Any, depth: int) -> st.SearchStrategy[Any]:
    """Objects of a TypedDict, whose annotations alone tell what they must have."""
    needed: dict[str, st.SearchStrategy[Any]] = {}
    others: dict[str, st.SearchStrategy[Any]] = {}
    for name, inner in typing_extensions.get_type_hints(hint, include_extras=True).items():
        rows = needed if get_origin(inner) is typing_extensions.Required else others
        rows[name] = st.deferred(lambda h=inner: drawn(h, depth + 1))
    return st.fixed_dictionaries(needed, optional=others if depth <= DEPTH else {})


def decoded(body: Any, route: int = 0) -> Request:
    path = openai_responses.ROUTES[route].pattern
    http = HttpRequest("POST", path, body=json.dumps(body).encode(), arrived=1)
    return openai_responses.decode(http, Match(openai_responses.ROUTES[route]))


def survives(body: Any, stream: Stream | None = None, route: int = 0) -> bool:
    """Whether a body is read; what is read can be sent and answered, all else is a 400 with a path."""
    try:
        request = decoded(body, route)
    except GatewayError as error:
        assert (error.row.status, error.source) == (400, "client")
        assert error.message
        return False
    request.notes.header().encode("ascii")
    for model in MODELS:
        try:
            http = BACKENDS["anthropic"].encode(request, Target("anthropic", model), Notes())
        except GatewayError as error:
            assert error.row.status == 400
        else:
            assert json.loads(http.body)["messages"]
    if stream is not None:
        encoder = openai_responses.encoder(request)
        legality.responses(b"".join(map(encoder.feed, stream.events)))
        openai_responses.encode_message(request, collect(stream.events))
    return True


USER: Any = {"role": "user", "content": "Hello"}


@QUICK
@given(body=drawn(ResponseCreateParamsStreaming), stream=streams())
def test_a_request_of_the_sdks_own_type(body: Any, stream: Stream) -> None:
    survives(body, stream)


@QUICK
@given(body=drawn(InputTokenCountParams))
def test_a_count_of_the_sdks_own_type(body: Any) -> None:
    survives(body, route=1)


@settings(QUICK, max_examples=150)
@given(items=st.lists(drawn(ResponseInputItemParam), max_size=4), stream=streams())
def test_items_of_the_sdks_own_types(items: list[Any], stream: Stream) -> None:
    survives({"model": "m", "input": [USER, *items], "stream": True}, stream)


@settings(QUICK, max_examples=150)
@given(
    tools=st.lists(drawn(ToolParam), max_size=4),
    choice=st.none() | drawn(ToolChoice),
    stream=streams(),
)
def test_tools_of_the_sdks_own_types(tools: list[Any], choice: Any, stream: Stream) -> None:
    body = {"model": "m", "input": [USER], "tools": tools, "stream": True}
    survives(body | ({"tool_choice": choice} if choice is not None else {}), stream)


@settings(QUICK, max_examples=150)
@given(data=st.data())
def test_mistakes_in_what_the_sdk_would_send(data: st.DataObject) -> None:
    items = data.draw(st.lists(drawn(ResponseInputItemParam), max_size=3))
    tools = data.draw(st.lists(drawn(ToolParam), max_size=2))
    body = {"model": "m", "input": [USER, *items], "tools": tools, "max_tool_calls": 2}
    survives(data.draw(mistaken(body)))


@QUICK
@given(stream=streams(noise=False), data=st.data())
def test_any_answer_can_be_sent_back(stream: Stream, data: st.DataObject) -> None:
    """All items, or some of them in their order, as clients do that keep some to themselves."""
    include = ["reasoning.encrypted_content", "web_search_call.action.sources"]
    asked = {"model": "m", "input": [USER], "include": include}
    message = collect(stream.events)
    output = json.loads(openai_responses.encode_message(decoded(asked), message))["output"]
    kept = [item for item in output if data.draw(st.booleans())]
    for items in (output, kept):
        try:
            request = decoded({**asked, "input": [USER, *items, USER]})
        except GatewayError as error:  # what a limit cut off was no call
            assert (error.param or "").endswith(".arguments")
            assert "incomplete" in [item.get("status") for item in items]
            return
        calls, results = paired(request)
        assert calls == results


def paired(request: Request) -> tuple[list[str], list[str]]:
    """The calls of the provider's own tools that a body holds, and what its results answer."""
    blocks = [block for turn in request.body.value()["messages"] for block in turn["content"]]
    calls = [b["id"] for b in blocks if b["type"] in ("server_tool_use", "mcp_tool_use")]
    results = [b["tool_use_id"] for b in blocks if b["type"].endswith("_tool_result")]
    return sorted(calls), sorted(results)


def test_the_types_are_not_empty() -> None:
    """Most items and tools that are drawn are read, or the tests above would say little."""
    found: list[Any] = []

    @settings(QUICK, database=None)
    @given(item=drawn(ResponseInputItemParam), tool=drawn(ToolParam))
    def draw(item: Any, tool: Any) -> None:
        found.append(survives({"model": "m", "input": [USER, item]}))
        found.append(survives({"model": "m", "input": [USER], "tools": [tool]}))

    draw()
    assert sum(found) > len(found) / 4
