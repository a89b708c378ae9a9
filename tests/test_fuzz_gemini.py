"""Bodies drawn from the SDK's own types: each is read, or refused by a path that leads into it.

What the types allow and no recording holds: every member beside every other, of every kind of part
and tool, in either spelling, values of the right type without sense.
"""

from __future__ import annotations

import base64
import enum
import json
import re
import types as std
import typing
from typing import Any

import pytest
from google.genai import types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from isthmus.backends import anthropic
from isthmus.errors import GatewayError
from isthmus.frontends.gemini import signatures
from isthmus.request import Notes, Request, Target
from tests.strategies import JSON, NAMES, OBJECTS, PARTS, TEXT
from tests.test_gemini import COUNT, GENERATE, STREAM, decoded, leads_into

MANY = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
WORDS = st.sampled_from(["a", "b", "get_weather", "web_search", "", " ", "model", "user", "A"])
TEXTS = WORDS | TEXT
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
OURS = st.lists(
    st.tuples(st.integers(-1, 5), st.none() | PARTS.map(lambda part: part.whole)), max_size=3
).map(lambda rows: signatures.packed([(at, b) for at, b in rows if b is None or packable(b)]))
BYTES = st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode()) | OURS
NAMED: dict[str, st.SearchStrategy[Any]] = {
    "role": st.sampled_from(["user", "model", "function", "system"]),
    "mimeType": st.sampled_from(["image/png", "application/pdf", "text/plain", "video/mp4", "x"]),
    "fileUri": st.sampled_from(["https://example.com/a.png", "gs://b/a", "x"]),
    "name": WORDS,
    "type": st.sampled_from(["STRING", "OBJECT", "ARRAY", "TYPE_UNSPECIFIED", "string"]),
    "thoughtSignature": BYTES | st.just("skip_thought_signature_validator"),
}
"""Members for which a value that means something is drawn oftener than by chance."""


def packable(block: Any) -> bool:
    return block["type"] in ("thinking", "redacted_thinking") or signatures.can_hold(block)


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), name)


def of_type(kind: Any, depth: int) -> st.SearchStrategy[Any]:
    """JSON values of a type as the SDK annotates it; below ``depth`` levels messages are empty."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return of_type(typing.get_args(kind)[0], depth)
    if origin in (typing.Union, std.UnionType):
        kinds = [one for one in typing.get_args(kind) if one is not type(None)]
        return st.one_of(*(of_type(one, depth) for one in kinds))
    if origin is list:
        (one,) = typing.get_args(kind)
        return st.lists(of_type(one, depth), max_size=2)
    if origin is dict or kind is dict:
        return OBJECTS
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from([member.value for member in kind])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return message(kind, depth)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXTS,
        bytes: BYTES,
        bool: st.booleans(),
        int: st.integers(-2, 3000),
        float: st.sampled_from([0, 0.5, 1, 40.0, -1]),
    }
    return plain.get(kind, JSON)


@st.composite
def message(draw: st.DrawFn, kind: type[BaseModel], depth: int) -> dict[str, Any]:
    """A message of one of the SDK's types, with a few of its members in either spelling."""
    if depth <= 0:
        return {}
    fields = {field.alias or name: field for name, field in kind.model_fields.items()}
    chosen = (
        draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)) if fields else []
    )
    found: dict[str, Any] = {}
    for name in chosen:
        values = of_type(fields[name].annotation, depth - 1)
        value = draw(NAMED[name] | values if name in NAMED else values)
        found[draw(st.sampled_from([name, name, snake(name)]))] = value
    return found


def likely(kind: type[BaseModel], depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """A message with one member of each of its own kinds rather than with any few."""
    return message(kind, depth).filter(bool)


PART = st.one_of(
    likely(types.Part, 3),
    st.builds(lambda text, sign: {"text": text, "thoughtSignature": sign}, TEXTS, BYTES),
    st.builds(lambda call: {"functionCall": {"name": "a", **call}}, message(types.FunctionCall, 2)),
    st.builds(
        lambda row: {"functionResponse": {"name": "a", **row}}, message(types.FunctionResponse, 3)
    ),
    st.just({"inlineData": {"mimeType": "image/png", "data": PNG}}),
)
CONTENT = st.builds(
    lambda role, parts: {"role": role, "parts": parts},
    st.sampled_from(["user", "model"]),
    st.lists(PART, min_size=1, max_size=3),
)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """A request as GenerateContentConfig and the contents amount to on the wire."""
    body: dict[str, Any] = {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            *draw(st.lists(CONTENT, max_size=4)),
        ]
    }
    optional: dict[str, st.SearchStrategy[Any]] = {
        "generationConfig": message(types.GenerationConfig, 4),
        "tools": st.lists(likely(types.Tool, 4), max_size=2),
        "toolConfig": message(types.ToolConfig, 3),
        "systemInstruction": message(types.Content, 3) | TEXTS,
        "safetySettings": st.lists(message(types.SafetySetting, 2), max_size=2),
        "labels": st.dictionaries(NAMES, TEXT, max_size=2),
        "serviceTier": of_type(types.ServiceTier, 1),
        "store": st.booleans(),
        "cachedContent": TEXTS,
        "modelArmorConfig": message(types.ModelArmorConfig, 2),
        "continuationToken": BYTES,
    }
    for name in draw(st.lists(st.sampled_from(sorted(optional)), max_size=3, unique=True)):
        body[draw(st.sampled_from([name, snake(name)]))] = draw(optional[name])
    return body


def read(body: Any, path: str) -> Request | None:
    """The request, or None where it was refused by a path that leads into the body."""
    try:
        request = decoded(body, path)
    except GatewayError as error:
        assert error.kind == "invalid_request"
        assert error.param is not None
        assert leads_into(body, error.param), error.message
        return None
    for note in request.notes.rows:
        assert note.path in ("messages", "contents") or leads_into(body, note.path), str(note)
        assert note.reason != "not known", str(note)
    return request


@MANY
@given(body=bodies(), path=st.sampled_from([GENERATE, STREAM, COUNT]))
def test_what_the_types_allow_is_read_or_refused_by_its_path(body: Any, path: str) -> None:
    read(body, path)


@MANY
@given(body=bodies())
def test_reading_twice_says_the_same(body: Any) -> None:
    first, second = read(body, GENERATE), read(json.loads(json.dumps(body)), GENERATE)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first.body.wire() == second.body.wire()
        assert first.notes.rows == second.notes.rows


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-5-5", "model-x"])
@settings(MANY, max_examples=40)
@given(body=bodies())
def test_what_was_read_can_be_sent(model: str, body: Any) -> None:
    """Each call has its result, each result its call, and no text is blank."""
    request = read(body, GENERATE)
    if request is None:
        return
    try:
        http = anthropic.encode(request, Target("anthropic", model), Notes())
    except GatewayError as error:
        assert error.row.status == 400
        return
    sent = json.loads(http.body)
    turns = sent["messages"]
    assert turns[0]["role"] == "user"
    for turn, after in zip(turns, [*turns[1:], None], strict=True):
        assert turn["content"]
        calls = [b["id"] for b in turn["content"] if b["type"] == "tool_use"]
        results = [b for b in (after or {"content": []})["content"] if b["type"] == "tool_result"]
        assert sorted(b["tool_use_id"] for b in results) == sorted(calls)
        assert all(b["text"].strip() for b in turn["content"] if b["type"] == "text")


@MANY
@given(first=bodies(), more=st.lists(CONTENT, max_size=3))
def test_what_is_added_changes_nothing_before_it(first: Any, more: list[Any]) -> None:
    """Law 5 over any history, whatever came back in it."""
    later = {**first, "contents": [*first["contents"], {"role": "model", "parts": [{"text": "x"}]}]}
    later["contents"] += [{"role": "user", "parts": [{"text": "y"}]}, *more]
    before, after = read(first, GENERATE), read(later, GENERATE)
    if before is None or after is None or first["contents"][-1]["role"] != "user":
        return
    assert before.body.peek("tools") == after.body.peek("tools")
    assert before.body.peek("system") == after.body.peek("system")
    rows = [[t["role"], b] for t in before.body.peek("messages") for b in t["content"]]
    again = [[t["role"], b] for t in after.body.peek("messages") for b in t["content"]]
    assert again[: len(rows)] == rows
