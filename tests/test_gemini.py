"""The Gemini frontend: golden cases, laws, fuzz, Google's own SDK as reader, recorded requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from google import genai
from google.genai import errors as sdk_errors
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import KINDS, GatewayError
from isthmus.frontends import Match, gemini, matched
from isthmus.frontends.gemini import contents as contents_of
from isthmus.frontends.gemini import served, signatures
from isthmus.frontends.gemini import settings as settings_of
from isthmus.messages import Event, collect
from isthmus.request import HttpRequest, Request
from tests import legality, strategies

CASES = Path(__file__).parent / "wire" / "gemini"
RECORDED = Path(__file__).parents[2] / "shared" / "recorded" / "gemini"
GENERATE = "/v1beta/models/claude-test:generateContent"
STREAM = "/v1beta/models/claude-test:streamGenerateContent"
COUNT = "/v1/models/claude-test:countTokens"
REQUESTS = ("conversation", "thinking_in_history", "tools", "media", "settings", "count_tokens")


def cases(*files: str) -> list[Any]:
    rows = [
        (file, row) for file in files for row in json.loads((CASES / f"{file}.json").read_text())
    ]
    return [pytest.param(row, id=f"{file}: {row['case']}") for file, row in rows]


def match_of(method: str, path: str) -> Match | None:
    found = (matched(route, path) for route in gemini.ROUTES if route.method == method)
    return next((match for match in found if match), None)


def decoded(body: Any, path: str = GENERATE, query: str = "") -> Request:
    source = body if isinstance(body, bytes) else json.dumps(body).encode()
    match = match_of("POST", path)
    assert match
    return gemini.decode(HttpRequest("POST", path, query, (), source), match)


def refusal(body: Any, path: str = GENERATE, query: str = "") -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        decoded(body, path, query)
    assert caught.value.kind == "invalid_request"
    return caught.value


def asked(**memory: Any) -> Request:
    """A request of which only the encoder's memory matters."""
    request = decoded({"contents": {"parts": {"text": "Hi"}}})
    request.memory = {**request.memory, **memory}
    return request


def encoded(values: list[Any], **memory: Any) -> bytes:
    encoder = gemini.encoder(asked(**memory))
    return b"".join(encoder.feed(Event(value=value)) for value in values)


def said(value: Any) -> list[Any]:
    """The parts of a response."""
    return value["candidates"][0]["content"]["parts"]


# --- golden cases -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases(*REQUESTS, "refused"))
def test_a_request_becomes_what_its_file_says(case: Any) -> None:
    path, query = case.get("path", GENERATE), case.get("query", "")
    if "refused" in case:
        error = refusal(case["request"], path, query)
        assert error.message == case["refused"]
        assert error.param
        return
    request = decoded(case["request"], path, query)
    assert request.body.value() == {"model": "claude-test", **case["hub"]}
    assert [str(note) for note in request.notes.rows] == case.get("notes", [])
    assert request.memory["names"] == case.get("names", {})
    assert request.model == request.body.peek("model")


@pytest.mark.parametrize("case", cases("answers"))
def test_a_message_becomes_what_its_file_says(case: Any) -> None:
    answer = gemini.encode_message(asked(**case["memory"]), case["message"])
    assert json.loads(answer) == case["response"]
    types.GenerateContentResponse.model_validate(case["response"])


@pytest.mark.parametrize("case", cases("streams"))
@pytest.mark.parametrize("form", ["sse", "array"])
def test_a_stream_becomes_what_its_file_says(case: Any, form: str) -> None:
    data = encoded(case["events"], sse=form == "sse", **case["memory"])
    assert data.decode() == "\n".join(case[form])
    chunks = sse_chunks(data) if form == "sse" else json.loads(data)
    for chunk in chunks:
        types.GenerateContentResponse.model_validate(chunk)
        assert said(chunk), "a chunk without parts makes the SDKs' chats forget the turn"
    assert b"DONE" not in data


def sse_chunks(data: bytes) -> list[Any]:
    return [json.loads(frame.removeprefix("data: ")) for frame in data.decode().split("\n\n")[:-1]]


def test_every_golden_file_is_read() -> None:
    assert {path.stem for path in CASES.glob("*.json")} == {
        *REQUESTS,
        "refused",
        "answers",
        "streams",
    }


# --- bad input ----------------------------------------------------------------------------------

HI = b'{"contents":[{"parts":[{"text":"Hi"}]}]'


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", ""),
        (b"[]", ""),
        (b'"x"', ""),
        (b"{", ""),
        (b'{"contents":NaN}', ""),
        (b"\xff", ""),
        (HI + b',"contents":[]}', "contents"),
        (HI + b',"tools":' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""),
        (b'{"contents":' + b'{"parts":' * 400 + b"1" + b"}" * 400 + b"}", "contents.parts.text"),
    ],
)
def test_a_body_that_is_none_is_refused(body: bytes, param: str) -> None:
    error = refusal(body)
    assert error.param == param or param.startswith(error.param or "")


def test_a_deep_schema_is_refused_by_its_path() -> None:
    schema: Any = {"type": "STRING"}
    for _ in range(100):
        schema = {"type": "ARRAY", "items": schema}
    declared = [{"functionDeclarations": [{"name": "a", "parameters": schema}]}]
    error = refusal({"contents": [{"parts": [{"text": "Hi"}]}], "tools": declared})
    assert (error.param or "").startswith("tools.0.functionDeclarations.0.parameters.items")


def test_lone_surrogates_are_mended() -> None:
    request = decoded(b'{"contents":[{"parts":[{"text":"a\\ud83d"}]}]}')
    assert request.body.peek("messages")[0]["content"][0]["text"] == "a\ufffd"
    assert [str(note) for note in request.notes.rows] == [" changed: lone surrogates became U+FFFD"]


# --- routes, errors, counts, models -------------------------------------------------------------


@pytest.mark.parametrize("version", ["/v1beta", "/v1"])
def test_the_routes_of_both_versions(version: str) -> None:
    for ending, operation in (
        (":generateContent", "messages"),
        (":streamGenerateContent", "messages"),
        (":countTokens", "count_tokens"),
    ):
        match = match_of("POST", f"{version}/models/a%2Fb:c{ending}")
        assert match
        assert (match.route.operation, match.parts["model"]) == (operation, "a/b:c")
        assert match.route.signs == ()
    for path, operation in (("/models", "models"), ("/models/a%2Fb", "model")):
        match = match_of("GET", version + path)
        assert match
        assert match.route.operation == operation
        assert match.route.signs == (("x-goog-api-key", "?key") if version == "/v1" else ())


@pytest.mark.parametrize(
    ("path", "query", "stream", "kind"),
    [
        (GENERATE, "alt=sse", False, "application/json"),
        (STREAM, "alt=sse", True, "text/event-stream"),
        (STREAM, "$alt=sse&key=k", True, "text/event-stream"),
        (STREAM, "alt=json", True, "application/json"),
        (STREAM, "", True, "application/json"),
    ],
)
def test_the_form_of_a_stream(path: str, query: str, stream: bool, kind: str) -> None:
    request = decoded({"contents": {"parts": {"text": "Hi"}}}, path, query)
    assert request.stream is stream
    assert gemini.encoder(request).content_type == kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_googles_envelope(kind: str) -> None:
    error = GatewayError(kind, "what went wrong", param="contents.0", retry_after=1.5)
    envelope = json.loads(gemini.encode_error(error, "req_1"))
    assert envelope.keys() == {"error"}
    status = envelope["error"]
    assert status["code"] == error.status_for("gemini")
    assert status["code"] != 529
    assert (status["message"], status["status"]) == ("what went wrong", KINDS[kind].gemini)
    prefix = "type.googleapis.com/google.rpc."
    assert status["details"] == [
        {
            "@type": f"{prefix}BadRequest",
            "fieldViolations": [{"field": "contents.0", "description": "what went wrong"}],
        },
        {"@type": f"{prefix}RetryInfo", "retryDelay": "1.5s"},
        {"@type": f"{prefix}RequestInfo", "requestId": "req_1"},
    ]


def test_an_error_without_details_has_none() -> None:
    envelope = json.loads(gemini.encode_error(GatewayError("internal", "oh"), ""))
    assert envelope == {"error": {"code": 500, "message": "oh", "status": "INTERNAL"}}


def test_a_count() -> None:
    assert gemini.encode_count(asked(), 7) == b'{"totalTokens":7}'


MODELS = [
    {"id": "claude-a", "display_name": "A", "max_input_tokens": 1000, "max_tokens": 10},
    *({"id": name} for name in ("b/c", "d", "e")),
]


def test_the_model_list_comes_in_pages() -> None:
    def page(query: str) -> Any:
        return json.loads(gemini.encode_models(MODELS, HttpRequest("GET", "/v1/models", query)))

    everything = page("")
    assert "nextPageToken" not in everything
    found: list[Any] = []
    token = ""
    for _ in range(2):
        part = page(f"pageSize=2&pageToken={token}")
        found += part["models"]
        token = part.get("nextPageToken", "").replace("/", "%2F")
    assert (found, token) == (everything["models"], "")
    assert page("pageSize=0") == page("pageSize=5000") == everything
    for model in found:
        types.Model.model_validate({k: v for k, v in model.items() if k in {"name", "version"}})


@pytest.mark.parametrize(
    ("query", "param"),
    [("pageSize=x", "pageSize"), ("pageSize=-1", "pageSize"), ("pageToken=x", "pageToken")],
)
def test_a_page_that_does_not_exist(query: str, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        gemini.encode_models(MODELS, HttpRequest("GET", "/v1/models", query))
    assert caught.value.param == param


def test_one_model() -> None:
    assert json.loads(gemini.encode_model(MODELS[0])) == {
        "name": "models/claude-a",
        "baseModelId": "claude-a",
        "version": "claude-a",
        "displayName": "A",
        "inputTokenLimit": 1000,
        "outputTokenLimit": 10,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }


# --- laws ---------------------------------------------------------------------------------------


def with_keep_alives(values: list[Any], **memory: Any) -> bytes:
    encoder = gemini.encoder(asked(**memory))
    pieces = [encoder.keep_alive()]
    for value in values:
        pieces += [encoder.feed(Event(value=value)), encoder.keep_alive()]
    return b"".join(pieces)


@given(strategies.streams(), st.booleans())
def test_a_joined_stream_is_the_whole_answer(stream: strategies.Stream, thoughts: bool) -> None:
    whole = gemini.encode_message(asked(thoughts=thoughts), collect(map(as_event, stream.values)))
    expected = legality.gemini_response(whole)
    types.GenerateContentResponse.model_validate(json.loads(whole))
    sse = legality.gemini_sse(with_keep_alives(stream.values, thoughts=thoughts, sse=True))
    array = legality.gemini_array(with_keep_alives(stream.values, thoughts=thoughts, sse=False))
    assert sse.message == expected
    assert array.message == expected


def as_event(value: Any) -> Event:
    return Event(value=value)


@pytest.mark.parametrize(
    "text", ['{"a": 1.0, "b":1e2}', '{"a":12345678901234567890123}', "{}", '{"a":"\\u00e9"}']
)
def test_arguments_stay_as_the_model_wrote_them(text: str) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {}}
    values = answer([block], [[{"type": "input_json_delta", "partial_json": text}]], "tool_use")
    whole = gemini.encode_message(asked(), collect(map(as_event, values)))
    for data in (whole, encoded(values, sse=True), encoded(values, sse=False)):
        assert b'"args":%b' % text.encode() in data


def answer(blocks: list[Any], deltas: list[list[Any]], reason: str = "end_turn") -> list[Any]:
    """The events of a stream of these blocks."""
    head = {"id": "msg_1", "model": "claude-test", "content": [], "usage": {"input_tokens": 1}}
    values: list[Any] = [{"type": "message_start", "message": head}]
    for index, (block, growth) in enumerate(zip(blocks, deltas, strict=True)):
        values.append({"type": "content_block_start", "index": index, "content_block": block})
        values += [{"type": "content_block_delta", "index": index, "delta": d} for d in growth]
        values.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": reason, "stop_sequence": None}
    usage = {"output_tokens": 1}
    return [
        *values,
        {"type": "message_delta", "delta": delta, "usage": usage},
        {"type": "message_stop"},
    ]


@given(strategies.broken_streams(), st.booleans())
def test_a_broken_stream_ends_with_its_error(stream: strategies.Stream, sse: bool) -> None:
    data = encoded(stream.values, sse=sse)
    outcome = legality.gemini_sse(data) if sse else legality.gemini_array(data)
    assert outcome.error is not None


@given(strategies.streams(), st.booleans(), st.data())
def test_a_stream_may_fail_anywhere(
    stream: strategies.Stream, sse: bool, data: st.DataObject
) -> None:
    last = next(i for i, value in enumerate(stream.values) if value["type"] == "message_stop")
    encoder = gemini.encoder(asked(sse=sse))
    cut = data.draw(st.integers(0, last))
    sent = b"".join(encoder.feed(as_event(value)) for value in stream.values[:cut])
    sent += encoder.fail(GatewayError("overloaded", "busy"))
    outcome = legality.gemini_sse(sent) if sse else legality.gemini_array(sent)
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.error["message"]) == (503, "busy")
    assert encoder.fail(GatewayError("internal", "again")) == b""
    assert encoder.feed(as_event({"type": "message_stop"})) == b""


def carriable(block: Any) -> bool:
    """Whether the block can stand in a later request as it is."""
    if block["type"] == "text":
        return bool(block["text"].strip())
    if block["type"] == "thinking":
        return bool(block["signature"])
    if block["type"] in ("server_tool_use", "mcp_tool_use"):
        return is_whole(block["input"])
    return True


def is_whole(given: Any) -> bool:
    """Whether no limit has cut these arguments off."""
    try:
        return isinstance(json.loads(getattr(given, "text", "{}") or "{}"), dict)
    except ValueError:
        return False


def answered(values: list[Any]) -> list[Any]:
    """The events with each result answering the nearest call of a server's tool before it."""
    last, rows = "", json.loads(json.dumps(values))
    for value in rows:
        block = value.get("content_block", {})
        if block.get("type") in ("server_tool_use", "mcp_tool_use"):
            last = block["id"]
        if "tool_use_id" in block and last:
            block["tool_use_id"] = last
    return rows


def paired(blocks: list[Any]) -> list[Any]:
    """The blocks without server's calls that nothing answers, and without answers to none."""
    asked_: dict[str, Any] = {}
    kept: list[Any] = []
    for block in blocks:
        if block["type"] in ("server_tool_use", "mcp_tool_use"):
            asked_[block["id"]] = block
        elif block["type"].endswith("_tool_result"):
            call = asked_.pop(block["tool_use_id"], None)
            kept += [] if call is None else [call, block]
    loose = [
        block
        for block in blocks
        if block["type"].endswith(("server_tool_use", "mcp_tool_use", "_tool_result"))
        and not any(block is one for one in kept)
    ]
    return [block for block in blocks if not any(block is one for one in loose)]


@given(
    strategies.streams(),
    st.booleans(),
    st.sampled_from(["whole", "chunks", "no thoughts", "merged"]),
    st.booleans(),
)
def test_an_echoed_answer_is_restored(
    stream: strategies.Stream, thoughts: bool, way: str, pairs: bool
) -> None:
    """What parts cannot hold comes back as it was and in its place, however a client keeps it."""
    values = answered(stream.values) if pairs else stream.values
    message = collect(map(as_event, values))
    chunks = sse_chunks(encoded(values, thoughts=thoughts, sse=True))
    if way == "whole":
        chunks = [json.loads(gemini.encode_message(asked(thoughts=thoughts), message))]
    echo = [{"role": "model", "parts": said(chunk)} for chunk in chunks]
    if way != "whole" and way != "chunks":
        parts = [part for one in echo for part in one["parts"] if not part.get("thought")]
        echo = [{"role": "model", "parts": merged(parts) if way == "merged" else parts}]
    after = {"role": "user", "parts": [{"text": "Go on"}]}  # the very tail would be trimmed
    request = decoded({"contents": [{"parts": [{"text": "Hi"}]}, *echo, after]})
    turns = [turn for turn in request.body.peek("messages") if turn["role"] == "assistant"]
    restored = [plain(block) for turn in turns for block in turn["content"]]
    wanted = [plain(block) for block in paired(list(filter(carriable, message["content"])))]
    kept = sum(block["type"] == "tool_use" for block in restored)
    calls = [block for block in wanted if block["type"] == "tool_use"]
    if kept < len(calls):
        assert message["stop_reason"] in ("max_tokens", "model_context_window_exceeded", "refusal")
        del wanted[max(i for i, block in enumerate(wanted) if block["type"] == "tool_use")]
    if not any(
        block["type"] == "text" and not block["text"].strip() for block in message["content"]
    ):
        assert joined_texts(restored) == joined_texts(wanted)
    assert beside_texts(restored) == beside_texts(wanted)
    # Without thoughts the client shows none, and with them each is restored from a signature.
    unwanted = [n for n in request.notes.rows if "verif" in n.reason]
    assert not unwanted or any(unsigned(block) for block in message["content"])


def test_a_compaction_is_restored() -> None:
    """No golden case: the block needs a beta, and those are held against the types without betas."""
    block = {"type": "compaction", "content": "So far.", "encrypted_content": "E"}
    signed = {"text": "On.", "thoughtSignature": signatures.packed([(signatures.START, block)])}
    hi = {"parts": [{"text": "Hi"}]}
    request = decoded({"contents": [hi, {"role": "model", "parts": [signed]}, hi]})
    spoken = request.body.peek("messages")[1]["content"]
    assert spoken == [block, {"type": "text", "text": "On."}]
    assert request.notes.rows == []


def merged(parts: list[Any]) -> list[Any]:
    """Text parts that a client joins to the one before them unless they are signed."""
    rows: list[Any] = []
    for part in parts:
        if rows and rows[-1].get("text") and "text" in part and "thoughtSignature" not in part:
            rows[-1] = {**rows[-1], "text": rows[-1]["text"] + part["text"]}
        else:
            rows.append(part)
    return rows


def plain(block: Any) -> Any:
    names = {
        "text": ("text", "citations") if block.get("citations") else ("text",),
        "thinking": ("thinking", "signature"),
        "redacted_thinking": ("data",),
        "tool_use": ("name", "input"),  # an id that stands twice is replaced
    }
    kept = names.get(block["type"], tuple(block))
    return {"type": block["type"], **{name: block[name] for name in kept}}


def joined_texts(blocks: list[Any]) -> list[Any]:
    rows: list[Any] = []
    for block in blocks:
        if rows and block.keys() == rows[-1].keys() == {"type", "text"}:
            rows[-1] = {"type": "text", "text": rows[-1]["text"] + block["text"]}
        else:
            rows.append(block)
    return rows


def beside_texts(blocks: list[Any]) -> list[Any]:
    return [block for block in blocks if block["type"] != "text"]


def unsigned(block: Any) -> bool:
    return block["type"] == "thinking" and not block["signature"]


@given(strategies.conversations(late_system=False), st.booleans())
def test_earlier_turns_never_change(said_: list[strategies.Said], ids: bool) -> None:
    """Law 5, at every point where the client sends."""
    before: Any = None
    for end in strategies.sent(said_):
        hub = decoded(strategies.as_gemini(said_[:end], ids=ids)).body.value()
        if before:
            assert hub["tools"] == before["tools"]
            assert hub.get("system") == before.get("system")
            assert blocks(hub["messages"])[: len(blocks(before["messages"]))] == blocks(
                before["messages"]
            )
        before = hub


def blocks(turns: list[Any]) -> list[Any]:
    return [(turn["role"], block) for turn in turns for block in turn["content"]]


@given(strategies.conversations(late_system=False), st.booleans(), st.booleans())
def test_nothing_that_was_said_is_lost(
    said_: list[strategies.Said], ids: bool, url_safe: bool
) -> None:
    request = decoded(strategies.as_gemini(said_, ids=ids, url_safe=url_safe))
    text = json.dumps(request.body.value(), ensure_ascii=False)
    for one in said_:
        for item in one.items:
            wanted = item[3] if item[0] in ("call", "result") else item[-1]
            assert json.dumps(wanted, ensure_ascii=False) in text
    assert (
        decoded(strategies.as_gemini(said_, ids=ids, url_safe=url_safe)).body.wire()
        == request.body.wire()
    )


def test_names_are_rewritten_alike_whatever_stands_beside_them() -> None:
    def names(*declared: str) -> list[str]:
        tools = [{"functionDeclarations": [{"name": name} for name in declared]}]
        request = decoded({"contents": {"parts": {"text": "Hi"}}, "tools": tools})
        return [tool["name"] for tool in request.body.peek("tools")]

    (alone,) = names("a.b")
    assert names("a:b", "a.b", "a_b")[1:] == [alone, "a_b"]
    first, second = names("a.b", alone)
    assert second == alone != first, "a name that was declared stays, the rewritten one gives way"


# --- fuzz ---------------------------------------------------------------------------------------

_SCHEMA = {
    "type": "OBJECT",
    "properties": {"a": {"anyOf": [{"type": "STRING", "format": "date"}], "nullable": True}},
    "required": ["a"],
    "propertyOrdering": ["a"],
    "$defs": {"d": {"type": "ARRAY", "minItems": 1, "items": {"enum": ["x"]}}},
}
FULL = {
    "systemInstruction": {"parts": [{"text": "s", "cacheControl": {"type": "ephemeral"}}]},
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "text/plain", "data": "YQ=="}}],
        },
        {
            "role": "model",
            "parts": [
                {
                    "text": "t",
                    "thought": True,
                    "thoughtSignature": "aXN0aG11czFbWzUsIkhtLiIsIlMxIl1d",
                },
                {"functionCall": {"name": "a", "id": "1", "args": {"x": [1]}}},
            ],
        },
        {
            "role": "function",
            "parts": [
                {
                    "functionResponse": {
                        "name": "a",
                        "id": "1",
                        "response": {"output": {"y": 1}, "error": None},
                        "parts": [
                            {
                                "fileData": {
                                    "fileUri": "https://x.org/a.png",
                                    "mimeType": "image/png",
                                }
                            }
                        ],
                    }
                }
            ],
        },
    ],
    "tools": [
        {"functionDeclarations": [{"name": "a", "description": "d", "parameters": _SCHEMA}]},
        {"functionDeclarations": [{"name": "b.c", "parametersJsonSchema": _SCHEMA}]},
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a"]}},
    "generationConfig": {
        "temperature": 1,
        "topK": 40,
        "maxOutputTokens": 5,
        "stopSequences": ["x"],
        "responseMimeType": "application/json",
        "responseSchema": _SCHEMA,
        "responseModalities": ["TEXT"],
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
    },
    "safetySettings": [{"category": "x", "threshold": "y"}],
    "serviceTier": "standard",
    "cacheControl": {"type": "ephemeral"},
}


def check_fuzzed(body: Any, path: str) -> None:
    """Accepted, or refused with a path that leads into the client's own request."""
    try:
        request = decoded(body, path)
    except GatewayError as error:
        assert error.kind == "invalid_request"
        assert error.param is not None
        assert leads_into(body, error.param), error.message
    else:
        request.body.wire()
        for note in request.notes.rows:
            assert note.path == "messages" or leads_into(body, note.path), str(note)


def leads_into(value: Any, path: str) -> bool:
    """Whether the path leads to a value, or to a member that its object lacks.

    Keys may hold dots: then the longest key that the path goes on with is meant.
    """
    while path:
        if isinstance(value, list):
            head, _, rest = path.partition(".")
            if not head.isdigit() or int(head) >= len(value):
                return False
            value, path = value[int(head)], rest
            continue
        if not isinstance(value, dict):
            return False
        keys = [key for key in value if path == key or path.startswith(f"{key}.")]
        if not keys:
            return "." not in path
        key = max(keys, key=len)
        value, path = value[key], path[len(key) + 1 :]
    return True


@settings(max_examples=400)
@given(strategies.mistaken(FULL), st.sampled_from([GENERATE, STREAM, COUNT]))
def test_mistakes_anywhere_are_refused_by_their_path(body: Any, path: str) -> None:
    check_fuzzed(body, path)


@settings(max_examples=100)
@given(
    strategies.conversations(late_system=False)
    .map(strategies.as_gemini)
    .flatmap(strategies.mistaken)
)
def test_mistakes_in_a_conversation_are_refused_by_their_path(body: Any) -> None:
    check_fuzzed(body, GENERATE)


@given(strategies.JSON)
def test_any_json_is_no_accident(body: Any) -> None:
    try:
        decoded(body)
    except GatewayError as error:
        assert error.kind == "invalid_request"


# --- Google's SDK as the reader -----------------------------------------------------------------


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that arrives in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


Answer = Callable[[Request], list[Any]]


def sdk(answer_of: Answer, seen: list[Request], fails: bool = False) -> genai.Client:
    """Google's client over our frontend: a function stands for the model."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        path, query = request.url.raw_path.decode().partition("?")[::2]
        request.read()
        asked_ = decoded(request.content, path, query)
        seen.append(asked_)
        values = answer_of(asked_)
        if not asked_.stream:
            body = gemini.encode_message(asked_, collect(map(as_event, values)))
            return httpx2.Response(200, content=body, headers={"content-type": "application/json"})
        encoder = gemini.encoder(asked_)
        pieces = [encoder.keep_alive()]
        for value in values[:-1] if fails else values:
            pieces += [encoder.feed(as_event(value)), encoder.keep_alive()]
        if fails:
            pieces.append(encoder.fail(GatewayError("overloaded", "busy")))
        headers = {"content-type": encoder.content_type}
        return httpx2.Response(200, stream=Pieces(pieces), headers=headers)

    transport = httpx2.MockTransport(handle)
    options = types.HttpOptions(
        base_url="http://127.0.0.1:9",
        httpx_client=httpx2.Client(transport=transport),
        httpx_async_client=httpx2.AsyncClient(transport=transport),
    )
    return genai.Client(api_key="k", http_options=options)


def delta(text: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": text}


def thinking(text: str, signature: str) -> list[Any]:
    return [
        {"type": "thinking_delta", "thinking": text},
        {"type": "signature_delta", "signature": signature},
    ]


THOUGHT = {"type": "thinking", "thinking": "", "signature": ""}
WORDS = {"type": "text", "text": ""}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
SPOKEN = answer(
    [THOUGHT, WORDS], [thinking("Hm.", "S1"), [delta("Hel"), delta("\n\n"), delta("lo\u2028")]]
)


def test_the_sdk_reads_a_stream_with_keep_alives() -> None:
    client = sdk(lambda _: SPOKEN, [])
    chunks = list(client.models.generate_content_stream(model="m", contents="Hi"))
    assert "".join(chunk.text or "" for chunk in chunks) == "Hel\n\nlo\u2028"

    async def read() -> str:
        stream = await client.aio.models.generate_content_stream(model="m", contents="Hi")
        return "".join([chunk.text or "" async for chunk in stream])

    assert asyncio.run(read()) == "Hel\n\nlo\u2028"


def test_the_sdk_raises_the_error_of_a_broken_stream() -> None:
    client = sdk(lambda _: SPOKEN, [], fails=True)
    with pytest.raises(sdk_errors.ServerError, match="busy") as caught:
        list(client.models.generate_content_stream(model="m", contents="Hi"))
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")

    async def read() -> None:
        async for _ in await client.aio.models.generate_content_stream(model="m", contents="Hi"):
            pass

    with pytest.raises(sdk_errors.ServerError, match="busy"):
        asyncio.run(read())


@pytest.mark.parametrize("streamed", [True, False])
def test_a_chat_of_the_sdk_brings_its_thinking_back(streamed: bool) -> None:
    seen: list[Request] = []
    chat = sdk(lambda _: SPOKEN, seen).chats.create(model="claude-test")
    for text in ("one", "two"):
        list(chat.send_message_stream(text)) if streamed else chat.send_message(text)
    assert seen[1].body.peek("messages") == [
        {"role": "user", "content": [{"type": "text", "text": "one"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "S1"},
                {"type": "text", "text": "Hel\n\nlo\u2028"},
            ],
        },
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
    ]
    assert seen[1].notes.rows == []


def test_a_chat_of_the_sdk_keeps_a_turn_that_says_nothing() -> None:
    seen: list[Request] = []
    chat = sdk(lambda _: answer([], []), seen).chats.create(model="claude-test")
    for text in ("one", "two"):
        list(chat.send_message_stream(text))
    assert "one" in seen[1].body.wire().decode()


def test_the_sdk_calls_a_function_by_itself() -> None:
    def weather(city: str) -> str:
        """Tells the weather."""
        return f"18 C in {city}"

    def answer_of(request: Request) -> list[Any]:
        if len(request.body.peek("messages")) > 1:
            return answer([WORDS], [[delta("18 C")]])
        arguments = {"type": "input_json_delta", "partial_json": '{"city": "Rome"}'}
        return answer([THOUGHT, CALL], [thinking("Hm.", "S1"), [arguments]], "tool_use")

    seen: list[Request] = []
    config = types.GenerateContentConfig(tools=[weather])
    client = sdk(answer_of, seen)
    response = client.models.generate_content(model="m", contents="Rome?", config=config)
    assert response.text == "18 C"
    first, second = seen
    assert first.body.peek("tools") == second.body.peek("tools")
    assert second.body.peek("messages")[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "S1"},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "18 C in Rome"}
            ],
        },
    ]


# --- the SDK's own types ------------------------------------------------------------------------

LOCAL = {
    *("httpOptions", "shouldReturnHttpResponse", "automaticFunctionCalling"),
    "automaticContinuation",
}
"""What the SDK keeps to itself."""
READ = {
    "GenerateContentConfig": {*settings_of.CONFIG, *gemini.CONVERSATION, *LOCAL},
    "GenerationConfig": set(settings_of.CONFIG),
    "Part": {*contents_of.KINDS, *contents_of.UNSUPPORTED, *contents_of.HINTS, *served.NATIVE_PARTS}
    | {"thought", "thoughtSignature"},
    "FunctionResponsePart": {"inlineData", "fileData", *contents_of.HINTS},
    "Tool": {"functionDeclarations", *served.SERVED, *settings_of.SERVED_BY_GOOGLE},
}
"""The SDK's type and the members of it that this frontend knows."""


@pytest.mark.parametrize("name", READ)
def test_every_member_of_the_sdks_types_is_known(name: str) -> None:
    """What a later release of the SDK adds fails here, before it is a note that says "not known"."""
    fields = getattr(types, name).model_fields.items()
    members = {field.alias or key for key, field in fields}
    assert members <= READ[name]


# --- recorded requests --------------------------------------------------------------------------

NOT_CARRIED = (
    "tools.0.fileSearch",
    *(
        "cachedContent",
        "fileUri",
        "file_uri",
        "mimeType",
        "contents",
        "metadata",
        "responseJsonSchema",
    ),
)
"""How the paths end that real requests are refused for: Google's own stores and caches, sound
and film, a prompt without a word, schemas with free keys or that contain themselves."""


def recordings() -> list[Any]:
    rows = []
    for file in sorted(RECORDED.glob("*.json")):
        request = json.loads(file.read_text())["request"]
        address = urlsplit(request["url"])
        if request["method"] == "POST" and match_of("POST", address.path):
            rows.append(pytest.param(request["body"], address, id=file.stem))
    return rows or [pytest.param(None, None, marks=pytest.mark.skip(reason="no recordings here"))]


@pytest.mark.parametrize(("body", "address"), recordings())
def test_a_recorded_request_is_accepted_or_refused_for_a_reason(body: Any, address: Any) -> None:
    source = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    try:
        request = decoded(source, address.path, address.query)
    except GatewayError as error:
        assert error.kind == "invalid_request"
        assert (error.param or "").endswith(NOT_CARRIED), error.message
    else:
        assert not [note for note in request.notes.rows if note.reason == "not known"]
        assert request.body.peek("messages")
