"""The newest official `openai` as a client of Responses that Claude answers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from tests import legality, material, oracle
from tests.harness import World, error_message, failed_stream
from tests.material import (
    ADDRESS,
    BROKEN,
    CLOCK,
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
BOUND = "claude-opus-5-5"
"""A model that always thinks, and refuses thinking that does not fit what stands before it."""
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


def ask(client: OpenAI, said: Any = HELLO, *, stream: bool = False, **fields: Any) -> Any:
    """A response; where it is streamed, the one that the SDK's helper ends with."""
    asked: Any = {"model": OLD, "input": said, **fields}
    if not stream:
        return client.responses.create(**asked)
    with client.responses.stream(**asked) as events:
        list(events)
        return events.get_final_response()


STREAMED = pytest.mark.parametrize("stream", [False, True])


def plain(response: Any) -> Any:
    """The response without what differs from one request to the next."""
    value = json.loads(response.to_json())
    ids = json.dumps(value).replace(value["id"].removeprefix("resp_"), "ID")
    return {**json.loads(ids), "created_at": 0}


# --- answers ------------------------------------------------------------------------------------


@STREAMED
def test_an_answer(client: OpenAI, stream: bool) -> None:
    response = ask(client, stream=stream, instructions="Be good.", metadata={"user_id": "u"})
    assert response.output_text == HEARD
    assert (response.status, response.object) == ("completed", "response")
    assert response.id.startswith("resp_")
    assert response.created_at > 1_700_000_000
    assert (response.instructions, response.metadata) == ("Be good.", {"user_id": "u"})
    assert response.usage.total_tokens > 10
    Response.model_validate(json.loads(response.to_json()))


def test_events(client: OpenAI) -> None:
    with client.responses.create(model=OLD, input=HELLO, stream=True) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == events[-1].response.output_text == HEARD


def test_async_clients(world: World) -> None:
    async def run() -> list[str]:
        async with AsyncOpenAI(base_url=f"{world.url}/v1", api_key="k", max_retries=0) as client:
            whole = await client.responses.create(model=OLD, input=HELLO)
            async with client.responses.stream(model=OLD, input=HELLO) as events:
                streamed = await events.get_final_response()
            return [whole.output_text, streamed.output_text]

    assert asyncio.run(run()) == [HEARD, HEARD]


def test_counting(client: OpenAI, world: World) -> None:
    counted = client.responses.input_tokens.count(model=OLD, input=HELLO, instructions=GUIDE)
    assert counted.object == "response.input_tokens"
    assert counted.input_tokens > 1000
    assert world.received()[-1].path == "/v1/messages/count_tokens"
    assert counted.input_tokens == ask(client, instructions=GUIDE).usage.input_tokens


def test_cached_tokens_are_counted_inside_the_input(client: OpenAI) -> None:
    said = [{"type": "input_text", "text": GUIDE, "cache_control": {"type": "ephemeral"}}]
    items = [{"role": "developer", "content": said}, {"role": "user", "content": HELLO}]
    first, second = (ask(client, items).usage for _ in range(2))
    assert first.input_tokens == second.input_tokens
    cached = second.input_tokens_details.cached_tokens
    assert first.input_tokens_details.cache_write_tokens == cached > 1000


@STREAMED
def test_a_limit(client: OpenAI, stream: bool) -> None:
    if stream:
        with client.responses.create(
            model=OLD, input=HELLO, max_output_tokens=3, stream=True
        ) as events:
            end: Any = list(events)[-1]
        assert end.type == "response.incomplete"
        response = end.response
    else:
        response = ask(client, max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert HEARD.startswith(response.output_text)
    assert response.output[-1].status == "incomplete"


@STREAMED
def test_a_refusal(client: OpenAI, world: World, stream: bool) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not that."}
    world.script(blocks=[], stop_reason="refusal", stop_details=details)
    if stream:
        with client.responses.create(model=OLD, input=HELLO, stream=True) as events:
            response: Any = list(events)[-1]
        response = response.response
    else:
        response = ask(client)
    assert response.incomplete_details.reason == "content_filter"
    assert response.output[-1].content[-1].type == "refusal"


def test_a_conversation_of_several_turns(client: OpenAI, world: World) -> None:
    items: list[Any] = [{"role": "developer", "content": "Be kind."}]
    for text in ("one", "two", "three"):
        items.append({"role": "user", "content": text})
        response = ask(client, items, instructions="Be brief.")
        assert f'heard: "{text}"' in response.output_text
        items += response.output
    sent = last(world)
    assert [block["text"] for block in sent["system"]] == ["Be brief.", "Be kind."]
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant"] * 2 + ["user"]


SHOWN: dict[str, tuple[Any, str]] = {
    "picture": (
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG_TEXT}"},
        SEEN_PNG,
    ),
    "picture at an address": ({"type": "input_image", "image_url": ADDRESS}, SEEN_ADDRESS),
    "PDF": ({"type": "input_file", "filename": "a.pdf", "file_data": PDF_TEXT}, SEEN_PDF),
}


@pytest.mark.parametrize(("part", "seen"), SHOWN.values(), ids=SHOWN)
def test_what_claude_is_shown(client: OpenAI, part: Any, seen: str) -> None:
    content = [{"type": "input_text", "text": "What is this?"}, part]
    assert seen in ask(client, [{"role": "user", "content": content}]).output_text


class Reply(BaseModel):
    city: str
    degrees: int


@pytest.mark.parametrize("model", [OLD, NEW])
def test_an_answer_in_a_form(client: OpenAI, world: World, model: str) -> None:
    response = client.responses.parse(model=model, input=HELLO, text_format=Reply)
    assert isinstance(response.output_parsed, Reply)
    assert last(world)["output_config"]["format"]["type"] == "json_schema"


# --- tools and reasoning ------------------------------------------------------------------------

TOOLS: list[Any] = [
    {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False},
    {
        "type": "namespace",
        "name": "home",
        "description": "The house.",
        "tools": [{"type": "function", "name": "get_time", "parameters": CLOCK}],
    },
    {"type": "custom", "name": "run", "description": "Run a script."},
]


@STREAMED
@pytest.mark.parametrize("model", [OLD, NEW, BOUND])
def test_tools_and_reasoning_round_trip(
    client: OpenAI, world: World, model: str, stream: bool
) -> None:
    """Thinking returns at its place and byte for byte, or the bound model would refuse it."""
    fields: Any = {
        "model": model,
        "tools": TOOLS,
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    script = 'print("é")\n\\'
    world.script(
        blocks=[
            {"type": "thinking", "thinking": "I need the weather."},
            {"type": "tool_use", "name": "get_weather", "input": {"location": "Bern"}},
            {"type": "tool_use", "name": "home__get_time", "input": {}},
            {"type": "tool_use", "name": "run", "input": {"input": script}},
        ],
        delta_chars=2,
    )
    items: list[Any] = [{"role": "user", "content": "Look it up."}]
    first = ask(client, items, stream=stream, **fields)
    kinds = [item.type for item in first.output]
    assert kinds == ["reasoning", "function_call", "function_call", "custom_tool_call"]
    thought, weather, time, run = first.output
    assert thought.encrypted_content
    assert json.loads(weather.arguments) == {"location": "Bern"}
    assert (time.name, time.namespace, time.arguments) == ("get_time", "home", "{}")
    assert run.input == script
    items += first.output
    picture = [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG_TEXT}"}]
    output = {"type": "function_call_output"}
    items += [
        {**output, "call_id": time.call_id, "output": "noon"},
        {"type": "custom_tool_call_output", "call_id": run.call_id, "output": "é"},
        {**output, "call_id": weather.call_id, "output": picture},
    ]
    second = ask(client, items, stream=stream, **fields)
    assert "noon" in second.output_text
    assert SEEN_PNG in second.output_text
    kept = last(world)["messages"][1]["content"]
    assert [block["type"] for block in kept] == ["thinking", *["tool_use"] * 3]
    items += [*second.output, {"role": "user", "content": "And now?"}]
    assert ask(client, items, stream=stream, **fields).status == "completed"
    sent = [json.loads(received.body) for received in world.received()]
    for earlier, later in itertools.pairwise(sent):
        assert earlier["tools"] == later["tools"]
        assert later["messages"][: len(earlier["messages"])] == earlier["messages"]


def test_foreign_reasoning_is_no_error(client: OpenAI) -> None:
    items = [
        {"role": "user", "content": "one"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAABo"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    raw = client.responses.with_raw_response.create(model=BOUND, input=items)  # pyright: ignore
    assert raw.parse().status == "completed"
    assert "input.1 dropped" in raw.headers["x-isthmus-notes"]


CHOICES: list[Any] = [
    ({"tool_choice": "required"}, {"type": "any"}),
    ({"tool_choice": {"type": "custom", "name": "run"}}, {"type": "tool", "name": "run"}),
    ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
]


@pytest.mark.parametrize(("fields", "sent"), CHOICES, ids=lambda v: json.dumps(v)[:60])
def test_tool_choice(client: OpenAI, world: World, fields: Any, sent: Any) -> None:
    response = ask(client, "Use get_weather.", tools=TOOLS, **fields)
    assert any(item.type.endswith("_call") for item in response.output)
    assert last(world)["tool_choice"] == sent


# --- errors -------------------------------------------------------------------------------------


@STREAMED
def test_errors_of_the_provider(client: OpenAI, world: World, stream: bool) -> None:
    refuse(world, 429, "rate_limit_error", "the provider's words", retry_after=7)
    with pytest.raises(openai.RateLimitError, match="the provider's words") as caught:
        client.responses.create(model=OLD, input=HELLO, stream=stream)
    assert caught.value.response.headers["retry-after"] == "7"


def test_requests_that_the_gateway_refuses(client: OpenAI, world: World) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, previous_response_id="resp_123")
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, tools=[{"type": "file_search", "vector_store_ids": []}])
    assert caught.value.param == "tools.0.type"
    with pytest.raises(openai.NotFoundError, match="POST /v1/responses"):
        client.post("/responses/resp_123", cast_to=object)
    assert not world.received()


@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault["kind"])
def test_a_stream_that_breaks_is_a_failed_response(world: World, fault: dict[str, Any]) -> None:
    break_off(world, fault)
    body = {"model": OLD, "input": HELLO, "stream": True}
    outcome = failed_stream("openai-responses", world.post("/v1/responses", body))
    [item] = outcome.message["output"]
    assert (item["status"], outcome.message["status"]) == ("incomplete", "failed")
    assert item["content"][0]["text"].startswith("one ")


def test_a_call_that_a_limit_cuts_is_not_done(world: World) -> None:
    patch = {"type": "tool_use", "name": "run", "input": {"input": "one two three four five six"}}
    world.script(blocks=[patch], delta_chars=4)
    body = {"model": OLD, "input": HELLO, "stream": True, "tools": TOOLS, "max_output_tokens": 16}
    reply = world.post("/v1/responses", body)
    outcome = legality.responses(reply.body)
    [call] = outcome.message["output"]
    assert (call["status"], call["input"]) == ("incomplete", "one two three ")
    assert "response.output_item.done" not in [name for name, _ in reply.events()]


def test_a_websocket_is_refused_in_a_way_that_codex_understands(world: World) -> None:
    """Any other status makes it try again for seconds, or give up."""
    reply = world.get("/v1/responses", connection="Upgrade", upgrade="websocket")
    assert reply.status == 426
    assert (reply.headers["upgrade"], reply.headers["connection"]) == ("HTTP/1.1", "upgrade")
    assert "POST" in error_message("openai-responses", reply)
    assert world.get("/v1/responses").status == 405


def test_every_body_fits_anthropics_own_types() -> None:
    """The last test of this file: what the others sent, judged by the SDK of that API version."""
    oracle.assert_legal(SENT)
