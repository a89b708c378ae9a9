"""Rules of `messages` and `system`: which block stands where, what may not be empty, late system messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .conversation import Request, Turn, system_blocks
from .errors import Refusal
from .schema_request import CURRENT

BOTH = ("user", "assistant")
# Which role may hold which block; what is not named here belongs to the assistant.
BLOCK_ROLES: dict[str, tuple[str, ...]] = {
    "text": ("user", "assistant", "system"),
    "image": ("user",),
    "document": BOTH,
    "search_result": ("user",),
    "tool_result": ("user",),
    "container_upload": BOTH,
    "tool_addition": ("system",),
    "tool_removal": ("system",),
    "mcp_tool_listing": BOTH,
}
EMPTY = "text content blocks must be non-empty"
BLANK = "text content blocks must contain non-whitespace text"


def check_not_empty(request: Request) -> None:
    """There is a message, and only the last assistant message has no content."""
    messages = request.body["messages"]
    if not messages:
        raise Refusal("messages: at least one message is required")
    for index, message in enumerate(messages):
        optional = index == len(messages) - 1 and message["role"] == "assistant"
        if not message["content"] and not optional:
            raise Refusal(
                f"messages.{index}: all messages must have non-empty content except for the optional final "
                "assistant message"
            )


def check_roles(request: Request) -> None:
    """Every block is in a message of a role that may hold it."""
    for turn in request.turns:
        for item in turn.blocks:
            allowed = BLOCK_ROLES.get(item.kind, ("assistant",))
            if turn.role not in allowed:
                names = " or ".join(f"`{role}`" for role in allowed)
                raise Refusal(f"{item.path}: `{item.kind}` blocks can only be in {names} messages")


def check_system_members(request: Request) -> None:
    """`clear_at` and `output_config` are members of system messages only."""
    for index, message in enumerate(request.body["messages"]):
        for name in ("clear_at", "output_config"):
            if name in message and message["role"] != "system":
                raise Refusal(f"messages.{index}.{name}: Extra inputs are not permitted")


def check_system_messages(request: Request) -> None:
    """Mid-conversation system messages: the model, and the place."""
    for position, turn in enumerate(request.turns):
        if turn.role != "system":
            continue
        check_system_support(request, turn)
        before = request.turns[position - 1] if position else None
        after = request.turns[position + 1] if position + 1 < len(request.turns) else None
        where = f"messages.{turn.first}"
        if before is None:
            raise Refusal(f"{where}: a `system` message cannot be the first message")
        if before.role == "system":
            raise Refusal(f"{where}: `system` messages cannot be adjacent")
        if before.role == "assistant" and not ends_in_result(before):
            raise Refusal(f"{where}: a `system` message must directly follow a `user` message")
        if after is not None and after.role != "assistant":
            raise Refusal(
                f"{where}: a `system` message must be last or be followed by an `assistant` message"
            )


def check_system_support(request: Request, turn: Turn) -> None:
    """Whether the model takes the role."""
    if request.model.system_role:
        return
    if request.model.tokenizer == "classic":
        raise Refusal(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not '
            '"system" as an input message role.'
        )
    raise Refusal(f"messages.{turn.first}: role 'system' is not supported on this model")


def ends_in_result(turn: Turn) -> bool:
    """Whether an assistant turn ends with a server tool's result."""
    return bool(turn.blocks) and turn.blocks[-1].kind.endswith("_tool_result")


def nested_texts(block: dict[str, Any]) -> Iterator[str]:
    """The texts of a block and of a tool result inside it."""
    if block["type"] == "text":
        yield block["text"]
    if block["type"] == "tool_result" and isinstance(block.get("content"), list):
        for part in block["content"]:
            yield from nested_texts(part)


def check_texts(request: Request) -> None:
    """No text block is empty or only white space."""
    groups = [("system", [block["text"] for block in system_blocks(request.body)])]
    for turn in request.turns:
        groups.extend(("messages", list(nested_texts(item.block))) for item in turn.blocks)
    for where, texts in groups:
        for text in texts:
            if not text:
                raise Refusal(f"{where}: {EMPTY}")
            if not text.strip():
                raise Refusal(f"{where}: {BLANK}")


def check_version(request: Request) -> None:
    """What version 2026-10-21 took away: documents of the assistant, citations in texts of the user."""
    if request.caller.version != CURRENT:
        return
    for turn in request.turns:
        for item in turn.blocks:
            if turn.role == "assistant" and item.kind == "document":
                raise Refusal(f"{item.path}: `document` blocks can only be in `user` messages")
            for path, part in user_texts(turn.role, item.path, item.block):
                if part.get("citations"):
                    raise Refusal(
                        f"{path}.text.citations: citations are not permitted in user text blocks"
                    )


def user_texts(role: str, path: str, block: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The text blocks that a user turn holds, search results' own texts included."""
    if role == "user" and block["type"] == "text":
        yield path, block
    if block["type"] in ("search_result", "tool_result") and isinstance(block.get("content"), list):
        for index, part in enumerate(block["content"]):
            if part.get("type") in ("text", "search_result"):
                yield from user_texts("user", f"{path}.{block['type']}.content.{index}", part)


def check_citations(request: Request) -> None:
    """Citations are on for all documents or for none."""
    switches = {
        bool((item.block.get("citations") or {}).get("enabled"))
        for turn in request.turns
        for item in turn.blocks
        if item.kind == "document" and turn.role == "user"
    }
    if len(switches) > 1:
        raise Refusal("messages: citations must be enabled on all documents or on none of them")


def check_thinking_loop(request: Request) -> None:
    """With manual thinking a tool loop keeps its thinking block, and thinking is not switched inside the loop."""
    last = request.turns[-1]
    kinds = request.model.thinking
    results = [item for item in last.blocks if item.kind == "tool_result"]
    if last.role != "user" or not results or "enabled" not in kinds or len(request.turns) < 2:
        return
    turn = request.turns[-2]
    if turn.role != "assistant" or not turn.blocks:
        return
    first = turn.blocks[0]
    thinks = first.kind in ("thinking", "redacted_thinking")
    if request.thinking_type == "enabled" and not thinks:
        raise Refusal(
            f"{first.path}.type: Expected `thinking` or `redacted_thinking`, but found `{first.kind}`. When "
            "`thinking` is enabled, a final `assistant` message must start with a thinking block (preceding the "
            "lastmost set of `tool_use` and `tool_result` blocks). To avoid this requirement, disable `thinking`."
        )
    if request.thinking_type == "disabled" and thinks:
        raise Refusal(
            f"{first.path}.type: Expected `text` or `tool_use`, but found `{first.kind}`. When `thinking` is "
            "disabled, a final `assistant` message inside a tool use loop cannot start with a thinking block."
        )


def check_final_block(request: Request) -> None:
    """Thinking cannot be continued; in earlier turns it may stand last."""
    last = request.turns[-1]
    kind = last.blocks[-1].kind if last.blocks else ""
    if last.role == "assistant" and kind in ("thinking", "redacted_thinking"):
        raise Refusal(
            f"messages.{last.blocks[-1].message}: The final block in an assistant message cannot be `{kind}`."
        )


MESSAGE_RULES: tuple[Callable[[Request], None], ...] = (
    check_not_empty,
    check_system_members,
    check_roles,
    check_system_messages,
    check_texts,
    check_version,
    check_citations,
    check_thinking_loop,
    check_final_block,
)
