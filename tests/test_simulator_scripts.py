"""Scripts of the simulator: pace, directives, and the control endpoint."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from isthmus.simulator import Options, Simulator

from .simulator_client import (
    BODY,
    HEADERS,
    STREAM,
    Answer,
    encode,
    post,
    raw,
    read_answer,
    scripted,
    send,
    with_simulator,
)


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
