"""Scripts: what a test tells the simulator to answer, by a directive in the prompt or by the control endpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .errors import Refusal
from .schema_base import COUNT, FLAG, MAPPING, STRING
from .shapes import Caller, Items, Number, Object, Text, Values, check

OPENING = "[[sim:"
CLOSING = "]]"
SECONDS = Number(whole=False, min=0, max=3600)
FAULTS = (
    "reset",
    "truncate",
    "stall",
    "garbage",
    "html",
    "error_event",
    "close",
    "not_sse",
    "slow_head",
)
HEADERS = Values(STRING)

ERROR = Object(
    {
        "status": Number(min=300, max=599),
        "type": STRING,
        "message": STRING,
        "details": MAPPING,
        "retry_after": Number(whole=False, min=0),
        "headers": HEADERS,
        "raw_body": STRING,
    }
)
FAULT = Object(
    {
        "kind!": Text(values=FAULTS),
        "after": COUNT,
        "head": FLAG,
        "seconds": SECONDS,
        "error": ERROR,
    }
)
SCRIPT = Object(
    {
        "blocks": Items(MAPPING),
        "stop_reason?": STRING,
        "stop_sequence?": STRING,
        "stop_details?": MAPPING,
        "usage": MAPPING,
        "model": STRING,
        "events": Items(MAPPING),
        "ping_every": Number(min=1),
        "chunk_bytes": Number(min=1),
        "delta_chars": Number(min=1),
        "delay": SECONDS,
        "headers": HEADERS,
        "extra": MAPPING,
        "error": ERROR,
        "fault": FAULT,
    }
)

# What a block of a script must hold; other block types are sent as they are.
NEEDED: dict[str, dict[str, type]] = {
    "text": {"text": str},
    "thinking": {"thinking": str},
    "tool_use": {"name": str},
    "server_tool_use": {"name": str},
    "mcp_tool_use": {"name": str, "server_name": str},
}
TYPE_NAMES = {str: "string", dict: "object", list: "list"}
NOBODY = Caller(frozenset(), "")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong on purpose; `after` counts the events already sent."""

    kind: str
    after: int = 0
    head: bool = False
    seconds: float | None = None
    error: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Script:
    """A checked script. Absent members are None or neutral."""

    blocks: list[dict[str, Any]] | None = None
    events: list[dict[str, Any]] | None = None
    message: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    ping_every: int | None = None
    chunk_bytes: int | None = None
    delta_chars: int = 24
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    fault: Fault | None = None


RESERVED = (
    "type",
    "role",
    "content",
    "usage",
    "stop_reason",
    "stop_sequence",
    "stop_details",
    "model",
)
MESSAGE_MEMBERS = ("stop_reason", "stop_sequence", "stop_details", "model")
PLAIN_MEMBERS = (
    "blocks",
    "events",
    "usage",
    "extra",
    "ping_every",
    "chunk_bytes",
    "delta_chars",
    "delay",
    "headers",
    "error",
)


def parse_script(value: Any) -> Script:
    """A script from JSON; a bad one is a 400 that says what is wrong."""
    try:
        check(value, SCRIPT, (), NOBODY)
        check_blocks(value.get("blocks", []))
        check_events(value.get("events", []))
        check_headers(value)
        check_extra(value.get("extra", {}))
    except Refusal as refusal:
        raise Refusal(f"sim script: {refusal.message}") from None
    members = {name: value[name] for name in PLAIN_MEMBERS if name in value}
    members["message"] = {name: value[name] for name in MESSAGE_MEMBERS if name in value}
    if "fault" in value:
        members["fault"] = Fault(**value["fault"])
    return Script(**members)


def check_blocks(blocks: list[dict[str, Any]]) -> None:
    """The members that the stream is made of."""
    for index, block in enumerate(blocks):
        if not isinstance(block.get("type"), str):
            raise Refusal(f"blocks.{index}.type: Input should be a valid string")
        for name, kind in NEEDED.get(block["type"], {}).items():
            if not isinstance(block.get(name), kind):
                raise Refusal(f"blocks.{index}.{name}: Input should be a valid {TYPE_NAMES[kind]}")
        if not isinstance(block.get("input", {}), dict):
            raise Refusal(f"blocks.{index}.input: Input should be a valid dictionary")
        if not isinstance(block.get("partial_json", ""), str):
            raise Refusal(f"blocks.{index}.partial_json: Input should be a valid string")


def check_extra(extra: dict[str, Any]) -> None:
    """Further members stay beside those that the stream is made of."""
    for name in RESERVED:
        if name in extra:
            raise Refusal(f"extra.{name}: has a member of its own in the script")


def check_events(events: list[dict[str, Any]]) -> None:
    """Every event names itself."""
    for index, event in enumerate(events):
        if not isinstance(event.get("type"), str) or "\n" in event["type"]:
            raise Refusal(f"events.{index}.type: Input should be a valid string")


def check_headers(value: dict[str, Any]) -> None:
    """Header lines must stay lines."""
    for members in (value.get("headers", {}), value.get("error", {}).get("headers", {})):
        for name, text in members.items():
            if (
                not name
                or any(mark in name + text for mark in "\r\n\0")
                or ":" in name
                or " " in name
            ):
                raise Refusal(f"headers.{name!r}: not a legal header")


def find_directive(text: str) -> Script | None:
    """The script inside `[[sim:{...}]]` in a text."""
    start = text.find(OPENING)
    if start < 0:
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text, start + len(OPENING))
    except ValueError as error:
        raise Refusal(f"sim script: not valid JSON: {error}") from None
    if not text.startswith(CLOSING, end):
        raise Refusal("sim script: the directive has no closing `]]`")
    return parse_script(value)


def without_directive(text: str) -> str:
    """The text as a reader sees it, the directive taken out."""
    start = text.find(OPENING)
    if start < 0:
        return text
    try:
        _, end = json.JSONDecoder().raw_decode(text, start + len(OPENING))
    except ValueError:
        return text
    return (text[:start] + text[end:].removeprefix(CLOSING)).strip()
