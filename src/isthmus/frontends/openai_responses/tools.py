"""Tools of Responses clients in the hub's terms: functions, free-form and other tools, tool choice.

Source: OpenAI's API reference (tools and tool_choice of a response, ``additional_tools`` items).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from isthmus.errors import refuse
from isthmus.frontends import schema as schemas
from isthmus.frontends.openai_chat.tools import NAME_LIMIT, Names
from isthmus.frontends.openai_responses import freeform, searches
from isthmus.frontends.openai_responses.local_tools import LOCAL, declared
from isthmus.frontends.parameters import cache_control, note_others, optional, required_text
from isthmus.frontends.tools import limited, make_strict
from isthmus.messages import Block
from isthmus.request import Notes, expect

Fields = dict[str, Any]

_ALL_AT_ONCE = "every tool is offered at once: there is nothing to be searched"
LEFT_OUT = {
    "tool_search": _ALL_AT_ONCE,
    "programmatic_tool_calling": "Claude calls each tool by itself",
}
"""Tools that a request can do without: clients such as Codex always offer some."""

_AT_OPENAI = "it runs at OpenAI: a function can be declared in its place"
REFUSED = {
    "code_interpreter": _AT_OPENAI,
    "computer": "it is driven in OpenAI's own way: a function can be declared in its place",
    "computer_use_preview": "it is driven in OpenAI's own way: a function can be declared in its place",
    "file_search": _AT_OPENAI,
    "image_generation": "Claude makes no images",
    "mcp": "OpenAI connects to the server: connect to it and declare its tools as functions",
}
"""Tools that cannot be served, and why."""

HINTS = {
    "allowed_callers": "Claude calls each tool by itself",
    "async": "a call is answered in the next request",
    "defer_loading": _ALL_AT_ONCE,
    "output_schema": "Claude takes no schema of results",
}
"""Members of a tool that are left out, and why."""

_FUNCTION = ("type", "name", "description", "parameters", "strict", "cache_control")
_CUSTOM = ("type", "name", "description", "format", "cache_control")
_SERVED = ("function", "custom", "namespace", "web_search", *LOCAL)
_SUPPORTED = f"{', '.join(_SERVED[:-1])} and {_SERVED[-1]} tools"
_OF_THE_SERVER = "\0"
"""Stands for a namespace where a name belongs to a tool that the provider runs."""


@dataclass(frozen=True, slots=True)
class Own:
    """A tool as its client knows it; ``namespace`` is "" for one that stands alone."""

    kind: str
    name: str
    namespace: str = ""


@dataclass(slots=True)
class Tools:
    """The tools of a request in their hub form, and how their names go there and back."""

    notes: Notes
    max_uses: int | None = None
    blocks: list[Block] = field(default_factory=list[Block])
    offered: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    left_out: set[str] = field(default_factory=set[str])
    _names: Names = field(default_factory=lambda: Names(NAME_LIMIT))
    _uses: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _owners: dict[str, Own] = field(default_factory=dict[str, Own])

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names for tools that the provider runs: a client's own of that name gets another."""
        for name in names:
            self.legal(name, _OF_THE_SERVER)

    def legal(self, name: str, namespace: str = "") -> str:
        """The hub's name of a tool, offered or only mentioned in the conversation."""
        joined = name if namespace == _OF_THE_SERVER else _joined(name, namespace)
        uses = self._uses.setdefault(joined, [])
        if namespace not in uses:
            uses.append(namespace)
        return self._names.legal(joined, uses.index(namespace))

    def owners(self) -> dict[str, list[str]]:
        """By legal name, kind, name and namespace of the tools that answers must name otherwise."""
        return {
            legal: [own.kind, own.name, own.namespace]
            for legal, own in self._owners.items()
            if own != Own("function", legal)
        }

    def mention(self, own: Own) -> str:
        """The legal name of a tool that was called earlier, whether it is still offered or not."""
        legal = self.legal(own.name, own.namespace)
        self._owners.setdefault(legal, own)
        return legal

    def add(self, value: Any, path: str, *, again: bool = False) -> None:
        """Read an array of tools; ``again`` allows what an earlier one has offered already."""
        for index, item in enumerate(expect(value, list, path, "an array of tools")):
            at = f"{path}.{index}"
            tool = cast("Fields", expect(item, dict, at, "a tool"))
            if tool.get("type") == "namespace":
                self._namespace(tool, at, again=again)
            else:
                self._tool(tool, at, "", again=again)

    def _namespace(self, space: Fields, path: str, *, again: bool) -> None:
        """Nested tools; what the namespace says of itself is said with each of them."""
        name = required_text(space, "name", path)
        about = optional(space, "description", str, path, "a string") or ""
        nested = expect(space.get("tools"), list, f"{path}.tools", "an array of tools")
        for index, item in enumerate(nested):
            at = f"{path}.tools.{index}"
            tool = cast("Fields", expect(item, dict, at, "a tool"))
            self._tool(tool, at, name, again=again, about=about)
        note_others(space, ("type", "name", "description", "tools"), path, self.notes)

    def _tool(
        self, tool: Fields, path: str, namespace: str, *, again: bool, about: str = ""
    ) -> None:
        kind = expect(tool.get("type"), str, f"{path}.type", "a string")
        if kind in LEFT_OUT:
            self.left_out.add(kind)
            self.notes.dropped(path, LEFT_OUT[kind])
            return
        if kind in searches.TYPES and not namespace:
            self._search(tool, path)
            return
        own = Own(kind, self._own_name(tool, kind, path), namespace)
        key = (namespace, own.name)
        if key in self.offered and not again:
            raise refuse(f"{path}.name", f"there is another tool named {own.name!r}")
        legal = self.legal(own.name, namespace)
        block: Block = {"name": legal}
        said = optional(tool, "description", str, path, "a string") or ""
        told = "\n\n".join(text for text in (about, said) if text)
        if told:
            block["description"] = told
        self._describe(block, tool, own, path)
        if key not in self.offered:
            self._offer(block, own, legal, path)
        elif block not in self.blocks:
            self.notes.dropped(path, "the first declaration of this tool counts")

    def _own_name(self, tool: Fields, kind: str, path: str) -> str:
        if kind in LOCAL:
            return kind
        if kind not in ("function", "custom"):
            reason = REFUSED.get(kind, f"only {_SUPPORTED} are served here")
            raise refuse(f"{path}.type", f"{kind}: {reason}")
        return required_text(tool, "name", path)

    def _search(self, tool: Fields, path: str) -> None:
        block = searches.tool(tool, path, self.notes)
        if self.max_uses is not None:
            block["max_uses"] = self.max_uses
        if not self.searching:
            self.blocks.append(block)
        elif block not in self.blocks:
            self.notes.dropped(path, "the first declaration of this tool counts")

    @property
    def searching(self) -> bool:
        """Whether the search of the web is offered."""
        return any(block["name"] == searches.NAME for block in self.blocks)

    def _offer(self, block: Block, own: Own, legal: str, path: str) -> None:
        if legal != _joined(own.name, own.namespace):
            self.notes.changed(f"{path}.name", f"sent as {legal}; answers carry your name")
        self.offered[own.namespace, own.name] = legal
        self._owners[legal] = own
        self.blocks.append(block)

    def _describe(self, block: Block, tool: Fields, own: Own, path: str) -> None:
        """Put the schema and what else the declaration holds into the block."""
        if own.kind in LOCAL:
            block |= declared(tool, own.kind, path)
            note_others(tool, ("type", "environment", *HINTS), path, self.notes)
        elif own.kind == "custom":
            block["input_schema"] = freeform.schema(self._grammar(tool, path))
            note_others(tool, (*_CUSTOM, *HINTS), path, self.notes)
        else:
            parameters = optional(tool, "parameters", dict, path, "a JSON Schema object")
            block["input_schema"], reason = schemas.input_schema(parameters)
            if reason is not None:
                self.notes.changed(f"{path}.parameters", reason)
            if optional(tool, "strict", bool, path, "a boolean"):
                make_strict(block, path, self.notes)
            note_others(tool, (*_FUNCTION, *HINTS), path, self.notes)
        for name, reason in HINTS.items():
            if tool.get(name) not in (None, False, ["direct"]):
                self.notes.dropped(f"{path}.{name}", reason)
        mark = cache_control(tool, path)
        if mark is not None:
            block["cache_control"] = mark

    def _grammar(self, tool: Fields, path: str) -> str:
        """The words for the grammar of a free-form tool; "" for one that takes any text."""
        at = f"{path}.format"
        form = cast("Fields", optional(tool, "format", dict, path, "an object") or {"type": "text"})
        kind = required_text(form, "type", at)
        if kind == "text":
            note_others(form, ("type",), at, self.notes)
            return ""
        if kind != "grammar":
            raise refuse(f"{at}.type", 'expected "text" or "grammar"')
        syntax = required_text(form, "syntax", at)
        definition = required_text(form, "definition", at)
        note_others(form, ("type", "syntax", "definition"), at, self.notes)
        self.notes.changed(at, "the grammar is told to the model, not enforced")
        return f"({syntax})\n{definition}"


def _joined(name: str, namespace: str) -> str:
    """How a name reads in the hub, which has no namespaces; answers carry both parts again."""
    return f"{namespace}__{name}" if namespace else name


# --- tool choice --------------------------------------------------------------------------------


def offered_search(body: Fields, earlier: Sequence[Any]) -> tuple[str, ...]:
    """The names that tools of the provider's own will have, wherever they are offered.

    ``earlier`` holds the items of stored responses that go before those of the body.
    """
    given = body.get("input")
    items = [*earlier, *(cast("list[Any]", given) if isinstance(given, list) else ())]
    lists = [body, *(item for item in items if isinstance(item, dict))]
    tools = [tool for owner in lists for tool in _listed(owner.get("tools"))]
    kinds = [tool.get("type") for tool in tools if isinstance(tool, dict)]
    return (searches.NAME,) if any(kind in searches.TYPES for kind in kinds) else ()


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_FORMS = (
    '"auto", "none", "required", {"type": "function", "name": ...}, {"type": "custom", "name": ...}, '
    '{"type": "web_search"} or {"type": "allowed_tools", "mode": ..., "tools": [...]}'
)


def tool_choice(value: Any, path: str, tools: Tools) -> Block | None:
    """The hub's form of ``tool_choice``, None where there is nothing to choose from.

    Raises GatewayError (400) for a call that is required of a tool that is not offered.
    """
    if not isinstance(value, str):
        choice = _chosen(cast("Fields", expect(value, dict, path, _FORMS)), path, tools)
    elif value in _CHOICES:
        choice = {"type": _CHOICES[value]}
    else:
        raise refuse(path, f"expected {_FORMS}")
    if tools.blocks:
        return choice
    if choice["type"] == "any" and not tools.left_out:
        raise refuse(path, "a call is required, but there are no tools")
    tools.notes.dropped(path, "there are no tools to choose from")
    return None


def _chosen(choice: Fields, path: str, tools: Tools) -> Block:
    kind = cast("str", expect(choice.get("type"), str, f"{path}.type", _FORMS))
    if kind == "allowed_tools":
        return _allowed(choice, path, tools)
    if kind in tools.left_out:
        tools.notes.changed(path, f"{LEFT_OUT[kind]}: auto")
        return {"type": "auto"}
    name = _of_kind(choice, kind, path, tools)
    if name is None:
        raise refuse(f"{path}.type", f"expected {_FORMS}")
    note_others(choice, ("type", "name", "namespace"), path, tools.notes)
    return {"type": "tool", "name": name}


def _of_kind(choice: Fields, kind: str, path: str, tools: Tools) -> str | None:
    """The legal name of the tool that is chosen; None for a kind that cannot be.

    Raises GatewayError (400) for one that is not offered.
    """
    if kind in searches.TYPES:
        if not tools.searching:
            raise refuse(f"{path}.type", "there is no web search in this request")
        return searches.NAME
    if kind in LOCAL:
        choice = {**choice, "name": kind}
    return _named(choice, path, tools) if kind in ("function", "custom", *LOCAL) else None


def _named(choice: Fields, path: str, tools: Tools) -> str:
    own = required_text(choice, "name", path)
    space = optional(choice, "namespace", str, path, "a string") or ""
    if (space, own) not in tools.offered:
        raise refuse(f"{path}.name", f"there is no tool named {own!r} in this request")
    return tools.offered[space, own]


def _allowed(choice: Fields, path: str, tools: Tools) -> Block:
    """A choice among some of the tools."""
    mode = choice.get("mode")
    if mode not in ("auto", "required"):
        raise refuse(f"{path}.mode", 'expected "auto" or "required"')
    names: list[str] = []
    for index, item in enumerate(expect(choice.get("tools"), list, f"{path}.tools", "an array")):
        at = f"{path}.tools.{index}"
        tool = cast("Fields", expect(item, dict, at, "a tool"))
        kind = cast("str", expect(tool.get("type"), str, f"{at}.type", "a string"))
        name = _of_kind(tool, kind, at, tools)
        if name is not None:
            names.append(name)
        elif kind not in tools.left_out:
            raise refuse(f"{at}.type", f"{kind} is not served here, only {_SUPPORTED}")
    note_others(choice, ("type", "mode", "tools"), path, tools.notes)
    if mode == "required" and not names:
        raise refuse(f"{path}.tools", "a call is required, but no tool is allowed")
    offered = [block["name"] for block in tools.blocks]
    return limited(names, offered, f"{path}.tools", tools.notes, forced=mode == "required")
