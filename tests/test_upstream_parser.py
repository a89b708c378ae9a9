"""What is taken for an HTTP response, what is refused, and how much of it is ever held. No sockets."""

from __future__ import annotations

import pytest

from isthmus.errors import GatewayError
from isthmus.upstream.parser import HEAD_LIMIT, ResponseParser

START = b"HTTP/1.1 200 OK\r\n"
SIZED = START + b"content-length: 2\r\n\r\n"
CHUNKED = START + b"transfer-encoding: chunked\r\n\r\n"


def with_field(field: bytes, body: bytes = b"ok") -> bytes:
    return START + field + b"\r\n\r\n" + body


def chunks(rest: bytes) -> bytes:
    return CHUNKED + rest


def fed(data: bytes, step: int) -> tuple[ResponseParser, bytes]:
    parser = ResponseParser()
    body = b""
    for at in range(0, len(data), step):
        if parser.complete:
            break
        parser.feed(data[at : at + step])
        body += parser.take()
    return parser, body


ACCEPTED = {
    "a length": (SIZED + b"ok", 200, b"ok", True),
    "chunks": (chunks(b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"), 200, b"ok", True),
    "chunk extension": (chunks(b"2;a=b\r\nok\r\n0\r\n\r\n"), 200, b"ok", True),
    "trailer": (chunks(b"2\r\nok\r\n0\r\na: b\r\n\r\n"), 200, b"ok", True),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", True),
    "foreign reason": ("HTTP/1.1 200 Ö\r\ncontent-length: 2\r\n\r\nok".encode(), 200, b"ok", True),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b"", True),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED + b"ok", 200, b"ok", True),
    "hints": (b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + SIZED + b"ok", 200, b"ok", True),
    "old": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", False),
    "close": (with_field(b"connection: close\r\ncontent-length: 2"), 200, b"ok", False),
}


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(case: str, step: int) -> None:
    data, status, body, reusable = ACCEPTED[case]
    parser, got = fed(data, step)
    assert (parser.status, got, parser.complete, parser.reusable) == (status, body, True, reusable)
    assert parser.headers == [] or parser.headers[0][0].islower()


REFUSED = {
    "length and chunks": with_field(
        b"content-length: 2\r\ntransfer-encoding: chunked", b"2\r\nok\r\n0\r\n\r\n"
    ),
    "chunks and length": with_field(
        b"transfer-encoding: chunked\r\ncontent-length: 2", b"2\r\nok\r\n0\r\n\r\n"
    ),
    "two lengths": with_field(b"content-length: 2\r\ncontent-length: 3"),
    "one length twice": with_field(b"content-length: 2\r\ncontent-length: 2"),
    "list of lengths": with_field(b"content-length: 2, 2"),
    "plus": with_field(b"content-length: +2"),
    "minus": with_field(b"content-length: -2"),
    "hexadecimal": with_field(b"content-length: 0x2"),
    "no length": with_field(b"content-length: "),
    "endless length": with_field(b"content-length: 99999999999999999999"),
    "compressed chunks": with_field(b"transfer-encoding: gzip, chunked", b"2\r\nok\r\n0\r\n\r\n"),
    "chunks and more": with_field(b"transfer-encoding: chunked, identity"),
    "unknown coding": with_field(b"transfer-encoding: xchunked"),
    "chunked twice": with_field(
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked", b"0\r\n\r\n"
    ),
    "no coding": with_field(b"transfer-encoding: ", b"0\r\n\r\n"),
    "chunks in 1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded": with_field(b"a: b\r\n c\r\ncontent-length: 2"),
    "space before colon": with_field(b"content-length : 2"),
    "bare LF": SIZED.replace(b"\r\n", b"\n") + b"ok",
    "bare CR": with_field(b"a: b\rc\r\ncontent-length: 2"),
    "NUL": with_field(b"a: b\0c\r\ncontent-length: 2"),
    "no name": with_field(b": b\r\ncontent-length: 2"),
    "no colon": with_field(b"abc\r\ncontent-length: 2"),
    "no head": b"ok\r\n\r\n",
    "version 0.9": SIZED.replace(b"1.1", b"0.9") + b"ok",
    "version 2": SIZED.replace(b"1.1", b"2.0") + b"ok",
    "radio": SIZED.replace(b"HTTP/1.1", b"ICY") + b"ok",
    "status 099": SIZED.replace(b"200", b"099") + b"ok",
    "status 600": SIZED.replace(b"200", b"600") + b"ok",
    "status 2000": SIZED.replace(b"200", b"2000") + b"ok",
    "upgrade": b"HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "size of letters": chunks(b"zz\r\n"),
    "endless size": chunks(b"fffffffffffffffff\r\n"),
    "negative size": chunks(b"-1\r\n"),
    "size with a prefix": chunks(b"0x2\r\nok\r\n0\r\n\r\n"),
    "size with a space": chunks(b"2 \r\nok\r\n0\r\n\r\n"),
    "size, bare LF": chunks(b"2\nok\r\n0\r\n\r\n"),
    "extension, bare LF": chunks(b"2;a=\nok\r\n0\r\n\r\n"),
    "more than the size": chunks(b"2\r\nokay\r\n0\r\n\r\n"),
    "no end of chunk": chunks(b"2\r\nok0\r\n\r\n"),
    "length in a trailer": chunks(b"2\r\nok\r\n0\r\ncontent-length: 2\r\n\r\n"),
    "long field": START + b"x: " + b"a" * HEAD_LIMIT + b"\r\n\r\n",
    "endless field": START + b"x: " + b"a" * (2 * HEAD_LIMIT),
    "many fields": START + b"a: b\r\n" * 10_000,
    "many interim responses": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000,
    "fields of interim responses": (b"HTTP/1.1 103 E\r\n" + b"a: b\r\n" * 50 + b"\r\n") * 10,
    "long trailer": chunks(b"0\r\nx: " + b"a" * 500_000 + b"\r\n\r\n"),
    "endless trailer name": chunks(b"0\r\n" + b"a" * 500_000),
    "many trailers": chunks(b"0\r\n" + b"a: b\r\n" * 10_000),
    "endless extension": chunks(b"2;" + b"a" * 500_000),
}


@pytest.mark.parametrize("step", [1, 4096, 1 << 20])
@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, step: int) -> None:
    with pytest.raises(GatewayError) as failure:
        fed(REFUSED[case], step)
    assert failure.value.kind == "upstream_bad_response"
    assert len(failure.value.message) < 200


@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL", b"EVIL", b"\0" * 100_000]
)
def test_more_than_was_declared_is_not_read_and_ends_the_reuse(more: bytes) -> None:
    parser, body = fed(SIZED + b"ok" + more, 1 << 20)
    assert (body, parser.complete, parser.reusable) == (b"ok", True, False)
    assert parser.headers == [("content-length", "2")]


@pytest.mark.parametrize(
    ("data", "whole"),
    [(START + b"\r\nok", True), (SIZED + b"o", False), (CHUNKED + b"2\r\nok\r\n", False)],
)
def test_what_the_end_of_a_connection_makes_whole(data: bytes, whole: bool) -> None:
    parser, _ = fed(data, 1 << 20)
    assert not parser.complete
    assert parser.finish() is whole


def test_a_long_stream_of_small_chunks_is_no_flood() -> None:
    parser = ResponseParser()
    parser.feed(CHUNKED)
    for _ in range(50):
        parser.feed(b"1;ext=abcdef\r\nx\r\n" * 1000)
        assert parser.take() == b"x" * 1000


def test_small_pieces_are_held_as_one() -> None:
    parser = ResponseParser()
    parser.feed(CHUNKED + b"2\r\nab\r\n" * 10_000)
    assert (len(parser.body), parser.held) == (1, 20_000)


def test_one_response_after_another() -> None:
    parser = ResponseParser()
    for _ in range(3):
        parser.feed(SIZED + b"ok")
        assert (parser.take(), parser.complete, parser.reusable) == (b"ok", True, True)
        parser.reset()
        assert (parser.complete, parser.headers, parser.any_byte) == (False, [], False)
