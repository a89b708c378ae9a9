"""Token counts: a deterministic estimate, the same for a request and for `count_tokens`.

One token is four bytes of UTF-8 (three on models with the newer tokenizer, which yields about 30 % more), rounded up
per block, plus a fixed cost per message, per tool and for the hidden tool prompt. An image costs ceil(w/28) x
ceil(h/28) up to the model's cap, a PDF page 1,500 (a page is 3,000 bytes of base64 here), a file 1,500.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import msgspec

from .catalog import Model
from .media import image_size

BYTES_PER_TOKEN = {"classic": 4.0, "new": 3.0}
MESSAGE_COST = 4
REQUEST_COST = 3
FILE_COST = 1500
PDF_BYTES_PER_PAGE = 3000
PDF_PAGE_COST = 1500
URL_IMAGE_COST = 1000
TOOL_COST = 20
TOOL_PROMPT = {"auto": 346, "none": 346, "any": 313, "tool": 313}
# What the hidden prompt of a server tool costs, by the start of its type.
SERVER_TOOL_COST = {
    "web_search": 2000,
    "web_fetch": 700,
    "code_execution": 1200,
    "computer": 700,
    "browser": 2500,
    "memory": 900,
    "bash": 245,
    "text_editor": 700,
    "tool_search": 300,
    "advisor": 350,
}


def text_tokens(text: str, model: Model) -> int:
    """Tokens of a piece of text."""
    return ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN[model.tokenizer])


def json_tokens(value: Any, model: Model) -> int:
    """Tokens of a value that the model sees as JSON."""
    return ceil(len(msgspec.json.encode(value)) / BYTES_PER_TOKEN[model.tokenizer])


def image_tokens(block: dict[str, Any], model: Model) -> int:
    """Tokens of an image: by pixels where the bytes are here, a flat cost where they are not."""
    source = block["source"]
    if source["type"] != "base64":
        return URL_IMAGE_COST
    size = image_size(source["data"])
    if size is None:
        return URL_IMAGE_COST
    return min(model.image_tokens, ceil(size[0] / 28) * ceil(size[1] / 28))


def document_tokens(block: dict[str, Any], model: Model) -> int:
    """Tokens of a document with its title and context."""
    source = block["source"]
    around = text_tokens((block.get("title") or "") + (block.get("context") or ""), model)
    if source["type"] == "text":
        return around + text_tokens(source["data"], model)
    if source["type"] == "content":
        return around + content_tokens(source["content"], model)
    if source["type"] == "base64":
        return around + PDF_PAGE_COST * ceil(len(source["data"]) / PDF_BYTES_PER_PAGE)
    return around + FILE_COST


def content_tokens(content: Any, model: Model) -> int:
    """Tokens of a string or of a list of blocks."""
    if isinstance(content, str):
        return text_tokens(content, model)
    return sum(block_tokens(block, model) for block in content or ())


def block_tokens(block: dict[str, Any], model: Model) -> int:
    """Tokens of one request block. Thinking of earlier turns is not counted."""
    kind = block["type"]
    if kind == "text":
        return text_tokens(block["text"], model)
    if kind == "image":
        return image_tokens(block, model)
    if kind == "document":
        return document_tokens(block, model)
    if kind == "tool_result":
        return TOOL_COST + content_tokens(block.get("content"), model)
    if kind in ("thinking", "redacted_thinking"):
        return 0
    plain = {
        key: value for key, value in block.items() if key != "cache_control" and value is not None
    }
    return json_tokens(plain, model)


def tool_tokens(tool: dict[str, Any], model: Model) -> int:
    """Tokens of one tool; a deferred tool costs nothing until it is found."""
    if tool.get("defer_loading"):
        return 0
    plain = {
        key: value for key, value in tool.items() if key != "cache_control" and value is not None
    }
    kind = tool.get("type") or "custom"
    hidden = next((cost for start, cost in SERVER_TOOL_COST.items() if kind.startswith(start)), 0)
    return TOOL_COST + hidden + json_tokens(plain, model)


def tool_prompt_tokens(tools: list[dict[str, Any]], choice: str) -> int:
    """The hidden prompt that comes with any tool."""
    return TOOL_PROMPT[choice] if tools else 0
