"""Turns Google's schemas, and JSON Schema with Google's habits, into the JSON Schema Claude takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from isthmus.errors import refuse
from isthmus.frontends.gemini.fields import camel, joined
from isthmus.request import expect

Schema = dict[str, Any]
Walk = Callable[[Any, str, int], Any]

DEPTH = 64
"""Levels of nesting; more are refused, since a schema is read recursively."""

_TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
_ONE = {
    *("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
}
_MANY = {"allOf", "anyOf", "oneOf", "prefixItems"}
_BY_NAME = {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
_DATA = {"const", "default", "enum", "example", "examples"}
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_GOOGLE_KEYS = {"defs": "$defs", "ref": "$ref"}


def json_schema(value: Any, path: str, *, google: bool) -> Schema:
    """The schema with lower-case types and ``null`` for ``nullable``; what it means stays.

    ``google`` says that it is Google's own Schema message, whose keywords come in either case and
    whose counts may be strings. Raises GatewayError (400) where a keyword holds no schema.
    """
    walk = _google_schema if google else _plain_schema
    return cast("Schema", walk(expect(value, dict, path, "a schema object"), path, 0))


def _google_schema(value: Any, path: str, level: int) -> Any:
    if not isinstance(value, dict):
        return _plain_schema(value, path, level)
    members: Schema = {}
    keys: dict[str, str] = {}
    for key, member in cast("Schema", value).items():
        if member is not None:
            name = key if key.startswith("$") else camel(key)
            name = _GOOGLE_KEYS.get(name, name)
            members[name], keys[name] = member, key
    for name in _COUNTS:
        if isinstance(text := members.get(name), str) and text.isascii() and text.isdigit():
            members[name] = int(text[:18])
    return _walked(members, path, level, _google_schema, keys)


def _plain_schema(value: Any, path: str, level: int) -> Any:
    if isinstance(value, bool):
        return value
    return _walked(expect(value, dict, path, "a schema object"), path, level, _plain_schema, {})


def _walked(schema: Schema, path: str, level: int, walk: Walk, keys: Mapping[str, str]) -> Schema:
    """The schema with every schema in it walked; ``keys`` are the client's spellings of its own."""
    if level > DEPTH:
        raise refuse(path, f"a schema of more than {DEPTH} levels")
    found: Schema = {}
    for key, member in schema.items():
        at = joined(path, keys.get(key, key))
        if key in _DATA:
            found[key] = member
        elif key == "type":
            found[key] = _lower(member, at)
        elif key in _BY_NAME:
            rows = expect(member, dict, at, "an object of schemas")
            found[key] = {
                name: walk(each, joined(at, name), level + 1) for name, each in rows.items()
            }
        elif key in _MANY or (key in _ONE and isinstance(member, list)):
            rows = expect(member, list, at, "an array of schemas")
            found[key] = [walk(each, joined(at, i), level + 1) for i, each in enumerate(rows)]
        elif key in _ONE:
            found[key] = walk(member, at, level + 1)
        elif key == "required":
            rows = expect(member, list, at, "an array of names")
            found[key] = [expect(row, str, joined(at, i), "a name") for i, row in enumerate(rows)]
        else:
            found[key] = member
    return _without_habits(found)


def _lower(kind: Any, path: str) -> Any:
    """A type or a list of types in JSON Schema's spelling."""
    if isinstance(kind, list):
        rows = cast("list[Any]", kind)
        return [_lower(expect(row, str, path, "the name of a type"), path) for row in rows]
    name = cast("str", expect(kind, str, path, "the name of a type"))
    return name.lower() if name in _TYPES else None if name == "TYPE_UNSPECIFIED" else name


def _without_habits(schema: Schema) -> Schema:
    """What only Google's schemas know, in JSON Schema's words."""
    if schema.get("type", "") is None:
        del schema["type"]
    order = schema.pop("propertyOrdering", None)
    properties = schema.get("properties")
    if isinstance(order, list) and isinstance(properties, dict):
        rows = cast("Schema", properties)
        first = [
            name for name in cast("list[Any]", order) if isinstance(name, str) and name in rows
        ]
        schema["properties"] = {name: rows[name] for name in [*dict.fromkeys(first), *rows]}
    if "example" in schema:
        schema["examples"] = [schema.pop("example")]
    return _nullable(schema) if schema.pop("nullable", False) is True else schema


def _nullable(schema: Schema) -> Schema:
    kind, values = schema.get("type"), schema.get("enum")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    elif isinstance(kind, list) and "null" not in kind:
        schema["type"] = [*cast("list[Any]", kind), "null"]
    if isinstance(values, list) and None not in values:
        schema["enum"] = [*cast("list[Any]", values), None]
    if isinstance(schema.get("anyOf"), list) and {"type": "null"} not in schema["anyOf"]:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


def closed(schema: Any, path: str) -> Any:
    """The schema of an answer with every object closed, as Google means it where nothing is said.

    Raises GatewayError (400) for an object whose keys are free: Claude's structured outputs know
    closed objects only, so that it could never hold anything.
    """
    if isinstance(schema, list):
        return [closed(each, joined(path, i)) for i, each in enumerate(cast("list[Any]", schema))]
    if not isinstance(schema, dict):
        return schema
    found: Schema = {}
    for key, member in cast("Schema", schema).items():
        at = joined(path, key)
        if key in _BY_NAME:
            found[key] = {name: closed(each, joined(at, name)) for name, each in member.items()}
        else:
            found[key] = member if key in _DATA else closed(member, at)
    kind, free = found.get("type"), found.get("additionalProperties")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        if not found.get("properties") and free is not False:
            raise refuse(
                path, "an object with free keys cannot be asked of Claude; name its properties"
            )
        found.setdefault("additionalProperties", False)
    return found
