"""The simulator on the wire: framing, encodings, pacing, every fault on a raw socket, and the control endpoint."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from isthmus.simulator import Options, Simulator

from .simulator_client import HEADERS, Answer, encode, post, read_answer, send, with_simulator

BODY: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 500,
    "messages": [
        {
            "role": "user",
            "content": "Say something rather long, please, so that there are many deltas",
        }
    ],
}
STREAM = {**BODY, "stream": True}
LIMITS = [
    f"anthropic-ratelimit-{kind}-{part}"
    for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    for part in ("limit", "remaining", "reset")
]


def scripted(script: dict[str, Any], body: dict[str, Any] | None = None) -> Answer:
    """The answer to one request under a script."""

    async def work(simulator: Simulator) -> Answer:
        simulator.scripts.append(script)
        return await post(simulator, "/v1/messages", body or STREAM)

    return with_simulator(work)


PLAIN = scripted({})


def raw(
    work: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]],
    options: Options | None = None,
) -> Any:
    """Run something on one raw connection."""

    async def run(simulator: Simulator) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        try:
            return await work(reader, writer)
        finally:
            writer.close()

    return with_simulator(run, options)


# --- framing ------------------------------------------------------------------------------------


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


# --- pace -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 10**6])
def test_any_split_gives_the_same_bytes(size: int) -> None:
    for body in (BODY, STREAM):
        text = [{"type": "text", "text": "Zwölf Boxkämpfer jagen 🦊 über den Sylter Deich"}]
        whole = scripted({"blocks": text}, body)
        split = scripted({"blocks": text, "chunk_bytes": size}, body)
        assert split.body == whole.body
        assert split.complete


def test_pings_and_delta_sizes() -> None:
    answer = scripted(
        {"blocks": [{"type": "text", "text": "abcdefgh"}], "delta_chars": 2, "ping_every": 2}
    )
    events = answer.events()
    texts = [
        event["delta"]["text"]
        for event in events
        if event.get("delta", {}).get("type") == "text_delta"
    ]
    assert texts == ["ab", "cd", "ef", "gh"]
    assert [event["type"] for event in events].count("ping") == 5
    assert events[-1]["type"] == "message_stop"


def test_delay_spreads_the_events() -> None:
    start = time.monotonic()
    answer = scripted(
        {"blocks": [{"type": "text", "text": "abcd"}], "delta_chars": 1, "delay": 0.02}
    )
    assert time.monotonic() - start >= 0.02 * (len(answer.events()) - 1)


def test_extra_headers_win() -> None:
    answer = scripted(
        {
            "headers": {
                "x-should-retry": "false",
                "request-id": "req_mine",
                "content-type": "text/odd",
            }
        }
    )
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["request-id"] == "req_mine"
    assert answer.headers["content-type"] == "text/odd"


def test_raw_events_are_sent_verbatim() -> None:
    events = [
        {"type": "message_start", "odd": 1},
        {"type": "brand_new", "x": [None]},
        {"type": "ping"},
    ]
    answer = scripted({"events": events})
    assert answer.events() == events


# --- faults ----------------------------------------------------------------------------------------


def fault(kind: str, **more: Any) -> dict[str, Any]:
    return {"fault": {"kind": kind, **more}}


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["body", "stream"])
def test_nothing_arrives_when_the_fault_comes_before_the_head(body: dict[str, Any]) -> None:
    reset = scripted(fault("reset"), body)
    assert (reset.status, reset.error) == (0, "ConnectionResetError")
    closed = scripted(fault("close"), body)
    assert (closed.status, closed.error) == (0, "IncompleteReadError")


def test_the_head_can_come_before_the_fault() -> None:
    for kind, error in (("reset", "ConnectionResetError"), ("close", "IncompleteReadError")):
        answer = scripted(fault(kind, head=True))
        assert (answer.status, answer.body, answer.complete) == (200, b"", False)
        assert answer.error in (error, "ValueError")


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_stream_breaks_after_so_many_events(after: int) -> None:
    for kind in ("reset", "close", "truncate", "error_event", "garbage", "html", "not_sse"):
        answer = scripted(fault(kind, after=after))
        wanted = PLAIN.body.split(b"\n\n")[:after]
        assert answer.status == 200, kind
        assert answer.body.split(b"\n\n")[:after] == wanted, kind
        assert answer.complete == (kind not in ("reset", "close")), kind
        assert b"message_stop" not in answer.body, kind


def test_reset_is_a_rst_and_close_is_none() -> None:
    async def work(simulator: Simulator, kind: str) -> str:
        simulator.scripts.append(fault(kind, after=2))
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(encode("POST", "/v1/messages", json.dumps(STREAM).encode(), {}))
        try:
            await reader.read(-1)
        except ConnectionResetError:
            return "rst"
        finally:
            writer.close()
        return "fin"

    assert with_simulator(lambda simulator: work(simulator, "reset")) == "rst"
    assert with_simulator(lambda simulator: work(simulator, "close")) == "fin"


def test_truncate_ends_the_body_cleanly_without_message_stop() -> None:
    assert scripted(fault("truncate")).body == b""
    assert scripted(fault("truncate")).complete
    short = scripted(fault("truncate"), BODY)
    assert (short.status, short.complete) == (200, False)
    assert int(short.headers["content-length"]) > len(short.body) > 0


def test_error_event() -> None:
    error = {"type": "rate_limit_error", "message": "slow down", "details": {"error_code": "x"}}
    for after in (0, 4):
        event = scripted(fault("error_event", after=after, error=error)).events()[after]
        assert event == {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "slow down",
                "details": {"error_code": "x"},
            },
        }
    assert scripted(fault("error_event")).events() == [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    ]


def test_a_stall_pauses_and_goes_on() -> None:
    for more in ({}, {"after": 3}, {"after": 1, "body": BODY}):
        body = more.pop("body", STREAM)
        start = time.monotonic()
        answer = scripted(fault("stall", seconds=0.2, **more), body)
        assert time.monotonic() - start >= 0.2
        assert answer.complete
        assert answer.body.endswith((b"}\n\n", b"}"))


def test_an_endless_stall_ends_when_the_client_leaves() -> None:
    async def work(simulator: Simulator) -> dict[str, int]:
        simulator.scripts.append(fault("stall", after=2))
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(encode("POST", "/v1/messages", json.dumps(STREAM).encode(), {}))
        await reader.readuntil(b"content_block_start")
        during = (await send(simulator, "GET", "/sim/state")).json()
        assert during["streams"] == 1
        assert during["connections"] >= 2
        writer.close()
        for _ in range(50):
            state = (await send(simulator, "GET", "/sim/state")).json()
            if state["aborted_by_client"]:
                break
            await asyncio.sleep(0.02)
        return state

    state = with_simulator(work)
    assert (state["aborted_by_client"], state["streams"]) == (1, 0)


def test_web_page_and_other_bodies_in_place_of_a_stream() -> None:
    page = scripted(fault("html"))
    assert page.headers["content-type"].startswith("text/html")
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert scripted(fault("html", error={"status": 502})).status == 502
    plain = scripted(fault("not_sse"))
    assert plain.headers["content-type"] == "application/json"
    assert plain.json()["type"] == "message"
    error = scripted(fault("not_sse", error={"status": 529})).json()
    assert error["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert error["request_id"].startswith("req_011")


def test_garbage_is_no_utf8_and_the_same_each_time() -> None:
    one, two = scripted(fault("garbage")), scripted(fault("garbage"))
    assert one.body == two.body
    assert one.headers["content-type"].startswith("text/event-stream")
    with pytest.raises(UnicodeDecodeError):
        one.body.decode()


def test_slow_head() -> None:
    start = time.monotonic()
    answer = scripted(fault("slow_head", seconds=0.3))
    assert time.monotonic() - start >= 0.3
    assert answer.events()[-1]["type"] == "message_stop"


ERRORS: list[tuple[dict[str, Any], int, str, dict[str, str]]] = [
    ({}, 529, "overloaded_error", {}),
    ({"status": 429}, 429, "rate_limit_error", {}),
    ({"status": 429, "retry_after": 7}, 429, "rate_limit_error", {"retry-after": "7"}),
    ({"status": 500}, 500, "api_error", {}),
    (
        {"status": 503, "headers": {"x-should-retry": "false"}},
        503,
        "api_error",
        {"x-should-retry": "false"},
    ),
    ({"status": 400, "type": "billing_error"}, 400, "billing_error", {}),
]


@pytest.mark.parametrize(("error", "status", "kind", "headers"), ERRORS)
def test_scripted_errors(
    error: dict[str, Any], status: int, kind: str, headers: dict[str, str]
) -> None:
    answer = scripted({"error": {**error, "message": "told so", "details": {"error_code": "e"}}})
    assert answer.status == status
    value = answer.json()
    assert value["error"] == {"type": kind, "message": "told so", "details": {"error_code": "e"}}
    assert value["request_id"] == answer.headers["request-id"]
    assert headers.items() <= answer.headers.items()
    assert ("retry-after" in answer.headers) == ("retry-after" in headers)


def test_odd_usage_is_sent_as_told() -> None:
    for value in (None, "many", 0):
        events = scripted({"usage": {"output_tokens": value}}).events()
        assert events[-2]["usage"]["output_tokens"] == value
        assert (
            scripted({"usage": {"output_tokens": value}}, BODY).json()["usage"]["output_tokens"]
            == value
        )


def test_a_defect_is_a_500_and_not_a_silence() -> None:
    async def work(simulator: Simulator) -> tuple[Answer, list[str]]:
        told: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: told.append(context["message"])
        )
        simulator.scripts.append(5)  # type: ignore[arg-type]
        simulator.api.cache.clock = None  # type: ignore[assignment]
        first = await post(simulator, "/v1/messages", BODY)
        assert first.status == 400
        return await post(simulator, "/v1/messages", BODY), told

    answer, told = with_simulator(work)
    assert (answer.status, answer.headers["connection"]) == (500, "close")
    assert told == ["the simulator failed"]


def test_a_raw_error_body_and_a_fault_in_an_error() -> None:
    assert scripted({"error": {"status": 502, "raw_body": "<html>"}}).body == b"<html>"
    assert scripted({"error": {}, **fault("reset")}).error == "ConnectionResetError"


# --- scripts and the control endpoint -----------------------------------------------------------


BAD_SCRIPTS: list[tuple[Any, str]] = [
    ({"block": []}, "sim script: block: Extra inputs are not permitted"),
    ({"blocks": {}}, "sim script: blocks: Input should be a valid list"),
    ({"blocks": [{}]}, "sim script: blocks.0.type: Input should be a valid string"),
    ({"blocks": [{"type": "text"}]}, "sim script: blocks.0.text: Input should be a valid string"),
    (
        {"blocks": [{"type": "tool_use", "name": "x", "input": 5}]},
        "sim script: blocks.0.input: Input should be a valid dictionary",
    ),
    ({"fault": {"kind": "explode"}}, "sim script: fault.kind: Input should be 'reset', 'truncate'"),
    ({"fault": {}}, "sim script: fault.kind: Field required"),
    (
        {"error": {"status": 200}},
        "sim script: error.status: Input should be greater than or equal to 300",
    ),
    ({"delay": -1}, "sim script: delay: Input should be greater than or equal to 0"),
    ({"chunk_bytes": 0}, "sim script: chunk_bytes: Input should be greater than or equal to 1"),
    ({"headers": {"a": "b\r\nc: d"}}, "sim script: headers."),
    ({"events": [{}]}, "sim script: events.0.type: Input should be a valid string"),
    ({"extra": {"content": []}}, "sim script: extra.content: has a member of its own"),
    (5, "sim script: Input should be an object"),
]


@pytest.mark.parametrize(("script", "message"), BAD_SCRIPTS, ids=range(len(BAD_SCRIPTS)))
def test_a_bad_script_says_what_is_wrong(script: Any, message: str) -> None:
    async def work(simulator: Simulator) -> tuple[Answer, Answer, int]:
        by_control = await post(simulator, "/sim/scripts", [{}, script], {"x-api-key": None})
        body = {**BODY, "messages": [{"role": "user", "content": f"[[sim:{json.dumps(script)}]]"}]}
        return by_control, await post(simulator, "/v1/messages", body), len(simulator.scripts)

    by_control, by_directive, waiting = with_simulator(work)
    assert (by_control.status, by_directive.status, waiting) == (400, 400, 0)
    assert by_control.message.startswith(message), by_control.message
    assert by_directive.message == by_control.message


@pytest.mark.parametrize("text", ["[[sim:{]]", "[[sim:]]", "[[sim:{}", "[[sim:{} ]]"])
def test_a_broken_directive(text: str) -> None:
    body = {**BODY, "messages": [{"role": "user", "content": text}]}
    answer = with_simulator(lambda simulator: post(simulator, "/v1/messages", body))
    assert answer.status == 400
    assert answer.message.startswith("sim script: ")


def test_a_directive_is_found_in_the_last_user_turn_only() -> None:
    told = 'Please [[sim:{"blocks":[{"type":"text","text":"told"}]}]] now'
    for messages in (
        [{"role": "user", "content": told}],
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "first"}, {"type": "text", "text": told}],
            }
        ],
    ):
        body = {**BODY, "messages": messages}
        answer = with_simulator(lambda simulator, body=body: post(simulator, "/v1/messages", body))
        assert answer.json()["content"] == [{"type": "text", "text": "told"}]
    messages = [
        {"role": "user", "content": told},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "y"},
    ]
    answer = with_simulator(
        lambda simulator: post(simulator, "/v1/messages", {**BODY, "messages": messages})
    )
    assert 'heard: "y"' in answer.json()["content"][0]["text"]


def test_the_control_endpoint() -> None:
    async def work(simulator: Simulator) -> None:
        no_key = {"x-api-key": None, "anthropic-version": None}
        assert (
            await post(
                simulator, "/sim/scripts", {"blocks": [{"type": "text", "text": "one"}]}, no_key
            )
        ).json() == {"scripts": 1}
        assert (await post(simulator, "/sim/scripts", [{"blocks": []}, {}], no_key)).json() == {
            "scripts": 3
        }
        first = await post(simulator, "/v1/messages?beta=true", BODY, {"X-Odd-Name": "kept"})
        second = await post(simulator, "/v1/messages", BODY)
        assert first.json()["content"] == [{"type": "text", "text": "one"}]
        assert second.json()["content"] == []
        assert (await send(simulator, "GET", "/sim/scripts")).json() == [{}]
        listed = (await send(simulator, "GET", "/sim/requests")).json()
        assert [
            (item["index"], item["method"], item["path"], item["query"]) for item in listed
        ] == [
            (0, "POST", "/v1/messages", "beta=true"),
            (1, "POST", "/v1/messages", ""),
        ]
        assert ["X-Odd-Name", "kept"] in listed[0]["headers"]
        assert json.loads(listed[0]["body"]) == BODY
        assert (await send(simulator, "GET", "/sim/requests/0/body")).body == json.dumps(
            BODY
        ).encode()
        assert (await send(simulator, "GET", "/sim/requests/2/body")).status == 404
        assert (await send(simulator, "PUT", "/sim/requests")).status == 404
        assert (await send(simulator, "DELETE", "/sim")).status == 200
        assert (await send(simulator, "GET", "/sim/requests")).json() == []
        assert list(simulator.scripts) == simulator.requests == []

    with_simulator(work)


def test_recorded_requests_are_bounded_and_exact() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[Any]:
        data = encode("GET", "/api/hello", b"", {})
        for number in range(1005):
            writer.write(data.replace(b"/api/hello", b"/api/hello?%d" % number))
            await read_answer(reader)
        writer.write(encode("GET", "/sim/requests", b"", {}))
        return (await read_answer(reader)).json()

    found = raw(work)
    assert len(found) == 1000
    assert (found[0]["query"], found[-1]["query"]) == ("5", "1004")
    assert dict(found[0]["headers"])["x-api-key"] == HEADERS["x-api-key"]


def test_limits_can_be_enforced() -> None:
    now = [1000.0]

    async def work(simulator: Simulator) -> list[tuple[int, str | None]]:
        found = []
        for at in (0, 1, 2, 61):
            now[0] = 1000.0 + at
            answer = await post(simulator, "/v1/messages", BODY)
            found.append((answer.status, answer.headers.get("retry-after")))
        return found

    options = Options(requests_per_minute=2, enforce_limits=True, clock=lambda: now[0])
    assert with_simulator(work, options) == [(200, None), (200, None), (429, "58"), (200, None)]
