"""How a connection comes about: names, addresses that do not answer, proxies."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
import time
from collections.abc import Sequence

import pytest

from isthmus.errors import GatewayError
from isthmus.proxies import Proxy
from isthmus.request import HttpRequest
from isthmus.upstream import Bounds, Deadlines, Origin, Upstream
from isthmus.upstream.dial import Address, Lookup, interleaved
from tests.conftest import Run
from tests.peers import FakeUpstream, Part, asked, blackhole, rst, says, stall

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
ASK = HttpRequest("POST", "/v1/x", "", (("x-api-key", "k"),), b"{}")
PATIENT = Deadlines(10, 10, 10, 15)
SOON = Deadlines(connect=1.0, first_event=5, idle=5, total=5)
NAMED = Origin.of("http://provider.test")
PASSWORD = "sesame-canary-0815"


async def answer(upstream: Upstream, origin: Origin, deadlines: Deadlines = PATIENT) -> bytes:
    response = await upstream.send(origin, ASK, deadlines)
    try:
        return await response.read(100)
    finally:
        response.close()


async def failure(
    upstream: Upstream, origin: Origin, deadlines: Deadlines = PATIENT
) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await answer(upstream, origin, deadlines)
    assert caught.value.status_for("anthropic") in (502, 503)
    assert "127.0.0.1" not in caught.value.message
    return caught.value


def at(*ports: int) -> list[Address]:
    return [(int(socket.AF_INET), ("127.0.0.1", port)) for port in ports]


def finds(*ports: int) -> Lookup:
    return lambda host, port: at(*ports)


def raises(error: Exception) -> Lookup:
    def lookup(host: str, port: int) -> Sequence[Address]:
        raise error

    return lookup


# --- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lookup",
    [
        raises(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
        raises(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
        raises(UnicodeError("label too long")),
        finds(),
    ],
    ids=["no such name", "server failure", "no name at all", "no address"],
)
def test_a_name_that_is_not_found(run: Run, lookup: Lookup) -> None:
    assert run(lambda: failure(Upstream(lookup=lookup), NAMED)).kind == "upstream_dns"


def test_the_system_knows_no_such_name(run: Run) -> None:
    origin = Origin.of("http://no-such-host.invalid")
    assert run(lambda: failure(Upstream(), origin, PATIENT)).kind == "upstream_dns"


def test_a_resolver_that_hangs_holds_up_nothing_but_its_name(run: Run) -> None:
    end = threading.Event()
    threads: list[str] = []

    def hangs(host: str, port: int) -> Sequence[Address]:
        threads.append(host)
        end.wait(10)
        return []

    async def body() -> None:
        loop = asyncio.get_running_loop()
        upstream = Upstream(lookup=hangs)
        async with FakeUpstream(says(OK)) as fake:
            started = loop.time()
            many = [asyncio.create_task(failure(upstream, NAMED, SOON)) for _ in range(20)]
            await asyncio.sleep(0.05)
            assert await answer(upstream, Origin.of(fake.url)) == b"ok"
            assert {task.done() for task in many} == {False}
            assert {(await task).kind for task in many} == {"upstream_dns"}
            assert 0.3 < loop.time() - started < 5
            assert threads == ["provider.test"]

    try:
        run(body)
    finally:
        end.set()


def test_names_are_looked_up_once_in_a_while(run: Run) -> None:
    looked: list[str] = []

    async def body() -> None:
        async with FakeUpstream(says(b"HTTP/1.0 200 OK\r\n\r\nok")) as fake:

            def lookup(host: str, port: int) -> list[Address]:
                looked.append(host)
                return at(fake.port)

            upstream = Upstream(lookup=lookup)
            for _ in range(3):
                await asyncio.gather(*(answer(upstream, NAMED) for _ in range(3)))
            assert (looked, len(fake.logs)) == (["provider.test"], 9)

    run(body)


def test_a_change_of_address_is_followed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.upstream.dial.REMEMBERED_SECONDS", 0.0)
    where: list[int] = []

    async def body() -> None:
        async with (
            FakeUpstream(says(OK, times=9)) as old,
            FakeUpstream(says(OK, times=9)) as new,
        ):
            where.append(old.port)
            upstream = Upstream(Bounds(max_age=0.6), lookup=lambda h, p: at(*where))
            await answer(upstream, NAMED)
            where[:] = [new.port]
            await answer(upstream, NAMED)
            assert (len(old.logs), len(new.logs)) == (1, 0)
            await asyncio.sleep(0.65)
            await answer(upstream, NAMED)
            assert (len(old.logs), len(new.logs)) == (1, 1)

    run(body)


def test_an_address_that_does_not_answer_is_looked_up_again(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK)) as fake:
            where = [1]
            upstream = Upstream(lookup=lambda h, p: at(*where))
            assert (await failure(upstream, NAMED)).kind == "upstream_unreachable"
            where[:] = [fake.port]
            assert await answer(upstream, NAMED) == b"ok"

    run(body)


# --- addresses -------------------------------------------------------------------------------------


def test_families_take_turns() -> None:
    four, six = int(socket.AF_INET), int(socket.AF_INET6)
    rows: list[Address] = [(six, "a"), (six, "b"), (six, "a"), (four, "c"), (six, "d")]
    assert interleaved(rows) == [(six, "a"), (four, "c"), (six, "b"), (six, "d")]


def test_refused(run: Run) -> None:
    async def body() -> None:
        started = time.monotonic()
        error = await failure(Upstream(), Origin.of("http://127.0.0.1:1"))
        assert (error.kind, error.source) == ("upstream_unreachable", "upstream")
        assert "refused" in error.message
        assert time.monotonic() - started < 1

    run(body)


def test_an_address_that_swallows_everything(run: Run) -> None:
    async def body() -> None:
        started = time.monotonic()
        error = await failure(Upstream(), Origin.of(f"http://127.0.0.1:{port}"), SOON)
        assert error.kind == "upstream_unreachable"
        assert 0.3 < time.monotonic() - started < 5

    with blackhole() as port:
        run(body)


@pytest.mark.parametrize("dead_first", [1, 2])
def test_another_address_is_tried_beside_one_that_is_silent(run: Run, dead_first: int) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK)) as fake:
            upstream = Upstream(lookup=finds(*[port] * dead_first, fake.port))
            started = time.monotonic()
            assert await answer(upstream, NAMED) == b"ok"
            assert time.monotonic() - started < 3
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with blackhole() as port:
        run(body)


def test_the_next_address_is_tried_at_once_where_one_refuses(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK)) as fake:
            started = time.monotonic()
            assert await answer(Upstream(lookup=finds(1, 2, 3, fake.port)), NAMED) == b"ok"
            assert time.monotonic() - started < 0.7
        error = await failure(Upstream(lookup=finds(1, 2, 3)), NAMED)
        assert error.kind == "upstream_unreachable"

    run(body)


def test_who_comes_in_second_is_hung_up_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.upstream.dial.ATTEMPT_SECONDS", 0.0)

    async def body() -> None:
        async with FakeUpstream(says(OK)) as one, FakeUpstream(says(OK)) as two:
            assert await answer(Upstream(lookup=finds(one.port, two.port)), NAMED) == b"ok"
            await asyncio.sleep(0.1)
            asked = [log for log in (*one.logs, *two.logs) if log.requests]
            silent = [log for log in (*one.logs, *two.logs) if not log.requests]
            assert len(asked) == 1
            assert all(log.closed for log in silent)

    run(body)


def test_cancelling_a_connection_that_is_being_made(run: Run) -> None:
    async def body() -> None:
        task = asyncio.create_task(answer(Upstream(), Origin.of(f"http://127.0.0.1:{port}")))
        await asyncio.sleep(0.1)
        task.cancel()
        async with asyncio.timeout(1):
            await asyncio.wait([task])
        assert task.cancelled()

    with blackhole() as port:
        run(body)


def test_no_socket_left_is_our_own_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    async def body() -> None:
        async with FakeUpstream((*says(OK), stall)) as fake, FakeUpstream() as other:
            upstream = Upstream()
            await answer(upstream, Origin.of(fake.url))
            with monkeypatch.context() as patch:
                patch.setattr("isthmus.upstream.dial.socket.socket", none_left)
                error = await failure(upstream, Origin.of(other.url))
            assert (error.kind, error.source, error.retry_after) == ("unavailable", "gateway", 1)
            await fake.closed()  # an idle connection made room

    run(body)


# --- proxies ---------------------------------------------------------------------------------------


def proxy_at(port: int) -> Proxy:
    return Proxy.of(f"http://user:{PASSWORD}@127.0.0.1:{port}")


def test_a_plain_origin_behind_a_proxy(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK, times=2)) as fake:
            origin = Origin.of("http://provider.test:81/base", proxy_at(fake.port))
            upstream = Upstream()
            assert [await answer(upstream, origin) for _ in range(2)] == [b"ok", b"ok"]
            token = base64.b64encode(f"user:{PASSWORD}".encode())
            assert len(fake.logs) == 1
            assert fake.requests[0] == (
                b"POST http://provider.test:81/base/v1/x HTTP/1.1\r\nhost: provider.test:81\r\n"
                b"x-api-key: k\r\ncontent-length: 2\r\nproxy-authorization: Basic "
                + token
                + b"\r\n\r\n{}"
            )

    run(body)


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ((b"HTTP/1.1 407 Auth\r\ncontent-length: 0\r\n\r\n",), "upstream_unreachable"),
        ((b"HTTP/1.1 403 No\r\n\r\n" + b"x" * 100,), "upstream_unreachable"),
        ((b"HTTP/1.1 200 OK\r\n\r\nmore",), "upstream_unreachable"),
        ((b"SSH-2.0-x\r\n\r\n",), "upstream_unreachable"),
        ((b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000,), "upstream_unreachable"),
        ((rst,), "upstream_unreachable"),
        ((), "upstream_unreachable"),
        ((stall,), "upstream_unreachable"),
        ((b"HTTP/1.1 200 OK\r\n\r\n", asked), "upstream_tls"),
    ],
    ids="407 403 more garbage long reset eof hang silent-after".split(),
)
def test_a_proxy_that_makes_no_way(run: Run, parts: tuple[Part, ...], kind: str) -> None:
    async def body() -> None:
        async with FakeUpstream(says(*parts)) as fake:
            origin = Origin.of("https://provider.test", proxy_at(fake.port))
            hangs = stall in parts or asked in parts
            error = await failure(Upstream(), origin, SOON if hangs else PATIENT)
            assert error.kind == kind
            assert PASSWORD not in error.message + repr(origin) + repr(error)
            assert fake.requests[0].startswith(
                b"CONNECT provider.test:443 HTTP/1.1\r\nhost: provider.test:443\r\n"
                b"proxy-authorization: Basic "
            )
            await fake.closed()
            assert b"x-api-key" not in fake.logs[0].received

    run(body)


def test_a_proxy_that_wants_another_password(run: Run) -> None:
    async def body() -> None:
        refusal = b"HTTP/1.1 407 Auth\r\ncontent-length: 0\r\n\r\n"
        async with FakeUpstream(says(refusal, times=9)) as fake:
            origin = Origin.of("http://provider.test", proxy_at(fake.port))
            error = await failure(Upstream(), origin)
            assert (error.kind, "407" in error.message) == ("upstream_unreachable", True)

    run(body)
