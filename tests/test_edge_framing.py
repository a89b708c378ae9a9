"""What is a request and where it ends: the edge and bytes that two readers could read in two ways."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.edge.head import CHUNK_HEAD_LIMIT, Body, ChunkedBody, FixedBody, Refused, end_of, parse
from tests.clients_raw import RawClient, chunked, request
from tests.served import Served

SMUGGLED = request("/smuggled")
H = b"host: localhost\r\n"
P = b"POST / HTTP/1.1\r\n" + H
TE = b"transfer-encoding: chunked\r\n"


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    served = Served(idle_seconds=5)
    yield served
    served.close()


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    shared.scopes.clear()
    shared.bodies.clear()
    yield shared
    deadline = time.monotonic() + 5
    while shared.connections() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not shared.connections()


FRAMING = {
    "length and chunked": P + b"content-length: 4\r\n" + TE + b"\r\n0\r\n\r\n",
    "chunked and length": P + TE + b"content-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": P + b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
    "the same length twice": P + b"content-length: 4\r\ncontent-length: 4\r\n\r\nabcd",
    "a list of lengths": P + b"content-length: 5,5\r\n\r\nabcde",
    "a signed length": P + b"content-length: +5\r\n\r\nabcde",
    "a negative length": P + b"content-length: -1\r\n\r\n",
    "a hexadecimal length": P + b"content-length: 0x5\r\n\r\nabcde",
    "a length in words": P + b"content-length: five\r\n\r\nabcde",
    "a length with a gap": P + b"content-length: 1 0\r\n\r\nabcde",
    "an empty length": P + b"content-length:\r\n\r\n",
    "an enormous length": P + b"content-length: 99999999999999999999999\r\n\r\n",
    "a length of 2 ** 64": P + b"content-length: 18446744073709551616\r\n\r\n",
    "chunked, identity": P + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity, chunked": P + b"transfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": P + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": P + TE + TE + b"\r\n0\r\n\r\n",
    "xchunked": P + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "quoted chunked": P + b'transfer-encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked behind a tab": P + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\n" + H + TE + b"\r\n0\r\n\r\n",
    "a folded line": P + b"a: b\r\n transfer-encoding: chunked\r\n\r\n",
    "a folded line with a tab": P + b"a: b\r\n\tc\r\n\r\n",
    "a space before the colon": P + b"content-length : 5\r\n\r\nabcde",
    "a tab before the colon": P + b"content-length\t: 5\r\n\r\nabcde",
    "a first line that is folded": b"GET / HTTP/1.1\r\n host: localhost\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nhost: localhost\n\n",
    "bare LF in one line": b"GET / HTTP/1.1\r\nhost: localhost\nx: y\r\n\r\n",
    "bare CR in a value": P + b"a: b\rc: d\r\n\r\n",
    "bare CR in the end": P + b"a: b\r\n\r\r\n\r\n",
    "a NUL in a value": P + b"a: b\0c\r\n\r\n",
    "a NUL in a name": P + b"a\0b: c\r\n\r\n",
    "a control character": P + b"a: b\x01c\r\n\r\n",
    "a name beyond ASCII": P + "\xe9: c\r\n\r\n".encode(),
    "a line without a colon": P + b"abc\r\n\r\n",
    "a field without a name": P + b": abc\r\n\r\n",
    "a name in brackets": P + b"(a): abc\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + H + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + H + b"\r\n",
    "http in lower case": b"GET / http/1.1\r\n" + H + b"\r\n",
    "RTSP": b"DESCRIBE / RTSP/1.0\r\n" + H + b"\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\n" + H + b"\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n" + H + b"\r\n",
    "a tab in the first line": b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n",
    "a space at its end": b"GET / HTTP/1.1 \r\n" + H + b"\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n" + H + b"\r\n",
    "an absolute target": b"GET http://localhost/ HTTP/1.1\r\n" + H + b"\r\n",
    "an authority": b"CONNECT localhost:80 HTTP/1.1\r\n" + H + b"\r\n",
    "a fragment": b"GET /#a HTTP/1.1\r\n" + H + b"\r\n",
    "a relative target": b"GET a HTTP/1.1\r\n" + H + b"\r\n",
    "a target beyond ASCII": "GET /\xe9 HTTP/1.1\r\n".encode() + H + b"\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\n" + H + b"\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\n" + H + b"\r\n",
    "a space before the method": b" GET / HTTP/1.1\r\n" + H + b"\r\n",
    "LF before the method": b"\nGET / HTTP/1.1\r\n" + H + b"\r\n",
    "CR before the method": b"\rGET / HTTP/1.1\r\n" + H + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
CHUNKS = {
    "a size of nothing": b"\r\nabc\r\n0\r\n\r\n",
    "a size that is none": b"xyz\r\nabc\r\n0\r\n\r\n",
    "a signed size": b"+3\r\nabc\r\n0\r\n\r\n",
    "a negative size": b"-3\r\nabc\r\n0\r\n\r\n",
    "a size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a size with _": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "a size behind a space": b" 3\r\nabc\r\n0\r\n\r\n",
    "an overflowing size": b"FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
    "2 ** 64 + 3": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "a size that ends in LF": b"3\nabc\r\n0\r\n\r\n",
    "a chunk that ends in LF": b"3\r\nabc\n0\r\n\r\n",
    "a chunk that ends in CR": b"3\r\nabc\r0\r\n\r\n",
    "a chunk longer than its size": b"3\r\nabcdef\r\n0\r\n\r\n",
    "a chunk shorter than its size": b"5\r\nabc\r\n0\r\n\r\n",
    "LF in an extension": b"3;a=b\nc\r\nabc\r\n0\r\n\r\n",
    "CR in an extension": b"3;a=b\rc\r\nabc\r\n0\r\n\r\n",
    "NUL in an extension": b"3;a=\0\r\nabc\r\n0\r\n\r\n",
    "a long extension": b"3;" + b"a" * CHUNK_HEAD_LIMIT + b"\r\nabc\r\n0\r\n\r\n",
    "a trailer without a colon": b"0\r\nabc\r\n\r\n",
    "a folded trailer": b"0\r\na: b\r\n c\r\n\r\n",
    "a bare LF in the trailer": b"0\r\na: b\nc: d\r\n\r\n",
    "a long trailer": b"0\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
}


@pytest.mark.parametrize("vector", FRAMING.values(), ids=FRAMING)
def test_t046_framing(served: Served, vector: bytes) -> None:
    with RawClient(served.port) as client:
        got = client.send(vector + SMUGGLED).answer()
        assert (got.status, client.rest()) == (400, b"")
    assert not served.scopes


@pytest.mark.parametrize("every", [0.0, 0.002])
@pytest.mark.parametrize("vector", CHUNKS.values(), ids=CHUNKS)
def test_t046_chunks(served: Served, vector: bytes, every: float) -> None:
    data = vector + SMUGGLED
    parts = [data[at : at + 7] for at in range(0, min(len(data), 140), 7)] + [data[140:]]
    with RawClient(served.port) as client:
        got = client.send(P + TE + b"\r\n", *(parts if every else [data]), every=every).answer()
        assert (got.status, client.rest()) == (400, b"")
    assert [scope["path"] for scope in served.scopes] in ([], ["/"])
    assert not served.bodies


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (b"\r\n\r\n" + request("/a"), [200]),
        (request("/a") + b"\r\n\r\n\r\n" + request("/b"), [200, 200]),
        (request("/a", b"x") + b"\r\n" + request("/b"), [200, 200]),
        (b"\r\n" * 100_000 + request("/a"), [200]),
    ],
)
def test_t046_empty_lines_between_requests(
    served: Served, data: bytes, statuses: list[int]
) -> None:
    with RawClient(served.port) as client:
        client.send(data)
        assert [client.answer().status for _ in statuses] == statuses


def test_t046_what_is_allowed_is_read(served: Served) -> None:
    head = P + b"Transfer-Encoding:\t Chunked \r\n\r\n"
    body = b'3;a="b;c"\r\nabc\r\n000004 ;x\r\ndefg\r\n0\r\ndigest: x\r\n\r\n'
    with RawClient(served.port) as client:
        client.send(head + body + SMUGGLED.replace(b"smuggled", b"next"))
        assert [client.answer().body, client.answer().body] == [b"abcdefg", b""]
        assert client.send(b"POST / HTTP/1.1\r\n" + H + b"content-length:  3 \r\n\r\nabc").answer()
    assert [scope["path"] for scope in served.scopes] == ["/", "/next", "/"]
    assert served.bodies == [b"abcdefg", b"", b"abc"]


HEAVY = {
    "70 KB of one field": (H + b"a: " + b"x" * 70_000 + b"\r\n", 431),
    "1 MB of one field": (H + b"a: " + b"x" * 1_000_000 + b"\r\n", 431),
    "500 fields": (H + b"a: b\r\n" * 500, 431),
    "5,000 fields": (H + b"a: b\r\n" * 5_000, 431),
    "a name of 40 KB": (H + b"a" * 40_000 + b": b\r\n", 431),
}


@pytest.mark.parametrize(("fields", "status"), HEAVY.values(), ids=HEAVY)
def test_t050_heavy_heads(served: Served, fields: bytes, status: int) -> None:
    for ending in (b"\r\n" + SMUGGLED, b""):
        with RawClient(served.port) as client:
            started = time.monotonic()
            if not ending and len(fields) < 41_000:
                continue  # it may still become a head that is fit
            got = client.send(b"GET / HTTP/1.1\r\n" + fields + ending).answer()
            assert time.monotonic() - started < 0.5
            assert (got.status, client.rest()) == (status, b"")
    assert not served.scopes


def test_t050_long_targets(served: Served) -> None:
    for target in (b"/" + b"x" * 100_000, b"/?" + b"x" * 9_000):
        for ending in (b" HTTP/1.1\r\n" + H + b"\r\n", b""):
            with RawClient(served.port) as client:
                got = client.send(b"GET " + target + ending).answer()
                assert (got.status, client.rest()) == (414, b"")
    with RawClient(served.port) as client:
        assert client.send(request("/" + "x" * 8_000)).answer().status == 200


@pytest.mark.parametrize(
    "offer",
    [
        ("connection: upgrade", "upgrade: foo"),
        ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"),
        ("connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"),
    ],
)
@pytest.mark.parametrize("body", [None, b"abc"])
def test_t052_an_upgrade_is_never_made(
    served: Served, offer: tuple[str, ...], body: bytes | None
) -> None:
    with RawClient(served.port) as client:
        client.send(request("/first", body, *offer) + request("/second"))
        got = [client.answer(), client.answer()]
    assert [one.status for one in got] == [200, 200]
    assert all(one.field("upgrade") is None for one in got)
    assert [scope["path"] for scope in served.scopes] == ["/first", "/second"]
    assert served.bodies == [body or b"", b""]


def test_t055_http_2_by_prior_knowledge_is_refused(served: Served) -> None:
    settings = b"\0\0\0\4\0\0\0\0\0"
    with RawClient(served.port) as client:
        data = client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings * 1000).rest()
    assert data.startswith(b"HTTP/1.1 400 ")
    assert not served.scopes


# The readers by themselves.


def fed(body: Body, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """What a body reads of the pieces, and what is left of them."""
    own = b""
    for place, piece in enumerate(pieces):
        part, rest = body.feed(piece)
        own += part
        if body.complete:
            return own, rest + b"".join(pieces[place + 1 :])
    return own, b""


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(0, 400), max_size=8),
    st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"0\r\n\r\n"]),
)
def test_a_chunked_body_is_the_same_however_it_is_split(
    parts: list[bytes], cuts: list[int], after: bytes
) -> None:
    data = chunked(parts) + after
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert fed(ChunkedBody(), pieces) == (b"".join(parts), after)
    assert fed(ChunkedBody(), [bytes([one]) for one in data]) == (b"".join(parts), after)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_garbage_in_chunks_is_read_the_same_however_it_is_split(
    data: bytes, cuts: list[int]
) -> None:
    def outcome(pieces: list[bytes]) -> object:
        body = ChunkedBody()
        try:
            own, rest = fed(body, pieces)
        except Refused:
            return "refused"
        return own, rest, body.complete

    data = b"1;" + data
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert outcome(pieces) == outcome([data])


def test_many_small_chunks_cost_little() -> None:
    data = b"1\r\nx\r\n" * 43_000
    started = time.process_time()
    own, _ = ChunkedBody().feed(data)
    assert len(own) == 43_000
    assert time.process_time() - started < 0.25


def test_a_fixed_body_ends_where_it_says() -> None:
    assert fed(FixedBody(3), [b"a", b"bcde", b"f"]) == (b"abc", b"def")
    assert FixedBody(0).complete


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_heads(data: bytes) -> None:
    for sent in (data, b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n", b"GET /" + data + b"\r\n\r\n"):
        try:
            end = end_of(sent)
            head = parse(sent[:end]) if end else None
        except Refused:
            continue
        assert head is None or head.target.startswith((b"/", b"*"))
