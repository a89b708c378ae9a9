"""The whole gateway over real sockets: native lane, bad input, faults of the provider, keys, pages."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.harness import (
    UPSTREAM_KEY,
    VERSION,
    World,
    error_message,
    failed_stream,
    message,
    whole_stream,
)

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
GEMINI = "/v1beta/models/claude-sonnet-4-5:generateContent"
GEMINI_STREAM = "/v1beta/models/claude-sonnet-4-5:streamGenerateContent?alt=sse"


def asked(dialect: str, text: str, *, stream: bool = False) -> tuple[str, dict[str, Any]]:
    """Path and body of a small request of a dialect."""
    if dialect == "anthropic":
        return "/v1/messages", message(text, stream=stream)
    if dialect == "openai-chat":
        body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": text}]}
        return CHAT, {**body, "stream": stream}
    if dialect == "openai-responses":
        return RESPONSES, {"model": "claude-sonnet-4-5", "input": text, "stream": stream}
    contents = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    return (GEMINI_STREAM if stream else GEMINI), contents


DIALECTS = ("anthropic", "openai-chat", "openai-responses", "gemini")
HEADERS = {name: VERSION if name == "anthropic" else {} for name in DIALECTS}


# --- native lane --------------------------------------------------------------------------------


def big_body() -> bytes:
    """About 1 MB with unknown members, odd order, odd white space and odd numbers."""
    text = ("\\u00e9\\ud83d\\ude00 lorem \\n" * 40_000).encode()
    return (
        b' {\n "zeta" : [1.0, 1e2,-0.0, 1E+5 , 123456789012345678901234567890],"stream":false,\t'
        b'"messages":[{"content":"' + text + b'","role":"user"}] ,"max_tokens":16,\r\n'
        b'"a":{"\\u0062":null,"b" : {}},"model":"claude-sonnet-4-5","ratio":1.10 } \n'
    )


def test_the_providers_bytes_are_the_clients_bytes(world: World) -> None:
    body = big_body()
    assert len(body) > 1_000_000
    reply = world.post("/anthropic/v1/messages?beta=true&x=%20y", body, **VERSION)
    got = world.received()[-1]
    assert got.body == body
    assert (got.path, got.query) == ("/v1/messages", "beta=true&x=%20y")
    assert (reply.status, reply.json()["error"]["message"]) == (
        400,
        "zeta: Extra inputs are not permitted",
    )


def test_headers_that_pass_and_headers_that_do_not(world: World) -> None:
    sent = {
        "anthropic_version": "2026-10-21",
        "anthropic_beta": "context-1m-2025-08-07, interleaved-thinking-2025-05-14",
        "x_claude_code_session_id": "s1",
        "x_stainless_lang": "js",
        "user_agent": "claude-cli/2",
        "x_api_key": "placeholder-canary",
        "authorization": "Bearer bearer-canary",
        "cookie": "c=cookie-canary",
        "x_forwarded_for": "10.1.2.3",
        "x_hop": "hop-canary",
        "connection": "x-hop",
        "accept_encoding": "gzip, br",
    }
    reply = world.post(
        "/v1/messages", message(), **{**sent, "authorization": "Bearer placeholder-canary"}
    )
    assert reply.status == 200, reply.body
    headers = dict(world.received()[-1].headers)
    for name in ("anthropic_version", "anthropic_beta", "x_claude_code_session_id", "user_agent"):
        assert headers[name.replace("_", "-")] == sent[name]
    assert headers["x-api-key"] == UPSTREAM_KEY
    assert headers["accept-encoding"] == "identity"
    assert headers["x-stainless-lang"] == "js"
    dump = json.dumps(headers)
    for canary in ("placeholder-canary", "cookie-canary", "10.1.2.3", "hop-canary"):
        assert canary not in dump


def test_the_answers_bytes_are_the_providers_bytes(world: World) -> None:
    events = [
        {"type": "message_start", "message": _head()},
        {"type": "ping"},
        {"type": "brand_new", "a": 1.0},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "é"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]
    direct = World.ask(
        world,
        "POST",
        "/v1/messages",
        _scripted(world, events),
        _port(world),
        **VERSION,
        x_api_key=UPSTREAM_KEY,
    )
    through = world.post("/v1/messages", _scripted(world, events), **VERSION)
    assert through.body == direct.body
    assert [name for name, _ in through.events()] == [event["type"] for event in events]
    assert through.headers["request-id"].startswith("req_")
    assert "anthropic-ratelimit-requests-remaining" in through.headers
    assert "anthropic-organization-id" not in through.headers


def _head() -> dict[str, Any]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _port(world: World) -> int:
    return int(world.simulator.url.rsplit(":", 1)[1])


def _scripted(world: World, events: list[dict[str, Any]]) -> bytes:
    world.script(events=events)
    return json.dumps(message(stream=True)).encode()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_delta_of_a_newer_api_ends_no_stream(world: World, dialect: str) -> None:
    text = {"type": "text", "text": ""}
    deltas = [
        {"type": "text_delta", "text": "before "},
        {"type": "brand_new_delta", "text": "unread"},
        {"type": "text_delta", "text": "after"},
    ]
    world.script(
        events=[
            {"type": "message_start", "message": {**_head(), "id": "msg_of_next_year"}},
            {"type": "content_block_start", "index": 0, "content_block": text},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 1},
            },
            {"type": "message_stop"},
        ]
    )
    path, body = asked(dialect, "hi", stream=True)
    reply = world.post(path, body, **HEADERS[dialect])
    assert "before after" in json.dumps(whole_stream(dialect, reply).message)
    assert (b"brand_new_delta" in reply.body) == (dialect == "anthropic")


def test_tool_choice_as_a_string_becomes_an_object_with_a_note(world: World) -> None:
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    for choice in ("auto", "none"):
        reply = world.post("/v1/messages", message(tools=tools, tool_choice=choice), **VERSION)
        assert reply.status == 200, reply.body
        assert json.loads(world.received()[-1].body)["tool_choice"] == {"type": choice}
        assert "tool_choice changed" in reply.headers["x-isthmus-notes"]


def test_count_tokens_and_probes_on_both_ports(world: World) -> None:
    body = {k: v for k, v in message().items() if k != "max_tokens"}
    for port, prefix in ((world.port, "/anthropic"), (world.port, ""), (world.anthropic_port, "")):
        reply = world.post(f"{prefix}/v1/messages/count_tokens?beta=true", body, port, **VERSION)
        assert reply.json()["input_tokens"] > 0
        for probe in ("/", "/api/hello"):
            assert world.ask("HEAD", probe, None, port).status == 200


def test_whose_model_list_is_asked(world: World) -> None:
    assert world.get("/v1/models").json()["object"] == "list"
    assert "has_more" in world.get("/v1/models?limit=1000", **VERSION).json()
    assert "models" in world.get("/v1/models", x_goog_api_key="k").json()
    assert "models" in world.get("/v1/models?key=k").json()
    assert "models" in world.get("/v1beta/models").json()
    assert "has_more" in world.get("/v1/models", world.anthropic_port).json()
    assert world.get("/v1/models/claude-sonnet-4-5").json()["object"] == "model"
    assert world.get("/v1/models/claude-sonnet-4-5", **VERSION).json()["type"] == "model"
    for path, headers in (
        ("/v1/models/nope", {}),
        ("/v1/models/nope", VERSION),
        ("/v1beta/models/nope", {}),
    ):
        assert world.get(path, **headers).status == 404


def test_pages_of_the_anthropic_model_list(world: World) -> None:
    everything = world.get("/v1/models?limit=1000", **VERSION).json()["data"]
    first = world.get("/v1/models?limit=3", **VERSION).json()
    assert (first["data"], first["has_more"]) == (everything[:3], True)
    second = world.get(f"/v1/models?limit=3&after_id={first['last_id']}", **VERSION).json()
    assert second["data"] == everything[3:6]
    back = world.get(f"/v1/models?limit=2&before_id={second['first_id']}", **VERSION).json()
    assert back["data"] == everything[1:3]
    for bad in ("limit=0", "limit=x", "limit=1001", "after_id=nope"):
        assert world.get(f"/v1/models?{bad}", **VERSION).status == 400


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1beta/models/x:embedContent", "/anthropic/v1/files", "/v1/nope"]
)
def test_what_is_not_served_says_what_is(world: World, path: str) -> None:
    reply = world.post(path, {})
    dialect = {"/v1b": "gemini", "/ant": "anthropic"}.get(path[:4], "openai-chat")
    assert reply.status == 404
    assert "served are POST /" in error_message(
        dialect, reply
    ) or "served are GET" in error_message(dialect, reply)
    assert world.get("/v1/chat/completions").status == 405


# --- bad input ----------------------------------------------------------------------------------

DEEP = b"[" * 100_000
BAD_BODIES: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("no JSON", b"{nope"),
    ("array", b"[]"),
    ("string", b'"x"'),
    ("null", b"null"),
    ("NaN", b'{"model":"m","max_tokens":NaN,"temperature":NaN}'),
    ("infinity", b'{"model":"m","temperature":-Infinity}'),
    ("UTF-16", '{"model":"m"}'.encode("utf-16")),
    ("not UTF-8", b'{"model":"\xff\xfe"}'),
    ("deep", b'{"messages":' + DEEP),
    ("deep and closed", b'{"messages":' + DEEP + b"]" * 100_000 + b"}"),
    ("5,000 digits", b'{"model":"m","max_tokens":' + b"9" * 5000 + b',"messages":[]}'),
    (
        "repeated",
        b'{"model":"a","model":"b","max_tokens":1,"messages":[],"contents":[],"contents":[]}',
    ),
    ("control character", b'{"model":"a\nb"}'),
    ("trailing", b'{"model":"a"} {}'),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("body", [row[1] for row in BAD_BODIES], ids=[row[0] for row in BAD_BODIES])
def test_bad_bodies(world: World, dialect: str, body: bytes) -> None:
    path, _ = asked(dialect, "")
    started = time.monotonic()
    reply = world.post(path, body, **HEADERS[dialect])
    assert time.monotonic() - started < 5
    assert 400 <= reply.status < 500, reply.body
    assert error_message(dialect, reply)


WRONG: dict[str, list[tuple[str, Any]]] = {
    "anthropic": [
        ("model", 1),
        ("model", None),
        ("max_tokens", "9"),
        ("max_tokens", None),
        ("stream", "yes"),
        ("stream", 1),
        ("tool_choice", "perhaps"),
    ],
    "openai-chat": [
        ("model", 1),
        ("messages", {}),
        ("messages", [1]),
        ("messages", []),
        ("stream", "yes"),
        ("temperature", "hot"),
        ("max_tokens", "9"),
        ("max_tokens", True),
        ("stop", 1),
        ("tools", {}),
        ("tools", [1]),
        ("tool_choice", 1),
        ("n", 2),
        ("messages", [{"role": "user", "content": 1}]),
        ("messages", [{"role": "user", "content": [1]}]),
        ("messages", [{"role": 1, "content": ""}]),
        ("messages", [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]),
    ],
    "openai-responses": [
        ("model", 1),
        ("input", {}),
        ("input", [1]),
        ("input", []),
        ("stream", "yes"),
        ("temperature", "hot"),
        ("max_output_tokens", True),
        ("instructions", []),
        ("tools", {}),
        ("tools", [1]),
        ("tool_choice", 1),
        ("reasoning", "high"),
        ("include", "x"),
        ("text", {"format": 1}),
        ("previous_response_id", "resp_1"),
        ("input", [{"role": "user", "content": 1}]),
        ("input", [{"role": "user", "content": [1]}]),
        ("input", [{"type": "function_call", "call_id": "c", "name": "f", "arguments": 1}]),
    ],
    "gemini": [
        ("contents", {}),
        ("contents", [1]),
        ("contents", []),
        ("contents", [{"parts": {}}]),
        ("contents", [{"parts": [1]}]),
        ("contents", [{"parts": [{"text": 1}]}]),
        ("generationConfig", []),
        ("generationConfig", {"temperature": "x"}),
        ("generationConfig", {"candidateCount": 2}),
        ("tools", "x"),
        ("tools", [{"functionDeclarations": {}}]),
        ("systemInstruction", 1),
    ],
}


@pytest.mark.parametrize(
    ("dialect", "field", "value"),
    [(d, f, v) for d, rows in WRONG.items() for f, v in rows],
)
def test_wrong_types_name_the_field(world: World, dialect: str, field: str, value: Any) -> None:
    path, body = asked(dialect, "hi")
    reply = world.post(path, {**body, field: value}, **HEADERS[dialect])
    assert reply.status == 400, reply.body
    assert field in error_message(dialect, reply)
    assert not world.received()


def test_what_is_missing_is_named(world: World) -> None:
    for field in ("model", "max_tokens", "messages"):
        body = {k: v for k, v in message().items() if k != field}
        reply = world.post("/v1/messages", body, **VERSION)
        assert (reply.status, reply.json()["error"]["message"]) == (400, f"{field}: Field required")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_unknown_model(world: World, dialect: str) -> None:
    path, body = asked(dialect, "hi")
    body = {**body, "model": "no-such-model"} if "model" in body else body
    reply = world.post(path.replace("claude-sonnet-4-5", "no-such-model"), body, **HEADERS[dialect])
    assert reply.status == 404
    assert "no-such-model" in error_message(dialect, reply)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_bodies_that_are_too_large(dialect: str) -> None:
    world = World(limits={"body_bytes": 1000})
    try:
        path, body = asked(dialect, "x" * 2000)
        reply = world.post(path, body, **HEADERS[dialect])
        assert reply.status == 413
        assert error_message(dialect, reply)
        packed = gzip.compress(b" " * 900)
        assert world.post(path, packed[:-9], content_encoding="gzip").status == 400
        assert world.post(path, packed + b"x", content_encoding="gzip").status == 400
        assert (
            world.post(path, gzip.compress(b" " * 200_000), content_encoding="gzip").status == 413
        )
        assert world.post(path, b"{}", content_encoding="lzma").status == 415
        assert world.post(path, b"{}", content_encoding="gzip, gzip").status == 415
    finally:
        world.close()


@pytest.mark.parametrize("dialect", ["openai-chat", "gemini"])
def test_lone_surrogates_are_repaired_with_a_note(world: World, dialect: str) -> None:
    path, body = asked(dialect, "SURROGATE")
    raw = json.dumps(body).replace("SURROGATE", "a\\ud800b").encode()
    reply = world.post(path, raw)
    assert reply.status == 200, reply.body
    sent = json.loads(world.received()[-1].body)
    assert sent["messages"][0]["content"][0]["text"] == "a\ufffdb"
    assert "U+FFFD" in reply.headers["x-isthmus-notes"]


def test_lone_surrogates_pass_on_the_native_lane(world: World) -> None:
    raw = json.dumps(message("SURROGATE")).replace("SURROGATE", "a\\ud800b").encode()
    world.post("/v1/messages", raw, **VERSION)
    assert world.received()[-1].body == raw


def test_notes_name_the_clients_own_fields(world: World) -> None:
    body = {
        "model": "claude-opus-5-5",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.3,
        "stop": [" ", "END"],
        "reasoning_effort": "high",
    }
    notes = world.post(CHAT, body).headers["x-isthmus-notes"]
    assert "temperature dropped" in notes
    assert "stop dropped" in notes
    settings = {"topK": 4, "maxOutputTokens": 10_000_000, "stopSequences": [" "]}
    body = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": settings}
    notes = world.post(GEMINI, body).headers["x-isthmus-notes"]
    assert "generationConfig.maxOutputTokens changed" in notes
    assert "generationConfig.stopSequences dropped" in notes


# --- faults of the provider ---------------------------------------------------------------------

EARLY = [
    (
        {"error": {"status": 529, "type": "overloaded_error", "message": "Overloaded"}},
        {"anthropic": 529, "*": 503},
    ),
    (
        {
            "error": {
                "status": 429,
                "type": "rate_limit_error",
                "message": "slow down",
                "retry_after": 7,
            }
        },
        {"*": 429},
    ),
    (
        {"error": {"status": 401, "type": "authentication_error", "message": "invalid x-api-key"}},
        {"*": 502},
    ),
    ({"error": {"status": 403, "type": "permission_error", "message": "no"}}, {"*": 502}),
    (
        {
            "error": {
                "status": 400,
                "type": "invalid_request_error",
                "message": "prompt is too long: 9 tokens > 8 maximum",
            }
        },
        {"*": 400},
    ),
    ({"error": {"status": 500, "type": "api_error", "message": "oops"}}, {"*": 500}),
    ({"error": {"status": 502, "raw_body": "<html>bad gateway</html>"}}, {"*": 502}),
    (
        {"error": {"status": 302, "raw_body": "", "headers": {"location": "http://evil.test/"}}},
        {"*": 502},
    ),
    ({"fault": {"kind": "reset", "after": 0}}, {"*": 502}),
    ({"fault": {"kind": "close", "after": 0}}, {"*": 502}),
    ({"fault": {"kind": "html", "after": 0}}, {"*": 502}),
    ({"fault": {"kind": "garbage", "after": 0}}, {"*": 502}),
    (
        {
            "fault": {
                "kind": "error_event",
                "after": 0,
                "error": {"type": "overloaded_error", "message": "Overloaded"},
            }
        },
        {"anthropic": 529, "*": 503},
    ),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("script", "statuses"), EARLY)
def test_faults_before_content(
    world: World, dialect: str, stream: bool, script: dict[str, Any], statuses: dict[str, int]
) -> None:
    if (
        dialect == "anthropic"
        and not stream
        and script.get("fault", {}).get("kind") == "error_event"
    ):
        pytest.skip("an event in an answer that is none")
    for _ in range(2):  # a reused connection that dies unanswered is replaced once
        world.script(**script)
    path, body = asked(dialect, "hi", stream=stream)
    reply = world.post(path, body, **HEADERS[dialect])
    assert reply.status == statuses.get(dialect, statuses["*"]), reply.body
    text = error_message(dialect, reply)
    assert "Traceback" not in text
    assert UPSTREAM_KEY not in reply.body.decode()
    if "retry_after" in script.get("error", {}):
        assert reply.headers["retry-after"] == "7"


LATE = [
    {"kind": "reset", "after": 4},
    {"kind": "close", "after": 4},
    {"kind": "truncate", "after": 4},
    {"kind": "garbage", "after": 4},
    {
        "kind": "error_event",
        "after": 4,
        "error": {"type": "overloaded_error", "message": "Overloaded"},
    },
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", LATE, ids=lambda fault: fault["kind"])
def test_faults_after_content(world: World, dialect: str, fault: dict[str, Any]) -> None:
    script = {
        "blocks": [{"type": "text", "text": "one two three four five"}],
        "delta_chars": 4,
        "fault": fault,
    }
    world.script(**script)
    path, body = asked(dialect, "hi", stream=True)
    reply = world.post(path, body, **HEADERS[dialect])
    assert reply.status == 200
    failed_stream(dialect, reply)
    world.script(**script)
    path, body = asked(dialect, "hi", stream=False)
    if dialect != "anthropic":
        reply = world.post(path, body)
        assert reply.status in (502, 503), reply.body
        assert error_message(dialect, reply)


@pytest.fixture(scope="module")
def hasty() -> Iterator[World]:
    world = World(timeouts={"first_event": 0.4, "idle": 0.6, "total": 1.5, "keepalive": 0.15})
    yield world
    world.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_provider_that_falls_silent(hasty: World, dialect: str) -> None:
    for stream in (True, False):
        hasty.script(fault={"kind": "stall", "after": 0, "seconds": 5})
        path, body = asked(dialect, "hi", stream=stream)
        reply = hasty.post(path, body, **HEADERS[dialect])
        assert reply.status == 504, reply.body
        assert error_message(dialect, reply)
    hasty.script(fault={"kind": "stall", "after": 3, "seconds": 5})
    path, body = asked(dialect, "hi", stream=True)
    reply = hasty.post(path, body, **HEADERS[dialect])
    assert reply.status == 200
    failed_stream(dialect, reply)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_silent_stream_is_kept_alive(hasty: World, dialect: str) -> None:
    hasty.script(blocks=[{"type": "text", "text": "abc"}], delay=0.4)
    path, body = asked(dialect, "hi", stream=True)
    reply = hasty.post(path, body, **HEADERS[dialect])
    assert reply.status == 200
    assert "abc" in json.dumps(whole_stream(dialect, reply).message)


@pytest.mark.parametrize("split", [1, 7])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_split_bytes_change_nothing(world: World, dialect: str, split: int) -> None:
    outcomes = []
    for script in ({}, {"chunk_bytes": split}):
        world.simulator.reset()
        world.script(blocks=[{"type": "text", "text": "Grüße 😀 漢字"}], **script)
        path, body = asked(dialect, "hi", stream=True)
        outcomes.append(whole_stream(dialect, world.post(path, body, **HEADERS[dialect])))
    assert _lasting(outcomes[0]) == _lasting(outcomes[1])
    assert "Grüße 😀 漢字" in json.dumps(outcomes[0].message, ensure_ascii=False)


def _lasting(outcome: Any) -> str:
    """The message without the moment at which it was made."""
    return json.dumps({k: v for k, v in outcome.message.items() if k != "created"})


# --- keys and pages -----------------------------------------------------------------------------

KEY = "client-key-canary-1234"


@pytest.fixture(scope="module")
def locked() -> Iterator[World]:
    world = World(auth={"keys": [KEY, "another-key-5678"]})
    yield world
    world.close()


PLACES = [
    {"authorization": f"Bearer {KEY}"},
    {"authorization": f"bearer {KEY}"},
    {"x_api_key": KEY},
    {"x_goog_api_key": KEY},
    {"api_key": KEY},
]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_key_counts_wherever_it_stands(locked: World, dialect: str) -> None:
    path, body = asked(dialect, "hi")
    for headers in PLACES:
        assert locked.post(path, body, **HEADERS[dialect], **headers).status == 200
    mark = "&" if "?" in path else "?"
    assert locked.post(f"{path}{mark}key={KEY}", body, **HEADERS[dialect]).status == 200
    got = locked.received()[-1]
    assert KEY not in json.dumps(got.headers) + got.query + got.body.decode()


BAD_KEYS = ["", "wrong", KEY[:-1], KEY + "x", "' OR 1=1--", "%", "x" * 10_000, "\xe9"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: key[:12])
def test_a_wrong_key_is_refused_and_never_echoed(locked: World, dialect: str, key: str) -> None:
    path, body = asked(dialect, "hi")
    for headers in (
        {},
        {"authorization": f"Bearer {key}"},
        {"x_api_key": key},
        {"x_goog_api_key": key},
    ):
        reply = locked.post(path, body, **HEADERS[dialect], **headers)
        assert reply.status == 401, reply.body
        error_message(dialect, reply)
        if len(key) > 4:
            assert key not in reply.body.decode()


def test_every_route_wants_a_key(locked: World) -> None:
    for port in (locked.port, locked.anthropic_port):
        for path in (
            "/v1/models",
            "/v1/models/x",
            "/v1beta/models",
            "/nope",
            "/anthropic/v1/models",
        ):
            assert locked.get(path, port).status == 401
    assert locked.get("/v1/models", x_api_key=KEY).status == 200
    two = locked.get("/v1/models", x_api_key=KEY, authorization="Bearer another-key-5678")
    assert two.status == 400


@pytest.mark.parametrize(
    "origin", ["http://evil.test", "null", "http://localhost.evil.test", "https://localhost", ""]
)
def test_pages_of_others_are_refused(world: World, origin: str) -> None:
    for method in ("POST", "OPTIONS", "GET"):
        reply = world.ask(
            method,
            "/v1/messages",
            b"{}",
            origin=origin,
            host="localhost",
            content_type="text/plain",
        )
        assert reply.status == 403
        assert "access-control-allow-origin" not in reply.headers
    assert not world.received()


def test_a_placeholder_key_is_ignored_on_an_open_loopback(world: World) -> None:
    assert (
        world.post("/v1/messages", message(), x_api_key="YOUR_PROXY_KEY", **VERSION).status == 200
    )


@pytest.mark.parametrize("name", ["claude-3-5-sonnet-20241022", "anthropic:claude-sonnet-5-5"])
def test_a_model_beyond_the_list_is_asked_for(world: World, name: str) -> None:
    for path, headers in ((f"/v1/models/{name}", VERSION), (f"/v1beta/models/{name}", {})):
        reply = world.get(path, **headers)
        assert reply.status == 200
        assert name in reply.body.decode()


# --- what a hostile reader found ----------------------------------------------------------------


@pytest.mark.parametrize("model", ["x\r\nset-cookie: e=1", "x" * 300_000, "é\u2028"])
def test_no_model_name_breaks_the_answer(world: World, model: str) -> None:
    reply = world.post("/v1/messages", message(model=model), **VERSION)
    assert reply.status in (400, 404)
    assert error_message("anthropic", reply)
    assert "set-cookie" not in reply.headers


def test_a_gateway_that_points_at_itself() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    backend = {"type": "anthropic", "api_key": "k", "base_url": f"http://127.0.0.1:{port}"}
    world = World(port=port, backends={"anthropic": backend})
    try:
        reply = world.post("/v1/messages", message(), **VERSION)
        assert reply.status == 508
        assert "leads back" in error_message("anthropic", reply)
    finally:
        world.close()


MALFORMED: list[dict[str, Any]] = [
    {"messages": "x"},
    {"messages": [1]},
    {"messages": [{"role": "user", "content": None}, {"role": "system", "content": "a"}]},
    {"messages": [{"role": [], "content": "x"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
    {"thinking": True},
    {"thinking": {"type": []}},
    {"tool_choice": [1]},
    {"output_config": "x"},
    {"context_management": {"edits": [1]}},
    {"tools": {}},
    {"stop_sequences": 1},
    {"max_tokens": 5, "system": 5},
    {"cache_control": 5},
]


@pytest.mark.parametrize("fields", MALFORMED, ids=json.dumps)
def test_malformed_members_where_the_gateway_edits(world: World, fields: dict[str, Any]) -> None:
    for model in ("claude-sonnet-4-5?temperature=0.5&effort=low", "claude-opus-5-5?max_tokens=9"):
        reply = world.post("/v1/messages", message(**{"model": model, **fields}), **VERSION)
        assert reply.status == 400, reply.body
        assert next(iter(fields)) in reply.body.decode() or "max_tokens" in fields
    thinking = fields.get("thinking")
    if thinking is not None:
        body = {**asked("openai-chat", "hi")[1], "thinking": thinking}
        reply = world.post(CHAT, body)
        assert reply.status == 400
        assert "thinking" in error_message("openai-chat", reply)


def test_a_system_turn_after_tool_results_does_not_hide_the_loop(world: World) -> None:
    function = {"name": "f", "arguments": "{}"}
    call = {"id": "c1", "type": "function", "function": function}
    body = {
        "model": "claude-sonnet-4-5",
        "reasoning_effort": "high",
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
            {"role": "system", "content": "note"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    reply = world.post(CHAT, body)
    assert reply.status == 200, reply.body
    assert "thinking dropped" in reply.headers["x-isthmus-notes"]


def test_an_assistant_message_at_the_end(world: World) -> None:
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Sure: "}]
    contents = [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [{"text": "Sure: "}]},
    ]
    old, new = "claude-sonnet-4-5", "claude-sonnet-5-5"
    body = {"messages": turns, "reasoning_effort": "high"}
    assert world.post(CHAT, {"model": old, **body}).status == 200
    assert world.post(GEMINI, {"contents": contents}).status == 200
    assert json.loads(world.received()[-1].body)["messages"][-1]["content"][0]["text"] == "Sure:"
    for path, asked_, dialect in (
        (CHAT, {"model": new, **body}, "openai-chat"),
        (GEMINI.replace(old, new), {"contents": contents}, "gemini"),
    ):
        reply = world.post(path, asked_)
        assert reply.status == 400
        assert "continues no assistant message" in error_message(dialect, reply)


def test_numbers_out_of_range_are_named_by_the_clients_path(world: World) -> None:
    for name, value in (("topP", 1.5), ("temperature", -1), ("temperature", 2.5), ("topK", -1)):
        body = {**asked("gemini", "hi")[1], "generationConfig": {name: value}}
        reply = world.post(GEMINI, body)
        assert reply.status == 400
        assert f"generationConfig.{name}" in error_message("gemini", reply)


def upstream_says(*answers: bytes, hold: float = 0.0) -> tuple[str, socket.socket]:
    """A provider on a raw socket: each connection reads once and gets the next answer."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            with contextlib.suppress(OSError):
                peer, _ = listener.accept()
                peer.recv(65536)
                peer.sendall(answer)
                time.sleep(hold)
                peer.close()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", listener


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"type":"error","error":{"type":"overloaded_error","message":"full"}}', 529),
        (200, b'{"type": nonsense', 502),
        (200, b"[]", 502),
        (999, b"{}", 502),
        (503, b"<p>" + UPSTREAM_KEY.encode() + b"</p>", 503),
    ],
)
def test_whole_answers_that_are_none(status: int, body: bytes, expected: int) -> None:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n"
    answer = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    url, listener = upstream_says(answer, answer)  # the first connection asks for the models
    backend = {"type": "anthropic", "api_key": UPSTREAM_KEY, "base_url": url}
    world = World(backends={"anthropic": backend})
    try:
        reply = world.post("/v1/messages", message(), **VERSION)
        assert reply.status == expected, reply.body
        assert error_message("anthropic", reply)
        assert UPSTREAM_KEY not in reply.body.decode()
    finally:
        world.close()
        listener.close()


def test_a_gateway_that_shuts_down_says_so_in_the_stream() -> None:
    for dialect in DIALECTS:
        world = World()
        world.script(fault={"kind": "stall", "after": 3, "seconds": 15})
        path, body = asked(dialect, "hi", stream=True)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(world.post, path, body, **HEADERS[dialect])
            deadline = time.monotonic() + 5
            while not world.received() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2)
            world.close()
            failed_stream(dialect, answer.result(10))
