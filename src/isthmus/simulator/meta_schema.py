"""Is a value a JSON Schema: the types of the keywords that the simulator reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .json_schema import TYPES

SUBSCHEMAS = (
    "items",
    "additionalProperties",
    "not",
    "contains",
    "propertyNames",
    "if",
    "then",
    "else",
)
SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SCHEMA_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
MAX_SCHEMA_DEPTH = 100
INVALID_SCHEMA = (
    "JSON schema is invalid. It must match JSON Schema draft 2020-12 (https://json-schema.org/draft/2020-12). Learn "
    "more about tool use at https://docs.claude.com/en/docs/tool-use."
)


def is_count(value: Any) -> bool:
    """A whole number from zero."""
    return TYPES["integer"](value) and value >= 0


def is_names(value: Any) -> bool:
    """`required`: a list of strings; null counts as absent."""
    return value is None or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def is_type(value: Any) -> bool:
    """`type`: a name or a list of names."""
    names = value if isinstance(value, list) else [value]
    return value is None or all(isinstance(name, str) and name in TYPES for name in names)


KEYWORDS: dict[str, Callable[[Any], bool]] = {
    "type": is_type,
    "required": is_names,
    "enum": TYPES["array"],
    "examples": TYPES["array"],
    "pattern": TYPES["string"],
    "format": TYPES["string"],
    "$ref": TYPES["string"],
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
        is_count,
    ),
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), TYPES["number"]
    ),
    "multipleOf": lambda value: TYPES["number"](value) and value > 0,
    "uniqueItems": TYPES["boolean"],
}


def well_formed(schema: Any, depth: int = 0) -> bool:
    """Whether a value is a JSON Schema, as far as its keywords' types tell."""
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, dict) or depth > MAX_SCHEMA_DEPTH:
        return False
    if not all(KEYWORDS[key](value) for key, value in schema.items() if key in KEYWORDS):
        return False
    lists = [schema[key] for key in SCHEMA_LISTS if key in schema]
    maps = [schema[key] for key in SCHEMA_MAPS if schema.get(key) is not None]
    if not all(isinstance(part, list) for part in lists) or not all(
        isinstance(part, dict) for part in maps
    ):
        return False
    parts = [schema[key] for key in SUBSCHEMAS if key in schema]
    parts += [part for group in lists for part in group] + [
        part for group in maps for part in group.values()
    ]
    return all(well_formed(part, depth + 1) for part in parts)
