"""The simulator's refusals: each row is a request, the status it gets and the words."""

# ruff: noqa: E501 - a row of a table stays on its line

from __future__ import annotations

import base64
import json
import struct
import time
import zlib
from typing import Any

import pytest

from isthmus.simulator import Options, Simulator

from .simulator_client import Answer, post, send, with_simulator

OLD, CURRENT = "2023-06-01", "2026-10-21"
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

SHAPES: list[Row] = [
    ({"max_tokens": REMOVE}, "max_tokens: Field required"),
    ({"model": REMOVE}, "model: Field required"),
    ({"messages": REMOVE}, "messages: Field required"),
    ({"max_tokens": "10"}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": 1.5}, "max_tokens: Input should be a valid integer, got a number with a fractional part"),
    ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
    ({"messages": "Hi"}, "messages: Input should be a valid list"),
    ({"messages": ["Hi"]}, "messages.0: Input should be an object"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: Input should be 'user', 'assistant' or 'system'"),
    ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content: Input should be a valid list"),
    ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, f"messages.0.name: {EXTRA}"),
    ({"messages": users({"text": "x"})}, "messages.0.content.0.type: Field required"),
    ({"messages": users({"type": "audio"})}, "messages.0.content.0: Input tag 'audio' found using 'type' does not match"),
    ({"messages": users({"type": "text"})}, "messages.0.content.0.text.text: Field required"),
    ({"messages": users({**TEXT, "foo": 1})}, f"messages.0.content.0.text.foo: {EXTRA}"),
    ({"messages": users({**TEXT, "cache_control": {"type": "forever"}})}, "messages.0.content.0.text.cache_control: Input tag"),
    ({"messages": users({**TEXT, "cache_control": {**MARK, "ttl": "2h"}})}, "messages.0.content.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'"),
    ({"messages": users({**TEXT, "cache_control": {**MARK, "scope": "global"}})}, f"messages.0.content.0.text.cache_control.ephemeral.scope: {EXTRA}"),
    ({"messages": turns("Hi", [{**CALL, "input": "{}"}])}, "messages.1.content.0.tool_use.input: Input should be a valid dictionary"),
    ({"messages": turns("Hi", [{**CALL, "id": "a|b"}])}, "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
    ({"messages": turns("Hi", [{**CALL, "text": "x"}])}, f"messages.1.content.0.tool_use.text: {EXTRA}"),
    ({"messages": turns("Hi", [{"type": "thinking", "thinking": "x"}])}, "messages.1.content.0.thinking.signature: Field required"),
    ({"messages": turns("Hi", [{"type": "thinking", "thinking": "x", "signature": "y", "cache_control": MARK}])}, f"messages.1.content.0.thinking.cache_control: {EXTRA}"),
    ({"messages": users(image("", "image/bmp"))}, "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"),
    ({"system": 5}, "system: Input should be a valid list"),
    ({"system": [{"type": "text", "text": "x", "foo": 1}]}, f"system.0.foo: {EXTRA}"),
    ({"system": [IMAGE]}, "system.0.text: Field required"),
    ({"tools": [{"name": "x"}]}, "tools.0.custom.input_schema: Field required"),
    ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),
    ({"tools": [{**TOOL, "name": "a" * 129}]}, "tools.0.custom.name: String should match pattern"),
    ({"tools": [{**TOOL, "parameters": {}}]}, f"tools.0.custom.parameters: {EXTRA}"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools.0: Input tag 'function' found using 'type' does not match any of the expected tags: 'custom', 'bash_20250124'"),
    ({"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5"}]}, "tools.0: Input tag 'advisor_20260301'"),
    ({"tools": [{"type": "bash_20250124", "name": "shell"}]}, "tools.0.bash_20250124.name: Input should be 'bash'"),
    ({"tools": [{"type": "computer_toolset_20260801", "strict": True}]}, f"tools.0.computer_toolset_20260801.strict: {EXTRA}"),
    ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice: Input should be an object"),
    ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice: Input tag 'required'"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.tool.name: Field required"),
    ({"tools": [TOOL], "tool_choice": {"type": "none", "disable_parallel_tool_use": True}}, f"tool_choice.none.disable_parallel_tool_use: {EXTRA}"),
    ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"),
    ({"thinking": {"type": "disabled", "display": "omitted"}}, f"thinking.disabled.display: {EXTRA}"),
    ({"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
    ({"temperature": None}, "temperature: Input should be a valid number"),
    ({"top_p": -0.1}, "top_p: Input should be greater than or equal to 0"),
    ({"top_k": 0.5}, "top_k: Input should be a valid integer"),
    ({"stop_sequences": "x"}, "stop_sequences: Input should be a valid list"),
    ({"stream": "yes"}, "stream: Input should be a valid boolean"),
    ({"metadata": {"user_id": "u", "team": "t"}}, f"metadata.team: {EXTRA}"),
    ({"service_tier": "flex"}, "service_tier: Input should be 'auto' or 'standard_only'"),
    ({"response_format": {"type": "json_object"}}, f"response_format: {EXTRA}"),
    ({"betas": ["x"]}, f"betas: {EXTRA}"),
    ({"n": 1}, f"n: {EXTRA}"),
]  # fmt: skip

BETA_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"mcp_servers": []}, "mcp_servers", "mcp-client-2025-04-04"),
    ({"context_management": {"edits": []}}, "context_management", "context-management-2025-06-27"),
    ({"compaction": {"type": "summarize"}}, "compaction", "compact-2026-09-04"),
    ({"fallbacks": "default"}, "fallbacks", "server-side-fallback-2026-07-01"),
    ({"fallback_credit_token": {"token": "t", "mode": "best_effort"}}, "fallback_credit_token", "fallback-credit-2026-07-01"),
    ({"thread": {"type": "create"}}, "thread", "message-threads-2026-08-12"),
    ({"billing_policy": {"type": "billing_policy", "bill_to": "self"}}, "billing_policy", "user-profiles-billing-2026-10-01"),
    ({"safeguards": [{"type": "dangerous_tool_use", "classifier_context": {}}]}, "safeguards", "dangerous-tool-use-2026-09-03"),
    ({"output_format": {"type": "json_schema", "schema": CLOSED}}, "output_format", "structured-outputs-2025-11-13"),
    ({"output_config": {"task_budget": {"type": "tokens", "total": 9}}}, "output_config.task_budget", "task-budgets-2026-03-13"),
    ({"model": "claude-opus-5-5", "thinking": {**ADAPTIVE, "block_binding": {}}}, "thinking.adaptive.block_binding", "thinking-binding-controls-2026-08-01"),
]  # fmt: skip

TOOLS: list[Row] = [
    ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    ({"tools": [{"name": "x", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
    ({"tools": [{"name": "x", "input_schema": {"type": "array"}}]}, "tools.0.custom.input_schema.type: Input should be 'object'"),
    ({"tools": [{"name": "x", "input_schema": {"type": "object", "anyOf": []}}]}, "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level"),
    ({"tools": [{"name": "x", "input_schema": {"type": "object", "properties": {"a": {"type": "text"}}}}]}, "tools.0.custom.input_schema: JSON schema is invalid."),
    ({"tools": [{"name": "x", "input_schema": {"type": "object", "required": "a"}}]}, "tools.0.custom.input_schema: JSON schema is invalid."),
    ({"tools": [{**TOOL, "input_schema": {"type": "object", "required": ["a"]}, "input_examples": [{"a": 1}, {}]}]}, "tools.0.custom.input_examples.1: the example does not match"),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools: At least one tool must have defer_loading=false."),
    ({"tools": [{**SEARCH, "allowed_domains": ["a"], "blocked_domains": ["b"]}]}, "tools.0.web_search_20250305: Only one of allowed_domains and blocked_domains"),
    ({"tools": [{"type": "browser_toolset_20260801"}] * 2}, "tools: only one browser_toolset_20260801 may be given"),
    ({"tools": [strict({"type": "object"})]}, "tools.0.custom: For 'object' type, 'additionalProperties' must be explicitly set to false"),
    ({"tools": [strict({**CLOSED, "properties": {"a": {"type": "string", "minLength": 1}}})]}, "tools.0.custom: For 'string' type, property 'minLength' is not supported"),
    ({"tools": [strict({**CLOSED, "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 2}}})]}, "tools.0.custom: For 'integer' type, properties maximum, minimum are not supported"),
    ({"tools": [strict({**CLOSED, "properties": {"a": {"type": "string", "pattern": "(?=a)"}}})]}, "tools.0.custom: For 'string' type, 'pattern' with lookaround"),
    ({"tools": [strict({**CLOSED, "properties": {"a": {"type": "array", "items": {}, "minItems": 2}}})]}, "tools.0.custom: For 'array' type, 'minItems' values other than 0 or 1"),
    ({"tools": [strict(GRAPH)]}, "tools.0.custom: Recursive schemas are not supported"),
    ({"tools": [strict(CLOSED, name=f"t{i}") for i in range(21)]}, "Too many strict tools (21)"),
    ({"tools": [strict(MANY)]}, "Schemas contains too many optional parameters (25)"),
    ({"tools": [strict(UNIONS)]}, "Schemas contains too many parameters with union types (17"),
    ({"tool_choice": {"type": "auto"}}, "tool_choice: tool_choice may only be specified while providing tools."),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "Tool 'other' not found in provided tools"),
    ({"tools": [TOOL], "tool_choice": {"type": "any"}, "model": "claude-opus-5-5"}, "tool_choice: `any` is not supported for this model."),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "get_weather"}, "model": "claude-sonnet-5-5"}, "tool_choice: `tool` is not supported for this model."),
]  # fmt: skip

PAIRING: list[Row] = [
    ({"messages": turns("Hi", [CALL])}, "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1."),
    ({"messages": turns("Hi", [CALL], "go on")}, "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1."),
    ({"messages": turns("Hi", [CALL], [TEXT, RESULT])}, "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1."),
    ({"messages": turns("Hi", [CALL], [RESULT, RESULT])}, "messages.2.content.0: each tool_use must have a single result. Found multiple `tool_result` blocks with id: toolu_1"),
    ({"messages": turns([RESULT])}, "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1."),
    ({"messages": turns("Hi", [CALL], [RESULT], [TEXT], [RESULT])}, "messages.4.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1."),
    ({"messages": turns("Hi", [CALL, CALL], [RESULT])}, "messages.1.content.1: `tool_use` ids must be unique"),
    ({"messages": turns("Hi", [CALL], [RESULT], [CALL], [RESULT])}, "messages.3.content.0: `tool_use` ids must be unique"),
    ({"messages": turns("Hi", [{**CALL, "toolset_name": "computer"}], [RESULT])}, "messages.2.content.0.tool_result.toolset_name: must equal"),
    ({"messages": turns("Hi", [CALL], [{**RESULT, "is_error": True, "content": [IMAGE]}])}, 'messages.2.content.0.tool_result: all content must be type "text" if `is_error` is true'),
    ({"messages": turns("Hi", [SERVER_CALL], "go on")}, "messages.1: `web_search` tool use with id `srvtoolu_1` was found without a corresponding `web_search_tool_result` block"),
    ({"messages": turns("Hi", [SERVER_CALL, CALL], [RESULT, TEXT]), "tools": [SEARCH, TOOL]}, "messages.1: `web_search` tool use with id `srvtoolu_1` was found without"),
    ({"messages": turns("Hi", [SEARCH_RESULT, TEXT], "x")}, "messages.1.content.0: unexpected `tool_use_id` found in `web_search_tool_result` blocks: srvtoolu_1."),
]  # fmt: skip

MESSAGES: list[Row] = [
    ({"messages": []}, "messages: at least one message is required"),
    ({"messages": users()}, "messages.0: all messages must have non-empty content except for the optional final assistant message"),
    ({"messages": turns("")}, "messages.0: all messages must have non-empty content"),
    ({"messages": turns("Hi", "", "Hi")}, "messages.1: all messages must have non-empty content"),
    ({"messages": users({"type": "text", "text": ""})}, "messages: text content blocks must be non-empty"),
    ({"messages": users({"type": "text", "text": " \n"})}, "messages: text content blocks must contain non-whitespace text"),
    ({"messages": turns("Hi", [CALL], [{**RESULT, "content": [{"type": "text", "text": ""}]}])}, "messages: text content blocks must be non-empty"),
    ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
    ({"messages": users(CALL)}, "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages"),
    ({"messages": turns("Hi", [RESULT])}, "messages.1.content.0: `tool_result` blocks can only be in `user` messages"),
    ({"messages": turns("Hi", [IMAGE])}, "messages.1.content.0: `image` blocks can only be in `user` messages"),
    ({"messages": turns("Hi", "So ")}, "messages: final assistant content cannot end with trailing whitespace"),
    ({"messages": turns("Hi", "So"), "model": "claude-opus-4-6"}, "This model does not support assistant message prefill. The conversation must end with a user message."),
    ({"messages": turns("Hi", "So"), "output_config": {"format": {"type": "json_schema", "schema": CLOSED}}}, "messages: assistant message prefill is not supported when `output_config.format` is set"),
    ({"messages": turns("Hi", "So"), "tools": [TOOL], "tool_choice": {"type": "any"}}, "messages: assistant message prefill is not supported when `tool_choice` forces tool use"),
    ({"messages": turns("Hi", "So"), "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}, "messages: assistant message prefill is not supported when `thinking` is enabled"),
    ({"messages": [*HI, {"role": "system", "content": "x"}]}, 'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter'),
    ({"messages": [*HI, {"role": "system", "content": "x"}], "model": "claude-opus-4-7"}, "messages.1: role 'system' is not supported on this model"),
    ({"messages": [{"role": "system", "content": "x"}, *HI], "model": "claude-opus-5"}, "messages.0: a `system` message cannot be the first message"),
    ({"messages": [*HI, *[{"role": "system", "content": "x"}] * 2], "model": "claude-opus-5"}, "messages.1: a `system` message must be last"),
    ({"messages": [*HI, {"role": "system", "content": "x"}, *HI], "model": "claude-opus-5"}, "messages.1: a `system` message must be last or be followed by an `assistant` message"),
    ({"messages": [*turns("Hi", "So"), {"role": "system", "content": "x"}], "model": "claude-opus-5"}, "messages.2: a `system` message must directly follow a `user` message"),
    ({"messages": users({**pdf(b"%PDF-1"), "citations": {"enabled": True}}, pdf(b"%PDF-1"))}, "messages: citations must be enabled on all documents or on none of them"),
    ({"stop_sequences": ["ok", " "]}, "stop_sequences: each stop sequence must contain non-whitespace"),
]  # fmt: skip

MEDIA: list[Row] = [
    ({"messages": users(image(b64(png(1, 1)), "image/jpeg"))}, "messages.0.content.0.image.source.base64: The image was specified using the image/jpeg media type, but the image appears to be a image/png image"),
    ({"messages": users(image("a-b_"))}, "messages.0.content.0.image.source.base64.data: invalid base64 data"),
    ({"messages": users(image("YWJj\n"))}, "messages.0.content.0.image.source.base64.data: invalid base64 data"),
    ({"messages": users(image("YWJ"))}, "messages.0.content.0.image.source.base64.data: invalid base64 data"),
    ({"messages": users(image(""))}, "messages.0.content.0.image.source.base64.data: image cannot be empty"),
    ({"messages": users(image(b64(b"not an image")))}, "Could not process image"),
    ({"messages": users(image(b64(png(0, 4))))}, "Could not process image"),
    ({"messages": users(image("A" * (10 * 1024 * 1024 + 4)))}, "messages.0.content.0.image.source.base64: image exceeds 10 MB maximum"),
    ({"messages": users(image(b64(png(8001, 1))))}, "messages.0.content.0.image: image dimensions exceed max allowed size: 8000 pixels"),
    ({"messages": users(*[image(b64(png(2001, 1)))] * 21)}, "messages.0.content.0.image: image dimensions exceed max allowed size for many-image requests: 2000 pixels"),
    ({"messages": users(*[IMAGE] * 101)}, "messages: too many images: 101 > 100 maximum"),
    ({"messages": users(*[IMAGE] * 601), "model": "claude-opus-5"}, "messages: too many images: 601 > 600 maximum"),
    ({"messages": users(pdf(b"plain"))}, "messages.0.content.0.document.source.base64.data: The PDF specified was not valid."),
    ({"messages": users(pdf(b"%PDF-1.4" + b"<</Type /Page>>" * 101))}, "messages.0.content.0.document: A maximum of 100 PDF pages may be provided. Found 101."),
    ({"messages": users({"type": "image", "source": {"type": "url", "url": "file:///x"}})}, "messages.0.content.0.image.source.url.url: Invalid URL"),
    ({"messages": turns("Hi", [CALL], [{**RESULT, "content": [image("a-b_")]}])}, "messages.2.content.0.tool_result.content.0.image.source.base64.data: invalid base64 data"),
]  # fmt: skip

CACHE: list[Row] = [
    ({"messages": users(*[{**TEXT, "cache_control": MARK}] * 5)}, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
    ({"messages": users(*[{**TEXT, "cache_control": MARK}] * 4, TEXT), "cache_control": MARK}, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
    ({"system": [{**TEXT, "cache_control": MARK}], "messages": users({**TEXT, "cache_control": HOUR})}, "messages.0.content.0.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m'"),
    ({"tools": [{**TOOL, "cache_control": MARK}], "system": [{**TEXT, "cache_control": HOUR}]}, "system.0.cache_control.ttl: a ttl='1h'"),
    ({"messages": users({**TEXT, "cache_control": HOUR}), "cache_control": MARK}, "Top-level cache_control has ttl='5m' but the target block already has cache_control with ttl='1h'"),
]  # fmt: skip

MODELS: list[Row] = [
    ({"max_tokens": 64001}, "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5-20250929"),
    ({"max_tokens": 0, "stream": True}, "max_tokens: 0 cannot be combined with `stream`"),
    ({"max_tokens": 0, "tools": [TOOL], "tool_choice": {"type": "any"}}, "max_tokens: 0 cannot be combined with a forced `tool_choice`"),
    ({"max_tokens": 0, "output_config": {"format": {"type": "json_schema", "schema": CLOSED}}}, "max_tokens: 0 cannot be combined with `output_config.format`"),
    ({"max_tokens": 0, "thinking": {"type": "enabled", "budget_tokens": 1024}}, "max_tokens: 0 cannot be combined with `thinking.type.enabled`"),
    ({"thinking": ADAPTIVE}, "adaptive thinking is not supported on this model"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "model": "claude-opus-4-7"}, '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort"'),
    ({"thinking": {"type": "disabled"}, "model": "claude-fable-5"}, '"thinking.type.disabled" is not supported for this model.'),
    ({"thinking": {"type": "disabled"}, "model": "claude-sonnet-5-5"}, '"thinking.type.disabled" is not supported for this model. Use "thinking.type.between_tools" instead.'),
    ({"thinking": {"type": "between_tools"}, "model": "claude-opus-5"}, '"thinking.type.between_tools" is not supported for this model.'),
    ({"thinking": {"type": "between_tools"}, "model": "claude-sonnet-5-5", "output_config": {"effort": "max"}}, "\"thinking.type.between_tools\" is not supported at effort level 'max'"),
    ({"thinking": {"type": "disabled"}, "model": "claude-opus-5", "output_config": {"effort": "xhigh"}}, "\"thinking.type.disabled\" is not supported at effort level 'xhigh'"),
    ({"thinking": {**ADAPTIVE, "display": "updates"}, "model": "claude-opus-5"}, "thinking.adaptive.display: Input should be 'summarized' or 'omitted'"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1024}, "`max_tokens` must be greater than `thinking.budget_tokens`."),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000, "temperature": 0.5}, "`temperature` may only be set to 1 when thinking is enabled."),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000, "top_p": 0.9}, "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000, "top_k": 5}, "`top_k` must be unset when thinking is enabled."),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000, "tools": [TOOL], "tool_choice": {"type": "any"}}, "Thinking may not be enabled when tool_choice forces tool use."),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000, "messages": turns("Hi", [CALL], [RESULT])}, "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`."),
    ({"temperature": 0.5, "top_p": 0.5}, "`temperature` and `top_p` cannot both be specified for this model."),
    ({"temperature": 0.5, "model": "claude-opus-4-7"}, "`temperature` is deprecated for this model."),
    ({"top_p": 0.5, "model": "claude-haiku-5-5"}, "`top_p` is deprecated for this model."),
    ({"top_k": 5, "model": "claude-sonnet-5"}, "`top_k` is deprecated for this model."),
    ({"output_config": {"effort": "low"}}, "This model does not support the effort parameter."),
    ({"output_config": {"effort": "max"}, "model": "claude-opus-4-5"}, "This model does not support effort level 'max'. Supported levels: high, low, medium."),
    ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, "output_config.format.schema: For 'object' type, 'additionalProperties'"),
    ({"speed": "fast"}, "speed: fast mode is not supported for this model"),
    ({"speed": "fast", "model": "claude-opus-5"}, "speed: fast mode on this model requires the `fast-mode-2026-02-01` beta header"),
    ({"inference_geo": "us"}, "inference_geo: not supported for this model"),
    ({"messages": turns("x" * 900_000)}, "prompt is too long: 225007 tokens > 200000 maximum"),
    ({"messages": turns("x" * 780_000), "model": "claude-opus-4-0", "max_tokens": 32_000}, "input length and `max_tokens` exceed context limit: 195007 + 32000 > 200000"),
]  # fmt: skip


def ask(changes: dict[str, Any], path: str = "/v1/messages", **headers: str | None) -> Answer:
    body = {key: value for key, value in {**BASE, **changes}.items() if value is not REMOVE}
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return with_simulator(lambda simulator: post(simulator, path, body, named))


@pytest.mark.parametrize(
    "row",
    [*SHAPES, *TOOLS, *PAIRING, *MESSAGES, *MEDIA, *CACHE, *MODELS],
    ids=lambda row: row[1][:60],
)
def test_a_broken_rule_is_a_400(row: Row) -> None:
    changes, message = row
    answer = ask(changes)
    assert answer.message.startswith(message), answer.message
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert answer.json()["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize(
    ("changes", "path", "beta"),
    BETA_FIELDS,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_beta_field_needs_its_beta(changes: dict[str, Any], path: str, beta: str) -> None:
    without = ask(changes)
    assert (without.status, without.message) == (400, f"{path}: {EXTRA}")
    assert ask(changes, anthropic_beta=beta).status == 200
    assert ask(changes, anthropic_beta=f"claude-code-20250219, {beta}").status == 200


def forced(schema: dict[str, Any]) -> dict[str, Any]:
    """A request that makes the simulator build a value for one property."""
    root = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return {"tools": [{"name": "x", "input_schema": root}], "tool_choice": {"type": "any"}}


# Nobody can satisfy these, or only with effort: the answer comes all the same.
HARD_SCHEMAS: list[dict[str, Any]] = [
    {"$ref": "#/properties/a"},
    {"$ref": "#/nowhere"},
    {"type": "object", "properties": {"b": {"$ref": "#"}}, "required": ["b"]},
    {
        "anyOf": [
            {"anyOf": [{"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, {"$ref": "#"}]},
            {"$ref": "#"},
        ]
    },
    {"enum": []},
    {"anyOf": []},
    {"type": "string", "pattern": "("},
    {"type": "string", "minLength": 10**12},
    {"type": "array", "minItems": 10**9},
    {"type": "number", "minimum": 1e308, "multipleOf": 1e-300},
]


@pytest.mark.parametrize("schema", HARD_SCHEMAS, ids=range(len(HARD_SCHEMAS)))
def test_hard_schemas_are_answered_quickly(schema: dict[str, Any]) -> None:
    start = time.monotonic()
    answer = ask(forced(schema))
    assert (answer.status, answer.json()["stop_reason"]) == (
        200,
        "tool_use" if len(answer.body) < 2000 else "max_tokens",
    )
    assert time.monotonic() - start < 2


BAD_KEYWORDS: list[dict[str, Any]] = [
    {"minLength": "x"}, {"minItems": -1}, {"maximum": "3"}, {"multipleOf": 0}, {"pattern": 5}, {"enum": "a"},
    {"uniqueItems": 1}, {"$ref": 5}, {"items": 5}, {"properties": []}, {"type": ["string", 5]}, {"anyOf": {}},
]  # fmt: skip


@pytest.mark.parametrize("schema", BAD_KEYWORDS, ids=str)
def test_bad_keywords_are_no_json_schema(schema: dict[str, Any]) -> None:
    assert "JSON schema is invalid." in ask(forced(schema)).message
    config = {"format": {"type": "json_schema", "schema": {"properties": {"a": schema}}}}
    assert ask({"output_config": config}).message.startswith(
        "output_config.format.schema: JSON schema is invalid."
    )


ACCEPTED: list[dict[str, Any]] = [
    {"messages": turns("Hi", "So"), "model": "claude-opus-4-5"},
    {"messages": turns("Hi", "")},
    {"messages": [{"role": "assistant", "content": "Hello"}, *HI]},
    {"messages": [*HI, *HI]},
    {"messages": turns("Hi", [CALL], [RESULT, TEXT])},
    {"messages": [*turns("Hi", [CALL, {**CALL, "id": "b"}], [RESULT]), *users({**RESULT, "tool_use_id": "b"})]},
    {"messages": turns("Hi", [CALL], [{"type": "tool_result", "tool_use_id": "toolu_1"}])},
    {"messages": turns("Hi", [SERVER_CALL, SEARCH_RESULT, TEXT], "x")},
    {"messages": turns("Hi", [SERVER_CALL]), "model": "claude-opus-5"},
    {"messages": turns("Hi", [SERVER_CALL, CALL], [RESULT]), "tools": [SEARCH, TOOL]},
    {"messages": turns("Hi", [SERVER_CALL, CALL], [RESULT], [SEARCH_RESULT, TEXT], "x"), "tools": [SEARCH, TOOL]},
    {"messages": [*HI, {"role": "system", "content": "x"}], "model": "claude-opus-5"},
    {"messages": users(*[{**TEXT, "cache_control": MARK}] * 4), "cache_control": MARK},
    {"system": [{**TEXT, "cache_control": HOUR}], "messages": users({**TEXT, "cache_control": MARK})},
    {"messages": users({**TEXT, "citations": [QUOTE]}, search(TEXT))},
    {"messages": turns("Hi", [{**pdf(b"%PDF-1")}], "x")},
    {"temperature": 1, "top_p": 1, "model": "claude-opus-5"},
    {"temperature": 0.2, "top_k": 3},
    {"max_tokens": 0},
    {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}, "top_p": 0.95},
    {"thinking": {"type": "disabled"}, "model": "claude-opus-5", "output_config": {"effort": "high"}},
    {"thinking": {"type": "between_tools"}, "model": "claude-sonnet-5-5", "output_config": {"effort": "low"}},
    {"tools": [TOOL], "tool_choice": {"type": "any"}, "model": "claude-haiku-5-5"},
    {"tools": [strict(CLOSED)], "service_tier": "auto", "metadata": {"user_id": None}},
    {"tools": [{**TOOL, "type": "custom", "description": "d", "eager_input_streaming": None, "cache_control": None}]},
    {"speed": "fast", "model": "claude-opus-5-5"},
    {"inference_geo": "us", "model": "claude-opus-4-6"},
    {"model": "claude-3-opus-latest"},
]  # fmt: skip


@pytest.mark.parametrize("changes", ACCEPTED, ids=range(len(ACCEPTED)))
def test_what_is_legal_is_answered(changes: dict[str, Any]) -> None:
    answer = ask(changes)
    assert answer.status == 200, answer.body
    assert answer.json()["type"] == "message"


VERSIONED: list[Row] = [
    ({"temperature": 1}, f"temperature: {EXTRA}"),
    ({"top_p": 1}, f"top_p: {EXTRA}"),
    ({"top_k": 1}, f"top_k: {EXTRA}"),
    ({"messages": turns("Hi", [pdf(b"%PDF-1")], "x")}, "messages.1.content.0: `document` blocks can only be in `user` messages"),
    ({"messages": users({**TEXT, "citations": [QUOTE]})}, "messages.0.content.0.text.citations: citations are not permitted in user text blocks"),
    ({"messages": users(search({**TEXT, "citations": [QUOTE]}))}, "messages.0.content.0.search_result.content.0.text.citations: citations are not"),
]  # fmt: skip


@pytest.mark.parametrize("row", VERSIONED, ids=lambda row: row[1][:40])
def test_the_current_version_has_less(row: Row) -> None:
    changes, message = row
    answer = ask(changes, anthropic_version=CURRENT)
    assert answer.status == 400
    assert answer.message.startswith(message), answer.message
    assert ask(changes, anthropic_version=OLD).status == 200
    assert ask({}, anthropic_version=CURRENT).status == 200


HEADERS: list[tuple[dict[str, str | None], int, str]] = [
    ({"x-api-key": None}, 401, "x-api-key header is required"),
    ({"x-api-key": ""}, 401, "x-api-key header is required"),
    ({"x-api-key": None, "authorization": "Basic abc"}, 401, "x-api-key header is required"),
    ({"anthropic-version": None}, 400, "anthropic-version: header is required"),
    ({"anthropic-version": "2024-01-01"}, 400, 'anthropic-version: "2024-01-01" is not a valid version'),
    ({"anthropic-beta": "foo-2025-01-01"}, 400, "Unexpected value(s) `foo-2025-01-01` for the `anthropic-beta` header"),
    ({"anthropic-beta": "pdfs-2024-09-25,a,b"}, 400, "Unexpected value(s) `a`, `b` for the `anthropic-beta` header"),
    ({"content-encoding": "br"}, 400, "Unsupported content encoding: br"),
    ({"content-encoding": "gzip"}, 400, "The request body is not valid gzip data"),
    ({"content-type": "application/json; charset=utf-16"}, 400, "Unsupported charset: utf-16"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "status", "message"), HEADERS)
def test_headers(headers: dict[str, str | None], status: int, message: str) -> None:
    answer = with_simulator(lambda simulator: post(simulator, "/v1/messages", BASE, headers))
    assert answer.status == status
    assert answer.message.startswith(message), answer.message


def test_keys() -> None:
    async def work(simulator: Simulator) -> list[int]:
        rows: list[dict[str, str | None]] = [
            {"x-api-key": "good"},
            {"x-api-key": None, "authorization": "Bearer good"},
            {"x-api-key": "good", "authorization": "Bearer bad"},
            {"x-api-key": "bad"},
            {"x-api-key": "bad", "authorization": "Bearer good"},
            {"x-api-key": None, "authorization": "Bearer bad"},
        ]
        return [(await post(simulator, "/v1/messages", BASE, row)).status for row in rows]

    assert with_simulator(work, Options(api_keys=("good",))) == [200, 200, 200, 401, 401, 401]


BODIES = [
    (b"", "The request body is not valid JSON"),
    (b"{", "The request body is not valid JSON"),
    (b'{"max_tokens": NaN}', "The request body is not valid JSON"),
    (b'{"max_tokens": 01}', "The request body is not valid JSON"),
    (b'{"model": "\xff\xfe"}', "The request body is not valid JSON"),
    (b'{"model": "\\ud800"}', "The request body is not valid JSON"),
    (b"{} {}", "The request body is not valid JSON"),
    (b"[" * 5000, "The request body is not valid JSON"),
    (b"[]", "Input should be an object"),
]


@pytest.mark.parametrize(("body", "message"), BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_no_json_object(body: bytes, message: str) -> None:
    answer = with_simulator(lambda simulator: send(simulator, "POST", "/v1/messages", body))
    assert answer.status == 400
    assert answer.message.startswith(message), answer.message


PATHS = [
    ("POST", "/v1/complete", 404, "not_found_error"),
    ("GET", "/", 404, "not_found_error"),
    ("GET", "/v1/messages", 405, "invalid_request_error"),
    ("DELETE", "/v1/models", 405, "invalid_request_error"),
    ("GET", "/v1/models/claude-nope", 404, "not_found_error"),
]


@pytest.mark.parametrize(("method", "path", "status", "kind"), PATHS)
def test_paths(method: str, path: str, status: int, kind: str) -> None:
    answer = with_simulator(lambda simulator: send(simulator, method, path))
    assert (answer.status, answer.json()["error"]["type"]) == (status, kind)


def test_an_unknown_model_is_a_404_on_both_endpoints() -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        changes = {"model": "claude-nope"} | ({"max_tokens": REMOVE} if "count" in path else {})
        answer = ask(changes, path)
        assert (answer.status, answer.message) == (404, "model: claude-nope")


def test_retired_models_can_be_switched_off() -> None:
    def status(model: str, options: Options) -> int:
        body = {**BASE, "model": model}
        return with_simulator(
            lambda simulator: post(simulator, "/v1/messages", body), options
        ).status

    assert status("claude-sonnet-4-0", Options()) == 200
    assert status("claude-sonnet-4-0", Options(retired=False)) == 404
    assert status("claude-sonnet-4-5", Options(retired=False)) == 200


COUNT_REFUSED = (
    "max_tokens",
    "stream",
    "metadata",
    "stop_sequences",
    "service_tier",
    "temperature",
    "container",
)


@pytest.mark.parametrize("name", COUNT_REFUSED)
def test_count_tokens_has_fewer_members(name: str) -> None:
    values = {
        "max_tokens": 1,
        "stream": False,
        "metadata": {},
        "stop_sequences": [],
        "temperature": 1,
    }
    answer = ask(
        {"max_tokens": REMOVE, name: values.get(name, "auto")}, "/v1/messages/count_tokens"
    )
    assert (answer.status, answer.message) == (400, f"{name}: {EXTRA}")


def test_error_details_of_large_images_name_the_paths() -> None:
    answer = ask({"messages": users(TEXT, image(b64(png(9000, 1))))})
    details = answer.json()["error"]["details"]
    assert details == {
        "error_code": "image_dimensions_too_large",
        "max_side_length_pixels": 8000,
        "paths": ["messages.0.content.1.image"],
    }
    assert json.loads(answer.body)["type"] == "error"
