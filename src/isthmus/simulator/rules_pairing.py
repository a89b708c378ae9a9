"""Rules of tool calls and their results: every call answered once, at once, and first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .conversation import Located, Request, Turn
from .errors import Refusal

# A server-side call and the result that answers it, by the call's name; MCP calls have their own block types.
RESULT_KINDS = {
    "web_search": ("web_search_tool_result",),
    "web_fetch": ("web_fetch_tool_result",),
    "code_execution": ("code_execution_tool_result",),
    "bash_code_execution": ("bash_code_execution_tool_result",),
    "text_editor_code_execution": ("text_editor_code_execution_tool_result",),
    "tool_search_tool_regex": ("tool_search_tool_result",),
    "tool_search_tool_bm25": ("tool_search_tool_result",),
    "advisor": ("advisor_tool_result",),
}
MCP_RESULT = "mcp_tool_result"
SERVER_CALLS = ("server_tool_use", "mcp_tool_use")


def check_unique_ids(request: Request) -> None:
    """No two calls share an id."""
    seen: set[str] = set()
    for turn in request.turns:
        for item in turn.blocks:
            if item.kind not in ("tool_use", *SERVER_CALLS):
                continue
            if item.block["id"] in seen:
                raise Refusal(f"{item.path}: `tool_use` ids must be unique")
            seen.add(item.block["id"])


def check_client_calls(request: Request) -> None:
    """Every `tool_use` is answered by the next user turn, before anything else in it; nothing else is answered."""
    calls: dict[str, Located] = {}
    for position, turn in enumerate(request.turns):
        results = [item for item in turn.blocks if item.kind == "tool_result"]
        check_expected(results, calls)
        calls = {item.block["id"]: item for item in turn.blocks if item.kind == "tool_use"}
        if calls:
            following = request.turns[position + 1] if position + 1 < len(request.turns) else None
            check_answered(calls, following)


def check_expected(results: list[Located], calls: dict[str, Located]) -> None:
    """Results answer calls of the turn before, each once, with the toolset's name where the call has one."""
    count = Counter(item.block["tool_use_id"] for item in results)
    for item in results:
        name = item.block["tool_use_id"]
        if name not in calls:
            raise Refusal(
                f"{item.path}: unexpected `tool_use_id` found in `tool_result` blocks: {name}. Each `tool_result` "
                "block must have a corresponding `tool_use` block in the previous message."
            )
        if count[name] > 1:
            raise Refusal(
                f"{item.path}: each tool_use must have a single result. Found multiple `tool_result` blocks with "
                f"id: {name}"
            )
        if item.block.get("toolset_name") != calls[name].block.get("toolset_name"):
            raise Refusal(
                f"{item.path}.tool_result.toolset_name: must equal the toolset_name of its `tool_use` block"
            )


def check_answered(calls: dict[str, Located], following: Turn | None) -> None:
    """The results come first in the next user turn."""
    leading: set[str] = set()
    for item in following.blocks if following is not None and following.role == "user" else ():
        if item.kind != "tool_result":
            break
        leading.add(item.block["tool_use_id"])
    missing = [name for name in calls if name not in leading]
    if missing:
        message = next(iter(calls.values())).message
        raise Refusal(
            f"messages.{message}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
            "next message."
        )


def check_error_results(request: Request) -> None:
    """A result that is an error holds only text."""
    for turn in request.turns:
        for item in turn.blocks:
            content = item.block.get("content")
            if (
                item.kind != "tool_result"
                or not item.block.get("is_error")
                or not isinstance(content, list)
            ):
                continue
            if any(part["type"] != "text" for part in content):
                raise Refusal(
                    f'{item.path}.tool_result: all content must be type "text" if `is_error` is true'
                )


def check_references(request: Request) -> None:
    """A tool that a result refers to is among `tools`; tools of MCP servers cannot be known here."""
    if any(tool.get("type") == "mcp_toolset" for tool in request.tools):
        return
    known = {tool.get("name") for tool in request.tools}
    for turn in request.turns:
        for item in turn.blocks:
            content = item.block.get("content")
            parts = content if item.kind == "tool_result" and isinstance(content, list) else []
            for index, part in enumerate(parts):
                if part["type"] == "tool_reference" and part["tool_name"] not in known:
                    raise Refusal(
                        f"{item.path}.tool_result.content.{index}.tool_reference: Tool reference "
                        f"'{part['tool_name']}' not found in available tools",
                        details={"error_code": "tool_reference_unresolved"},
                    )


def check_server_calls(request: Request) -> None:
    """A server-side call has its result in its turn, in the last turn not yet, or after the client's own results."""
    open_calls: dict[str, Located] = {}
    for position, turn in enumerate(request.turns):
        if turn.role == "assistant":
            for item in turn.blocks:
                track(item, open_calls)
        last = position == len(request.turns) - 1
        answers_only = turn.role == "user" and all(
            item.kind == "tool_result" for item in turn.blocks
        )
        follows = request.turns[position + 1] if not last else None
        waits = turn.role == "assistant" and (
            follows is None or (follows.role == "user" and only_results(follows))
        )
        if open_calls and not waits and not answers_only:
            item = next(iter(open_calls.values()))
            name = item.block["name"]
            kind = expected_kind(item)
            raise Refusal(
                f"messages.{item.message}: `{name}` tool use with id `{item.block['id']}` was found without a "
                f"corresponding `{kind}` block"
            )


def only_results(turn: Turn) -> bool:
    """Whether a user turn holds nothing but tool results."""
    return bool(turn.blocks) and all(item.kind == "tool_result" for item in turn.blocks)


def expected_kind(item: Located) -> str:
    """The type of the block that answers a server-side call."""
    return MCP_RESULT if item.kind == "mcp_tool_use" else RESULT_KINDS[item.block["name"]][0]


def track(item: Located, open_calls: dict[str, Located]) -> None:
    """Open a call, or close the one that a result answers."""
    if item.kind in SERVER_CALLS:
        open_calls[item.block["id"]] = item
        return
    if not item.kind.endswith("_tool_result"):
        return
    name = item.block["tool_use_id"]
    call = open_calls.pop(name, None)
    if call is None or expected_kind(call) != item.kind:
        raise Refusal(
            f"{item.path}: unexpected `tool_use_id` found in `{item.kind}` blocks: {name}. Each `{item.kind}` block "
            "must have a corresponding `server_tool_use` block before it."
        )


PAIRING_RULES: tuple[Callable[[Request], None], ...] = (
    check_unique_ids,
    check_client_calls,
    check_server_calls,
    check_error_results,
    check_references,
)
