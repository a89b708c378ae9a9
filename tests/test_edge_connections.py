"""A connection of the edge: requests in order, deadlines, clients that leave or do not read, its end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.clients_raw import RawClient, chunked, request
from tests.served import Served, whole

EVENT = b"data: x\n\n"


def eventually(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served(stall_seconds=1, idle_seconds=5)
    yield made
    assert eventually(lambda: not made.connections())
    made.close()


@contextlib.contextmanager
def serving(app: Any = None, **limits: float) -> Iterator[Served]:
    made = Served(app, **limits)
    try:
        yield made
        assert eventually(lambda: not made.connections())
    finally:
        made.close()


async def streaming(scope: Any, receive: Any, send: Any) -> None:
    """Three events; ``?hold`` waits behind the first one until the client leaves."""
    fields = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    for _ in range(2):
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        if scope["query_string"] == b"hold":
            while (await receive())["type"] != "http.disconnect":
                pass
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": EVENT})


# Requests in order.


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    many = 10_000
    data = b"".join(request(f"/{n}", b"%d" % n) for n in range(many))
    got: list[bytes] = []
    with RawClient(served.port, seconds=30) as client:
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()  # in one write: nobody reads the answers before they are many
        got += [client.answer().body for _ in range(many)]
        sender.join()
    assert got == [b"%d" % n for n in range(many)]
    assert len(served.bodies) == many


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_request_behind_a_chunked_one(served: Served, body: bytes) -> None:
    head = request("/1", None, "transfer-encoding: chunked", method="POST")
    data = head + chunked([body] if body else []) + request("/2", b"second")
    for every in (0.0, 0.001):
        with RawClient(served.port) as client:
            client.send(*([data[n : n + 1] for n in range(len(data))] if every else [data]))
            assert [client.answer().body, client.answer().body] == [body, b"second"]


def test_a_request_waits_for_the_end_of_a_stream() -> None:
    with serving(streaming) as served, RawClient(served.port) as client:
        client.send(request("/1") + request("/2"), request("/3"), every=0.03)
        for _ in range(3):
            got = client.answer()
            assert (got.field("transfer-encoding"), got.body) == ("chunked", EVENT * 3)


def test_head_and_date(served: Served) -> None:
    with RawClient(served.port) as client:
        head = client.send(request("/", method="HEAD") + request("/")).answer("HEAD")
        assert (head.status, head.field("content-length"), head.body) == (200, "0", b"")
        date = parsedate_to_datetime(client.answer().field("date") or "")
        assert abs(date.timestamp() - time.time()) < 3


def test_head_of_a_stream_has_no_body() -> None:
    with serving(streaming) as served, RawClient(served.port) as client:
        client.send(request("/", method="HEAD") + request("/"))
        assert client.answer("HEAD").field("transfer-encoding") is None
        assert client.answer().body == EVENT * 3


def test_http_1_0(served: Served) -> None:
    old = b"POST / HTTP/1.0\r\ncontent-length: 2\r\n"
    with RawClient(served.port) as client:
        got = client.send(old + b"\r\nab" + request("/never")).answer()
        assert (got.body, got.field("connection"), client.rest()) == (b"ab", "close", b"")
    with RawClient(served.port) as client:
        for _ in range(2):
            got = client.send(old + b"connection: Keep-Alive\r\n\r\nab").answer()
            assert (got.body, got.field("connection")) == (b"ab", "keep-alive")
    with serving(streaming) as other, RawClient(other.port) as client:
        client.send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        got = client.answer()
        assert (got.field("transfer-encoding"), got.field("connection")) == (None, "close")
        assert got.body == EVENT * 3


def test_connection_close(served: Served) -> None:
    with RawClient(served.port) as client:
        client.send(request("/1", None, "connection: x, Close") + request("/2"))
        assert (client.answer().field("connection"), client.rest()) == ("close", b"")
    assert len(served.scopes) == 1


# Expect.


def test_a_client_that_waits_for_a_word_gets_it(served: Served) -> None:
    with RawClient(served.port) as client:
        client.send(request("/", b"abc", "expect: 100-Continue")[:-3])
        assert client.answer().status == 100
        assert client.send(b"abc").answer().body == b"abc"
    with RawClient(served.port) as client:
        assert client.send(request("/", b"abc", "expect: 100-continue")).answer().body == b"abc"


@pytest.mark.parametrize("status", [401, 413])
def test_a_client_that_waits_for_a_word_is_refused_at_once(status: int) -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await whole(send, b"no", status)

    with serving(refusing) as served, RawClient(served.port) as client:
        got = client.send(request("/", b"abc", "expect: 100-continue")[:-3]).answer()
        assert (got.status, got.body, got.field("connection")) == (status, b"no", "close")
        assert client.rest() == b""


# A body that nobody reads.


@pytest.mark.parametrize("status", [401, 413])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_t047_an_unread_body_is_never_a_request(status: int, framing: str) -> None:
    asked: list[str] = []

    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await whole(send, b"no", status)

    inner = request("/admin") * 100
    with serving(refusing) as served:
        for wait in (0.0, 0.05):
            with RawClient(served.port) as client:
                if framing == "length":
                    head = request("/", None, f"content-length: {len(inner) + 1000}", method="POST")
                    client.send(head, inner[:500], inner[500:], every=wait)
                else:
                    head = request("/", None, "transfer-encoding: chunked", method="POST")
                    client.send(head, b"ffff\r\n" + inner[:500], inner[500:], every=wait)
                assert client.answer().status == status
                assert client.rest() == b""
        assert set(asked) == {"/"}


def test_t047_a_client_that_goes_on_sending_is_cut() -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await whole(send, b"no", 413)

    with serving(refusing, linger_seconds=0.5) as served, RawClient(served.port) as client:
        client.send(request("/", b"x" * 4_000_000)[:-4_000_000])
        assert client.answer().status == 413
        started = time.monotonic()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                client.socket.sendall(b"x" * 65536)
        assert time.monotonic() - started < 3
        assert eventually(lambda: not served.connections())


def test_a_body_that_is_not_read_is_not_taken_into_memory() -> None:
    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"]
        await whole(send, b"%d" % size)

    length = 64_000_000
    with serving(waiting) as served, RawClient(served.port) as client:
        client.send(request("/", b"x" * length)[:-length])
        client.socket.settimeout(0.3)
        taken = 0
        with contextlib.suppress(TimeoutError):
            while taken < length:
                taken += client.socket.send(b"x" * 65536)
        assert taken < 20_000_000  # what the two kernels hold, and BODY_BUFFER
        client.socket.settimeout(10)
        client.send(b"x" * (length - taken))
        assert client.answer().body == b"%d" % length


# Deadlines.


def test_t039_a_dripping_head_is_cut() -> None:
    with serving(head_seconds=0.6) as served:
        for complete in (True, False):
            with RawClient(served.port) as client:
                started = time.monotonic()
                line = b"GET / HTTP/1.1\r\nhost: x\r\n" if complete else b"GET /"
                client.send(line, *[b"a: b\r\n" if complete else b"a"] * 12, every=0.08)
                assert client.answer().status == 408
                assert client.rest() == b""
                assert time.monotonic() - started < 3
        assert not served.scopes


def test_a_silent_connection_is_closed_and_so_is_an_idle_one() -> None:
    with serving(head_seconds=0.4, idle_seconds=0.8) as served:
        with RawClient(served.port) as client:
            started = time.monotonic()
            assert client.ended()
            assert 0.3 < time.monotonic() - started < 2
        with RawClient(served.port) as client:
            client.send(request("/")).answer()
            time.sleep(0.5)
            client.send(request("/")).answer()
            started = time.monotonic()
            assert client.ended()
            assert 0.6 < time.monotonic() - started < 2
        with RawClient(served.port) as client:  # a second head has a deadline of its own
            client.send(request("/")).answer()
            assert client.send(b"GET / HT").answer().status == 408


def test_t039_a_head_behind_an_answer_that_was_read_late_has_its_deadline() -> None:
    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await whole(send, b"x" * 8_000_000)

    with (
        serving(hasty, head_seconds=1, stall_seconds=5) as served,
        RawClient(served.port, small=True) as client,
    ):
        client.send(request("/") + b"GET / HT")
        time.sleep(0.4)
        assert len(client.answer().body) == 8_000_000
        started = time.monotonic()
        assert client.answer().status == 408
        assert time.monotonic() - started < 3


# Clients that leave, and clients that do not read.


class Endless:
    """Offers 256 MB to each client, and counts the parts that were taken."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(4000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            self.sent += 1


def test_t030_a_client_that_stops_reading_is_given_up() -> None:
    app = Endless()
    with serving(app, stall_seconds=0.6) as served, RawClient(served.port, small=True) as client:
        client.send(request("/"))
        assert eventually(lambda: served.connections() == 1)
        time.sleep(0.3)
        assert 0 < app.sent < 200  # 13 MB: the kernel's buffers
        started = time.monotonic()
        assert eventually(lambda: not served.connections())
        assert time.monotonic() - started < 3


def test_a_client_that_reads_slowly_is_not_given_up() -> None:
    size = 24_000_000

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await whole(send, b"x" * size)

    for field in ("connection: close", "connection: keep-alive"):
        with serving(large, stall_seconds=0.4) as served, RawClient(served.port) as client:
            client.send(request("/", None, field))
            got = 0
            started = time.monotonic()
            while got < size:
                time.sleep(0.05)
                data = client.socket.recv(1_000_000)
                assert data, f"cut after {got} bytes"
                got += len(data)
            assert time.monotonic() - started > 0.8


def test_a_client_that_leaves_while_it_is_answered(served: Served) -> None:
    with serving(streaming) as other:
        for leave in (RawClient.reset, RawClient.half_close):
            with RawClient(other.port) as client:
                client.send(request("/?hold")).until(EVENT)
                leave(client)
                assert eventually(lambda: not other.connections(), 1)
    with RawClient(served.port) as client:  # in the middle of its own body
        client.send(request("/", b"abc")[:-1])
        assert eventually(lambda: len(served.scopes) == 1)
        client.reset()
        assert eventually(lambda: served.left == 1, 1)
    with RawClient(served.port) as client:  # before its first byte, and in its head
        client.reset()
    with RawClient(served.port) as client:
        client.send(b"GET / HT").reset()
    with RawClient(served.port) as client:  # after its answer
        client.send(request("/")).answer()
        client.reset()


# Limits, faults, the end.


def test_one_connection_too_many() -> None:
    with serving(connections=4, linger_seconds=0.5) as served:
        clients = [RawClient(served.port) for _ in range(4)]
        for client in clients:
            client.send(request("/")).answer()
        with RawClient(served.port) as fifth:
            assert fifth.send(request("/")).answer().status == 503
            assert fifth.rest() == b""
        many = [RawClient(served.port) for _ in range(100)]
        assert eventually(lambda: served.connections() <= 4 + 33)
        for client in many:
            client.socket.close()
        assert clients[0].send(request("/")).answer().status == 200
        clients.pop().socket.close()
        assert eventually(lambda: served.connections() == 3)
        with RawClient(served.port) as fifth:
            assert fifth.send(request("/")).answer().status == 200
        for client in clients:
            client.socket.close()


def test_faults_of_the_application() -> None:
    async def faulty(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        if path == "/fields":
            fields = [(b"a", b"b\r\nset-cookie: c")]
            await send({"type": "http.response.start", "status": 200, "headers": fields})
        if path != "/silent":
            raise LookupError("secret")

    with serving(faulty) as served:
        for path in ("/early", "/fields", "/silent"):
            with RawClient(served.port) as client:
                data = client.send(request(path) + request("/next")).rest()
                assert data.startswith(b"HTTP/1.1 500 ")
                assert b"secret" not in data
                assert b"set-cookie" not in data
        with RawClient(served.port) as client:
            data = client.send(request("/late")).rest()
            assert data.endswith(b"\r\n\r\n1\r\na\r\n")  # no end: the client sees that it was cut


def test_the_end_lets_what_has_begun_finish() -> None:
    with (
        serving(streaming) as served,
        RawClient(served.port) as busy,
        RawClient(served.port) as idle,
        RawClient(served.port) as begun,
        RawClient(served.port) as silent,
    ):
        idle.send(request("/")).answer()
        begun.send(b"GET / HTTP/1.1\r\n")
        busy.send(request("/")).until(EVENT)
        assert eventually(lambda: served.connections() == 4)
        served.call(served.edge.stop)
        assert idle.ended()
        assert silent.ended()
        assert busy.until(b"0\r\n\r\n").count(EVENT) == 2
        got = begun.send(b"host: localhost\r\n\r\n").answer()
        assert (got.status, got.field("connection")) == (200, "close")
        assert busy.ended()
        assert begun.ended()
        with pytest.raises(ConnectionError):
            RawClient(served.port)
