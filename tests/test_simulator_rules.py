"""The simulator's refusals: each row is a request, the status it gets and the words."""

# ruff: noqa: E501 - a row of a table stays on its line

from __future__ import annotations

import time
from typing import Any

import pytest

from .simulator_requests import (
    ADAPTIVE,
    CALL,
    CLOSED,
    EXTRA,
    GRAPH,
    HI,
    HOUR,
    IMAGE,
    MANY,
    MARK,
    QUOTE,
    REMOVE,
    RESULT,
    SEARCH,
    SEARCH_RESULT,
    SERVER_CALL,
    TEXT,
    TOOL,
    UNIONS,
    Row,
    ask,
    b64,
    image,
    pdf,
    png,
    search,
    strict,
    turns,
    users,
)

OLD, CURRENT = "2023-06-01", "2026-10-21"
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
    ({"system": [IMAGE]}, "system.0.type: Input should be 'text'"),
    ({"system": [{"text": "x"}]}, "system.0.type: Field required"),
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

TOOLS: list[Row] = [
    ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    ({"tools": [{"name": "x", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
    ({"tools": [{"name": "x", "input_schema": {"type": "array"}}]}, "tools.0.custom.input_schema.type: Input should be 'object'"),
    ({"tools": [{"name": "x", "input_schema": {"type": "object", "anyOf": []}}]}, "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level"),
    ({"tools": [{"name": "x", "input_schema": {"type": "object", "properties": {"a": {"type": "text"}}}}]}, "tools.0.custom.input_schema: JSON schema is invalid."),
    ({"tools": [{"name": "x", "input_schema": {"type": "object", "properties": {"a b": {}}}}]}, "tools.0.custom.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'"),
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
    ({"tools": [strict(CLOSED, eager_input_streaming=True)]}, "tools.0.custom: eager_input_streaming cannot be combined with strict"),
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
    ({"messages": turns("Hi", [CALL], [{**RESULT, "content": [{"type": "tool_reference", "tool_name": "nope"}]}]), "tools": [TOOL]}, "messages.2.content.0.tool_result.content.0.tool_reference: Tool reference 'nope' not found in available tools"),
    ({"messages": users({"type": "document", "citations": {"enabled": True}, "source": {"type": "content", "content": [{**TEXT, "cache_control": MARK}]}})}, "messages.0.content.0.document.source.content.0.cache_control: cache_control is not allowed inside a document with citations"),
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

THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}

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
    ({"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}, "messages": users({**pdf(b"%PDF-1"), "citations": {"enabled": True}})}, "output_config.format: cannot be combined with citations"),
    ({"messages": turns("Hi", [{"type": "text", "text": "Hm"}, THOUGHT])}, "messages.1: The final block in an assistant message cannot be `thinking`."),
    ({"max_tokens": 2000, "messages": turns("Hi", [THOUGHT, CALL], [RESULT])}, "messages.1.content.0.type: Expected `text` or `tool_use`, but found `thinking`."),
    ({"speed": "fast"}, "speed: fast mode is not supported for this model"),
    ({"speed": "fast", "model": "claude-opus-5"}, "speed: fast mode on this model requires the `fast-mode-2026-02-01` beta header"),
    ({"inference_geo": "us"}, "inference_geo: not supported for this model"),
    ({"messages": turns("x" * 900_000)}, "prompt is too long: 225007 tokens > 200000 maximum"),
    ({"messages": turns("x" * 780_000), "model": "claude-opus-4-0", "max_tokens": 32_000}, "input length and `max_tokens` exceed context limit: 195007 + 32000 > 200000"),
]  # fmt: skip


def test_members_of_system_messages_belong_to_them_alone() -> None:
    beta = "mid-conversation-system-clear-at-2026-08-21,mid-conversation-output-config-2026-07-01"
    late = {
        "role": "system",
        "content": "x",
        "clear_at": "never",
        "output_config": {"effort": "low"},
    }
    good = ask({"model": "claude-opus-5", "messages": [*HI, late]}, anthropic_beta=beta)
    assert good.status == 200
    for name in ("clear_at", "output_config"):
        answer = ask({"messages": [{**HI[0], name: late[name]}]}, anthropic_beta=beta)
        assert (answer.status, answer.message) == (400, f"messages.0.{name}: {EXTRA}")


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
    endless = "minLength" in schema or "minItems" in schema
    reason = "max_tokens" if endless else "tool_use"
    assert (answer.status, answer.json()["stop_reason"]) == (200, reason)
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
