"""The laws of the design, over every row of the tables of dialects.

Each law stands once and runs for all frontends and backends; a new dialect adds a row to CLIENTS.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest
from anthropic import _streaming as anthropic_sdk
from google.genai import _api_client as gemini_sdk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import _streaming as openai_sdk

from isthmus.backends import Backend
from isthmus.dialects import BACKENDS, FRONTENDS
from isthmus.errors import KINDS, GatewayError
from isthmus.frontends import Frontend, Match, matched
from isthmus.messages import Event, Reader, collect, replay
from isthmus.request import HttpRequest, Notes, Request, Target

from . import legality
from .strategies import (
    FORMS,
    MESSAGES,
    PARTS,
    TOOLS,
    Form,
    Said,
    Stream,
    as_chat,
    as_gemini,
    as_messages,
    as_responses,
    broken_streams,
    conversations,
    framed,
    mistaken,
    on_the_wire,
    sent,
    splits,
    streams,
)

Value = dict[str, Any]
ARRIVED = 1_800_000_000


# --- the clients --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    """One way of asking: where a request goes, how a conversation is written, how answers are read.

    ``stream`` reads a streamed answer, ``whole`` one that is not; ``writes`` makes a body.
    """

    dialect: str
    path: str
    writes: Callable[[list[Said]], Value]
    stream: Callable[[bytes], legality.Outcome]
    whole: Callable[[bytes], Value]
    error: Callable[[Value], Value]
    query: str = ""
    extra: Value = field(default_factory=dict[str, Any])

    @property
    def frontend(self) -> Frontend:
        return FRONTENDS[self.dialect]

    def decode(self, body: Value | bytes) -> Request:
        source = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
        http = HttpRequest("POST", self.path, self.query, headers, source, ARRIVED)
        return self.frontend.decode(http, self.match)

    @property
    def match(self) -> Match:
        found = (
            matched(route, self.path) for route in self.frontend.ROUTES if route.method == "POST"
        )
        return next(match for match in found if match)

    @property
    def request(self) -> Request:
        said = [Said("user", (("text", "hello"),))]
        return self.decode({**self.writes(said), **self.extra})


def message(body: bytes) -> Value:
    """A whole Messages answer."""
    value = legality.an_object(legality.loads(body), "the body")
    legality.need(value["type"] == "message", "type", value)
    return value


def with_functions(said: list[Said]) -> Value:
    """A Chat body that offers its tools as they were offered before there were tools."""
    body = as_chat(said)
    functions = [tool["function"] for tool in body.pop("tools")]
    return {**body, "functions": functions}


STREAMED = "/v1beta/models/claude-sonnet-4-5:streamGenerateContent"
CHAT = ("openai-chat", "/v1/chat/completions")
CHAT_READS = (legality.chat_completion, legality.chat_error)
RESPONSES = ("openai-responses", "/v1/responses", as_responses, legality.responses)
RESPONSES_READS = (legality.whole_response, legality.chat_error)
GEMINI_READS = (legality.gemini_response, legality.gemini_error)
CLIENTS = {
    "anthropic": Client(
        *("anthropic", "/v1/messages", as_messages, legality.anthropic, message),
        legality.anthropic_error,
    ),
    "openai-chat": Client(
        *CHAT, as_chat, lambda data: legality.chat(data, usage=False), *CHAT_READS
    ),
    "openai-chat, usage asked for": Client(
        *(*CHAT, as_chat, lambda data: legality.chat(data, usage=True), *CHAT_READS),
        extra={"stream_options": {"include_usage": True}},
    ),
    "openai-responses": Client(*RESPONSES, *RESPONSES_READS),
    "openai-responses, reasoning included": Client(
        *(*RESPONSES, *RESPONSES_READS),
        extra={
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "auto"},
        },
    ),
    "openai-chat, functions": Client(*CHAT, with_functions, legality.chat, *CHAT_READS),
    "gemini": Client(
        "gemini", STREAMED, as_gemini, legality.gemini_sse, *GEMINI_READS, query="alt=sse"
    ),
    "gemini, thoughts asked for": Client(
        *(
            "gemini",
            STREAMED.replace("v1beta", "v1"),
            as_gemini,
            legality.gemini_sse,
            *GEMINI_READS,
        ),
        query="alt=sse",
        extra={"generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
    ),
    "gemini, as an array": Client(
        "gemini", STREAMED, as_gemini, legality.gemini_array, *GEMINI_READS
    ),
}
EACH_CLIENT = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
TRANSLATED = {name: client for name, client in CLIENTS.items() if client.dialect != "anthropic"}
EACH_TRANSLATED = pytest.mark.parametrize("client", TRANSLATED.values(), ids=TRANSLATED)
CODECS = {module.DIALECT: module for module in BACKENDS.values()}
EACH_BACKEND = pytest.mark.parametrize("backend", CODECS.values(), ids=CODECS)
QUICK = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""Each law runs for every client, so that few examples of each make many."""


def test_every_frontend_has_its_clients_here() -> None:
    assert {client.dialect for client in CLIENTS.values()} == set(FRONTENDS)


def streamed(client: Client, events: Iterable[Event]) -> bytes:
    """The whole body of a streamed answer, made as the gateway makes it: on the native lane of the
    events as they came, on the others of what the reader gives."""
    encoder, reader = client.frontend.encoder(client.request), Reader()
    if client.dialect == "anthropic":
        return b"".join(encoder.feed(event) for event in events)
    return b"".join(encoder.feed(whole) for event in events for whole in reader.feed(event))


def comparable(value: Any) -> Any:
    """An answer without what only one of its two forms spells out: nulls and empty lists."""
    if isinstance(value, dict):
        rows = {key: comparable(inner) for key, inner in value.items()}
        return {key: inner for key, inner in rows.items() if inner not in (None, [], "")}
    return [comparable(inner) for inner in value] if isinstance(value, list) else value


def alike(client: Client, outcome: legality.Outcome, body: bytes) -> bool:
    """Whether a joined stream and a whole answer say the same; streams tell usage only if asked."""
    whole, joined = comparable(client.whole(body)), comparable(outcome.message)
    if client.dialect == "openai-chat" and "usage" not in joined:
        whole.pop("usage")
    assert joined == whole
    return True


# --- 1: split -----------------------------------------------------------------------------------


def decoded(backend: Backend, client: Client, pieces: Iterable[bytes]) -> list[Event]:
    decoder = backend.decoder(client.request)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    assert decoder.failure is None
    assert decoder.ended
    decoder.finish()
    return events


def provided(stream: Stream) -> list[Value]:
    """The events of a stream from its start to its stop."""
    kinds = [value["type"] for value in stream.values]
    return stream.values[kinds.index("message_start") : kinds.index("message_stop") + 1]


@EACH_BACKEND
@EACH_CLIENT
@QUICK
@given(data=st.data())
def test_any_split_of_the_providers_bytes_gives_the_same_answer(
    backend: Backend, client: Client, data: st.DataObject
) -> None:
    stream = data.draw(streams())
    kept = provided(stream)
    body = on_the_wire(kept, data.draw(FORMS))
    events = decoded(backend, client, data.draw(splits(body)))
    assert collect(events) == stream.message
    assert [event.value for event in events if event.type] == kept
    if client.dialect != "anthropic":
        assert streamed(client, events) == streamed(client, decoded(backend, client, [body]))


@EACH_BACKEND
@QUICK
@given(stream=streams(), data=st.data())
def test_the_native_lane_relays_the_very_bytes(
    backend: Backend, stream: Stream, data: st.DataObject
) -> None:
    client = CLIENTS["anthropic"]
    form = data.draw(
        st.builds(Form, comments=st.booleans(), escaped=st.booleans(), indent=st.just(1))
    )
    body = on_the_wire(provided(stream), form)
    assert streamed(client, decoded(backend, client, data.draw(splits(body)))) == body


@EACH_BACKEND
@QUICK
@given(stream=streams(), data=st.data())
def test_a_stream_that_breaks_off_is_never_complete(
    backend: Backend, stream: Stream, data: st.DataObject
) -> None:
    body = on_the_wire(provided(stream), Form())
    decoder = backend.decoder(CLIENTS["anthropic"].request)
    for piece in data.draw(splits(body[: data.draw(st.integers(0, len(body) - 1))])):
        decoder.feed(piece)
    assert not decoder.ended
    with pytest.raises(GatewayError) as caught:
        decoder.finish()
    assert caught.value.kind in ("upstream_disconnected", "upstream_bad_response")


@EACH_BACKEND
def test_what_is_unknown_may_stand_before_the_start(backend: Backend) -> None:
    """The providers promise new events, and say nowhere that they come later."""
    start, stop = around_a_text()
    odd = on_the_wire([{"type": "ping"}, {"type": "event_of_next_year"}], Form())
    assert len(decoded(backend, CLIENTS["anthropic"], [odd + start, stop])) == 7


def halves(text: str) -> tuple[bytes, bytes]:
    """The escapes of the two halves of a character beyond the first plane."""
    escaped = json.dumps(text).strip('"').encode()
    return escaped[:6], escaped[6:]


@EACH_BACKEND
@EACH_CLIENT
def test_an_emoji_in_two_deltas_arrives_whole(backend: Backend, client: Client) -> None:
    """A provider that cuts by UTF-16 units sends the halves of a surrogate pair as two escapes."""
    start, stop = around_a_text()
    deltas = [
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"%b"}}\n\n' % half
        for half in halves("😀")
    ]
    events = decoded(backend, client, [start, *deltas, stop])
    body = streamed(client, events)
    if client.dialect == "anthropic":
        assert body == b"".join([start, *deltas, stop])
    else:
        assert "😀".encode() in body or json.dumps("😀").strip('"').encode() in body
        assert "\ufffd".encode() not in body
    assert "😀".encode() in client.frontend.encode_message(client.request, collect(events))


_HEAD = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
_ENDING: list[Value] = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 2},
    },
    {"type": "message_stop"},
]


def around(block: Value, deltas: Iterable[Value] = ()) -> list[Value]:
    """The events of a stream with this one block."""
    return [
        {"type": "message_start", "message": _HEAD},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        *_ENDING,
    ]


def around_a_text() -> tuple[bytes, bytes]:
    """What stands before and after the deltas of a stream of one text block."""
    values = around({"type": "text", "text": ""})
    return on_the_wire(values[:2], Form()), on_the_wire(values[2:], Form())


# --- 2 and 3: grammar and collect ---------------------------------------------------------------


@EACH_CLIENT
@QUICK
@given(stream=streams())
def test_a_streamed_answer_is_legal_and_joins_to_the_whole_one(
    client: Client, stream: Stream
) -> None:
    outcome = client.stream(streamed(client, stream.events))
    assert outcome.error is None
    body = client.frontend.encode_message(client.request, collect(stream.events))
    assert alike(client, outcome, body)
    if client.dialect != "gemini":
        called = [
            stream.arguments[i]
            for i, block in enumerate(stream.message["content"])
            if i in stream.arguments
            and (block["type"] == "tool_use" or client.dialect == "anthropic")
        ]
        if client.dialect == "openai-responses" and stream.message["stop_reason"] in CUTTING:
            # A call that was cut before its arguments began has none: "{}" would look complete.
            called = [text for text, told in zip(called, outcome.arguments, strict=True) if told]
            outcome = replace(outcome, arguments=tuple(filter(None, outcome.arguments)))
        assert list(outcome.arguments) == called[: len(outcome.arguments)]
        assert len(outcome.arguments) == len(called) or "functions" in client.writes([])


@EACH_CLIENT
@QUICK
@given(answer=MESSAGES)
def test_a_replayed_answer_joins_to_the_whole_one(client: Client, answer: Any) -> None:
    outcome = client.stream(streamed(client, replay(answer)))
    body = client.frontend.encode_message(client.request, answer)
    assert alike(client, outcome, body)


@EACH_CLIENT
@QUICK
@given(stream=streams(), data=st.data())
def test_what_means_nothing_changes_nothing(
    client: Client, stream: Stream, data: st.DataObject
) -> None:
    """Keep-alives, pings, unknown events and unknown deltas, wherever they stand."""
    encoder = client.frontend.encoder(client.request)
    pieces = [encoder.keep_alive()] if data.draw(st.booleans()) else []
    for event in stream.events:
        pieces.append(encoder.feed(event))
        if event.type != "message_stop" and data.draw(st.booleans()):
            pieces.append(encoder.keep_alive())
    quiet = [Event(value=value) for value in stream.values if legality_knows(value)]
    expected = client.stream(streamed(client, quiet))
    assert comparable(client.stream(b"".join(pieces)).message) == comparable(expected.message)


def legality_knows(value: Value) -> bool:
    known = value["type"].startswith(("message_", "content_block_"))
    return known and (value.get("delta") or {}).get("type") != "delta_of_next_year"


@EACH_CLIENT
@QUICK
@given(stream=broken_streams())
def test_an_error_event_ends_the_answer_as_an_error(client: Client, stream: Stream) -> None:
    """And no terminator follows it."""
    outcome = client.stream(streamed(client, stream.events))
    assert outcome.error
    assert outcome.error["message"] == stream.values[-1]["error"]["message"]


@EACH_CLIENT
@QUICK
@given(stream=streams(), kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_a_failure_ends_the_answer_wherever_it_comes(
    client: Client, stream: Stream, kind: str, data: st.DataObject
) -> None:
    stop = stream.values.index({"type": "message_stop"})
    kept = data.draw(st.integers(0, stop))
    encoder = client.frontend.encoder(client.request)
    body = b"".join(encoder.feed(event) for event in stream.events[:kept])
    outcome = client.stream(body + encoder.fail(GatewayError(kind, "é\nbroken", source="upstream")))
    assert outcome.error
    assert outcome.error["message"] == "é\nbroken"


@EACH_CLIENT
@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("param", [None, "messages.0.content"])
def test_every_error_has_the_envelope_of_its_dialect(
    client: Client, kind: str, param: str | None
) -> None:
    error = GatewayError(kind, "é is wrong", param=param, retry_after=2)
    found = client.error(legality.loads(client.frontend.encode_error(error, "req_1")))
    assert "é is wrong" in found["message"]
    assert 400 <= error.status_for(client.dialect) <= 529
    if client.dialect == "gemini":
        assert found["code"] == error.status_for("gemini")


def read_by_sdk(client: Client, body: bytes) -> list[Any]:
    """What the dialect's official SDK reads of a stream: the data of each event, pings left out."""
    if client.dialect == "gemini":
        answer = httpx2.Response(200, stream=httpx2.ByteStream(body))
        return list(gemini_sdk.HttpResponse({}, response_stream=answer).segments())
    sdk: Any = anthropic_sdk if client.dialect == "anthropic" else openai_sdk
    found = sdk.SSEDecoder().iter_bytes(iter([body]))
    return [event.data for event in found if event.event != "ping"]


@EACH_CLIENT
@QUICK
@given(stream=streams(noise=False))
def test_keep_alives_mean_nothing_to_the_official_sdk(client: Client, stream: Stream) -> None:
    if client.stream is legality.gemini_array:
        return
    encoder = client.frontend.encoder(client.request)
    pieces = [encoder.feed(event) for event in stream.events]
    alive = encoder.keep_alive()
    expected = read_by_sdk(client, b"".join(pieces))
    assert expected
    assert read_by_sdk(client, alive + b"".join(piece + alive for piece in pieces)) == expected


# --- 4: conservation ----------------------------------------------------------------------------


def held(body: Value) -> list[tuple[Any, ...]]:
    """What a Messages body says, in order, in the terms of ``said_by``."""
    found: list[tuple[Any, ...]] = [("text", block["text"]) for block in body.get("system", ())]
    ids: list[str] = []
    for turn in body["messages"]:
        for block in turn["content"]:
            found += _held(block, ids)
    return found


def _held(block: Value, ids: list[str]) -> list[tuple[Any, ...]]:
    match block["type"], block.get("source", {}):
        case "text", _:
            return [("text", block["text"])]
        case "image", {"type": "base64", "media_type": media, "data": data}:
            return [("image", media, data)]
        case "image", {"type": "url", "url": url}:
            return [("image_url", url)]
        case "document", {"type": "base64", "media_type": "application/pdf", "data": data}:
            return [("pdf", data)]
        case "tool_use", _:
            assert block["id"] not in ids
            ids.append(block["id"])
            return [("call", len(ids) - 1, block["name"], block["input"])]
        case "tool_result", _:
            content = block["content"]
            said = (
                content if isinstance(content, str) else "".join(c.get("text", "") for c in content)
            )
            return [("result", ids.index(block["tool_use_id"]), unwrapped(said))]
    raise AssertionError(block)


def unwrapped(text: str) -> str:
    """The text of a result, which Gemini's clients wrap into an object."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    values = list(value.values()) if isinstance(value, dict) else []
    return values[0] if len(values) == 1 and isinstance(values[0], str) else text


def said_by(said: list[Said]) -> list[tuple[Any, ...]]:
    """What a conversation says; calls and results are known by the number of the call."""
    numbers: dict[str, int] = {}
    found: list[tuple[Any, ...]] = []
    for item in (item for one in said for item in one.items):
        match item:
            case ("call", call, name, value):
                numbers[call] = len(numbers)
                found.append(("call", numbers[call], name, value))
            case ("result", call, _, text, _):
                found.append(("result", numbers[call], text))
            case _:
                found.append(item)
    return found


def speakers(client: Client) -> st.SearchStrategy[list[Said]]:
    """Conversations that a client of this dialect can write."""
    return conversations(late_system=client.dialect != "gemini")


@EACH_CLIENT
@QUICK
@given(data=st.data())
def test_all_that_is_said_reaches_the_hub_in_order(client: Client, data: st.DataObject) -> None:
    said = data.draw(speakers(client))
    hub = client.decode(client.writes(said)).body.value()
    assert held(hub) == said_by(said)
    assert [tool["name"] for tool in hub["tools"]] == list(TOOLS)


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("url_safe", [True, False])
@QUICK
@given(said=conversations(late_system=False))
def test_gemini_conversations_without_ids_and_in_url_safe_base64(
    ids: bool, url_safe: bool, said: list[Said]
) -> None:
    body = as_gemini(said, ids=ids, url_safe=url_safe)
    assert held(CLIENTS["gemini"].decode(body).body.value()) == said_by(said)


@EACH_TRANSLATED
@QUICK
@given(data=st.data())
def test_a_failed_tool_is_still_a_failed_tool(client: Client, data: st.DataObject) -> None:
    """Where the dialect can say so: OpenAI's have no word for it."""
    said = data.draw(speakers(client))
    hub = client.decode(client.writes(said)).body.value()
    results = [b for t in hub["messages"] for b in t["content"] if b["type"] == "tool_result"]
    wanted = [item[4] for one in said for item in one.items if item[0] == "result"]
    if client.dialect.startswith("openai-"):
        wanted = [False] * len(wanted)
    assert [bool(block.get("is_error")) for block in results] == wanted


@EACH_TRANSLATED
@QUICK
@given(stream=streams())
def test_all_that_the_model_says_reaches_the_client(client: Client, stream: Stream) -> None:
    """All texts in their order, and every call with its id, name and arguments; reasoning where it
    is shown. Of a call that a limit cut off Gemini has no form."""
    blocks = collect(stream.events)["content"]
    outcome = client.stream(streamed(client, stream.events))
    said = shown(client, outcome.message)
    assert said["text"] == "".join(b["text"] for b in blocks if b["type"] == "text")
    thought = "".join(b["thinking"] for b in blocks if b["type"] == "thinking")
    hidden = client.dialect == "gemini" and not client.extra
    assert said["thought"] == ("" if hidden else thought)
    called = [
        (b["id"], b["name"], b["input"])
        for i, b in enumerate(blocks)
        if b["type"] == "tool_use"
        and (client.dialect != "gemini" or is_object(stream.arguments[i]))
    ]
    if "functions" in client.writes([]):
        called = [("", *call[1:]) for call in called[:1]]
    if not (client.dialect == "gemini" and stream.message["stop_reason"] in CUTTING):
        assert said["calls"] == called
    else:
        assert said["calls"] in (called, called[:-1])


CUTTING = ("max_tokens", "model_context_window_exceeded", "refusal", "pause_turn")


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def shown(client: Client, answer: Value) -> Value:
    """What a client finds in an answer: its text, its reasoning and its calls."""
    if client.dialect == "openai-chat":
        found = answer["choices"][0]["message"]
        calls = [
            (c["id"], c["function"]["name"], legality.whole_object(c["function"]["arguments"]))
            for c in found.get("tool_calls", [])
        ]
        if legacy := found.get("function_call"):
            calls = [("", legacy["name"], legality.whole_object(legacy["arguments"]))]
        thought = found.get("reasoning_content") or ""
        return {"text": found.get("content") or "", "thought": thought, "calls": calls}
    if client.dialect == "openai-responses":
        return shown_in_items(answer["output"])
    parts = answer["candidates"][0]["content"]["parts"]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    texts = [part for part in parts if "text" in part]
    return {
        "text": "".join(part["text"] for part in texts if "thought" not in part),
        "thought": "".join(part["text"] for part in texts if "thought" in part),
        "calls": [(call["id"], call["name"], call["args"]) for call in calls],
    }


def shown_in_items(items: list[Value]) -> Value:
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    thoughts = [part for item in items if item["type"] == "reasoning" for part in item["summary"]]
    return {
        "text": "".join(part.get("text", "") for part in parts),
        "thought": "".join(part["text"] for part in thoughts),
        "calls": [
            (item["call_id"], item["name"], legality.whole_object(item["arguments"]))
            for item in items
            if item["type"] == "function_call"
        ],
    }


RESPONSES_KNOBS: Value = {
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "max_output_tokens": 77,
    "top_logprobs": 3,
    "user": "u",
    "safety_identifier": "u",
    "metadata": {"a": "b"},
    "store": True,
    "reasoning": {"effort": "high"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "service_tier": "flex",
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_object"}},
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "cache_control": {"type": "ephemeral"},
    "tool_choice": "required",
    "stream_options": {"unheard_of": True},
    "include": ["message.output_text.logprobs"],
    "truncation": "auto",
    "background": True,
    "max_tool_calls": 3,
    "conversation": "conv_1",
    "previous_response_id": "resp_1",
    "prompt": {"id": "pmpt_1"},
    "context_management": [{"type": "compaction"}],
    "instructions": "Be brief.",
    "unheard_of": 1,
}
CHAT_KNOBS: Value = {
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "stop": ["x"],
    "max_tokens": 77,
    "max_completion_tokens": 77,
    "seed": 1,
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"1": 1},
    "presence_penalty": 1,
    "frequency_penalty": 1,
    "user": "u",
    "safety_identifier": "u",
    "metadata": {"a": "b"},
    "store": True,
    "reasoning_effort": "high",
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "service_tier": "flex",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_object"},
    "prediction": {"type": "content", "content": "x"},
    "verbosity": "low",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "cache_control": {"type": "ephemeral"},
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
    "web_search_options": {"search_context_size": "low"},
    "n": 2,
    "tool_choice": "required",
    "stream_options": {"unheard_of": True},
    "unheard_of": 1,
}
GEMINI_KNOBS: Value = {
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "cachedContent": "cachedContents/x",
    "labels": {"a": "b"},
    "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    "unheardOf": 1,
    "temperature": 0.5,
    "topP": 0.5,
    "topK": 5,
    "maxOutputTokens": 77,
    "stopSequences": ["x"],
    "seed": 1,
    "presencePenalty": 1.5,
    "frequencyPenalty": 1.5,
    "responseLogprobs": True,
    "logprobs": 3,
    "candidateCount": 2,
    "responseMimeType": "application/json",
    "responseModalities": ["TEXT", "IMAGE"],
    "speechConfig": {"languageCode": "de"},
    "mediaResolution": "MEDIA_RESOLUTION_LOW",
    "thinkingConfig": {"thinkingBudget": 2000},
    "unheardOfConfig": 1,
}
_AT_THE_TOP = ("safetySettings", "cachedContent", "labels", "toolConfig", "unheardOf")
KNOBS = [
    *(("openai-chat", {name: value}) for name, value in CHAT_KNOBS.items()),
    *(("openai-responses", {name: value}) for name, value in RESPONSES_KNOBS.items()),
    *(
        ("gemini", {name: value} if name in _AT_THE_TOP else {"generationConfig": {name: value}})
        for name, value in GEMINI_KNOBS.items()
    ),
]


@pytest.mark.parametrize(("client", "knob"), KNOBS, ids=lambda part: str(part)[:60])
def test_a_knob_is_carried_or_noted_or_refused(client: str, knob: Value) -> None:
    """Nothing that a client sets is silently without effect."""
    body = CLIENTS[client].writes([Said("user", (("text", "hello"),))])
    before = CLIENTS[client].decode(body)
    (name, value), *_ = knob.items()
    path = f"{name}.{next(iter(value))}" if name == "generationConfig" else name
    try:
        after = CLIENTS[client].decode({**body, **knob})
    except GatewayError as error:
        assert error.row.status == 400
        assert (error.param or "").startswith(path), error.param
        return
    carried = after.body.wire() != before.body.wire()
    noted = [note for note in after.notes.rows if note.path.startswith(path)]
    assert carried or noted


UNKNOWN = {
    "openai-chat": [
        ("messages", 0, "unheard_of"),
        ("messages", 0, "content", 0, "unheard_of"),
        ("tools", 0, "unheard_of"),
        ("tools", 0, "function", "unheard_of"),
        ("unheard_of",),
    ],
    "openai-responses": [
        ("input", 0, "unheard_of"),
        ("input", 0, "content", 0, "unheard_of"),
        ("tools", 0, "unheard_of"),
        ("unheard_of",),
    ],
    "gemini": [
        ("contents", 0, "unheardOf"),
        ("contents", 0, "parts", 0, "unheardOf"),
        ("tools", 0, "functionDeclarations", 0, "unheardOf"),
        ("generationConfig", "unheardOf"),
        ("unheardOf",),
    ],
}


@pytest.mark.parametrize(
    ("client", "path"), [(name, path) for name, paths in UNKNOWN.items() for path in paths]
)
def test_an_unknown_member_is_noted_or_refused_by_its_path(
    client: str, path: tuple[Any, ...]
) -> None:
    said = [Said("user", (("text", "a"), ("image", "image/png", "AAAA")))]
    body = {**CLIENTS[client].writes(said), "generationConfig": {}}
    if client != "gemini":
        del body["generationConfig"]
    inside: Any = body
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = "x"
    wanted = ".".join(map(str, path))
    try:
        request = CLIENTS[client].decode(body)
    except GatewayError as error:
        assert error.param == wanted
        return
    assert wanted in [note.path for note in request.notes.rows]
    assert "unheard" not in request.body.wire().decode()


UNSUPPORTED = [
    ("openai-chat", {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}),
    ("openai-chat", {"type": "part_of_next_year", "x": 1}),
    ("openai-chat", {"type": "image_url", "image_url": {"url": "ftp://example.com/a.png"}}),
    ("openai-chat", {"type": "file", "file": {"file_id": "file-1"}}),
    ("openai-responses", {"type": "input_audio", "input_audio": {"data": "AA"}}),
    ("openai-responses", {"type": "input_image", "image_url": "ftp://example.com/a.png"}),
    ("openai-responses", {"type": "input_image", "file_id": "file-1"}),
    ("openai-responses", {"type": "input_file", "file_id": "file-1"}),
    ("openai-responses", {"type": "part_of_next_year", "x": 1}),
    ("gemini", {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}),
    ("gemini", {"inlineData": {"mimeType": "video/mp4", "data": "AA=="}}),
    ("gemini", {"fileData": {"fileUri": "gs://bucket/a.mp4", "mimeType": "video/mp4"}}),
    ("gemini", {"partOfNextYear": {"x": 1}}),
]


@pytest.mark.parametrize(("client", "part"), UNSUPPORTED, ids=lambda part: json.dumps(part)[:50])
def test_content_that_cannot_be_carried_is_refused_by_its_path(client: str, part: Value) -> None:
    body = CLIENTS[client].writes([Said("user", (("text", "a"), ("image", "image/png", "AAAA")))])
    where, prefix = {
        "openai-chat": (lambda: body["messages"][0]["content"], "messages.0.content.1"),
        "openai-responses": (lambda: body["input"][0]["content"], "input.0.content.1"),
        "gemini": (lambda: body["contents"][0]["parts"], "contents.0.parts.1"),
    }[client]
    where()[1] = part
    with pytest.raises(GatewayError) as caught:
        CLIENTS[client].decode(body)
    assert caught.value.row.status == 400
    assert (caught.value.param or "").startswith(prefix)
    assert caught.value.message.startswith(prefix)


# --- 5: prefix ----------------------------------------------------------------------------------


def without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_marks(inner) for key, inner in value.items() if key != "cache_control"}
    return [without_marks(inner) for inner in value] if isinstance(value, list) else value


def prefix(body: Value) -> tuple[str, str, list[str]]:
    """What later requests must repeat: tools, system and the blocks of all turns, as JSON text."""
    body = without_marks(body)
    turns = [
        json.dumps([turn["role"], block])
        for turn in body["messages"]
        for block in _blocks(turn["content"])
    ]
    return json.dumps(body.get("tools")), json.dumps(body.get("system")), turns


def _blocks(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def grows(earlier: Value, later: Value) -> None:
    tools, system, turns = prefix(earlier)
    assert (tools, system) == prefix(later)[:2]
    assert turns == prefix(later)[2][: len(turns)]


@EACH_CLIENT
@QUICK
@given(data=st.data())
def test_what_was_sent_before_is_sent_again_byte_for_byte(
    client: Client, data: st.DataObject
) -> None:
    said = data.draw(speakers(client))
    hubs = [client.decode(client.writes(said[:n])).body.value() for n in sent(said)]
    for earlier, later in itertools.pairwise(hubs):
        grows(earlier, later)
    again = client.decode(client.writes(said))
    assert again.body.wire() == client.decode(client.writes(said)).body.wire()


MODELS = ["claude-sonnet-4-5", "claude-sonnet-5", "claude-opus-5-5", "model-x"]


@EACH_TRANSLATED
@pytest.mark.parametrize("model", MODELS)
@QUICK
@given(data=st.data())
def test_what_reaches_the_provider_grows_by_its_end_alone(
    client: Client, model: str, data: st.DataObject
) -> None:
    said = data.draw(speakers(client))
    backend = BACKENDS["anthropic"]
    bodies = []
    for n in sent(said):
        request = client.decode({**client.writes(said[:n]), **client.extra})
        notes = Notes()
        http = backend.encode(request, Target("anthropic", model), notes)
        again = backend.encode(request, Target("anthropic", model), Notes())
        assert http == again
        bodies.append(json.loads(http.body))
    for earlier, later in itertools.pairwise(bodies):
        grows(earlier, later)
    for body in bodies:
        assert sum(_marks(body)) <= 4


def _marks(value: Any) -> Iterable[int]:
    if isinstance(value, dict):
        yield int("cache_control" in value)
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from _marks(inner)


@EACH_TRANSLATED
@QUICK
@given(data=st.data())
def test_the_time_and_the_day_change_nothing(client: Client, data: st.DataObject) -> None:
    """No date gets into a request, nor into an answer but where the dialect has a field for it."""
    body = json.dumps(client.writes(data.draw(speakers(client)))).encode()
    requests = [
        client.frontend.decode(
            HttpRequest("POST", client.path, client.query, (), body, at), client.match
        )
        for at in (0, ARRIVED)
    ]
    assert requests[0].body.wire() == requests[1].body.wire()


# --- 6: native ----------------------------------------------------------------------------------


@EACH_BACKEND
@QUICK
@given(said=conversations())
def test_a_native_body_is_forwarded_as_it_came(backend: Backend, said: list[Said]) -> None:
    client = CLIENTS["anthropic"]
    source = json.dumps({**as_messages(said), "unknown": [1.0, 1e2]}, indent=1).encode()
    request = client.decode(source)
    target = Target("anthropic", "claude-sonnet-4-5")
    notes = Notes()
    assert backend.encode(request, target, notes).body == source
    assert notes.rows == []
    changed = backend.encode(request, Target("anthropic", "claude-opus-4-5"), notes).body
    assert changed == source.replace(b'"model": "claude-sonnet-4-5"', b'"model": "claude-opus-4-5"')


# --- 7: never forge -----------------------------------------------------------------------------


def strings(value: Any) -> Iterable[tuple[str, Any]]:
    """Every member of a JSON value with its name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from strings(inner)
    for inner in value if isinstance(value, list) else ():
        yield from strings(inner)


@EACH_TRANSLATED
@QUICK
@given(stream=streams())
def test_no_id_signature_or_usage_is_made_up(client: Client, stream: Stream) -> None:
    whole = client.whole(client.frontend.encode_message(client.request, collect(stream.events)))
    kinds = [block["type"] for block in stream.message["content"]]
    known = {block["id"] for block in stream.message["content"] if "id" in block}
    known |= {stream.message["id"], stream.message["id"].removeprefix("msg_")}
    for name, value in strings(whole):
        if name in ("id", "responseId", "call_id"):
            assert originals(value) & known
        if name == "encrypted_content":
            assert set(kinds) - {"text", "tool_use"}
        if "signature" in name.lower():
            cited = any(block.get("citations") for block in stream.message["content"])
            others = cited or set(kinds) - {"text", "tool_use"}
            allowed = others if client.dialect == "gemini" else False
            assert allowed or {"thinking", "redacted_thinking"} & set(kinds)
        if name in ("model", "modelVersion"):
            assert value == stream.message["model"]
        if name in ("created", "created_at"):
            assert value == ARRIVED
    assert_usage(whole, stream.message["usage"])


def originals(made: str) -> set[str]:
    """What an id can stand for: itself, or what it says of what it is the id, and where that stands."""
    bare = re.sub(r"^(chatcmpl-|(?:resp|msg|rs|fc|ws|cmp)_)", "", made)
    return {made, bare, bare.rpartition("_")[0]}


def assert_usage(whole: Value, usage: Value) -> None:
    """Each number is one of the provider's, or the sum that the dialect asks for."""
    read = usage.get("cache_read_input_tokens")
    prompt = usage["input_tokens"] + (read or 0) + usage.get("cache_creation_input_tokens", 0)
    thought = usage.get("output_tokens_details", {}).get("thinking_tokens")
    if whole.get("object") == "response":
        found = whole["usage"]
        assert (found["input_tokens"], found["output_tokens"]) == (prompt, usage["output_tokens"])
        assert found["input_tokens_details"]["cached_tokens"] == (read or 0)
        assert found["output_tokens_details"]["reasoning_tokens"] == (thought or 0)
    elif "usage" in whole:
        found = whole["usage"]
        details = found.get("completion_tokens_details") or {}
        assert found["prompt_tokens"] == prompt
        assert found["completion_tokens"] == usage["output_tokens"]
        assert (found.get("prompt_tokens_details") or {}).get("cached_tokens") == read
        assert details.get("reasoning_tokens") == thought
    else:
        found = whole["usageMetadata"]
        assert found["promptTokenCount"] == prompt
        answer = found.get("candidatesTokenCount", 0) + found.get("thoughtsTokenCount", 0)
        assert answer == usage["output_tokens"]
        assert found.get("cachedContentTokenCount") == read
        assert found.get("thoughtsTokenCount") == thought


# --- bad input ----------------------------------------------------------------------------------


@EACH_CLIENT
@QUICK
@given(data=st.data())
def test_no_body_makes_decoding_fail_in_another_way(client: Client, data: st.DataObject) -> None:
    """Wrong types at every level: read, or refused with a 400 that names the place."""
    body = data.draw(mistaken({**client.writes(data.draw(speakers(client))), **client.extra}))
    try:
        request = client.decode(body)
        request.body.wire()
        request.notes.header().encode("ascii")
    except GatewayError as error:
        assert error.row.status == 400
        assert error.source == "client"
        assert error.message
        client.error(legality.loads(client.frontend.encode_error(error, "req_1")))


@EACH_TRANSLATED
@pytest.mark.parametrize("model", MODELS)
@QUICK
@given(data=st.data())
def test_what_was_read_can_be_sent_to_any_model(
    client: Client, model: str, data: st.DataObject
) -> None:
    body = data.draw(mistaken({**client.writes(data.draw(speakers(client))), **client.extra}))
    try:
        request = client.decode(body)
        http = BACKENDS["anthropic"].encode(request, Target("anthropic", model), Notes())
    except GatewayError as error:
        assert error.row.status == 400
        return
    hub = legality.loads(http.body)
    assert hub["model"] == model
    assert hub["stream"] is True
    assert hub["max_tokens"] >= 1
    assert hub["messages"]


@EACH_CLIENT
@QUICK
@given(body=st.binary(max_size=60))
def test_no_bytes_make_decoding_fail_in_another_way(client: Client, body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        client.decode(body)
    assert caught.value.row.status == 400


BAD_JSON = {
    "NaN": b'{"temperature": NaN, %b}',
    "1e400": b'{"temperature": 1e400, %b}',
    "5,000 digits": b'{"max_tokens": ' + b"9" * 5000 + b", %b}",
    "open": b"{%b",
    "a list": b"[%b]",
    "depth": b'{"unheard_of": ' + b"[" * 100_000 + b"]" * 100_000 + b", %b}",
    "mark": b"\xef\xbb\xbf{%b}",
    "UTF-8": b'{"user": "\xff", %b}',
}


@EACH_TRANSLATED
@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_refused(client: Client, name: str) -> None:
    body = json.dumps(client.writes([Said("user", (("text", "a"),))])).encode()[1:-1]
    with pytest.raises(GatewayError) as caught:
        client.decode(BAD_JSON[name].replace(b"%b", body))
    assert caught.value.row.status == 400


@EACH_TRANSLATED
@pytest.mark.parametrize("depth", [50, 190, 400, 900])
def test_depth_and_lone_surrogates_together(client: Client, depth: int) -> None:
    body = json.dumps(client.writes([Said("user", (("text", "a"),))]))[1:-1].encode()
    deep = b'{"unheard_of": ' + b"[" * depth + rb'"\ud83d"' + b"]" * depth + b", " + body + b"}"
    try:
        client.decode(deep).notes.header().encode("ascii")
    except GatewayError as error:
        assert error.row.status == 400


@EACH_TRANSLATED
def test_lone_surrogates_are_mended_and_noted(client: Client) -> None:
    body = json.dumps(client.writes([Said("user", (("text", "aXb"),))])).encode()
    request = client.decode(body.replace(b"aXb", rb"a\ud83db"))
    assert "a\ufffdb".encode() in request.body.wire()
    assert "lone surrogates" in request.notes.header()


@EACH_TRANSLATED
@pytest.mark.parametrize("name", ["messages", "input", "contents", "model", "tools", "stream"])
def test_a_member_that_stands_twice_is_refused(client: Client, name: str) -> None:
    body = client.writes([Said("user", (("text", "a"),))])
    if name not in body:
        return
    twice = json.dumps(body)[:-1] + f', "{name}": {json.dumps(body[name])}' + "}"
    with pytest.raises(GatewayError) as caught:
        client.decode(twice.encode())
    assert caught.value.row.status == 400
    assert caught.value.param == name


TOOL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
LACKING: dict[str, tuple[Value, list[Value]]] = {
    "a call without an id": ({"type": "tool_use", "name": "f", "input": {}}, []),
    "a call without a name": ({"type": "tool_use", "id": "toolu_1", "input": {}}, []),
    "a call whose id is a number": ({**TOOL, "id": 5}, []),
    "a call whose name is a list": ({**TOOL, "name": []}, []),
    "a call whose name is null": ({**TOOL, "name": None}, []),
    "arguments without their text": (TOOL, [{"type": "input_json_delta"}]),
    "a text without its text": ({"type": "text", "text": ""}, [{"type": "text_delta"}]),
    "a text that starts as a number": ({"type": "text", "text": 5}, []),
    "a text that starts as null": ({"type": "text", "text": None}, []),
    "a text that starts without one": ({"type": "text"}, [{"type": "text_delta", "text": "a"}]),
    "a citation that is a word": (
        {"type": "text", "text": ""},
        [{"type": "citations_delta", "citation": "x"}],
    ),
    "a citation without itself": ({"type": "text", "text": ""}, [{"type": "citations_delta"}]),
    "a thought without its text": (
        {"type": "thinking", "thinking": "", "signature": ""},
        [{"type": "thinking_delta"}],
    ),
    "a signature that is a number": (
        {"type": "thinking", "thinking": "", "signature": ""},
        [{"type": "signature_delta", "signature": 5}],
    ),
    "hidden thinking without data": ({"type": "redacted_thinking"}, []),
}


@EACH_TRANSLATED
@pytest.mark.parametrize(("block", "deltas"), LACKING.values(), ids=LACKING)
def test_a_block_that_lacks_something_is_the_providers_fault_or_does_no_harm(
    client: Client, block: Value, deltas: list[Value]
) -> None:
    """Found by the reader or by the encoder, whichever; never as an error of our own, and never as
    an answer that is illegal in the client's dialect."""
    events = [Event(value=value) for value in around(block, deltas)]
    try:
        body = streamed(client, events)
        message = collect(events)
        client.frontend.encode_message(client.request, message)
    except GatewayError as error:
        assert error.source == "upstream"
        return
    assert client.stream(body).error is None


@EACH_TRANSLATED
@settings(QUICK, max_examples=50)
@given(stream=streams(), data=st.data())
def test_no_provider_makes_a_codec_fail_in_another_way(
    client: Client, stream: Stream, data: st.DataObject
) -> None:
    """Events that the reader lets pass are safe for every encoder; all else is the provider's fault."""
    body = bytearray(on_the_wire(stream.values, Form()))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 4))] = data.draw(
            st.sampled_from([b"", b"\n", b'"', b"{", b"}", b"0", b"null", b"\xff", b",", b"\\"])
        )
    for backend in CODECS.values():
        decoder = backend.decoder(client.request)
        try:
            streamed(client, decoder.feed(bytes(body)))
        except GatewayError as error:
            assert error.source == "upstream"
        assert decoder.failure is None or decoder.failure.source == "upstream"


@EACH_CLIENT
@QUICK
@given(stream=streams(PARTS, noise=True), form=FORMS)
def test_events_from_the_wire_are_those_from_values(
    client: Client, stream: Stream, form: Form
) -> None:
    """An encoder sees the same event whether it came as bytes or was made by a step."""
    if client.dialect == "anthropic":
        return
    plain = Form(**{**{f: getattr(form, f) for f in form.__slots__}, "mark": False})
    wired = [Event(framed(value, plain).encode()) for value in stream.values]
    assert streamed(client, wired) == streamed(client, stream.events)


# --- the state machines themselves --------------------------------------------------------------


def chunk(delta: Value, finish: str | None = None, **fields: Any) -> Value:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**common, "choices": [choice], **fields}


def lines(*values: Value | str) -> bytes:
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def part(words: str, **end: Any) -> Value:
    content = {"role": "model", "parts": [{"text": words}]}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return {"candidates": [{"content": content, **end}], "usageMetadata": usage}


HELLO = chunk({"role": "assistant", "content": "a"})
BROKEN = {"error": {"message": "x", "type": "t", "param": None, "code": None}}
CALLED = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
SPENT = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
FAILED = {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}
CHAT_ERRORS: dict[str, bytes] = {
    "no end": lines(HELLO, chunk({}, "stop")),
    "no finish_reason": lines(HELLO, "[DONE]"),
    "two finishes": lines(HELLO, chunk({}, "stop"), chunk({}, "stop"), "[DONE]"),
    "no role": lines(chunk({"content": "a"}), chunk({}, "stop"), "[DONE]"),
    "content after the finish": lines(HELLO, chunk({}, "stop"), chunk({"content": "b"}), "[DONE]"),
    "[DONE] after an error": lines(HELLO, BROKEN, "[DONE]"),
    "text after [DONE]": lines(HELLO, chunk({}, "stop"), "[DONE]", HELLO),
    "reasoning as an object": lines(
        HELLO, chunk({"reasoning_content": {}}), chunk({}, "stop"), "[DONE]"
    ),
    "another id": lines(HELLO, chunk({}, "stop", id="d"), "[DONE]"),
    "a number as the code of an error": lines({"error": {**BROKEN["error"], "code": 5}}),
    "a call without arguments at its end": lines(
        chunk({"role": "assistant", "tool_calls": [CALLED]}), chunk({}, "tool_calls"), "[DONE]"
    ),
    "a call out of number": lines(
        chunk({"role": "assistant", "tool_calls": [{**CALLED, "index": 1}]}), "[DONE]"
    ),
    "usage that does not add up": lines(
        HELLO,
        chunk({}, "stop"),
        {**chunk({}), "choices": [], "usage": {**SPENT, "total_tokens": 3}},
        "[DONE]",
    ),
    "a named event": b"event: x\n" + lines(HELLO, chunk({}, "stop"), "[DONE]"),
    "half an event": lines(HELLO, chunk({}, "stop"), "[DONE]")[:-1],
}
GEMINI_ERRORS: dict[str, bytes] = {
    "no finish": lines(part("a")),
    "two finishes": lines(part("a", finishReason="STOP"), part("", finishReason="STOP")),
    "text after an error": lines(FAILED, part("a", finishReason="STOP")),
    "[DONE]": lines(part("a", finishReason="STOP"), "[DONE]"),
    "an unknown finish": lines(part("a", finishReason="end_turn")),
    "another candidate": lines(part("a", finishReason="STOP", index=1)),
    "the code of an error as text": lines({"error": {**FAILED["error"], "code": "503"}}),
    "no usage": lines({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}),
}


@pytest.mark.parametrize("body", CHAT_ERRORS.values(), ids=CHAT_ERRORS)
def test_an_illegal_chat_stream_is_found(body: bytes) -> None:
    with pytest.raises(legality.Illegal):
        legality.chat(body)


@pytest.mark.parametrize("body", GEMINI_ERRORS.values(), ids=GEMINI_ERRORS)
def test_an_illegal_gemini_stream_is_found(body: bytes) -> None:
    with pytest.raises(legality.Illegal):
        legality.gemini_sse(body)


def test_the_least_legal_streams_are_legal() -> None:
    assert legality.chat(lines(HELLO, chunk({}, "stop"), "[DONE]")).error is None
    assert legality.chat(lines(HELLO, BROKEN)).error == BROKEN["error"]
    assert legality.gemini_sse(lines(part("a", finishReason="STOP"))).error is None
    assert legality.gemini_sse(lines(part("a"), FAILED)).error == FAILED["error"]
    assert legality.anthropic(b"".join(around_a_text())).error is None


@QUICK
@given(stream=streams(noise=False), data=st.data())
def test_an_illegal_messages_stream_is_found(stream: Stream, data: st.DataObject) -> None:
    """Any event left out or doubled, but for a delta, which a stream may lack."""
    at = data.draw(st.integers(0, len(stream.values) - 1))
    value = stream.values[at]
    kinds = [v["type"] for v in stream.values]
    if value["type"] == "content_block_delta" or kinds.count("message_delta") > 1:
        return
    values = list(stream.values)
    if data.draw(st.booleans()) and value["type"] != "message_delta":
        values.insert(at, value)
    else:
        del values[at]
    with pytest.raises(legality.Illegal):
        legality.anthropic(on_the_wire(values, Form()))
