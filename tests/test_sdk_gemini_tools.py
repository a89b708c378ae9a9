"""Tools that the provider runs, asked for by the official `google-genai` over a real socket.

The model is one that binds its thinking to all that stands before it: the simulator refuses a turn
whose search, citations or thinking came back other than they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types

from tests import material
from tests.harness import World
from tests.material import NEW

SEARCH = types.Tool(google_search=types.GoogleSearch())
CODE = types.Tool(code_execution=types.ToolCodeExecution())
FETCH = types.Tool(url_context=types.UrlContext())
EACH_WAY = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@pytest.fixture
def client(world: World) -> Iterator[genai.Client]:
    made = types.HttpOptions(base_url=world.url, retry_options=types.HttpRetryOptions(attempts=1))
    with genai.Client(api_key="placeholder", http_options=made) as client:
        yield client


def chat(client: genai.Client, *tools: types.Tool) -> Any:
    config = types.GenerateContentConfig(tools=list(tools))
    return client.chats.create(model=NEW, config=config)


def asked(chat: Any, text: str, streamed: bool) -> list[Any]:
    """The responses of one turn; the last one tells how it ended."""
    return list(chat.send_message_stream(text)) if streamed else [chat.send_message(text)]


def parts_of(answers: list[Any]) -> list[Any]:
    return [part for answer in answers for part in answer.candidates[0].content.parts or []]


def text_of(answers: list[Any]) -> str:
    return "".join(part.text or "" for part in parts_of(answers) if not part.thought)


def bodies(world: World) -> list[Any]:
    return [json.loads(received.body) for received in world.received()]


def kinds(turn: Any) -> list[str]:
    return [block["type"] for block in turn["content"]]


@EACH_WAY
def test_a_search_its_sources_and_the_turn_after_it(
    client: genai.Client, world: World, streamed: bool
) -> None:
    talk = chat(client, SEARCH)
    answers = asked(talk, "Please search the web for news", streamed)
    assert not any(part.function_call for part in parts_of(answers))
    *before, last = [answer.candidates[0] for answer in answers]
    assert not any(candidate.grounding_metadata for candidate in before)
    found = last.grounding_metadata
    assert found.web_search_queries
    assert all(chunk.web.uri and chunk.web.title for chunk in found.grounding_chunks)
    said = text_of(answers).encode()
    for support in found.grounding_supports:
        segment = support.segment
        assert said[segment.start_index : segment.end_index].decode() == segment.text
        assert max(support.grounding_chunk_indices) < len(found.grounding_chunks)
    asked(talk, "And now without", streamed)
    first, second = bodies(world)
    assert first["tools"] == second["tools"]
    assert second["messages"][:1] == first["messages"]
    restored = kinds(second["messages"][1])
    assert restored[:3] == ["thinking", "server_tool_use", "web_search_tool_result"]
    assert any(block.get("citations") for block in second["messages"][1]["content"])


RUN = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution"}
RAN = {"type": "code_execution_tool_result", "tool_use_id": "srvtoolu_1"}
ONE = {"type": "code_execution_result", "stdout": "1\n", "stderr": "", "return_code": 0}
SLOW = {"type": "code_execution_tool_result_error", "error_code": "execution_time_exceeded"}


@EACH_WAY
@pytest.mark.parametrize(
    ("content", "outcome"),
    [({**ONE, "content": []}, "OUTCOME_OK"), (SLOW, "OUTCOME_DEADLINE_EXCEEDED")],
)
def test_code_that_runs_and_the_turn_after_it(
    client: genai.Client, world: World, streamed: bool, content: Any, outcome: str
) -> None:
    blocks = [
        {"type": "thinking", "thinking": "I compute."},
        {"type": "text", "text": "Let me see."},
        {**RUN, "input": {"code": "print(1)"}},
        {**RAN, "content": content},
        {"type": "text", "text": "So it is."},
    ]
    world.script(blocks=blocks)
    talk = chat(client, CODE)
    answers = asked(talk, "Compute", streamed)
    runs = [part.executable_code for part in parts_of(answers) if part.executable_code]
    [result] = [p.code_execution_result for p in parts_of(answers) if p.code_execution_result]
    assert [(run.language.value, run.code) for run in runs] == [("PYTHON", "print(1)")]
    assert (result.outcome.value, result.id) == (outcome, runs[0].id)
    asked(talk, "And then?", streamed)
    _, second = bodies(world)
    sent = second["messages"][1]["content"]
    assert [block["type"] for block in sent] == [block["type"] for block in blocks]
    assert sent[2:4] == blocks[2:4]


@EACH_WAY
def test_a_fetch_that_failed(client: genai.Client, world: World, streamed: bool) -> None:
    failed = {"type": "web_fetch_tool_result_error", "error_code": "url_not_accessible"}
    call = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_fetch"}
    world.script(
        blocks=[
            {**call, "input": {"url": "https://example.com/a"}},
            {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_1", "content": failed},
            {"type": "text", "text": "It is out of reach."},
        ]
    )
    answers = asked(chat(client, FETCH), "Read https://example.com/a", streamed)
    [row] = answers[-1].candidates[0].url_context_metadata.url_metadata
    assert row.retrieved_url == "https://example.com/a"
    assert row.url_retrieval_status.value == "URL_RETRIEVAL_STATUS_ERROR"
    assert text_of(answers) == "It is out of reach."


def test_a_search_beside_a_function_of_the_same_name(client: genai.Client, world: World) -> None:
    """The function is called by its own name, and the search is no call of the client's."""
    declared = types.FunctionDeclaration(name="web_search", description="Searches our shelves")
    tools = [SEARCH, types.Tool(function_declarations=[declared])]
    renamed = "web_search_2a719626"
    world.script(blocks=[{"type": "tool_use", "name": renamed, "input": {}}])
    config = types.GenerateContentConfig(
        tools=tools,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    answer = client.models.generate_content(model=NEW, contents="Go", config=config)
    assert [call.name for call in answer.function_calls or []] == ["web_search"]
    offered = [tool["name"] for tool in bodies(world)[0]["tools"]]
    assert offered == [renamed, "web_search"]
