"""The newest official `anthropic` as a client: through the prefix, on the bare main port, on its own port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from pydantic import BaseModel

from tests import material
from tests.harness import World
from tests.material import (
    ADDRESS,
    BROKEN,
    CLOCK,
    FIRST,
    GUIDE,
    NEW,
    OLD,
    PDF_TEXT,
    PNG_TEXT,
    SEEN_ADDRESS,
    SEEN_PDF,
    SEEN_PNG,
    WEATHER,
    break_off,
    last,
    refuse,
)

pytestmark = [material.QUIET, pytest.mark.usefixtures("world")]

HELLO: list[Any] = [{"role": "user", "content": "Hello, Claude!"}]
HEARD = 'Claude Sonnet 4.5 (simulated) heard: "Hello, Claude!"'
DOORS = ("prefix", "main port", "own port")
PNG = {"type": "base64", "media_type": "image/png", "data": PNG_TEXT}


def address(world: World, door: str) -> str:
    own = f"http://127.0.0.1:{world.anthropic_port}"
    return {"prefix": f"{world.url}/anthropic", "main port": world.url, "own port": own}[door]


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture(scope="module")
def clients(shared_world: World) -> Iterator[dict[str, Anthropic]]:
    """A client for each of the three places."""
    with ExitStack() as stack:
        yield {
            door: stack.enter_context(
                Anthropic(
                    base_url=address(shared_world, door), api_key="placeholder", max_retries=0
                )
            )
            for door in DOORS
        }


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def everywhere(clients: dict[str, Anthropic], door: str) -> Anthropic:
    return clients[door]


@pytest.fixture
def client(clients: dict[str, Anthropic]) -> Anthropic:
    return clients["prefix"]


def ask(client: Anthropic, content: Any = "Hello, Claude!", **fields: Any) -> Any:
    """A message, by default of a small request to the older model."""
    fields = {"model": OLD, "max_tokens": 1024, **fields}
    return client.messages.create(messages=[{"role": "user", "content": content}], **fields)


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# --- answers ------------------------------------------------------------------------------------


def test_an_answer(everywhere: Anthropic) -> None:
    message = everywhere.messages.create(model=FIRST, max_tokens=1024, messages=HELLO)
    assert (message.type, message.role, message.model) == ("message", "assistant", FIRST)
    assert message.id.startswith("msg_")
    assert text_of(message) == 'Claude Sonnet 3.5 (simulated) heard: "Hello, Claude!"'
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    usage = message.usage
    assert usage.input_tokens > 0 < usage.output_tokens
    assert (usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (0, 0)


def test_a_stream_of_events(everywhere: Anthropic, world: World) -> None:
    world.script(ping_every=2)
    with everywhere.messages.create(
        model=OLD, max_tokens=1024, messages=HELLO, stream=True
    ) as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(deltas) == HEARD
    assert events[-2].delta.stop_reason == "end_turn"


def test_the_stream_helper(everywhere: Anthropic) -> None:
    with everywhere.messages.stream(model=OLD, max_tokens=1024, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == HEARD == text_of(message)
    assert message.usage.output_tokens > 0


def test_a_streamed_answer_is_the_whole_one(everywhere: Anthropic) -> None:
    fields: Any = {"model": OLD, "max_tokens": 3000, "messages": HELLO}
    fields["thinking"] = {"type": "enabled", "budget_tokens": 2000}
    whole = everywhere.messages.create(**fields)
    with everywhere.messages.stream(**fields) as stream:
        streamed = stream.get_final_message()
    assert streamed.model_dump(exclude={"parsed_output"}) == whole.model_dump()


def test_async_clients(world: World, door: str) -> None:
    async def run() -> tuple[str, str, str]:
        base = address(world, door)
        async with AsyncAnthropic(base_url=base, api_key="k", max_retries=0) as client:
            fields: Any = {"model": OLD, "max_tokens": 1024, "messages": HELLO}
            messages = client.messages
            whole, raw = await asyncio.gather(
                messages.create(**fields), messages.with_raw_response.create(**fields)
            )
            async with messages.stream(**fields) as stream:
                streamed = "".join([text async for text in stream.text_stream])
            return text_of(whole), text_of(await raw.parse()), streamed

    assert asyncio.run(run()) == (HEARD, HEARD, HEARD)


def test_raw_headers(everywhere: Anthropic) -> None:
    raw = everywhere.messages.with_raw_response.create(model=OLD, max_tokens=99, messages=HELLO)
    assert len(raw.headers["x-isthmus-exchange"]) == 24
    assert raw.headers["x-isthmus-target"] == f"anthropic:{OLD}"
    assert raw.request_id == raw.headers["request-id"] == raw.parse()._request_id
    assert int(raw.headers["anthropic-ratelimit-requests-remaining"]) > 0
    assert "x-isthmus-notes" not in raw.headers
    with everywhere.messages.with_streaming_response.create(
        model=OLD, max_tokens=99, messages=HELLO, stream=True
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["request-id"].startswith("req_")
        assert any(line.startswith("event: message_stop") for line in response.iter_lines())


def test_what_reaches_the_provider(client: Anthropic, world: World) -> None:
    """Unknown members, betas and the version are the client's; its key is not."""
    extra = {"inference_geo": "us"}
    ask(
        client,
        model=NEW,
        extra_body=extra,
        extra_query={"beta": "true"},
        extra_headers={"anthropic-beta": "context-1m-2025-08-07"},
    )
    got = world.received()[-1]
    headers = dict(got.headers)
    assert (got.query, headers["anthropic-beta"]) == ("beta=true", "context-1m-2025-08-07")
    assert headers["anthropic-version"] == "2026-10-21"
    assert "authorization" not in headers
    assert last(world)["inference_geo"] == "us"


# --- tools --------------------------------------------------------------------------------------

TOOLS: list[Any] = [
    {
        "name": "get_weather",
        "description": "Get current weather for a location",
        "input_schema": WEATHER,
    },
    {"name": "get_time", "description": "Tell the clock of a zone", "input_schema": CLOCK},
]
BOTH = "Use get_weather and get_time."


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        (None, ["get_weather", "get_time"]),
        ({"type": "auto"}, ["get_weather", "get_time"]),
        ({"type": "auto", "disable_parallel_tool_use": True}, ["get_weather"]),
        ({"type": "none"}, []),
        ({"type": "any"}, ["get_weather", "get_time"]),
        ({"type": "any", "disable_parallel_tool_use": True}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ("auto", ["get_weather", "get_time"]),
        ("none", []),
    ],
    ids=json.dumps,
)
def test_tool_choice(client: Anthropic, choice: Any, called: list[str]) -> None:
    fields = {} if choice is None else {"tool_choice": choice}
    raw = client.messages.with_raw_response.create(
        model=OLD,
        max_tokens=500,
        tools=TOOLS,
        messages=[{"role": "user", "content": BOTH}],
        **fields,
    )
    message: Any = raw.parse()
    assert [block.name for block in message.content if block.type == "tool_use"] == called
    assert message.stop_reason == ("tool_use" if called else "end_turn")
    assert ("x-isthmus-notes" in raw.headers) == isinstance(choice, str)


def test_streamed_tool_input(everywhere: Anthropic, world: World) -> None:
    value = {"location": "Zürich 😀", "days": [1, 2.5, None]}
    call = {"type": "tool_use", "name": "get_weather", "input": value}
    world.script(blocks=[call], delta_chars=3)
    with everywhere.messages.stream(
        model=OLD, max_tokens=500, messages=HELLO, tools=TOOLS
    ) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    assert json.loads("".join(pieces)) == value
    assert [block.input for block in message.content if block.type == "tool_use"] == [value]


def test_tools_round_trip(everywhere: Anthropic) -> None:
    """Two calls at once, one result with a picture, one of a failure, and the answer to them."""
    turns: list[Any] = [{"role": "user", "content": BOTH}]
    fields: Any = {"model": OLD, "max_tokens": 3000, "tools": TOOLS}
    fields["thinking"] = {"type": "enabled", "budget_tokens": 2000}
    asked = everywhere.messages.create(messages=turns, **fields)
    assert asked.content[0].type == "thinking"
    one, other = (block for block in asked.content if block.type == "tool_use")
    shown = [{"type": "text", "text": "18 C"}, {"type": "image", "source": PNG}]
    results = [
        {"type": "tool_result", "tool_use_id": one.id, "content": shown},
        {"type": "tool_result", "tool_use_id": other.id, "content": "no clock", "is_error": True},
    ]
    turns += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": results}]
    told = text_of(everywhere.messages.create(messages=turns, **fields))
    for line in ('The tool returned: "18 C"', SEEN_PNG, 'The tool failed with: "no clock"'):
        assert line in told


@beta_tool
def get_weather(location: str) -> str:
    """Get current weather for a location."""
    return f"18 C in {location}"


def test_the_tool_runner_without_threads(client: Anthropic) -> None:
    runner = client.beta.messages.tool_runner(
        model=OLD,
        max_tokens=500,
        tools=[get_weather],
        thread=False,
        messages=[{"role": "user", "content": "Use get_weather."}],
    )
    assert 'The tool returned: "18 C in location"' in text_of(runner.until_done())


def test_the_tool_runner_where_the_provider_keeps_no_threads(
    client: Anthropic, world: World
) -> None:
    """The runner falls back to the whole history because the refusal's details reach it."""
    details = {"error_code": "thread_unsupported_request", "unsupported": ["tools"]}
    refuse(world, 400, "invalid_request_error", details=details)
    runner = client.beta.messages.tool_runner(
        model=OLD,
        max_tokens=500,
        tools=[get_weather],
        messages=[{"role": "user", "content": "Use get_weather."}],
    )
    assert 'The tool returned: "18 C in location"' in text_of(runner.until_done())
    bodies = [json.loads(request.body) for request in world.received()]
    assert ["thread" in body for body in bodies] == [True, False, False]


def test_the_tool_runner_with_a_thread_that_is_lost(client: Anthropic, world: World) -> None:
    runner = client.beta.messages.tool_runner(
        model=OLD,
        max_tokens=500,
        tools=[get_weather],
        messages=[{"role": "user", "content": "Use get_weather."}],
    )
    assert 'The tool returned: "18 C in location"' in text_of(runner.until_done())
    kinds = [json.loads(request.body)["thread"]["type"] for request in world.received()]
    assert kinds == ["create", "continue", "create"]


# --- pictures, documents, long texts ------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "seen"),
    [
        ({"type": "image", "source": PNG}, SEEN_PNG),
        ({"type": "image", "source": {"type": "url", "url": ADDRESS}}, SEEN_ADDRESS),
        (
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF_TEXT},
                "title": "document.pdf",
            },
            SEEN_PDF,
        ),
    ],
    ids=["picture", "picture at an address", "PDF"],
)
def test_what_claude_is_shown(everywhere: Anthropic, world: World, block: Any, seen: str) -> None:
    question = [block, {"type": "text", "text": "What is this?"}]
    assert seen in text_of(ask(everywhere, question))
    assert last(world)["messages"][0]["content"] == question


def test_a_long_input(everywhere: Anthropic) -> None:
    text = "def f(x): return x  # é\n" * 20_000
    message = ask(everywhere, text, max_tokens=4096)
    assert message.usage.input_tokens > 100_000
    assert text_of(message).startswith("Claude Sonnet 4.5 (simulated) heard:")


def test_a_conversation_of_several_turns(everywhere: Anthropic, world: World) -> None:
    turns: list[Any] = []
    for text in ("one", "two", "three"):
        turns.append({"role": "user", "content": text})
        message = everywhere.messages.create(model=OLD, max_tokens=500, messages=turns)
        assert f'heard: "{text}"' in text_of(message)
        turns.append({"role": "assistant", "content": message.content})
    assert [turn["role"] for turn in last(world)["messages"]] == ["user", "assistant"] * 2 + [
        "user"
    ]


# --- parameters ---------------------------------------------------------------------------------


def test_a_system_prompt_is_written_to_the_cache_and_read_from_it(everywhere: Anthropic) -> None:
    system = [{"type": "text", "text": GUIDE, "cache_control": {"type": "ephemeral"}}]
    first, second = (ask(everywhere, system=system).usage for _ in range(2))
    written = first.cache_creation_input_tokens
    assert written > 1024
    assert (first.cache_read_input_tokens, second.cache_creation_input_tokens) == (0, 0)
    assert second.cache_read_input_tokens == written
    assert second.input_tokens == first.input_tokens < 50


def test_a_system_prompt_that_is_a_string(client: Anthropic, world: World) -> None:
    ask(client, system="Be brief.")
    assert last(world)["system"] == "Be brief."


def test_thinking_with_a_budget(everywhere: Anthropic) -> None:
    """The request of the page, for its model."""
    fields: Any = {"model": "claude-sonnet-4-20250514", "max_tokens": 16000, "messages": HELLO}
    fields["thinking"] = {"type": "enabled", "budget_tokens": 10000}
    message = everywhere.messages.create(**fields)
    thought, text = message.content
    assert (thought.type, text.type) == ("thinking", "text")
    assert thought.thinking
    assert thought.signature
    with everywhere.messages.stream(**fields) as stream:
        pieces = [event.thinking for event in stream if event.type == "thinking"]
    assert "".join(pieces) == thought.thinking


def test_thinking_with_an_effort(everywhere: Anthropic, world: World) -> None:
    fields: Any = {"model": NEW, "max_tokens": 16000, "messages": HELLO}
    fields["thinking"] = {"type": "adaptive", "display": "summarized"}
    fields["output_config"] = {"effort": "low"}
    message = everywhere.messages.create(**fields)
    assert message.content[0].type == "thinking"
    assert message.content[0].thinking
    assert message.usage.output_tokens_details.thinking_tokens > 0
    assert last(world)["output_config"] == {"effort": "low"}
    turns = [*HELLO, {"role": "assistant", "content": message.content}, *HELLO]
    assert text_of(everywhere.messages.create(**{**fields, "messages": turns}))


def test_a_stop_sequence(everywhere: Anthropic) -> None:
    message = ask(everywhere, "say STOP now", stop_sequences=["STOP", "never"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "STOP")
    assert text_of(message).endswith("say ")


def test_max_tokens(everywhere: Anthropic) -> None:
    message = ask(everywhere, max_tokens=3)
    assert message.stop_reason == "max_tokens"
    assert HEARD.startswith(text_of(message))
    assert message.usage.output_tokens == 3


@pytest.mark.parametrize("tier", ["auto", "standard_only"])
def test_service_tier_and_metadata(client: Anthropic, world: World, tier: str) -> None:
    message = ask(client, service_tier=tier, metadata={"user_id": "user-1"})
    assert message.usage.service_tier == "standard"
    assert last(world)["service_tier"] == tier
    assert last(world)["metadata"] == {"user_id": "user-1"}


def test_counted_tokens_are_those_of_the_answer(everywhere: Anthropic) -> None:
    fields: Any = {"model": OLD, "messages": HELLO, "tools": TOOLS, "system": "Be brief."}
    counted = everywhere.messages.count_tokens(**fields)
    answered = everywhere.messages.create(max_tokens=500, **fields)
    assert counted.input_tokens == answered.usage.input_tokens > 20
    assert everywhere.beta.messages.count_tokens(**fields).input_tokens == counted.input_tokens


def test_models(everywhere: Anthropic) -> None:
    ids = [model.id for model in everywhere.models.list(limit=4)]
    assert len(ids) == len(set(ids)) > 4
    assert NEW in ids
    found = everywhere.models.retrieve(OLD)
    assert (found.type, found.display_name) == ("model", "Claude Sonnet 4.5")
    assert found.created_at.year == 2025
    with pytest.raises(anthropic.NotFoundError, match="claude-nope"):
        everywhere.models.retrieve("claude-nope")


# --- the beta namespace -------------------------------------------------------------------------


def test_the_beta_namespace(everywhere: Anthropic, world: World) -> None:
    fields: Any = {"model": NEW, "max_tokens": 2000, "messages": HELLO}
    fields["betas"] = ["context-management-2025-06-27", "interleaved-thinking-2025-05-14"]
    fields["context_management"] = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    message = everywhere.beta.messages.create(**fields)
    assert message.context_management is not None
    sent = dict(world.received()[-1].headers)["anthropic-beta"]
    assert sent.replace(" ", "").split(",") == fields["betas"]
    with everywhere.beta.messages.stream(**fields) as stream:
        assert text_of(stream.get_final_message()) == text_of(message)


class Answer(BaseModel):
    city: str
    degrees: int


def test_an_answer_in_a_form(client: Anthropic, world: World) -> None:
    message = client.messages.parse(
        model=NEW, max_tokens=2000, messages=HELLO, output_format=Answer
    )
    assert isinstance(message.parsed_output, Answer)
    assert last(world)["output_config"]["format"]["type"] == "json_schema"


# --- errors -------------------------------------------------------------------------------------


ERRORS: list[tuple[int, str, type[anthropic.APIStatusError]]] = [
    (400, "invalid_request_error", anthropic.BadRequestError),
    (404, "not_found_error", anthropic.NotFoundError),
    (413, "request_too_large", anthropic.ContentTooLargeError),
    (429, "rate_limit_error", anthropic.RateLimitError),
    (500, "api_error", anthropic.InternalServerError),
    (504, "timeout_error", anthropic.GatewayTimeoutError),
    (529, "overloaded_error", anthropic.OverloadedError),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "kind", "error"), ERRORS, ids=str)
def test_errors_of_the_provider(
    everywhere: Anthropic,
    world: World,
    stream: bool,
    status: int,
    kind: str,
    error: type[anthropic.APIStatusError],
) -> None:
    refuse(world, status, kind, "the provider's words", retry_after=7)
    with pytest.raises(error) as caught:
        ask(everywhere, stream=stream)
    assert (caught.value.status_code, caught.value.type) == (status, kind)
    assert caught.value.api_message == "the provider's words"
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.request_id == caught.value.body["request_id"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_of_ours_that_is_refused_is_not_the_clients_fault(
    client: Anthropic, world: World, status: int
) -> None:
    refuse(world, status, "authentication_error", "invalid x-api-key")
    with pytest.raises(anthropic.InternalServerError, match="refused the gateway's own key"):
        ask(client)


def test_an_unknown_model(everywhere: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(everywhere, model="claude-nope")
    assert caught.value.type == "not_found_error"
    assert "claude-nope" in str(caught.value.api_message)


def test_a_request_that_the_provider_refuses(everywhere: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="temperature: Extra inputs"):
        ask(everywhere, extra_body={"temperature": 0.5})


def test_a_request_that_the_gateway_refuses(everywhere: Anthropic, world: World) -> None:
    with pytest.raises(anthropic.BadRequestError, match="tool_choice: expected an object"):
        ask(everywhere, tool_choice="perhaps")
    assert not world.received()


def test_retries_of_the_client(world: World) -> None:
    """The SDK obeys the provider's hints, which the gateway passes on."""
    hints = {"retry-after-ms": "5"}
    with Anthropic(base_url=f"{world.url}/anthropic", api_key="k", max_retries=2) as client:
        for _ in range(2):
            refuse(world, 429, "rate_limit_error", headers=hints)
        assert text_of(ask(client)) == HEARD
        for _ in range(3):
            refuse(world, 529, "overloaded_error", headers=hints)
        with pytest.raises(anthropic.OverloadedError):
            ask(client)
        assert len(world.received()) == 6
        refuse(world, 429, "rate_limit_error", headers={**hints, "x-should-retry": "false"})
        with pytest.raises(anthropic.RateLimitError):
            ask(client)
        assert len(world.received()) == 7


@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault["kind"])
def test_a_stream_that_breaks_is_an_error(
    everywhere: Anthropic, world: World, fault: dict[str, Any]
) -> None:
    break_off(world, fault)
    texts: list[str] = []
    with (
        pytest.raises(anthropic.APIError),
        everywhere.messages.stream(model=OLD, max_tokens=500, messages=HELLO) as stream,
    ):
        texts.extend(stream.text_stream)
    assert "".join(texts).startswith("one ")
    break_off(world, fault)
    with (
        pytest.raises(anthropic.APIError),
        everywhere.messages.create(
            model=OLD, max_tokens=500, messages=HELLO, stream=True
        ) as events,
    ):
        list(events)


def test_a_broken_stream_of_an_async_client(world: World) -> None:
    async def run() -> None:
        base = f"{world.url}/anthropic"
        async with AsyncAnthropic(base_url=base, api_key="k", max_retries=0) as client:
            stream = await client.messages.create(
                model=OLD, max_tokens=500, messages=HELLO, stream=True
            )
            async with stream:
                async for _ in stream:
                    pass

    break_off(world, {"kind": "reset"})
    with pytest.raises(anthropic.APIError):
        asyncio.run(run())


@pytest.fixture(scope="module")
def locked() -> Iterator[World]:
    world = World(auth={"keys": ["right-key-canary-1"]}, limits={"body_bytes": 5000})
    yield world
    world.close()


@pytest.mark.parametrize("place", ["api_key", "auth_token"])
def test_keys(locked: World, door: str, place: str) -> None:
    base = address(locked, door)
    with Anthropic(base_url=base, **{place: "right-key-canary-1"}, max_retries=0) as client:
        assert text_of(ask(client)) == HEARD
        assert client.models.list().data
    with Anthropic(base_url=base, **{place: "wrong-key-canary"}, max_retries=0) as client:
        for call in (lambda: ask(client), client.models.list):
            with pytest.raises(anthropic.AuthenticationError) as caught:
                call()
            assert caught.value.type == "authentication_error"
            assert "wrong-key-canary" not in str(caught.value)


def test_a_body_that_is_too_large(locked: World, door: str) -> None:
    base = address(locked, door)
    with Anthropic(base_url=base, api_key="right-key-canary-1", max_retries=0) as client:
        with pytest.raises(anthropic.ContentTooLargeError) as caught:
            ask(client, "x" * 6000)
        assert caught.value.type == "request_too_large"


def test_what_is_not_served(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="POST /anthropic/v1/messages/count_tokens"):
        client.messages.batches.list()


def test_nobody_answers(world: World) -> None:
    """The provider's port is closed: an error of the SDK's own, and soon."""
    nowhere = {"type": "anthropic", "api_key": "k", "base_url": "http://127.0.0.1:9"}
    lonely = World(backends={"anthropic": nowhere})
    try:
        with (
            Anthropic(base_url=lonely.url, api_key="k", max_retries=0) as client,
            pytest.raises(anthropic.InternalServerError) as caught,
        ):
            ask(client)
        assert caught.value.status_code == 502
    finally:
        lonely.close()
