"""The schema subset of strict tools and structured output, which share one grammar compiler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .errors import Refusal
from .meta_schema import INVALID_SCHEMA, well_formed

MAX_STRICT_TOOLS = 20
MAX_OPTIONAL = 24
MAX_UNIONS = 16
# Keyword -> the type that the refusal names.
UNSUPPORTED: dict[str, str] = {
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "multipleOf": "number",
    "minLength": "string",
    "maxLength": "string",
    "maxItems": "array",
    "uniqueItems": "array",
    "minProperties": "object",
    "maxProperties": "object",
    "patternProperties": "object",
}
LOOKAROUND = re.compile(r"\(\?(=|!|<=|<!)")
CHILD_MAPS = ("properties", "$defs", "definitions")
CHILD_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


def check_strict_tools(tools: list[dict[str, Any]]) -> None:
    """Number and schemas of strict tools."""
    strict = [
        (index, tool)
        for index, tool in enumerate(tools)
        if tool.get("strict") and "input_schema" in tool
    ]
    if len(strict) > MAX_STRICT_TOOLS:
        raise Refusal(
            f"Too many strict tools ({len(strict)}). The maximum number of strict tools supported is "
            f"{MAX_STRICT_TOOLS}."
        )
    for index, tool in strict:
        check_schema(tool["input_schema"], f"tools.{index}.custom")
    check_size([tool["input_schema"] for _, tool in strict])


def check_format(schema: dict[str, Any], path: str) -> None:
    """The schema of structured output."""
    if not well_formed(schema):
        raise Refusal(f"{path}: {INVALID_SCHEMA}")
    check_schema(schema, path)
    check_size([schema])


def check_size(schemas: list[dict[str, Any]]) -> None:
    """Limits on optional parameters and unions, over all schemas of a request."""
    nodes = [node for schema in schemas for node in walk(schema)]
    optional = sum(
        len(set(node.get("properties") or {}) - set(node.get("required") or [])) for node in nodes
    )
    if optional > MAX_OPTIONAL:
        raise Refusal(
            f"Schemas contains too many optional parameters ({optional}), which would make grammar compilation "
            f"inefficient. Reduce the number of optional parameters in your tool schemas (limit: {MAX_OPTIONAL})."
        )
    unions = sum("anyOf" in node or isinstance(node.get("type"), list) for node in nodes)
    if unions > MAX_UNIONS:
        raise Refusal(
            f"Schemas contains too many parameters with union types ({unions} parameters with type arrays or anyOf). "
            f"This causes exponential compilation cost. Reduce the number of nullable or union-typed parameters "
            f"(limit: {MAX_UNIONS} parameters with unions)."
        )


def walk(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and everything inside it; references are not followed."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in CHILD_MAPS:
        for part in (schema.get(key) or {}).values():
            yield from walk(part)
    for key in CHILD_LISTS:
        for part in schema.get(key) or ():
            yield from walk(part)
    yield from walk(schema.get("items"))


def check_schema(schema: dict[str, Any], path: str) -> None:
    """Every object closed, no unsupported keyword, no recursion."""
    for node in walk(schema):
        kinds = node.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "object" in kinds and node.get("additionalProperties") is not False:
            raise Refusal(
                f"{path}: For 'object' type, 'additionalProperties' must be explicitly set to false"
            )
        found = sorted(key for key in UNSUPPORTED if key in node)
        if found:
            named = next(
                (kind for kind in kinds if kind not in (None, "null")), UNSUPPORTED[found[0]]
            )
            which = (
                f"property '{found[0]}' is"
                if len(found) == 1
                else f"properties {', '.join(found)} are"
            )
            raise Refusal(f"{path}: For '{named}' type, {which} not supported")
        if node.get("minItems", 0) not in (0, 1):
            raise Refusal(
                f"{path}: For 'array' type, 'minItems' values other than 0 or 1 are not supported"
            )
        if isinstance(node.get("pattern"), str) and LOOKAROUND.search(node["pattern"]):
            raise Refusal(f"{path}: For 'string' type, 'pattern' with lookaround is not supported")
    if recursive(schema, schema, ()):
        raise Refusal(f"{path}: Recursive schemas are not supported")


def recursive(node: Any, root: dict[str, Any], trail: tuple[str, ...]) -> bool:
    """Whether following references from here comes back to one that is being followed."""
    for part in walk(
        {key: value for key, value in node.items() if key not in ("$defs", "definitions")}
    ):
        target = part.get("$ref")
        if not isinstance(target, str):
            continue
        if target in trail or target == "#":
            return True
        found = lookup(target, root)
        if isinstance(found, dict) and recursive(found, root, (*trail, target)):
            return True
    return False


def lookup(target: str, root: dict[str, Any]) -> Any:
    """The part of the document that a reference names."""
    found: Any = root
    for step in target.lstrip("#").strip("/").split("/"):
        found = found.get(step) if isinstance(found, dict) else None
    return found
