"""Names of tool parameters that the Messages API does not take: others in their place, and back.

Source: the API's own refusal (keys of ``properties`` must match ``^[a-zA-Z0-9_.-]{1,64}$``), which public
issues report of a schema's root alone. A name from there is replaced at any depth, since a schema may
refer to its root. What it becomes is a function of the schema alone, and so the same on every turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, cast

from isthmus import wire
from isthmus.event import Event, Halves
from isthmus.request import Body, Notes

Schema = dict[str, Any]
Names = dict[str, str]
"""The names that are sent, by the client's own."""

LIMIT = 64
_LEGAL = re.compile(r"[a-zA-Z0-9_.-]+")
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_.-]")

_MAPS = frozenset("properties $defs definitions patternProperties dependentSchemas".split())
_LISTS = frozenset("anyOf oneOf allOf prefixItems items".split())
_SCHEMAS = frozenset(
    "items additionalProperties not if then else contains propertyNames unevaluatedProperties".split()
)
_DATA = frozenset("default const enum examples".split())
"""Keywords by what they hold: schemas by name, in a list, alone; and values that a schema describes."""


def renamed(tools: Any) -> dict[str, Names]:
    """By the name of each tool with such parameters: the names that these are sent under."""
    found: dict[str, Names] = {}
    for tool in cast("list[Any]", tools) if isinstance(tools, list) else ():
        schema = tool.get("input_schema") if isinstance(tool, dict) else None
        names = Names()
        for name in _root(schema):
            if len(name) > LIMIT or not _LEGAL.fullmatch(name):
                names[name] = _made(name, {*_declared(schema), *names.values()})
        if names:
            found[str(tool.get("name"))] = names
    return found


def _root(schema: Any) -> list[str]:
    fields = cast("Schema", schema) if isinstance(schema, dict) else Schema()
    properties = fields.get("properties")
    return list(cast("Schema", properties)) if isinstance(properties, dict) else []


def _made(name: str, taken: set[str]) -> str:
    stem, attempt = _ILLEGAL.sub("_", name)[: LIMIT - 9], 0
    while True:
        made = f"{stem}_{sha256(f'{attempt}/{name}'.encode()).hexdigest()[:8]}"
        if made not in taken:
            return made
        attempt += 1


def _declared(schema: Any) -> Iterator[str]:
    """The names of all properties of a schema, those of inner ones included."""
    if not isinstance(schema, dict):
        return
    for keyword, value in cast("Schema", schema).items():
        if keyword == "properties" and isinstance(value, dict):
            yield from cast("Schema", value)
        for inner in _inner(keyword, value):
            yield from _declared(inner)


def _inner(keyword: str, value: Any) -> Iterator[Any]:
    """The schemas that a keyword holds."""
    if keyword in _MAPS and isinstance(value, dict):
        yield from cast("Schema", value).values()
    elif keyword in _LISTS and isinstance(value, list):
        yield from cast("list[Any]", value)
    elif keyword in _SCHEMAS:
        yield value


# --- requests -----------------------------------------------------------------------------------


def rename(body: Body, notes: Notes) -> None:
    """Send such parameters under other names, in the tools and in the calls of earlier turns."""
    found = renamed(body.peek("tools"))
    if not found:
        return
    for tool, names in found.items():
        for own, made in names.items():
            said = f"parameter {own!r} of {tool} is sent as {made}; answers carry your name"
            notes.changed("tools", said)
    body.edit("tools", [_tool(tool, found) for tool in body.peek("tools")])
    body.edit("messages", [_turn(turn, found) for turn in body.peek("messages") or []])


def _tool(tool: Any, found: Mapping[str, Names]) -> Any:
    fields = cast("dict[str, Any]", tool) if isinstance(tool, dict) else {}
    names = found.get(str(fields.get("name")))
    return {**fields, "input_schema": _schema(fields["input_schema"], names)} if names else tool


def _turn(turn: dict[str, Any], found: Mapping[str, Names]) -> dict[str, Any]:
    if turn.get("role") != "assistant" or not isinstance(turn["content"], list):
        return turn
    blocks = cast("list[dict[str, Any]]", turn["content"])
    return {**turn, "content": [_call(block, found) for block in blocks]}


def _call(block: dict[str, Any], found: Mapping[str, Names]) -> dict[str, Any]:
    names = found.get(str(block.get("name"))) if block.get("type") == "tool_use" else None
    return {**block, "input": _value(block.get("input"), names)} if names else block


def _value(value: Any, names: Names) -> Any:
    """A value whose members, at any depth, have the names that are sent."""
    if isinstance(value, list):
        return [_value(item, names) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    members = cast("dict[str, Any]", value)
    return {names.get(name, name): _value(item, names) for name, item in members.items()}


def _schema(schema: Any, names: Names) -> Any:
    if not isinstance(schema, dict):
        return schema
    fields = cast("Schema", schema)
    return {keyword: _keyword(keyword, value, names) for keyword, value in fields.items()}


def _keyword(keyword: str, value: Any, names: Names) -> Any:
    if keyword in _MAPS and isinstance(value, dict):
        kept = names if keyword in ("properties", "dependentSchemas") else Names()
        rows = cast("Schema", value).items()
        return {kept.get(name, name): _schema(inner, names) for name, inner in rows}
    if keyword in _LISTS and isinstance(value, list):
        return [_schema(inner, names) for inner in cast("list[Any]", value)]
    if keyword in _SCHEMAS:
        return _schema(value, names)
    if keyword == "required":
        return _strings(value, names)
    if keyword == "dependentRequired" and isinstance(value, dict):
        rows = cast("Schema", value).items()
        return {names.get(name, name): _strings(needed, names) for name, needed in rows}
    return _value(value, names) if keyword in _DATA else _pointer(keyword, value, names)


def _strings(value: Any, names: Names) -> Any:
    items = cast("list[Any]", value) if isinstance(value, list) else None
    if items is None:
        return value
    return [names.get(item, item) if isinstance(item, str) else item for item in items]


def _pointer(keyword: str, value: Any, names: Names) -> Any:
    """A reference into the schema, along the new names (RFC 6901)."""
    if keyword != "$ref" or not isinstance(value, str):
        return value
    steps = value.split("/")
    for place in range(1, len(steps)):
        own = steps[place].replace("~1", "/").replace("~0", "~")
        if steps[place - 1] == "properties" and own in names:
            steps[place] = names[own]
    return "/".join(steps)


# --- answers ------------------------------------------------------------------------------------


class Restored:
    """Gives the calls of an answer the client's own names; their arguments come in one piece."""

    def __init__(self, found: Mapping[str, Names]) -> None:
        self._found = found
        self._halves = Halves()
        self._names = Names()
        self._held: list[str] = []

    def feed(self, event: Event) -> list[Event]:
        """The events that one event amounts to, which may be none until its block ends."""
        if event.type == "content_block_start":
            block = event.value.get("content_block")
            fields = cast("dict[str, Any]", block) if isinstance(block, dict) else {}
            name = str(fields.get("name")) if fields.get("type") == "tool_use" else ""
            self._names = self._found.get(name, Names())
            self._held.clear()
        if not self._names:
            return [event]
        return [kept for whole in self._halves.joined(event) for kept in self._kept(whole)]

    def _kept(self, event: Event) -> list[Event]:
        delta = event.value.get("delta")
        piece = delta.get("partial_json") if isinstance(delta, dict) else None
        if isinstance(piece, str):
            self._held.append(piece)
            return []
        if event.type != "content_block_stop" or not self._held:
            return [event]
        text = self._own("".join(self._held))
        whole = {"type": "input_json_delta", "partial_json": text}
        place = {"type": "content_block_delta", "index": event.value.get("index")}
        return [Event(value={**place, "delta": whole}), event]

    def _own(self, text: str) -> str:
        """JSON text with the client's names: a name is a string before a colon, and stands in no other."""
        owns = {made: own for own, made in self._names.items()}
        made = "|".join(map(re.escape, owns))
        pattern = re.compile(rf'(?<!\\)"({made})"(?=\s*:)')
        return pattern.sub(lambda found: wire.dumps(owns[found[1]]).decode(), text)
