"""The parameters of selectors and defaults: how they are read, and what they do to a request."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapt import adapt
from isthmus.dialects import BACKENDS
from isthmus.profiles import EFFORTS, PROFILES, Profile, profile
from isthmus.request import Body, Notes
from isthmus.routing.parameters import (
    ALIASES,
    EVERY,
    MOST,
    PARAMETERS,
    apply,
    is_taken,
    read,
    supply,
    taken,
)
from tests.harness import VERSION, World, message

MANUAL = "claude-haiku-4-5"
"""A model that knows budgets, and no effort."""
NEWEST = "claude-opus-5-5"
"""One that knows effort, and no budgets."""

# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("temperature", "0.7", 0.7),
        ("temperature", "2", 2.0),
        ("temperature", ".5", 0.5),
        ("temperature", "1e-1", 0.1),
        ("temperature", 1, 1.0),
        ("temperature", -0.0, 0.0),
        ("top_p", "1.", 1.0),
        ("top_k", "007", 7),
        ("top_k", 0, 0),
        ("max_tokens", str(MOST), MOST),
        ("max_tokens", 4096, 4096),
        ("effort", "xhigh", "xhigh"),
        ("thinking_budget", "0", 0),
        ("verbosity", "low", "low"),
        ("service_tier", "standard_only", "standard_only"),
        ("speed", "fast", "fast"),
    ],
)
def test_a_value_as_text_and_as_typed(name: str, given: object, value: Any) -> None:
    own, meant = read(name, given)
    assert (own, meant, type(meant)) == (name, value, type(value))
    assert math.copysign(1, meant) == 1 if isinstance(meant, float) else True
    assert read(name, meant) == (name, value)


def test_another_name_of_a_parameter_is_that_parameter() -> None:
    assert read("reasoning_effort", "high") == ("effort", "high")
    assert set(ALIASES.values()) <= PARAMETERS.keys()
    assert not ALIASES.keys() & PARAMETERS.keys()


WRONG: list[tuple[str, object, str]] = [
    ("temperature", "2.1", "'temperature' must be a number from 0 to 2, not '2.1'"),
    ("temperature", 2.1, "not 2.1"),
    ("temperature", -0.1, "not -0.1"),
    ("temperature", math.nan, "not nan"),
    ("temperature", "nan", "not 'nan'"),
    ("temperature", "inf", "a number"),
    ("temperature", "1_0", "a number"),
    ("temperature", "\u0660", "a number"),
    ("temperature", " 1", "a number"),
    ("temperature", "", "not ''"),
    ("temperature", True, "not True"),
    ("temperature", None, "not None"),
    ("temperature", [1], "not what is there"),
    ("temperature", 10**400, "not what is there"),
    ("temperature", "9" * 400, "a number from 0 to 2"),
    ("top_p", "1.01", "a number from 0 to 1"),
    ("top_k", "-1", "a whole number from 0 to 1000000000"),
    ("top_k", 1.0, "a whole number"),
    ("top_k", "1e3", "a whole number"),
    ("max_tokens", 0, "from 1 to 1000000000, not 0"),
    ("max_tokens", True, "a whole number"),
    ("max_tokens", MOST + 1, "a whole number"),
    ("max_tokens", "9" * 400, "a whole number"),
    ("effort", "heroic", "low, medium, high, xhigh or max, not 'heroic'"),
    ("reasoning_effort", "none", "'reasoning_effort' must be low"),
    ("thinking_budget", "-1", "a whole number of tokens from 0 to 1000000000, 0 for off"),
    ("verbosity", "HIGH", "low, medium or high"),
    ("service_tier", "priority", "auto or standard_only"),
    ("speed", 1, "standard or fast, not 1"),
    ("temprature", 1, "unknown parameter 'temprature'; did you mean 'temperature'?"),
    ("reasoning-effort", "low", "did you mean 'reasoning_effort'?"),
    ("zzz", 1, "known are temperature, top_p"),
    ("zzz", 1, "reasoning_effort"),
    ("x" * 5000, 1, "unknown parameter 'xxx"),
]


@pytest.mark.parametrize(("name", "given", "says"), WRONG)
def test_a_wrong_one_is_named_with_what_would_be_right(name: str, given: object, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as mistake:
        read(name, given)
    assert len(str(mistake.value)) < 300


@pytest.mark.parametrize("name", ["effort", "reasoning_effort"])
def test_no_parameter_stands_twice(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' stands twice .effort and reasoning_effort"):
        read(name, "low", {"effort": "low"})
    with pytest.raises(ValueError, match=r"'top_k' stands twice$"):
        read("top_k", 1, {"top_k": 1})
    assert read("top_k", 1, {"effort": "low"}) == ("top_k", 1)


@given(st.text(max_size=20) | st.integers() | st.floats() | st.none() | st.lists(st.none()))
def test_any_value_is_read_or_refused(value: Any) -> None:
    for name in PARAMETERS:
        try:
            _, meant = read(name, value)
        except ValueError as mistake:
            assert f"parameter {name!r} must be " in str(mistake)
        else:
            assert read(name, meant) == (name, meant)


# --- a selector's, which win --------------------------------------------------------------------

BUDGET = {"type": "enabled", "budget_tokens": 9000}


@pytest.mark.parametrize(
    ("parameters", "body", "after"),
    [
        ({"temperature": 0.7}, {"temperature": 1}, {"temperature": 0.7}),
        ({"top_p": 0.5, "top_k": 0}, {}, {"top_p": 0.5, "top_k": 0}),
        ({"max_tokens": 5}, {"max_tokens": 50}, {"max_tokens": 5}),
        ({"service_tier": "auto", "speed": "fast"}, {}, {"service_tier": "auto", "speed": "fast"}),
        ({"verbosity": "low"}, {"max_tokens": 5}, {"max_tokens": 5}),
        ({"effort": "low"}, {}, {"output_config": {"effort": "low"}}),
        ({"effort": "low"}, {"output_config": None}, {"output_config": {"effort": "low"}}),
        (
            {"effort": "max"},
            {"output_config": {"format": 1, "effort": "low"}, "thinking": {"type": "adaptive"}},
            {"output_config": {"format": 1, "effort": "max"}, "thinking": {"type": "adaptive"}},
        ),
        (
            {"effort": "low"},
            {"thinking": BUDGET},
            {"thinking": {**BUDGET, "budget_tokens": 2000}, "output_config": {"effort": "low"}},
        ),
        ({"thinking_budget": 2000}, {}, {"thinking": {**BUDGET, "budget_tokens": 2000}}),
        (
            {"thinking_budget": 2000},
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            {"thinking": {**BUDGET, "budget_tokens": 2000, "display": "summarized"}},
        ),
        (
            {"thinking_budget": 30_000},
            {"output_config": {"format": 1, "effort": "low"}},
            {
                "thinking": {**BUDGET, "budget_tokens": 30_000},
                "output_config": {"format": 1, "effort": "xhigh"},
            },
        ),
        (
            {"effort": "low", "thinking_budget": 30_000},
            {"thinking": BUDGET, "output_config": {"effort": "max"}},
            {
                "thinking": {**BUDGET, "budget_tokens": 30_000},
                "output_config": {"effort": "low"},
            },
        ),
        (
            {"thinking_budget": 0},
            {"thinking": {**BUDGET, "display": "omitted"}, "output_config": {"effort": "low"}},
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        ),
    ],
)
def test_apply(parameters: dict[str, Any], body: dict[str, Any], after: dict[str, Any]) -> None:
    laid = Body(json.dumps(body).encode())
    apply(parameters, laid)
    assert laid.value() == after
    assert json.loads(laid.wire()) == after


@pytest.mark.parametrize(
    ("model", "query", "said", "arrives"),
    [
        (MANUAL, "effort=low", {"thinking": BUDGET}, ("enabled", 2000, None)),
        (NEWEST, "effort=low", {"thinking": BUDGET}, ("adaptive", None, "low")),
        (MANUAL, "thinking_budget=3000", {"reasoning_effort": "max"}, ("enabled", 3000, None)),
        (NEWEST, "thinking_budget=3000", {"reasoning_effort": "max"}, ("adaptive", None, "medium")),
    ],
)
def test_effort_and_budget_win_in_the_words_of_the_model(
    world: World, model: str, query: str, said: dict[str, Any], arrives: tuple[Any, ...]
) -> None:
    asked = message(model=f"{model}?{query}", max_tokens=20_000, **said)
    path = "/v1/chat/completions" if "reasoning_effort" in said else "/v1/messages"
    reply = world.post(path, asked, **VERSION)
    assert reply.status == 200, reply.body
    body = json.loads(world.received()[-1].body)
    thinking, output = body["thinking"], body.get("output_config", {})
    assert (thinking["type"], thinking.get("budget_tokens"), output.get("effort")) == arrives


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_what_a_backend_has_no_field_for_leaves_a_note(world: World, path: str) -> None:
    reply = world.post(path, message(model=f"{MANUAL}?verbosity=low"), **VERSION)
    assert reply.status == 200, reply.body
    assert reply.headers["x-isthmus-notes"] == "verbosity dropped: anthropic has nothing like it"
    assert b"verbosity" not in world.received()[-1].body
    strict = {**VERSION, "x_isthmus_strict": "true"}
    assert world.post(path, message(model=f"{MANUAL}?verbosity=low"), **strict).status == 400


def test_what_each_dialect_takes() -> None:
    every = dict.fromkeys(PARAMETERS)
    for dialect in EVERY:
        notes = Notes()
        kept = taken(every, dialect, notes)
        left = [name for name in PARAMETERS if name not in kept]
        assert [note.path for note in notes.rows] == left
        assert (
            left
            == {
                "anthropic": ["verbosity"],
                "openai-chat": ["top_k", "speed"],
                "openai-responses": ["top_k", "speed"],
                "gemini": ["verbosity", "speed"],
            }[dialect]
        )
    assert {backend.DIALECT for backend in BACKENDS.values()} <= set(EVERY)


# --- defaults, which fill what is missing -------------------------------------------------------

ALL: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 7,
    "max_tokens": 70,
    "effort": "low",
    "thinking_budget": 3000,
    "verbosity": "low",
    "service_tier": "auto",
    "speed": "fast",
}


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({}, "temperature top_p top_k max_tokens effort thinking_budget service_tier speed"),
        ({"temperature": 1}, "top_k max_tokens effort service_tier speed"),
        ({"top_p": 1}, "top_k max_tokens effort service_tier speed"),
        ({"top_k": 1}, "temperature top_p max_tokens effort service_tier speed"),
        ({"temperature": None, "top_p": 1, "top_k": 1}, "max_tokens effort service_tier speed"),
        ({"thinking": {"type": "adaptive"}}, "max_tokens service_tier speed"),
        ({"thinking": BUDGET}, "max_tokens service_tier speed"),
        (
            {"thinking": {"type": "disabled"}},
            "temperature top_p top_k max_tokens service_tier speed",
        ),
        (
            {"output_config": {"effort": "max"}},
            "temperature top_p top_k max_tokens service_tier speed",
        ),
        (
            {"output_config": {"format": 1}},
            "temperature top_p top_k max_tokens effort thinking_budget service_tier speed",
        ),
        (
            {"max_tokens": 1, "service_tier": "auto", "speed": "standard"},
            "temperature top_p top_k effort thinking_budget",
        ),
    ],
)
def test_supply(body: dict[str, Any], kept: str) -> None:
    """Whatever the request says stands as it was, and so does what its own word excludes."""
    filled, expected = Body(json.dumps(body).encode()), Body(json.dumps(body).encode())
    supply(ALL, filled)
    apply({name: ALL[name] for name in kept.split()}, expected)
    assert filled.value() == expected.value()
    for name, value in body.items():
        if isinstance(value, dict):
            assert filled.value()[name].items() >= value.items()
        elif value is not None:
            assert filled.value()[name] == value


def test_a_default_that_switches_thinking_off_minds_no_sampling() -> None:
    body = Body(b'{"temperature":0.5}')
    supply({"thinking_budget": 0}, body)
    assert body.peek("thinking") == {"type": "disabled"}


def test_the_selector_then_the_request_then_the_defaults() -> None:
    body = Body(b'{"top_k":1,"max_tokens":9}')
    apply({"top_k": 2}, body)
    supply({"top_k": 3, "max_tokens": 8, "service_tier": "auto"}, body)
    assert body.value() == {"top_k": 2, "max_tokens": 9, "service_tier": "auto"}


# --- models -------------------------------------------------------------------------------------

SAMPLES: list[tuple[str, Any]] = [
    ("temperature", 0.5),
    ("top_p", 0.9),
    ("top_k", 5),
    ("max_tokens", 4000),
    ("max_tokens", 100_000),
    ("max_tokens", MOST),
    ("thinking_budget", 2000),
    ("service_tier", "auto"),
    ("speed", "fast"),
    ("speed", "standard"),
    *(("effort", level) for level in EFFORTS),
]


@pytest.mark.parametrize("row", PROFILES, ids=lambda row: row.id)
def test_what_a_model_takes_is_what_reaches_it_unchanged(row: Profile) -> None:
    for name, value in SAMPLES:
        body = Body({"messages": [{"role": "user", "content": "Hello"}]})
        apply({name: value}, body)
        adapt(body, row, Notes())
        place, _, inner = PARAMETERS[name].place.partition(".")
        arrived = body.peek(place)
        arrived = (arrived or {}).get(inner) if inner else arrived
        assert (arrived == value) == is_taken(name, value, row), (name, value)


@pytest.mark.parametrize("row", PROFILES, ids=lambda row: row.id)
def test_thinking_can_be_off_where_it_is_taken(row: Profile) -> None:
    body = Body({"messages": [{"role": "user", "content": "Hello"}]})
    apply({"thinking_budget": 0}, body)
    adapt(body, row, notes := Notes())
    is_off = body.peek("thinking") == {"type": "disabled"} or row.thinking_default == "off"
    assert (is_off and not notes.rows) == is_taken("thinking_budget", 0, row)


def test_the_table_is_whole() -> None:
    keys = {field.name for field in fields(Profile)}
    assert {row.key for row in PARAMETERS.values()} <= {*keys, ""}
    for name, row in PARAMETERS.items():
        assert set(row.dialects) <= set(EVERY)
        assert bool(row.place) == ("anthropic" in row.dialects), name
        assert bool(row.key) == any(
            not is_taken(name, value, model)
            for model in PROFILES
            for sample, value in SAMPLES
            if sample == name
        ), name
    assert profile(MANUAL).efforts == ()
    assert "enabled" not in profile(NEWEST).thinking
