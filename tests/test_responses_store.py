"""Responses that are kept, asked for by the official SDK: gone on from, shown, listed, deleted."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from isthmus import responses
from isthmus.errors import GatewayError
from isthmus.frontends import Match, openai_responses
from isthmus.frontends.openai_responses.stored import Missing, Record
from isthmus.request import HttpRequest
from isthmus.responses import Responses
from isthmus.storage.memory import ENTRY_BYTES, MemoryStore
from tests import material, oracle, printed
from tests.harness import World, error_message
from tests.material import BROKEN, NEW, OLD, WEATHER, break_off, last, refuse

SENT: list[oracle.Line] = []
"""What the tests of this file made the gateway send to its provider."""
BOUND = "claude-opus-5-5"
"""A model that always thinks, and refuses thinking that does not fit what stands before it."""
KEYS = ["client-key-one", "client-key-two"]
TOOLS: list[Any] = [
    {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}
]
ENCRYPTED: Any = ["reasoning.encrypted_content"]
STREAMED = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture(scope="module")
def started() -> Iterator[World]:
    """A gateway whose store stands alone: there is no vault to help it."""
    world = World(vault={"enabled": False}, auth={"keys": KEYS})
    yield world
    world.close()


@pytest.fixture
def world(started: World) -> Iterator[World]:
    started.simulator.reset()
    yield started
    SENT.extend(oracle.translated(started))


def connected(world: World, key: str = KEYS[0]) -> OpenAI:
    return OpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(world: World) -> Iterator[OpenAI]:
    with connected(world) as client:
        yield client


def ask(client: OpenAI, said: Any, *, stream: bool = False, **fields: Any) -> Any:
    """A response; of a stream, the one that it ends with."""
    asked: Any = {"model": OLD, "input": said, **fields}
    if not stream:
        return client.responses.create(**asked)
    with client.responses.create(**asked, stream=True) as events:
        return list(events)[-1].response


def plain(response: Any) -> Any:
    return json.loads(response.to_json())


def result(call: Any, output: str) -> Any:
    return {"type": "function_call_output", "call_id": call.call_id, "output": output}


# --- going on -----------------------------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize("include", [[], ENCRYPTED], ids=["plain", "included"])
@pytest.mark.parametrize("model", [OLD, NEW, BOUND])
def test_ten_turns_with_tools(
    client: OpenAI, world: World, model: str, include: Any, stream: bool
) -> None:
    """Each request is the prefix of the next, with all thinking, which the client never sent."""
    fields: Any = {"model": model, "tools": TOOLS, "include": include, "stream": stream}
    fields |= {"instructions": "Be brief.", "reasoning": {"effort": "low", "summary": "auto"}}
    previous: Any = None
    said: Any = "Look it up."
    for turn in range(10):
        block = {"type": "tool_use", "name": "get_weather", "input": {"location": f"Bern {turn}"}}
        calls = [block] if turn % 2 == 0 else [{"type": "text", "text": f"Rain {turn}."}]
        world.script(blocks=[{"type": "thinking", "thinking": f"Turn {turn}."}, *calls])
        response = ask(client, said, previous_response_id=previous, **fields)
        assert response.previous_response_id == previous
        assert response.store is True
        assert response.output[0].type == "reasoning"
        assert bool(response.output[0].encrypted_content) == bool(include)
        previous = response.id
        said = f"And now, {turn}?" if turn % 2 else [result(response.output[-1], f"rain {turn}")]
    sent = [json.loads(received.body) for received in world.received()]
    assert len(sent) == 10
    for earlier, later in itertools.pairwise(sent):
        assert (earlier["tools"], earlier["system"]) == (later["tools"], later["system"])
        assert later["messages"][: len(earlier["messages"])] == earlier["messages"]
    answers = [turn for turn in sent[-1]["messages"] if turn["role"] == "assistant"]
    thoughts = [turn["content"][0] for turn in answers]
    assert [thought["type"] for thought in thoughts] == ["thinking"] * 9
    assert all(thought["signature"] for thought in thoughts)


def test_going_on_is_what_a_client_that_sends_everything_does(client: OpenAI, world: World) -> None:
    fields: Any = {"model": BOUND, "tools": TOOLS, "include": ENCRYPTED}
    first = ask(client, "Use get_weather.", **fields)
    [*_, call] = first.output
    output = result(call, "rain")
    ask(client, [output], previous_response_id=first.id, **fields)
    short = last(world)
    items = [{"role": "user", "content": "Use get_weather."}, *first.output, output]
    ask(client, items, store=False, **fields)
    assert last(world) == short


def test_a_conversation_can_branch(client: OpenAI, world: World) -> None:
    first = ask(client, "one")
    for text in ("two", "three"):
        ask(client, text, previous_response_id=first.id)
        turns = last(world)["messages"]
        texts = [turn["content"][0]["text"] for turn in turns]
        assert texts == ["one", first.output_text, text]


def test_instructions_are_not_carried_over(client: OpenAI, world: World) -> None:
    first = ask(client, "one", instructions="Be brief.")
    second = ask(client, "two", previous_response_id=first.id)
    assert second.instructions is None
    assert "system" not in last(world)


def test_the_page_prints_what_works(client: OpenAI, world: World) -> None:
    page = (printed.ROOT / "docs" / "responses.md").read_text("utf-8")
    [code] = [body for kind, body in printed.FENCE.findall(page) if kind == "python"]
    exec(code, {"client": client})
    texts = [turn["content"][-1]["text"] for turn in last(world)["messages"]]
    assert (texts[0], texts[2]) == ("Name a mountain.", "How high is it?")


def test_counting_goes_on_too(client: OpenAI, world: World) -> None:
    first = ask(client, "one", instructions="Be brief.")
    count = client.responses.input_tokens.count(
        model=OLD, input="two", previous_response_id=first.id
    )
    assert (
        count.input_tokens == ask(client, "two", previous_response_id=first.id).usage.input_tokens
    )
    assert len(last(world)["messages"]) == 3


def test_explaining_goes_on_too(client: OpenAI, world: World) -> None:
    first = ask(client, "one")
    body = {"model": OLD, "input": "two", "previous_response_id": first.id, "store": True}
    headers = {"authorization": f"Bearer {KEYS[0]}"}
    told = world.post("/explain?dialect=openai-responses", body, **headers).json()
    assert told["notes"] == []
    ask(client, "two", previous_response_id=first.id)
    assert told["body"] == last(world)


def test_items_by_reference(client: OpenAI, world: World) -> None:
    """As the AI SDK sends them: everything of the assistant by its id, thinking included."""
    fields: Any = {"model": BOUND, "tools": TOOLS}
    first = ask(client, "Use get_weather.", **fields)
    asked: Any = {"role": "user", "content": "Use get_weather."}
    names = [{"type": "item_reference", "id": item.id} for item in first.output]
    items = [asked, *names, result(first.output[-1], "rain")]
    second = ask(client, items, **fields)
    assert second.status == "completed"
    kinds = [block["type"] for block in last(world)["messages"][1]["content"]]
    assert kinds == ["thinking", "tool_use"]
    listed = client.responses.input_items.list(second.id, order="asc")
    again = [{"id": item.id} for item in (*listed, *second.output)]
    assert ask(client, [*again, asked], **fields).status == "completed"
    signed = [turn["content"][0]["type"] for turn in last(world)["messages"][1::2]]
    assert signed[0] == "thinking"
    assert len(last(world)["messages"]) == 5


# --- what is not there --------------------------------------------------------------------------


def assert_gone(client: OpenAI, name: str) -> None:
    """Nothing of the response can be had, and nothing tells why."""
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "two", previous_response_id=name)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"
    body: Any = caught.value.body
    assert body["type"] == "invalid_request_error"
    for use in (
        client.responses.retrieve,
        client.responses.delete,
        client.responses.input_items.list,
        client.responses.cancel,
    ):
        with pytest.raises(openai.NotFoundError, match=f"there is no response '{name}'"):
            use(name)


def test_another_callers_response_is_not_there(client: OpenAI, world: World) -> None:
    first = ask(client, "one")
    with connected(world, KEYS[1]) as other:
        assert_gone(other, first.id)
        with pytest.raises(openai.BadRequestError, match="there is no item") as caught:
            ask(other, [{"type": "item_reference", "id": first.output[0].id}])
        assert caught.value.param == "input.0.id"
        with pytest.raises(openai.BadRequestError) as unknown:
            ask(other, "two", previous_response_id="resp_unknown")
        with pytest.raises(openai.BadRequestError) as foreign:
            ask(other, "two", previous_response_id=first.id)
        assert foreign.value.message.replace(first.id, "resp_unknown") == unknown.value.message
    assert client.responses.retrieve(first.id).id == first.id


@STREAMED
def test_what_is_not_to_be_stored(client: OpenAI, stream: bool) -> None:
    first = ask(client, "Not this.", store=False, stream=stream)
    assert first.store is False
    assert_gone(client, first.id)


def test_a_deleted_response(client: OpenAI, world: World) -> None:
    first = ask(client, "one")
    second = ask(client, "two", previous_response_id=first.id)
    path, headers = f"/v1/responses/{first.id}", {"authorization": f"Bearer {KEYS[0]}"}
    deleted = world.ask("DELETE", path, None, **headers).json()
    assert deleted == {"id": first.id, "object": "response", "deleted": True}
    assert_gone(client, first.id)
    assert client.responses.retrieve(second.id).id == second.id
    with pytest.raises(openai.BadRequestError, match=f"no response '{first.id}'") as caught:
        ask(client, "three", previous_response_id=second.id)
    assert caught.value.code == "previous_response_not_found"
    client.responses.delete(second.id)
    assert_gone(client, second.id)


def failed(world: World, **fields: Any) -> str:
    """The id of a response of which the client saw a beginning and no end."""
    body = {"model": OLD, "input": "Hello", "stream": True, **fields}
    reply = world.post("/v1/responses", body, authorization=f"Bearer {KEYS[0]}")
    events = reply.events()
    assert events[-1][0] == "response.failed"
    return events[0][1]["response"]["id"]


@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault["kind"])
def test_a_failed_response_is_not_kept(client: OpenAI, world: World, fault: Any) -> None:
    break_off(world, fault)
    assert_gone(client, failed(world))
    refuse(world, 429, "rate_limit_error")
    with pytest.raises(openai.RateLimitError):
        ask(client, "Hello")


def test_a_response_that_the_client_left_is_not_kept(client: OpenAI, world: World) -> None:
    text = {"type": "text", "text": "word " * 40}
    world.script(blocks=[text], delta_chars=5, delay=0.01)
    with client.responses.create(model=OLD, input="Hello", stream=True) as events:
        name = next(iter(events)).response.id  # pyright: ignore
    time.sleep(1)  # twice as long as the answer takes
    assert_gone(client, name)


@STREAMED
def test_a_response_that_a_limit_cut_off_is_kept(client: OpenAI, stream: bool) -> None:
    cut = ask(client, "Hello", max_output_tokens=3, stream=stream)
    assert client.responses.retrieve(cut.id).status == "incomplete"
    assert ask(client, "Go on.", previous_response_id=cut.id).status == "completed"


def test_a_call_that_a_limit_cut_off_cannot_be_gone_on_from(client: OpenAI, world: World) -> None:
    block = {"type": "tool_use", "name": "get_weather", "input": {"location": "one two three"}}
    world.script(blocks=[block], delta_chars=4)
    cut = ask(client, "Hello", tools=TOOLS, max_output_tokens=16)
    assert (cut.status, cut.output[-1].status) == ("incomplete", "incomplete")
    with pytest.raises(
        openai.BadRequestError, match="expected the text of a JSON object"
    ) as caught:
        ask(client, "Go on.", tools=TOOLS, previous_response_id=cut.id)
    assert caught.value.param == "previous_response_id.1.arguments"


# --- showing ------------------------------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize("include", [[], ENCRYPTED], ids=["plain", "included"])
def test_a_response_is_shown_as_its_client_got_it(
    client: OpenAI, stream: bool, include: Any
) -> None:
    fields: Any = {"model": BOUND, "tools": TOOLS, "include": include, "metadata": {"user_id": "u"}}
    response = ask(client, "Use get_weather.", stream=stream, **fields)
    shown = client.responses.retrieve(response.id)
    assert plain(shown) == plain(response)
    more = client.responses.retrieve(response.id, include=ENCRYPTED)
    assert more.output[0].encrypted_content  # pyright: ignore
    with pytest.raises(openai.BadRequestError, match="stream: what is stored is no stream"):
        client.responses.retrieve(response.id, stream=True, starting_after=3)
    with pytest.raises(openai.BadRequestError, match="nothing to be cancelled"):
        client.responses.cancel(response.id)


def test_both_ways_keep_the_same(client: OpenAI) -> None:
    kept: list[Any] = []
    for stream in (False, True):
        fields: Any = {"model": BOUND, "tools": TOOLS, "stream": stream}
        response = ask(client, "Use get_weather.", **fields)
        shown = plain(client.responses.retrieve(response.id, include=ENCRYPTED))
        items = client.responses.input_items.list(response.id).to_json()
        kept.append([{**shown, "created_at": 0}, items])
    assert kept[0] == kept[1]


def test_the_items_of_a_response(client: OpenAI) -> None:
    first = ask(client, "Use get_weather.", model=BOUND, tools=TOOLS)
    output = result(first.output[-1], "rain")
    second = ask(client, [output], model=BOUND, tools=TOOLS, previous_response_id=first.id)
    third = ask(client, "Thanks.", model=BOUND, tools=TOOLS, previous_response_id=second.id)
    one = client.responses.input_items.list(first.id).data
    assert [item.type for item in one] == ["message"]
    assert one[0].content[0].text == "Use get_weather."  # pyright: ignore
    items = list(client.responses.input_items.list(third.id, order="asc", limit=2))
    kinds = ["message", "reasoning", "function_call", "function_call_output"]
    assert [item.type for item in items][:4] == kinds
    assert items[-1].content[0].text == "Thanks."  # pyright: ignore
    ids = [item.id for item in items]
    assert ids[1:3] == [item.id for item in first.output]
    newest = list(client.responses.input_items.list(third.id, limit=3))
    assert [item.id for item in newest] == ids[::-1]
    assert not any(getattr(item, "encrypted_content", None) for item in items)
    included = client.responses.input_items.list(third.id, order="asc", include=ENCRYPTED)
    assert included.data[1].encrypted_content  # pyright: ignore
    with pytest.raises(openai.BadRequestError, match="limit: expected a number from 1 to 100"):
        client.responses.input_items.list(third.id, limit=101)


def test_paths_that_name_no_response(world: World) -> None:
    headers = {"authorization": f"Bearer {KEYS[0]}"}
    for path in ("a/b", "%2e%2e", "input_tokens", "x" * 7000):
        reply = world.get(f"/v1/responses/{path}", **headers)
        assert reply.status == 404
        assert "there is no response" in error_message("openai-responses", reply)
        assert len(reply.body) < 400
    assert world.ask("DELETE", "/v1/responses", None, **headers).status == 405
    assert world.get("/v1/responses/resp_1").status == 401


# --- bounds -------------------------------------------------------------------------------------


def test_without_a_store() -> None:
    world = World(responses={"store": False})
    try:
        with connected(world) as client:
            raw = client.responses.with_raw_response.create(model=OLD, input="one", store=True)
            assert raw.headers["x-isthmus-notes"] == "store dropped: nothing is stored here"
            first: Any = raw.parse()
            assert first.store is False
            silent = client.responses.with_raw_response.create(model=OLD, input="one")
            assert "x-isthmus-notes" not in silent.headers
            assert_gone(client, first.id)
            with pytest.raises(openai.BadRequestError, match="send the item itself"):
                ask(client, [{"type": "item_reference", "id": first.output[0].id}])
    finally:
        world.close()


def test_a_full_store_forgets_what_was_used_longest_ago() -> None:
    world = World(responses={"max_bytes": 12_000})
    try:
        with connected(world) as client:
            first, second = ask(client, "one"), ask(client, "two")
            for number in range(20):
                client.responses.retrieve(second.id)
                newest = ask(client, f"more {number}")
            assert_gone(client, first.id)
            assert client.responses.retrieve(second.id).id == second.id
            large = ask(client, "x" * 12_000)
            assert_gone(client, large.id)
            assert client.responses.retrieve(newest.id).id == newest.id
    finally:
        world.close()


def test_a_restart_forgets() -> None:
    world = World()
    with connected(world) as client:
        first = ask(client, "one")
    world.close()
    world = World()
    try:
        with connected(world) as client:
            assert_gone(client, first.id)
    finally:
        world.close()


MATCH = Match(openai_responses.ROUTES[0])


def http(**body: Any) -> HttpRequest:
    return HttpRequest("POST", "/v1/responses", body=json.dumps({"model": "m", **body}).encode())


async def fill(store: MemoryStore, count: int) -> None:
    """A conversation of as many responses, r0 first, as the caller "c" would have had it."""
    for number in range(count):
        previous = f"resp_{number - 1}" if number else None
        response = {"id": f"resp_{number}", "previous_response_id": previous, "output": []}
        said = [{"role": "user", "content": f"{number}"}]
        await store.add(responses._key(f"resp_{number}", "c"), Record(response, said).encode())


def test_what_was_not_used_for_its_age_is_gone() -> None:
    now = [0.0]
    store = MemoryStore(1_000_000, 60, lambda: now[0])
    kept = Responses(store)

    async def steps() -> None:
        await fill(store, 3)
        for _ in range(3):  # who goes on uses all that came before
            now[0] += 40
            request = await kept.decoded(http(input="x", previous_response_id="resp_2"), MATCH, "c")
            assert len(request.body.peek("messages")[0]["content"]) == 4
        now[0] += 60
        with pytest.raises(Missing):
            await kept.decoded(http(input="x", previous_response_id="resp_2"), MATCH, "c")
        assert store.bytes == 0

    asyncio.run(steps())


def test_a_conversation_has_an_end() -> None:
    store = MemoryStore(100_000_000, 60, lambda: 0.0)

    async def steps() -> None:
        await fill(store, responses.MAX_LINKS + 1)
        kept = Responses(store)
        longest = http(input="x", previous_response_id=f"resp_{responses.MAX_LINKS - 1}")
        request = await kept.decoded(longest, MATCH, "c")
        assert len(request.body.peek("messages")[0]["content"]) == responses.MAX_LINKS + 1
        more = http(input="x", previous_response_id=f"resp_{responses.MAX_LINKS}")
        with pytest.raises(GatewayError, match="more than 1000 responses"):
            await kept.decoded(more, MATCH, "c")

    asyncio.run(steps())


def test_links_are_no_copies() -> None:
    """What is kept of a conversation grows with its length, not with its square."""
    sizes: list[int] = []
    store = MemoryStore(10_000_000, 60, lambda: 0.0)
    kept = Responses(store)

    async def steps() -> None:
        name = None
        for number in range(20):
            asked = http(input="x" * 1000, previous_response_id=name)
            request = await kept.decoded(asked, MATCH, "c")
            message: Any = {"id": f"msg_{number}", "type": "message", "role": "assistant"}
            message |= {"content": [{"type": "text", "text": "y"}], "stop_reason": "end_turn"}
            message |= {"model": "m", "usage": {}, "stop_sequence": None}
            await kept._keep(request, message)
            name = f"resp_{number}"
            sizes.append(store.bytes)

    asyncio.run(steps())
    grown = [later - earlier for earlier, later in itertools.pairwise(sizes)]
    assert max(grown) - min(grown) < 50
    assert sizes[0] > 1000 + ENTRY_BYTES


def test_every_body_fits_anthropics_own_types() -> None:
    """The last test of this file: what the others sent, judged by the SDK of that API version."""
    oracle.assert_legal(SENT)
