"""Web search both ways: the tool that is offered, and the calls of it in an answer.

Source: OpenAI's API reference (the web search tools, ``web_search_call`` items and their events);
Anthropic's pages on the web search and web fetch tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from isthmus import wire
from isthmus.errors import refuse
from isthmus.frontends.openai_responses.output import Events, Growing, Value, reasoning_item
from isthmus.frontends.openai_responses.sealed import OWN, sealed
from isthmus.frontends.parameters import note_others, optional
from isthmus.frontends.tools import WEB_SEARCH, place
from isthmus.messages import Block
from isthmus.request import Notes, expect

Fields = dict[str, Any]

NAME = WEB_SEARCH["name"]
TYPES = (
    *("web_search", "web_search_2025_08_26"),
    *("web_search_preview", "web_search_preview_2025_03_11"),
)
"""The names of the tool; the preview is the same search with fewer settings."""

_MEMBERS = (
    *("type", "filters", "user_location", "search_context_size", "external_web_access"),
    *("search_content_types",),
)


def tool(asked: Fields, path: str, notes: Notes) -> Block:
    """The hub's form of a web search tool. Raises GatewayError (400) that names a member at fault."""
    block: Block = dict(WEB_SEARCH)
    domains = _domains(asked, path, notes)
    if domains:
        block["allowed_domains"] = domains
    block |= _place(asked, path, notes)
    if optional(asked, "search_context_size", str, path, "a string") not in (None, "medium"):
        notes.dropped(f"{path}.search_context_size", "Claude decides how much it reads")
    if optional(asked, "external_web_access", bool, path, "a boolean") is False:
        notes.changed(f"{path}.external_web_access", "Claude has one search, of the web as it is")
    kinds = optional(asked, "search_content_types", list, path, "an array")
    if kinds and kinds != ["text"]:
        notes.dropped(f"{path}.search_content_types", "Claude's search brings text")
    note_others(asked, _MEMBERS, path, notes)
    return block


def _domains(asked: Fields, path: str, notes: Notes) -> list[str]:
    at = f"{path}.filters"
    filters = optional(asked, "filters", dict, path, "an object") or {}
    domains = optional(filters, "allowed_domains", list, at, "an array of strings") or []
    for index, domain in enumerate(cast("list[Any]", domains)):
        expect(domain, str, f"{at}.allowed_domains.{index}", "a string")
    note_others(filters, ("allowed_domains",), at, notes)
    return domains


def _place(asked: Fields, path: str, notes: Notes) -> Block:
    at = f"{path}.user_location"
    told = optional(asked, "user_location", dict, path, "an object") or {}
    if told.get("type") not in (None, "approximate"):
        raise refuse(f"{at}.type", 'expected "approximate"')
    return place(told, at, notes, beside=("type",))


# --- answers ------------------------------------------------------------------------------------

ACTIONS = {"web_search": ("search", "query"), "web_fetch": ("open_page", "url")}
"""By the name of a tool that the provider runs: the action of its item, and what the call says of it."""

_RESULTS = ("web_search_tool_result", "web_fetch_tool_result")


class _Search(Growing):
    """One search, or one page that was opened."""

    def __init__(self, block: Block, key: str) -> None:
        kind, self._member = ACTIONS[block["name"]]
        value: Value = {"id": f"ws_{key}", "type": "web_search_call"}
        super().__init__({**value, "status": "in_progress", "action": {"type": kind}}, -1)
        self.call = block["id"]
        self._asked = self._answered = self._begun = False

    def begin(self, index: int) -> Events:
        self._index, self._begun = index, True
        early = {**self.value, "status": "in_progress", "action": {"type": self._kind}}
        events: Events = [
            {"type": "response.output_item.added", "output_index": index, "item": early},
            self._event("web_search_call.in_progress"),
        ]
        return [*events, *self._searching()]

    @property
    def _kind(self) -> str:
        return self.value["action"]["type"]

    @property
    def answered(self) -> bool:
        return self._answered

    def ask(self, value: Mapping[str, Any]) -> Events:
        """Take the complete arguments of the call."""
        said = value.get(self._member)
        if isinstance(said, str):
            action = {"type": self._kind, self._member: said}
            self._change(action={**action, "queries": [said]} if self._kind == "search" else action)
        self._asked = True
        return self._searching() if self._begun else []

    def _searching(self) -> Events:
        return [self._event("web_search_call.searching")] if self._asked else []

    def answer(self, content: Any, *, sources: bool) -> None:
        """Take the result, a list of pages or one page; anything else is the failure of the tool."""
        pages = cast("list[Any]", content) if isinstance(content, list) else []
        failed = isinstance(content, dict) and "error_code" in content
        if sources and self._kind == "search":
            found = [{"type": "url", "url": url} for page in pages if (url := _address(page))]
            self._change(action={**self.value["action"], "sources": found})
        self._change(status="failed" if failed else "completed")
        self._answered = True

    def end(self) -> Events:
        """The last events; one that has no result yet is incomplete."""
        done = [self._item_event("done")]
        if not self._answered:
            self._change(status="incomplete")
            return [self._item_event("done")]
        if self.value["status"] == "failed":
            return done
        return [self._event("web_search_call.completed"), *done]


def _address(page: Any) -> str | None:
    url = cast("Value", page).get("url") if isinstance(page, dict) else None
    return url if isinstance(url, str) else None


class ServerRun:
    """Neighbouring blocks of tools that the provider runs, and of whatever else has no item.

    ``key`` is what the first block's item would be called, ``BASE_N`` where it is the Nth block of the
    answer. Searches are items, one after the other as clients expect it, though their blocks may overlap.
    All the blocks together are sealed into one reasoning item behind them, where the client included
    that: nothing else brings them back on later turns.
    """

    def __init__(self, key: str, index: int, *, encrypted: bool, sources: bool) -> None:
        self.values: list[Value] = []
        self._key = key
        base, _, first = key.rpartition("_")
        self._base, self._first, self._count = base, int(first), 0
        self._index = index
        self._encrypted = encrypted
        self._sources = sources
        self._waiting: list[_Search] = []
        self._current: _Search | None = None
        self._blocks: list[Block] = []
        self._block: Block = {}
        self._pieces: list[str] = []

    def begin(self) -> Events:
        return []

    def takes(self, block: Block) -> bool:
        return block["type"] not in OWN and block["type"] != "compaction"

    def open(self, block: Block) -> Events:
        self._block = dict(block)
        self._pieces.clear()
        self._count += 1
        if block["type"] == "server_tool_use" and block["name"] in ACTIONS:
            self._waiting.append(_Search(block, f"{self._base}_{self._first + self._count - 1}"))
        elif block["type"] in _RESULTS:
            for search in self._searches():
                if search.call == block.get("tool_use_id"):
                    search.answer(block.get("content"), sources=self._sources)
        return self._proceeded()

    def delta(self, delta: Mapping[str, Any]) -> Events:
        if delta["type"] == "input_json_delta":
            self._pieces.append(delta["partial_json"])
        return []

    def close(self) -> Events:
        block, text = self._block, "".join(self._pieces)
        if text:
            value = _object(text)
            if value is None:
                return []  # cut off by a limit: no call that could be sent back
            block = {**block, "input": value}
        if block["type"] not in OWN:
            self._blocks.append(block)
        for search in self._searches():
            if search.call == block.get("id"):
                return search.ask(block["input"])
        return []

    def settle(self, status: str) -> Events:
        """The last events; ``status`` says nothing of searches, which have one each."""
        events: Events = []
        while self._current is not None:
            events += self._ended(self._current)
            events += self._proceeded()
        if self._encrypted and self._blocks:
            item = reasoning_item(self._key, sealed(self._blocks))
            place = {"output_index": self._index + len(self.values)}
            early = {name: value for name, value in item.items() if name != "encrypted_content"}
            events.append({"type": "response.output_item.added", **place, "item": early})
            events.append({"type": "response.output_item.done", **place, "item": item})
            self.values.append(item)
        return events

    def cut(self) -> None:
        """Keep the search that is under way, of an answer that breaks off."""
        if self._current is not None:
            self.values.append({**self._current.value, "status": "incomplete"})

    def _searches(self) -> list[_Search]:
        return [self._current, *self._waiting] if self._current is not None else self._waiting

    def _proceeded(self) -> Events:
        """End what has its result and begin what comes next, as far as that is possible."""
        events: Events = []
        while True:
            if self._current is None and self._waiting:
                self._current = self._waiting.pop(0)
                events += self._current.begin(self._index + len(self.values))
            if self._current is None or not self._current.answered:
                return events
            events += self._ended(self._current)

    def _ended(self, search: _Search) -> Events:
        events = search.end()
        self.values.append(search.value)
        self._current = None
        return events


def _object(text: str) -> Fields | None:
    try:
        value = wire.loads(text)
    except ValueError:
        return None
    return cast("Fields", value) if isinstance(value, dict) else None
