"""Judges request bodies by the parameter types of this environment's `anthropic`.

Reads JSON lines ``{"kind": "messages" | "count_tokens", "body": ...}`` from the file named by the
first argument and prints one JSON list of objections for each.
"""

from __future__ import annotations

import collections.abc
import json
import os
import sys
import types
import typing
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from anthropic import types as sdk
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict, is_typeddict

SAMPLING = {"temperature": float, "top_p": float, "top_k": int}
"""What API version 2023-06-01 still takes, though the last 1.x releases send it as extra body only."""
PARAMETERS = {
    "messages": (sdk.message_create_params.MessageCreateParamsStreaming, SAMPLING),
    "whole messages": (sdk.message_create_params.MessageCreateParamsNonStreaming, SAMPLING),
    "count_tokens": (sdk.MessageCountTokensParams, {}),
}
LISTS = (collections.abc.Iterable, collections.abc.Sequence)
FILES = (os.PathLike, typing.IO)


@cache
def strict(kind: Any) -> Any:
    """The type as JSON can meet it: closed TypedDicts, lists for iterables, no Python objects.

    pydantic is lax where it reads a TypedDict as it stands: unknown members pass, and what is in an
    ``Iterable`` is not looked at until somebody iterates.
    """
    if is_typeddict(kind):
        return closed(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Annotated, Required, NotRequired):
        return strict(inner[0])
    if origin in (Union, types.UnionType):
        return either([strict(one) for one in inner if is_json(one)])
    if origin in LISTS or getattr(origin, "__name__", "") == "SequenceNotStr":
        return list[strict(inner[0])]
    if origin in (list, dict):
        return origin[tuple(strict(one) for one in inner)]
    return Any if kind is object else kind


def is_json(kind: Any) -> bool:
    """Whether JSON can hold such a value; others are open files, paths and the SDK's own answers."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return is_json(inner[0])
    if origin in (Union, types.UnionType):
        return any(is_json(one) for one in inner)
    named = origin or kind
    return named not in FILES and not (isinstance(named, type) and issubclass(named, BaseModel))


def either(kinds: list[Any]) -> Any:
    """One of the types; where their ``type`` tells them apart, objections name only that one."""
    told = [get_type_hints(kind) if is_typeddict(kind) else {} for kind in kinds]
    whole = Union[tuple(kinds)]  # noqa: UP007
    if len(kinds) > 1 and all(get_origin(hints.get("type")) is Literal for hints in told):
        return Annotated[whole, Field(discriminator="type")]
    return whole


def closed(kind: Any, more: dict[str, Any] | None = None) -> Any:
    """A copy of a TypedDict that takes its own members only, unless the SDK itself leaves it open."""
    hints = get_type_hints(kind, include_extras=True)
    fields = {name: needed(kind, name, hint)[strict(hint)] for name, hint in hints.items()}
    fields.update({name: NotRequired[hint] for name, hint in (more or {}).items()})
    copy = TypedDict(kind.__name__, fields)
    own = getattr(kind, "__pydantic_config__", {})
    copy.__pydantic_config__ = ConfigDict(extra=own.get("extra", "forbid"), strict=True)
    return copy


def needed(kind: Any, name: str, hint: Any) -> Any:
    """Whether a member must be there. The class itself does not see it in annotations that are text."""
    if get_origin(hint) in (Required, NotRequired):
        return get_origin(hint)
    return Required if name in kind.__required_keys__ else NotRequired


@cache
def adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(closed(*PARAMETERS[kind]))


def objections(kind: str, body: Any) -> list[str]:
    """What the types say against a body."""
    if kind == "messages" and not body.get("stream"):
        kind = "whole messages"
    try:
        adapter(kind).validate_python(body)
    except ValidationError as error:
        rows = error.errors(include_url=False, include_input=False)
        return [f"{place(row['loc'])}: {row['msg']}" for row in rows]
    return []


def place(steps: tuple[int | str, ...]) -> str:
    """The path in the body, without the names of types that pydantic puts between."""
    said = (str(step) for step in steps if step != "str")
    return ".".join(step for step in said if step.isdigit() or step.isidentifier())


def main() -> None:
    for line in Path(sys.argv[1]).read_text().splitlines():
        row = json.loads(line)
        print(json.dumps(objections(row["kind"], row["body"])))


if __name__ == "__main__":
    main()
