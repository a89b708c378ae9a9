"""Tables: the shape of the bodies of `/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

from . import betas
from .schema_base import CACHE_CONTROL, COUNT, FLAG, MAPPING, STRING, STRINGS
from .schema_blocks import BLOCKS
from .schema_content import TEXT
from .schema_tools import TOOL
from .shapes import Anything, Either, Gated, Items, Number, Object, Shape, Tagged, Text, Values

CLASSIC = "2023-06-01"
CURRENT = "2026-10-21"
VERSIONS = (CLASSIC, CURRENT)
MAX_MESSAGES = 100_000

EFFORT = Text(values=("low", "medium", "high", "xhigh", "max"))
CONTENT = Either(string=STRING, array=Items(Tagged(BLOCKS)))

MESSAGE = Object(
    {
        "role!": Text(values=("user", "assistant", "system")),
        "content!": CONTENT,
        "clear_at?": Gated(Text(values=("next_user_message", "never")), betas.CLEAR_AT),
        "output_config?": Gated(Object({"effort?": EFFORT}), betas.SYSTEM_OUTPUT),
    }
)

DISPLAY = Text(values=("summarized", "omitted", "updates"))
BLOCK_BINDING = Gated(
    Object({"prefix_mismatch_behavior?": Text(values=("error", "drop_block"))}), betas.BINDING
)
THINKING = Tagged(
    {
        "enabled": Object(
            {
                "type": STRING,
                "budget_tokens!": Number(min=1024),
                "display?": DISPLAY,
                "block_binding?": BLOCK_BINDING,
            }
        ),
        "adaptive": Object({"type": STRING, "display?": DISPLAY, "block_binding?": BLOCK_BINDING}),
        "disabled": Object({"type": STRING}),
        "between_tools": Object({"type": STRING}),
    }
)

PARALLEL: dict[str, Shape] = {"type": STRING, "disable_parallel_tool_use": FLAG}
TOOL_CHOICE = Tagged(
    {
        "auto": Object(PARALLEL),
        "any": Object(PARALLEL),
        "tool": Object({**PARALLEL, "name!": STRING}),
        "none": Object({"type": STRING}),
    }
)

JSON_FORMAT = Tagged({"json_schema": Object({"type": STRING, "schema!": MAPPING})})
TASK_BUDGET = Tagged(
    {"tokens": Object({"type": STRING, "total!": Number(min=1), "remaining?": COUNT})}
)
OUTPUT_CONFIG = Object(
    {
        "effort?": EFFORT,
        "format?": JSON_FORMAT,
        "task_budget?": Gated(TASK_BUDGET, betas.TASK_BUDGET),
    }
)


def amount(*kinds: str) -> Tagged:
    """A threshold of tokens or of tool uses."""
    return Tagged({kind: Object({"type": STRING, "value!": COUNT}) for kind in kinds})


CLEAR_TOOL_USES = Object(
    {
        "type": STRING,
        "trigger": amount("input_tokens", "tool_uses"),
        "keep": amount("tool_uses"),
        "clear_at_least?": amount("input_tokens"),
        "exclude_tools?": STRINGS,
        "clear_tool_inputs?": Either(flag=FLAG, array=STRINGS),
    }
)
CLEAR_THINKING = Object(
    {
        "type": STRING,
        "keep": Either(
            string=Text(values=("all",)),
            mapping=Tagged(
                {
                    "all": Object({"type": STRING}),
                    "thinking_turns": Object({"type": STRING, "value!": Number(min=1)}),
                }
            ),
        ),
    }
)
COMPACT = Object(
    {
        "type": STRING,
        "trigger?": Tagged(
            {"input_tokens": Object({"type": STRING, "value!": Number(min=50_000)})}
        ),
        "pause_after_compaction": FLAG,
        "instructions?": STRING,
    }
)
CONTEXT_MANAGEMENT = Object(
    {
        "edits": Items(
            Tagged(
                {
                    "clear_tool_uses_20250919": Gated(CLEAR_TOOL_USES, betas.CONTEXT_EDITS),
                    "clear_thinking_20251015": Gated(CLEAR_THINKING, betas.CONTEXT_EDITS),
                    "compact_20260112": Gated(COMPACT, betas.COMPACT_EDIT),
                }
            )
        )
    }
)

MCP_SERVER = Object(
    {
        "type!": Text(values=("url",)),
        "url!": STRING,
        "name!": STRING,
        "authorization_token?": STRING,
        "tool_configuration?": Object({"enabled?": FLAG, "allowed_tools?": STRINGS}),
    }
)
SKILL = Object(
    {
        "type!": Text(values=("anthropic", "custom")),
        "skill_id!": Text(min=1, max=64),
        "version": STRING,
    }
)
CONTAINER = Either(string=STRING, mapping=Object({"id?": STRING, "skills?": Items(SKILL, max=8)}))
SPEED = Text(values=("standard", "fast"))
FALLBACK = Object(
    {
        "model!": STRING,
        "max_tokens?": Number(min=1),
        "output_config?": OUTPUT_CONFIG,
        "speed?": SPEED,
        "thinking?": THINKING,
    }
)
THREAD = Tagged(
    {
        "create": Object({"type": STRING}),
        "continue": Object({"type": STRING, "previous_message_id!": STRING}),
    }
)
BILLING_POLICY = Tagged(
    {"billing_policy": Object({"type": STRING, "bill_to": Text(values=("self", "user_profile"))})}
)
CREDIT = Either(
    string=STRING,
    mapping=Object({"token!": STRING, "mode": Text(values=("strict", "best_effort"))}),
)
# The SDK does not describe `safeguards`; the shape comes from Claude Code's requests (section 6.5).
SAFEGUARD = Tagged({"dangerous_tool_use": Values(Anything())})

_UNTYPED = {name: shape for name, shape in TEXT.fields.items() if name != "type"}
SYSTEM_TEXT = Object({"type!": Text(values=("text",)), **_UNTYPED})

PROMPT: dict[str, Shape] = {
    "model!": Text(min=1, max=256),
    "messages!": Items(MESSAGE, max=MAX_MESSAGES),
    "system": Either(string=STRING, array=Items(SYSTEM_TEXT)),
    "tools": Items(TOOL),
    "tool_choice": TOOL_CHOICE,
    "thinking": THINKING,
    "output_config": OUTPUT_CONFIG,
    "output_format?": Gated(JSON_FORMAT, betas.OUTPUT_FORMAT),
    "cache_control?": CACHE_CONTROL,
    "speed?": SPEED,
    "context_management?": Gated(CONTEXT_MANAGEMENT, betas.CONTEXT),
    "mcp_servers": Gated(Items(MCP_SERVER, max=20), betas.MCP),
    "compaction?": Gated(
        Tagged({"summarize": Object({"type": STRING, "instructions?": STRING})}),
        betas.COMPACT_DEMAND,
    ),
    "billing_policy?": Gated(BILLING_POLICY, betas.BILLING),
}

COUNT_TOKENS = Object(PROMPT)

MESSAGES = Object(
    {
        "max_tokens!": COUNT,
        **PROMPT,
        "metadata": Object({"user_id?": STRING}),
        "stop_sequences": STRINGS,
        "stream": FLAG,
        "temperature": Gated(Number(whole=False, min=0, max=1), version=CLASSIC),
        "top_p": Gated(Number(whole=False, min=0, max=1), version=CLASSIC),
        "top_k": Gated(Number(min=0), version=CLASSIC),
        "service_tier": Text(values=("auto", "standard_only")),
        "inference_geo?": Text(values=("us", "global")),
        "container?": CONTAINER,
        "diagnostics?": Object({"previous_message_id?": STRING}),
        "fallbacks?": Gated(
            Either(string=Text(values=("default",)), array=Items(FALLBACK, min=1, max=3)),
            betas.FALLBACK,
        ),
        "fallback_credit_token?": Gated(CREDIT, betas.FALLBACK_CREDIT),
        "thread?": Gated(THREAD, betas.THREADS),
        "safeguards": Gated(Items(SAFEGUARD), betas.SAFEGUARDS),
    }
)
