"""Prompt-cache accounting: what is read and written, by prefix, lifetime, length and key."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from isthmus.simulator import Options, Simulator

from .simulator_client import post, with_simulator

Body = dict[str, Any]
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
LONG = "All work and no play makes a dull prompt. " * 200


def prompt(model: str = "claude-sonnet-4-5", **more: Any) -> Body:
    system = [{"type": "text", "text": LONG, "cache_control": MARK}]
    return {
        "model": model,
        "max_tokens": 50,
        "system": system,
        "messages": [{"role": "user", "content": "Hi"}],
        **more,
    }


def usages(
    bodies: list[Body], keys: list[str] | None = None, steps: list[float] | None = None
) -> list[dict[str, int]]:
    """Fresh, read and written tokens of requests that follow one another."""
    now = [0.0]

    async def work(simulator: Simulator) -> list[dict[str, int]]:
        found = []
        for index, body in enumerate(bodies):
            now[0] += steps[index] if steps else 0.0
            headers: dict[str, str | None] = {"x-api-key": keys[index] if keys else "k"}
            answer = await post(simulator, "/v1/messages", body, headers)
            assert answer.status == 200, answer.body
            usage = answer.json()["usage"]
            assert usage["cache_creation_input_tokens"] == sum(usage["cache_creation"].values())
            found.append(
                {
                    "fresh": usage["input_tokens"],
                    "read": usage["cache_read_input_tokens"],
                    "5m": usage["cache_creation"]["ephemeral_5m_input_tokens"],
                    "1h": usage["cache_creation"]["ephemeral_1h_input_tokens"],
                }
            )
        return found

    return with_simulator(work, Options(clock=lambda: now[0]))


def test_a_second_request_reads_what_the_first_wrote() -> None:
    first, second = usages([prompt(), prompt()])
    assert first["5m"] > 2000
    assert (first["read"], first["1h"]) == (0, 0)
    assert second == {"fresh": first["fresh"], "read": first["5m"], "5m": 0, "1h": 0}


def test_the_sum_is_what_count_tokens_says() -> None:
    async def work(simulator: Simulator) -> list[int]:
        body = prompt()
        counted = {key: value for key, value in body.items() if key != "max_tokens"}
        total = (await post(simulator, "/v1/messages/count_tokens", counted)).json()["input_tokens"]
        usage = (await post(simulator, "/v1/messages", body)).json()["usage"]
        return [
            total,
            usage["input_tokens"]
            + usage["cache_creation_input_tokens"]
            + usage["cache_read_input_tokens"],
        ]

    total, billed = with_simulator(work)
    assert total == billed


def test_keys_do_not_share() -> None:
    _, other, again = usages([prompt()] * 3, keys=["a", "b", "a"])
    assert other["read"] == 0
    assert again["read"] > 0


@pytest.mark.parametrize(("mark", "name", "life"), [(MARK, "5m", 300.0), (HOUR, "1h", 3600.0)])
def test_lifetimes(mark: Body, name: str, life: float) -> None:
    body = prompt(system=[{"type": "text", "text": LONG, "cache_control": mark}])
    rows = usages([body] * 4, steps=[0, life - 1, life - 1, life])
    assert rows[0][name] > 0
    assert [row["read"] > 0 for row in rows] == [False, True, True, False]
    assert rows[3][name] == rows[0][name]


@pytest.mark.parametrize(
    ("model", "cached"),
    [
        ("claude-opus-4-6", False),
        ("claude-opus-4-7", True),
        ("claude-sonnet-4-5", True),
        ("claude-haiku-4-5", False),
    ],
)
def test_short_prefixes_are_not_cached(model: str, cached: bool) -> None:
    first, second = usages([prompt(model)] * 2)
    assert (first["5m"] > 0) == cached
    assert (second["read"] > 0) == cached


def test_a_growing_conversation_reads_its_own_past() -> None:
    def body(turns: int) -> Body:
        messages: list[Body] = []
        for index in range(turns):
            messages += [
                {"role": "user", "content": f"{LONG} {index}"},
                {"role": "assistant", "content": "answer"},
            ]
        return prompt(messages=messages[:-1], cache_control=MARK)

    one, two, three = usages([body(1), body(2), body(3)])
    assert one["read"] == 0
    assert two["read"] == one["5m"] > 4000
    assert three["read"] == two["read"] + two["5m"]
    assert one["fresh"] == two["fresh"] == three["fresh"] == 0


def test_two_lifetimes_are_split() -> None:
    system = [{"type": "text", "text": LONG, "cache_control": HOUR}]
    messages = [
        {"role": "user", "content": [{"type": "text", "text": LONG, "cache_control": MARK}]}
    ]
    (row,) = usages([prompt(system=system, messages=messages)])
    assert row["1h"] > 2000
    assert row["5m"] > 2000


CHANGES: list[tuple[Callable[[Body], Any], str]] = [
    (lambda body: body["messages"][0].update(content="Other"), "system"),
    (lambda body: body.update(max_tokens=10), "all"),
    (lambda body: body.update(tool_choice={"type": "none"}), "system"),
    (lambda body: body.update(thinking={"type": "adaptive"}), "system"),
    (lambda body: body.update(output_config={"effort": "low"}), "system"),
    (lambda body: body["system"][0].update(text=LONG + "!"), "tools"),
    (lambda body: body["tools"][0].update(description="changed"), "none"),
    (lambda body: body.update(model="claude-opus-5"), "none"),
]


@pytest.mark.parametrize(("change", "kept"), CHANGES, ids=range(len(CHANGES)))
def test_what_invalidates_what(change: Callable[[Body], Any], kept: str) -> None:
    tool = {
        "name": "t",
        "description": LONG,
        "input_schema": {"type": "object"},
        "cache_control": MARK,
    }
    messages = [
        {"role": "user", "content": [{"type": "text", "text": LONG, "cache_control": MARK}]}
    ]
    body = prompt("claude-opus-4-8", tools=[tool], messages=messages)
    changed = copy.deepcopy(body)
    change(changed)
    (first, second) = usages([body, changed])
    share = second["read"] / first["5m"]
    low, high = {"none": (0, 0), "tools": (0.2, 0.45), "system": (0.55, 0.8), "all": (1, 1)}[kept]
    assert low <= share <= high


def test_the_lookback_is_twenty_blocks() -> None:
    def body(blocks: int) -> Body:
        texts = [{"type": "text", "text": f"{LONG}{index}"} for index in range(blocks)]
        texts[-1] = {**texts[-1], "cache_control": MARK}
        return prompt(system="short", messages=[{"role": "user", "content": texts}])

    assert usages([body(3), body(22)])[1]["read"] > 0
    assert usages([body(3), body(24)])[1]["read"] == 0


def test_a_breakpoint_in_a_tool_result_counts() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "t", "input": {}}
    part = {"type": "text", "text": LONG, "cache_control": MARK}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [part]}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    first, second = usages([prompt(system="s", messages=messages)] * 2)
    assert second["read"] == first["5m"] > 2000


def test_the_stream_tells_the_same_at_its_start() -> None:
    async def work(simulator: Simulator) -> list[Any]:
        await post(simulator, "/v1/messages", prompt())
        events = (await post(simulator, "/v1/messages", prompt(stream=True))).events()
        return [events[0]["message"]["usage"], events[-2]["usage"]]

    start, end = with_simulator(work)
    assert start["cache_read_input_tokens"] == end["cache_read_input_tokens"] > 0
    assert start["output_tokens"] == 1
    assert end["output_tokens"] > 1
    assert "cache_creation" not in end
