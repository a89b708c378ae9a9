"""JSON Schemas of clients as the Messages API takes them: tool parameters, answer formats.

Source: Anthropic's pages on tool use (the root of ``input_schema``) and on structured outputs (the
keywords that its grammar compiler knows). The caller's schemas are never changed in place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from isthmus import wire
from isthmus.errors import GatewayError, refuse
from isthmus.messages import Turn
from isthmus.request import expect

Schema = dict[str, Any]

DEPTH = 100
"""Levels of a schema; the compiler gives up long before, and we must not run out of stack."""

FREE = "an object with free keys cannot be asked of Claude; name its properties"

_UNIONS = ("anyOf", "oneOf", "allOf")
_SILENT = ("$schema", "$id", "$comment")
_PLAIN = ("type", "title", "description", "default", "required")
_FORMATS = frozenset("date-time time date duration email hostname uri ipv4 ipv6 uuid".split())
_BEYOND_REGULAR = re.compile(r"\(\?[=!<]|\\[bB1-9]")
"""Look-around, word boundaries and back references."""


# --- tool parameters ----------------------------------------------------------------------------


def input_schema(parameters: Schema | None) -> tuple[Schema, str | None]:
    """The schema of a tool's input, whose root must be an object without unions; and what changed."""
    if not parameters:
        return {"type": "object", "properties": {}}, None
    unions = [name for name in _UNIONS if isinstance(parameters.get(name), list)]
    schema = _merged(parameters, unions) if unions else parameters
    reason = (
        f"{unions[0]} at the root is not accepted: its branches were merged" if unions else None
    )
    kind = schema.get("type")
    if kind is None or (isinstance(kind, list) and "object" in kind):
        rest = {name: value for name, value in schema.items() if name != "type"}
        schema = {"type": "object", **rest}
    return schema, reason


def _merged(schema: Schema, unions: list[str]) -> Schema:
    """One object with the properties of all branches; required is what every valid input has."""
    variants: dict[str, list[Any]] = {}
    _gather(variants, schema)
    required = dict.fromkeys(_strings(schema.get("required")))
    for union in unions:
        branches = [_resolved(branch, schema) for branch in cast("list[Any]", schema[union])]
        for branch in branches:
            _gather(variants, branch)
        wanted = [_strings(branch.get("required")) for branch in branches]
        for name in (name for names in wanted for name in names):
            if union == "allOf" or all(name in names for names in wanted):
                required[name] = None
    merged = {name: value for name, value in schema.items() if name not in unions}
    merged["properties"] = {
        name: found[0] if len(found) == 1 else {"anyOf": found} for name, found in variants.items()
    }
    if required:
        merged["required"] = list(required)
    return merged


def _gather(variants: dict[str, list[Any]], schema: Schema) -> None:
    properties = schema.get("properties")
    for name, value in cast("Schema", properties).items() if isinstance(properties, dict) else ():
        known = variants.setdefault(name, [])
        if value not in known:
            known.append(value)


def _strings(value: Any) -> list[str]:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str)]


def _resolved(branch: Any, root: Schema) -> Schema:
    """The branch, or the definition that it refers to; {} for what cannot be read."""
    value: Any = branch
    reference = branch.get("$ref") if isinstance(branch, dict) else None
    if isinstance(reference, str):
        value = root
        for step in reference.removeprefix("#").strip("/").split("/"):
            value = cast("Schema", value).get(_unescaped(step)) if isinstance(value, dict) else None
    return cast("Schema", value) if isinstance(value, dict) else {}


def _unescaped(step: str) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return step.replace("~1", "/").replace("~0", "~")


def strict_form(schema: Schema, path: str) -> Schema | None:
    """The schema if ``strict`` may stand beside it; None if something in it would have to change."""
    try:
        fitted, changed = compiled(schema, path)
    except GatewayError:
        return None
    return None if changed else fitted


# --- what the grammar compiler takes ------------------------------------------------------------


def refuse_beside(turns: Sequence[Turn], path: str) -> None:
    """Raises GatewayError (400) where a conversation excludes an answer in the form asked for at ``path``.

    Source: Anthropic's page on structured outputs (neither with citations nor with a prefill).
    """
    if turns and turns[-1]["role"] == "assistant":
        raise refuse(path, "an answer in this form cannot continue a final assistant message")
    blocks = [block for turn in turns for block in turn["content"] if isinstance(block, dict)]
    inner = [part for block in blocks for part in block.get("content") or () if type(part) is dict]
    for block in (*blocks, *inner):
        cited = block.get("citations")
        if block["type"] == "document" and isinstance(cited, dict) and cited.get("enabled"):
            raise refuse(path, "an answer in this form cannot cite: leave out the citations")


def compiled(schema: Schema, path: str) -> tuple[Schema, tuple[str, ...]]:
    """A schema for ``output_config.format``, and the keywords whose meaning had to move.

    Constraints that the compiler does not know are told to the model in the description, objects are
    closed. Raises GatewayError (400) for recursion, references that lead nowhere, wrong types, and
    objects with free keys alone.
    """
    fitting = _Fitting()
    fitted = fitting.node(schema, path, 0)
    _refuse_recursion(fitted, path)
    return fitted, tuple(fitting.changed)


class _Fitting:
    """Walks one schema; ``changed`` names the keywords that could not stay, in their order."""

    def __init__(self) -> None:
        self.changed: dict[str, None] = {}

    def node(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, bool):
            return value
        source = cast("Schema", expect(value, dict, path, "a JSON Schema"))
        if depth > DEPTH:
            raise refuse(path, f"the schema has more than {DEPTH} levels")
        source = self._plain(source)
        fitted, moved = Schema(), Schema()
        for name, member in source.items():
            self._keyword(name, member, (fitted, moved), (f"{path}.{name}", depth))
        if _is_object(source):
            self._close(source, fitted, path)
        if moved:
            self.changed.update(dict.fromkeys(moved))
            told = ", ".join(
                f"{name}: {wire.dumps(value).decode()}" for name, value in moved.items()
            )
            said = fitted.get("description")
            fitted["description"] = f"{said}\n\n{{{told}}}" if said else f"{{{told}}}"
        return fitted

    def _plain(self, source: Schema) -> Schema:
        """A reference stands alone, without what pydantic writes around it; oneOf becomes anyOf."""
        whole = source.get("allOf")
        if isinstance(whole, list) and len(cast("list[Any]", whole)) == 1 and "$ref" not in source:
            only: Any = whole[0]
            if isinstance(only, dict) and "$ref" in only:
                source = {**{k: v for k, v in source.items() if k != "allOf"}, **only}
        if "oneOf" in source and "anyOf" not in source:
            source = {"anyOf" if k == "oneOf" else k: v for k, v in source.items()}
            self.changed["oneOf"] = None
        if "$ref" not in source:
            return source
        kept = {k: v for k, v in source.items() if k in ("$ref", "$defs", "definitions")}
        self.changed.update({k: None for k in source if k not in kept and k not in _SILENT})
        return kept

    def _keyword(
        self, name: str, member: Any, into: tuple[Schema, Schema], at: tuple[str, int]
    ) -> None:
        """Put one keyword among the fitting ones, fitted itself, or among those that must move."""
        fitted, moved = into
        if name in _SILENT or name == "additionalProperties":
            return
        if name in _NESTED:
            fitted[name] = _NESTED[name](self, member, *at)
        elif name == "type":
            fitted[name] = _type(member, at[0])
        elif name in _PLAIN or (name in _FITS and _FITS[name](member)):
            fitted[name] = member
        else:
            moved[name] = member

    def _close(self, source: Schema, fitted: Schema, path: str) -> None:
        """Close an object. One with free keys alone could never hold anything then: it is refused."""
        if not source.get("properties") and source.get("additionalProperties") is not False:
            raise refuse(path, FREE)
        fitted.setdefault("type", "object")
        fitted["additionalProperties"] = False
        if source.get("additionalProperties") is not False:
            self.changed["additionalProperties"] = None

    def _map(self, value: Any, path: str, depth: int) -> Schema:
        members = cast("Schema", expect(value, dict, path, "an object"))
        return {k: self.node(v, f"{path}.{k}", depth + 1) for k, v in members.items()}

    def _list(self, value: Any, path: str, depth: int) -> list[Any]:
        items = cast("list[Any]", expect(value, list, path, "an array"))
        return [self.node(item, f"{path}.{i}", depth + 1) for i, item in enumerate(items)]

    def _one(self, value: Any, path: str, depth: int) -> Any:
        return self.node(value, path, depth + 1)

    def _reference(self, value: Any, path: str, depth: int) -> str:
        text = cast("str", expect(value, str, path, "a string"))
        if not text.startswith("#"):
            raise refuse(path, "only references into the same schema can be followed")
        return text


_NESTED: dict[str, Callable[[_Fitting, Any, str, int], Any]] = {
    "properties": _Fitting._map,
    "$defs": _Fitting._map,
    "definitions": _Fitting._map,
    "anyOf": _Fitting._list,
    "allOf": _Fitting._list,
    "items": _Fitting._one,
    "$ref": _Fitting._reference,
}
"""Keywords that hold schemas, and how each is fitted."""


def _scalar(value: Any) -> bool:
    return type(value) not in (dict, list)


_FITS: dict[str, Callable[[Any], bool]] = {
    "enum": lambda value: isinstance(value, list) and all(map(_scalar, cast("list[Any]", value))),
    "const": _scalar,
    "format": lambda value: isinstance(value, str) and value in _FORMATS,
    "minItems": lambda value: value in (0, 1),
    "pattern": lambda value: isinstance(value, str) and not _BEYOND_REGULAR.search(value),
}
"""Keywords that the compiler knows for some values only."""


def _type(value: Any, path: str) -> Any:
    return expect(value, (str, list), path, "a string or an array of strings")


def _is_object(schema: Schema) -> bool:
    kind = schema.get("type")
    if kind is None:
        return "properties" in schema
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _refuse_recursion(root: Schema, path: str) -> None:
    """Follow every definition to those it refers to: none may come back to itself."""
    graph: dict[str, list[str]] = {"#": _references(root, skip=True)}
    for group in ("$defs", "definitions"):
        for name, schema in cast("Schema", root.get(group) or {}).items():
            graph[f"#/{group}/{name}"] = _references(schema, skip=False)
    done: set[str] = set()
    for start in graph:
        _walk(start, graph, (done, []), path)


def _walk(
    name: str, graph: dict[str, list[str]], seen: tuple[set[str], list[str]], path: str
) -> None:
    done, above = seen
    if name in above:
        raise refuse(path, f"recursive schemas are not supported: {name} refers to itself")
    if name not in graph:
        raise refuse(path, f"there is no definition {name}")
    if name in done:
        return
    if len(above) > DEPTH:
        raise refuse(path, f"references follow each other more than {DEPTH} times")
    for reference in graph[name]:
        _walk(reference, graph, (done, [*above, name]), path)
    done.add(name)


def _references(schema: Any, *, skip: bool) -> list[str]:
    """The definitions that a schema refers to, its own definitions left aside for the root."""
    return list(dict.fromkeys(_definition(text) for text in _texts(schema, skip=skip)))


def _texts(schema: Any, *, skip: bool) -> Iterator[str]:
    if isinstance(schema, list):
        for item in cast("list[Any]", schema):
            yield from _texts(item, skip=False)
    elif isinstance(schema, dict):
        for name, value in cast("Schema", schema).items():
            if name == "$ref" and isinstance(value, str):
                yield value
            elif not (skip and name in ("$defs", "definitions")):
                yield from _texts(value, skip=False)


def _definition(reference: str) -> str:
    """The definition that a reference leads into: ``#/$defs/A/properties/b`` to ``#/$defs/A``."""
    steps = [_unescaped(step) for step in reference.split("/")]
    return "/".join(steps[:3])
