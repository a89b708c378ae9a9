"""Turns Google's schemas, and JSON Schema with Google's habits, into the JSON Schema Claude takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from isthmus import wire
from isthmus.errors import refuse
from isthmus.frontends.gemini.fields import camel, joined
from isthmus.request import Notes, expect

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


def input_schema(value: Any, path: str, *, google: bool) -> Schema:
    """A function's parameters; Claude wants an object at the root, and a function without any has {}."""
    schema = json_schema({} if value is None else value, path, google=google)
    if not schema:
        return {"type": "object", "properties": {}}
    kind = schema.get("type")
    if isinstance(kind, list):
        schema["type"] = kind = "object" if "object" in kind else kind[0] if kind else None
    if kind is None:
        return {"type": "object", **{key: each for key, each in schema.items() if key != "type"}}
    return schema


def _google_schema(value: Any, path: str, level: int) -> Any:
    if not isinstance(value, dict):
        return _plain_schema(value, path, level)
    members: Schema = {}
    for key, member in cast("Schema", value).items():
        if member is not None:
            name = key if key.startswith("$") else camel(key)
            members[_GOOGLE_KEYS.get(name, name)] = member
    for name in _COUNTS:
        if isinstance(text := members.get(name), str) and text.isascii() and text.isdigit():
            members[name] = int(text[:18])
    return _walked(members, path, level, _google_schema)


def _plain_schema(value: Any, path: str, level: int) -> Any:
    if isinstance(value, bool):
        return value
    return _walked(expect(value, dict, path, "a schema object"), path, level, _plain_schema)


def _walked(schema: Schema, path: str, level: int, walk: Walk) -> Schema:
    if level > DEPTH:
        raise refuse(path, f"a schema of more than {DEPTH} levels")
    found: Schema = {}
    for key, member in schema.items():
        at = joined(path, key)
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


# --- schemas for answers ------------------------------------------------------------------------

_FORMATS = {
    *("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"),
}
_KEPT = {
    *("$defs", "$ref", "additionalProperties", "allOf", "anyOf", "const", "default", "definitions"),
    *("description", "enum", "properties", "required", "title", "type"),
}
_SILENT = {"$schema", "$id", "$comment"}


def output_schema(schema: Schema, path: str, notes: Notes) -> Schema:
    """The subset that Claude's structured outputs compile; what it leaves out goes into descriptions.

    Source: the structured outputs page of Anthropic's documentation. Raises GatewayError (400) for
    what no wording can stand for: objects with free keys, and schemas that contain themselves.
    """
    if _repeats(schema):
        raise refuse(path, "a schema that contains itself is not accepted for answers")
    return cast("Schema", _strict(schema, path, notes))


def _repeats(root: Schema) -> bool:
    """Whether some definition refers to itself, over however many others."""
    graph = {
        f"#/{key}/{name}": set(_references(each))
        for key in ("$defs", "definitions")
        for name, each in cast("Schema", root.get(key) or {}).items()
    }
    outer = {key: each for key, each in root.items() if key not in ("$defs", "definitions")}
    graph["#"] = set(_references(outer))
    return any(_reaches(graph, start) for start in graph)


def _reaches(graph: dict[str, set[str]], start: str) -> bool:
    """Whether a walk from this definition comes back to it."""
    seen: set[str] = set()
    ways = list(graph[start])
    while ways:
        name = ways.pop()
        if name == start:
            return True
        if name not in seen:
            seen.add(name)
            ways += graph.get(name, ())
    return False


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for each in cast("list[Any]", value) for name in _references(each)]
    if not isinstance(value, dict):
        return []
    members = cast("Schema", value)
    own = [members["$ref"]] if isinstance(members.get("$ref"), str) else []
    inner = [each for key, each in members.items() if key not in _DATA]
    return own + [name for each in inner for name in _references(each)]


def _strict(schema: Any, path: str, notes: Notes) -> Any:
    if isinstance(schema, bool):
        raise refuse(path, "a schema of an answer says what is allowed; true and false do not")
    found: Schema = {}
    moved: Schema = {}
    for key, member in cast("Schema", schema).items():
        at = joined(path, key)
        if key in ("$defs", "definitions", "properties"):
            found[key] = {
                name: _strict(each, joined(at, name), notes) for name, each in member.items()
            }
        elif key in ("anyOf", "oneOf", "allOf"):
            rows = [_strict(each, joined(at, i), notes) for i, each in enumerate(member)]
            found["anyOf" if key == "oneOf" else key] = rows
        elif key == "items" and not isinstance(member, list):
            found[key] = _strict(member, at, notes)
        elif key in _KEPT or _is_kept_limit(key, member):
            found[key] = member
        elif key not in _SILENT:
            moved[key] = member
            notes.changed(at, "Claude takes no such rule for answers: moved to the description")
    _close(found, path, notes)
    return _described(found, moved)


def _is_kept_limit(key: str, member: Any) -> bool:
    if key == "format":
        return isinstance(member, str) and member in _FORMATS
    return key == "minItems" and member in (0, 1)


def _close(schema: Schema, path: str, notes: Notes) -> None:
    """Forbid further keys on an object, which structured outputs require."""
    free = schema.pop("additionalProperties", None)
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    if not is_object and "properties" not in schema:
        return
    if not schema.get("properties") and free is not False:
        raise refuse(
            path, "an object with free keys cannot be asked of Claude; name its properties"
        )
    if free not in (None, False):
        notes.changed(joined(path, "additionalProperties"), "Claude takes only false for answers")
    schema["additionalProperties"] = False


def _described(schema: Schema, moved: Schema) -> Schema:
    if moved:
        rules = ", ".join(f"{key}: {wire.dumps(member).decode()}" for key, member in moved.items())
        own = schema.get("description")
        schema["description"] = f"{own}\n\n{{{rules}}}" if isinstance(own, str) else f"{{{rules}}}"
    return schema
