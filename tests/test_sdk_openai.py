"""The newest official `openai` as a client of Chat Completions that Claude answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests import material, oracle
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

SENT: list[oracle.Line] = []
"""What all tests of this file made the gateway send to its provider."""

HELLO = "Hello, how are you?"
HEARD = f'Claude Sonnet 4.5 (simulated) heard: "{HELLO}"'


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture(autouse=True)
def gathered(world: World) -> Iterator[None]:
    yield
    SENT.extend(oracle.translated(world))


@pytest.fixture(scope="module")
def client(shared_world: World) -> Iterator[OpenAI]:
    base = f"{shared_world.url}/v1"
    with OpenAI(base_url=base, api_key="placeholder", max_retries=0) as client:
        yield client


def asked(content: Any = HELLO, **fields: Any) -> Any:
    """The arguments of a small request."""
    return {"model": OLD, "messages": [{"role": "user", "content": content}], **fields}


def ask(client: OpenAI, content: Any = HELLO, **fields: Any) -> Any:
    return client.chat.completions.create(**asked(content, **fields))


def chunks(client: OpenAI, content: Any = HELLO, **fields: Any) -> list[Any]:
    with ask(client, content, stream=True, **fields) as stream:
        return list(stream)


def joined(found: list[Any], member: str) -> str:
    """One member of all deltas."""
    deltas = [chunk.choices[0].delta for chunk in found if chunk.choices]
    return "".join(getattr(delta, member, None) or "" for delta in deltas)


# --- answers ------------------------------------------------------------------------------------


def test_an_answer(client: OpenAI) -> None:
    completion = ask(client, model=FIRST)
    choice = completion.choices[0]
    assert (completion.object, completion.model) == ("chat.completion", FIRST)
    assert completion.id.startswith("chatcmpl-")
    assert completion.created > 1_700_000_000
    assert choice.message.content == f'Claude Sonnet 3.5 (simulated) heard: "{HELLO}"'
    assert (choice.index, choice.finish_reason, choice.message.tool_calls) == (0, "stop", None)
    usage = completion.usage
    assert usage.prompt_tokens + usage.completion_tokens == usage.total_tokens > 10


def test_a_stream(client: OpenAI, world: World) -> None:
    world.script(ping_every=1)
    found = chunks(client, "Write a detailed explanation")
    assert joined(found, "content").endswith('heard: "Write a detailed explanation"')
    assert [chunk.choices[0].finish_reason for chunk in found][-1] == "stop"
    assert found[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in found}) == 1
    assert all(chunk.usage is None for chunk in found)


def test_a_stream_with_usage(client: OpenAI) -> None:
    found = chunks(client, stream_options={"include_usage": True})
    assert found[-1].choices == []
    assert found[-1].usage == ask(client).usage
    assert [chunk.usage for chunk in found[:-1]] == [None] * (len(found) - 1)


def test_the_stream_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(**asked()) as stream:
        kinds = [event.type for event in stream]
        completion = stream.get_final_completion()
    assert "content.done" in kinds
    assert completion.choices[0].message.content == HEARD


def test_async_clients(world: World) -> None:
    async def run() -> tuple[str, str, str]:
        base = f"{world.url}/v1"
        async with AsyncOpenAI(base_url=base, api_key="k", max_retries=0) as client:
            create = client.chat.completions.create
            whole, streamed = await asyncio.gather(
                create(**asked()), create(**asked(), stream=True)
            )
            found = [chunk async for chunk in streamed]
            async with client.chat.completions.stream(**asked()) as stream:
                helped = await stream.get_final_completion()
            models = [model.id async for model in client.models.list()]
            assert NEW in models
            texts = [one.choices[0].message.content for one in (whole, helped)]
            return texts[0], joined(found, "content"), texts[1]

    assert asyncio.run(run()) == (HEARD, HEARD, HEARD)


def test_raw_headers(client: OpenAI) -> None:
    for stream in (False, True):
        raw = client.chat.completions.with_raw_response.create(
            **asked(seed=7, temperature=2), stream=stream
        )
        assert len(raw.headers["x-isthmus-exchange"]) == 24
        assert raw.headers["x-isthmus-target"] == f"anthropic:{OLD}"
        assert raw.headers["request-id"].startswith("req_")
        assert int(raw.headers["anthropic-ratelimit-tokens-remaining"]) > 0
        notes = raw.headers["x-isthmus-notes"]
        assert "seed dropped" in notes
        assert "temperature changed" in notes
        found = raw.parse()
        if stream:
            assert joined(list(found), "content") == HEARD
    plain = client.chat.completions.with_raw_response.create(**asked())
    assert "x-isthmus-notes" not in plain.headers


# --- tools --------------------------------------------------------------------------------------


def function(name: str, description: str, parameters: Any) -> Any:
    described = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": described}


TOOLS = [
    function("get_weather", "Get the current weather", WEATHER),
    function("get_time", "Tell the clock of a zone", CLOCK),
]
BOTH = "Use get_weather and get_time."


def test_the_tool_of_the_page(client: OpenAI) -> None:
    """One tool, offered and not forced; the question suggests it."""
    parameters = {"type": "object", "properties": {"location": {"type": "string"}}}
    tools = [function("get_weather", "Get the current weather", parameters)]
    completion = ask(client, "What is the weather in London?", model=FIRST, tools=tools)
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert [call.function.name for call in choice.message.tool_calls] == ["get_weather"]
    assert isinstance(json.loads(choice.message.tool_calls[0].function.arguments), dict)


NAMED = {"type": "function", "function": {"name": "get_time"}}
CHOICES: list[Any] = [
    ({}, ["get_weather", "get_time"], None),
    ({"tool_choice": "auto"}, ["get_weather", "get_time"], {"type": "auto"}),
    ({"tool_choice": "none"}, [], {"type": "none"}),
    ({"tool_choice": "required"}, ["get_weather", "get_time"], {"type": "any"}),
    ({"tool_choice": NAMED}, ["get_time"], {"type": "tool", "name": "get_time"}),
    (
        {"parallel_tool_calls": False},
        ["get_weather"],
        {"type": "auto", "disable_parallel_tool_use": True},
    ),
    (
        {"tool_choice": "required", "parallel_tool_calls": False},
        ["get_weather"],
        {"type": "any", "disable_parallel_tool_use": True},
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "called", "sent"), CHOICES, ids=lambda v: json.dumps(v)[:60])
def test_tool_choice(
    client: OpenAI, world: World, stream: bool, fields: Any, called: list[str], sent: Any
) -> None:
    if stream:
        with client.chat.completions.stream(**asked(BOTH, tools=TOOLS, **fields)) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = ask(client, BOTH, tools=TOOLS, **fields).choices[0]
    assert [call.function.name for call in choice.message.tool_calls or []] == called
    assert choice.finish_reason == ("tool_calls" if called else "stop")
    assert last(world).get("tool_choice") == sent


def test_a_model_that_cannot_be_forced_is_asked_politely(client: OpenAI, world: World) -> None:
    raw = client.chat.completions.with_raw_response.create(
        **asked(BOTH, model=NEW, tools=TOOLS, tool_choice="required")
    )
    assert raw.parse().choices[0].finish_reason == "tool_calls"
    assert last(world)["tool_choice"] == {"type": "auto"}
    assert "cannot be forced" in raw.headers["x-isthmus-notes"]


def test_streamed_arguments(client: OpenAI, world: World) -> None:
    value = {"location": "Zürich 😀", "days": [1, 2.5, None]}
    call = {"type": "tool_use", "name": "get_weather", "input": value}
    world.script(blocks=[{"type": "text", "text": "Well."}, call, call], delta_chars=3)
    pieces: dict[int, str] = {}
    ids: dict[int, str] = {}
    for chunk in chunks(client, tools=TOOLS):
        for piece in chunk.choices[0].delta.tool_calls or []:
            pieces[piece.index] = pieces.get(piece.index, "") + (piece.function.arguments or "")
            ids.setdefault(piece.index, piece.id)
    assert [json.loads(text) for text in pieces.values()] == [value, value]
    assert list(pieces) == [0, 1]
    assert len(set(ids.values())) == 2


@pytest.mark.parametrize("model", [OLD, NEW])
def test_tools_round_trip(client: OpenAI, model: str) -> None:
    """Two calls at once, one result with a picture, one of a failure, and the answer to them."""
    fields: Any = {"model": model, "tools": TOOLS, "reasoning_effort": "low"}
    first = ask(client, BOTH, **fields).choices[0].message
    one, other = first.tool_calls
    shown = [{"type": "text", "text": "18 C"}, picture(f"data:image/png;base64,{PNG_TEXT}")]
    failed: Any = {"role": "tool", "tool_call_id": other.id, "content": "no clock"}
    turns = [
        {"role": "user", "content": BOTH},
        first,
        {**failed, "is_error": True},
        {"role": "tool", "tool_call_id": one.id, "content": shown},
    ]
    told = ask(client, **{**fields, "messages": turns}).choices[0].message.content
    for line in ('The tool returned: "18 C"', SEEN_PNG, 'The tool failed with: "no clock"'):
        assert line in told


# --- pictures, documents, long texts ------------------------------------------------------------


def picture(url: str) -> Any:
    return {"type": "image_url", "image_url": {"url": url}}


DOCUMENT = {"type": "base64", "media_type": "application/pdf", "data": PDF_TEXT}
SHOWN: dict[str, tuple[Any, str]] = {
    "picture": (picture(f"data:image/png;base64,{PNG_TEXT}"), SEEN_PNG),
    "picture at an address": (picture(ADDRESS), SEEN_ADDRESS),
    "PDF": (
        {
            "type": "file",
            "file": {
                "filename": "document.pdf",
                "file_data": f"data:application/pdf;base64,{PDF_TEXT}",
            },
        },
        SEEN_PDF,
    ),
    "Anthropic's PDF": (
        {"type": "document", "source": DOCUMENT, "title": "document.pdf"},
        SEEN_PDF,
    ),
}


@pytest.mark.parametrize(("part", "seen"), SHOWN.values(), ids=SHOWN)
def test_what_claude_is_shown(client: OpenAI, world: World, part: Any, seen: str) -> None:
    question = [{"type": "text", "text": "What is this?"}, part]
    assert seen in ask(client, question, model=FIRST).choices[0].message.content
    if "PDF" in seen or "document" in seen:
        assert last(world)["messages"][0]["content"][1]["title"] == "document.pdf"


def test_a_long_input(client: OpenAI) -> None:
    completion = ask(client, "def f(x): return x  # é\n" * 20_000, max_tokens=4096)
    assert completion.usage.prompt_tokens > 100_000
    assert completion.choices[0].finish_reason == "stop"


def test_a_conversation_of_several_turns(client: OpenAI, world: World) -> None:
    turns: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
    ]
    for text in ("one", "two", "three"):
        turns.append({"role": "user", "content": text})
        message = ask(client, messages=turns).choices[0].message
        assert f'heard: "{text}"' in message.content
        turns.append(message)
    sent = last(world)
    assert [block["text"] for block in sent["system"]] == ["Be brief.", "Be kind."]
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant"] * 2 + ["user"]


@pytest.mark.parametrize("model", [OLD, NEW])
def test_a_system_message_in_the_middle(client: OpenAI, world: World, model: str) -> None:
    turns: Any = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "three"},
    ]
    assert ask(client, model=model, messages=turns).choices[0].message.content
    assert "Be brief." in json.dumps(last(world)["messages"])


# --- parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [OLD, NEW])
def test_cached_tokens_are_counted_inside_the_prompt(client: OpenAI, model: str) -> None:
    system = [{"type": "text", "text": GUIDE, "cache_control": {"type": "ephemeral"}}]
    turns = [{"role": "system", "content": system}, {"role": "user", "content": HELLO}]
    first, second = (ask(client, model=model, messages=turns).usage for _ in range(2))
    assert first.prompt_tokens == second.prompt_tokens
    assert first.prompt_tokens_details.cached_tokens == 0
    cached = second.prompt_tokens_details.cached_tokens
    assert 1024 < cached < second.prompt_tokens < cached + 50
    assert first.prompt_tokens_details.cache_write_tokens == cached
    streamed = chunks(client, model=model, messages=turns, stream_options={"include_usage": True})[
        -1
    ]
    assert streamed.usage == second


BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
SHOWN_THOUGHTS = {"thinking": {"type": "adaptive", "display": "summarized"}}
REASONING: list[Any] = [
    (OLD, {"reasoning_effort": "low"}, {"type": "enabled", "budget_tokens": 2000}),
    (OLD, {"extra_body": BUDGET}, BUDGET["thinking"]),
    (NEW, {"reasoning_effort": "low"}, {"type": "adaptive"}),
    (NEW, {"reasoning_effort": "high", "extra_body": SHOWN_THOUGHTS}, SHOWN_THOUGHTS["thinking"]),
]


@pytest.mark.parametrize(("model", "fields", "sent"), REASONING)
def test_reasoning(client: OpenAI, world: World, model: str, fields: Any, sent: Any) -> None:
    completion = ask(client, model=model, **fields)
    message = completion.choices[0].message
    assert message.reasoning_content
    assert "simulated" in message.content
    assert completion.usage.completion_tokens_details.reasoning_tokens > 0
    assert last(world)["thinking"].items() >= sent.items()
    found = chunks(client, model=model, **fields)
    assert joined(found, "reasoning_content") == message.reasoning_content
    assert joined(found, "content") == message.content
    turns = [asked()["messages"][0], message, {"role": "user", "content": "And?"}]
    again = client.chat.completions.with_raw_response.create(
        **asked(model=model, **fields) | {"messages": turns}
    )
    assert again.parse().choices[0].finish_reason == "stop"
    assert "messages.1" not in again.headers.get("x-isthmus-notes", "")
    assert last(world)["messages"][1]["content"][0]["thinking"] == message.reasoning_content


def test_effort_on_a_newer_model(client: OpenAI, world: World) -> None:
    completion = ask(client, model=NEW, reasoning_effort="low", temperature=0.3)
    assert completion.usage.completion_tokens_details.reasoning_tokens > 0
    sent = last(world)
    assert sent["thinking"]["type"] == "adaptive"
    assert sent["output_config"] == {"effort": "low"}
    assert "temperature" not in sent


def test_a_budget_on_a_newer_model_becomes_an_effort(client: OpenAI, world: World) -> None:
    ask(client, model=NEW, extra_body={"thinking": {"type": "enabled", "budget_tokens": 10000}})
    assert last(world)["thinking"]["type"] == "adaptive"
    assert last(world)["output_config"] == {"effort": "high"}


@pytest.mark.parametrize("stop", ["STOP", ["never", "STOP"]])
def test_stop(client: OpenAI, stop: Any) -> None:
    choice = ask(client, "say STOP now", stop=stop).choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.content.endswith("say ")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_the_answer(client: OpenAI, name: str) -> None:
    completion = ask(client, **{name: 3})
    assert completion.choices[0].finish_reason == "length"
    assert HEARD.startswith(completion.choices[0].message.content)
    assert completion.usage.completion_tokens == 3
    assert chunks(client, **{name: 3})[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize(("model", "limit"), [(FIRST, 8192), (OLD, 64000), (NEW, 128000)])
def test_without_a_limit_the_models_own_counts(
    client: OpenAI, world: World, model: str, limit: int
) -> None:
    ask(client, model=model)
    assert last(world)["max_tokens"] == limit


def test_sampling_and_users(client: OpenAI, world: World) -> None:
    ask(client, model=FIRST, temperature=0.7, top_p=0.9, extra_body={"top_k": 5}, user="user-1")
    sent = last(world)
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0.7, 0.9, 5)
    assert sent["metadata"] == {"user_id": "user-1"}
    ask(client, metadata={"user_id": "user-2"})
    assert last(world)["metadata"] == {"user_id": "user-2"}


def test_parameters_in_the_models_name(client: OpenAI, world: World) -> None:
    """As the page writes it."""
    ask(client, model=f"anthropic:{FIRST}?temperature=0.7")
    assert (last(world)["model"], last(world)["temperature"]) == (FIRST, 0.7)


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"service_tier": "auto"}, "auto"),
        ({"service_tier": "default"}, "auto"),
        ({"extra_body": {"service_tier": "auto"}}, "auto"),
        ({"extra_body": {"service_tier": "standard_only"}}, "standard_only"),
        ({"service_tier": "flex"}, None),
    ],
)
def test_service_tier(client: OpenAI, world: World, fields: Any, sent: str | None) -> None:
    ask(client, **fields)
    assert last(world).get("service_tier") == sent


class Answer(BaseModel):
    city: str
    degrees: int


@pytest.mark.parametrize("model", [OLD, NEW])
def test_an_answer_in_a_form(client: OpenAI, world: World, model: str) -> None:
    completion = client.chat.completions.parse(**asked(model=model), response_format=Answer)
    assert isinstance(completion.choices[0].message.parsed, Answer)
    assert last(world)["output_config"]["format"]["type"] == "json_schema"


def test_models(client: OpenAI) -> None:
    models = list(client.models.list())
    assert {model.object for model in models} == {"model"}
    assert {NEW, f"{OLD}-20250929"} <= {model.id for model in models}
    assert client.models.retrieve(OLD).created > 1_700_000_000
    with pytest.raises(openai.NotFoundError, match="claude-nope"):
        client.models.retrieve("claude-nope")


# --- errors -------------------------------------------------------------------------------------

ERRORS: list[Any] = [
    (400, "invalid_request_error", openai.BadRequestError, 400),
    (404, "not_found_error", openai.NotFoundError, 404),
    (413, "request_too_large", openai.APIStatusError, 413),
    (429, "rate_limit_error", openai.RateLimitError, 429),
    (500, "api_error", openai.InternalServerError, 500),
    (504, "timeout_error", openai.InternalServerError, 504),
    (529, "overloaded_error", openai.InternalServerError, 503),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "kind", "error", "told"), ERRORS, ids=str)
def test_errors_of_the_provider(
    client: OpenAI,
    world: World,
    stream: bool,
    status: int,
    kind: str,
    error: type[openai.APIStatusError],
    told: int,
) -> None:
    refuse(world, status, kind, "the provider's words", retry_after=7)
    with pytest.raises(error, match="the provider's words") as caught:
        ask(client, stream=stream)
    assert caught.value.status_code == told
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_of_ours_that_is_refused_is_not_the_clients_fault(
    client: OpenAI, world: World, status: int
) -> None:
    refuse(world, status, "authentication_error", "invalid x-api-key")
    with pytest.raises(openai.InternalServerError, match="refused the gateway's own key"):
        ask(client)


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError, match="claude-nope") as caught:
        ask(client, model="claude-nope", stream=stream)
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages.0.role"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, None),
    ],
)
def test_a_request_that_the_gateway_refuses(
    client: OpenAI, world: World, fields: Any, param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **fields)
    assert caught.value.param == (param or "tool_choice.function.name")
    assert caught.value.type == "invalid_request_error"
    assert not world.received()


def test_a_prompt_that_is_too_long(client: OpenAI) -> None:
    with pytest.raises(
        openai.BadRequestError, match="maximum context length is 200000 tokens"
    ) as caught:
        ask(client, "word " * 300_000)
    assert caught.value.code == "context_length_exceeded"


def test_retries_of_the_client(world: World) -> None:
    """The SDK obeys the provider's hints, which the gateway passes on."""
    hints = {"retry-after-ms": "5"}
    with OpenAI(base_url=f"{world.url}/v1", api_key="k", max_retries=2) as client:
        for _ in range(2):
            refuse(world, 429, "rate_limit_error", headers=hints)
        assert ask(client).choices[0].message.content == HEARD
        for _ in range(3):
            refuse(world, 529, "overloaded_error", headers=hints)
        with pytest.raises(openai.InternalServerError):
            ask(client)
        assert len(world.received()) == 6
        refuse(world, 429, "rate_limit_error", headers={**hints, "x-should-retry": "false"})
        with pytest.raises(openai.RateLimitError):
            ask(client)
        assert len(world.received()) == 7


@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault["kind"])
def test_a_stream_that_breaks_is_an_error(
    client: OpenAI, world: World, fault: dict[str, Any]
) -> None:
    break_off(world, fault)
    seen: list[Any] = []
    with pytest.raises(openai.APIError), ask(client, stream=True) as stream:
        seen.extend(stream)
    assert joined(seen, "content").startswith("one ")
    break_off(world, fault)
    with pytest.raises(openai.InternalServerError):
        ask(client)


def test_a_broken_stream_of_an_async_client(world: World) -> None:
    seen: list[Any] = []

    async def run() -> None:
        base = f"{world.url}/v1"
        async with (
            AsyncOpenAI(base_url=base, api_key="k", max_retries=0) as client,
            await client.chat.completions.create(**asked(), stream=True) as stream,
        ):
            async for chunk in stream:
                seen.append(chunk)  # noqa: PERF401 - what came before the error counts

    break_off(world, {"kind": "reset"})
    with pytest.raises(openai.APIError):
        asyncio.run(run())
    assert joined(seen, "content").startswith("one ")


@pytest.fixture(scope="module")
def locked() -> Iterator[World]:
    world = World(auth={"keys": ["right-key-canary-1"]}, limits={"body_bytes": 5000})
    yield world
    world.close()


def test_keys_and_limits(locked: World) -> None:
    base = f"{locked.url}/v1"
    with OpenAI(base_url=base, api_key="right-key-canary-1", max_retries=0) as client:
        assert ask(client).choices[0].message.content == HEARD
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client, "x" * 6000)
        assert caught.value.status_code == 413
    with OpenAI(base_url=base, api_key="wrong-key-canary", max_retries=0) as client:
        for call in (lambda: ask(client), lambda: ask(client, stream=True), client.models.list):
            with pytest.raises(openai.AuthenticationError) as caught:
                call()
            assert caught.value.code == "invalid_api_key"
            assert "wrong-key-canary" not in str(caught.value)


def test_what_is_not_served(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="POST /v1/chat/completions"):
        client.embeddings.create(model="text-embedding-3-small", input="x")
    with pytest.raises(openai.NotFoundError, match="POST /v1/chat/completions"):
        client.images.generate(prompt="a cat")


def test_every_body_fits_anthropics_own_types() -> None:
    """The last test of this file: what the others sent, judged by the SDK of that API version."""
    oracle.assert_legal(SENT)
