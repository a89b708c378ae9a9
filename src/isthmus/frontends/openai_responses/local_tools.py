"""Tools of OpenAI's own that the client runs by itself: offered to Claude as functions.

A call of one comes back as the item that its clients know, and the item as the same call. Source:
OpenAI's API reference (local_shell, shell and apply_patch tools and their calls).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from isthmus.errors import refuse
from isthmus.frontends.parameters import optional, required_text
from isthmus.messages import Block

Fields = dict[str, Any]

_TEXTS = {"type": "array", "items": {"type": "string"}}
_TEXT = {"type": "string"}
_MILLISECONDS = {"type": "integer", "description": "Milliseconds after which it is stopped."}


def _object(required: tuple[str, ...], **properties: Fields) -> Fields:
    schema: Fields = {"type": "object", "properties": properties}
    return {**schema, "required": list(required), "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Local:
    """One tool: what Claude is told of it, and the item of its calls.

    ``member`` is where the item holds the arguments, ``least`` what these hold at least.
    """

    says: str
    schema: Fields
    item: str
    prefix: str
    member: str
    least: Mapping[str, Any]


LOCAL = {
    "local_shell": Local(
        says="Runs one command on the user's machine, given as its list of arguments, and returns what "
        "it prints.",
        schema=_object(
            ("command",),
            command={**_TEXTS, "description": "The program and its arguments."},
            env={"type": "object", "additionalProperties": _TEXT},
            working_directory=_TEXT,
            timeout_ms=_MILLISECONDS,
            user=_TEXT,
        ),
        item="local_shell_call",
        prefix="lsh",
        member="action",
        least={"type": "exec", "command": [], "env": {}},
    ),
    "shell": Local(
        says="Runs shell commands on the user's machine, each by itself, and returns what they print and "
        "how they end.",
        schema=_object(
            ("commands",),
            commands={**_TEXTS, "description": "The commands, each a line for the shell."},
            timeout_ms=_MILLISECONDS,
            max_output_length={
                "type": "integer",
                "description": "Characters of output that are returned at most.",
            },
        ),
        item="shell_call",
        prefix="sh",
        member="action",
        least={"commands": []},
    ),
    "apply_patch": Local(
        says="Creates, changes or deletes one file in the user's working directory. The diff of a change "
        "is in the V4A form: lines that begin with @@, a space, - or +; that of a new file has + before "
        "each line.",
        schema=_object(
            ("type", "path"),
            type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            path={**_TEXT, "description": "The file, relative to the working directory."},
            diff={**_TEXT, "description": "What changes; nothing where the file is deleted."},
        ),
        item="apply_patch_call",
        prefix="apc",
        member="operation",
        least={},
    ),
}
"""By the type of the tool, which is its name too."""

_HERE = "local"


def declared(tool: Fields, kind: str, path: str) -> Block:
    """What Claude is told of a tool. Raises GatewayError (400) where it is to run at OpenAI."""
    place = optional(tool, "environment", dict, path, "an object")
    if place is not None and required_text(place, "type", f"{path}.environment") != _HERE:
        raise refuse(
            f"{path}.environment.type", "only local: containers of OpenAI are out of reach"
        )
    return {"description": LOCAL[kind].says, "input_schema": LOCAL[kind].schema}


def arguments(kind: str, item: Fields, path: str) -> Fields:
    """The arguments that a call's item holds, as Claude gave them: without what was only filled in."""
    row = LOCAL[kind]
    given = cast("Fields", optional(item, row.member, dict, path, "an object"))
    if given is None:
        raise refuse(f"{path}.{row.member}", "expected an object")
    return {
        name: value
        for name, value in given.items()
        if value is not None and not (name in row.least and value == row.least[name])
    }


def call_item(kind: str, key: str, call: str, given: Mapping[str, Any]) -> Fields:
    """The item of a complete call."""
    row = LOCAL[kind]
    value: Fields = {"id": f"{row.prefix}_{key}", "type": row.item, "status": "completed"}
    return {**value, "call_id": call, row.member: {**row.least, **given}}
