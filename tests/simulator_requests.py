"""Requests and their parts for the simulator's tests."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

from .simulator_client import Answer, post, with_simulator

HI = [{"role": "user", "content": "Hi"}]
BASE: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": HI}
TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "21C"}
TEXT = {"type": "text", "text": "Hi"}
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
ADAPTIVE = {"type": "adaptive"}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
SERVER_CALL = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "x"},
}
SEARCH_RESULT = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
EXTRA = "Extra inputs are not permitted"
CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}


def png(width: int, height: int) -> bytes:
    """A one-colour PNG."""

    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 16)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def image(data: str, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def pdf(data: bytes) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "application/pdf", "data": b64(data)}
    return {"type": "document", "source": source}


def users(*blocks: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


def turns(*contents: Any) -> list[dict[str, Any]]:
    """Alternating messages, a user's first."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]


def strict(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "t", "input_schema": schema, "strict": True, **more}


def search(*blocks: Any) -> dict[str, Any]:
    return {"type": "search_result", "source": "s", "title": "t", "content": list(blocks)}


QUOTE = {
    "type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None,
    "start_char_index": 0, "end_char_index": 1,
}  # fmt: skip
IMAGE = image(b64(png(10, 20)))
GRAPH = {"type": "object", "additionalProperties": False, "properties": {"next": {"$ref": "#"}}}
MANY = {
    "type": "object",
    "additionalProperties": False,
    "properties": {f"p{i}": {"type": "string"} for i in range(25)},
}
UNIONS = {
    "type": "object", "additionalProperties": False, "required": [f"p{i}" for i in range(17)],
    "properties": {f"p{i}": {"type": ["string", "null"]} for i in range(17)},
}  # fmt: skip

# (changes to BASE, beginning of the message); REMOVE takes a member away.
REMOVE = object()
Row = tuple[dict[str, Any], str]


def ask(changes: dict[str, Any], path: str = "/v1/messages", **headers: str | None) -> Answer:
    body = {key: value for key, value in {**BASE, **changes}.items() if value is not REMOVE}
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return with_simulator(lambda simulator: post(simulator, path, body, named))


def user(text: Any) -> list[Any]:
    return [{"role": "user", "content": text}]


WEATHER: Any = {
    "name": "get_weather",
    "description": "Current temperature of a city",
    "input_schema": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 2},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]},
            "where": {"$ref": "#/$defs/place"},
        },
        "required": ["city", "unit", "days", "where"],
        "$defs": {
            "place": {
                "type": "object",
                "properties": {"lat": {"type": "number"}},
                "required": ["lat"],
            }
        },
    },
}
TIME: Any = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
