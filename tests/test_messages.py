"""The hub: events, the grammar of a stream, collect and replay."""

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import KINDS, GatewayError, provider_error
from isthmus.messages import (
    GRAMMAR,
    Event,
    Input,
    Reader,
    collect,
    input_text,
    replay,
)

from .strategies import (
    FORMS,
    MESSAGES,
    WRONG,
    Form,
    Stream,
    broken_streams,
    framed,
    places,
    streams,
)

USAGE = {"input_tokens": 3, "output_tokens": 1}
HEAD = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": USAGE,
}
START = {"type": "message_start", "message": HEAD}
DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 5},
}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def opened(index: int = 0, kind: str = "text", **fields: Any) -> dict[str, Any]:
    block = {"type": kind, **(GRAMMAR[kind].empty if kind in GRAMMAR else {}), **fields}
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int = 0, kind: str = "text_delta", **fields: Any) -> dict[str, Any]:
    fields = fields or {"text": "a"}
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def closed(index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def events(*values: dict[str, Any]) -> list[Event]:
    return [Event(value=value) for value in values]


# --- an event -----------------------------------------------------------------------------------


@given(streams().map(lambda stream: stream.values), FORMS)
def test_an_event_reads_the_same_in_every_form(values: list[dict[str, Any]], form: Any) -> None:
    for value in values:
        event = Event(framed(value, form).encode())
        assert event.type == value["type"]
        assert event.value == value
        assert Event(framed(value, form).encode()).value == value
        assert Event(value=value).type == value["type"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_name_of_an_event_ends_with_its_line(line_end: str) -> None:
    frame = line_end.join(["event: ping", 'data: {"type":"ping"}', "", ""]).encode()
    assert Event(frame).type == "ping"
    assert Event(b"\n" + frame).type == "ping"


def test_an_event_keeps_its_bytes() -> None:
    frame = b'event: ping\ndata: {"type" : "ping" , "x": 1.0}\n\n'
    event = Event(frame)
    assert (event.type, event.value) == ("ping", {"type": "ping", "x": 1.0})
    assert event.wire is frame


def test_an_event_made_of_a_value_is_framed_with_its_name() -> None:
    assert Event(value=PING).wire == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_a_comment_is_an_event_without_a_type() -> None:
    assert Event(b": keep-alive\n\n").type == ""
    assert Event(b"\n\n").type == ""


@pytest.mark.parametrize(
    "data", [b"[DONE]", b"[1]", b"", b"{", b"null", b'"a"', b"\xff", b"[" * 10**5]
)
def test_data_that_is_no_object_is_the_providers_fault(data: bytes) -> None:
    for frame in (b"event: message_start\ndata: " + data + b"\n\n", b"data: " + data + b"\n\n"):
        with pytest.raises(GatewayError) as caught:
            Reader().feed(Event(frame)) if b"event" in frame else Event(frame).value
        assert caught.value.kind == "upstream_bad_response"
        assert len(caught.value.message) < 1000


# --- the grammar --------------------------------------------------------------------------------


@given(streams())
def test_a_legal_stream_is_read_to_its_message(stream: Stream) -> None:
    message = collect(stream.events)
    assert message == stream.message
    found = {i: input_text(b["input"]) for i, b in enumerate(message["content"]) if "input" in b}
    assert found == stream.arguments


@given(broken_streams())
def test_an_error_event_ends_a_stream(stream: Stream) -> None:
    reader = Reader()
    for event in stream.events:
        reader.feed(event)
    assert reader.state == "error"
    with pytest.raises(GatewayError):
        reader.finish()
    with pytest.raises(GatewayError) as caught:
        collect(stream.events)
    assert caught.value.source == "upstream"
    assert caught.value.message == stream.values[-1]["error"]["message"]


@given(streams(noise=False), st.data())
def test_a_stream_that_breaks_off_is_no_message(stream: Stream, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(stream.values) - 1))
    with pytest.raises(GatewayError) as caught:
        collect(stream.events[:kept])
    assert caught.value.kind == "upstream_disconnected"


OUT_OF_ORDER: dict[str, list[dict[str, Any]]] = {
    "a block before the start": [opened()],
    "a delta before the start": [delta()],
    "the end of a block before the start": [closed()],
    "message_delta before the start": [DELTA],
    "message_stop before the start": [STOP],
    "two starts": [START, START],
    "a start inside a block": [START, opened(), START],
    "a start after message_delta": [START, DELTA, START],
    "a delta without a block": [START, delta()],
    "the end of no block": [START, closed()],
    "the end of a block twice": [START, opened(), closed(), closed()],
    "a block inside a block": [START, opened(), opened(1)],
    "message_delta inside a block": [START, opened(), DELTA],
    "message_stop inside a block": [START, opened(), STOP],
    "message_stop without message_delta": [START, STOP],
    "a block after message_delta": [START, DELTA, opened()],
    "a delta after message_delta": [START, opened(), closed(), DELTA, delta()],
    "anything after message_stop": [START, DELTA, STOP, DELTA],
    "a second message_stop": [START, DELTA, STOP, STOP],
    "a start after message_stop": [START, DELTA, STOP, START],
    "an error after message_stop": [START, DELTA, STOP, ERROR],
    "anything after an error": [START, ERROR, opened()],
    "message_stop after an error": [START, DELTA, ERROR, STOP],
    "the first block is not 0": [START, opened(1)],
    "a number left out": [START, opened(), closed(), opened(2)],
    "a number twice": [START, opened(), closed(), opened(0)],
    "a negative number": [START, opened(-1)],
    "a delta for another block": [START, opened(), closed(), opened(1), delta(0)],
    "the end of another block": [START, opened(), closed(), opened(1), closed(0)],
    "thinking in a text block": [START, opened(), delta(kind="thinking_delta", thinking="a")],
    "text in a tool call": [START, opened(kind="tool_use", id="t", name="n"), delta()],
    "arguments in a text block": [
        START,
        opened(),
        delta(kind="input_json_delta", partial_json="{"),
    ],
    "a signature in a text block": [START, opened(), delta(kind="signature_delta", signature="s")],
    "a citation in a thinking block": [
        START,
        opened(kind="thinking"),
        delta(kind="citations_delta", citation={}),
    ],
}


@pytest.mark.parametrize("values", OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_an_event_out_of_order_is_refused(values: list[dict[str, Any]]) -> None:
    reader = Reader()
    *before, last = events(*values)
    for event in before:
        reader.feed(event)
    reader.feed(Event(value=PING))
    with pytest.raises(GatewayError) as caught:
        reader.feed(last)
    assert caught.value.kind == "upstream_bad_response"
    assert caught.value.source == "upstream"


MALFORMED: dict[str, list[dict[str, Any]]] = {
    "a start without a message": [{"type": "message_start"}],
    "a start with a null message": [{"type": "message_start", "message": None}],
    "a start without usage": [{"type": "message_start", "message": {"content": []}}],
    "a start with null usage": [{**START, "message": {**HEAD, "usage": None}}],
    "a start with null content": [{**START, "message": {**HEAD, "content": None}}],
    "a block without a number": [START, {**opened(), "index": None}],
    "a block without a block": [START, {"type": "content_block_start", "index": 0}],
    "a block without a type": [START, {**opened(), "content_block": {"text": ""}}],
    "a delta without a delta": [START, opened(), {"type": "content_block_delta", "index": 0}],
    "a delta without a type": [START, opened(), {**delta(), "delta": {"text": "a"}}],
    "a number as text": [START, opened(), delta(text=5), closed()],
    "null as text": [START, opened(), delta(text=None), closed()],
    "a list as text": [START, opened(), delta(text=["a"]), closed()],
    "a number as arguments": [
        START,
        opened(kind="tool_use", id="t", name="n"),
        delta(kind="input_json_delta", partial_json=5),
        closed(),
    ],
    "message_delta without a delta": [START, {"type": "message_delta", "usage": {}}],
    "message_delta with a null delta": [START, {**DELTA, "delta": None}],
    "usage as a number": [START, {**DELTA, "usage": 5}],
}


@pytest.mark.parametrize("values", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_event_is_refused(values: list[dict[str, Any]]) -> None:
    with pytest.raises(GatewayError) as caught:
        collect(events(*values))
    assert caught.value.kind == "upstream_bad_response"


@given(streams(noise=False), st.data())
def test_no_provider_makes_the_reader_fail_in_another_way(
    stream: Stream, data: st.DataObject
) -> None:
    values = json.loads(json.dumps(stream.values))
    *above, last = data.draw(st.sampled_from(places(values)))
    inside: Any = values
    for key in above:
        inside = inside[key]
    inside[last] = data.draw(WRONG)
    try:
        message = collect(
            Event(value=v) if isinstance(v, dict) else Event(b"data: 1\n\n") for v in values
        )
        assert isinstance(message["content"], list)
    except GatewayError as error:
        assert error.source == "upstream"


def test_unknown_things_may_stand_anywhere() -> None:
    odd = {"type": "event_of_next_year", "index": 99}
    values = [START, opened(kind="block_of_next_year", a=1), closed(), DELTA, STOP]
    stream = [odd, PING, *(one for value in values for one in (value, odd, PING))]
    assert collect(events(*stream))["content"] == [{"type": "block_of_next_year", "a": 1}]


def test_comments_may_stand_anywhere() -> None:
    comment = Event(b": hello\n\n")
    assert (
        collect([comment, *events(START, DELTA), comment, *events(STOP), comment])["id"] == "msg_1"
    )


def test_usage_is_replaced_and_never_added() -> None:
    first = {**DELTA, "usage": {"output_tokens": 2, "input_tokens": 9}}
    message = collect(events(START, first, DELTA, STOP))
    assert message["usage"] == {"input_tokens": 9, "output_tokens": 5}


def test_what_the_last_usage_does_not_know_keeps_the_value_of_the_first() -> None:
    """The official SDK takes a null as "not known": the value of message_start survives."""
    usage = {"input_tokens": None, "cache_read_input_tokens": None, "output_tokens": 5}
    head = {**HEAD, "usage": {**USAGE, "cache_read_input_tokens": 7}}
    message = collect(events({**START, "message": head}, {**DELTA, "usage": usage}, STOP))
    assert message["usage"] == {"input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 5}


def test_the_last_message_delta_says_why_it_stopped() -> None:
    early = {**DELTA, "delta": {"stop_reason": None, "stop_sequence": None}}
    end = {**DELTA, "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}}
    message = collect(events(START, early, end, STOP))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


def test_fields_beside_the_delta_belong_to_the_message() -> None:
    edits = {"applied_edits": []}
    message = collect(events(START, {**DELTA, "context_management": edits}, STOP))
    assert dict(message)["context_management"] == edits


@pytest.mark.parametrize("kind", GRAMMAR)
def test_a_delta_of_a_newer_api_leaves_the_message_as_it_is(kind: str) -> None:
    """As the official SDKs do; one that we know still has to stand in a block of its own."""
    fields: dict[str, Any] = {"id": "t", "name": "n", "input": {}, "text": "a", "thinking": "a"}
    block = opened(kind=kind, **fields)
    new = delta(kind="brand_new_delta", text="b", thinking="b", partial_json="{", citation={})
    without = collect(events(START, block, closed(), DELTA, STOP))
    assert collect(events(START, block, new, new, closed(), DELTA, STOP)) == without


@pytest.mark.parametrize(
    ("pieces", "value", "text"),
    [
        ([], {}, "{}"),
        ([""], {}, "{}"),
        (["{}"], {}, "{}"),
        (["", '{"a"', ": 1.0", "}"], {"a": 1.0}, '{"a": 1.0}'),
        (['{"a": "\\u00e9"}'], {"a": "é"}, '{"a": "\\u00e9"}'),
        (['{"a": "x'], {}, '{"a": "x'),
        (["[1]"], {}, "[1]"),
        (["null"], {}, "null"),
    ],
)
def test_arguments_are_kept_as_the_model_wrote_them(
    pieces: list[str], value: dict[str, Any], text: str
) -> None:
    deltas = [delta(kind="input_json_delta", partial_json=piece) for piece in pieces]
    block = opened(kind="tool_use", id="t", name="n")
    message = collect(events(START, block, *deltas, closed(), DELTA, STOP))
    assert message["content"][0]["input"] == value
    assert input_text(message["content"][0]["input"]) == text


def test_an_emoji_may_come_in_two_halves() -> None:
    """Two deltas, each with half of a surrogate pair as an escape: neither half is mended alone."""
    halves = [
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"%b"}}\n\n' % half
        for half in (rb"a\ud83d", rb"\ude00b")
    ]
    stream = [*events(START, opened()), *map(Event, halves), *events(closed(), DELTA, STOP)]
    assert collect(stream)["content"] == [{"type": "text", "text": "a😀b"}]


UNITS = ["a", "é", "日", "😀", "\ud83d", "\ude00", "\ud800", "\udfff"]


@given(st.lists(st.sampled_from(UNITS), max_size=6).map("".join), st.data())
@pytest.mark.parametrize(
    ("kind", "block", "name"),
    [
        ("text_delta", {"kind": "text"}, "text"),
        ("thinking_delta", {"kind": "thinking"}, "thinking"),
        ("input_json_delta", {"kind": "tool_use", "id": "t", "name": "n"}, "partial_json"),
    ],
)
def test_text_cut_anywhere_in_utf_16_arrives_whole(
    kind: str, block: dict[str, Any], name: str, text: str, data: st.DataObject
) -> None:
    """Only halves that have no other half become U+FFFD, each one of them."""
    units = text.encode("utf-16-le", "surrogatepass")
    places_ = data.draw(st.lists(st.integers(0, len(units) // 2), max_size=4).map(sorted))
    cuts = [0, *(2 * place for place in places_), len(units)]
    pieces = [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in itertools.pairwise(cuts)]
    frames = [
        Event(framed(delta(kind=kind, **{name: piece}), Form(escaped=True)).encode())
        for piece in pieces
    ]
    reader, grown = Reader(), []
    for event in [*events(START, opened(**block)), *frames, *events(closed(), DELTA, STOP)]:
        grown += [whole.value for whole in reader.feed(event)]
    found = "".join(v["delta"][name] for v in grown if v["type"] == "content_block_delta")
    joined = units.decode("utf-16-le", "surrogatepass")
    assert found == re.sub("[\ud800-\udfff]", "\ufffd", joined)
    json.dumps(grown, ensure_ascii=False).encode()


@pytest.mark.parametrize("field", ["text", "note"])
def test_halves_beside_the_text_of_a_delta_are_mended_too(field: str) -> None:
    odd = delta(**{"text": "a", field: "b\ud83d"})
    frame = framed(odd, Form(escaped=True)).encode()
    reader, grown = Reader(), []
    for event in [*events(START, opened()), Event(frame), *events(closed(), DELTA, STOP)]:
        grown += [whole.wire for whole in reader.feed(event)]
    assert b"".join(grown).decode()
    json.dumps(reader.finish(), ensure_ascii=False).encode()


def test_a_half_left_over_does_not_follow_the_signature() -> None:
    frame = framed(delta(kind="thinking_delta", thinking="a\ud83d"), Form(escaped=True)).encode()
    signed = delta(kind="signature_delta", signature="s")
    reader, grown = Reader(), []
    for event in [*events(START, opened(kind="thinking")), Event(frame), *events(signed, closed())]:
        grown += [whole.value for whole in reader.feed(event)]
    kinds = [value["delta"]["type"] for value in grown if "delta" in value]
    assert kinds[-1] == "signature_delta"
    assert reader.message["content"][0]["thinking"] == "a\ufffd"


def test_reading_changes_no_event() -> None:
    values = [START, opened(), delta(), closed(), DELTA, STOP]
    before = json.dumps(values)
    message = collect(events(*values))
    message["usage"]["output_tokens"] = 99
    message["content"].append({"type": "text"})
    assert json.dumps(values) == before


# --- collect and replay -------------------------------------------------------------------------


@given(MESSAGES)
def test_what_is_replayed_collects_to_the_same(message: Any) -> None:
    before = json.dumps(message)
    assert collect(replay(message)) == message
    assert json.dumps(message) == before


@given(streams())
def test_what_was_collected_replays_with_the_same_arguments(stream: Stream) -> None:
    again = collect(replay(collect(stream.events)))
    found = {i: input_text(b["input"]) for i, b in enumerate(again["content"]) if "input" in b}
    assert again == stream.message
    assert found == stream.arguments


def test_a_replayed_message_starts_empty() -> None:
    block = {"type": "text", "text": "a", "citations": [{"type": "char_location"}]}
    ended = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": None}}
    message: Any = {**HEAD, "content": [block], **ended}
    first, start, *_ = replay(message)
    assert first.value["message"]["content"] == []
    assert first.value["message"]["stop_reason"] is None
    assert first.value["message"].get("stop_details") is None
    assert start.value["content_block"] == {"type": "text", "text": "", "citations": None}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "a"},
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "text", "text": "", "citations": []},
        {"type": "tool_use", "id": "t", "name": "n", "input": {}},
        {"type": "tool_use", "id": "t", "name": "n", "input": Input({}, '{"a": ')},
        {"type": "compaction", "content": None},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "block_of_next_year", "text": "a", "input": {"a": 1}},
    ],
    ids=json.dumps,
)
def test_rare_blocks_replay(block: dict[str, Any]) -> None:
    """Thinking without a signature is what other providers' reasoning becomes."""
    message: Any = {**HEAD, "content": [block], "stop_reason": "end_turn"}
    found = collect(replay(message))["content"][0]
    assert {k: v for k, v in found.items() if v not in ("", None, [])} == {
        k: v for k, v in block.items() if v not in ("", None, [])
    }


# --- errors in the provider's words -------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "message", "kind"),
    [
        ("invalid_request_error", "no", "invalid_request"),
        ("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", "context_overflow"),
        (
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 1 + 2 > 3",
            "context_overflow",
        ),
        ("rate_limit_error", "slow", "rate_limit"),
        ("overloaded_error", "Overloaded", "overloaded"),
        ("api_error", "x", "internal"),
        ("timeout_error", "x", "timeout"),
        ("not_found_error", "model: x", "not_found"),
        ("request_too_large", "x", "too_large"),
        ("error_of_next_year", "x", "internal"),
    ],
)
def test_a_providers_error_finds_its_kind(type_: str, message: str, kind: str) -> None:
    found = provider_error({"type": "error", "error": {"type": type_, "message": message}})
    assert (found.kind, found.message, found.source) == (kind, message, "upstream")
    assert found.kind in KINDS
    assert (found.tokens is not None) == (kind == "context_overflow")


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", (210000, 200000)),
        ("x: prompt is too long: 9 tokens > 8 maximum (see the page)", (9, 8)),
        ("input length and `max_tokens` exceed context limit: 7 + 5 > 10, decrease it", (12, 10)),
        ("prompt is too long", None),
        ("prompt is too long: many tokens > 8 maximum", None),
    ],
)
def test_an_overflow_keeps_its_numbers(message: str, tokens: Any) -> None:
    value = {"error": {"type": "invalid_request_error", "message": message}}
    found = provider_error(value)
    assert found.tokens == tokens
    assert found.words("anthropic") == message
    for dialect in ("openai-chat", "openai-responses", "gemini"):
        words = found.words(dialect)
        assert words == message if tokens is None else all(str(n) in words for n in tokens)


@pytest.mark.parametrize(
    "value",
    [
        *(None, [], "x", {}, {"error": None}, {"error": "x"}),
        *({"error": {"type": 5, "message": []}}, {"error": {"type": {}}}),
    ],
)
def test_an_error_of_any_form_is_read(value: Any) -> None:
    found = provider_error(value)
    assert found.kind == "internal"
    assert found.message
