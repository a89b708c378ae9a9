"""The client against scripted peers on real sockets: what it delivers, refuses, reuses and gives up."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from isthmus.errors import GatewayError
from isthmus.request import HttpRequest
from isthmus.upstream import Deadlines, Origin, Response, Upstream
from tests.peers import FakeUpstream, Part, asked, rst, says, stall

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ASK = HttpRequest("POST", "/v1/x", "a=1", (("x-api-key", "k"),), b"{}")
SHORT = Deadlines(connect=1, first_event=0.3, idle=0.3, total=2)


def origin(fake: FakeUpstream) -> Origin:
    return Origin.of(f"{fake.url}/base")


async def ask(
    upstream: Upstream, fake: FakeUpstream, deadlines: Deadlines = SHORT
) -> tuple[Response, bytes]:
    response = await upstream.send(origin(fake), ASK, deadlines)
    try:
        return response, await response.read(1 << 20)
    finally:
        response.close()


def run(body: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(15):
            return await body()

    return asyncio.run(bounded())


def test_what_is_sent_and_received() -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK)) as fake:
            response, data = await ask(Upstream(), fake)
            assert (response.status, data, response.header("content-length")) == (200, b"ok", "2")
            host = f"127.0.0.1:{fake.port}".encode()
            assert fake.requests == [
                b"POST /base/v1/x?a=1 HTTP/1.1\r\nhost: " + host + b"\r\nx-api-key: k\r\n"
                b"content-length: 2\r\n\r\n{}"
            ]

    run(body)


def test_a_clean_connection_is_used_again() -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK, times=3)) as fake:
            upstream = Upstream()
            for _ in range(3):
                await ask(upstream, fake)
            assert len(fake.logs) == 1

    run(body)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n"), id="close"),
        pytest.param(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", id="1.0"),
        pytest.param(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL", id="unsolicited"),
    ],
)
def test_any_other_connection_is_not(answer: bytes) -> None:
    async def body() -> None:
        async with FakeUpstream(says(answer, 0.2), says(OK)) as fake:
            upstream = Upstream()
            assert (await ask(upstream, fake))[1] == b"ok"
            assert (await ask(upstream, fake))[1] == b"ok"
            assert len(fake.logs) == 2

    run(body)


def test_a_late_unsolicited_answer_reaches_nobody() -> None:
    async def body() -> None:
        evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL"
        async with FakeUpstream(says(OK, 0.05, evil, 1.0), says(OK)) as fake:
            upstream = Upstream()
            await ask(upstream, fake)
            await asyncio.sleep(0.2)
            assert (await ask(upstream, fake))[1] == b"ok"
            assert len(fake.logs) == 2

    run(body)


def test_a_reused_connection_that_dies_unanswered_is_replaced_once() -> None:
    async def body() -> None:
        async with FakeUpstream((*says(OK), asked, rst), says(OK)) as fake:
            upstream = Upstream()
            await ask(upstream, fake)
            assert (await ask(upstream, fake))[1] == b"ok"
            assert len(fake.logs) == 2
        async with FakeUpstream(
            says(rst)
        ) as fake:  # a fresh connection that dies is not tried again
            with pytest.raises(GatewayError) as failure:
                await ask(Upstream(), fake)
            assert (failure.value.kind, len(fake.logs)) == ("upstream_disconnected", 1)

    run(body)


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        pytest.param((b"not http at all\r\n\r\n",), "upstream_bad_response", id="garbage"),
        pytest.param((b"\x16\x03\x01\x00\xa5\x01\x00\x00",), "upstream_bad_response", id="TLS"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000,), "upstream_bad_response", id="long"
        ),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5000,),
            "upstream_bad_response",
            id="many fields",
        ),
        pytest.param(
            (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5000,),
            "upstream_bad_response",
            id="interim flood",
        ),
        pytest.param(
            (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",),
            "upstream_bad_response",
            id="upgrade",
        ),
        pytest.param((OK[:-1],), "upstream_disconnected", id="short body"),
        pytest.param((CHUNKED + b"5\r\nhel",), "upstream_disconnected", id="cut chunk"),
        pytest.param((CHUNKED + b"zz\r\n",), "upstream_bad_response", id="bad chunk"),
        pytest.param((b"HTTP/1.1 200",), "upstream_disconnected", id="half a head"),
        pytest.param((1.0, OK), "timeout", id="late head"),
        pytest.param((OK[:-2], 1.0, b"ok"), "timeout", id="stalled body"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", *[b"x", 0.25] * 9),
            "ok",
            id="slow body",
        ),
        pytest.param((b"HTTP/1.1 100 Continue\r\n\r\n", OK), "ok", id="interim"),
        pytest.param((b"HTTP/1.1 200 OK\r\n\r\nuntil the end",), "ok", id="until close"),
    ],
)
def test_answer(parts: tuple[Part, ...], kind: str) -> None:
    async def body() -> None:
        async with FakeUpstream(says(*parts)) as fake:
            if kind == "ok":
                await ask(Upstream(), fake, Deadlines(1, 2, 2, 5))
                return
            with pytest.raises(GatewayError) as failure:
                await ask(Upstream(), fake)
            assert (failure.value.kind, failure.value.source) == (kind, "upstream")

    run(body)


def test_total_ends_a_body_that_goes_on_for_ever() -> None:
    async def body() -> None:
        async with FakeUpstream(says(CHUNKED, *[b"1\r\nx\r\n", 0.05] * 100)) as fake:
            with pytest.raises(GatewayError, match="silent"):
                await ask(Upstream(), fake, Deadlines(1, 1, 1, total=0.5))

    run(body)


def test_silence_ticks() -> None:
    async def body() -> None:
        async with FakeUpstream(says(CHUNKED, 0.25, b"1\r\nx\r\n0\r\n\r\n")) as fake:
            response = await Upstream().send(origin(fake), ASK, Deadlines(1, 1, 1, 2))
            parts = [data async for data in response.chunks(0.1)]
            assert parts == [b"", b"", b"x"]

    run(body)


@pytest.mark.parametrize("parts", [(stall,), (CHUNKED + b"1\r\nx\r\n", stall)])
def test_cancelling_hangs_up_at_once(parts: tuple[Part, ...]) -> None:
    async def body() -> None:
        async with FakeUpstream(says(*parts)) as fake:
            task = asyncio.create_task(ask(Upstream(), fake, Deadlines(1, 60, 60, 60)))
            await asyncio.sleep(0.1)
            task.cancel()
            await fake.closed(seconds=1)

    run(body)


def test_a_slow_reader_holds_the_provider_back() -> None:
    async def body() -> None:
        flood = (CHUNKED, *[b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 3000)
        async with FakeUpstream(says(*flood)) as fake:
            response = await Upstream().send(origin(fake), ASK, Deadlines(1, 1, 5, 10))
            await asyncio.sleep(0.5)
            assert fake.logs[0].sent < 16 * 1024 * 1024
            response.close()
            await fake.closed()

    run(body)


def test_the_end_of_a_known_stream_may_come_late() -> None:
    async def body() -> None:
        end = (CHUNKED + b"1\r\nx\r\n", 0.1, b"0\r\n\r\n")
        async with FakeUpstream(says(*end, times=2)) as fake:
            upstream = Upstream()
            for _ in range(2):
                response = await upstream.send(origin(fake), ASK, SHORT)
                async for _ in response.chunks(1):
                    response.close(linger=True)
                    break
                await asyncio.sleep(0.2)
            assert len(fake.logs) == 1

    run(body)


def test_unreachable() -> None:
    async def body() -> None:
        upstream = Upstream()
        for url in ("http://127.0.0.1:1", "http://no-such-host.invalid"):
            with pytest.raises(GatewayError) as failure:
                await upstream.send(Origin.of(url), ASK, SHORT)
            assert failure.value.kind == "upstream_unreachable"

    run(body)


def test_a_plain_peer_is_never_taken_for_tls() -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK)) as fake:
            origin = Origin.of(f"https://127.0.0.1:{fake.port}")
            with pytest.raises(GatewayError) as failure:
                await Upstream().send(origin, ASK, SHORT)
            assert failure.value.kind == "upstream_unreachable"

    run(body)


def test_certificates_are_checked_by_default() -> None:
    upstream = Upstream()

    async def body() -> None:
        async with FakeUpstream(says(OK)) as fake:
            with pytest.raises(GatewayError):
                await upstream.send(Origin.of(f"https://localhost:{fake.port}"), ASK, SHORT)

    run(body)
    context = upstream._context
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("POST", "/v1/x y"),
        HttpRequest("POST", "/v1/x\r\nhost: evil"),
        HttpRequest("POST", "/v1/x", headers=(("a", "b\r\nc: d"),)),
        HttpRequest("POST", "/v1/x", headers=(("a", "b\nc: d"),)),
        HttpRequest("POST", "/v1/x", headers=(("a", "b\rc: d"),)),
    ],
)
def test_nothing_is_smuggled_into_a_request(request_: HttpRequest) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK)) as fake:
            with pytest.raises(GatewayError):
                await Upstream().send(origin(fake), request_, SHORT)
            assert len(fake.logs) == 0

    run(body)


def test_origins() -> None:
    assert Origin.of("https://api.test/proxy/") == Origin(True, "api.test", 443, "/proxy")
    assert Origin.of("http://[::1]:81").authority == "[::1]:81"
    for bad in ("ftp://x", "api.test", "http://"):
        with pytest.raises(ValueError, match="URL"):
            Origin.of(bad)
