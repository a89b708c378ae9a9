"""The tools that the provider runs: how they are offered, and what they did in Gemini's words.

Source of the shapes: the reference of the Gemini API (Tool, GroundingMetadata, UrlContextMetadata,
ExecutableCode, CodeExecutionResult), its recorded answers, and Anthropic's pages on server tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from isthmus import wire
from isthmus.errors import refuse
from isthmus.frontends.gemini.fields import Fields, joined
from isthmus.frontends.tools import WEB_SEARCH
from isthmus.messages import Block, Turn
from isthmus.request import Notes, expect

Part = dict[str, Any]

_FETCH = {"type": "web_fetch_20260318", "name": "web_fetch", "allowed_callers": ["direct"]}
SERVED: dict[str, dict[str, Any]] = {
    "googleSearch": WEB_SEARCH,
    "googleSearchRetrieval": WEB_SEARCH,
    "urlContext": _FETCH,
    "codeExecution": {"type": "code_execution_20260521", "name": "code_execution"},
}
"""Google's tool -> Claude's, called directly: a client that asked for a search has no parts for code."""

_NOT_TOLD = {
    "timeRangeFilter": "Claude's search takes no range of time",
    "blockingConfidence": "Claude's search takes no such hint",
    "dynamicRetrievalConfig": "Claude decides by itself when to search",
}

NATIVE_PARTS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
"""Parts that tell of tools which the provider ran; a signature holds what they stand for."""


def served_tools(tools: list[Fields], notes: Notes) -> list[dict[str, Any]]:
    """Claude's tools for those of Google's that it has, each once, in the order of SERVED."""
    found: dict[str, dict[str, Any]] = {}
    for name, ours in SERVED.items():
        for tool in tools:
            if name not in tool:
                continue
            options = Fields(tool.get(name), tool.path(name), _OPTIONS, notes)
            if ours["name"] in found:
                notes.dropped(tool.path(name), f"{ours['name']} is offered already")
                continue
            found[ours["name"]] = {**ours, **_domains(options, notes)}
    return list(found.values())


_OPTIONS = {*_NOT_TOLD, "excludeDomains", "searchTypes"}


def _domains(options: Fields, notes: Notes) -> dict[str, Any]:
    for name, why in _NOT_TOLD.items():
        if name in options:
            notes.dropped(options.path(name), why)
    if "searchTypes" in options:
        known = ("webSearch", "imageSearch")
        kinds = Fields(options.get("searchTypes"), options.path("searchTypes"), known, notes)
        if "imageSearch" in kinds:
            notes.dropped(kinds.path("imageSearch"), "Claude searches pages only")
    path = options.path("excludeDomains")
    rows = [
        expect(row, str, joined(path, index), "a domain")
        for index, row in enumerate(options.array("excludeDomains"))
    ]
    if not all(row.strip() for row in rows):
        raise refuse(path, "a domain is empty")
    return {"blocked_domains": rows} if rows else {}


# --- what they did ------------------------------------------------------------------------------


def _source(given: Mapping[str, Any]) -> tuple[str, str]:
    """The code of a call, and its language."""
    if isinstance(code := given.get("code"), str):
        return code, "PYTHON"
    if isinstance(command := given.get("command"), str) and len(given) == 1:
        return command, "LANGUAGE_UNSPECIFIED"
    return wire.dumps(given).decode(), "LANGUAGE_UNSPECIFIED"


def run_part(block: Block) -> list[Part]:
    """The part that shows a call of code execution: code, a shell command, or an edit as JSON."""
    if not str(block["name"]).endswith("code_execution"):
        return []
    code, language = _source(block["input"])
    return [{"executableCode": {"id": block["id"], "language": language, "code": code}}]


def outcome_part(block: Block) -> list[Part]:
    """The part that shows what a code execution brought, whether or not it worked."""
    if not str(block["type"]).endswith("code_execution_tool_result"):
        return []
    content = _mapping(block.get("content"))
    code, status = content.get("error_code"), content.get("return_code", 0)
    if code == "execution_time_exceeded":
        outcome = "OUTCOME_DEADLINE_EXCEEDED"
    else:
        outcome = "OUTCOME_OK" if code is None and status == 0 else "OUTCOME_FAILED"
    output = "\n".join(text for name in _TOLD if (text := _words(content.get(name))))
    shown = {"id": block.get("tool_use_id"), "outcome": outcome, "output": output}
    return [{"codeExecutionResult": {k: v for k, v in shown.items() if v not in (None, "")}}]


_TOLD = ("stdout", "stderr", "content", "lines", "error_code", "error_message")


def _words(value: Any) -> str:
    """A text, or lines of one; what is neither says nothing."""
    rows = cast("list[Any]", value) if isinstance(value, list) else [value]
    return "\n".join(row for row in rows if isinstance(row, str))


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


class Grounding:
    """Collects what an answer says of its sources, for the last response of a candidate.

    Places are counted in bytes of UTF-8 over all visible text of the answer, as Google counts.
    """

    def __init__(self) -> None:
        self._place = 0
        self._queries: dict[str, None] = {}
        self._chunks: dict[str, dict[str, Any]] = {}
        self._supports: list[dict[str, Any]] = []
        self._fetches: dict[str, dict[str, str]] = {}
        self._titles: dict[str, str] = {}

    def called(self, block: Block) -> None:
        """A search or a fetch has been asked for."""
        given = _mapping(block["input"])
        if block["name"] == "web_search" and (query := _string(given.get("query"))):
            self._queries[query] = None
        elif block["name"] == "web_fetch":
            self._fetches[block["id"]] = {"retrievedUrl": _string(given.get("url"))}

    def brought(self, block: Block) -> None:
        """A fetch came to its end, well or not."""
        if block["type"] != "web_fetch_tool_result":
            return
        content = _mapping(block.get("content"))
        url, failed = _string(content.get("url")), "error_code" in content
        row = self._fetches.setdefault(str(block.get("tool_use_id")), {"retrievedUrl": url})
        row["retrievedUrl"] = url or row["retrievedUrl"]
        row["urlRetrievalStatus"] = f"URL_RETRIEVAL_STATUS_{'ERROR' if failed else 'SUCCESS'}"
        if title := _string(_mapping(content.get("content")).get("title")):
            self._titles.setdefault(title, url)

    def said(self, text: str, citations: Any) -> None:
        """A text block is complete."""
        start, size = self._place, len(text.encode("utf-8", "surrogatepass"))
        self._place += size
        rows = cast("list[Any]", citations) if isinstance(citations, list) else []
        found = [self._cited(_mapping(row)) for row in rows]
        if size and found:
            segment = {"startIndex": start, "endIndex": self._place, "text": text}
            indices = list(dict.fromkeys(found))
            self._supports.append({"segment": segment, "groundingChunkIndices": indices})

    def _cited(self, citation: Mapping[str, Any]) -> int:
        """The number of the chunk that a citation speaks of; a page of the web or a document."""
        title = _string(citation.get("title") or citation.get("document_title"))
        address = _string(citation.get("url")) or self._titles.get(title, "")
        if address:
            chunk: dict[str, Any] = {"web": {"uri": address, "title": title}}
        else:
            told = {"uri": citation.get("source"), "title": title}
            told["text"] = citation.get("cited_text")
            kept = {key: value for key, value in told.items() if isinstance(value, str) and value}
            chunk = {"retrievedContext": kept}
        key = address or wire.dumps(chunk).decode()
        self._chunks.setdefault(key, chunk)
        return list(self._chunks).index(key)

    def metadata(self) -> dict[str, Any]:
        """The members of the candidate that tell of it; none where nothing was looked up."""
        told = {
            "webSearchQueries": list(self._queries),
            "groundingChunks": list(self._chunks.values()),
            "groundingSupports": self._supports,
        }
        found = {name: rows for name, rows in told.items() if rows}
        fetched = [row for row in self._fetches.values() if "urlRetrievalStatus" in row]
        return {
            **({"groundingMetadata": found} if found else {}),
            **({"urlContextMetadata": {"urlMetadata": fetched}} if fetched else {}),
        }


# --- their history ------------------------------------------------------------------------------


def settled(turns: list[Turn], notes: Notes) -> list[Turn]:
    """The turns without calls of such tools that wait for nothing, and without results of no call.

    The provider goes on with an unanswered call only at the very end, or after the results of the
    client's own calls alone; a turn that stopped in the middle leaves such a call behind.
    """
    waiting: dict[str, Block] = {}
    loose: list[Block] = []
    for index, turn in enumerate(turns):
        blocks = cast("list[Block]", turn["content"])
        if turn["role"] == "assistant":
            loose += _answered(blocks, waiting)
        following = turns[index + 1] if index + 1 < len(turns) else None
        if following is not None and following["role"] != "assistant" and not _answers(following):
            loose += waiting.values()
            waiting.clear()
    if not loose:
        return turns
    notes.dropped("contents", "a call that the provider did not finish, or a result of none")
    gone = {id(block) for block in loose}
    kept = [_without(turn, gone) for turn in turns]
    return [turn for turn in kept if turn["content"]]


def _answered(blocks: list[Block], waiting: dict[str, Block]) -> list[Block]:
    """Follow the calls of one turn; the results that answer none of them are given back."""
    loose: list[Block] = []
    for block in blocks:
        kind = block["type"]
        if kind in ("server_tool_use", "mcp_tool_use"):
            waiting[block["id"]] = block
        elif kind.endswith("_tool_result") and waiting.pop(block["tool_use_id"], None) is None:
            loose.append(block)
    return loose


def _answers(turn: Turn) -> bool:
    return all(block["type"] == "tool_result" for block in cast("list[Block]", turn["content"]))


def _without(turn: Turn, gone: set[int]) -> Turn:
    blocks = cast("list[Block]", turn["content"])
    return {"role": turn["role"], "content": [b for b in blocks if id(b) not in gone]}
