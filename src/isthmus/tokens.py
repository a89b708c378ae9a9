"""How many tokens a request's prompt has: an estimate of all that the model is shown.

The same body gives the same figure, and its cost grows with the bytes of the body alone. What only the
provider sees is assumed on the safe side, and then the estimate calls itself rough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, Literal, NamedTuple, cast

from isthmus import wire
from isthmus.dimensions import pdf_pages, picture_size
from isthmus.rates import MOST_PATCHES, Rates, rates_of, text_tokens
from isthmus.request import Body

Trust = Literal["sure", "rough", "open"]
"""``rough``: figures stand for parts that nobody can see here (a document at an address, a prompt of the
provider's own); ``open``: the provider shortens the prompt by itself before the model reads it."""


class Estimate(NamedTuple):
    """Tokens of a prompt, and what the figure is worth."""

    tokens: int
    trust: Trust


PATCH = 28
"""Pixels of the square that costs one token (Anthropic's page on vision; two recorded pictures agree)."""
MOST_PAGES = 600
"""Pages of a PDF that the provider reads at most (Anthropic's page on PDF support)."""
PAGE_BYTES = 20_000
"""Base64 characters for each page of a PDF whose pages are compressed out of sight."""
FAR_PAGES = 10
"""Pages of a document that is given by an address or as a file."""

_REQUEST, _MESSAGE, _CALL, _RESULT, _TOOL = 6, 4, 27, 27, 14
_THINKING, _FORMAT = 28, 110
"""What the provider puts around each of these, or adds for it, as recorded."""
_TOOL_PROMPT = 500
"""What the provider says of tools wherever one is declared."""
_HIDDEN = {
    "web_search": 2200,
    "web_fetch": 900,
    "code_execution": 2300,
    "memory": 1600,
    "advisor": 2400,
    "tool_search": 600,
    "text_editor": 700,
    "bash": 250,
    "computer": 750,
    "browser": 2500,
}
"""What the provider adds for a tool of its own, by the beginning of its type: recorded, but for the last
four, which Anthropic's pages on tools tell."""
_OTHER_HIDDEN = 1000
_MCP_SERVER = 3000
"""A server's tools, which only the provider sees."""

_PLAIN_SIGNATURE = 230
"""Characters of a signature that stand for no thinking."""
_SEALED = ("encrypted_content", "encrypted_index", "encrypted_stdout", "signature")
"""Members whose base64 hides text: four characters for three of the text's."""
_ASIDE = frozenset({"cache_control", "citations", *_SEALED})

Block = dict[str, Any]


# --- the whole prompt ---------------------------------------------------------------------------


def may_exceed(data: bytes, limit: int) -> bool:
    """Whether the prompt in a Messages body can have more than ``limit`` tokens, told from its bytes alone.

    A token is a byte of text at least, so that only what is more than its bytes must be looked at:
    pictures, what the provider adds for tools, and documents.
    """
    room = limit - _ADDED - len(data)
    if room < 0 or b'"mcp_servers"' in data:
        return True
    kinds = _UNSEEN.findall(data)
    return b"document" in kinds or MOST_PATCHES * len(kinds) > room


_UNSEEN = re.compile(rb'"type"\s*:\s*"(image|document)"')
"""Blocks of which the bytes say nothing."""
_ADDED = 20_000
"""Tokens that the provider adds by itself at most: the sum of ``_HIDDEN`` and more."""


def estimate(body: Body, model: str) -> Estimate:
    """The tokens of a Messages body's prompt for a model, by its name.

    What is malformed counts as the text that it is: to refuse it is another's matter. Raises
    GatewayError (400) for a member that stands twice in the body, or is no JSON that can be read.
    """
    found = _Prompt(rates_of(model))
    found.add_tools(_listed(body.peek("tools")), body.peek("mcp_servers"))
    found.add_blocks(_blocks(body.peek("system")))
    turns = _listed(body.peek("messages"))
    loop = _loop(turns)
    for place in range(_beginning(turns), len(turns)):
        found.add_turn(turns[place], thinks=place >= loop)
    if (form := _mapped(body.peek("output_config")).get("format")) is not None:
        found.add_fixed(_FORMAT)
        found.add_json(form)
    if _mapped(body.peek("thinking")).get("type") == "enabled":
        found.add_fixed(_THINKING)
    found.add_deferred()
    tokens = ceil(found.tokens + _REQUEST)
    trust: Trust = "rough" if found.rough else "sure"
    return Estimate(tokens, "open" if _shortens(body) else trust)


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _mapped(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _blocks(content: Any) -> list[Any]:
    """Content as a list of what it holds; a string is a block of text."""
    return _listed(content) or ([] if content in (None, []) else [content])


def _beginning(turns: list[Any]) -> int:
    """Where the prompt begins: the provider leaves out all before the last compaction."""
    for place in range(len(turns) - 1, 0, -1):
        for block in _blocks(_mapped(turns[place]).get("content")):
            if _mapped(block).get("type") == "compaction" and block.get("content"):
                return place
    return 0


def _loop(turns: list[Any]) -> int:
    """Where the turn begins that is under way: thinking before it is not shown again."""
    for place in range(len(turns) - 1, -1, -1):
        turn = _mapped(turns[place])
        if turn.get("role") == "user" and not any(
            _mapped(block).get("type") == "tool_result" for block in _blocks(turn.get("content"))
        ):
            return place
    return 0


def _shortens(body: Body) -> bool:
    """Whether the provider is asked to clear tool results, or to compact, where the prompt is long."""
    edits = _listed(_mapped(body.peek("context_management")).get("edits"))
    kinds = (str(_mapped(edit).get("type")) for edit in edits)
    return any(kind.startswith(("clear_tool_uses", "compact")) for kind in kinds)


class _Prompt:
    """Sums up a prompt. Text is kept until the end: many small pieces cost as little as a large one."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._fixed = 0.0
        self._texts: list[bytes] = []
        self._thinks = False
        self._deferred: list[dict[str, Any]] = []
        self._named: set[str] = set()
        self.rough = False

    @property
    def tokens(self) -> float:
        return self._fixed + text_tokens(b"\n".join(self._texts), self._rates)

    def add_tools(self, tools: list[Any], servers: Any) -> None:
        if tools:
            self._fixed += _TOOL_PROMPT
        for tool in map(_mapped, tools):
            if tool.get("defer_loading"):
                self._deferred.append(tool)
            else:
                self._add_tool(tool)
        if servers:
            self._fixed += _MCP_SERVER * len(_listed(servers))
            self.rough = True

    def _add_tool(self, tool: Mapping[str, Any]) -> None:
        kind = tool.get("type") or "custom"
        if kind != "custom":
            found = (cost for start, cost in _HIDDEN.items() if str(kind).startswith(start))
            self._fixed += next(found, _OTHER_HIDDEN)
            self.rough = True
        self._fixed += _TOOL
        self.add_json(tool)

    def add_deferred(self) -> None:
        """The tools that are shown only because the conversation refers to them."""
        for tool in self._deferred:
            if tool.get("name") in self._named:
                self._add_tool(tool)

    def add_turn(self, turn: Any, *, thinks: bool) -> None:
        """One message; ``thinks`` says whether its thinking is shown to the model again."""
        self._fixed += _MESSAGE
        self._thinks = thinks
        self.add_blocks(_blocks(_mapped(turn).get("content")))

    def add_blocks(self, blocks: list[Any]) -> None:
        """Blocks and all that is nested in them, however deeply."""
        waiting = blocks.copy()
        while waiting:
            block = waiting.pop()
            if isinstance(block, str):
                self.add_text(block)
            elif isinstance(block, dict):
                kind = str(cast("Block", block).get("type"))
                read = _READ.get(kind)
                if read is None:
                    read = _result if kind.endswith("_result") else _other
                waiting += read(self, cast("Block", block))
            else:
                self.add_json(block)

    def add_text(self, text: Any) -> None:
        if isinstance(text, str):
            self._texts.append(text.encode("utf-8", "replace"))
        elif text is not None:
            self.add_json(text)

    def add_json(self, value: Any) -> None:
        """A value that the model is shown as JSON, without what is only for the provider."""
        if isinstance(value, dict):
            value = {k: v for k, v in cast("Block", value).items() if k not in _ASIDE}
        if value is not None:
            self._texts.append(wire.dumps(value))

    def add_fixed(self, tokens: float) -> None:
        self._fixed += tokens

    def add_sealed(self, text: Any, plain: int = 0) -> None:
        """Text that is hidden in base64, ``plain`` characters of which are something else."""
        if isinstance(text, str):
            self._fixed += max(0, len(text) - plain) * 3 / 4 * self._rates.letter

    def add_picture(self, source: Mapping[str, Any]) -> None:
        size = picture_size(source["data"]) if isinstance(source.get("data"), str) else None
        if size is None:
            self._fixed += self._rates.patches
            self.rough = True
            return
        scale = min(1.0, self._rates.side / max(size))
        across, down = (ceil(side * scale / PATCH) for side in size)
        self._fixed += min(self._rates.patches, across * down)

    def add_pdf(self, source: Mapping[str, Any]) -> None:
        """A document of which only the provider sees how much text is on its pages."""
        data = source.get("data")
        pages = FAR_PAGES
        if isinstance(data, str):
            pages = pdf_pages(data) or ceil(len(data) / PAGE_BYTES)
        self._fixed += self._rates.page * min(MOST_PAGES, pages)
        self.rough = True

    def add_thinking(self, block: Block) -> None:
        """What was thought in the turn under way; what is shown of it may be less than its signature holds."""
        if not self._thinks:
            return
        shown, sealed = block.get("thinking"), block.get("signature")
        if isinstance(shown, str) and len(shown) > len(str(sealed or "")) * 3 / 4:
            self.add_text(shown)
        else:
            self.add_sealed(sealed or block.get("data"), _PLAIN_SIGNATURE)

    def add_name(self, name: Any) -> None:
        self._named.add(str(name))


# --- the kinds of blocks ------------------------------------------------------------------------

Read = Callable[[_Prompt, Block], list[Any]]
"""Adds one block to the prompt, and gives back the blocks within it."""


def _text(prompt: _Prompt, block: Block) -> list[Any]:
    prompt.add_text(block.get("text"))
    return []


def _image(prompt: _Prompt, block: Block) -> list[Any]:
    prompt.add_picture(_mapped(block.get("source")))
    return []


def _document(prompt: _Prompt, block: Block) -> list[Any]:
    source = _mapped(block.get("source"))
    prompt.add_text(block.get("title"))
    prompt.add_text(block.get("context"))
    if source.get("type") == "text":
        prompt.add_text(source.get("data"))
    elif source.get("type") == "content":
        return _blocks(source.get("content"))
    else:
        prompt.add_pdf(source)
    return []


def _search_result(prompt: _Prompt, block: Block) -> list[Any]:
    prompt.add_text(block.get("source"))
    prompt.add_text(block.get("title"))
    return _blocks(block.get("content"))


def _call(prompt: _Prompt, block: Block) -> list[Any]:
    prompt.add_fixed(_CALL)
    prompt.add_text(block.get("name"))
    prompt.add_json(block.get("input"))
    return []


def _result(prompt: _Prompt, block: Block) -> list[Any]:
    """The result of a tool, whoever ran it; a single value in its place is a block too."""
    if "content" not in block:
        return _other(prompt, block)
    prompt.add_fixed(_RESULT)
    return _blocks(block["content"])


def _thinking(prompt: _Prompt, block: Block) -> list[Any]:
    prompt.add_thinking(block)
    return []


def _compaction(prompt: _Prompt, block: Block) -> list[Any]:
    prompt.add_text(block.get("content"))
    return []


def _reference(prompt: _Prompt, block: Block) -> list[Any]:
    prompt.add_name(block.get("tool_name"))
    return []


def _addition(prompt: _Prompt, block: Block) -> list[Any]:
    tool = _mapped(block.get("tool"))
    prompt.add_name(tool.get("tool_name") or tool.get("name") or block.get("tool_name"))
    prompt.add_json(block)
    return []


def _other(prompt: _Prompt, block: Block) -> list[Any]:
    for name in _SEALED:
        prompt.add_sealed(block.get(name))
    prompt.add_json(block)
    return []


_READ: dict[str, Read] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_use": _call,
    "server_tool_use": _call,
    "mcp_tool_use": _call,
    "thinking": _thinking,
    "redacted_thinking": _thinking,
    "compaction": _compaction,
    "tool_reference": _reference,
    "tool_addition": _addition,
}
"""What is done with each type of block; of ``..._result`` the content counts, of all else its JSON."""


_PROMPT = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def prompt_tokens(usage: Any) -> int | None:
    """The tokens of the whole prompt that a ``usage`` tells of, cached ones included; None if it does not."""
    counts = [_mapped(usage).get(name) for name in _PROMPT]
    if type(counts[0]) is not int:
        return None
    return sum(count for count in counts if type(count) is int)
