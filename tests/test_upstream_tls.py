"""Whom the client trusts: T025's certificates, and everything else that can go wrong in a handshake."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from isthmus.errors import GatewayError
from isthmus.proxies import Proxy
from isthmus.request import HttpRequest
from isthmus.upstream import Deadlines, Origin, Upstream
from isthmus.upstream.dial import checking_context
from tests.conftest import Run
from tests.peers import FakeUpstream, Script, Talk, deaf, heard, rst, says, stall, tls_bad, tunnel

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
ASK = HttpRequest("POST", "/v1/x", "", (("x-api-key", "secret"),), b"{}")
PATIENT = Deadlines(10, 10, 10, 15)
SOON = Deadlines(connect=0.5, first_event=5, idle=5, total=5)
PAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
FUTURE = datetime(2090, 1, 1, tzinfo=UTC), datetime(2091, 1, 1, tzinfo=UTC)
AUTHORITY = trustme.CA()
STRANGER = trustme.CA()


def trusting() -> Upstream:
    context = checking_context()
    AUTHORITY.configure_trust(context)
    return Upstream(context=context)


def server(certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (certificate or AUTHORITY.issue_cert("127.0.0.1", "localhost")).configure_cert(context)
    return context


def issued(*names: str, valid: tuple[datetime, datetime]) -> ssl.SSLContext:
    return server(AUTHORITY.issue_cert(*names, not_before=valid[0], not_after=valid[1]))


def old() -> ssl.SSLContext:
    context = server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is old is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def wanting_a_certificate(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = server()
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    return context


async def answer(upstream: Upstream, origin: Origin, deadlines: Deadlines = PATIENT) -> bytes:
    response = await upstream.send(origin, ASK, deadlines)
    try:
        return await response.read(100)
    finally:
        response.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_provider_whose_certificate_is_right(run: Run, host: str) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK, times=2), tls=server()) as fake:
            upstream = trusting()
            origin = Origin.of(f"https://{host}:{fake.port}")
            assert [await answer(upstream, origin) for _ in range(2)] == [b"ok", b"ok"]
            assert len(fake.logs) == 1

    run(body)


BAD: dict[str, Callable[[], ssl.SSLContext]] = {
    "expired": lambda: issued("127.0.0.1", valid=PAST),
    "not yet valid": lambda: issued("127.0.0.1", valid=FUTURE),
    "of another host": lambda: server(AUTHORITY.issue_cert("provider.test", "127.0.0.2")),
    "of a stranger": lambda: server(STRANGER.issue_cert("127.0.0.1")),
    "old version": old,
}


@pytest.mark.parametrize("case", BAD)
def test_a_provider_that_is_not_trusted_learns_nothing(run: Run, case: str) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)  # the server's side of it
        async with FakeUpstream(says(OK), tls=BAD[case]()) as fake:
            with pytest.raises(GatewayError) as failure:
                await answer(trusting(), Origin.of(fake.url))
            error = failure.value
            assert (error.kind, error.source) == ("upstream_tls", "upstream")
            assert "127.0.0.1" not in error.message
            assert [log.received for log in fake.logs if log.received] == []

    run(body)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_provider_that_wants_to_see_a_certificate(run: Run, version: ssl.TLSVersion) -> None:
    """In TLS 1.3 it says so only after our handshake, when the request is on its way."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            """As servers do, and asyncio's does not: say why, and let the other side read it."""
            connection, _ = listener.accept()
            with wanting_a_certificate(version).wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            ) as wrapped:
                with contextlib.suppress(ssl.SSLError):
                    wrapped.do_handshake()
                wrapped.shutdown(socket.SHUT_WR)
                while wrapped.recv(4096):
                    pass

        async def body() -> None:
            serving = asyncio.create_task(asyncio.to_thread(accept))
            origin = Origin.of(f"https://127.0.0.1:{listener.getsockname()[1]}")
            with pytest.raises(GatewayError) as failure:
                await answer(trusting(), origin)
            assert failure.value.kind == "upstream_tls"
            await serving

        run(body)


PLAIN: dict[str, Script] = {
    "plain HTTP": (heard, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
    "an alert": (tls_bad,),
    "a reset": (heard, rst),
    "an end": (heard,),
    "silence": (stall,),
    "no reading": (deaf, 30.0),
    "half a record": (heard, b"\x16\x03\x03\x40\x00\x02", stall),
}


HANGS = {"silence", "no reading", "half a record"}


@pytest.mark.parametrize("case", PLAIN)
def test_a_handshake_that_fails_is_never_followed_by_plain_text(run: Run, case: str) -> None:
    deadlines = SOON if case in HANGS else PATIENT

    async def body() -> None:
        async with FakeUpstream(PLAIN[case]) as fake:
            with pytest.raises(GatewayError) as failure:
                await answer(trusting(), Origin.of(f"https://127.0.0.1:{fake.port}"), deadlines)
            assert failure.value.kind == "upstream_tls"
            assert len(fake.logs) == 1
            assert b"HTTP" not in fake.logs[0].received
            if deaf not in PLAIN[case]:
                await fake.closed()

    run(body)


def test_what_the_handshake_says(run: Run) -> None:
    names: list[str | None] = []
    protocols: list[str | None] = []
    context = server()
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda _, name, __: names.append(name)

    async def look(talk: Talk) -> None:
        chosen = talk.transport.get_extra_info("ssl_object")
        protocols.extend([chosen.selected_alpn_protocol(), chosen.version()])

    async def body() -> None:
        async with FakeUpstream((look, *says(OK)), tls=context) as fake:
            await answer(trusting(), Origin.of(f"https://localhost:{fake.port}"))
            assert (names, protocols) == (["localhost"], ["http/1.1", "TLSv1.3"])

    run(body)


def test_the_system_is_asked_whom_to_trust(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = checking_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2

    async def body() -> None:
        async with FakeUpstream(says(OK, times=9), tls=server()) as fake:
            with pytest.raises(GatewayError, match="TLS failed"):
                await answer(Upstream(), Origin.of(fake.url))
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
            AUTHORITY.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
            assert await answer(Upstream(), Origin.of(fake.url)) == b"ok"

    run(body)


def test_tls_goes_through_a_proxy_that_sees_nothing_of_it(run: Run) -> None:
    async def body() -> None:
        async with FakeUpstream(says(OK, times=2), tls=server()) as fake:
            through = says(b"HTTP/1.1 200 Connection established\r\n\r\n", tunnel(fake.port))
            async with FakeUpstream(through) as proxy:
                way = Proxy.of(f"http://127.0.0.1:{proxy.port}")
                origin = Origin.of(f"https://localhost:{fake.port}", way)
                upstream = trusting()
                assert [await answer(upstream, origin) for _ in range(2)] == [b"ok", b"ok"]
                assert proxy.requests == [
                    b"CONNECT localhost:%d HTTP/1.1\r\nhost: localhost:%d\r\n\r\n"
                    % (fake.port, fake.port)
                ]
                assert fake.requests[0].startswith(b"POST /v1/x HTTP/1.1\r\n")
                assert b"secret" not in proxy.logs[0].received

    run(body)


@pytest.mark.parametrize("parts", [(rst,), (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", rst)])
def test_a_proxy_that_breaks_off(run: Run, parts: tuple[bytes, ...]) -> None:
    async def body() -> None:
        async with FakeUpstream(says(*parts), tls=server()) as fake:
            through = says(b"HTTP/1.1 200 OK\r\n\r\n", tunnel(fake.port))
            async with FakeUpstream(through) as proxy:
                way = Proxy.of(f"http://127.0.0.1:{proxy.port}")
                with pytest.raises(GatewayError) as failure:
                    await answer(trusting(), Origin.of(f"https://localhost:{fake.port}", way))
                assert failure.value.kind == "upstream_disconnected"

    run(body)


def test_a_large_request_is_encrypted_as_it_is_taken(run: Run) -> None:
    large = HttpRequest("POST", "/v1/x", "", (), bytes(range(256)) * 40_000)

    async def body() -> None:
        async with FakeUpstream(says(OK), tls=server()) as fake:
            response = await trusting().send(Origin.of(fake.url), large, PATIENT)
            assert await response.read(10) == b"ok"
            assert fake.requests[0].endswith(large.body)
        async with FakeUpstream((heard, deaf, 30.0), tls=server()) as fake:
            bulk = HttpRequest("POST", "/v1/x", "", (), bytes(30 << 20))
            with pytest.raises(GatewayError, match="does not take the request"):
                await trusting().send(Origin.of(fake.url), bulk, Deadlines(write=0.3))

    run(body)
