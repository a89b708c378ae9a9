"""Signed thinking: real signatures, forged ones, binding to the prefix, gaps, blocks of other models."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import pytest

from isthmus.simulator import Options, Simulator

from .simulator_client import Answer, post, with_simulator

OPUS, SONNET, HAIKU = "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"
BETA: dict[str, str | None] = {"anthropic-beta": "thinking-binding-controls-2026-08-01"}
TOOL = {
    "name": "get_weather",
    "description": "Weather",
    "input_schema": {"type": "object", "properties": {}},
}
DEFERRED = {"name": "later", "input_schema": {"type": "object"}, "defer_loading": True}
FOREIGN = "EqUDCkYICBgCKkCTiLjx5Rzw9zXo4pFDhFAc9Ci1R+d2fpkiqw7IPt1PgxBankr7"
Body = dict[str, Any]
MISMATCH = (
    "Invalid `signature` in `thinking` block. The block is bound to a different conversation."
)


def first_request(model: str = OPUS) -> Body:
    return {
        "model": model,
        "max_tokens": 500,
        "system": "You are terse.",
        "tools": [TOOL],
        "messages": [{"role": "user", "content": "Hello there"}],
    }


async def follow_up(simulator: Simulator, body: Body, text: str = "And then?") -> Body:
    """The conversation after one more answer and one more question."""
    answer = await post(simulator, "/v1/messages", body)
    assert answer.status == 200, answer.body
    messages = [
        *body["messages"],
        {"role": "assistant", "content": answer.json()["content"]},
        {"role": "user", "content": text},
    ]
    return {**body, "messages": messages}


def asked(
    change: Callable[[Body], Any], rounds: int = 1, options: Options | None = None, **more: Any
) -> Answer:
    """The answer to a conversation that `change` has edited."""

    async def work(simulator: Simulator) -> Answer:
        body = first_request(more.get("model", OPUS))
        for _ in range(rounds):
            body = await follow_up(simulator, body)
        edited = copy.deepcopy(body)
        change(edited)
        return await post(simulator, more.get("path", "/v1/messages"), edited, more.get("headers"))

    return with_simulator(work, options)


def thinking_of(body: Body, message: int = 1) -> Body:
    block: Body = body["messages"][message]["content"][0]
    assert block["type"] == "thinking"
    return block


def drop(body: Body, message: int) -> None:
    thinking_of(body, message)
    del body["messages"][message]["content"][0]


def set_drop(body: Body) -> None:
    body["thinking"] = {
        "type": "adaptive",
        "block_binding": {"prefix_mismatch_behavior": "drop_block"},
    }


UNCOMPARED: list[Callable[[Body], Any]] = [
    lambda body: None,
    lambda body: body.update(max_tokens=100),
    lambda body: body.update(output_config={"effort": "low"}),
    lambda body: body.update(tool_choice={"type": "none"}),
    lambda body: body.update(metadata={"user_id": "u"}),
    lambda body: body.update(thinking={"type": "adaptive", "display": "summarized"}),
    lambda body: body.update(
        system=[{"type": "text", "text": "You are terse.", "cache_control": {"type": "ephemeral"}}]
    ),
    lambda body: body["tools"][0].update(cache_control={"type": "ephemeral"}),
    lambda body: body["tools"].append(DEFERRED),
    lambda body: body["messages"][0].update(content=[{"type": "text", "text": "Hello there"}]),
    lambda body: body["messages"].append({"role": "system", "content": "Be kind."}),
]

BREAKING: list[Callable[[Body], Any]] = [
    lambda body: body.update(system="You are verbose."),
    lambda body: body.pop("system"),
    lambda body: body["tools"].append({**DEFERRED, "defer_loading": False}),
    lambda body: body["tools"][0].update(description="Other"),
    lambda body: body.pop("tools"),
    lambda body: body["messages"][0].update(content="Hello there!"),
    lambda body: body["messages"].insert(0, {"role": "user", "content": "Before"}),
]


@pytest.mark.parametrize("change", UNCOMPARED, ids=range(len(UNCOMPARED)))
@pytest.mark.parametrize("model", [OPUS, SONNET, HAIKU, "claude-fable-5-2", "claude-mythos-5-2"])
def test_what_is_not_compared(change: Callable[[Body], Any], model: str) -> None:
    answer = asked(change, model=model)
    assert answer.status == 200, answer.body


@pytest.mark.parametrize("change", BREAKING, ids=range(len(BREAKING)))
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_a_changed_prefix_is_refused(change: Callable[[Body], Any], path: str) -> None:
    def both(body: Body) -> None:
        change(body)
        if "count" in path:
            del body["max_tokens"]

    answer = asked(both, path=path)
    where = "messages.2" if change is BREAKING[-1] else "messages.1"
    assert answer.status == 400
    assert answer.message.startswith(f"{where}.content.0: {MISMATCH}"), answer.message
    assert '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block"' in answer.message


def test_drop_block_drops_and_reports() -> None:
    def change(body: Body) -> None:
        BREAKING[0](body)
        set_drop(body)

    answer = asked(change, rounds=2, headers=BETA)
    assert answer.status == 200, answer.body
    assert answer.json()["input_transformations"] == [
        {
            "type": "thinking_dropped",
            "path": f"messages.{index}.content.0",
            "reason": "prefix_binding_mismatch",
        }
        for index in (1, 3)
    ]
    streamed = asked(lambda body: (change(body), body.update(stream=True)), rounds=2, headers=BETA)
    start = streamed.events()[0]["message"]
    assert len(start["input_transformations"]) == 2
    assert asked(lambda body: None, headers=BETA).json()["input_transformations"] == []
    assert "input_transformations" not in asked(lambda body: None).json()


def test_gaps() -> None:
    async def work(simulator: Simulator) -> dict[str, int]:
        body = first_request()
        for _ in range(3):
            body = await follow_up(simulator, body)
        found = {}
        for name, gone in {
            "none": (),
            "start": (1,),
            "end": (5,),
            "all": (1, 3, 5),
            "middle": (3,),
        }.items():
            edited = copy.deepcopy(body)
            for message in gone:
                drop(edited, message)
            found[name] = (await post(simulator, "/v1/messages", edited)).status
        return found

    assert with_simulator(work) == {
        "none": 200,
        "start": 200,
        "end": 200,
        "all": 200,
        "middle": 400,
    }


def test_a_block_that_is_put_back_is_refused() -> None:
    async def work(simulator: Simulator) -> Answer:
        whole = await follow_up(simulator, first_request())
        without = copy.deepcopy(whole)
        drop(without, 1)
        later = await follow_up(simulator, without)
        later["messages"][1] = whole["messages"][1]
        return await post(simulator, "/v1/messages", later)

    answer = with_simulator(work)
    assert (answer.status, answer.message.split(":")[0]) == (400, "messages.3.content.0")


def test_tool_loops_keep_their_binding() -> None:
    async def work(simulator: Simulator) -> list[int]:
        body = first_request()
        body["messages"][0]["content"] = "Call get_weather"
        statuses = []
        for _ in range(3):
            answer = (await post(simulator, "/v1/messages", body)).json()
            calls = [block for block in answer["content"] if block["type"] == "tool_use"]
            results = [
                {"type": "tool_result", "tool_use_id": call["id"], "content": "21C"}
                for call in calls
            ]
            question = {"type": "text", "text": "Call get_weather again"}
            body["messages"] += [
                {"role": "assistant", "content": answer["content"]},
                {"role": "user", "content": [*results, question] if results else [question]},
            ]
            statuses.append((await post(simulator, "/v1/messages", body)).status)
        shortened = copy.deepcopy(body)
        shortened["messages"][2]["content"][0]["content"] = "21"
        assert shortened["messages"][2]["content"][0]["type"] == "tool_result"
        statuses.append((await post(simulator, "/v1/messages", shortened)).status)
        return statuses

    assert with_simulator(work) == [200, 200, 200, 400]


FORGED: list[tuple[Callable[[Body], Any], str]] = [
    (
        lambda body: thinking_of(body).update(signature="forged"),
        "Invalid `signature` in `thinking` block",
    ),
    (
        lambda body: thinking_of(body).update(signature=""),
        "Invalid `signature` in `thinking` block",
    ),
    (
        lambda body: thinking_of(body).update(signature=FOREIGN),
        "Invalid `signature` in `thinking` block",
    ),
    (
        lambda body: thinking_of(body).update(thinking="edited"),
        "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
    ),
    (
        lambda body: body["messages"][1]["content"].insert(
            0, {"type": "redacted_thinking", "data": "abc"}
        ),
        "Invalid `data` in `redacted_thinking` block",
    ),
]


@pytest.mark.parametrize(("change", "message"), FORGED, ids=range(len(FORGED)))
@pytest.mark.parametrize("model", [OPUS, "claude-opus-5"])
def test_forged_blocks(change: Callable[[Body], Any], message: str, model: str) -> None:
    answer = asked(change, model=model)
    assert answer.status == 400
    assert answer.message.startswith(f"messages.1.content.0: {message}"), answer.message


def test_an_edited_block_of_an_earlier_turn() -> None:
    answer = asked(lambda body: thinking_of(body).update(thinking="edited"), rounds=2)
    assert answer.message == "messages.1.content.0: Invalid `signature` in `thinking` block"


def test_every_bit_of_a_signature_counts() -> None:
    async def work(simulator: Simulator) -> set[int]:
        body = await follow_up(simulator, first_request())
        raw = base64.b64decode(thinking_of(body)["signature"])
        statuses = set()
        for position in range(0, len(raw), 9):
            edited = copy.deepcopy(body)
            broken = bytearray(raw)
            broken[position] ^= 1
            thinking_of(edited)["signature"] = base64.b64encode(bytes(broken)).decode()
            statuses.add((await post(simulator, "/v1/messages", edited)).status)
        return statuses

    assert with_simulator(work) == {400}


def test_foreign_signatures_can_be_trusted() -> None:
    options = Options(trust_foreign_signatures=True)
    assert asked(FORGED[2][0], options=options).status == 200
    assert asked(BREAKING[0], options=options).status == 400


def test_old_accounts_are_checked_only_where_they_ask_or_the_model_always_checks() -> None:
    old = Options(binding="default")
    assert asked(BREAKING[0], options=old).status == 200
    assert asked(BREAKING[0], options=old, model="claude-fable-5-2").status == 400
    reported = asked(BREAKING[0], options=old, headers=BETA).json()["input_transformations"]
    assert reported == [
        {
            "type": "thinking_mismatch_allowed",
            "path": "messages.1.content.0",
            "reason": "prefix_binding_mismatch",
        }
    ]

    def ask_for_it(body: Body) -> None:
        BREAKING[0](body)
        body["thinking"] = {
            "type": "adaptive",
            "block_binding": {"prefix_mismatch_behavior": "error"},
        }

    assert asked(ask_for_it, options=old, headers=BETA).status == 400


@pytest.mark.parametrize(
    "model", ["claude-opus-5", "claude-sonnet-5", "claude-fable-5", "claude-mythos-5-1"]
)
def test_models_that_do_not_check(model: str) -> None:
    assert asked(BREAKING[0], model=model).status == 200


SWITCHES = [
    (OPUS, SONNET, "model_binding_mismatch"),
    (OPUS, "claude-opus-5", "model_binding_mismatch"),
    ("claude-opus-5", OPUS, "model_binding_mismatch"),
    ("claude-fable-5-2", "claude-fable-5-1", "model_binding_mismatch"),
    (OPUS, "claude-fable-5-2", None),
    ("claude-fable-5-1", "claude-fable-5-2", None),
    ("claude-opus-5", "claude-fable-5-1", None),
    ("claude-opus-5", "claude-sonnet-5", None),
]


@pytest.mark.parametrize(("before", "after", "reason"), SWITCHES)
def test_blocks_of_another_model(before: str, after: str, reason: str | None) -> None:
    answer = asked(lambda body: body.update(model=after), model=before, headers=BETA)
    assert answer.status == 200, answer.body
    expected = (
        [{"type": "thinking_dropped", "path": "messages.1.content.0", "reason": reason}]
        if reason
        else []
    )
    assert answer.json()["input_transformations"] == expected


def test_a_conversation_may_go_through_several_models() -> None:
    async def work(simulator: Simulator) -> Answer:
        body = first_request()
        for model in (OPUS, "claude-fable-5-2", OPUS, "claude-fable-5-2", OPUS):
            body = await follow_up(simulator, {**body, "model": model})
        return await post(simulator, "/v1/messages", {**body, "model": "claude-fable-5-2"})

    assert with_simulator(work).status == 200


def test_another_organization() -> None:
    async def work(simulator: Simulator) -> list[Any]:
        found = []
        for model in (SONNET, OPUS):
            body = await follow_up(simulator, first_request(model))
            answer = await post(simulator, "/v1/messages", body, {**BETA, "x-api-key": "other"})
            found.append([item["reason"] for item in answer.json()["input_transformations"]])
        return found

    assert with_simulator(work, Options(organization_per_key=True)) == [
        ["organization_binding_mismatch"],
        [],
    ]


def test_a_scripted_block_gets_a_signature_that_holds() -> None:
    async def work(simulator: Simulator) -> list[int]:
        body = first_request()
        simulator.scripts.append(
            {
                "blocks": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "redacted_thinking"},
                    {"type": "text", "text": "ok"},
                ]
            }
        )
        body = await follow_up(simulator, body)
        good = await post(simulator, "/v1/messages", body)
        body["messages"][1]["content"][1]["data"] = body["messages"][1]["content"][0]["signature"]
        return [good.status, (await post(simulator, "/v1/messages", body)).status]

    assert with_simulator(work) == [200, 400]
