"""Values for JSON Schemas, and JSON that is cut in the middle."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jiter import from_json

from isthmus.simulator.json_schema import example, satisfies
from isthmus.simulator.partial_json import closed

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(-1e6, 1e6)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_a_cut_call_reads_as_the_official_client_reads_it(
    value: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    cut = text[: data.draw(st.integers(1, len(text)))]
    assert closed(text) == value
    assert closed(cut) == from_json(cut.encode(), partial_mode=True)


SCALARS = st.one_of(
    st.builds(lambda n: {"type": "string", "minLength": n, "maxLength": n + 3}, st.integers(0, 30)),
    st.builds(
        lambda low, width: {"type": "integer", "minimum": low, "maximum": low + width},
        st.integers(-50, 50),
        st.integers(0, 5),
    ),
    st.builds(
        lambda low: {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": low + 1},
        st.integers(-50, 50),
    ),
    st.builds(
        lambda step, low: {"type": "integer", "multipleOf": step, "minimum": low},
        st.integers(1, 9),
        st.integers(-20, 20),
    ),
    st.sampled_from(
        [
            {"type": "boolean"},
            {"type": "null"},
            {"const": 7},
            {"enum": ["x", 2, None]},
            {"type": ["null", "integer"]},
        ]
    ),
    st.sampled_from(
        [
            {"type": "string", "format": "date"},
            {"type": "string", "pattern": "^[A-Z]{3}$"},
            {"type": "string", "pattern": "^\\d+$"},
        ]
    ),
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(
            lambda items, n: {"type": "array", "items": items, "minItems": n},
            inner,
            st.integers(0, 3),
        ),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda parts: {
                "type": "object",
                "properties": {f"p{i}": part for i, part in enumerate(parts)},
                "required": [f"p{i}" for i in range(len(parts))][::2],
                "additionalProperties": False,
            },
            st.lists(inner, max_size=4),
        ),
    ),
    max_leaves=8,
)


@given(SCHEMAS)
@settings(max_examples=300, deadline=None)
def test_an_example_satisfies_its_schema(schema: dict[str, Any]) -> None:
    assert satisfies(example(schema), schema)


TREE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "required": ["value", "next"],
}
NAMED: list[tuple[dict[str, Any], Any]] = [
    (
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": {
                    **TREE,
                    "properties": {"value": {"type": "integer"}},
                    "required": ["value"],
                }
            },
        },
        {"value": 1},
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/b"}},
            "required": ["a"],
            "$defs": {"b": {"enum": ["x"]}},
        },
        {"a": "x"},
    ),
    (
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"const": 1}}, "required": ["b"]},
            ]
        },
        {"a": 1, "b": 1},
    ),
    (
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
            "required": ["city"],
        },
        {"city": "city"},
    ),
]


@pytest.mark.parametrize(("schema", "value"), NAMED, ids=range(len(NAMED)))
def test_examples(schema: dict[str, Any], value: Any) -> None:
    assert example(schema) == value
    assert satisfies(value, schema)


def test_a_recursive_schema_has_a_finite_example() -> None:
    schema = {**TREE, "$defs": {"node": TREE}}
    assert satisfies(example(schema), schema)


REFUSED: list[tuple[Any, dict[str, Any]]] = [
    (True, {"type": "integer"}),
    (1.5, {"type": "integer"}),
    ("a", {"enum": ["b"]}),
    (1, {"const": True}),
    ({}, {"required": ["a"]}),
    ({"b": 1}, {"additionalProperties": False}),
    ([1, 1], {"uniqueItems": True}),
    ([1], {"items": {"type": "string"}}),
    (3, {"multipleOf": 2}),
    (1, {"exclusiveMinimum": 1}),
    ("ab", {"maxLength": 1}),
    (1, {"anyOf": [{"type": "string"}]}),
    (1, {"oneOf": [{}, {}]}),
    (1, {"not": {}}),
    ([1, "x"], {"prefixItems": [{}, {"type": "integer"}]}),
]


@pytest.mark.parametrize(("value", "schema"), REFUSED, ids=range(len(REFUSED)))
def test_a_schema_refuses(value: Any, schema: dict[str, Any]) -> None:
    assert not satisfies(value, schema)
