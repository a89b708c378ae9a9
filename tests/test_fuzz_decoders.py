"""Whatever the official SDKs' own types allow, and much that they do not, is read or refused by its path.

A row names the types of a dialect's request; the values are drawn from them, made JSON, and spoiled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import completion_create_params as chat

from isthmus.backends import anthropic as backend
from isthmus.dialects import FRONTENDS
from isthmus.errors import GatewayError
from isthmus.frontends import matched
from isthmus.frontends.packing import packed
from isthmus.request import HttpRequest, Notes, Request, Target

from .strategies import OBJECTS, WRONG, mistaken, object_texts

Value = dict[str, Any]


def listed(kind: Any) -> st.SearchStrategy[Any]:
    """An iterable can be many things in Python, and is a list in JSON."""
    return st.lists(st.from_type(*(get_args(kind) or (int,))), max_size=4)


st.register_type_strategy(Iterable, listed)


@dataclass(frozen=True, slots=True)
class Row:
    """The requests of one dialect.

    ``plausible`` has, by the name of a member, values that get further than any others; ``unheard``
    members are known to the gateway and not to the types, with the member beside which they stand;
    ``opening`` is a turn of the user, and the member that begins with it.
    """

    path: str
    types: tuple[Any, ...]
    opening: tuple[str, Value]
    plausible: Mapping[str, st.SearchStrategy[Any]] = field(default_factory=dict)
    unheard: Mapping[str, tuple[str, st.SearchStrategy[Any]]] = field(default_factory=dict)


COUNTS = st.integers(-1, 4) | WRONG
ENTRIES = st.fixed_dictionaries(
    {"type": st.sampled_from(["reasoning.text", "reasoning.encrypted", "reasoning.summary"])},
    optional={
        "format": st.sampled_from(["anthropic-claude-v1", "isthmus-v1", None, "x"]),
        "text": st.text(max_size=4) | WRONG,
        "signature": st.just("s") | WRONG,
        "data": st.builds(packed, OBJECTS | st.just({"type": "text", "text": "a"})) | WRONG,
        "index": COUNTS,
        "after": COUNTS,
        "calls": COUNTS,
    },
)
SCHEMAS = st.recursive(
    st.sampled_from([{}, {"type": "string"}, {"$ref": "#"}, {"$ref": "#/$defs/a"}, True]),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", ["object", "null"]]) | WRONG,
            "properties": st.dictionaries(st.sampled_from(["a", "a b", "é", ""]), inner),
            "required": st.lists(st.sampled_from(["a", "a b", "é"])) | WRONG,
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "allOf": st.lists(inner, max_size=2) | WRONG,
            "$defs": st.dictionaries(st.just("a"), inner) | WRONG,
            "additionalProperties": inner | WRONG,
        },
    ),
    max_leaves=6,
)
ROWS = {
    "openai-chat": Row(
        "/v1/chat/completions",
        (chat.CompletionCreateParamsNonStreaming, chat.CompletionCreateParamsStreaming),
        ("messages", {"role": "user", "content": "Hello"}),
        {
            "model": st.just("claude-x"),
            "max_tokens": st.integers(1, 9),
            "max_completion_tokens": st.integers(1, 9),
            "modalities": st.just(["text"]),
            "audio": st.none(),
            "tool_choice": st.sampled_from(["auto", "none", None]),
            "function_call": st.sampled_from(["auto", "none", None]),
            "arguments": object_texts() | st.just(""),
            "parameters": SCHEMAS,
            "schema": SCHEMAS,
            "name": st.sampled_from(["f", "g.h", "web_search", "é"]),
            "id": st.sampled_from(["call_1", "call_2", "a b"]),
            "tool_call_id": st.sampled_from(["call_1", "call_2", "a b"]),
            "url": st.sampled_from(
                [
                    "https://example.com/a.png",
                    "data:image/png;base64,AAAA",
                    "data:;base64,x",
                    "file:",
                ]
            ),
            "file_data": st.sampled_from(["JVBERi0AAAAA", "data:text/plain;base64,AAAA", ""]),
            "temperature": st.floats(0, 2),
            "top_p": st.floats(0, 1),
            "n": st.just(1),
        },
        {
            "reasoning_details": ("role", st.lists(ENTRIES | WRONG, max_size=3) | WRONG),
            "thinking_blocks": ("role", st.lists(OBJECTS | WRONG, max_size=2) | WRONG),
            "cache_control": ("type", st.just({"type": "ephemeral"})),
            "thinking": ("model", st.just({"type": "adaptive"})),
            "context_management": ("model", OBJECTS),
            "extra_body": ("model", OBJECTS),
        },
    ),
}
"""By dialect; another dialect needs a row of its own, and its types."""


def jsonable(value: Any) -> Any:
    """What an SDK would send of a drawn value."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return [jsonable(inner) for inner in value] if isinstance(value, Iterable) else str(value)


@st.composite
def requests(draw: st.DrawFn, row: Row) -> Value:
    """A body of the dialect: as its types allow, with likelier texts at some places and members more."""
    body = jsonable(draw(st.from_type(draw(st.sampled_from(row.types)))))
    name, turn = row.opening
    if draw(st.integers(0, 6)):
        body[name] = [turn, *body.get(name, ())]
    return improved(draw, body, row)


def improved(draw: st.DrawFn, value: Any, row: Row) -> Any:
    if isinstance(value, list):
        return [improved(draw, inner, row) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {name: improved(draw, inner, row) for name, inner in value.items()}
    for name, likely in row.plausible.items():
        if name in found and draw(st.integers(0, 6)):
            found[name] = draw(likely)
    for name, (beside, values) in row.unheard.items():
        if beside in found and not draw(st.integers(0, 5)):
            found[name] = draw(values)
    return found


def decoded(dialect: str, row: Row, body: Value) -> Request:
    frontend = FRONTENDS[dialect]
    posts = [route for route in frontend.ROUTES if route.method == "POST"]
    match = next(found for route in posts if (found := matched(route, row.path)))
    source = json.dumps(body).encode()
    return frontend.decode(HttpRequest("POST", row.path, "", (), source), match)


TAKEN: dict[str, int] = {}
"""How many bodies were taken, so that the tests do not look at refusals alone."""


def assert_read_or_refused(dialect: str, body: Value, model: str) -> None:
    """The one way to fail is a 400 that names a place and says what is wrong."""
    try:
        request = decoded(dialect, ROWS[dialect], body)
        http = backend.encode(request, Target("anthropic", model), notes := Notes())
        backend.decoder(request)
    except GatewayError as error:
        assert (error.row.status, error.source) == (400, "client")
        assert error.message
        assert error.param is not None
        return
    sent = json.loads(http.body)
    assert sent["messages"]
    assert request.notes.header().isascii()
    assert notes.header().isascii()
    assert decoded(dialect, ROWS[dialect], body).body.wire() == request.body.wire()
    TAKEN[dialect] = TAKEN.get(dialect, 0) + 1


SLOW = settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
EACH = pytest.mark.parametrize("dialect", ROWS)
ANY_MODEL = st.sampled_from(["claude-sonnet-4-5", "claude-sonnet-5", "claude-opus-5-5", "model-x"])


@EACH
@SLOW
@given(data=st.data())
def test_what_the_types_allow(dialect: str, data: st.DataObject) -> None:
    body = data.draw(requests(ROWS[dialect]))
    assert_read_or_refused(dialect, body, data.draw(ANY_MODEL))


@EACH
@SLOW
@given(data=st.data())
def test_what_the_types_do_not_allow(dialect: str, data: st.DataObject) -> None:
    body = data.draw(requests(ROWS[dialect]).flatmap(mistaken))
    assert_read_or_refused(dialect, body, data.draw(ANY_MODEL))


@EACH
def test_enough_was_taken_to_tell(dialect: str) -> None:
    """After the others: types that had changed their meaning would draw what is always refused."""
    assert TAKEN.get(dialect, 0) > 20
