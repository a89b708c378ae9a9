"""What the gateway listens on: TLS, a unix socket, sockets that are passed to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx2
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from isthmus import sockets
from isthmus.config import ConfigErrors, load
from tests.clients_raw import RawClient, request
from tests.harness import World, message
from tests.processes import GATEWAY, ROOT, environment

POSTED = request("/v1/messages", json.dumps(message()).encode(), "anthropic-version: 2023-06-01")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    made = authority.issue_cert("localhost", "127.0.0.1")
    made.private_key_pem.write_to_path(str(folder / "key.pem"))
    for place, blob in enumerate(made.cert_chain_pems):
        blob.write_to_path(str(folder / "cert.pem"), append=place > 0)
    return {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


@pytest.fixture(scope="module")
def secure(certificate: dict[str, str]) -> Iterator[World]:
    made = World(tls=certificate, timeouts={"head": 1})
    yield made
    made.close()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls_with_the_official_sdk(secure: World, authority: trustme.CA) -> None:
    for port, path in ((secure.port, "/anthropic"), (secure.anthropic_port, "")):
        http_client = httpx2.Client(verify=trusting(authority))
        with anthropic.Anthropic(
            base_url=f"https://localhost:{port}{path}", api_key="any", http_client=http_client
        ) as client:
            body = message("Hello over TLS", model="claude-sonnet-5-5")
            assert client.messages.create(**body).content
            with client.messages.stream(**body) as stream:
                assert "".join(stream.text_stream)


def test_t055_tls_versions_and_protocols(secure: World, authority: trustme.CA) -> None:
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", secure.port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        assert peer.selected_alpn_protocol() == "http/1.1"
        assert peer.version() in ("TLSv1.2", "TLSv1.3")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", secure.port), 5) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


def test_tls_early_refusals_are_not_lost(secure: World, authority: trustme.CA) -> None:
    for _ in range(5):
        connection = http.client.HTTPSConnection(
            "localhost", secure.port, timeout=5, context=trusting(authority)
        )
        connection.connect()
        connection.sock.sendall(request("/v1/messages", b"x" * 40_000_000)[:200_000])
        answer = http.client.HTTPResponse(connection.sock)
        answer.begin()
        assert (answer.status, bool(answer.read())) == (413, True)
        connection.close()


def test_a_handshake_has_a_deadline_and_plain_text_is_no_handshake(secure: World) -> None:
    with RawClient(secure.port) as client:
        started = time.monotonic()
        assert client.ended()
        assert time.monotonic() - started < 4
    with RawClient(secure.port) as client:
        assert b"HTTP/1.1 200" not in client.send(POSTED).rest()


def test_pages_are_told_by_their_scheme(secure: World, authority: trustme.CA) -> None:
    for origin, status in (("https", 200), ("http", 403)):
        connection = http.client.HTTPSConnection(
            "localhost", secure.port, timeout=5, context=trusting(authority)
        )
        fields = {"origin": f"{origin}://localhost:{secure.port}"}
        connection.request("GET", "/v1/models", headers=fields)
        assert connection.getresponse().status == status
        connection.close()


@pytest.mark.parametrize("problem", ["missing", "half", "another key", "no PEM", "encrypted"])
def test_tls_files_that_will_not_do(
    problem: str, certificate: dict[str, str], authority: trustme.CA, tmp_path: Path
) -> None:
    files = dict(certificate)
    spoilt = tmp_path / "spoilt.pem"
    if problem == "missing":
        files["cert"] = str(tmp_path / "nowhere.pem")
    elif problem == "half":
        del files["key"]
    elif problem == "another key":
        authority.issue_cert("other").private_key_pem.write_to_path(str(spoilt))
        files["key"] = str(spoilt)
    elif problem == "no PEM":
        spoilt.write_text("hello")
        files["cert"] = str(spoilt)
    else:
        key = serialization.load_pem_private_key(Path(files["key"]).read_bytes(), None)
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        spoilt.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"x")))
        files["key"] = str(spoilt)
    path = tmp_path / "config.yaml"
    lines = [f"  {name}: {value}" for name, value in files.items()]
    path.write_text("\n".join(["backends: {a: {type: simulator}}", "tls:", *lines, ""]))
    with pytest.raises(ConfigErrors) as caught:
        load(path, {}, {})
    assert [error.key for error in caught.value.errors] == ["tls"]
    assert [error.line for error in caught.value.errors] == [3]


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))  # a program that ended without a word
    world = World(unix_socket=str(path), anthropic_port=None)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with RawClient(0, unix=path) as client:
            for _ in range(2):
                assert client.send(POSTED).answer().status == 200
        with pytest.raises(OSError, match="answers there"):
            sockets.unix(path).__enter__()
        assert world.port == 0
    finally:
        world.close()
    assert not path.exists()


def test_a_unix_socket_takes_the_place_of_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("a file")
    with pytest.raises(FileExistsError), sockets.unix(path):
        pass
    assert path.read_text() == "a file"
    with pytest.raises(FileNotFoundError), sockets.unix(tmp_path / "no" / "s"):
        pass
    path.unlink()
    with sockets.unix(path):
        path.unlink()
        path.write_text("a successor's")
    assert path.exists()


def test_a_unix_socket_counts_as_local(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    rest = "backends: {a: {type: simulator}}\nhost: 0.0.0.0\n"
    path.write_text(f"{rest}unix_socket: {tmp_path / 's'}\n")
    assert load(path, {}, {}).config.unix_socket
    path.write_text(f"{rest}unix_socket: {tmp_path / 's'}\nanthropic_port: 1\n")
    with pytest.raises(ConfigErrors, match="clients need keys"):
        load(path, {}, {})
    path.write_text(f"{rest}unix_socket: /{'x' * 101}\n")
    with pytest.raises(ConfigErrors, match="at most 100 bytes"):
        load(path, {}, {})


# As processes: what was passed, and what the command says.

PASSING = """
import os, sys
count = int(sys.argv[1])
for place in range(count):
    os.dup2(int(sys.argv[2 + place]), 3 + place)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


@contextlib.contextmanager
def passing(
    tmp_path: Path, *listeners: socket.socket, **more: str
) -> Iterator[subprocess.Popen[str]]:
    """A gateway that is given listening sockets, as systemd would."""
    (tmp_path / "config.yaml").write_text("backends: {a: {type: simulator}}\n")
    numbers = [listener.fileno() for listener in listeners]
    command = [sys.executable, "-c", PASSING, str(len(numbers)), *map(str, numbers), *GATEWAY]
    env = environment(tmp_path, ISTHMUS_CONFIG=str(tmp_path / "config.yaml"), **more)
    process = subprocess.Popen(
        [*command, "serve"],
        cwd=ROOT,
        env=env,
        pass_fds=numbers,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def high() -> Iterator[list[socket.socket]]:
    """Two listening sockets whose descriptors are out of the way of those to be passed."""
    made = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as first:
            number = os.dup(first.fileno())
            while number < 20:
                number = os.dup(first.fileno())
            made.append(socket.socket(fileno=number))
    yield made
    for one in made:
        one.close()


def test_sockets_that_are_passed(tmp_path: Path, high: list[socket.socket]) -> None:
    with passing(tmp_path, *high) as process:
        for listener, path in zip(high, ("/v1/chat/completions", "/v1/messages"), strict=True):
            port = listener.getsockname()[1]
            with RawClient(port, seconds=20) as client:
                body = json.dumps(message()).encode()
                got = client.send(request(path, body, "anthropic-version: 2023-06-01")).answer()
                assert got.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_passed_socket_that_everybody_reaches_needs_keys(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener, passing(tmp_path, listener) as process:
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 2
        assert "LISTEN_FDS" in out
        assert "keys" in out
        assert "Traceback" not in out


@pytest.mark.parametrize("taken", ["a program", "a file", "no folder"])
def test_a_unix_socket_that_cannot_be_had(tmp_path: Path, taken: str) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        if taken == "a program":
            other.bind(str(path))
            other.listen()
        elif taken == "a file":
            path.write_text("x")
        else:
            path = tmp_path / "no" / "s"
        (tmp_path / "config.yaml").write_text(
            f"backends: {{a: {{type: simulator}}}}\nunix_socket: {path}\n"
        )
        env = environment(tmp_path, ISTHMUS_CONFIG=str(tmp_path / "config.yaml"))
        ran = subprocess.run(
            [*GATEWAY, "serve"],
            check=False,
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert ran.returncode == 2
    assert str(path) in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_banner_names_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    (tmp_path / "config.yaml").write_text(
        f"backends: {{a: {{type: simulator}}}}\nunix_socket: {path}\n"
    )
    env = environment(tmp_path, ISTHMUS_CONFIG=str(tmp_path / "config.yaml"))
    process = subprocess.Popen(
        [*GATEWAY, "serve"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f"at the unix socket {path}" in out
    assert f"curl --unix-socket {path} http://localhost/v1/messages" in out
    assert not path.exists()
