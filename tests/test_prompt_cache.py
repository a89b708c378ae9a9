"""Cache markers that the operator wants: where they stand, where they stay away, what they save."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from isthmus.config import Config
from isthmus.prompt_cache import LOOKBACK, marked
from isthmus.request import Body

from .harness import VERSION, World, message
from .strategies import Said, as_messages, conversations
from .test_laws import without_marks

Value = dict[str, Any]
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
GUIDE = "You know this house and all that is in it, and you tell it to whoever asks. " * 40


def text(words: str, **fields: Any) -> Value:
    return {"type": "text", "text": words, **fields}


def said(role: str, *content: Any) -> Value:
    return {"role": role, "content": list(content)}


def rounds(calls: int) -> list[Value]:
    """A question, an answer that calls a tool so often, and the results."""
    uses = [{"type": "tool_use", "id": f"t{n}", "name": "f", "input": {}} for n in range(calls)]
    results = [
        {"type": "tool_result", "tool_use_id": f"t{n}", "content": "r"} for n in range(calls)
    ]
    return [said("user", text("a"), text("b")), said("assistant", *uses), said("user", *results)]


def marks(value: Any, path: str = "") -> list[str]:
    """Where markers stand."""
    if isinstance(value, list):
        return [place for i, item in enumerate(value) for place in marks(item, f"{path}.{i}")]
    if not isinstance(value, dict):
        return []
    inner = [place for name, item in value.items() for place in marks(item, f"{path}.{name}")]
    return [*([path.removeprefix(".")] if "cache_control" in value else []), *inner]


def sent(body: Value) -> Value:
    """What becomes of a body, the same for a client's bytes and for a body of our own."""
    ours = json.loads(marked(Body(copy.deepcopy(body))).wire())
    theirs = json.loads(marked(Body(json.dumps(body).encode())).wire())
    assert ours == theirs
    assert without_marks(ours) == without_marks(body)
    return ours


# --- where they stand ---------------------------------------------------------------------------


def test_the_marker_stands_at_the_top() -> None:
    body = message()
    assert sent(body) == {**body, "cache_control": MARK}


HALF = LOOKBACK // 2
PLACES: dict[str, tuple[list[Value], list[str]]] = {
    "the first request": (rounds(30)[:1], [""]),
    "few blocks since then": ([*rounds(HALF)[:2], rounds(HALF - 1)[2]], [""]),
    "as many as are looked at": (rounds(HALF), ["", "messages.0.content.1"]),
    "many": (rounds(30), ["", "messages.0.content.1"]),
    "many in the answer alone": (rounds(30)[:2], ["", "messages.0.content.1"]),
    "many long ago": ([*rounds(30), said("assistant", text("c")), said("user", text("d"))], [""]),
    "many twice": ([*rounds(30), *rounds(30)[1:]], ["", "messages.2.content.29"]),
    "an answer in two pieces": (
        [*rounds(30)[:1], said("assistant", text("c")), *rounds(30)[1:]],
        ["", "messages.0.content.1"],
    ),
    "behind a system message": (
        [*rounds(30)[:1], said("system", text("s")), *rounds(30)[1:]],
        ["", "messages.1.content.0"],
    ),
    "nothing before the answer": (rounds(30)[1:], [""]),
    "a turn without blocks": ([said("user"), *rounds(30)[1:]], [""]),
}


@pytest.mark.parametrize(("messages", "places"), PLACES.values(), ids=PLACES)
def test_a_marker_where_the_request_before_ended(messages: list[Value], places: list[str]) -> None:
    assert marks(sent({"messages": messages})) == places


def test_a_turn_that_is_a_string_becomes_a_block() -> None:
    messages = [{"role": "user", "content": 'say "é"'}, *rounds(30)[1:]]
    body = json.loads(marked(Body(json.dumps({"messages": messages}).encode())).wire())
    assert body["messages"][0]["content"] == [text('say "é"', cache_control=MARK)]
    assert body["messages"][1:] == messages[1:]


def test_a_null_gives_way() -> None:
    first = said("user", text("a", cache_control=None))
    body = sent({"messages": [first, *rounds(30)[1:]], "cache_control": None})
    assert body["cache_control"] == body["messages"][0]["content"][0]["cache_control"] == MARK


def test_the_other_bytes_stay() -> None:
    """Order, white space and numbers of a client's body, whatever may be odd about them."""
    calls = b",\n".join(
        b'{"type" :"tool_use","id":"t%d","input":{"n":1.0e2}}' % n for n in range(30)
    )
    before = b'{"messages" :[ {"content":[ {"text":"\\u00e9", "type":"text" '
    after = b'} ] ,"role":"user"} , {"role":"assistant","content":[' + calls + b"\t]}],"
    end = b'"zeta":-0.0,"max_tokens":1E2'
    mark = b',"cache_control":{"type":"ephemeral"}'
    got = marked(Body(before + after + end + b"}")).wire()
    assert got == before + mark + after + end + mark + b"}"


@given(talk=conversations())
def test_nothing_else_is_changed(talk: list[Said]) -> None:
    sent(as_messages(talk))


# --- where they stay away -----------------------------------------------------------------------

OWN: dict[str, Value] = {
    "at the top": {"cache_control": HOUR},
    "on a tool": {"tools": [{"name": "f", "input_schema": {}, "cache_control": MARK}]},
    "in the system prompt": {"system": [text("s", cache_control=HOUR)]},
    "on a block": {"messages": [said("user", text("a", cache_control=MARK))]},
    "in a result": {
        "messages": [
            said(
                "user",
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [text("", cache_control=MARK)],
                },
            )
        ]
    },
    "in a document": {
        "messages": [
            said(
                "user",
                {
                    "type": "document",
                    "source": {"type": "content", "content": [text("a", cache_control=MARK)]},
                },
            )
        ]
    },
}


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_a_clients_own_marker_counts_alone(own: Value) -> None:
    body = message(**own)
    for given_body in (Body(body), Body(json.dumps(body).encode())):
        assert marked(given_body) is given_body


NO_MARKERS: list[Value] = [
    {"system": [text('"cache_control"')]},
    {"system": [text("cache_control", cache_control=None)]},
    {"tools": [{"name": "f", "input_schema": {"properties": {"cache_control": MARK}}}]},
    {
        "messages": [
            said("user", text("a")),
            said(
                "assistant",
                {"type": "tool_use", "id": "t", "name": "f", "input": {"cache_control": MARK}},
            ),
        ]
    },
]


@pytest.mark.parametrize("body", NO_MARKERS, ids=range(len(NO_MARKERS)))
def test_what_only_looks_like_a_marker(body: Value) -> None:
    for given_body in (Body(dict(body)), Body(json.dumps(body).encode())):
        assert json.loads(marked(given_body).wire())["cache_control"] == MARK


UNSOUND: list[bytes] = [
    b'{"messages":[1]}',
    b'{"messages":[{"role":"user"}]}',
    b'{"messages":[{"role":"assistant","content":[],"content":[]}]}',
    b'{"messages":[],"messages":[]}',
    b'{"messages":[{"role":"user","content":[{"type":"text","text":"\\ud83d"}]}]}',
]


@pytest.mark.parametrize("body", UNSOUND)
def test_a_body_that_is_not_sound_is_the_providers_to_refuse(body: bytes) -> None:
    assert marked(Body(body)).wire() == body


@pytest.mark.parametrize("messages", [b"null", b"{}", b'"x"', b"[]", b"[[]]"])
def test_messages_of_no_use_pass_as_they_are(messages: bytes) -> None:
    body = b'{"messages":' + messages + b"}"
    assert marked(Body(body)).wire().startswith(body[:-1])


# --- what they save -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def caching() -> Iterator[World]:
    world = World(backend={"prompt_cache": "auto"})
    yield world
    world.close()


@pytest.fixture(autouse=True)
def forgetful(caching: World) -> None:
    caching.simulator.reset()


MODEL = "claude-sonnet-5"
TOOL = {"type": "object", "properties": {"n": {"type": "integer"}}}
PATHS = {
    "anthropic": "/v1/messages",
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "gemini": f"/v1beta/models/{MODEL}:generateContent",
}
EACH_DIALECT = pytest.mark.parametrize("dialect", PATHS)


def talk_of(dialect: str, calls: int) -> tuple[Value, Value]:
    """Two requests of one conversation, with so many calls between them."""
    ids = [f"toolu_{n}" for n in range(calls)]
    if dialect == "anthropic":
        uses = [{"type": "tool_use", "id": i, "name": "f", "input": {}} for i in ids]
        results = [{"type": "tool_result", "tool_use_id": i, "content": "r"} for i in ids]
        tool = {"name": "f", "input_schema": TOOL}
        first: Value = {"model": MODEL, "max_tokens": 99, "system": GUIDE, "tools": [tool]}
        asked = [said("user", text("Go."))]
        later = [*asked, said("assistant", *uses), said("user", *results)]
        return {**first, "messages": asked}, {**first, "messages": later}
    if dialect == "openai-chat":
        function = {"name": "f", "arguments": "{}"}
        uses = [{"type": "function", "id": i, "function": function} for i in ids]
        results = [{"role": "tool", "tool_call_id": i, "content": "r"} for i in ids]
        tool = {"type": "function", "function": {"name": "f", "parameters": TOOL}}
        asked = [{"role": "system", "content": GUIDE}, {"role": "user", "content": "Go."}]
        later = [*asked, {"role": "assistant", "tool_calls": uses}, *results]
        first = {"model": MODEL, "tools": [tool]}
        return {**first, "messages": asked}, {**first, "messages": later}
    if dialect == "openai-responses":
        call = {"type": "function_call", "name": "f", "arguments": "{}"}
        result = {"type": "function_call_output", "output": "r"}
        asked = [{"role": "user", "content": "Go."}]
        later = [*asked, *({**row, "call_id": i} for row in (call, result) for i in ids)]
        tool = {"type": "function", "name": "f", "parameters": TOOL}
        first = {"model": MODEL, "instructions": GUIDE, "tools": [tool]}
        return {**first, "input": asked}, {**first, "input": later}
    uses = [{"functionCall": {"id": i, "name": "f", "args": {}}} for i in ids]
    results = [
        {"functionResponse": {"id": i, "name": "f", "response": {"output": "r"}}} for i in ids
    ]
    asked = [{"role": "user", "parts": [{"text": "Go."}]}]
    later = [*asked, {"role": "model", "parts": uses}, {"role": "user", "parts": results}]
    tool = {"functionDeclarations": [{"name": "f", "parametersJsonSchema": TOOL}]}
    first = {"systemInstruction": {"parts": [{"text": GUIDE}]}, "tools": [tool]}
    return {**first, "contents": asked}, {**first, "contents": later}


def cached(dialect: str, answer: Value) -> int:
    """Tokens that the answer says were read from the cache."""
    if dialect == "anthropic":
        return answer["usage"]["cache_read_input_tokens"]
    if dialect == "openai-chat":
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    if dialect == "openai-responses":
        return answer["usage"]["input_tokens_details"]["cached_tokens"]
    return answer["usageMetadata"].get("cachedContentTokenCount", 0)


def post(world: World, dialect: str, body: Value) -> tuple[Value, Value]:
    """The answer, and what reached the provider."""
    reply = world.post(PATHS[dialect], body, **(VERSION if dialect == "anthropic" else {}))
    assert reply.status == 200, reply.body
    return reply.json(), json.loads(world.received()[-1].body)


@EACH_DIALECT
@pytest.mark.parametrize("calls", [3, LOOKBACK // 2, 30])
def test_the_next_request_reads_what_this_one_wrote(
    caching: World, dialect: str, calls: int
) -> None:
    """However many blocks a turn has: from 20 on it takes the second marker."""
    first, later = talk_of(dialect, calls)
    answer, upstream = post(caching, dialect, first)
    assert cached(dialect, answer) == 0
    assert marks(upstream) == [""]
    answer, upstream = post(caching, dialect, later)
    assert cached(dialect, answer) > 500
    assert len(marks(upstream)) == 1 + (2 * calls >= LOOKBACK)
    assert cached(dialect, post(caching, dialect, later)[0]) > 500


@EACH_DIALECT
def test_nothing_is_marked_unless_it_is_wanted(world: World, dialect: str) -> None:
    first, later = talk_of(dialect, 30)
    post(world, dialect, first)
    answer, upstream = post(world, dialect, later)
    assert (cached(dialect, answer), marks(upstream)) == (0, [])


ROOTS = [("openai-chat", "cache_control"), ("openai-responses", "cache_control")]
ROOTS += [("gemini", "cache_control"), ("gemini", "cacheControl"), ("anthropic", "cache_control")]


@pytest.mark.parametrize(("dialect", "name"), ROOTS)
def test_a_marker_at_the_root_goes_through(
    caching: World, world: World, dialect: str, name: str
) -> None:
    """Whether the operator wants markers or not; it moves on with the conversation."""
    for gateway in (caching, world):
        first, later = ({**body, name: HOUR} for body in talk_of(dialect, 3))
        answer, upstream = post(gateway, dialect, first)
        assert (upstream["cache_control"], marks(upstream)) == (HOUR, [""])
        answer, upstream = post(gateway, dialect, later)
        assert (upstream["cache_control"], marks(upstream)) == (HOUR, [""])
        assert cached(dialect, answer) > 500


COUNTS = {
    "anthropic": "/v1/messages/count_tokens",
    "openai-responses": "/v1/responses/input_tokens",
    "gemini": f"/v1beta/models/{MODEL}:countTokens",
}


@pytest.mark.parametrize("dialect", COUNTS)
def test_what_is_only_counted_is_not_marked(caching: World, dialect: str) -> None:
    body = talk_of(dialect, 30)[1]
    body.pop("max_tokens", None)
    if dialect == "gemini":
        body = {"contents": body["contents"]}
    reply = caching.post(COUNTS[dialect], body, **(VERSION if dialect == "anthropic" else {}))
    assert reply.status == 200, reply.body
    assert b"cache_control" not in caching.received()[-1].body


def test_a_marker_brings_no_header_of_its_own(caching: World) -> None:
    """A Claude client asked for a fast answer without the beta: that is between it and the provider."""
    caching.post("/v1/messages", message(speed="fast"), **VERSION)
    got = caching.received()[-1]
    assert "anthropic-beta" not in dict(got.headers)
    assert json.loads(got.body)["cache_control"] == MARK


def test_the_config_says_off_or_auto() -> None:
    def backend(**fields: Any) -> Config:
        section = {"type": "anthropic", "api_key": "k", **fields}
        return Config.model_validate({"backends": {"a": section}})

    assert backend().backends["a"].prompt_cache == "off"
    assert backend(prompt_cache="auto").backends["a"].prompt_cache == "auto"
    for wrong in ("on", True, False, None, 1):
        with pytest.raises(ValueError, match="prompt_cache"):
            backend(prompt_cache=wrong)
