"""The client against scripted peers on real sockets: what it delivers, refuses, reuses and gives up."""

from __future__ import annotations

import asyncio

import pytest

from isthmus.errors import GatewayError
from isthmus.request import HttpRequest
from isthmus.upstream import Bounds, Deadlines, Origin, Response, Upstream
from tests.conftest import Run
from tests.peers import FakeUpstream, Part, asked, deaf, half_close, heard, rst, says, stall

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ASK = HttpRequest("POST", "/v1/x", "a=1", (("x-api-key", "k"),), b"{}")
PATIENT = Deadlines(10, 10, 10, 15)
SHORT = Deadlines(connect=1, first_event=0.3, idle=0.3, total=2)


def origin(fake: FakeUpstream) -> Origin:
    return Origin.of(f"{fake.url}/base")


async def ask(
    upstream: Upstream, fake: FakeUpstream, deadlines: Deadlines = PATIENT
) -> tuple[Response, bytes]:
    response = await upstream.send(origin(fake), ASK, deadlines)
    try:
        return response, await response.read(1 << 20)
    finally:
        response.close()


def test_what_is_sent_and_received(run: Run) -> None:
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


def test_a_clean_connection_is_used_again(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK, times=3)) as fake:
            upstream = Upstream()
            for _ in range(3):
                await ask(upstream, fake)
            assert len(fake.logs) == 1

    run(body)


def test_an_answer_closed_twice_leaves_the_next_one_alone(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK, times=2)) as fake:
            upstream = Upstream()
            first, _ = await ask(upstream, fake)
            second = await upstream.send(origin(fake), ASK, PATIENT)
            first.close()
            assert await second.read(1 << 20) == b"ok"
            second.close()
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
def test_any_other_connection_is_not(run: Run, answer: bytes) -> None:
    async def body() -> None:
        async with FakeUpstream(says(answer, 0.2), says(OK)) as fake:
            upstream = Upstream()
            assert (await ask(upstream, fake))[1] == b"ok"
            assert (await ask(upstream, fake))[1] == b"ok"
            assert len(fake.logs) == 2

    run(body)


def test_a_late_unsolicited_answer_reaches_nobody(run: Run) -> None:
    async def body() -> None:
        evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL"
        async with FakeUpstream(says(OK, 0.05, evil, 1.0), says(OK)) as fake:
            upstream = Upstream()
            await ask(upstream, fake)
            await fake.closed(seconds=5)
            assert upstream.counts.unsolicited == 1
            assert (await ask(upstream, fake))[1] == b"ok"
            assert len(fake.logs) == 2

    run(body)


def test_a_reused_connection_that_dies_unanswered_is_replaced_once(run: Run) -> None:
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
        pytest.param((rst,), "upstream_disconnected", id="reset before the head"),
        pytest.param((CHUNKED, rst), "upstream_disconnected", id="reset after the head"),
        pytest.param(
            (CHUNKED + b"1\r\nx\r\n", 0.1, rst), "upstream_disconnected", id="reset in the body"
        ),
        pytest.param(
            (CHUNKED + b"0\r\n" + b"a: b\r\n" * 5000, 0.2),
            "upstream_bad_response",
            id="trailers",
        ),
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
        pytest.param(
            (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", half_close, stall), "ok", id="half close"
        ),
    ],
)
def test_answer(run: Run, parts: tuple[Part, ...], kind: str) -> None:
    async def body() -> None:
        async with FakeUpstream(says(*parts)) as fake:
            if kind == "ok":
                await ask(Upstream(), fake, Deadlines(1, 2, 2, 5))
                return
            with pytest.raises(GatewayError) as failure:
                await ask(Upstream(), fake, SHORT if kind == "timeout" else PATIENT)
            assert (failure.value.kind, failure.value.source) == (kind, "upstream")

    run(body)


def test_total_ends_a_body_that_goes_on_for_ever(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(CHUNKED, *[b"1\r\nx\r\n", 0.05] * 100)) as fake:
            with pytest.raises(GatewayError, match="too long"):
                await ask(Upstream(), fake, Deadlines(1, 1, 1, total=0.5))

    run(body)


def test_silence_ticks(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(CHUNKED, 0.25, b"1\r\nx\r\n0\r\n\r\n")) as fake:
            response = await Upstream().send(origin(fake), ASK, Deadlines(1, 1, 1, 2))
            parts = [data async for data in response.chunks(0.1)]
            assert parts in ([b""] * n + [b"x"] for n in (1, 2, 3))

    run(body)


@pytest.mark.parametrize("parts", [(stall,), (CHUNKED + b"1\r\nx\r\n", stall)])
def test_cancelling_hangs_up_at_once(run: Run, parts: tuple[Part, ...]) -> None:
    async def body() -> None:
        async with FakeUpstream(says(*parts)) as fake:
            task = asyncio.create_task(ask(Upstream(), fake, Deadlines(1, 60, 60, 60)))
            await asyncio.sleep(0.1)
            task.cancel()
            await fake.closed(seconds=1)

    run(body)


def test_a_slow_reader_holds_the_provider_back(run: Run) -> None:
    async def body() -> None:
        flood = (CHUNKED, *[b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 3000)
        async with FakeUpstream(says(*flood)) as fake:
            response = await Upstream().send(origin(fake), ASK, Deadlines(1, 1, 5, 10))
            await asyncio.sleep(0.5)
            assert fake.logs[0].sent < 16 * 1024 * 1024
            response.close()
            await fake.closed()

    run(body)


def test_the_end_of_a_known_stream_may_come_late(run: Run) -> None:
    async def body() -> None:
        end = (CHUNKED + b"1\r\nx\r\n", 0.1, b"0\r\n\r\n")
        async with FakeUpstream(says(*end, times=2)) as fake:
            upstream = Upstream()
            for _ in range(2):
                response = await upstream.send(origin(fake), ASK, PATIENT)
                async for _ in response.chunks(1):
                    response.close(linger=True)
                    break
                await asyncio.sleep(0.2)
            assert len(fake.logs) == 1

    run(body)


def test_whoever_closes_waits_for_no_late_end(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(CHUNKED + b"1\r\nx\r\n", stall)) as fake:
            upstream = Upstream()
            response = await upstream.send(origin(fake), ASK, PATIENT)
            async for _ in response.chunks(1):
                response.close(linger=True)
                break
            upstream.close()
            await fake.closed(seconds=0.5)

    run(body)


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("POST", "/v1/x y"),
        HttpRequest("POST", "/v1/x\r\nhost: evil"),
        HttpRequest("POST", "/v1/x", headers=(("a", "b\r\nc: d"),)),
        HttpRequest("POST", "/v1/x", headers=(("a", "b\nc: d"),)),
        HttpRequest("POST", "/v1/x", headers=(("a", "b\rc: d"),)),
        HttpRequest("POST", "/v1/x", headers=(("a\r\nb", "c"),)),
    ],
)
def test_nothing_is_smuggled_into_a_request(run: Run, request_: HttpRequest) -> None:
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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(run: Run, status: int) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK)) as elsewhere:
            away = (
                f"HTTP/1.1 {status} Away\r\nlocation: {elsewhere.url}/\r\ncontent-length: 0\r\n\r\n"
            )
            async with FakeUpstream(says(away.encode())) as fake:
                response, _ = await ask(Upstream(), fake)
                assert (response.status, len(elsewhere.logs)) == (status, 0)

    run(body)


def test_connections_that_close_as_they_are_used_again_cost_no_request(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream((*says(OK), asked, rst)) as fake:
            upstream = Upstream()

            async def client() -> None:
                for _ in range(10):
                    assert (await ask(upstream, fake))[1] == b"ok"

            await asyncio.gather(*(client() for _ in range(50)))
            counts = upstream.counts
            assert counts.retried == counts.reused > 100
            assert counts.opened == len(fake.logs) == 500

    run(body)


def test_a_request_that_was_worked_on_is_not_sent_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isthmus.upstream.RACE_SECONDS", 0.1)

    async def body() -> None:
        async with FakeUpstream((*says(OK), asked, 0.2, rst), says(OK)) as fake:
            upstream = Upstream()
            await ask(upstream, fake)
            with pytest.raises(GatewayError) as failure:
                await ask(upstream, fake)
            assert (failure.value.kind, len(fake.logs)) == ("upstream_disconnected", 1)

    run(body)


LARGE = HttpRequest("POST", "/v1/x", "", (), bytes(30 << 20))


def test_a_large_request_is_sent_whole(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK)) as fake:
            response = await Upstream().send(origin(fake), LARGE, Deadlines(1, 10, 10, 10))
            assert await response.read(10) == b"ok"
            assert fake.requests[0].endswith(b"\r\n\r\n" + LARGE.body)

    run(body)


def test_a_provider_that_does_not_take_the_request(run: Run) -> None:
    """It has seconds for each step forward, and a caller who gives up is free at once."""

    async def body() -> None:
        async with FakeUpstream((heard, deaf, 60.0)) as fake:
            with pytest.raises(GatewayError, match="does not take the request"):
                await Upstream().send(origin(fake), LARGE, Deadlines(write=0.3))
        async with FakeUpstream((heard, deaf, 60.0)) as fake:
            task = asyncio.create_task(Upstream().send(origin(fake), LARGE, Deadlines()))
            await asyncio.sleep(0.2)
            task.cancel()
            async with asyncio.timeout(1):
                await asyncio.wait([task])

    run(body)


def test_an_answer_before_the_end_of_the_request(run: Run) -> None:
    early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"

    async def body() -> None:
        async with FakeUpstream((heard, deaf, early, 60.0)) as fake:
            upstream = Upstream()
            response = await upstream.send(origin(fake), LARGE, PATIENT)
            assert (response.status, await response.read(10)) == (413, b"no")
            response.close()
            assert (await ask(upstream, fake))[0].status == 413
            assert len(fake.logs) == 2

    run(body)


def test_as_many_at_once_as_the_limits_allow(run: Run) -> None:
    async def body() -> None:
        slow = (0.2, OK)
        async with FakeUpstream(says(*slow, times=9)) as fake:
            upstream = Upstream(Bounds(per_origin=2, per_key=1, wait=10.0))
            calls = [upstream.send(origin(fake), ASK, PATIENT, key) for key in "aab"]
            first, second, third = (asyncio.create_task(call) for call in calls)
            at_once = [await first, await third]
            assert not second.done()  # it has the key of the first, which is not given back yet
            for response in at_once:
                response.close()
            (await second).close()
            assert len(fake.logs) == 2

    run(body)


@pytest.mark.parametrize("parts", [(rst,), (b"HTTP/1.1 200 OK\r\n", rst), (stall,), ()])
def test_a_failure_gives_its_place_back(run: Run, parts: tuple[Part, ...]) -> None:
    async def body() -> None:
        async with FakeUpstream(says(*parts), says(OK)) as fake:
            upstream = Upstream(Bounds(per_origin=1, per_key=1))
            with pytest.raises(GatewayError):
                await ask(upstream, fake, SHORT)
            assert (await ask(upstream, fake))[1] == b"ok"
            with pytest.raises(GatewayError):
                await upstream.send(Origin.of("http://127.0.0.1:1"), ASK, SHORT)

    run(body)
