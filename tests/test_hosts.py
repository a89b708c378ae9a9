"""The same application under each host: what holds whoever reads the bytes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest

from isthmus.auth import Door
from isthmus.errors import GatewayError
from isthmus.request import HttpRequest
from tests.clients_raw import RawClient, chunked, request
from tests.harness import VERSION, error_message, failed_stream, message, whole_stream
from tests.hosts import HOSTS, Hosted
from tests.test_bodies import PACKED
from tests.test_server import DIALECTS, HEADERS, asked

POSTED = json.dumps(message()).encode()
KNOWN = "anthropic-version: 2023-06-01"


@pytest.fixture(scope="module", params=HOSTS)
def running(request: pytest.FixtureRequest) -> Iterator[Hosted]:
    hosted = Hosted(
        request.param, limits={"body_bytes": 200_000}, timeouts={"body_idle": 0.6, "drain": 5}
    )
    yield hosted
    hosted.close()
    assert "Traceback" not in hosted.log_text
    assert hosted.process.returncode in ((0, -signal.SIGTERM) if hosted.host != "edge" else (0,))


@pytest.fixture
def hosted(running: Hosted) -> Hosted:
    running.simulator.reset()
    return running


def head_of(dialect: str, path: str, body: bytes) -> bytes:
    return request(path, body, KNOWN) if dialect == "anthropic" else request(path, body)


# What is answered.


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect(hosted: Hosted, dialect: str) -> None:
    for stream in (False, True):
        path, body = asked(dialect, "hi", stream=stream)
        reply = hosted.post(path, body, **HEADERS[dialect])
        assert reply.status == 200, reply.body
        if stream:
            whole_stream(dialect, reply)
        reply = hosted.post(path, b"{", **HEADERS[dialect])
        assert reply.status == 400
        assert error_message(dialect, reply)


def test_one_connection_for_many_requests(hosted: Hosted) -> None:
    body = json.dumps(message(stream=True)).encode()
    with RawClient(hosted.port) as client:
        for data in (POSTED, body, POSTED):
            got = client.send(request("/v1/messages", data, KNOWN)).answer()
            assert (got.status, got.field("date") is not None) == (200, True)
        split = [POSTED[:10], POSTED[10:50], POSTED[50:]]
        head = request("/v1/messages", None, KNOWN, "transfer-encoding: chunked", method="POST")
        assert client.send(head, chunked(split)).answer().status == 200
        assert client.send(request("/", method="HEAD")).answer("HEAD").status == 200
    assert hosted.received()[-1].body == POSTED


def test_a_client_that_waits_for_a_word(hosted: Hosted) -> None:
    with RawClient(hosted.port) as client:
        data = request("/v1/messages", POSTED, KNOWN, "expect: 100-continue")
        assert client.send(data[: -len(POSTED)]).answer().status == 100
        assert client.send(POSTED).answer().status == 200


@pytest.mark.parametrize("encoding", PACKED)
def test_encoded_bodies(hosted: Hosted, encoding: str) -> None:
    packed = PACKED[encoding](POSTED)
    reply = hosted.post("/v1/messages", packed, content_encoding=encoding, **VERSION)
    assert reply.status == 200
    assert hosted.received()[-1].body == POSTED


def test_t040_t051_bodies_that_are_refused(hosted: Hosted) -> None:
    head = request("/v1/messages", None, "transfer-encoding: chunked", method="POST")
    for data, status in (
        (request("/v1/messages", b"x" * 300_000), 413),
        (request("/v1/messages", None, "content-length: 34603008", method="POST"), 413),
        (head + chunked([b"x" * 60_000] * 5)[:-5], 413),
        (request("/v1/messages", PACKED["gzip"](b" " * 9_000_000), "content-encoding: gzip"), 413),
        (request("/v1/messages", b"{}", "content-encoding: gzip, gzip"), 415),
        (request("/v1/messages", b"{}", "content-encoding: lzma"), 415),
        (request("/v1/messages", b"12345")[:-2], 408),
        (head + b"3\r\nabc\r\n", 408),
    ):
        with RawClient(hosted.port) as client:
            got = client.send(data).answer()
            assert got.status == status, got
            assert json.loads(got.body)["error"]["message"]
            assert (got.field("request-id") or "").startswith("req_")
    assert not hosted.received()


# Who is told what.

HOST_VECTORS = [
    *("evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "10.0.0.1", "169.254.169.254"),
    *("a/#@localhost", "localhost/#@evil", "localhost?x", "localhost#x", "localhost/", "a b"),
    *("localhost localhost", "", " ", "[::1", "::1", "[::1]x", "[::1]:x", "[evil]", "[::1%25lo]"),
    *(
        "u@localhost",
        "u:p@localhost",
        "localhost:x",
        "localhost:",
        "localhost:123456",
        "localhost:-1",
    ),
    *("localhost,evil", "localhost\\", "loc%61lhost", "0x7f.1", "2130706433", "127.1", "0.0.0.0"),
    *("x" * 10_000, "http://localhost", "l\xf6calhost", "*", "localhost."),
]


@pytest.mark.parametrize("name", HOST_VECTORS, ids=lambda name: name[:24])
def test_t048_hosts_that_are_not_ours(hosted: Hosted, name: str) -> None:
    with RawClient(hosted.port) as client:
        data = request("/v1/messages", POSTED, KNOWN, host=name)
        got = client.send(data).answer()
        assert got.status in (400, 403), got
    assert not hosted.received()


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "127.9.9.9", "[::1]:80"]
)
def test_t048_hosts_that_are_ours(hosted: Hosted, name: str) -> None:
    with RawClient(hosted.port) as client:
        assert client.send(request("/v1/models", host=name)).answer().status == 200


@pytest.mark.parametrize(
    "lines", ["", "host: localhost\r\nhost: localhost\r\n", "host: localhost\r\nhost: evil\r\n"]
)
def test_t048_exactly_one_host(hosted: Hosted, lines: str) -> None:
    with RawClient(hosted.port) as client:
        got = client.send(f"GET /v1/models HTTP/1.1\r\n{lines}\r\n".encode()).answer()
        assert got.status == 400


PATHS = [
    *(
        "//v1/messages",
        "/v1//messages",
        "/v1/./messages",
        "/v1/../v1/messages",
        "/x/../v1/messages",
    ),
    *(
        "/v1/%6dessages",
        "/v1%2fmessages",
        "/%2e%2e/v1/messages",
        "/v1/messages%00",
        "/v1/messages%20",
    ),
    *("/v1/messages;x=1", "/v1/messages;/", "/v1\\messages", "/V1/messages", "/v1/MESSAGES"),
    *("/v1/messages.", "/v1/messages/.", "/v1/messages..", "/v1/messages/..;/admin", "/admin"),
    *("//admin", "/ADMIN", "/v1/../admin", "/admin/../v1/messages", "/anthropic/../v1/messages"),
    *(
        "//localhost/v1/messages",
        "/http://localhost/v1/messages",
        "/v1/messages%3fx",
        "/%76%31/messages",
    ),
]
SAME = {"/v1/messages/", "/v1/messages?x=/../admin", "http://localhost/v1/messages"}


@pytest.mark.parametrize("path", PATHS)
def test_t049_paths_that_are_not_served(hosted: Hosted, path: str) -> None:
    with RawClient(hosted.port) as client:
        got = client.send(request(path, POSTED, KNOWN)).answer()
        assert got.status in (400, 404, 405), got
    assert not hosted.received()


@pytest.mark.parametrize("path", sorted(SAME))
def test_t049_paths_that_are_served_in_their_one_form(hosted: Hosted, path: str) -> None:
    with RawClient(hosted.port) as client:
        got = client.send(request(path, POSTED, KNOWN)).answer()
        assert got.status in (200, 400), got
        assert {r.path for r in hosted.received()} <= {"/v1/messages"}


def test_t050_heads_that_are_too_large(hosted: Hosted) -> None:
    for fields in (["a: b"] * 150, ["a: " + "x" * 40_000]):
        with RawClient(hosted.port) as client:
            got = client.send(request("/v1/models", None, *fields)).answer()
            assert got.status in (400, 431)


@pytest.mark.parametrize("upgrade", ["foo", "h2c", "websocket"])
def test_t052_an_upgrade_is_never_made_nor_passed_on(hosted: Hosted, upgrade: str) -> None:
    fields = (
        "connection: upgrade, http2-settings",
        f"upgrade: {upgrade}",
        "http2-settings: AAMAAABk",
    )
    with RawClient(hosted.port) as client:
        first = request("/v1/messages", POSTED, KNOWN, *fields)
        got = client.send(first).answer()
    if got.status == 400 and hosted.host != "edge":
        return  # others do not read the body of such a request
    assert got.status == 200, got
    sent = dict(hosted.received()[-1].headers)
    assert not {"upgrade", "http2-settings"} & sent.keys()


def test_t054_what_belongs_to_one_connection_stays_there(hosted: Hosted) -> None:
    fields = (
        *("connection: keep-alive, x-gw-internal", "x-gw-internal: smuggled-1", "te: trailers"),
        *("keep-alive: timeout=5", "proxy-authorization: smuggled-2", "x-forwarded-for: 10.1.2.3"),
        *("x-forwarded-host: evil.test", "forwarded: for=10.1.2.3", "x-real-ip: 10.1.2.3"),
        *("x-isthmus-caller: smuggled-3", "cookie: smuggled-4", "proxy-connection: close"),
    )
    with RawClient(hosted.port) as client:
        got = client.send(request("/v1/messages", POSTED, KNOWN, *fields)).answer()
    if got.status == 403:  # uvicorn takes this machine's word for where a request comes from
        assert "only programs of this machine" in got.body.decode()
        return
    assert got.status == 200
    dump = json.dumps(hosted.received()[-1].headers)
    for secret in ("smuggled", "10.1.2.3", "evil.test", "trailers", "proxy-", "timeout=5"):
        assert secret not in dump
    assert {name for name, _ in got.fields} & {
        "keep-alive",
        "upgrade",
        "proxy-authenticate",
    } == set()


# Clients that leave.


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize(
    "phase", ["t032 in the stream", "t033 before the head", "t034 not streamed"]
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_that_leaves_ends_the_upstream_exchange(
    hosted: Hosted, dialect: str, phase: str, leave: str
) -> None:
    after = 3 if "stream" in phase and "not" not in phase else 0
    hosted.script(fault={"kind": "stall", "after": after, "seconds": 15})
    path, body = asked(dialect, "hi", stream="not" not in phase)
    counters = hosted.simulator.api.counters
    before = counters.aborted_by_client
    with RawClient(hosted.port) as client:
        client.send(head_of(dialect, path, json.dumps(body).encode()))
        deadline = time.monotonic() + 5
        while not hosted.received() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        if leave == "reset":
            client.reset()
    deadline = time.monotonic() + 1
    while counters.aborted_by_client == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert counters.aborted_by_client == before + 1


def test_a_provider_that_fails(hosted: Hosted) -> None:
    for dialect in DIALECTS:
        hosted.script(fault={"kind": "reset", "after": 4})
        path, body = asked(dialect, "hi", stream=True)
        failed_stream(dialect, hosted.post(path, body, **HEADERS[dialect]))


@pytest.mark.parametrize(
    ("peer", "passes"),
    [
        *((None, True), ("", True), ("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True)),
        *(
            ("10.0.0.1", False),
            ("0.0.0.0", False),
            ("2001:db8::1", False),
            ("localhost.evil", False),
        ),
    ],
)
def test_other_machines_are_refused_without_keys(peer: str | None, passes: bool) -> None:
    """Another host may listen everywhere: it does not know of our keys."""
    asking = HttpRequest("GET", "/v1/models", "", (("host", "localhost"),))
    if passes:
        assert Door([], "127.0.0.1").admit(asking, peer) == ""
    else:
        with pytest.raises(GatewayError, match="only programs of this machine"):
            Door([], "127.0.0.1").admit(asking, peer)


def test_a_wrong_configuration_ends_the_host() -> None:
    with pytest.raises(AssertionError, match="unknown key 'prot'"):
        Hosted("uvicorn", prot=1)
