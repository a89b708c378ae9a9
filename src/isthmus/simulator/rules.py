"""The rules that a shape cannot tell: parameters against each other and against the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import betas
from .conversation import Request, Turn
from .errors import Refusal
from .grammar import check_format
from .rules_cache import check_cache
from .rules_media import check_media
from .rules_messages import MESSAGE_RULES
from .rules_pairing import PAIRING_RULES
from .rules_tools import check_tools

DOCS = "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
LARGER_OUTPUT = {"claude-3-7-sonnet-20250219": ("output-128k-2025-02-19", 128_000)}
OFF = ("disabled", "between_tools")
NO_SUBSTITUTE = 'This model always thinks; leave `thinking` out or use "thinking.type.adaptive".'


def check_rules(request: Request, tokens: int) -> None:
    """Raise a Refusal for the first broken rule; `tokens` is the size of the prompt."""
    for rule in RULES:
        rule(request)
    check_window(request, tokens)


def check_max_tokens(request: Request) -> None:
    """The model's output limit, and what goes with `max_tokens: 0`."""
    if request.counting:
        return
    wanted = request.body["max_tokens"]
    limit = request.model.max_tokens
    beta, larger = LARGER_OUTPUT.get(request.model.id, ("", limit))
    limit = larger if beta in request.caller.betas else limit
    if wanted > limit:
        raise Refusal(
            f"max_tokens: {wanted} > {limit}, which is the maximum allowed number of output tokens for "
            f"{request.model.id}"
        )
    if wanted:
        return
    conflicts = {
        "`stream`": bool(request.body.get("stream")),
        "`thinking.type.enabled`": request.thinking_type == "enabled",
        "`output_config.format`": request.json_format is not None,
        "a forced `tool_choice`": request.choice in ("any", "tool"),
    }
    for name, present in conflicts.items():
        if present:
            raise Refusal(f"max_tokens: 0 cannot be combined with {name}")


def check_thinking_type(request: Request) -> None:
    """Which kinds of thinking the model has."""
    config = request.body.get("thinking")
    model = request.model
    if not config or config["type"] in model.thinking:
        check_thinking_off(request)
        return
    kind = config["type"]
    if kind == "enabled" and "adaptive" in model.thinking:
        raise Refusal(
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.'
        )
    if kind == "adaptive":
        raise Refusal("adaptive thinking is not supported on this model")
    hint = "" if kind == "between_tools" else f" {NO_SUBSTITUTE}"
    if kind == "disabled" and "between_tools" in model.thinking:
        hint = ' Use "thinking.type.between_tools" instead.'
    raise Refusal(f'"thinking.type.{kind}" is not supported for this model.{hint}')


def check_thinking_off(request: Request) -> None:
    """Some models switch thinking off only at lower effort."""
    model = request.model
    if (
        request.thinking_type not in OFF
        or not model.off_effort
        or request.effort in model.off_effort
    ):
        return
    levels = ", ".join(model.off_effort)
    raise Refusal(
        f"\"thinking.type.{request.thinking_type}\" is not supported at effort level '{request.effort}' on this "
        f"model. Supported levels: {levels}."
    )


def check_budget(request: Request) -> None:
    """A manual budget is below `max_tokens`, but for interleaved thinking with tools."""
    if request.thinking_type != "enabled" or request.counting:
        return
    interleaved = bool(request.caller.betas & betas.INTERLEAVED) and bool(request.tools)
    if request.body["thinking"]["budget_tokens"] >= request.body["max_tokens"] and not interleaved:
        raise Refusal(
            "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at "
            f"{DOCS}#max-tokens-and-context-window-size"
        )


def check_sampling(request: Request) -> None:
    """temperature, top_p and top_k against the model and against manual thinking."""
    body = request.body
    temperature, top_p, top_k = (body.get(name) for name in ("temperature", "top_p", "top_k"))
    if request.model.sampling == "default_only":
        changed = {
            "temperature": temperature not in (None, 1),
            "top_p": top_p not in (None, 1),
            "top_k": bool(top_k),
        }
        for name, refused in changed.items():
            if refused:
                raise Refusal(f"`{name}` is deprecated for this model.")
    if request.model.sampling == "not_both" and temperature is not None and top_p is not None:
        raise Refusal(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        )
    if request.thinking_type != "enabled":
        return
    more = f"Please consult our documentation at {DOCS}#important-considerations-when-using-extended-thinking"
    if temperature not in (None, 1):
        raise Refusal(f"`temperature` may only be set to 1 when thinking is enabled. {more}")
    if top_p is not None and top_p < 0.95:
        raise Refusal(
            f"`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled. {more}"
        )
    if top_k is not None:
        raise Refusal(f"`top_k` must be unset when thinking is enabled. {more}")


def check_effort(request: Request) -> None:
    """The model's effort levels."""
    effort = (request.body.get("output_config") or {}).get("effort")
    if effort is None or effort in request.model.effort:
        return
    if not request.model.effort:
        raise Refusal("This model does not support the effort parameter.")
    levels = ", ".join(sorted(request.model.effort))
    raise Refusal(
        f"This model does not support effort level '{effort}'. Supported levels: {levels}."
    )


def check_tool_choice(request: Request) -> None:
    """`tool_choice` needs tools, a known name, and a model that can be forced."""
    choice = request.body.get("tool_choice")
    if not choice:
        return
    if not request.tools:
        raise Refusal("tool_choice: tool_choice may only be specified while providing tools.")
    kind = choice["type"]
    if kind not in ("any", "tool"):
        return
    if request.thinking_type == "enabled":
        raise Refusal("Thinking may not be enabled when tool_choice forces tool use.")
    if not request.model.forced_tool_choice:
        raise Refusal(
            f"tool_choice: `{kind}` is not supported for this model. Use `auto` or `none`."
        )
    if kind == "tool" and choice["name"] not in {tool.get("name") for tool in request.tools}:
        raise Refusal(f"Tool '{choice['name']}' not found in provided tools")


def check_stop_sequences(request: Request) -> None:
    """Every stop sequence has something to see."""
    if any(not sequence.strip() for sequence in request.body.get("stop_sequences") or []):
        raise Refusal("stop_sequences: each stop sequence must contain non-whitespace")


def check_output_format(request: Request) -> None:
    """Structured output: one place to ask for it, a schema that compiles, no citations."""
    body = request.body
    config = body.get("output_config") or {}
    if body.get("output_format") and config.get("format"):
        raise Refusal("output_format: cannot be combined with output_config.format")
    if request.json_format is None:
        return
    path = "output_config.format.schema" if config.get("format") else "output_format.schema"
    check_format(request.json_format["schema"], path)
    if any(
        (item.block.get("citations") or {}) == {"enabled": True}
        for turn in request.turns
        for item in turn.blocks
    ):
        raise Refusal("output_config.format: cannot be combined with citations")


def check_speed(request: Request) -> None:
    """Fast mode: which models, and where it still needs its beta."""
    if request.body.get("speed") != "fast":
        return
    support = request.model.fast
    if support == "no":
        raise Refusal("speed: fast mode is not supported for this model")
    if support == "beta" and not request.caller.betas & betas.FAST:
        raise Refusal(
            "speed: fast mode on this model requires the `fast-mode-2026-02-01` beta header"
        )


def check_geography(request: Request) -> None:
    """`inference_geo` exists from the 4.6 models on."""
    if request.body.get("inference_geo") and not request.model.inference_geo:
        raise Refusal("inference_geo: not supported for this model")


def check_display(request: Request) -> None:
    """`display: updates` is a beta."""
    display = (request.body.get("thinking") or {}).get("display")
    if display == "updates" and not request.caller.betas & betas.DISPLAY_UPDATES:
        raise Refusal(
            f"thinking.{request.thinking_type}.display: Input should be 'summarized' or 'omitted'"
        )


def check_context_management(request: Request) -> None:
    """clear_thinking comes first; on-demand compaction stands alone."""
    edits = (request.body.get("context_management") or {}).get("edits") or []
    kinds = [edit["type"] for edit in edits]
    for index, kind in enumerate(kinds):
        if kind == "clear_thinking_20251015" and index:
            raise Refusal(
                "context_management.edits: clear_thinking_20251015 must be the first edit"
            )
    if "clear_thinking_20251015" in kinds and request.thinking_type == "disabled":
        raise Refusal(
            "context_management: `clear_thinking_20251015` strategy requires `thinking` to be enabled"
        )
    if len(set(kinds)) < len(kinds):
        raise Refusal("context_management.edits: each edit type may be given only once")
    if request.body.get("compaction") and request.body.get("context_management"):
        raise Refusal("compaction: cannot be combined with context_management")


def check_mcp(request: Request) -> None:
    """Servers have unique names; newer betas pair each with a toolset."""
    servers = [server["name"] for server in request.body.get("mcp_servers") or []]
    if len(set(servers)) < len(servers):
        raise Refusal("mcp_servers: MCP server names must be unique")
    toolsets = [
        tool["mcp_server_name"] for tool in request.tools if tool.get("type") == "mcp_toolset"
    ]
    for name in toolsets:
        if name not in servers:
            raise Refusal(
                f"tools: mcp_toolset names the MCP server '{name}', which is not in mcp_servers"
            )
    if "mcp-client-2025-04-04" in request.caller.betas:
        return
    for name in servers:
        if toolsets.count(name) != 1:
            raise Refusal(
                f"mcp_servers: MCP server '{name}' must be referenced by exactly one mcp_toolset in tools"
            )


def check_server_state(request: Request) -> None:
    """What refers to state of the provider, which the simulator has none of."""
    thread = request.body.get("thread") or {}
    if thread.get("type") == "continue":
        raise Refusal(
            f"thread: no thread holds the message {thread['previous_message_id']}",
            status=404,
            details={"error_code": "thread_not_found"},
        )
    token = request.body.get("fallback_credit_token")
    if token and not (isinstance(token, dict) and token.get("mode") == "best_effort"):
        raise Refusal("fallback_credit_token: the token is invalid or has expired")


def check_prefill(request: Request) -> None:
    """Whether the conversation may end with an assistant turn, and with what text."""
    last = request.turns[-1]
    if last.role != "assistant" or request.body.get("compaction"):
        return  # what is to be summed up is continued by nobody
    if not paused(last):
        if not request.model.prefill:
            raise Refusal(
                "This model does not support assistant message prefill. The conversation must end with a user message."
            )
        conflicts = {
            "`thinking` is enabled": request.thinking_type == "enabled",
            "`output_config.format` is set": request.json_format is not None,
            "`tool_choice` forces tool use": request.choice in ("any", "tool"),
        }
        for reason, present in conflicts.items():
            if present:
                raise Refusal(f"messages: assistant message prefill is not supported when {reason}")
    if last.blocks and last.blocks[-1].kind == "text":
        text = last.blocks[-1].block["text"]
        if text != text.rstrip():
            raise Refusal("messages: final assistant content cannot end with trailing whitespace")


def paused(turn: Turn) -> bool:
    """A turn that a server tool interrupted (`pause_turn`) is resent as it is, which is no prefill."""
    return any(item.kind in ("server_tool_use", "mcp_tool_use") for item in turn.blocks)


def check_window(request: Request, tokens: int) -> None:
    """The context window: too long alone, or with `max_tokens` on models before 4.5."""
    window = request.model.context_window
    if tokens > window:
        raise Refusal(f"prompt is too long: {tokens} tokens > {window} maximum")
    wanted: Any = request.body.get("max_tokens", 0)
    stops = "model-context-window-exceeded-2025-08-26" in request.caller.betas
    if request.model.overflow == "refuse" and not stops and tokens + wanted > window:
        raise Refusal(
            f"input length and `max_tokens` exceed context limit: {tokens} + {wanted} > {window}, decrease input "
            "length or `max_tokens` and try again"
        )


RULES: tuple[Callable[[Request], None], ...] = (
    check_server_state,  # first: the pairing of a lost thread cannot be judged
    *MESSAGE_RULES,
    check_tools,
    *PAIRING_RULES,
    check_media,
    check_max_tokens,
    check_thinking_type,
    check_display,
    check_budget,
    check_sampling,
    check_effort,
    check_tool_choice,
    check_stop_sequences,
    check_output_format,
    check_prefill,
    check_speed,
    check_geography,
    check_context_management,
    check_mcp,
    check_cache,
)
