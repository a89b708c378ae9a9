"""Stored responses as values: going on from records, what they show, what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseItem
from pydantic import TypeAdapter

from isthmus.errors import GatewayError
from isthmus.frontends import Match, openai_responses
from isthmus.frontends.openai_responses import stored
from isthmus.frontends.openai_responses.stored import Known, Missing, Record
from isthmus.messages import collect
from isthmus.request import HttpRequest, Request

from .strategies import WRONG as ODD
from .strategies import Stream, places, streams

KEEPS = Known(keeps=True)
ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)
ENCRYPTED = "reasoning.encrypted_content"


def decoded(known: Known, **body: Any) -> Request:
    source = json.dumps({"model": "m", "input": "Hello", **body}).encode()
    http = HttpRequest("POST", "/v1/responses", body=source, arrived=1_700_000_000)
    return openai_responses.decode(http, Match(openai_responses.ROUTES[0]), known)


def answer(number: int, *blocks: Any) -> Any:
    thought = {"type": "thinking", "thinking": f"Hm {number}.", "signature": f"sig{number}"}
    said = blocks or ({"type": "text", "text": f"Answer {number}."},)
    head: Any = {"id": f"msg_0{number}", "type": "message", "role": "assistant", "model": "m"}
    usage = {"input_tokens": 1, "output_tokens": 1}
    end = {"stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
    return {**head, "content": [thought, *said], **end}


def record(known: Known, number: int, *blocks: Any, **body: Any) -> Record:
    found = stored.kept(decoded(known, **body), answer(number, *blocks))
    assert found is not None
    return found


CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "é"}}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}


def chain() -> list[Record]:
    """Three responses: the first calls a tool, the second has its result, the third a new question."""
    first = record(KEEPS, 1, CALL, input="One?", tools=[TOOL])
    result = {"type": "function_call_output", "call_id": "toolu_1", "output": "seen"}
    known = Known(keeps=True, chain=[first])
    second = record(known, 2, input=[result], tools=[TOOL], previous_response_id="resp_01")
    known = Known(keeps=True, chain=[first, second])
    said = [{"role": "user", "content": "Three?"}]
    return [first, second, record(known, 3, input=said, previous_response_id="resp_02")]


# --- going on -----------------------------------------------------------------------------------


def test_going_on_is_sending_everything_again() -> None:
    records = chain()
    known = Known(keeps=True, chain=records)
    tail = [{"role": "user", "content": "Four?"}]
    fields: Any = {"tools": [TOOL], "instructions": "Be brief."}
    short = decoded(known, input=tail, previous_response_id="resp_03", **fields)
    items = [item for one in records for item in one.items]
    long = decoded(KEEPS, input=[*items, *tail], **fields)
    assert short.body.wire() == long.body.wire()
    turns = short.body.peek("messages")
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 3 + ["user"]
    thoughts = [block["signature"] for turn in turns[1::2] for block in turn["content"][:1]]
    assert thoughts == ["sig1", "sig2", "sig3"]
    assert short.memory["stored"] == tail
    echo = short.memory["echo"]
    assert (echo["previous_response_id"], echo["store"]) == ("resp_03", True)


@given(stream=streams(), text=st.text(min_size=1))
def test_whatever_was_answered_can_be_gone_on_from(stream: Stream, text: str) -> None:
    """The stored conversation reads as the one that a client with all content sends again."""
    found = stored.kept(decoded(KEEPS, input=f"a{text}"), collect(stream.events))
    if found is None:
        return
    assert Record.decode(found.encode()) == found
    tail = {"role": "user", "content": "Next."}
    bodies: list[Any] = []
    for known, said in [(replace(KEEPS, chain=[found]), [tail]), (KEEPS, [*found.items, tail])]:
        fields: Any = {"previous_response_id": "resp_"} if known.chain else {}
        try:
            bodies.append(decoded(known, input=said, **fields).body.wire())
        except GatewayError as error:  # a call that a limit cut off
            bodies.append(error.kind)
    assert bodies[0] == bodies[1]


CASES = Path(__file__).parent / "wire" / "openai_responses"
BODIES = [
    case["request"]
    for path in sorted(CASES.glob("request_*.json"))
    for case in json.loads(path.read_text()).values()
    if case["request"].get("store") is not False
]


@given(data=st.data())
def test_whatever_was_read_can_be_kept_and_listed(data: st.DataObject) -> None:
    """The golden requests, with a wrong type anywhere."""
    body = json.loads(json.dumps(data.draw(st.sampled_from(BODIES))))
    path = data.draw(st.sampled_from([path for path in places(body) if path]))
    inside = body
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = data.draw(ODD)
    tools = body.get("tools")
    try:
        found = record(KEEPS, 1, **body)
    except (GatewayError, KeyError) as error:  # KeyError: store became false
        assert isinstance(error, GatewayError) or body["store"] is False
        return
    assert Record.decode(found.encode()) == found
    items = listed([found], "order=asc&limit=100")["data"]
    assert len({item["id"] for item in items}) == len(items)
    fields: Any = {"tools": tools, "instructions": body.get("instructions")}
    known = Known(keeps=True, chain=[found])
    short = decoded(known, input="Next.", previous_response_id="resp_01", **fields)
    tail = {"role": "user", "content": "Next."}
    long = decoded(KEEPS, input=[*found.items, tail], **fields)
    assert short.body.wire() == long.body.wire()


def test_instructions_and_tools_are_not_carried_over() -> None:
    first = record(KEEPS, 1, input="One?", tools=[TOOL], instructions="Be brief.")
    known = Known(keeps=True, chain=[first])
    hub = decoded(known, previous_response_id="resp_01").body.value()
    assert "system" not in hub
    assert "tools" not in hub


def test_nothing_new_need_be_said() -> None:
    known = Known(keeps=True, chain=chain())
    turns = decoded(known, input=None, previous_response_id="resp_03").body.peek("messages")
    assert turns[-1]["content"][-1]["text"] == "Answer 3."


def test_paths_tell_the_stored_items_from_the_clients_own() -> None:
    first = record(KEEPS, 1, input=[{"role": "user", "content": "a", "strange": 1}])
    known = Known(keeps=True, chain=[first])
    said = [{"role": "user", "content": "b", "odd": 1}]
    request = decoded(known, input=said, previous_response_id="resp_01")
    paths = [note.path for note in request.notes.rows]
    assert paths == ["previous_response_id.0.strange", "input.0.odd"]


def test_what_is_not_known_is_asked_for_first() -> None:
    references = [{"type": "item_reference", "id": "rs_01_0"}, {"id": "msg_01_1"}]
    with pytest.raises(Missing) as caught:
        decoded(KEEPS, input=references, previous_response_id="resp_9", model=3)
    assert (caught.value.previous, caught.value.items) == ("resp_9", ("rs_01_0", "msg_01_1"))
    assert caught.value.row.openai_code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"
    with pytest.raises(Missing) as caught:
        decoded(KEEPS, input=references)
    assert (caught.value.previous, caught.value.param) == (None, "input.0.id")


def test_references_stand_for_items_at_their_place() -> None:
    [first, *_] = chain()
    items = stored.named([first], ["rs_01_0", "fc_01_1", "msg_01_in0", "None", "x"])
    assert sorted(items) == ["fc_01_1", "msg_01_in0", "rs_01_0"]
    assert {stored.origin(name) for name in items} == {"resp_01"}
    result = {"type": "function_call_output", "call_id": "toolu_1", "output": "seen"}
    names = [{"id": "msg_01_in0"}, {"type": "item_reference", "id": "rs_01_0"}, {"id": "fc_01_1"}]
    request = decoded(replace(KEEPS, items=items), input=[*names, result], tools=[TOOL])
    long = decoded(KEEPS, input=[*first.items, result], tools=[TOOL])
    assert request.body.wire() == long.body.wire()
    assert request.memory["stored"][:3] == [items[item["id"]] for item in names]


WRONG: list[tuple[Any, str]] = [
    ({"previous_response_id": 7}, "previous_response_id"),
    ({"input": [{"type": "item_reference", "id": 7}]}, "input.0.id"),
    ({"input": [{"type": "item_reference"}]}, "input.0.id"),
    ({"store": "yes"}, "store"),
    ({"conversation": "conv_1"}, "conversation"),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=str)
def test_refusals(body: Any, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decoded(Known(keeps=True), **body)
    assert (caught.value.row.status, caught.value.param) == (400, param)


def test_a_conversation_cannot_be_named_too() -> None:
    known = Known(keeps=True, chain=chain())
    with pytest.raises(GatewayError) as caught:
        decoded(known, previous_response_id="resp_03", conversation="conv_1")
    assert (caught.value.row.status, caught.value.param) == (400, "conversation")


def test_what_is_not_stored() -> None:
    assert "stored" not in decoded(KEEPS, store=False).memory
    assert decoded(KEEPS, store=True).notes.rows == []
    [note] = decoded(Known(), store=True).notes.rows
    assert str(note) == "store dropped: nothing is stored here"
    assert stored.kept(decoded(KEEPS), {**answer(1), "id": ""}) is None


# --- showing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("include", [[], [ENCRYPTED]])
def test_a_response_is_shown_as_the_client_got_it(include: list[str]) -> None:
    request = decoded(KEEPS, include=include)
    message = answer(1)
    found = stored.kept(request, message)
    assert found is not None
    assert stored.encode_response(found, "") == openai_responses.encode_message(request, message)
    for query in (f"include={ENCRYPTED}", f"include[]={ENCRYPTED}", f"include%5B%5D={ENCRYPTED}"):
        shown = json.loads(stored.encode_response(found, query))
        assert shown["output"][0]["encrypted_content"]
    assert found.response["output"][0]["encrypted_content"]


@pytest.mark.parametrize(
    "query", ["stream=true", "stream=1", "starting_after=3", "stream=false&starting_after=3"]
)
def test_a_stored_response_is_no_stream(query: str) -> None:
    with pytest.raises(GatewayError, match="ask for the whole response"):
        stored.encode_response(chain()[0], query)
    assert stored.encode_response(chain()[0], "stream=false&include_obfuscation=true")


def listed(records: list[Record], query: str = "") -> Any:
    return json.loads(stored.encode_items(records, query))


def test_a_list_has_the_items_that_the_response_was_made_from() -> None:
    records = chain()
    page = listed(records, "order=asc")
    kinds = [item["type"] for item in page["data"]]
    one = ["message", "reasoning", "function_call"]
    assert kinds == [*one, "function_call_output", "reasoning", "message", "message"]
    assert [item["id"] for item in page["data"]] == [
        *("msg_01_in0", "rs_01_0", "fc_01_1", "fco_02_in0", "rs_02_0", "msg_02_1", "msg_03_in0")
    ]
    assert (page["object"], page["has_more"]) == ("list", False)
    assert (page["first_id"], page["last_id"]) == ("msg_01_in0", "msg_03_in0")
    for item in page["data"]:
        ITEM.validate_python(item)
    assert page["data"][-1]["content"] == [{"type": "input_text", "text": "Three?"}]
    assert ENCRYPTED.partition(".")[2] not in json.dumps(page)
    assert listed(records, f"include={ENCRYPTED}&order=asc")["data"][1]["encrypted_content"]
    assert listed(records)["data"] == page["data"][::-1]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_join_to_the_list(order: str, limit: int) -> None:
    """Though the client sent an item twice, and one under an id that was given to another."""
    first = record(KEEPS, 1, input=[{"id": "m", "role": "user", "content": "a"}] * 2)
    twin = {"id": "msg_01_1", "role": "assistant", "content": "b"}
    known = Known(keeps=True, chain=[first])
    odd = [{"role": "user", "content": "d", "id": name} for name in (None, "", [1])]
    said = [{"role": "user", "content": "c"}, twin, *odd]
    records = [first, record(known, 2, input=said, previous_response_id="resp_01")]
    whole = listed(records, f"order={order}&limit=100")["data"]
    assert len({item["id"] for item in whole}) == len(whole) == 9
    assert stored.named(records, ["", "[1]", "msg_02_in4"]).keys() == {"msg_02_in4"}
    found: list[Any] = []
    after, more = "", True
    while more:
        page = listed(records, f"order={order}&limit={limit}&after={after}")
        found += page["data"]
        after, more = page["last_id"], page["has_more"]
    assert found == whole


BAD = [
    "limit=0",
    "limit=101",
    "limit=x",
    "limit=-1",
    "limit=9999999",
    "order=up",
    "after=x",
    "before=m",
]


@pytest.mark.parametrize("query", BAD)
def test_wrong_queries(query: str) -> None:
    with pytest.raises(GatewayError) as caught:
        listed(chain(), query)
    assert (caught.value.row.status, caught.value.param) == (400, query.partition("=")[0])


def test_an_empty_list() -> None:
    found = record(replace(KEEPS, chain=chain()), 4, input=[], previous_response_id="resp_03")
    assert listed([found]) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
