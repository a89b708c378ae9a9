"""Rules of `tools`: names, schemas, and what single tools exclude."""

from __future__ import annotations

import re
from typing import Any

from . import betas
from .catalog import BY_NAME
from .conversation import Request
from .errors import Refusal
from .grammar import check_strict_tools
from .json_schema import satisfies
from .meta_schema import INVALID_SCHEMA, well_formed

PROPERTY_KEY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
TOOLSETS = ("computer_toolset_20260801", "browser_toolset_20260801")
# Tool type -> the models that refuse it.
REFUSED_ON: dict[str, tuple[str, ...]] = {
    "computer_20251124": (
        "claude-fable-5-1",
        "claude-fable-5-2",
        "claude-mythos-5-1",
        "claude-mythos-5-2",
        "claude-opus-5-5",
    ),
}


def check_tools(request: Request) -> None:
    """Every rule about tools."""
    tools = request.tools
    names = [tool["name"] for tool in tools if "name" in tool]
    if len(set(names)) < len(names):
        raise Refusal("tools: Tool names must be unique.")
    for index, tool in enumerate(tools):
        check_tool(tool, index, request)
    if tools and all(tool.get("defer_loading") for tool in tools):
        raise Refusal("tools: At least one tool must have defer_loading=false.")
    check_toolsets(request)
    check_strict_tools(tools)


def check_tool(tool: dict[str, Any], index: int, request: Request) -> None:
    """One tool."""
    kind = tool.get("type") or "custom"
    path = f"tools.{index}.{kind}"
    if request.model.id in REFUSED_ON.get(kind, ()):
        raise Refusal(f"{path}: tool type '{kind}' is not supported on this model")
    if kind == "custom":
        check_input_schema(tool, path)
    if tool.get("allowed_domains") is not None and tool.get("blocked_domains") is not None:
        raise Refusal(f"{path}: Only one of allowed_domains and blocked_domains may be specified")
    if kind.startswith("advisor_") and tool["model"] not in BY_NAME:
        raise Refusal(f"{path}.model: model: {tool['model']}")
    if tool.get("eager_input_streaming") and tool.get("strict"):
        raise Refusal(f"{path}: eager_input_streaming cannot be combined with strict")


def check_input_schema(tool: dict[str, Any], path: str) -> None:
    """The root is an object schema without unions, the whole is JSON Schema, examples satisfy it."""
    schema = tool["input_schema"]
    if "type" not in schema:
        raise Refusal(f"{path}.input_schema.type: Field required")
    if schema["type"] != "object":
        raise Refusal(f"{path}.input_schema.type: Input should be 'object'")
    if any(key in schema for key in ("oneOf", "allOf", "anyOf")):
        raise Refusal(
            f"{path}.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level"
        )
    if not well_formed(schema):
        raise Refusal(f"{path}.input_schema: {INVALID_SCHEMA}")
    if not all(map(PROPERTY_KEY.fullmatch, schema.get("properties") or ())):
        raise Refusal(
            f"{path}.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{{1,64}}$'"
        )
    for index, value in enumerate(tool.get("input_examples") or ()):
        if not satisfies(value, schema):
            raise Refusal(
                f"{path}.input_examples.{index}: the example does not match the input_schema"
            )


def check_toolsets(request: Request) -> None:
    """One of each toolset, and not with the legacy streaming beta."""
    kinds = [tool.get("type") for tool in request.tools]
    for kind in TOOLSETS:
        if kinds.count(kind) > 1:
            raise Refusal(f"tools: only one {kind} may be given")
        if kind in kinds and request.caller.betas & betas.FINE_GRAINED:
            raise Refusal(
                f"tools: {kind} cannot be combined with the `fine-grained-tool-streaming-2025-05-14` beta header"
            )
