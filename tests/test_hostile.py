"""Many clients, clients that leave or do not read, and secrets: nothing leaks, blocks or grows."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import logging
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import structlog

from isthmus import auth
from isthmus.auth import Door
from isthmus.request import HttpRequest
from isthmus.server import log_to_stderr
from tests.harness import UPSTREAM_KEY, VERSION, World, error_message, message
from tests.test_server import CHAT, DIALECTS, GEMINI, HEADERS, asked, upstream_says
from tests.test_streaming import request_bytes

# --- many at once, and those that leave ---------------------------------------------------------


def test_nobody_gets_what_another_asked_for(world: World) -> None:
    """Each prompt and each answer bears a mark of its own; a third of the clients leave halfway."""

    def ask(n: int) -> tuple[str, str]:
        dialect, mark = DIALECTS[n % 4], f"mark-{n:04d}-end"
        directive = {"blocks": [{"type": "text", "text": f"said {mark}"}], "delta_chars": 3}
        directive |= {"chunk_bytes": 300, "delay": 0.001}
        prompt = f"[[sim:{json.dumps(directive)}]] {mark}"
        path, body = asked(dialect, prompt, stream=n % 2 == 0)
        if n % 3 == 0:
            leave(world, dialect, prompt, after=random.Random(n).uniform(0, 0.05))
            return "", ""
        return mark, world.post(path, body, **HEADERS[dialect]).body.decode()

    with ThreadPoolExecutor(16) as pool:
        answers = [row for row in pool.map(ask, range(120)) if row[0]]
    assert len(answers) == 80
    marks = [mark for mark, _ in answers]
    for mark, text in answers:
        said = joined(text)
        assert mark in said
        assert not [other for other in marks if other != mark and other in said]


def joined(body: str) -> str:
    """All texts of an answer one after another, whatever its form."""
    values = [line.removeprefix("data: ") for line in body.splitlines() if "{" in line]
    return "".join(text for value in values for text in texts(json.loads(value)))


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("text", "content", "delta") and isinstance(inner, str):
                yield inner
            else:
                yield from texts(inner)
    for inner in value if isinstance(value, list) else ():
        yield from texts(inner)


def leave(world: World, dialect: str, prompt: str, after: float) -> None:
    """Ask, and hang up ``after`` seconds, whatever has come by then."""
    path, body = asked(dialect, prompt, stream=True)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nanthropic-version: 2023-06-01\r\n"
    with socket.create_connection(("127.0.0.1", world.port), 5) as peer:
        peer.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        time.sleep(after)


def eventually(fact: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.02)
    return fact()


def test_clients_that_leave_cost_nothing_for_long() -> None:
    """At any stage: no task, no file and no connection stays behind, and the next is answered."""
    world = World()
    loop = world.loop._loop

    def tasks() -> int:
        async def count() -> int:
            return len(asyncio.all_tasks(loop))

        return world.loop.run(count())

    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    try:
        path, body = asked("anthropic", "hi", stream=True)
        assert world.post(path, body, **VERSION).status == 200
        before = tasks(), files()
        for n in range(80):
            dice = random.Random(n)
            dialect = dice.choice(DIALECTS)
            directive = {"fault": {"kind": "stall", "after": n % 7, "seconds": 30}}
            leave(world, dialect, f"[[sim:{json.dumps(directive)}]]", dice.uniform(0, 0.02))
            half = request_bytes(dialect)[: dice.randrange(1, 200)]
            with socket.create_connection(("127.0.0.1", world.port), 5) as peer:
                peer.sendall(half)
        # The simulator's own end of each, and the connection that is kept for the next request.
        assert eventually(lambda: tasks() <= before[0] + 1), tasks()
        assert eventually(lambda: files() <= before[1] + 2), files()
        assert world.post(path, body, **VERSION).status == 200
    finally:
        world.close()


COUNTS = {
    "anthropic": ("/v1/messages/count_tokens", message()),
    "openai-responses": ("/v1/responses/input_tokens", {"model": "m", "input": "hi"}),
    "gemini": (
        "/v1beta/models/claude-sonnet-4-5:countTokens",
        {"contents": [{"parts": [{"text": "hi"}]}]},
    ),
}


@pytest.mark.parametrize("dialect", COUNTS)
def test_a_client_that_leaves_ends_its_count(dialect: str) -> None:
    """A provider that thinks for long about a count is left, too."""
    path, body = COUNTS[dialect]
    asked_for, left = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def provide() -> None:
        with contextlib.suppress(OSError):
            while not left.is_set():
                peer, _ = listener.accept()
                with peer:
                    if b"/count_tokens" not in peer.recv(65536):
                        continue
                    asked_for.set()
                    while peer.recv(65536):
                        pass
                    left.set()

    threading.Thread(target=provide, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    world = World(backends={"anthropic": {"type": "anthropic", "api_key": "k", "base_url": url}})
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nanthropic-version: 2023-06-01\r\n"
    try:
        with socket.create_connection(("127.0.0.1", world.port), 5) as peer:
            peer.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
            assert asked_for.wait(5)
        assert left.wait(1)
    finally:
        world.close()
        listener.close()


def test_a_provider_that_counts_nothing_is_an_error_and_not_zero() -> None:
    for body in (b"{}", b'{"input_tokens": null}', b'{"input_tokens": "x"}'):
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}"
        answer = f"{head}\r\n\r\n".encode() + body
        url, listener = upstream_says(answer, answer)
        world = World(
            backends={"anthropic": {"type": "anthropic", "api_key": "k", "base_url": url}}
        )
        try:
            reply = world.post(*COUNTS["gemini"])
            assert (reply.status, error_message("gemini", reply)) == (
                502,
                "the provider sent no token count",
            )
        finally:
            world.close()
            listener.close()


def test_a_client_that_does_not_read_holds_the_provider_back() -> None:
    """What nobody takes is not piled up: the provider is not read any further."""
    sent, stop = [0], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    head += b'event: message_start\ndata: {"type":"message_start","message":{"content":[]}}\n\n'
    filler = b"event: ping\ndata: " + json.dumps({"type": "ping", "x": "y" * 65_000}).encode()
    filler += b"\n\n"

    def provide() -> None:
        # An OSError where nobody reads any more: what this test wants to see.
        with contextlib.suppress(OSError):
            while not stop.is_set():
                peer, _ = listener.accept()
                with peer:
                    if b"/v1/models" in peer.recv(65536):
                        continue
                    peer.sendall(head)
                    while sent[0] < 200_000_000:
                        peer.sendall(filler)
                        sent[0] += len(filler)

    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    threading.Thread(target=provide, daemon=True).start()
    world = World(backends={"anthropic": {"type": "anthropic", "api_key": "k", "base_url": url}})
    try:
        with socket.create_connection(("127.0.0.1", world.port), 5) as peer:
            peer.sendall(request_bytes("anthropic"))
            assert eventually(lambda: sent[0] > 0)
            time.sleep(1.5)
            assert sent[0] < 32_000_000, "bounded by buffers of sockets and of the gateway"
            assert world.get("/v1/models").status == 200, "and others are served meanwhile"
    finally:
        stop.set()
        world.close()
        listener.close()


# --- what a client names ------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_nothing_that_a_client_names_is_fetched(world: World, dialect: str) -> None:
    """Addresses of pictures travel on; the gateway itself opens no connection for anybody."""
    trap = socket.create_server(("127.0.0.1", 0))
    trap.settimeout(0.2)
    url = f"https://127.0.0.1:{trap.getsockname()[1]}/latest/meta-data.png"
    image = {"type": "image", "source": {"type": "url", "url": url}}
    path, body = asked(dialect, "hi")
    part: dict[str, tuple[str, Any]] = {
        "anthropic": ("messages", [{"role": "user", "content": [image]}]),
        "openai-chat": (
            "messages",
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}],
        ),
        "openai-responses": (
            "input",
            [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}],
        ),
        "gemini": (
            "contents",
            [{"parts": [{"fileData": {"fileUri": url, "mimeType": "image/png"}}]}],
        ),
    }
    name, value = part[dialect]
    world.post(path, {**body, name: value, "api_base": url, "base_url": url}, **HEADERS[dialect])
    world.post(path, {**body, name: value}, **HEADERS[dialect])
    sent = json.loads(world.received()[-1].body)
    assert sent["messages"][-1]["content"][-1]["source"] == {"type": "url", "url": url}
    with pytest.raises(TimeoutError):
        trap.accept()
    trap.close()


def test_a_name_of_a_model_leads_to_no_other_path(world: World) -> None:
    """Into a URL of the provider's a name goes as one segment; into a body it goes as it is."""
    for name in ("..%2F..%2Fv1%2Ffiles", "x%3Fa=b", "x%23y", "..", "%2e%2e"):
        world.simulator.reset()
        reply = world.get(f"/v1/models/{name}", **VERSION)
        assert reply.status == 404, name
        for request in world.simulator.requests:
            assert request.query in ("", "limit=1000")
            assert request.path.startswith("/v1/models")
    reply = world.post(GEMINI.replace("claude-sonnet-4-5", "..%2F..%2Fx"), asked("gemini", "a")[1])
    assert reply.status == 404
    assert [request.path for request in world.received()] in ([], ["/v1/messages"])


# --- secrets ------------------------------------------------------------------------------------

CLIENT_KEY = "client-key-canary-9f2c"
PROMPT = "prompt-canary-51d0"
SAID = "answer-canary-77ab"


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that any logger writes at its most talkative, in the form that `serve` gives it."""
    written = io.StringIO()
    root, before = logging.getLogger(), structlog.get_config()
    handler, level = logging.StreamHandler(written), root.level
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", written)
        log_to_stderr()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)
    structlog.configure(**before)


def test_no_key_and_no_word_of_a_conversation_is_logged_or_told(
    logs: io.StringIO,
) -> None:
    world = World(auth={"keys": [CLIENT_KEY]})
    replies: list[str] = []
    faults: list[dict[str, Any]] = [
        {},
        {"error": {"status": 401, "type": "authentication_error", "message": UPSTREAM_KEY}},
        {"error": {"status": 400, "raw_body": f"<p>{UPSTREAM_KEY}</p>"}},
        {"error": {"status": 302, "headers": {"location": "http://inside.test"}}},
        {"fault": {"kind": "garbage", "after": 0}},
        {"fault": {"kind": "reset", "after": 3}},
        {"fault": {"kind": "not_sse", "after": 0}},
    ]
    try:
        for fault in faults:
            for dialect in DIALECTS:
                world.script(blocks=[{"type": "text", "text": SAID}], **fault)
                path, body = asked(dialect, PROMPT, stream=True)
                mark = "&" if "?" in path else "?"
                reply = world.post(f"{path}{mark}key={CLIENT_KEY}", body, **HEADERS[dialect])
                replies.append(f"{reply.headers} {reply.body.decode()}")
        world.post(CHAT, {"messages": PROMPT}, authorization=f"Bearer {CLIENT_KEY}")
        port = world.simulator.url.rsplit(":", 1)[1]
    finally:
        world.close()
    written = logs.getvalue()
    for secret in (CLIENT_KEY, UPSTREAM_KEY, PROMPT, SAID):
        assert secret not in written
    for told in replies:
        for secret in (CLIENT_KEY, UPSTREAM_KEY, f":{port}", "Traceback", "inside.test"):
            assert secret not in told


def test_an_error_of_our_own_tells_nothing_of_ourselves(
    world: World, logs: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets the number of its request; the log has the place, without any value."""

    def broken(*_: object) -> bytes:
        secret = PROMPT
        raise ZeroDivisionError(f"at {len(secret)}")

    monkeypatch.setattr("isthmus.bodies.Bodies.read", broken)
    for dialect in DIALECTS:
        path, body = asked(dialect, PROMPT)
        reply = world.post(path, body, **HEADERS[dialect])
        assert reply.status == 500
        assert error_message(dialect, reply) == "an error of the gateway itself"
        assert reply.headers["request-id"].startswith("req_")
    written = logs.getvalue()
    assert "ZeroDivisionError" in written
    assert PROMPT not in written


def test_keys_are_kept_hashed_and_compared_in_constant_time() -> None:
    door = Door([CLIENT_KEY], "127.0.0.1")
    held = {name: getattr(door, name) for name in vars(door)}
    assert CLIENT_KEY not in repr(held)
    fields = (("host", "localhost"), ("x-api-key", CLIENT_KEY))
    door.admit(HttpRequest("GET", "/", headers=fields), None)
    source = ast.parse(inspect.getsource(auth))
    called = {ast.unparse(node.func) for node in ast.walk(source) if isinstance(node, ast.Call)}
    assert "hmac.compare_digest" in called
    compared = [ast.unparse(node) for node in ast.walk(source) if isinstance(node, ast.Compare)]
    assert not [text for text in compared if "digest" in text or "known" in text]


# --- the list of models -------------------------------------------------------------------------


def test_models_are_listed_from_memory() -> None:
    """A client asks before its first request and does not wait: nor does it for the provider."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    world = World(
        backends={"anthropic": {"type": "anthropic", "api_key": "k", "base_url": url}},
        auth={"keys": [CLIENT_KEY]},
    )
    try:
        for port in (world.port, world.anthropic_port):
            for key in ({"x_api_key": CLIENT_KEY}, {"authorization": f"Bearer {CLIENT_KEY}"}):
                started = time.monotonic()
                reply = world.get("/v1/models?limit=1000", port, **VERSION, **key)
                assert time.monotonic() - started < 1
                assert reply.status == 200
                rows = reply.json()["data"]
                assert all("claude" in row["id"] and row["display_name"] for row in rows)
                assert reply.json()["first_id"] == rows[0]["id"]
    finally:
        world.close()
        listener.close()
