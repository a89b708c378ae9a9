"""The values of the `anthropic-beta` header, and the sets of them that open a member of the schema."""

from __future__ import annotations

from .errors import Refusal

# The SDK's list (AnthropicBetaParam), then what clients in the field send beside it.
KNOWN: frozenset[str] = frozenset(
    """
    computer-use-2024-10-22 computer-use-2025-01-24 computer-use-2025-11-24 output-128k-2025-02-19
    mcp-client-2025-04-04 mcp-client-2025-11-20 mcp-client-2026-09-15 dev-full-thinking-2025-05-14
    interleaved-thinking-2025-05-14 code-execution-2025-05-22 context-1m-2025-08-07 context-management-2025-06-27
    model-context-window-exceeded-2025-08-26 fast-mode-2026-02-01 output-300k-2026-03-24 user-profiles-2026-03-24
    user-profiles-2026-08-18 user-profiles-2026-09-04 user-profiles-billing-2026-10-01 advisor-tool-2026-03-01
    managed-agents-2026-04-01 dreaming-2026-04-21 thinking-token-count-2026-05-13 server-side-fallback-2026-06-01
    server-side-fallback-2026-07-01 fallback-credit-2026-06-01 fallback-credit-2026-07-01 agent-memory-2026-07-22
    mid-conversation-tool-changes-2026-07-01 compact-2026-01-12 compact-2026-09-04 mcp-tunnels-2026-06-22
    structured-outputs-2025-11-13 task-budgets-2026-03-13 thinking-display-updates-2026-08-18
    mid-conversation-output-config-2026-07-01 thinking-binding-controls-2026-08-01
    mid-conversation-system-clear-at-2026-08-21 inline-tools-2026-09-15 message-threads-2026-08-12
    ce-plugins-2026-09-01 spend-limit-reads-2026-09-26 telemetry-destinations-2026-08-11 webhooks-2026-10-07
    admin-user-sign-out-2026-10-08 analytics-usage-cost-2026-08-24 experimental-claude-tag-2026-10-21
    message-batches-2024-09-24 prompt-caching-2024-07-31 pdfs-2024-09-25 token-counting-2024-11-01
    token-efficient-tools-2025-02-19 files-api-2025-04-14 extended-cache-ttl-2025-04-11 skills-2025-10-02
    cache-diagnosis-2026-04-07 ce-user-management-2026-07-13 ce-claude-code-managed-settings-2026-10-06

    claude-code-20250219 oauth-2025-04-20 prompt-caching-scope-2026-01-05 mid-conversation-system-2026-04-07
    effort-2025-11-24 advanced-tool-use-2025-11-20 tool-search-tool-2025-10-19 fine-grained-tool-streaming-2025-05-14
    dangerous-tool-use-2026-09-03 per-turn-control-2026-07-01 web-fetch-2025-09-10 web-search-2025-03-05
    """.split()
)

MCP = frozenset({"mcp-client-2025-04-04", "mcp-client-2025-11-20", "mcp-client-2026-09-15"})
MCP_TOOLSET = frozenset({"mcp-client-2025-11-20", "mcp-client-2026-09-15"})
MCP_LISTING = frozenset({"mcp-client-2026-09-15"})
COMPACT_EDIT = frozenset({"compact-2026-01-12"})
COMPACT_DEMAND = frozenset({"compact-2026-09-04"})
COMPACT = COMPACT_EDIT | COMPACT_DEMAND
CONTEXT_EDITS = frozenset({"context-management-2025-06-27"})
CONTEXT = CONTEXT_EDITS | COMPACT_EDIT
FALLBACK = frozenset({"server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01"})
FALLBACK_CREDIT = frozenset({"fallback-credit-2026-06-01", "fallback-credit-2026-07-01"})
THREADS = frozenset({"message-threads-2026-08-12"})
BILLING = frozenset({"user-profiles-billing-2026-10-01"})
SAFEGUARDS = frozenset({"dangerous-tool-use-2026-09-03"})
TASK_BUDGET = frozenset({"task-budgets-2026-03-13"})
OUTPUT_FORMAT = frozenset({"structured-outputs-2025-11-13"})
BINDING = frozenset({"thinking-binding-controls-2026-08-01"})
DISPLAY_UPDATES = frozenset({"thinking-display-updates-2026-08-18"})
TOKEN_COUNT = frozenset({"thinking-token-count-2026-05-13"})
INTERLEAVED = frozenset({"interleaved-thinking-2025-05-14"})
TOOL_CHANGES = frozenset({"mid-conversation-tool-changes-2026-07-01"})
INLINE_TOOLS = frozenset({"inline-tools-2026-09-15"})
CLEAR_AT = frozenset({"mid-conversation-system-clear-at-2026-08-21"})
SYSTEM_OUTPUT = frozenset(
    {"mid-conversation-output-config-2026-07-01", "per-turn-control-2026-07-01"}
)
CACHE_SCOPE = frozenset({"prompt-caching-scope-2026-01-05"})
ADVISOR = frozenset({"advisor-tool-2026-03-01"})
FAST = frozenset({"fast-mode-2026-02-01"})
COMPUTER_2024 = frozenset({"computer-use-2024-10-22"})
COMPUTER_JANUARY = frozenset({"computer-use-2025-01-24"})
COMPUTER_NOVEMBER = frozenset({"computer-use-2025-11-24"})
FINE_GRAINED = frozenset({"fine-grained-tool-streaming-2025-05-14"})


def parse_betas(headers: list[tuple[str, str]]) -> frozenset[str]:
    """The betas a request names; an unknown one is a 400."""
    named: list[str] = []
    for name, value in headers:
        if name.lower() == "anthropic-beta":
            named.extend(part.strip() for part in value.split(",") if part.strip())
    unknown = [beta for beta in dict.fromkeys(named) if beta not in KNOWN]
    if unknown:
        quoted = ", ".join(f"`{beta}`" for beta in unknown)
        raise Refusal(
            f"Unexpected value(s) {quoted} for the `anthropic-beta` header. Please consult our documentation at "
            "https://docs.claude.com/en/api/beta-headers"
        )
    return frozenset(named)
