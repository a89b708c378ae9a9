"""What a client sees of a stream while it runs: in time, whole, and with a plain end where it breaks."""

from __future__ import annotations

import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.errors import GatewayError
from isthmus.event import Event
from isthmus.messages import Reader
from tests.harness import (
    World,
    error_message,
    failed_stream,
    whole_stream,
)
from tests.strategies import Form, on_the_wire
from tests.test_laws import CLIENTS, TRANSLATED, around, shown, streamed
from tests.test_server import DIALECTS, HEADERS, asked, upstream_says

TEXT = {"type": "text", "text": "one two three four five six"}
WORDS: dict[str, Any] = {"blocks": [TEXT], "delta_chars": 4}


def request_bytes(dialect: str, *, stream: bool = True) -> bytes:
    path, body = asked(dialect, "hi", stream=stream)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n"
    return head.encode() + b"anthropic-version: 2023-06-01\r\n\r\n" + data


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_word_arrives_while_the_provider_goes_on(world: World, dialect: str) -> None:
    """Nothing waits for the end, nor for more to come."""
    world.script(**WORDS, fault={"kind": "stall", "after": 4, "seconds": 10})
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", world.port), 5) as peer:
        peer.sendall(request_bytes(dialect))
        until(peer, b"one")
        assert time.monotonic() - started < 5


def test_no_event_is_held_back() -> None:
    """100 events, each sent when the one before has arrived: a pause of milliseconds would be seen."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    world = World(backends={"anthropic": {"type": "anthropic", "api_key": "k", "base_url": url}})
    try:
        with socket.create_connection(("127.0.0.1", world.port), 5) as client:
            client.sendall(request_bytes("anthropic"))
            provider = asked_for_messages(listener)
            with provider:
                head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
                provider.sendall(head + on_the_wire(around(TEXT)[:2], Form()))
                until(client, b"content_block_start")
                started = time.monotonic()
                for n in range(100):
                    provider.sendall(b'event: ping\ndata: {"type":"ping","n":%d}\n\n' % n)
                    until(client, b'"n":%d}' % n)
                assert time.monotonic() - started < 2
    finally:
        world.close()
        listener.close()


def asked_for_messages(listener: socket.socket) -> socket.socket:
    """The connection on which the gateway asks for an answer; others, for models, are closed."""
    while True:
        peer, _ = listener.accept()
        if b"POST /v1/messages" in peer.recv(65536):
            return peer
        peer.close()


def until(peer: socket.socket, mark: bytes) -> None:
    """Read until a mark has come."""
    got = b""
    while mark not in got:
        part = peer.recv(65536)
        assert part, got
        got += part


@pytest.fixture(scope="module")
def patient() -> Iterator[World]:
    """A gateway with short patience: for the first event, between two, and for whole answers."""
    times = {"first_event": 0.5, "idle": 0.5, "total": 0.5, "keepalive": 0.06}
    world = World(timeouts=times)
    yield world
    world.close()


ALIVE = {
    "anthropic": b'event: ping\ndata: {"type": "ping"}\n\n',
    "openai-chat": b": keep-alive\n\n",
    "openai-responses": b": keep-alive\n\n",
    "gemini": b"\n\n",
}
"""What fills a silence. Google's SDKs take a comment for the text of an error, an empty line for nothing."""
RELAYED = {
    "anthropic": b"event: ping\n",
    "openai-chat": b": ping\n\n",
    "openai-responses": b": ping\n\n",
    "gemini": b"\n\n",
}
"""What a ping of the provider becomes."""


def heard(dialect: str, body: bytes, mark: bytes) -> int:
    """How often a mark stands in a stream beside its frames of data."""
    return (re.sub(rb"data: .*\n\n", b"", body) if dialect == "gemini" else body).count(mark)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_silence_is_filled(patient: World, dialect: str) -> None:
    patient.script(blocks=[TEXT], delta_chars=99, delay=0.25)
    path, body = asked(dialect, "hi", stream=True)
    reply = patient.post(path, body, **HEADERS[dialect])
    whole_stream(dialect, reply)
    assert heard(dialect, reply.body, ALIVE[dialect]) >= 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_pings_reach_the_client_and_hold_the_stream_open(patient: World, dialect: str) -> None:
    """However long the model thinks: only silence ends a stream, and a ping is none."""
    patient.script(blocks=[TEXT], delta_chars=9, ping_every=1, delay=0.12)
    path, body = asked(dialect, "hi", stream=True)
    started = time.monotonic()
    reply = patient.post(path, body, **HEADERS[dialect])
    assert time.monotonic() - started > 0.9, "it should outlast every patience of the fixture"
    whole_stream(dialect, reply)
    assert heard(dialect, reply.body, RELAYED[dialect]) >= 5


FAULTS: list[dict[str, Any]] = [
    {"kind": "reset", "after": 4},
    {"kind": "close", "after": 4},
    {"kind": "truncate", "after": 4},
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["kind"])
def test_a_client_does_not_wait_for_a_provider_that_is_gone(
    world: World, dialect: str, fault: dict[str, Any]
) -> None:
    """What came is delivered, then the error, then the end: within a second."""
    world.script(**WORDS, fault=fault)
    path, body = asked(dialect, "hi", stream=True)
    started = time.monotonic()
    reply = world.post(path, body, **HEADERS[dialect])
    assert time.monotonic() - started < 1
    assert b"one" in reply.body
    failed_stream(dialect, reply)
    assert b"[DONE]" not in reply.body
    assert b"response.completed" not in reply.body
    assert b"message_stop" not in reply.body
    assert b"finishReason" not in reply.body
    assert b'"finish_reason":"' not in reply.body


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [True, False])
def test_a_packed_answer_is_no_answer(dialect: str, stream: bool) -> None:
    """We ask for none. To relay its bytes, or to read them as events, would be worse than an error."""
    body = gzip.compress(b'event: message_start\ndata: {"type":"message_start"}\n\n')
    kind = "text/event-stream" if stream else "application/json"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\nconnection: close"
    answer = f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    url, listener = upstream_says(answer, answer)
    world = World(backends={"anthropic": {"type": "anthropic", "api_key": "k", "base_url": url}})
    try:
        path, asks = asked(dialect, "hi", stream=stream)
        reply = world.post(path, asks, **HEADERS[dialect])
        assert reply.status == 502
        assert "compressed" in error_message(dialect, reply)
    finally:
        world.close()
        listener.close()


# --- calls --------------------------------------------------------------------------------------

CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
EMPTY = {"type": "input_json_delta", "partial_json": ""}
EACH = pytest.mark.parametrize("client", TRANSLATED.values(), ids=TRANSLATED)


@EACH
@pytest.mark.parametrize("deltas", [[], [EMPTY], [EMPTY, EMPTY]], ids=["none", "empty", "two"])
def test_a_call_without_arguments_has_an_empty_object(client: Any, deltas: list[Any]) -> None:
    """A client that parses the text of the arguments finds an object and not nothing."""
    events = [Event(value=value) for value in around(CALL, deltas)]
    outcome = client.stream(streamed(client, events))
    [(_, name, arguments)] = shown(client, outcome.message)["calls"]
    assert (name, arguments) == ("get_weather", {})
    if client.dialect != "gemini":
        assert list(outcome.arguments) == ["{}"]


def test_an_empty_piece_of_arguments_is_relayed() -> None:
    """On the native lane it is an event like any other, and not the end of the call."""
    client = CLIENTS["anthropic"]
    pieces = [EMPTY, {"type": "input_json_delta", "partial_json": '{"a":1}'}, EMPTY]
    data = streamed(client, [Event(value=value) for value in around(CALL, pieces)])
    assert data.count(b'"partial_json":""') == 2
    assert list(client.stream(data).arguments) == ['{"a":1}']


def two_calls(cut: int) -> list[Event]:
    """A whole call, and another that ends in the middle of its arguments after ``cut`` of its events."""
    values = around(CALL, [{"type": "input_json_delta", "partial_json": '{"city":"Bern"}'}])[:-2]
    other = [
        {"type": "content_block_start", "index": 1, "content_block": {**CALL, "id": "toolu_2"}},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"city":"Zü'},
        },
    ]
    return [Event(value=value) for value in [*values, *other[:cut]]]


@EACH
@pytest.mark.parametrize("cut", [0, 1, 2], ids=["before it", "its name alone", "in its arguments"])
def test_no_call_looks_complete_beside_one_that_broke_off(client: Any, cut: int) -> None:
    """The provider is gone in the middle of the second call: the turn fails, whatever came of it."""
    encoder, reader = client.frontend.encoder(client.request), Reader()
    wholes = [whole for event in two_calls(cut) for whole in reader.feed(event)]
    body = b"".join(map(encoder.feed, wholes))
    body += encoder.fail(GatewayError("upstream_disconnected", "gone", source="upstream"))
    outcome = client.stream(body)
    assert outcome.error["message"] == "gone"
    for end in (b'"finish_reason":"', b"[DONE]", b"finishReason", b"response.completed"):
        assert end not in body
    if client.dialect == "openai-responses":
        # That a call was whole is known by what comes after it: a limit may have ended it.
        items = outcome.message["output"]
        known = ["completed", "incomplete"] if cut else ["incomplete"]
        assert [item["status"] for item in items] == known
        assert body.count(b'"type":"response.function_call_arguments.done"') == len(known) - 1
    if client.dialect == "gemini":
        assert body.count(b"functionCall") == 1


@EACH
def test_of_a_call_that_a_limit_cut_nothing_complete_is_told(client: Any) -> None:
    """The answer ends as one that is too long does, and the text of the arguments stays as it is."""
    values = around(CALL, [{"type": "input_json_delta", "partial_json": '{"a":'}])
    values[-2] = {**values[-2], "delta": {"stop_reason": "max_tokens"}}
    body = streamed(client, [Event(value=value) for value in values])
    outcome = client.stream(body)
    if client.dialect == "gemini":
        assert outcome.message["candidates"][0]["finishReason"] == "MAX_TOKENS"
        assert b"functionCall" not in body
    elif client.dialect == "openai-responses":
        assert outcome.message["status"] == "incomplete"
        assert outcome.message["output"][0]["status"] == "incomplete"
    else:
        assert outcome.message["choices"][0]["finish_reason"] == "length"
        assert list(outcome.arguments) == ['{"a":']
