"""The official SDK as a client of the simulator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anthropic
import pytest
from anthropic import AsyncAnthropic

from isthmus.simulator import Options, Simulator
from isthmus.simulator.json_schema import satisfies

from .simulator_client import send, with_simulator
from .simulator_requests import WEATHER, user

# Not deprecated: the SDK warns of those.
CURRENT = "claude-opus-4-6"
T = TypeVar("T")
Body = dict[str, Any]


def sdk(
    work: Callable[[AsyncAnthropic, Simulator], Awaitable[T]], options: Options | None = None
) -> T:
    """Run a coroutine with the official client."""

    async def run(simulator: Simulator) -> T:
        async with AsyncAnthropic(
            api_key="sk-ant-test", base_url=simulator.url, max_retries=0
        ) as client:
            return await work(client, simulator)

    return with_simulator(run, options)


def test_create() -> None:
    async def work(client: AsyncAnthropic, simulator: Simulator) -> Any:
        message = await client.messages.create(
            model=CURRENT, max_tokens=100, messages=user("Hello there")
        )
        assert simulator.requests[0].path == "/v1/messages"
        return message

    message = sdk(work)
    assert message.model == CURRENT
    assert message.content[0].text == 'Claude Opus 4.6 (simulated) heard: "Hello there"'
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


def test_stream_with_a_tool_and_its_result() -> None:
    async def work(client: AsyncAnthropic, simulator: Simulator) -> Any:
        messages = user("What is the temperature in this city?")
        request = {
            "model": "claude-opus-5-5",
            "max_tokens": 400,
            "tools": [WEATHER],
            "messages": messages,
        }
        async with client.messages.stream(**request) as stream:
            first = await stream.get_final_message()
        call = first.content[-1]
        messages += [
            {"role": "assistant", "content": first.content},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}
                ],
            },
        ]
        async with client.messages.stream(**request) as stream:
            text = "".join([part async for part in stream.text_stream])
        return first, call, text

    first, call, text = sdk(work)
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    assert first.stop_reason == "tool_use"
    assert first.content[0].thinking == ""
    assert first.content[0].signature
    assert satisfies(call.input, WEATHER["input_schema"])
    assert '"21 degrees"' in text


def test_count_tokens_and_models() -> None:
    async def work(client: AsyncAnthropic, simulator: Simulator) -> Any:
        count = await client.messages.count_tokens(
            model=CURRENT, messages=user("Hello there"), tools=[WEATHER]
        )
        message = await client.messages.create(
            model=CURRENT, max_tokens=9, messages=user("Hello there"), tools=[WEATHER]
        )
        assert count.input_tokens == message.usage.input_tokens
        names = [model.id async for model in client.models.list(limit=4)]
        retired = [model.id async for model in client.models.list(lifecycle=["retired"], limit=3)]
        one = await client.models.retrieve("claude-sonnet-4-5")
        return names, retired, one

    names, retired, one = sdk(work)
    assert len(names) == len(set(names)) > 15
    assert "claude-sonnet-4-20250514" in retired
    assert not set(names) & set(retired)
    assert one.id == "claude-sonnet-4-5-20250929"
    assert (one.lifecycle, one.max_input_tokens, one.max_tokens) == ("deprecated", 200_000, 64_000)
    assert one.capabilities.thinking.types.enabled.supported
    assert not one.capabilities.thinking.types.adaptive.supported
    assert not one.capabilities.effort.supported


def test_pages_of_models() -> None:
    async def work(simulator: Simulator) -> None:
        async def page(query: str) -> Any:
            return (await send(simulator, "GET", f"/v1/models?{query}")).json()

        whole = [model["id"] for model in (await page("limit=1000"))["data"]]
        first = await page("limit=2")
        assert ([model["id"] for model in first["data"]], first["has_more"]) == (whole[:2], True)
        assert (first["first_id"], first["last_id"]) == (whole[0], whole[1])
        after = await page(f"limit=2&after_id={whole[1]}")
        assert [model["id"] for model in after["data"]] == whole[2:4]
        before = await page(f"limit=2&before_id={whole[3]}")
        assert [model["id"] for model in before["data"]] == whole[1:3]
        for query, word in (
            ("limit=0", "greater"),
            ("limit=1001", "less"),
            ("limit=x", "integer"),
            ("after_id=y", "y"),
            ("lifecycle[]=z", "lifecycle"),
        ):
            assert word in (await page(query))["error"]["message"]

    with_simulator(work)


ERRORS = [
    ({"status": 529}, anthropic.InternalServerError),
    ({"status": 429, "retry_after": 1}, anthropic.RateLimitError),
    ({"status": 401}, anthropic.AuthenticationError),
    ({"status": 404}, anthropic.NotFoundError),
    ({"status": 400}, anthropic.BadRequestError),
]


@pytest.mark.parametrize(("error", "kind"), ERRORS, ids=lambda value: str(value)[:20])
def test_errors_raise_as_the_client_expects(error: Body, kind: type[Exception]) -> None:
    async def work(client: AsyncAnthropic, simulator: Simulator) -> None:
        simulator.scripts.append({"error": error})
        with pytest.raises(kind) as caught:
            await client.messages.create(model=CURRENT, max_tokens=9, messages=user("Hi"))
        assert caught.value.status_code == error["status"]  # type: ignore[attr-defined]

    sdk(work)


def test_an_error_in_the_middle_of_a_stream_raises() -> None:
    async def read(client: AsyncAnthropic) -> None:
        async with client.messages.stream(
            model=CURRENT, max_tokens=9, messages=user("Hi")
        ) as stream:
            async for _ in stream:
                pass

    async def work(client: AsyncAnthropic, simulator: Simulator) -> None:
        simulator.scripts.append({"fault": {"kind": "error_event", "after": 3}})
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            await read(client)

    sdk(work)


def test_the_client_retries_what_it_should() -> None:
    async def run(simulator: Simulator) -> int:
        simulator.scripts.extend(
            [
                {"error": {"status": 529, "headers": {"retry-after-ms": "1"}}},
                {"fault": {"kind": "reset"}},
            ]
        )
        async with AsyncAnthropic(api_key="k", base_url=simulator.url, max_retries=3) as client:
            await client.messages.create(model=CURRENT, max_tokens=9, messages=user("Hi"))
        return len(simulator.requests)

    assert with_simulator(run) == 3


def test_beta_client() -> None:
    async def work(client: AsyncAnthropic, simulator: Simulator) -> Any:
        return await client.beta.messages.create(
            model="claude-opus-5",
            max_tokens=500,
            messages=user("Hi"),
            betas=["task-budgets-2026-03-13"],
            output_config={"task_budget": {"type": "tokens", "total": 2000}},
        )

    assert sdk(work).stop_reason == "end_turn"
