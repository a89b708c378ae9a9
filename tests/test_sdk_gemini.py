"""The newest official `google-genai` as a client of the Gemini API that Claude answers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
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
    PDF,
    PDF_TEXT,
    PNG,
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
VERSIONS = (None, "v1beta")
"""The API versions in the path; the SDK's own choice is v1."""


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture(autouse=True)
def gathered(world: World) -> Iterator[None]:
    yield
    SENT.extend(oracle.translated(world))


def options(world: World, attempts: int = 1, **fields: Any) -> types.HttpOptions:
    retry = types.HttpRetryOptions(attempts=attempts, initial_delay=0.01, max_delay=0.02)
    return types.HttpOptions(base_url=world.url, retry_options=retry, **fields)


@pytest.fixture(scope="module")
def clients(shared_world: World) -> Iterator[list[genai.Client]]:
    """A client for each API version."""
    with ExitStack() as stack:
        made = [options(shared_world, api_version=version) for version in VERSIONS]
        yield [
            stack.enter_context(genai.Client(api_key="placeholder", http_options=one))
            for one in made
        ]


@pytest.fixture(params=range(len(VERSIONS)), ids=map(str, VERSIONS))
def everywhere(clients: list[genai.Client], request: pytest.FixtureRequest) -> genai.Client:
    return clients[request.param]


@pytest.fixture
def client(clients: list[genai.Client]) -> genai.Client:
    return clients[0]


def ask(client: genai.Client, contents: Any = HELLO, model: str = OLD, **config: Any) -> Any:
    made = types.GenerateContentConfig(**config)
    return client.models.generate_content(model=model, contents=contents, config=made)


def chunks(
    client: genai.Client, contents: Any = HELLO, model: str = OLD, **config: Any
) -> list[Any]:
    made = types.GenerateContentConfig(**config)
    return list(client.models.generate_content_stream(model=model, contents=contents, config=made))


def parts_of(answers: list[Any]) -> list[Any]:
    return [part for answer in answers for part in answer.candidates[0].content.parts or []]


def texts(answers: list[Any], *, thought: bool = False) -> str:
    found = (part for part in parts_of(answers) if bool(part.thought) is thought)
    return "".join(part.text or "" for part in found)


def finish(answer: Any) -> str:
    return answer.candidates[0].finish_reason.value


# --- answers ------------------------------------------------------------------------------------


def test_an_answer(everywhere: genai.Client) -> None:
    answer = ask(everywhere, model=FIRST)
    assert answer.text == f'Claude Sonnet 3.5 (simulated) heard: "{HELLO}"'
    assert (answer.model_version, finish(answer)) == (FIRST, "STOP")
    assert answer.response_id.startswith("msg_")
    usage = answer.usage_metadata
    assert usage.prompt_token_count + usage.candidates_token_count == usage.total_token_count > 10


def test_a_stream(everywhere: genai.Client, world: World) -> None:
    world.script(ping_every=1)
    found = chunks(everywhere)
    whole = ask(everywhere)
    assert len(found) > 1
    assert texts(found) == HEARD == whole.text
    assert finish(found[-1]) == "STOP"
    assert found[-1].usage_metadata == whole.usage_metadata
    assert {chunk.response_id for chunk in found} == {whole.response_id}


def test_async_clients(world: World) -> None:
    async def run() -> tuple[str, str]:
        client = genai.Client(api_key="k", http_options=options(world))
        async with client.aio as aio:
            asked = {"model": OLD, "contents": HELLO}
            whole = await aio.models.generate_content(**asked)
            stream = await aio.models.generate_content_stream(**asked)
            found = [chunk async for chunk in stream]
            counted = await aio.models.count_tokens(**asked)
            assert counted.total_tokens == whole.usage_metadata.prompt_token_count
            models = [model.name async for model in await aio.models.list()]
            assert f"models/{NEW}" in models
        client.close()
        return whole.text, texts(found)

    assert asyncio.run(run()) == (HEARD, HEARD)


def test_raw_headers(client: genai.Client) -> None:
    for answer in (ask(client, seed=7), chunks(client, seed=7)[0]):
        headers = answer.sdk_http_response.headers
        assert len(headers["x-isthmus-exchange"]) == 24
        assert headers["x-isthmus-target"] == f"anthropic:{OLD}"
        assert headers["request-id"].startswith("req_")
        assert int(headers["anthropic-ratelimit-tokens-remaining"]) > 0
        assert "generationConfig.seed dropped" in headers["x-isthmus-notes"]
    assert "x-isthmus-notes" not in ask(client).sdk_http_response.headers


# --- tools --------------------------------------------------------------------------------------

FUNCTIONS = [
    types.FunctionDeclaration(
        name="get_weather", description="Get the weather", parameters_json_schema=WEATHER
    ),
    types.FunctionDeclaration(
        name="get_time",
        description="Tell the clock of a zone",
        parameters=types.Schema(type="OBJECT", properties={"zone": types.Schema(type="STRING")}),
    ),
]
TOOLS = [types.Tool(function_declarations=FUNCTIONS)]
BOTH = "Use get_weather and get_time."


def calling(mode: str | None, *allowed: str) -> dict[str, Any]:
    """The configuration of a request that offers both functions."""
    fields: dict[str, Any] = {"tools": TOOLS}
    if mode:
        config = types.FunctionCallingConfig(mode=mode, allowed_function_names=allowed or None)
        fields["tool_config"] = types.ToolConfig(function_calling_config=config)
    return fields


CHOICES: list[Any] = [
    ((None,), ["get_weather", "get_time"], None),
    (("AUTO",), ["get_weather", "get_time"], {"type": "auto"}),
    (("NONE",), [], {"type": "none"}),
    (("ANY",), ["get_weather", "get_time"], {"type": "any"}),
    (("ANY", "get_time"), ["get_time"], {"type": "tool", "name": "get_time"}),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("mode", "called", "sent"), CHOICES, ids=str)
def test_function_calling_modes(
    client: genai.Client, world: World, stream: bool, mode: Any, called: list[str], sent: Any
) -> None:
    fields = calling(*mode)
    found = chunks(client, BOTH, **fields) if stream else [ask(client, BOTH, **fields)]
    names = [part.function_call.name for part in parts_of(found) if part.function_call]
    assert names == called
    assert finish(found[-1]) == "STOP"
    assert last(world).get("tool_choice") == sent


def test_what_the_schemas_become(client: genai.Client, world: World) -> None:
    ask(client, **calling(None))
    first, second = last(world)["tools"]
    assert first["input_schema"] == WEATHER
    assert second["input_schema"] == CLOCK


def test_a_model_that_cannot_be_forced_is_asked_politely(
    client: genai.Client, world: World
) -> None:
    answer = ask(client, BOTH, NEW, **calling("ANY"))
    assert answer.function_calls
    assert last(world)["tool_choice"] == {"type": "auto"}
    assert "cannot be forced" in answer.sdk_http_response.headers["x-isthmus-notes"]


def test_streamed_arguments(client: genai.Client, world: World) -> None:
    value = {"location": "Zürich 😀", "days": [1, 2.5, None]}
    call = {"type": "tool_use", "name": "get_weather", "input": value}
    world.script(blocks=[{"type": "text", "text": "Well."}, call], delta_chars=3)
    found = [p.function_call for p in parts_of(chunks(client, tools=TOOLS)) if p.function_call]
    assert [(call.name, call.args) for call in found] == [("get_weather", value)]
    assert found[0].id


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
@pytest.mark.parametrize("model", [OLD, NEW])
def test_functions_round_trip(client: genai.Client, model: str, ids: bool) -> None:
    """Two calls at once, one result with a picture, one of a failure; the thinking comes back too."""
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2000)
    fields = {**calling(None), "thinking_config": thinking}
    first = ask(client, BOTH, model, **fields)
    assert any(part.thought for part in parts_of([first]))
    weather, clock = first.function_calls
    shown = types.FunctionResponsePart.from_bytes(data=PNG, mime_type="image/png")
    results: list[Any] = [
        {"name": weather.name, "response": {"output": "18 C"}, "parts": [shown]},
        {"name": clock.name, "response": {"error": "no clock"}},
    ]
    given = [
        types.FunctionResponse(**result, **({"id": call.id} if ids else {}))
        for result, call in zip(results, (weather, clock), strict=True)
    ]
    contents = [
        types.Content(role="user", parts=[types.Part(text=BOTH)]),
        first.candidates[0].content,
        types.Content(role="user", parts=[types.Part(function_response=one) for one in given]),
    ]
    second = ask(client, contents, model, **fields)
    for line in ('The tool returned: "18 C"', SEEN_PNG, 'The tool failed with: "no clock"'):
        assert line in second.text


def test_the_thinking_before_a_call_is_restored(client: genai.Client, world: World) -> None:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2000)
    fields = {**calling(None), "thinking_config": thinking}
    for answers in ([ask(client, BOTH, **fields)], chunks(client, BOTH, **fields)):
        parts = parts_of(answers)
        name = next(part.function_call.name for part in parts if part.function_call)
        result = types.Part.from_function_response(name=name, response={"result": "18 C"})
        contents = [
            types.Content(role="user", parts=[types.Part(text=BOTH)]),
            types.Content(role="model", parts=parts),
            types.Content(role="user", parts=[result]),
        ]
        ask(client, contents, **fields)
        blocks = last(world)["messages"][1]["content"]
        assert blocks[0]["type"] == "thinking"
        assert blocks[0]["signature"]


def get_weather(location: str) -> str:
    """Get the current weather.

    Args:
        location: City name
    """
    return f"18 C in {location}"


@pytest.mark.parametrize("model", [OLD, NEW])
def test_functions_that_the_sdk_calls_itself(
    client: genai.Client, world: World, model: str
) -> None:
    answer = ask(client, "Use get_weather.", model, tools=[get_weather])
    assert "18 C in" in answer.text
    assert len(world.received()) == 2


# --- pictures, documents, long texts ------------------------------------------------------------

SHOWN = {
    "picture": (types.Part.from_bytes(data=PNG, mime_type="image/png"), SEEN_PNG),
    "picture at an address": (
        types.Part.from_uri(file_uri=ADDRESS, mime_type="image/jpeg"),
        SEEN_ADDRESS,
    ),
    "PDF": (types.Part.from_bytes(data=PDF, mime_type="application/pdf"), SEEN_PDF),
    "PDF at an address": (
        types.Part.from_uri(
            file_uri="https://example.com/document.pdf", mime_type="application/pdf"
        ),
        "document at https://example.com/document.pdf.",
    ),
}


@pytest.mark.parametrize(("part", "seen"), SHOWN.values(), ids=SHOWN)
def test_what_claude_is_shown(everywhere: genai.Client, part: types.Part, seen: str) -> None:
    assert seen in ask(everywhere, ["What is this?", part]).text


def test_the_sdk_writes_url_safe_base64(client: genai.Client, world: World) -> None:
    assert base64.urlsafe_b64encode(PDF).decode() != PDF_TEXT
    blob = types.Blob(data=PDF, mime_type="application/pdf", display_name="document.pdf")
    ask(client, [types.Part(inline_data=blob)])
    block = last(world)["messages"][0]["content"][0]
    assert block["source"]["data"] == PDF_TEXT
    assert block["title"] == "document.pdf"


def test_a_long_input(client: genai.Client) -> None:
    answer = ask(client, "def f(x): return x  # é\n" * 20_000, max_output_tokens=4096)
    assert answer.usage_metadata.prompt_token_count > 100_000


def test_a_chat_of_several_turns(client: genai.Client, world: World) -> None:
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2000),
    )
    chat = client.chats.create(model=OLD, config=config)
    assert 'heard: "one"' in chat.send_message("one").text
    streamed = list(chat.send_message_stream("two"))
    assert 'heard: "two"' in texts(streamed)
    assert 'heard: "three"' in chat.send_message("three").text
    sent = last(world)
    assert sent["system"] == [{"type": "text", "text": "Be brief."}]
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant"] * 2 + ["user"]
    for turn in sent["messages"][1::2]:
        assert [block["type"] for block in turn["content"]] == ["thinking", "text"]


# --- parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [OLD, NEW])
def test_cached_tokens_are_counted_inside_the_prompt(client: genai.Client, model: str) -> None:
    marked = {"cacheControl": {"type": "ephemeral"}}
    extra = types.HttpOptions(
        extra_body={"systemInstruction": {"parts": [{"text": GUIDE, **marked}]}}
    )
    first, second = (ask(client, model=model, http_options=extra).usage_metadata for _ in range(2))
    assert first.prompt_token_count == second.prompt_token_count
    assert not first.cached_content_token_count
    cached = second.cached_content_token_count
    assert 1024 < cached < second.prompt_token_count < cached + 50
    assert chunks(client, model=model, http_options=extra)[-1].usage_metadata == second


THINKING: list[Any] = [
    (OLD, {"thinking_budget": 2000}, {"type": "enabled", "budget_tokens": 2000}, None),
    (OLD, {"thinking_level": "LOW"}, {"type": "enabled", "budget_tokens": 2000}, None),
    (NEW, {"thinking_budget": 2000}, {"type": "adaptive"}, "medium"),
    (NEW, {"thinking_level": "HIGH"}, {"type": "adaptive"}, "high"),
    (NEW, {"thinking_budget": -1}, {"type": "adaptive"}, None),
]


@pytest.mark.parametrize(("model", "wish", "sent", "effort"), THINKING)
def test_thoughts(
    client: genai.Client, world: World, model: str, wish: Any, sent: Any, effort: str | None
) -> None:
    fields = {"thinking_config": types.ThinkingConfig(include_thoughts=True, **wish)}
    answer = ask(client, model=model, temperature=1, top_p=0.95, top_k=64, **fields)
    assert texts([answer], thought=True)
    assert "simulated" in answer.text
    usage = answer.usage_metadata
    assert usage.thoughts_token_count > 0
    counts = (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count)
    assert sum(counts) == usage.total_token_count
    assert last(world)["thinking"].items() >= sent.items()
    assert last(world).get("output_config", {}).get("effort") == effort
    found = chunks(client, model=model, **fields)
    assert texts(found, thought=True) == texts([answer], thought=True)
    assert texts(found) == answer.text


def test_thoughts_that_are_not_asked_for_stay_out(client: genai.Client) -> None:
    thinking = types.ThinkingConfig(thinking_budget=2000)
    for answers in (
        [ask(client, thinking_config=thinking)],
        chunks(client, thinking_config=thinking),
    ):
        assert not texts(answers, thought=True)
        assert answers[-1].usage_metadata.thoughts_token_count > 0


def test_no_thinking(client: genai.Client, world: World) -> None:
    ask(client, thinking_config=types.ThinkingConfig(thinking_budget=0))
    assert last(world)["thinking"] == {"type": "disabled"}


def test_stop_sequences(client: genai.Client) -> None:
    answer = ask(client, "say STOP now", stop_sequences=["never", "STOP"])
    assert finish(answer) == "STOP"
    assert answer.text.endswith("say ")


def test_a_limit_of_the_answer(client: genai.Client) -> None:
    answer = ask(client, max_output_tokens=3)
    assert finish(answer) == "MAX_TOKENS"
    assert HEARD.startswith(answer.text)
    assert answer.usage_metadata.candidates_token_count == 3
    assert finish(chunks(client, max_output_tokens=3)[-1]) == "MAX_TOKENS"


def test_sampling(client: genai.Client, world: World) -> None:
    ask(client, model=FIRST, temperature=0.7, top_p=0.9, top_k=5)
    sent = last(world)
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0.7, 0.9, 5)
    assert sent["max_tokens"] == 8192
    ask(client, model=NEW, temperature=0.7)
    assert "temperature" not in last(world)


@pytest.mark.parametrize(
    ("tier", "sent"), [("standard", "standard_only"), ("priority", "auto"), ("flex", None)]
)
def test_service_tier(client: genai.Client, world: World, tier: str, sent: str | None) -> None:
    ask(client, service_tier=tier)
    assert last(world).get("service_tier") == sent


class Answer(BaseModel):
    city: str
    degrees: int


@pytest.mark.parametrize("model", [OLD, NEW])
def test_an_answer_in_a_form(client: genai.Client, world: World, model: str) -> None:
    fields = {"response_mime_type": "application/json", "response_schema": Answer}
    assert isinstance(ask(client, model=model, **fields).parsed, Answer)
    assert last(world)["output_config"]["format"]["type"] == "json_schema"
    schema = {"response_mime_type": "application/json", "response_json_schema": WEATHER}
    assert set(json.loads(ask(client, model=model, **schema).text)) == {"location"}


def test_counted_tokens_are_those_of_the_answer(everywhere: genai.Client, world: World) -> None:
    contents = ["What is this?", types.Part.from_bytes(data=PNG, mime_type="image/png")]
    counted = everywhere.models.count_tokens(model=OLD, contents=contents)
    assert world.received()[-1].path == "/v1/messages/count_tokens"
    answered = ask(everywhere, contents).usage_metadata
    assert counted.total_tokens == answered.prompt_token_count > 10


def test_models(everywhere: genai.Client) -> None:
    models = {model.name: model for model in everywhere.models.list(config={"page_size": 4})}
    assert len(models) > 4
    assert models[f"models/{NEW}"].output_token_limit == 128_000
    found = everywhere.models.get(model=OLD)
    assert found.display_name == "Claude Sonnet 4.5"
    assert found.supported_actions == ["generateContent", "streamGenerateContent", "countTokens"]
    with pytest.raises(errors.ClientError) as caught:
        everywhere.models.get(model="claude-nope")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


# --- errors -------------------------------------------------------------------------------------

ERRORS: list[Any] = [
    (400, "invalid_request_error", errors.ClientError, 400, "INVALID_ARGUMENT"),
    (404, "not_found_error", errors.ClientError, 404, "NOT_FOUND"),
    (413, "request_too_large", errors.ClientError, 413, "INVALID_ARGUMENT"),
    (429, "rate_limit_error", errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
    (500, "api_error", errors.ServerError, 500, "INTERNAL"),
    (504, "timeout_error", errors.ServerError, 504, "DEADLINE_EXCEEDED"),
    (529, "overloaded_error", errors.ServerError, 503, "UNAVAILABLE"),
]


@pytest.mark.parametrize("call", [ask, chunks], ids=["whole", "stream"])
@pytest.mark.parametrize(("status", "kind", "error", "code", "name"), ERRORS, ids=str)
def test_errors_of_the_provider(
    client: genai.Client,
    world: World,
    call: Any,
    status: int,
    kind: str,
    error: type[errors.APIError],
    code: int,
    name: str,
) -> None:
    refuse(world, status, kind, "the provider's words", retry_after=7)
    with pytest.raises(error) as caught:
        call(client)
    assert (caught.value.code, caught.value.status) == (code, name)
    assert caught.value.message == "the provider's words"
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_of_ours_that_is_refused_is_not_the_clients_fault(
    client: genai.Client, world: World, status: int
) -> None:
    refuse(world, status, "authentication_error", "invalid x-api-key")
    with pytest.raises(errors.ServerError, match="refused the gateway's own key"):
        ask(client)


@pytest.mark.parametrize("call", [ask, chunks], ids=["whole", "stream"])
def test_an_unknown_model(everywhere: genai.Client, call: Any) -> None:
    with pytest.raises(errors.ClientError, match="claude-nope") as caught:
        call(everywhere, model="claude-nope")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"candidate_count": 2}, "generationConfig.candidateCount"),
        ({"tools": [types.Tool(google_maps=types.GoogleMaps())]}, "tools.0.googleMaps"),
        ({"response_modalities": ["AUDIO"]}, "generationConfig.responseModalities"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_that_the_gateway_refuses(
    client: genai.Client, world: World, config: Any, named: str
) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(client, **config)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert str(caught.value.message).startswith(f"{named}: ")
    assert not world.received()


def test_retries_of_the_client(world: World) -> None:
    with genai.Client(api_key="k", http_options=options(world, attempts=3)) as client:
        for _ in range(2):
            refuse(world, 429, "rate_limit_error")
        assert ask(client).text == HEARD
        for _ in range(3):
            refuse(world, 529, "overloaded_error")
        with pytest.raises(errors.ServerError):
            ask(client)
    assert len(world.received()) == 6


@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault["kind"])
def test_a_stream_that_breaks_is_an_error(
    client: genai.Client, world: World, fault: dict[str, Any]
) -> None:
    break_off(world, fault)
    seen: list[Any] = []
    with pytest.raises(errors.APIError):
        seen.extend(client.models.generate_content_stream(model=OLD, contents=HELLO))
    assert texts(seen).startswith("one ")
    break_off(world, fault)
    with pytest.raises(errors.ServerError):
        ask(client)


def test_a_broken_stream_of_an_async_client(world: World) -> None:
    seen: list[Any] = []

    async def run() -> None:
        client = genai.Client(api_key="k", http_options=options(world))
        try:
            async with client.aio as aio:
                stream = await aio.models.generate_content_stream(model=OLD, contents=HELLO)
                async for chunk in stream:
                    seen.append(chunk)  # noqa: PERF401 - what came before the error counts
        finally:
            client.close()

    break_off(world, {"kind": "reset"})
    with pytest.raises(errors.APIError):
        asyncio.run(run())
    assert texts(seen).startswith("one ")


@pytest.fixture(scope="module")
def locked() -> Iterator[World]:
    world = World(auth={"keys": ["right-key-canary-1"]}, limits={"body_bytes": 5000})
    yield world
    world.close()


def test_keys_and_limits(locked: World) -> None:
    with genai.Client(api_key="right-key-canary-1", http_options=options(locked)) as client:
        assert ask(client).text == HEARD
        with pytest.raises(errors.ClientError) as caught:
            ask(client, "x" * 6000)
        assert caught.value.code == 413
    with genai.Client(api_key="wrong-key-canary", http_options=options(locked)) as client:
        for call in (ask, chunks, lambda client: list(client.models.list())):
            with pytest.raises(errors.ClientError) as caught:
                call(client)
            assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
            assert "wrong-key-canary" not in str(caught.value)


def test_what_is_not_served(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError, match=r"\{model\}:generateContent") as caught:
        client.models.embed_content(model="text-embedding-004", contents="x")
    assert caught.value.code == 404


def test_every_body_fits_anthropics_own_types() -> None:
    """The last test of this file: what the others sent, judged by the SDK of that API version."""
    oracle.assert_legal(SENT)
