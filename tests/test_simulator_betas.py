"""What a value of `anthropic-beta` opens, and the rules of what it opens."""

# ruff: noqa: E501 - a row of a table stays on its line

from __future__ import annotations

from typing import Any

import pytest

from .simulator_requests import ADAPTIVE, CLOSED, EXTRA, MARK, TEXT, TOOL, ask

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


SERVER = {"type": "url", "url": "https://example.com/mcp", "name": "s"}
TOOLSET = {"type": "mcp_toolset", "mcp_server_name": "s"}
SCREEN = {
    "type": "computer_20251124",
    "name": "computer",
    "display_width_px": 800,
    "display_height_px": 600,
}
THINKING_EDIT, USES_EDIT = {"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}
THINKING = {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
NEW_MCP, CONTEXT = "mcp-client-2025-11-20", "context-management-2025-06-27"

# Rules that only members of a beta can break: changes, the beta, status, the beginning of the message.
BETA_RULES: list[tuple[dict[str, Any], str, int, str]] = [
    (
        {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
        "message-threads-2026-08-12",
        404,
        "thread: no thread holds the message msg_1",
    ),
    (
        {"fallback_credit_token": "t"},
        "fallback-credit-2026-07-01",
        400,
        "fallback_credit_token: the token is invalid or has expired",
    ),
    (
        {"fallbacks": []},
        "server-side-fallback-2026-07-01",
        400,
        "fallbacks: List should have at least 1 item",
    ),
    (
        {"mcp_servers": [SERVER, SERVER]},
        "mcp-client-2025-04-04",
        400,
        "mcp_servers: MCP server names must be unique",
    ),
    (
        {"mcp_servers": [SERVER]},
        NEW_MCP,
        400,
        "mcp_servers: MCP server 's' must be referenced by exactly one mcp_toolset",
    ),
    (
        {"tools": [TOOLSET]},
        NEW_MCP,
        400,
        "tools: mcp_toolset names the MCP server 's', which is not in mcp_servers",
    ),
    (
        {"context_management": {"edits": [USES_EDIT, THINKING_EDIT]}},
        CONTEXT,
        400,
        "context_management.edits: clear_thinking_20251015 must be the first edit",
    ),
    (
        {"context_management": {"edits": [THINKING_EDIT]}},
        CONTEXT,
        400,
        "context_management: `clear_thinking_20251015` strategy requires `thinking` to be enabled",
    ),
    (
        {"context_management": {"edits": [USES_EDIT, USES_EDIT]}},
        CONTEXT,
        400,
        "context_management.edits: each edit type may be given only once",
    ),
    (
        {"context_management": {"edits": [{"type": "compact_20260112"}]}},
        CONTEXT,
        400,
        "context_management.edits.0: Input tag 'compact_20260112'",
    ),
    (
        {
            "context_management": {
                "edits": [
                    {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 9}}
                ]
            }
        },
        "compact-2026-01-12",
        400,
        "context_management.edits.0.compact_20260112.trigger.input_tokens.value: Input should be greater than or equal to 50000",
    ),
    (
        {"context_management": {"edits": []}, "compaction": {"type": "summarize"}},
        f"{CONTEXT},compact-2026-09-04",
        400,
        "compaction: cannot be combined with context_management",
    ),
    (
        {
            "output_format": {"type": "json_schema", "schema": CLOSED},
            "output_config": {"format": {"type": "json_schema", "schema": CLOSED}},
        },
        "structured-outputs-2025-11-13",
        400,
        "output_format: cannot be combined with output_config.format",
    ),
    (
        {"tools": [SCREEN], "model": "claude-opus-5-5"},
        "computer-use-2025-11-24",
        400,
        "tools.0.computer_20251124: tool type 'computer_20251124' is not supported on this model",
    ),
    (
        {"tools": [{"type": "browser_toolset_20260801"}]},
        "fine-grained-tool-streaming-2025-05-14",
        400,
        "tools: browser_toolset_20260801 cannot be combined with",
    ),
    (
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-nope"}]},
        "advisor-tool-2026-03-01",
        400,
        "tools.0.advisor_20260301.model: model: claude-nope",
    ),
]


@pytest.mark.parametrize(
    ("changes", "beta", "status", "message"),
    BETA_RULES,
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_broken_rule_of_a_beta(
    changes: dict[str, Any], beta: str, status: int, message: str
) -> None:
    answer = ask(changes, anthropic_beta=beta)
    assert answer.status == status
    assert answer.message.startswith(message), answer.message


BETA_ACCEPTED: list[tuple[dict[str, Any], str]] = [
    ({"mcp_servers": [SERVER], "tools": [TOOLSET]}, NEW_MCP),
    ({"context_management": {"edits": [THINKING_EDIT, USES_EDIT]}, **THINKING}, CONTEXT),
    ({"tools": [SCREEN], "model": "claude-opus-5"}, "computer-use-2025-11-24"),
    ({"speed": "fast", "model": "claude-opus-5"}, "fast-mode-2026-02-01"),
    (
        {
            "max_tokens": 1100,
            "tools": [TOOL],
            "thinking": {"type": "enabled", "budget_tokens": 5000},
        },
        "interleaved-thinking-2025-05-14",
    ),
    ({"model": "claude-3-7-sonnet-latest", "max_tokens": 128_000}, "output-128k-2025-02-19"),
    (
        {"thinking": {**ADAPTIVE, "display": "updates"}, "model": "claude-opus-5"},
        "thinking-display-updates-2026-08-18",
    ),
    (
        {"system": [{**TEXT, "cache_control": {**MARK, "scope": "global"}}]},
        "prompt-caching-scope-2026-01-05",
    ),
]


@pytest.mark.parametrize(("changes", "beta"), BETA_ACCEPTED, ids=range(len(BETA_ACCEPTED)))
def test_what_a_beta_makes_legal(changes: dict[str, Any], beta: str) -> None:
    answer = ask(changes, anthropic_beta=beta)
    assert answer.status == 200, answer.body
