"""The answer without a script: plausible, and a pure function of the request."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from . import betas
from .conversation import Located, Request, last_user_text, texts_of
from .errors import Refusal
from .json_schema import example
from .media import decode_base64, image_size
from .script import without_directive

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
QUOTE_CHARS = 400
WORD = re.compile(r"[^\W_]+")
# Words that say nothing about which tool is meant.
COMMON = frozenset(
    """
    the and for with from this that these those into your you can use used using tool tools call calls function returns
    return given get gets list set make find show tell what when where which will would should please about result
    results value values name type data input output all any one not are was has have its then first
    """.split()
)
# Inputs of Anthropic's own client tools, by the start of their type.
CLIENT_INPUTS: dict[str, dict[str, Any]] = {
    "bash_": {"command": "echo hello"},
    "text_editor_": {"command": "view", "path": "/tmp/example.txt"},
    "memory_": {"command": "view", "path": "/memories"},
    "computer_2": {"action": "screenshot"},
}
SEARCH_WORDS = re.compile(r"\b(search|web|look up|news|latest)\b", re.IGNORECASE)


def short_id(prefix: str, *parts: Any) -> str:
    """An id as the provider writes them, made from its parts."""
    number = int.from_bytes(
        hashlib.sha256(msgspec.json.encode(parts, order="sorted")).digest()[:17], "big"
    )
    letters = ""
    while number:
        number, digit = divmod(number, len(ALPHABET))
        letters += ALPHABET[digit]
    return f"{prefix}_01{letters[:22]:1<22}"


def request_seed(request: Request) -> dict[str, Any]:
    """What ids depend on: the body, streamed or not."""
    return {key: value for key, value in request.body.items() if key != "stream"}


def answer_blocks(request: Request) -> list[dict[str, Any]]:
    """The content of the answer, thinking first; `tool_use` ids are still missing."""
    if request.body.get("compaction"):
        return [compaction(request)]
    last = request.turns[-1]
    results = [item for item in last.blocks if item.kind == "tool_result"]
    calls = chosen_calls(request, plain=not results and last.role == "user")
    if calls:
        content = calls
    elif request.json_format:
        content = [{"type": "text", "text": json_answer(request)}]
    elif searches(request, results):
        content = web_search(request)
    else:
        content = [{"type": "text", "text": text_answer(request, results)}]
    return [*thinking_block(request, bool(results), bool(calls)), *content]


def compaction(request: Request) -> dict[str, Any]:
    """The summary of an on-demand compaction."""
    count = len(request.body["messages"])
    text = f"A conversation of {count} messages; it began: {quoted(first_text(request), 80)}."
    return {"type": "compaction", "content": text, "encrypted_content": short_id("compacted", text)}


def first_text(request: Request) -> str:
    """The first text of the conversation."""
    texts = (
        item.block["text"] for turn in request.turns for item in turn.blocks if item.kind == "text"
    )
    return next(texts, "")


def thinking_block(request: Request, after_tools: bool, calls: bool) -> list[dict[str, Any]]:
    """One thinking block where the request's kind of thinking yields one."""
    kind = request.thinking_type
    if kind == "disabled" or (kind == "between_tools" and not calls):
        return []
    if kind == "enabled" and after_tools and not request.caller.betas & betas.INTERLEAVED:
        return []
    subject = quoted(without_directive(last_user_text(request)), 80)
    action = "A tool can help here." if calls else "I can answer this directly."
    return [{"type": "thinking", "thinking": f"The user says: {subject}. {action}"}]


def quoted(text: str, limit: int) -> str:
    """The beginning of a text in quotation marks."""
    text = " ".join(text.split())
    return f'"{text}"' if len(text) <= limit else f'"{text[:limit]}..."'


def chosen_calls(request: Request, plain: bool) -> list[dict[str, Any]]:
    """The tool calls that the choice forces or the text suggests."""
    usable = [tool for tool in request.tools if callable_tool(tool)]
    choice = request.body.get("tool_choice") or {}
    if request.choice == "none" or not usable:
        return []
    if request.choice == "tool":
        return [tool_call(tool) for tool in usable if tool["name"] == choice["name"]][:1]
    text = without_directive(last_user_text(request)).lower()
    named = [tool for tool in usable if names(text, tool["name"])]
    if request.choice == "any":
        picked = named or [max(usable, key=lambda tool: likeness(text, tool))]
    elif plain:
        picked = named or suggested(text, usable)
    else:
        return []
    if choice.get("disable_parallel_tool_use"):
        picked = picked[:1]
    return [tool_call(tool) for tool in picked]


def callable_tool(tool: dict[str, Any]) -> bool:
    """Custom tools that are loaded, and Anthropic's client tools."""
    kind = tool.get("type") or "custom"
    if tool.get("defer_loading") or "direct" not in tool.get("allowed_callers", ["direct"]):
        return False
    return kind == "custom" or any(kind.startswith(start) for start in CLIENT_INPUTS)


def names(text: str, name: str) -> bool:
    """Whether a lower-case text names the tool, as a word of its own."""
    return re.search(rf"(?<![\w-]){re.escape(name.lower())}(?![\w-])", text) is not None


def words(text: str) -> set[str]:
    """The telling words of a text."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).replace("_", " ")
    return {
        word
        for word in (hit.lower() for hit in WORD.findall(spaced))
        if len(word) > 2 and word not in COMMON
    }


def likeness(text: str, tool: dict[str, Any]) -> int:
    """How many telling words of the tool's name (twice) and description the text has."""
    said = words(text)
    return 2 * len(said & words(tool["name"])) + len(said & words(tool.get("description") or ""))


def suggested(text: str, usable: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tool that the text is most like, if it is like one at all: two words of it, or one of its name."""
    best = max(usable, key=lambda tool: likeness(text, tool))
    return [best] if likeness(text, best) >= 2 else []


def tool_call(tool: dict[str, Any]) -> dict[str, Any]:
    """A `tool_use` whose input satisfies the tool's schema."""
    kind = tool.get("type") or "custom"
    if kind == "custom":
        examples = tool.get("input_examples")
        value = examples[0] if examples else example(tool["input_schema"])
    else:
        value = next(value for start, value in CLIENT_INPUTS.items() if kind.startswith(start))
    return {"type": "tool_use", "name": tool["name"], "input": value, "caller": {"type": "direct"}}


def json_answer(request: Request) -> str:
    """JSON that satisfies `output_config.format`."""
    schema = (request.json_format or {})["schema"]
    return msgspec.json.encode(example(schema)).decode()


def searches(request: Request, results: list[Located]) -> bool:
    """Whether the web is searched."""
    offered = any(tool.get("name") == "web_search" for tool in request.tools)
    return (
        offered
        and request.choice != "none"
        and not results
        and bool(SEARCH_WORDS.search(last_user_text(request)))
    )


def web_search(request: Request) -> list[dict[str, Any]]:
    """A search, its result and a text that cites it."""
    query = " ".join(without_directive(last_user_text(request)).split())[:100]
    call = short_id("srvtoolu", "search", request_seed(request))
    page = {"title": f"Simulated page about {query}", "url": "https://example.com/simulated"}
    sealed = short_id("encrypted", query)
    cited = {
        "type": "web_search_result_location",
        "cited_text": f"A simulated sentence about {query}.",
        "encrypted_index": sealed,
        **page,
    }
    result = {"type": "web_search_result", "encrypted_content": sealed, "page_age": None, **page}
    return [
        {"type": "server_tool_use", "id": call, "name": "web_search", "input": {"query": query}},
        {"type": "web_search_tool_result", "tool_use_id": call, "content": [result]},
        {"type": "text", "text": f"A simulated sentence about {query}.", "citations": [cited]},
    ]


def text_answer(request: Request, results: list[Located]) -> str:
    """A text that tells what arrived."""
    parts: list[str] = []
    for item in results:
        outcome = "failed with" if item.block.get("is_error") else "returned"
        parts.append(
            f"The tool {outcome}: {quoted(texts_of(item.block.get('content')), QUOTE_CHARS)}"
        )
        parts.extend(media_lines(item.block.get("content")))
    last_user = next((turn for turn in reversed(request.turns) if turn.role == "user"), None)
    if last_user:
        parts.extend(media_lines([item.block for item in last_user.blocks]))
    text = without_directive(last_user_text(request))
    if text or not parts:
        parts.append(f"{request.model.display_name} (simulated) heard: {quoted(text, QUOTE_CHARS)}")
    return "\n".join(parts)


def media_lines(content: Any) -> list[str]:
    """One line for each image and document."""
    if not isinstance(content, list):
        return []
    return [describe(block) for block in content if block["type"] in ("image", "document")]


def describe(block: dict[str, Any]) -> str:
    """Media type, byte count and, for an image, size in pixels."""
    source = block["source"]
    noun = {"image": "an image", "document": "a document"}[block["type"]]
    if source["type"] == "base64":
        size = image_size(source["data"]) if block["type"] == "image" else None
        count = byte_count(source["data"])
        pixels = f", {size[0]} x {size[1]} pixels" if size else ""
        return f"I see {noun}: {source['media_type']}, {count} bytes{pixels}."
    if source["type"] == "text":
        return f"I see {noun}: {source['media_type']}, {len(source['data'].encode())} bytes."
    if source["type"] == "content":
        return f"I see {noun}: {len(texts_of(source['content']).encode())} bytes of text."
    return f"I see {noun} at {source.get('url') or source.get('file_id')}."


def byte_count(data: str) -> int:
    """The number of bytes behind a base64 text."""
    try:
        return len(decode_base64(data, "image"))
    except Refusal:
        return 0
