"""The simulator's HTTP: framing, encodings, limits, and what of a request is judged before its members."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable

import pytest

from isthmus.simulator import Options, Simulator

from .simulator_client import (
    BODY,
    STREAM,
    Answer,
    encode,
    post,
    raw,
    read_answer,
    send,
    with_simulator,
)
from .simulator_requests import BASE, EXTRA, REMOVE, TEXT, ask, b64, image, png, users

LIMITS = [
    f"anthropic-ratelimit-{kind}-{part}"
    for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    for part in ("limit", "remaining", "reset")
]


def test_every_answer_has_the_standard_headers() -> None:
    async def work(simulator: Simulator) -> list[Answer]:
        return [
            await post(simulator, "/v1/messages", BODY),
            await post(simulator, "/v1/messages", STREAM),
            await post(simulator, "/v1/messages", {}),
            await send(simulator, "GET", "/v1/models"),
            await send(simulator, "GET", "/nowhere"),
        ]

    answers = with_simulator(work)
    assert [answer.status for answer in answers] == [200, 200, 400, 200, 404]
    for number, answer in enumerate(answers, start=1):
        assert answer.headers["request-id"] == f"req_011{number:021d}"
        assert answer.headers["anthropic-organization-id"]
        assert [name for name in LIMITS if name not in answer.headers] == []
    assert int(answers[1].headers[LIMITS[1]]) == int(answers[0].headers[LIMITS[1]]) - 1
    assert answers[1].headers["content-type"] == "text/event-stream; charset=utf-8"


def test_keep_alive_and_pipelining_answer_in_order() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[Answer]:
        one = encode("POST", "/v1/messages", json.dumps(STREAM).encode(), {})
        two = encode("GET", "/v1/models?limit=1", b"", {})
        writer.write(one + two + one)
        return [await read_answer(reader) for _ in range(3)]

    first, second, third = raw(work)
    assert first.events()[-1]["type"] == third.events()[-1]["type"] == "message_stop"
    assert len(second.json()["data"]) == 1


def test_connection_close_is_honoured() -> None:
    async def work(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Answer, bytes]:
        writer.write(
            encode("POST", "/v1/messages", json.dumps(BODY).encode(), {"connection": "close"})
        )
        return await read_answer(reader), await reader.read()

    answer, rest = raw(work)
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert rest == b""


def test_a_request_in_single_bytes_and_in_chunks() -> None:
    data = json.dumps(BODY).encode()
    chunked = b"".join(
        b"%x\r\n%b\r\n" % (len(data[i : i + 7]), data[i : i + 7]) for i in range(0, len(data), 7)
    )
    head = encode(
        "POST", "/v1/messages", b"", {"content-length": None, "transfer-encoding": "chunked"}
    )

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[Answer]:
        for byte in encode("POST", "/v1/messages", data, {}):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        first = await read_answer(reader)
        writer.write(head + chunked + b"0\r\n\r\n")
        return [first, await read_answer(reader)]

    first, second = raw(work)
    assert first.body == second.body
    assert first.status == 200


def test_expect_continue() -> None:
    data = json.dumps(BODY).encode()

    async def work(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[bytes, Answer]:
        head = encode(
            "POST",
            "/v1/messages",
            b"",
            {"content-length": str(len(data)), "expect": "100-continue"},
        )
        writer.write(head)
        go = await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        return go, await read_answer(reader)

    go, answer = raw(work)
    assert go == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.status == 200


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
    ],
)
def test_encoded_bodies(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    data = pack(json.dumps(BODY).encode())

    async def work(simulator: Simulator) -> tuple[Answer, bytes]:
        answer = await send(simulator, "POST", "/v1/messages", data, {"content-encoding": encoding})
        return answer, simulator.requests[0].body

    answer, received = with_simulator(work)
    assert answer.status == 200
    assert received == data


def test_a_bomb_is_refused() -> None:
    bomb = gzip.compress(b" " * 2_000_000)

    async def work(simulator: Simulator) -> Answer:
        return await send(simulator, "POST", "/v1/messages", bomb, {"content-encoding": "gzip"})

    answer = with_simulator(work, Options(max_body=100_000))
    assert (answer.status, answer.json()["error"]["type"]) == (413, "request_too_large")
    assert answer.json()["error"]["details"] == {
        "error_code": "request_body_too_large_after_decoding"
    }


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_a_413(chunked: bool) -> None:
    data = b" " * 300_000

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        if chunked:
            head = encode(
                "POST",
                "/v1/messages",
                b"",
                {"content-length": None, "transfer-encoding": "chunked"},
            )
            writer.write(head + b"%x\r\n%b\r\n" % (len(data), data))
        else:
            writer.write(encode("POST", "/v1/messages", data, {}))
        return await read_answer(reader)

    answer = raw(work, Options(max_body=100_000))
    assert (answer.status, answer.json()["error"]["type"]) == (413, "request_too_large")
    assert answer.headers["connection"] == "close"


def test_no_http_is_a_400() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        return await reader.read()

    assert raw(work).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_head_has_no_body() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[bytes]:
        writer.write(encode("HEAD", "/api/hello", b"", {}) + encode("GET", "/api/hello", b"", {}))
        first = await reader.readuntil(b"\r\n\r\n")
        return [first, (await read_answer(reader)).body]

    head, body = raw(work)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body) == {"message": "hello"}


BAD_HEADERS: list[tuple[dict[str, str | None], int, str]] = [
    ({"x-api-key": None}, 401, "x-api-key header is required"),
    ({"x-api-key": ""}, 401, "x-api-key header is required"),
    ({"x-api-key": None, "authorization": "Basic abc"}, 401, "x-api-key header is required"),
    ({"anthropic-version": None}, 400, "anthropic-version: header is required"),
    ({"anthropic-version": "2024-01-01"}, 400, 'anthropic-version: "2024-01-01" is not a valid version'),
    ({"anthropic-beta": "foo-2025-01-01"}, 400, "Unexpected value(s) `foo-2025-01-01` for the `anthropic-beta` header"),
    ({"anthropic-beta": "pdfs-2024-09-25,a,b"}, 400, "Unexpected value(s) `a`, `b` for the `anthropic-beta` header"),
    ({"content-encoding": "br"}, 400, "Unsupported content encoding: br"),
    ({"content-encoding": "gzip"}, 400, "The request body is not valid gzip data"),
    ({"content-type": "application/json; charset=utf-16"}, 400, "Unsupported charset: utf-16"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "status", "message"), BAD_HEADERS)
def test_headers(headers: dict[str, str | None], status: int, message: str) -> None:
    answer = with_simulator(lambda simulator: post(simulator, "/v1/messages", BASE, headers))
    assert answer.status == status
    assert answer.message.startswith(message), answer.message


def test_keys() -> None:
    async def work(simulator: Simulator) -> list[int]:
        rows: list[dict[str, str | None]] = [
            {"x-api-key": "good"},
            {"x-api-key": None, "authorization": "Bearer good"},
            {"x-api-key": "good", "authorization": "Bearer bad"},
            {"x-api-key": "bad"},
            {"x-api-key": "bad", "authorization": "Bearer good"},
            {"x-api-key": None, "authorization": "Bearer bad"},
        ]
        return [(await post(simulator, "/v1/messages", BASE, row)).status for row in rows]

    assert with_simulator(work, Options(api_keys=("good",))) == [200, 200, 200, 401, 401, 401]


BODIES = [
    (b"", "The request body is not valid JSON"),
    (b"{", "The request body is not valid JSON"),
    (b'{"max_tokens": NaN}', "The request body is not valid JSON"),
    (b'{"max_tokens": 01}', "The request body is not valid JSON"),
    (b'{"model": "\xff\xfe"}', "The request body is not valid JSON"),
    (b'{"model": "\\ud800"}', "The request body is not valid JSON"),
    (b"{} {}", "The request body is not valid JSON"),
    (b"[" * 5000, "The request body is not valid JSON"),
    (b"[]", "Input should be an object"),
]


@pytest.mark.parametrize(("body", "message"), BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_no_json_object(body: bytes, message: str) -> None:
    answer = with_simulator(lambda simulator: send(simulator, "POST", "/v1/messages", body))
    assert answer.status == 400
    assert answer.message.startswith(message), answer.message


PATHS = [
    ("POST", "/v1/complete", 404, "not_found_error"),
    ("GET", "/", 404, "not_found_error"),
    ("GET", "/v1/messages", 405, "invalid_request_error"),
    ("DELETE", "/v1/models", 405, "invalid_request_error"),
    ("GET", "/v1/models/claude-nope", 404, "not_found_error"),
]


@pytest.mark.parametrize(("method", "path", "status", "kind"), PATHS)
def test_paths(method: str, path: str, status: int, kind: str) -> None:
    answer = with_simulator(lambda simulator: send(simulator, method, path))
    assert (answer.status, answer.json()["error"]["type"]) == (status, kind)


def test_an_unknown_model_is_a_404_on_both_endpoints() -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        changes = {"model": "claude-nope"} | ({"max_tokens": REMOVE} if "count" in path else {})
        answer = ask(changes, path)
        assert (answer.status, answer.message) == (404, "model: claude-nope")


def test_retired_models_can_be_switched_off() -> None:
    def status(model: str, options: Options) -> int:
        body = {**BASE, "model": model}
        return with_simulator(
            lambda simulator: post(simulator, "/v1/messages", body), options
        ).status

    assert status("claude-sonnet-4-0", Options()) == 200
    assert status("claude-sonnet-4-0", Options(retired=False)) == 404
    assert status("claude-sonnet-4-5", Options(retired=False)) == 200


COUNT_REFUSED = (
    "max_tokens",
    "stream",
    "metadata",
    "stop_sequences",
    "service_tier",
    "temperature",
    "container",
)


@pytest.mark.parametrize("name", COUNT_REFUSED)
def test_count_tokens_has_fewer_members(name: str) -> None:
    values = {
        "max_tokens": 1,
        "stream": False,
        "metadata": {},
        "stop_sequences": [],
        "temperature": 1,
    }
    answer = ask(
        {"max_tokens": REMOVE, name: values.get(name, "auto")}, "/v1/messages/count_tokens"
    )
    assert (answer.status, answer.message) == (400, f"{name}: {EXTRA}")


def test_error_details_of_large_images_name_the_paths() -> None:
    answer = ask({"messages": users(TEXT, image(b64(png(9000, 1))))})
    details = answer.json()["error"]["details"]
    assert details == {
        "error_code": "image_dimensions_too_large",
        "max_side_length_pixels": 8000,
        "paths": ["messages.0.content.1.image"],
    }
    assert json.loads(answer.body)["type"] == "error"
