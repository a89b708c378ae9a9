"""The newest official `openai` and what runs beside the model: web search, compaction, local tools."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI
from openai.types.responses import Response

from tests import material, oracle
from tests.harness import World
from tests.material import NEW, OLD, last

SENT: list[oracle.Line] = []
"""What all tests of this file made the gateway send to its provider, but for what is beta there."""
BOUND = "claude-opus-5-5"
"""A model that always thinks, and refuses thinking that does not fit what stands before it."""
STREAMED = pytest.mark.parametrize("stream", [False, True])
SEARCH: dict[str, Any] = {
    "tools": [{"type": "web_search"}],
    "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
    "store": False,
}
PAGE = "https://example.com/simulated"


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture(autouse=True)
def gathered(world: World) -> Iterator[None]:
    yield
    rows = oracle.translated(world)
    SENT.extend(row for row in rows if "compact" not in json.dumps(row))


@pytest.fixture(scope="module")
def client(shared_world: World) -> Iterator[OpenAI]:
    base = f"{shared_world.url}/v1"
    with OpenAI(base_url=base, api_key="placeholder", max_retries=0) as client:
        yield client


def ask(client: OpenAI, items: list[Any], *, stream: bool, **fields: Any) -> Any:
    """A response; where it is streamed, the one that the SDK's helper ends with."""
    asked: Any = {"model": NEW, "input": items, **fields}
    if not stream:
        return client.responses.create(**asked)
    with client.responses.stream(**asked) as events:
        list(events)
        return events.get_final_response()


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def bodies(world: World) -> list[Any]:
    return [json.loads(received.body) for received in world.received()]


# --- web search ---------------------------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize("model", [OLD, NEW, BOUND])
def test_a_search_comes_back_byte_for_byte(
    client: OpenAI, world: World, model: str, stream: bool
) -> None:
    """Over three turns; the bound model would refuse thinking after a changed conversation."""
    items: list[Any] = [user("Search the web for otters.")]
    for text in ("And the latest news?", "Thanks."):
        response = ask(client, items, stream=stream, model=model, **SEARCH)
        Response.model_validate(json.loads(response.to_json()))
        [call] = [item for item in response.output if item.type == "web_search_call"]
        assert (call.status, call.action.type) == ("completed", "search")
        assert call.action.query in items[-1]["content"]
        assert [source.url for source in call.action.sources] == [PAGE]
        part = response.output[-1].content[0]
        [note] = part.annotations
        assert (note.type, note.url) == ("url_citation", PAGE)
        assert (note.start_index, note.end_index) == (0, len(part.text))
        items += [*response.output, user(text)]
    ask(client, items, stream=stream, model=model, **SEARCH)
    sent = bodies(world)
    for earlier, later in itertools.pairwise(sent):
        assert earlier["tools"] == later["tools"]
        assert later["messages"][: len(earlier["messages"])] == earlier["messages"]
    kinds = [block["type"] for block in sent[-1]["messages"][1]["content"]]
    searched = ["server_tool_use", "web_search_tool_result", "text"]
    assert kinds[-3:] == searched
    assert set(kinds[:-3]) <= {"thinking"}


def test_the_events_of_a_search(client: OpenAI) -> None:
    with client.responses.create(
        model=OLD, input="Search the web.", stream=True, **SEARCH
    ) as stream:
        kinds = [event.type.removeprefix("response.") for event in stream]
    assert kinds[2:11] == [
        "output_item.added",
        *(f"web_search_call.{state}" for state in ("in_progress", "searching", "completed")),
        "output_item.done",
        *("output_item.added", "output_item.done"),
        *("output_item.added", "content_part.added"),
    ]
    assert kinds.count("output_text.annotation.added") == 1
    assert kinds[-1] == "completed"


@STREAMED
def test_a_search_without_its_sealed_half_is_noted(
    client: OpenAI, world: World, stream: bool
) -> None:
    items: list[Any] = [user("Search the web for otters.")]
    response = ask(client, items, stream=stream, model=OLD, tools=[{"type": "web_search"}])
    assert [item.type for item in response.output] == ["web_search_call", "message"]
    items += [*response.output, user("Thanks.")]
    raw = client.responses.with_raw_response.create(model=NEW, input=items)  # pyright: ignore
    assert raw.parse().status == "completed"
    notes = raw.headers["x-isthmus-notes"]
    assert "input.1 dropped" in notes
    assert notes.count("citations are not sent back") == 1
    assert [block["type"] for block in last(world)["messages"][1]["content"]] == ["text"]


@STREAMED
def test_a_stored_search_is_gone_on_from(client: OpenAI, world: World, stream: bool) -> None:
    """The store keeps what brings the search back, and shows nothing of it."""
    tools: Any = [{"type": "web_search"}]
    first = ask(client, [user("Search the web for otters.")], stream=stream, tools=tools)
    shown = client.responses.retrieve(first.id)
    assert [item.type for item in shown.output] == [item.type for item in first.output]
    ask(client, [user("Thanks.")], stream=stream, tools=tools, previous_response_id=first.id)
    kinds = [block["type"] for block in last(world)["messages"][1]["content"]]
    assert kinds[-3:] == ["server_tool_use", "web_search_tool_result", "text"]


def test_a_search_that_fails_upstream(client: OpenAI, world: World) -> None:
    error = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    world.script(
        blocks=[
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": error},
            {"type": "text", "text": "I could not look."},
        ]
    )
    response = ask(client, [user("Hello")], stream=True, **SEARCH)
    assert (response.output[0].status, response.output_text) == ("failed", "I could not look.")


@STREAMED
def test_a_search_that_is_demanded(client: OpenAI, world: World, stream: bool) -> None:
    choice = {"type": "web_search_preview"}
    response = ask(
        client, [user("Search for seals.")], stream=stream, tool_choice=choice, model=OLD, **SEARCH
    )
    assert last(world)["tool_choice"] == {"type": "tool", "name": "web_search"}
    assert any(item.type == "web_search_call" for item in response.output)


# --- compaction ---------------------------------------------------------------------------------


@STREAMED
def test_a_compaction_that_is_asked_for(client: OpenAI, world: World, stream: bool) -> None:
    """As Codex does it: a trigger at the end, then the user's messages and the compaction."""
    items: list[Any] = [user("My name is Ada.")]
    items += ask(client, items, stream=stream).output
    response = ask(client, [*items, {"type": "compaction_trigger"}], stream=stream)
    [compaction] = response.output
    assert (response.status, compaction.type) == ("completed", "compaction")
    assert last(world)["compaction"] == {"type": "summarize"}
    again = [items[0], compaction, user("Who am I?")]
    assert ask(client, again, stream=stream, model=BOUND).status == "completed"
    first, *rest = last(world)["messages"]
    assert [block["type"] for block in first["content"]] == ["compaction"]
    assert "Ada" in first["content"][0]["content"]
    assert [turn["role"] for turn in rest] == ["user", "user"]


@STREAMED
def test_a_compaction_of_the_providers_own(client: OpenAI, world: World, stream: bool) -> None:
    block = {"type": "compaction", "content": "They met.", "encrypted_content": "eA=="}
    world.script(blocks=[block, {"type": "text", "text": "Hello again."}])
    limit: Any = {"context_management": [{"type": "compaction", "compact_threshold": 100_000}]}
    items: list[Any] = [user("Hello")]
    response = ask(client, items, stream=stream, **limit)
    trigger = {"type": "input_tokens", "value": 100_000}
    edits = [{"type": "compact_20260112", "trigger": trigger}]
    assert last(world)["context_management"] == {"edits": edits}
    assert [item.type for item in response.output] == ["compaction", "message"]
    items += [*response.output, user("More.")]
    assert ask(client, items, stream=stream, **limit).status == "completed"
    assert last(world)["messages"][1]["content"][0] == block


# --- tools that the client runs -----------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize("model", [NEW, BOUND])
def test_tools_that_the_client_runs(client: OpenAI, world: World, model: str, stream: bool) -> None:
    fields: Any = {
        "model": model,
        "tools": [{"type": "local_shell"}, {"type": "shell"}, {"type": "apply_patch"}],
        "include": ["reasoning.encrypted_content"],
    }
    calls: list[Any] = [
        {"type": "tool_use", "name": "local_shell", "input": {"command": ["ls", "-l"]}},
        {"type": "tool_use", "name": "shell", "input": {"commands": ["ls"], "timeout_ms": 5}},
        {
            "type": "tool_use",
            "name": "apply_patch",
            "input": {"type": "create_file", "path": "a", "diff": "+é"},
        },
    ]
    world.script(blocks=[{"type": "thinking", "thinking": "Hm."}, *calls], delta_chars=3)
    items: list[Any] = [user("Look around.")]
    response = ask(client, items, stream=stream, **fields)
    Response.model_validate(json.loads(response.to_json()))
    _, local, shell, patch = response.output
    assert (local.type, local.action.command, local.action.env) == (
        "local_shell_call",
        ["ls", "-l"],
        {},
    )
    assert (shell.action.commands, shell.action.timeout_ms) == (["ls"], 5)
    assert (patch.operation.type, patch.operation.diff) == ("create_file", "+é")
    printed = {"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
    items += [
        *response.output,
        {"type": "local_shell_call_output", "id": local.call_id, "output": "seen-1"},
        {"type": "shell_call_output", "call_id": shell.call_id, "output": [printed]},
        {"type": "apply_patch_call_output", "call_id": patch.call_id, "status": "completed"},
    ]
    assert "seen-1" in ask(client, items, stream=stream, **fields).output_text
    kept = last(world)["messages"][1]["content"]
    assert [block["input"] for block in kept[1:]] == [call["input"] for call in calls]


def test_every_body_fits_anthropics_own_types() -> None:
    """The last test of this file: what the others sent, judged by the SDK of that API version."""
    oracle.assert_legal(SENT)
