"""Everything that goes wrong on purpose, seen on a raw socket."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from isthmus.simulator import Simulator

from .simulator_client import BODY, STREAM, Answer, encode, post, scripted, send, with_simulator

PLAIN = scripted({})


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
