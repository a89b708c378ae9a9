"""Tools of Chat clients in the hub's terms: names and ids, declarations, tool choice.

Source: OpenAI's API reference (tools, tool_choice, functions); Anthropic's for what a name may be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, cast

from isthmus import wire
from isthmus.errors import refuse
from isthmus.frontends import schema as schemas
from isthmus.frontends.parameters import cache_control, note_others, optional, required_text
from isthmus.frontends.tools import WEB_SEARCH, limited, make_strict, place
from isthmus.messages import Block
from isthmus.request import Notes, expect

NAME_LIMIT = 128
ID_LIMIT = 64
_LEGAL = re.compile(r"[a-zA-Z0-9_-]+")
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")


# --- names and ids ------------------------------------------------------------------------------


class Names:
    """Gives every name that a client made up freely one that the Messages API takes.

    A legal name stays; another gets its characters replaced and a digest of itself appended. Two
    names never become one. What a name becomes depends on it and on those before it alone, so that
    it is the same on every turn of a conversation.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._given: dict[tuple[str, int], str] = {}
        self._taken: set[str] = set()

    def legal(self, name: str, use: int = 0) -> str:
        """The name's legal form; a name that stands for several things has one for each ``use``."""
        known = self._given.get((name, use))
        if known is None:
            fits = not use and len(name) <= self._limit and _LEGAL.fullmatch(name)
            known = name if fits and name not in self._taken else self._made(name, use)
            self._given[name, use] = known
            self._taken.add(known)
        return known

    def _made(self, name: str, use: int) -> str:
        stem = _ILLEGAL.sub("_", name)[: self._limit - 9]
        attempt = 0
        while True:
            digest = sha256(f"{use}/{attempt}/{name}".encode()).hexdigest()[:8]
            made = f"{stem}_{digest}"
            if made not in self._taken:
                return made
            attempt += 1

    def reserve(self, name: str) -> None:
        """Keep a name for something else: a client's own gets another in its place."""
        self._taken.add(name)

    @property
    def renamed(self) -> dict[str, str]:
        """The client's names by their legal forms, of those that had to change."""
        return {legal: name for (name, _), legal in self._given.items() if legal != name}


class Calls:
    """The ids of tool calls, and which call each result answers.

    Clients use an id again in later turns, which Messages forbids: every use gets an id of its own,
    and a result goes to the first call with its id that has none yet.
    """

    def __init__(self) -> None:
        self._names = Names(ID_LIMIT)
        self._uses: dict[str, int] = {}
        self._open: dict[str, list[str]] = {}

    def turn(self) -> None:
        """A new assistant turn begins: calls that are still open will get no result."""
        self._open.clear()

    def call(self, own: str) -> str:
        use = self._uses.get(own, 0)
        self._uses[own] = use + 1
        made = self._names.legal(own, use)
        self._open.setdefault(own, []).append(made)
        return made

    def result(self, own: str) -> str:
        waiting = self._open.get(own)
        if waiting:
            return waiting.pop(0)
        return self._names.legal(own, max(0, self._uses.get(own, 0) - 1))


# --- declarations -------------------------------------------------------------------------------


@dataclass(slots=True)
class Tools:
    """The tools of a request: their hub form, and their legal names by the client's own.

    ``server`` holds those that the provider runs by itself, of which the client hears no calls.
    """

    notes: Notes
    names: Names = field(default_factory=lambda: Names(NAME_LIMIT))
    blocks: list[Block] = field(default_factory=list[Block])
    legal: dict[str, str] = field(default_factory=dict[str, str])
    server: list[Block] = field(default_factory=list[Block])

    def add_search(self, value: Any, path: str) -> None:
        """Read ``web_search_options``; before the client's own tools, so that none takes its name."""
        self.server.append(_search(value, path, self.notes))
        self.names.reserve(WEB_SEARCH["name"])

    def add(self, value: Any, path: str) -> None:
        """Read the ``tools`` array of a request."""
        for index, item in enumerate(expect(value, list, path, "an array of tools")):
            self._tool(item, f"{path}.{index}")

    def add_functions(self, value: Any, path: str) -> None:
        """Read the older ``functions`` array, whose items are what ``tools`` wraps."""
        for index, item in enumerate(expect(value, list, path, "an array of functions")):
            at = f"{path}.{index}"
            self.blocks.append(self._function(expect(item, dict, at, "a function"), at))

    def _tool(self, value: Any, path: str) -> None:
        tool = cast("dict[str, Any]", expect(value, dict, path, "a tool"))
        kind = tool.get("type", "function")
        if kind != "function":
            raise refuse(
                f"{path}.type",
                f"only function tools are supported, not {wire.dumps(kind).decode()}",
            )
        at = f"{path}.function"
        block = self._function(expect(tool.get("function"), dict, at, "an object"), at)
        mark = cache_control(tool, path)
        if mark is not None:
            block["cache_control"] = mark
        note_others(tool, ("type", "function", "cache_control"), path, self.notes)
        self.blocks.append(block)

    def _function(self, function: dict[str, Any], path: str) -> Block:
        own = required_text(function, "name", path)
        if own in self.legal:
            raise refuse(f"{path}.name", f"there is another tool named {own!r}")
        name = self.legal[own] = self.names.legal(own)
        if name != own:
            self.notes.changed(f"{path}.name", f"sent as {name}; answers carry your name")
        block: Block = {"name": name}
        description = optional(function, "description", str, path, "a string")
        if description:
            block["description"] = description
        schema, reason = schemas.input_schema(
            optional(function, "parameters", dict, path, "a JSON Schema object")
        )
        if reason is not None:
            self.notes.changed(f"{path}.parameters", reason)
        block["input_schema"] = schema
        if optional(function, "strict", bool, path, "a boolean"):
            make_strict(block, path, self.notes)
        mark = cache_control(function, path)
        if mark is not None:
            block["cache_control"] = mark
        note_others(function, _FUNCTION, path, self.notes)
        return block


_FUNCTION = ("name", "description", "parameters", "strict", "cache_control")


# --- tools that the provider runs ---------------------------------------------------------------


def _search(value: Any, path: str, notes: Notes) -> Block:
    """Anthropic's web search, told where the user is."""
    options = cast("dict[str, Any]", expect(value, dict, path, "an object"))
    size = optional(options, "search_context_size", str, path, "a string")
    if size not in (None, "medium"):
        notes.dropped(f"{path}.search_context_size", "Anthropic has nothing like it")
    note_others(options, ("search_context_size", "user_location"), path, notes)
    at = f"{path}.user_location"
    where = optional(options, "user_location", dict, path, "an object")
    if where is None:
        return dict(WEB_SEARCH)
    if where.get("type") != "approximate":
        raise refuse(f"{at}.type", 'expected "approximate"')
    note_others(where, ("type", "approximate"), at, notes)
    at = f"{at}.approximate"
    told = cast("dict[str, Any]", expect(where.get("approximate"), dict, at, "an object"))
    return {**WEB_SEARCH, **place(told, at, notes)}


# --- tool choice --------------------------------------------------------------------------------

_CHOICES = {"auto": "auto", "none": "none", "required": "any", "any": "any"}
_FORMS = (
    '"auto", "none", "required", {"type": "function", "function": {"name": ...}} '
    'or {"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}'
)


def tool_choice(value: Any, path: str, tools: Tools) -> Block:
    """The hub's form of ``tool_choice``."""
    if isinstance(value, str):
        kind = _CHOICES.get(value)
        if kind is None:
            raise refuse(path, f"expected {_FORMS}")
        return {"type": kind}
    choice = cast("dict[str, Any]", expect(value, dict, path, _FORMS))
    if choice.get("type") == "allowed_tools":
        return _allowed(choice, path, tools)
    if choice.get("type") != "function":
        raise refuse(f"{path}.type", f"expected {_FORMS}")
    return {"type": "tool", "name": _named(choice, path, tools)}


def function_choice(value: Any, path: str, tools: Tools) -> Block:
    """The hub's form of the older ``function_call`` parameter."""
    if value in ("auto", "none"):
        return {"type": value}
    choice = expect(value, dict, path, '"auto", "none" or {"name": ...}')
    return {"type": "tool", "name": _known(choice, path, tools)}


def _named(choice: dict[str, Any], path: str, tools: Tools) -> str:
    at = f"{path}.function"
    return _known(expect(choice.get("function"), dict, at, "an object with a name"), at, tools)


def _known(function: dict[str, Any], path: str, tools: Tools) -> str:
    own = required_text(function, "name", path)
    if own not in tools.legal:
        raise refuse(f"{path}.name", f"there is no tool named {own!r} in this request")
    return tools.legal[own]


def _allowed(choice: dict[str, Any], path: str, tools: Tools) -> Block:
    """A choice among some of the tools."""
    at = f"{path}.allowed_tools"
    allowed = cast("dict[str, Any]", expect(choice.get("allowed_tools"), dict, at, "an object"))
    mode = allowed.get("mode")
    if mode not in ("auto", "required"):
        raise refuse(f"{at}.mode", 'expected "auto" or "required"')
    items = cast(
        "list[Any]", expect(allowed.get("tools"), list, f"{at}.tools", "an array of tools")
    )
    names = [_allowed_name(item, f"{at}.tools.{i}", tools) for i, item in enumerate(items)]
    if mode == "required" and not names:
        raise refuse(f"{at}.tools", "a call is required, but no tool is allowed")
    offered = [block["name"] for block in tools.blocks]
    return limited(names, offered, f"{at}.tools", tools.notes, forced=mode == "required")


def _allowed_name(item: Any, path: str, tools: Tools) -> str:
    tool = expect(
        item, dict, path, 'a tool such as {"type": "function", "function": {"name": ...}}'
    )
    if tool.get("type", "function") != "function":
        raise refuse(f"{path}.type", "only function tools are supported")
    return _named(tool, path, tools)


# --- cache breakpoints --------------------------------------------------------------------------

BREAKPOINT: dict[str, Any] = {"type": "ephemeral", "ttl": "1h"}
"""What OpenAI's breakpoints become: theirs last half an hour at least, of Anthropic's one does."""
_LASTING = (None, "30m")


def cache_breakpoint(owner: dict[str, Any], path: str, notes: Notes) -> dict[str, Any] | None:
    """OpenAI's ``prompt_cache_breakpoint`` as a cache marker; a marker of Anthropic's wins."""
    at = f"{path}.prompt_cache_breakpoint"
    mark = optional(owner, "prompt_cache_breakpoint", dict, path, "an object")
    if mark is None:
        return None
    if mark.get("mode") != "explicit":
        raise refuse(f"{at}.mode", 'expected "explicit"')
    note_lifetime(mark, at, notes)
    note_others(mark, ("mode", "ttl"), at, notes)
    if owner.get("cache_control") is None:
        return BREAKPOINT
    notes.dropped(at, "cache_control counts")
    return None


def note_lifetime(owner: dict[str, Any], path: str, notes: Notes) -> None:
    """Say where what is cached does not last as long as ``ttl`` asks."""
    if optional(owner, "ttl", str, path, "a string") not in _LASTING:
        notes.changed(f"{path}.ttl", "what is cached lasts an hour")
