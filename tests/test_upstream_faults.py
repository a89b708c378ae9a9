"""A provider that fails, said byte for byte, as the clients of each dialect see it over real sockets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.harness import failed_stream, whole_stream
from tests.peers import rst, stall
from tests.staged import ENDS, FIRST, IDLE, KEY, Stage, broken_off, eventually, refused
from tests.streams_raw import END, START, STREAM, Provider, chunk, delta
from tests.test_server import DIALECTS
from tests.test_streaming import ALIVE, heard

LAST = chunk("content_block_stop", index=0)
EACH = pytest.mark.parametrize("dialect", DIALECTS)
BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@pytest.fixture(scope="module")
def theatre() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def hurried_theatre() -> Iterator[Stage]:
    stage = Stage(hurried=True)
    yield stage
    stage.close()


@pytest.fixture
def stage(theatre: Stage) -> Iterator[Stage]:
    theatre.begin()
    yield theatre
    assert theatre.settled()


@pytest.fixture
def hurried(hurried_theatre: Stage) -> Iterator[Stage]:
    """A stage whose gateway does not wait for long."""
    hurried_theatre.begin()
    yield hurried_theatre
    assert hurried_theatre.settled()


# --- connections that end, or do not ------------------------------------------------------------


@EACH
@pytest.mark.parametrize("events", [1, 50])
def test_t001_a_reset_in_the_stream(stage: Stage, dialect: str, events: int) -> None:
    words = [delta(f"w{n} ") for n in range(100)]
    stage.plays(STREAM + START, *words[:events], 0.1, rst)
    started = time.monotonic()
    reply = stage.ask(dialect)
    assert time.monotonic() - started < 1.1
    broken_off(dialect, reply)
    assert b"w%d " % (events - 1) in reply.body
    assert len(stage.fake.requests) == 1


BEFORE = {
    "before the head": (rst,),
    "in the head": (b"HTTP/1.1 200 O", 0.02, rst),
    "before any event": (STREAM, 0.02, rst),
    "in the first event": (STREAM + START[:20], 0.02, rst),
}


@EACH
@BOTH
@pytest.mark.parametrize("case", BEFORE)
def test_t002_a_reset_before_the_stream(
    stage: Stage, dialect: str, stream: bool, case: str
) -> None:
    stage.plays(*BEFORE[case])
    reply = stage.ask(dialect, stream=stream)
    refused(dialect, reply, 502)
    assert len(stage.fake.logs) == 1, "nothing was answered yet, but this connection was new"
    stage.plays(STREAM + START, delta("fine"), END)
    whole_stream(dialect, stage.ask(dialect))
    assert len(stage.fake.logs) == 2


SOME = START + delta("some")
TRUNCATED = {
    "chunks that end": (STREAM + SOME + b"0\r\n\r\n",),
    "no last chunk": (STREAM + SOME,),
    "no end of the answer": (STREAM + SOME + LAST + b"0\r\n\r\n",),
    "a cut event": (STREAM + SOME + LAST[:-20],),
}


@EACH
@pytest.mark.parametrize("case", TRUNCATED)
def test_t003_an_end_without_the_last_event(stage: Stage, dialect: str, case: str) -> None:
    stage.plays(*TRUNCATED[case])
    reply = stage.ask(dialect)
    broken_off(dialect, reply)
    assert b"some" in reply.body
    if dialect != "anthropic":
        refused(dialect, stage.ask(dialect, stream=False), 502)


@EACH
@BOTH
@pytest.mark.parametrize("length", [b"", b"content-length: 2000\r\n"])
def test_t003_an_answer_shorter_than_its_length(
    stage: Stage, dialect: str, stream: bool, length: bytes
) -> None:
    """Without a length the end of the connection ends the answer; what came is no whole one."""
    streams = stream or dialect != "anthropic"
    kind = b"text/event-stream" if streams else b"application/json"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\n" + length + b"\r\n"
    part = b'event: message_start\ndata: {"type":' if streams else b'{"type":"message","content":['
    stage.plays(head + part)
    refused(dialect, stage.ask(dialect, stream=stream), 502)


@EACH
@BOTH
def test_t004_nothing_comes(hurried: Stage, dialect: str, stream: bool) -> None:
    hurried.plays(stall)
    started = time.monotonic()
    refused(dialect, hurried.ask(dialect, stream=stream), 504)
    assert FIRST * 0.9 < time.monotonic() - started < FIRST + 0.5
    assert eventually(lambda: hurried.provider.open() == 0)


@EACH
def test_t005_a_stall_in_the_stream(hurried: Stage, dialect: str) -> None:
    hurried.plays(STREAM + START, *[delta("word ")] * 10, stall)
    started = time.monotonic()
    reply = hurried.ask(dialect)
    assert IDLE * 0.9 < time.monotonic() - started < IDLE + 0.6
    broken_off(dialect, reply)
    assert heard(dialect, reply.body, ALIVE[dialect]) >= 3
    assert eventually(lambda: hurried.provider.open() == 0)


# --- what is no answer --------------------------------------------------------------------------

NOISE = bytes(range(256)) * 2
PAGE = f"<html><script>alert('{KEY}')</script>\x1b[31m\r\n\r\n".encode() + b"<p>" * 500
GARBAGE = {
    "noise": NOISE,
    "a page": PAGE,
    "data that is no JSON": f"event: ping\ndata: not json {KEY}\n\n".encode(),
    "data that is no object": b'event: ping\ndata: ["ping"]\n\n',
    "half a character": b'event: ping\ndata: {"type":"ping","x":"\xf0\x9f\x98"}\n\n',
    "no event": b"\0" * 600 + b"\n\n",
}
BARE = STREAM.replace(b"transfer-encoding: chunked\r\n", b"")
CUT = b'event: content_block_delta\ndata: {"type":"content_block_delta","ind\n\n'
HTML = STREAM.replace(b"text/event-stream", b"text/html")


def in_a_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@EACH
@pytest.mark.parametrize("case", GARBAGE)
def test_t007_garbage_in_place_of_a_stream(stage: Stage, dialect: str, case: str) -> None:
    garbage = in_a_chunk(GARBAGE[case]) + b"0\r\n\r\n"
    for head in (STREAM, HTML):
        stage.plays(head + garbage)
        text = refused(dialect, stage.ask(dialect), 502)
        assert text.isascii()
        assert text.isprintable()
        assert text.count("<p>") * 3 <= 200
    if dialect != "anthropic":
        refused(dialect, stage.ask(dialect, stream=False), 502)


@EACH
@pytest.mark.parametrize("case", GARBAGE)
def test_t007_garbage_in_a_stream(stage: Stage, dialect: str, case: str) -> None:
    stage.plays(STREAM + START, delta("fine"), 0.02, in_a_chunk(GARBAGE[case]) + b"0\r\n\r\n")
    reply = stage.ask(dialect)
    text = broken_off(dialect, reply)
    assert text.isascii()
    assert text.isprintable()
    assert b"fine" in reply.body
    assert not [raw for raw in (b"\x00", b"\x1b", b"<p>" * 70) if raw in reply.body]


@EACH
def test_t007_an_event_that_is_cut(stage: Stage, dialect: str) -> None:
    """For who speaks the provider's dialect it is relayed: within events its words are not read."""
    stage.plays(STREAM + START, delta("fine"), in_a_chunk(CUT) + b"0\r\n\r\n")
    reply = stage.ask(dialect)
    if dialect == "anthropic":
        assert reply.body.endswith(b"}}\n\n")
        assert reply.body.count(CUT) == reply.body.count(b"event: error\n") == 1
    else:
        broken_off(dialect, reply)


KEY_AT_THE_EDGE = b"x" * (200 - len(KEY) + 3) + KEY.encode()


@EACH
def test_t007_a_quotation_that_ends_in_our_key(stage: Stage, dialect: str) -> None:
    for head, after in ((HTML, b""), (STREAM, b"\n\n")):
        stage.plays(head + in_a_chunk(KEY_AT_THE_EDGE + after) + b"0\r\n\r\n")
        text = refused(dialect, stage.ask(dialect), 502)
        assert text.endswith("x[key]'")


@EACH
@BOTH
@pytest.mark.parametrize("data", [b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", NOISE, PAGE])
def test_t007_bytes_that_are_no_http(stage: Stage, dialect: str, stream: bool, data: bytes) -> None:
    stage.plays(data)
    refused(dialect, stage.ask(dialect, stream=stream), 502)


DISGUISED = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "authentication_error": 502,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "of_tomorrow": 500,
}


def told(status: int, dialect: str) -> int:
    """What becomes of a status that only Anthropic's clients know."""
    return 503 if status == 529 and dialect != "anthropic" else status


@EACH
@BOTH
@pytest.mark.parametrize("kind", DISGUISED)
def test_t008_an_error_with_status_200(stage: Stage, dialect: str, stream: bool, kind: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": f"no, {KEY}"}}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    stage.plays(head % len(body) + body)
    text = refused(dialect, stage.ask(dialect, stream=stream), told(DISGUISED[kind], dialect))
    assert text == "no, [key]"


STREAMED = {
    "overloaded_error": (
        529,
        ("overloaded_error", "overloaded_error", "server_is_overloaded", "UNAVAILABLE"),
    ),
    "rate_limit_error": (
        429,
        ("rate_limit_error", "rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED"),
    ),
    "api_error": (500, ("api_error", "server_error", "server_error", "INTERNAL")),
}
"""Errors as events: their status, and their name in each of DIALECTS."""


@EACH
@pytest.mark.parametrize("kind", STREAMED)
def test_t021_an_error_in_the_stream(stage: Stage, dialect: str, kind: str) -> None:
    error = chunk("error", error={"type": kind, "message": f"enough of {KEY}"})
    stage.plays(STREAM + START, delta("some"), 0.02, error + b"0\r\n\r\n")
    outcome = failed_stream(dialect, reply := stage.ask(dialect))
    assert not [end for end in ENDS if end in reply.body]
    status, names = STREAMED[kind]
    assert names[DIALECTS.index(dialect)] in json.dumps(outcome.error)
    stage.plays(STREAM, error + b"0\r\n\r\n")
    refused(dialect, stage.ask(dialect), told(status, dialect))


# --- text that is cut ---------------------------------------------------------------------------

CUTTABLE = "Grüße 😀漢字\r\n"


def spoken(*texts: str, line_end: bytes = b"\n") -> bytes:
    """A whole stream without chunks, in raw UTF-8, with these texts as its pieces."""
    values = re.findall(rb"data: (.*)\n", START + b"".join(map(delta, texts)) + END)
    named = [(value["type"], value) for value in map(json.loads, values)]
    lines = [
        f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n" for name, value in named
    ]
    return "".join(lines).encode().replace(b"\n", line_end)


def lasting(body: bytes) -> bytes:
    """A stream without the moments at which it was made, nor its last line end.

    A CR ends an answer that has CRLF: the LF behind it, if it comes with a later read, is nobody's.
    """
    return re.sub(rb'"(created|created_at|completed_at)":\d+', b"", body).rstrip()


@EACH
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_t009_a_stream_cut_anywhere(stage: Stage, dialect: str, line_end: bytes) -> None:
    """In two, in every seventh place beginning at another one for each dialect; and byte for byte."""
    body = spoken("Hi ", CUTTABLE, line_end=line_end)
    stage.plays(BARE + body)
    whole = lasting(stage.ask(dialect).body)
    assert "\ufffd" not in whole.decode()
    for at in range(DIALECTS.index(dialect), len(body), 7):
        stage.plays(BARE + body[:at], 0.001, body[at:])
        assert lasting(stage.ask(dialect).body) == whole, at
    bytewise = [in_a_chunk(body[at : at + 1]) for at in range(len(body))]
    stage.plays(STREAM, *[part for one in bytewise for part in (one, 0.0)], b"0\r\n\r\n")
    assert lasting(stage.ask(dialect).body) == whole


HALVES = {
    "a pair over two events": (["one \\ud83d", "\\ude00 two"], "one 😀 two"),
    "a half alone": (["one \\ud83d", " two"], "one \ufffd two"),
    "a half at the end": (["one ", "two \\ude00"], "one two \ufffd"),
    "two halves the wrong way": (["\\ude00", "\\ud83d"], "\ufffd\ufffd"),
}


@EACH
@BOTH
@pytest.mark.parametrize("case", HALVES)
def test_t023_halves_of_a_character(stage: Stage, dialect: str, stream: bool, case: str) -> None:
    """As JSON escapes them. Claude clients get the bytes as they came, and join them themselves."""
    texts, joined = HALVES[case]
    if not stream and dialect == "anthropic":
        pytest.skip("the provider's own answer, byte for byte")
    data = spoken(*(text.replace("\\u", "~u") for text in texts)).replace(b"~u", b"\\u")
    stage.plays(BARE + data)
    reply = stage.ask(dialect, stream=stream)
    assert reply.status == 200
    if dialect == "anthropic":
        assert reply.body == data
    elif stream:
        assert joined in json.dumps(whole_stream(dialect, reply).message, ensure_ascii=False)
    else:
        assert joined in json.dumps(reply.json(), ensure_ascii=False)


# --- other answers, other places ----------------------------------------------------------------

EVIL = b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 14\r\n\r\ndata: "EVIL"\n\n'


@EACH
@pytest.mark.parametrize("wait", [(), (0.1,)], ids=["in the same packet", "later"])
def test_t019_an_answer_that_nobody_asked_for(
    stage: Stage, dialect: str, wait: tuple[float, ...]
) -> None:
    good = STREAM + START + delta("good") + END
    stage.plays(*((good, *wait, EVIL) if wait else (good + EVIL,)), stall)
    for n in range(3):
        reply = stage.ask(dialect)
        assert b"EVIL" not in reply.body
        assert b"good" in reply.body
        whole_stream(dialect, reply)
        time.sleep(0.15)
        assert len(stage.fake.logs) == n + 1


@EACH
@BOTH
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_t020_redirects(stage: Stage, dialect: str, stream: bool, status: int) -> None:
    elsewhere = Provider(())
    try:
        for place in (f"{elsewhere.url}/v1/x", "file:///etc/passwd", "http://169.254.169.254/"):
            head = f"HTTP/1.1 {status} Away\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n"
            stage.plays(head.encode())
            reply = stage.ask(dialect, stream=stream)
            text = refused(dialect, reply, 502)
            assert str(status) in text
            assert "location" not in reply.headers
            assert place not in text
        assert len(stage.fake.requests) == 3
        assert not elsewhere.fake.logs
    finally:
        elsewhere.close()
