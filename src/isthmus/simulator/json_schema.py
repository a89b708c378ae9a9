"""JSON Schema, as much of it as tools use: does a value satisfy a schema, and what is the smallest value that does."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 12
# An example is never longer than this, whatever the schema demands.
MAX_MADE = 10_000

TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and float(value).is_integer()
    ),
}

FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
# Tried in order for a `pattern`, before lengths are padded.
CANDIDATES = (
    "a", "A", "0", "1", "abc", "ABC", "Aa1", "12345", "0.5", "a-b", "a_b", "a@b.co", "2026-01-01", "12:00", "#000000",
    "v1.0.0", "/a", "https://example.com/", "00000000-0000-4000-8000-000000000000", "",
)  # fmt: skip


def resolve(schema: Any, root: dict[str, Any]) -> Any:
    """Follow `$ref` inside the document."""
    hops = 0
    while isinstance(schema, dict) and isinstance(schema.get("$ref"), str) and hops < MAX_DEPTH:
        target: Any = root
        for step in schema["$ref"].lstrip("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key, {}) if isinstance(target, dict) and key else target
        schema, hops = target, hops + 1
    return schema


def same(left: Any, right: Any) -> bool:
    """Equality of JSON values: true is not 1."""
    numbers = TYPES["number"](left) and TYPES["number"](right)
    return (numbers or type(left) is type(right)) and bool(left == right)


def satisfies(value: Any, schema: Any, root: dict[str, Any] | None = None, depth: int = 0) -> bool:
    """Whether the value satisfies the schema."""
    root = root if root is not None else schema if isinstance(schema, dict) else {}
    schema = resolve(schema, root)
    if not isinstance(schema, dict) or depth > MAX_DEPTH * 4:
        return schema is not False
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(kind not in TYPES or TYPES[kind](value) for kind in kinds):
        return False
    if "const" in schema and not same(value, schema["const"]):
        return False
    if "enum" in schema and not any(same(value, option) for option in schema["enum"]):
        return False

    def inner(item: Any, part: Any) -> bool:
        return satisfies(item, part, root, depth + 1)

    return combined(value, schema, inner) and by_type(value, schema, inner)


def combined(value: Any, schema: dict[str, Any], inner: Callable[[Any, Any], bool]) -> bool:
    """allOf, anyOf, oneOf, not."""
    if not all(inner(value, part) for part in schema.get("allOf", ())):
        return False
    if "anyOf" in schema and not any(inner(value, part) for part in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(inner(value, part) for part in schema["oneOf"]) != 1:
        return False
    return "not" not in schema or not inner(value, schema["not"])


def by_type(value: Any, schema: dict[str, Any], inner: Callable[[Any, Any], bool]) -> bool:
    """The keywords of the value's own type."""
    if isinstance(value, dict):
        return object_fits(value, schema, inner)
    if isinstance(value, list):
        return array_fits(value, schema, inner)
    if isinstance(value, str):
        return string_fits(value, schema)
    return number_fits(value, schema) if TYPES["number"](value) else True


def object_fits(
    value: dict[str, Any], schema: dict[str, Any], inner: Callable[[Any, Any], bool]
) -> bool:
    """required, properties, additionalProperties."""
    properties = schema.get("properties") or {}
    if any(name not in value for name in schema.get("required") or ()):
        return False
    more = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in properties:
            if not inner(item, properties[name]):
                return False
        elif more is False or (isinstance(more, dict) and not inner(item, more)):
            return False
    return True


def array_fits(value: list[Any], schema: dict[str, Any], inner: Callable[[Any, Any], bool]) -> bool:
    """Lengths, prefixItems, items, uniqueItems."""
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
        return False
    first = schema.get("prefixItems") or []
    if not all(inner(item, part) for item, part in zip(value, first, strict=False)):
        return False
    if "items" in schema and not all(inner(item, schema["items"]) for item in value[len(first) :]):
        return False
    if not schema.get("uniqueItems"):
        return True
    return len({json.dumps(item, sort_keys=True) for item in value}) == len(value)


def string_fits(value: str, schema: dict[str, Any]) -> bool:
    """Lengths and pattern."""
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
        return False
    return "pattern" not in schema or matches(schema["pattern"], value)


def matches(pattern: str, value: str) -> bool:
    """A pattern searched in a string; one that Python cannot read matches nothing."""
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return False


def number_fits(value: float, schema: dict[str, Any]) -> bool:
    """Bounds and multipleOf."""
    if value < schema.get("minimum", -math.inf) or value > schema.get("maximum", math.inf):
        return False
    if value <= schema.get("exclusiveMinimum", -math.inf) or value >= schema.get(
        "exclusiveMaximum", math.inf
    ):
        return False
    step = schema.get("multipleOf")
    if not step:
        return True
    quotient = value / step
    return math.isfinite(quotient) and math.isclose(quotient, round(quotient), abs_tol=1e-9)


def example(
    schema: Any, root: dict[str, Any] | None = None, name: str = "value", depth: int = 0
) -> Any:
    """The smallest value that satisfies the schema; `name` is the text that free strings get."""
    root = root if root is not None else schema if isinstance(schema, dict) else {}
    schema = resolve(schema, root)
    if not isinstance(schema, dict):
        return name
    for key in ("const", "default"):
        if key in schema and satisfies(schema[key], schema, root):
            return schema[key]
    for key in ("enum", "examples"):
        for option in schema.get(key) or ():
            if satisfies(option, schema, root):
                return option
    if "allOf" in schema:
        schema = merged([resolve(part, root) for part in schema["allOf"]], schema)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        return example_branch(branches, schema, root, (name, depth))
    return MAKERS[kind_of(schema)](schema, root, name, depth)


def merged(parts: list[Any], schema: dict[str, Any]) -> dict[str, Any]:
    """One schema that stands for an allOf."""
    whole: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in parts:
        for key, value in (part if isinstance(part, dict) else {}).items():
            if key == "properties":
                whole[key] = {**whole.get(key, {}), **value}
            elif key == "required":
                whole[key] = [*whole.get(key, []), *value]
            else:
                whole.setdefault(key, value)
    return whole


def example_branch(
    branches: list[Any], schema: dict[str, Any], root: dict[str, Any], at: tuple[str, int]
) -> Any:
    """A value of the first branch that works; deep inside a recursion null and scalars come first."""
    base = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
    order = list(branches)
    if at[1] > MAX_DEPTH // 2:
        order.sort(key=lambda part: kind_of(resolve(part, root)) in ("object", "array"))
    values = [
        example(merged([resolve(part, root)], base), root, at[0], at[1] + 1) for part in order
    ]
    return next((value for value in values if satisfies(value, schema, root)), values[0])


def kind_of(schema: Any) -> str:
    """The type to make."""
    if not isinstance(schema, dict):
        return "string"
    kinds = schema.get("type")
    if isinstance(kinds, list):
        kinds = next((kind for kind in kinds if kind != "null"), "null")
    if kinds in MAKERS:
        return str(kinds)
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def make_object(schema: dict[str, Any], root: dict[str, Any], _name: str, depth: int) -> Any:
    """Only the required properties, in the order of the schema; none at the end of a recursion."""
    properties = schema.get("properties") or {}
    required: list[str] = (schema.get("required") or []) if depth <= MAX_DEPTH else []
    ordered = [name for name in properties if name in required]
    ordered += [name for name in dict.fromkeys(required) if name not in properties]
    return {name: example(properties.get(name, {}), root, name, depth + 1) for name in ordered}


def make_array(schema: dict[str, Any], root: dict[str, Any], name: str, depth: int) -> Any:
    """The fewest members allowed; none at the end of a recursion."""
    shortest = min(MAX_MADE, int(schema.get("minItems", 0))) if depth <= MAX_DEPTH else 0
    parts: list[Any] = (schema.get("prefixItems") or [])[:shortest]
    parts = [*parts, *[schema.get("items", {})] * (shortest - len(parts))]
    unique = schema.get("uniqueItems")
    return [
        example(part, root, f"{name} {index}" if unique and index else name, depth + 1)
        for index, part in enumerate(parts)
    ]


def make_string(schema: dict[str, Any], _root: dict[str, Any], name: str, _depth: int) -> Any:
    """A formatted text, a text that matches the pattern, or the property's own name."""
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    if "pattern" in schema:
        options = [name, *CANDIDATES]
        options += [
            text * min(MAX_MADE, max(1, int(schema.get("minLength", 1)))) for text in CANDIDATES
        ]
        options += [text * count for text in CANDIDATES[:4] for count in range(2, 41)]
        return next((text for text in options if string_fits(text, schema)), name)
    shortest = min(MAX_MADE, int(schema.get("minLength", 0)))
    text = name if len(name) >= shortest else name + "x" * (shortest - len(name))
    return text[: int(schema["maxLength"])] if "maxLength" in schema else text


def make_number(schema: dict[str, Any], _root: dict[str, Any], _name: str, _depth: int) -> Any:
    """A number near 1 inside the bounds."""
    whole = kind_of(schema) == "integer"
    for option in numbers_near(schema, 1 if whole else 0):
        if (
            math.isfinite(option)
            and number_fits(option, schema)
            and (not whole or option == int(option))
        ):
            return int(option) if whole else option
    return 1


def numbers_near(schema: dict[str, Any], least: int) -> list[float]:
    """Candidates: 1, 0, the bounds, and the steps beside them."""
    step = schema.get("multipleOf") or least
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    found: list[float] = [1, 0, step]
    if low is not None:
        found += [low, low + (step or 0.5), low + 1]
        if step and math.isfinite(low / step):
            found += [math.ceil(low / step) * step, (math.floor(low / step) + 1) * step]
    if high is not None:
        found += [high, high - (step or 0.5), high - 1]
    if low is not None and high is not None:
        found.append((low + high) / 2)
    return found


MAKERS: dict[str, Callable[[dict[str, Any], dict[str, Any], str, int], Any]] = {
    "object": make_object,
    "array": make_array,
    "string": make_string,
    "number": make_number,
    "integer": make_number,
    "boolean": lambda _schema, _root, _name, _depth: True,
    "null": lambda _schema, _root, _name, _depth: None,
}
