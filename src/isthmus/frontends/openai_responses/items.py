"""The input of a Responses request in the hub's terms: system blocks, turns, calls, reasoning.

Source: OpenAI's API reference (input items of a response); what its Codex really sends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from isthmus import wire
from isthmus.errors import refuse
from isthmus.frontends.gemini.signatures import unpacked
from isthmus.frontends.openai_chat.tools import Calls
from isthmus.frontends.openai_responses import compactions, content, freeform
from isthmus.frontends.openai_responses.local_tools import LOCAL, arguments
from isthmus.frontends.openai_responses.pairing import paired
from isthmus.frontends.openai_responses.sealed import opened
from isthmus.frontends.openai_responses.searches import ACTIONS
from isthmus.frontends.openai_responses.stored import PREVIOUS, is_reference
from isthmus.frontends.openai_responses.tools import Own, Tools
from isthmus.frontends.parameters import note_others, optional, required_text
from isthmus.messages import Block, Turn
from isthmus.request import Notes, expect
from isthmus.turns import Turns, tool_input, trimmed

Fields = dict[str, Any]

_FOREIGN = "reasoning that this gateway did not issue cannot be verified"
_UNSIGNED = "reasoning without encrypted_content cannot be sent back"
_BLANK = "text without a visible character is not accepted"

_SEARCHED = "nothing brought back what the search found: the text after it tells"

_CITED = "citations are not sent back, neither these nor later ones"

LEFT_OUT = {
    "file_search_call": "what the search brought is in the text after it",
    "configuration_update": "settings count for the whole request, not from an item on",
    "mcp_list_tools": "tools of other servers are not offered here",
    "tool_search_call": "the tools that were found are offered",
}
"""Items without content of their own, and why they can be left out."""

_AT_OPENAI = "what OpenAI ran itself cannot be sent to Claude: say in a message what came of it"
REFUSED = {
    "item_reference": "no item is stored under this id: send the item itself",
    "code_interpreter_call": _AT_OPENAI,
    "computer_call": _AT_OPENAI,
    "computer_call_output": _AT_OPENAI,
    "image_generation_call": "send its image as a part of a message",
    "mcp_approval_request": _AT_OPENAI,
    "mcp_approval_response": _AT_OPENAI,
    "mcp_call": _AT_OPENAI,
    "program": _AT_OPENAI,
    "program_output": _AT_OPENAI,
}
"""Items whose content cannot be carried, and why."""


class Conversation:
    """Reads the items one by one; ``system`` holds the instructions and what leading items add.

    ``compacting`` says that an item asks for a summary in place of an answer.
    """

    def __init__(self, tools: Tools, notes: Notes) -> None:
        self.system: list[Block] = []
        self._tools = tools
        self._notes = notes
        self._calls = Calls()
        self._turns = Turns(notes)
        self._searches: list[str] = []
        self._compactions: list[compactions.Found] = []
        self._cited = False
        self._leading = True
        self._last = self._path = ""
        self.compacting = False

    def instruct(self, value: Any, path: str) -> None:
        """Take the ``instructions``, which come before everything else."""
        text = cast("str", expect(value, str, path, "a string"))
        self.system += self._said([{"type": "text", "text": text}], path)

    def read(self, value: Any, path: str, earlier: Sequence[Fields] = ()) -> list[Turn]:
        """The turns of ``input``, after those of ``earlier`` items that were stored.

        Raises GatewayError (400) that names the path at fault.
        """
        for index, item in enumerate(earlier):
            self._item(item, f"{PREVIOUS}.{index}")
        if isinstance(value, str):
            self._say("user", [{"type": "text", "text": value}], path)
        else:
            items = expect(value, list, path, "a string or an array of items")
            for index, item in enumerate(cast("list[Any]", items)):
                self._item(item, f"{path}.{index}")
        for lost in self._searches:
            self._notes.dropped(lost, _SEARCHED)
        turns = paired(self._turns.finish(), self._notes)
        turns = compactions.settled(turns, self._compactions, self._notes)
        turns = trimmed(turns, self._notes, self._path)
        if not turns:
            raise refuse(path, "at least one item of the user or the assistant must say something")
        return turns

    def _item(self, value: Any, path: str) -> None:
        item = cast("Fields", expect(value, dict, path, "an item"))
        kind = optional(item, "type", str, path, "a string")
        if kind is None:
            kind = "item_reference" if is_reference(item) else "message"
        if kind in LEFT_OUT:
            self._notes.dropped(path, LEFT_OUT[kind])
            return
        row = ITEMS.get(kind)
        if row is None:
            raise refuse(path, REFUSED.get(kind, f"{kind} items cannot be sent to Claude"))
        read, known = row
        read(self, item, path)
        note_others(item, ("type", "id", "status", *known), path, self._notes)

    # --- saying ---------------------------------------------------------------------------------

    def _say(self, role: str, blocks: list[Block], path: str) -> None:
        said = self._said(blocks, path)
        self._leading = self._leading and role == "system"
        self._last, self._path = role, path
        if self._leading:
            self.system += said
        else:
            self._turns.add(role, said, path)

    def _said(self, blocks: list[Block], path: str) -> list[Block]:
        if any(content.is_blank(block) and block["text"] for block in blocks):
            self._notes.dropped(path, _BLANK)
        return [block for block in blocks if not content.is_blank(block)]

    def _begin_turn(self) -> None:
        """A turn of the assistant begins, unless one goes on: open calls will get no result."""
        if self._last != "assistant":
            self._calls.turn()
        self._last, self._leading = "assistant", False

    # --- items ----------------------------------------------------------------------------------

    def _message(self, item: Fields, path: str) -> None:
        role = cast("str", expect(item.get("role"), str, f"{path}.role", "a string"))
        if role not in _ROLES:
            raise refuse(f"{path}.role", f"expected one of {', '.join(_ROLES)}")
        said, parts = _ROLES[role]
        if said == "assistant":
            self._begin_turn()
        value = item.get("content")
        self._note_citations(value, f"{path}.content")
        blocks = content.blocks(value, f"{path}.content", parts, self._notes)
        self._say(said, blocks, path)

    def _note_citations(self, parts: Any, path: str) -> None:
        """Say once for the whole conversation that citations do not return."""
        for index, part in enumerate(cast("list[Any]", parts) if isinstance(parts, list) else []):
            if not self._cited and isinstance(part, dict) and part.get("annotations"):
                self._cited = True
                self._notes.dropped(f"{path}.{index}.annotations", _CITED)

    def _reasoning(self, item: Fields, path: str) -> None:
        self._begin_turn()
        sealed = optional(item, "encrypted_content", str, path, "a string")
        if not sealed:
            if item.get("summary") or item.get("content"):
                self._notes.dropped(path, _UNSIGNED)
            return
        entries, blocks = unpacked(sealed), opened(sealed)
        if blocks and compactions.KIND not in [block["type"] for block in blocks]:
            self._restore(blocks, path)
        elif entries is None:
            self._notes.dropped(path, _FOREIGN)
        self._say("assistant", [block for _, block in entries or () if block is not None], path)

    def _restore(self, blocks: list[Block], path: str) -> None:
        """Blocks of tools that the provider ran, and the searches among them that need no note now."""
        found = [b for b in blocks if b["type"] == "server_tool_use" and b["name"] in ACTIONS]
        if found:
            del self._searches[-len(found) :]
        self._say("assistant", blocks, path)

    def _search(self, item: Fields, path: str) -> None:
        """A search's item shows what was found; what brings it back is sealed into another item."""
        self._begin_turn()
        self._searches.append(path)

    def _compaction(self, item: Fields, path: str) -> None:
        self._begin_turn()
        content = required_text(item, "encrypted_content", path)
        found = compactions.read(opened(content), path)
        self._compactions.append(found)
        self._say("assistant", [found.block], path)

    def _compact(self, item: Fields, path: str) -> None:
        self.compacting = True

    def _function_call(self, item: Fields, path: str) -> None:
        text = optional(item, "arguments", str, path, "a JSON object as a string")
        value = tool_input(text or "")
        if value is None:
            raise refuse(f"{path}.arguments", "expected the text of a JSON object")
        self._call(item, path, "function", value)

    def _custom_call(self, item: Fields, path: str) -> None:
        text = expect(item.get("input"), str, f"{path}.input", "a string")
        self._call(item, path, "custom", {freeform.PROPERTY: text})

    def _call(self, item: Fields, path: str, kind: str, value: Fields) -> None:
        self._begin_turn()
        space = optional(item, "namespace", str, path, "a string") or ""
        name = self._tools.mention(Own(kind, required_text(item, "name", path), space))
        own = required_text(item, "call_id", path)
        call = self._calls.call(own)
        if call != own:
            self._notes.changed(f"{path}.call_id", "illegal or used before: sent as another id")
        block: Block = {"type": "tool_use", "id": call, "name": name, "input": value}
        self._say("assistant", [block], path)

    def _output(self, item: Fields, path: str) -> None:
        own = required_text(item, "call_id", path)
        at, value = f"{path}.output", item.get("output")
        said = self._said(content.blocks(value, at, content.USER, self._notes), at)
        result: Block = {"type": "tool_result", "tool_use_id": self._calls.result(own)}
        if said:
            result["content"] = value if isinstance(value, str) else said
        if item.get("status") == "failed":
            result["is_error"] = True
        self._say("user", [result], path)

    def _ran(self, item: Fields, path: str) -> None:
        """The call of a tool of OpenAI's own that the client ran by itself."""
        kind = _RUN_BY_CLIENTS[item["type"]]
        self._call({**item, "name": kind}, path, kind, arguments(kind, item, path))

    def _ran_output(self, item: Fields, path: str) -> None:
        value = item.get("output")
        text = value if isinstance(value, str) else wire.dumps(value).decode() if value else ""
        call = item.get("call_id") or item.get("id")
        self._output({"call_id": call, "output": text, "status": item.get("status")}, path)

    def _more_tools(self, item: Fields, path: str) -> None:
        if not self._leading:
            self._notes.changed(path, "tools that come late are sent first, which caches miss")
        self._tools.add(item.get("tools"), f"{path}.tools", again=True)


_ROLES: dict[str, tuple[str, dict[str, content.Part]]] = {
    "user": ("user", content.USER),
    "assistant": ("assistant", content.ASSISTANT),
    "system": ("system", content.SYSTEM),
    "developer": ("system", content.SYSTEM),
}

_RUN_BY_CLIENTS = {row.item: kind for kind, row in LOCAL.items()}

Reader = Callable[[Conversation, Fields, str], None]

_CALLED = ("call_id", "name", "namespace")
_RESULT = ("call_id", "name", "namespace", "output")
_TOOLS = ("role", "tools", "call_id", "execution")
ITEMS: dict[str, tuple[Reader, tuple[str, ...]]] = {
    "message": (Conversation._message, ("role", "content")),
    "reasoning": (Conversation._reasoning, ("encrypted_content", "summary", "content")),
    "web_search_call": (Conversation._search, ("action",)),
    "compaction": (Conversation._compaction, ("encrypted_content", "created_by")),
    "compaction_trigger": (Conversation._compact, ()),
    "function_call": (Conversation._function_call, (*_CALLED, "arguments", "parsed_arguments")),
    "function_call_output": (Conversation._output, _RESULT),
    "custom_tool_call": (Conversation._custom_call, (*_CALLED, "input")),
    "custom_tool_call_output": (Conversation._output, _RESULT),
    "additional_tools": (Conversation._more_tools, _TOOLS),
    "tool_search_output": (Conversation._more_tools, _TOOLS),
    **{
        row.item: (Conversation._ran, ("call_id", "environment", row.member))
        for row in LOCAL.values()
    },
    **{
        f"{row.item}_output": (Conversation._ran_output, (*_RESULT, "max_output_length"))
        for row in LOCAL.values()
    },
}
"""How each kind of item is read, and its members beside type, id and status."""
