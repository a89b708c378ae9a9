"""What a model's profile makes of a Messages body: one row for each rule and each kind of model."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.adapt import adapt
from isthmus.profiles import PROFILES, known, profile
from isthmus.request import Body, Notes, check_shapes

USER = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}
SYSTEM = {"role": "system", "content": [{"type": "text", "text": "be brief"}]}
SYSTEM_WITH_EFFORT = {**SYSTEM, "output_config": {"effort": "low"}}
ASSISTANT = {"role": "assistant", "content": [{"type": "text", "text": "ok"}]}
MANUAL = {"type": "enabled", "budget_tokens": 5000}
ADAPTIVE = {"type": "adaptive"}


def marked(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


def reminder(text: str) -> dict[str, Any]:
    return {"type": "text", "text": f"<system-reminder>\n{text}\n</system-reminder>"}


ROWS: list[tuple[str, str, dict[str, Any], dict[str, Any], list[str]]] = [
    # what, model, fields given, fields after (None: absent), paths noted
    ("filled", "claude-haiku-4-5", {}, {"max_tokens": 64000}, []),
    ("filled old", "claude-3-opus-20240229", {}, {"max_tokens": 4096}, []),
    ("clamped", "claude-haiku-4-5", {"max_tokens": 70000}, {"max_tokens": 64000}, ["max_tokens"]),
    ("kept", "claude-opus-5-5", {"max_tokens": 70000}, {"max_tokens": 70000}, []),
    (
        "budget to adaptive",
        "claude-sonnet-5-5",
        {"thinking": {**MANUAL, "display": "summarized"}},
        {
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": "medium"},
        },
        ["thinking"],
    ),
    (
        "the caller's effort wins over the budget",
        "claude-opus-4-8",
        {"thinking": MANUAL, "output_config": {"effort": "low"}},
        {"thinking": ADAPTIVE, "output_config": {"effort": "low"}},
        ["thinking"],
    ),
    (
        "adaptive to budget",
        "claude-haiku-4-5",
        {"thinking": ADAPTIVE, "output_config": {"effort": "low"}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "output_config": None},
        ["thinking"],
    ),
    (
        "adaptive to budget below max_tokens",
        "claude-haiku-4-5",
        {"thinking": ADAPTIVE, "max_tokens": 3000},
        {"thinking": {"type": "enabled", "budget_tokens": 2999}},
        ["thinking", "thinking.budget_tokens"],
    ),
    ("manual kept", "claude-opus-4-6", {"thinking": MANUAL}, {"thinking": MANUAL}, []),
    (
        "a small budget grows",
        "claude-sonnet-4-5",
        {"thinking": {"type": "enabled", "budget_tokens": 100}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        ["thinking.budget_tokens"],
    ),
    (
        "no room for a budget",
        "claude-sonnet-4-5",
        {"thinking": MANUAL, "max_tokens": 500},
        {"thinking": None},
        ["thinking"],
    ),
    (
        "no thinking at all",
        "claude-3-5-sonnet-20241022",
        {"thinking": MANUAL},
        {"thinking": None},
        ["thinking"],
    ),
    (
        "off is off already",
        "claude-3-5-sonnet-20241022",
        {"thinking": {"type": "disabled"}},
        {"thinking": None},
        [],
    ),
    (
        "cannot be switched off",
        "claude-opus-5-5",
        {"thinking": {"type": "disabled"}},
        {"thinking": None},
        ["thinking"],
    ),
    (
        "off but between tools",
        "claude-sonnet-5-5",
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}},
        {"thinking": {"type": "between_tools"}, "output_config": {"effort": "high"}},
        ["thinking", "output_config.effort"],
    ),
    (
        "off only up to an effort",
        "claude-opus-5",
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "xhigh"}},
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
        ["output_config.effort"],
    ),
    (
        "a level that the model lacks",
        "claude-opus-4-6",
        {"output_config": {"effort": "xhigh"}},
        {"output_config": {"effort": "high"}},
        ["output_config.effort"],
    ),
    (
        "no levels, the format stays",
        "claude-haiku-4-5",
        {"output_config": {"effort": "high", "format": {"type": "json_schema"}}},
        {"output_config": {"format": {"type": "json_schema"}}},
        ["output_config.effort"],
    ),
    (
        "forced tools",
        "claude-opus-5-5",
        {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ["tool_choice"],
    ),
    (
        "forced tools and adaptive thinking go together",
        "claude-opus-4-8",
        {"tools": [TOOL], "tool_choice": {"type": "any"}, "thinking": ADAPTIVE},
        {"tool_choice": {"type": "any"}, "thinking": ADAPTIVE},
        [],
    ),
    (
        "forced tools exclude a budget",
        "claude-sonnet-4-5",
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}, "thinking": MANUAL},
        {"tool_choice": {"type": "tool", "name": "f"}, "thinking": None},
        ["thinking"],
    ),
    (
        "no tools",
        "claude-opus-5",
        {"tool_choice": {"type": "auto"}},
        {"tool_choice": None},
        ["tool_choice"],
    ),
    (
        "a tool loop without its thinking",
        "claude-sonnet-4-5",
        {
            "thinking": MANUAL,
            "tools": [TOOL],
            "messages": [USER, {"role": "assistant", "content": [CALL]}, RESULT],
        },
        {"thinking": None},
        ["thinking"],
    ),
    (
        "a tool loop with its thinking",
        "claude-sonnet-4-5",
        {
            "thinking": MANUAL,
            "tools": [TOOL],
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": [{"type": "redacted_thinking", "data": "x"}, CALL],
                },
                RESULT,
            ],
        },
        {"thinking": MANUAL},
        [],
    ),
    (
        "no sampling",
        "claude-opus-4-7",
        {"temperature": 0.2, "top_p": 0.9, "top_k": 5},
        {"temperature": None, "top_p": None, "top_k": None},
        ["temperature", "top_p", "top_k"],
    ),
    ("the default is no loss", "claude-opus-4-7", {"temperature": 1.0}, {"temperature": None}, []),
    (
        "one of two",
        "claude-haiku-4-5",
        {"temperature": 0.2, "top_p": 0.9},
        {"temperature": 0.2, "top_p": None},
        ["top_p"],
    ),
    (
        "both",
        "claude-opus-4-5",
        {"temperature": 0.2, "top_p": 0.9},
        {"temperature": 0.2, "top_p": 0.9},
        [],
    ),
    ("too hot", "claude-opus-4-5", {"temperature": 1.7}, {"temperature": 1.0}, ["temperature"]),
    (
        "sampling beside thinking",
        "claude-opus-4-6",
        {"thinking": ADAPTIVE, "temperature": 0.2, "top_p": 0.97, "top_k": 5},
        {"temperature": None, "top_p": 0.97, "top_k": None},
        ["temperature", "top_k"],
    ),
    (
        "clearing thinking where there is none",
        "claude-3-5-sonnet-20241022",
        {
            "thinking": ADAPTIVE,
            "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
        },
        {"thinking": None, "context_management": None},
        ["thinking", "context_management"],
    ),
    (
        "other edits stay",
        "claude-sonnet-4-6",
        {"context_management": {"edits": [{"type": "clear_thinking_20251015"}, {"type": "x"}]}},
        {"context_management": {"edits": [{"type": "x"}]}},
        ["context_management"],
    ),
    (
        "clearing thinking that is on by default",
        "claude-sonnet-5",
        {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}},
        {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}},
        [],
    ),
    ("no fast mode", "claude-sonnet-5", {"speed": "fast"}, {"speed": None}, ["speed"]),
    ("fast mode", "claude-opus-5-5", {"speed": "fast"}, {"speed": "fast"}, []),
    (
        "blank stop sequences",
        "claude-opus-4-6",
        {"stop_sequences": ["\n", "END"]},
        {"stop_sequences": ["END"]},
        ["stop_sequences"],
    ),
    (
        "only blank ones",
        "claude-opus-4-6",
        {"stop_sequences": [" "]},
        {"stop_sequences": None},
        ["stop_sequences"],
    ),
    (
        "a system turn stays",
        "claude-opus-5-5",
        {"messages": [USER, SYSTEM, ASSISTANT, USER, SYSTEM]},
        {"messages": [USER, SYSTEM, ASSISTANT, USER, SYSTEM]},
        [],
    ),
    (
        "a system turn that the model does not know",
        "claude-sonnet-4-5",
        {"messages": [USER, SYSTEM, ASSISTANT, USER]},
        {
            "messages": [
                {"role": "user", "content": [*USER["content"], reminder("be brief")]},
                ASSISTANT,
                USER,
            ]
        },
        ["messages"],
    ),
    (
        "a system turn with a knob of its own",
        "claude-sonnet-4-5",
        {"messages": [USER, SYSTEM_WITH_EFFORT]},
        {"messages": [{"role": "user", "content": [*USER["content"], reminder("be brief")]}]},
        ["messages", "messages.1.output_config"],
    ),
    (
        "a system turn at an illegal place",
        "claude-opus-5-5",
        {"messages": [USER, ASSISTANT, SYSTEM, USER]},
        {
            "messages": [
                USER,
                ASSISTANT,
                {"role": "user", "content": [reminder("be brief"), *USER["content"]]},
            ]
        },
        ["messages"],
    ),
    (
        "five breakpoints",
        "claude-opus-5-5",
        {
            "system": [marked("s")],
            "messages": [{"role": "user", "content": [marked(t) for t in "abcd"]}],
        },
        {
            "system": [marked("s")],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, *map(marked, "bcd")]}
            ],
        },
        ["cache_control"],
    ),
    (
        "the automatic one counts",
        "claude-opus-5-5",
        {
            "cache_control": {"type": "ephemeral"},
            "messages": [{"role": "user", "content": [marked(t) for t in "abcd"]}],
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, *map(marked, "bcd")]}
            ]
        },
        ["cache_control"],
    ),
]


@pytest.mark.parametrize(
    ("model", "given", "after", "noted"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_rule(model: str, given: dict[str, Any], after: dict[str, Any], noted: list[str]) -> None:
    body, notes = Body({"messages": [USER], **given}), Notes()
    check_shapes(body)
    adapt(body, profile(model), notes)
    value = body.value()
    assert {name: value.get(name) for name in after} == after
    assert [note.path for note in notes.rows] == noted


@pytest.mark.parametrize(
    ("budget", "effort"),
    [
        *((1024, "low"), (1999, "low"), (2000, "medium"), (7999, "medium")),
        *((8000, "high"), (23_999, "high"), (24_000, "xhigh"), (100_000, "xhigh")),
    ],
)
def test_a_budget_stands_for_an_effort(budget: int, effort: str) -> None:
    body = Body({"messages": [USER], "thinking": {**MANUAL, "budget_tokens": budget}})
    adapt(body, profile("claude-opus-4-8"), Notes())
    assert body.peek("thinking") == ADAPTIVE
    assert body.peek("output_config") == {"effort": effort}


@pytest.mark.parametrize("row", PROFILES, ids=lambda row: row.id)
def test_adapting_twice_changes_nothing_more(row: Any) -> None:
    given = {
        "messages": [USER, SYSTEM, ASSISTANT, USER],
        "tools": [TOOL],
        "tool_choice": {"type": "any"},
        "thinking": MANUAL,
        "output_config": {"effort": "max"},
        "temperature": 0.5,
        "top_p": 0.5,
    }
    once = Body(given)
    adapt(once, row, Notes())
    twice, notes = Body(once.value()), Notes()
    adapt(twice, row, notes)
    assert twice.value() == once.value()
    assert notes.rows == []


def test_the_callers_body_is_left_alone() -> None:
    blocks = [marked(text) for text in "abcdef"]
    body = Body({"messages": [{"role": "user", "content": blocks}]})
    adapt(body.copy(), profile("claude-opus-5-5"), Notes())
    assert body.value() == {
        "messages": [{"role": "user", "content": [marked(t) for t in "abcdef"]}]
    }


def test_names_of_models() -> None:
    assert known("claude-sonnet-4-5") is known("claude-sonnet-4-5-20250929")
    assert known("claude-opus-4-8-20991231") is known("claude-opus-4-8")
    assert known("gpt-7") is None
    assert profile("claude-of-next-year") is PROFILES[0]
    names = [name for row in PROFILES for name in (row.id, *row.aliases)]
    assert len(names) == len(set(names))
