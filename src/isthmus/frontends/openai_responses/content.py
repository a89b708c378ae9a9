"""Content parts of a Responses request as blocks: text, images, files.

Source: OpenAI's API reference (input_text, input_image, input_file, output_text, refusal).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from isthmus.errors import refuse
from isthmus.frontends import media
from isthmus.frontends.parameters import cache_control, note_others, optional, required_text
from isthmus.messages import Block
from isthmus.request import Notes, expect

Fields = dict[str, Any]

_UPLOADED = "uploaded files cannot be reached: send the bytes"
_CACHE = "use cache_control"


def _text(part: Fields, path: str, notes: Notes) -> Block:
    return {"type": "text", "text": expect(part.get("text"), str, f"{path}.text", "a string")}


def _refusal(part: Fields, path: str, notes: Notes) -> Block:
    """A refusal that the assistant gave earlier: it said that, so it stays said."""
    text = expect(part.get("refusal"), str, f"{path}.refusal", "a string")
    return {"type": "text", "text": text}


def _image(part: Fields, path: str, notes: Notes) -> Block:
    if part.get("detail") not in (None, "auto"):
        notes.dropped(f"{path}.detail", "images are always read in full detail")
    if part.get("image_url") is None and part.get("file_id") is not None:
        raise refuse(f"{path}.file_id", f"{_UPLOADED} as a data URL in image_url")
    at = f"{path}.image_url"
    return media.from_address(expect(part.get("image_url"), str, at, "a URL"), at)


def _file(part: Fields, path: str, notes: Notes) -> Block:
    name = optional(part, "filename", str, path, "a string") or ""
    if part.get("detail") not in (None, "auto"):
        notes.dropped(f"{path}.detail", "files are always read in full detail")
    if part.get("file_data"):
        block = media.from_file(required_text(part, "file_data", path), name, f"{path}.file_data")
    elif part.get("file_url"):
        block = _document(required_text(part, "file_url", path), name, f"{path}.file_url")
    elif part.get("file_id") is not None:
        raise refuse(f"{path}.file_id", f"{_UPLOADED} in file_data")
    else:
        raise refuse(path, "expected file_data or file_url")
    if name and "title" not in block:
        notes.dropped(f"{path}.filename", "images have no titles")
    return block


def _document(address: str, name: str, path: str) -> Block:
    """The block of a file that stands behind an address: PDFs are what Claude fetches."""
    if not address.lower().startswith(("https://", "http://")):
        raise refuse(path, "expected an https URL of a PDF")
    block: Block = {"type": "document", "source": {"type": "url", "url": address}}
    return {**block, "title": name} if name else block


Part = Callable[[Fields, str, Notes], Block]

SYSTEM: dict[str, Part] = {"input_text": _text, "text": _text}
USER: dict[str, Part] = {**SYSTEM, "input_image": _image, "input_file": _file}
ASSISTANT: dict[str, Part] = {**SYSTEM, "output_text": _text, "refusal": _refusal}
"""The parts that each role may have, and how they are read."""

_MEMBERS = {
    "input_image": ("image_url", "file_id", "detail"),
    "input_file": ("file_data", "file_url", "file_id", "filename", "detail"),
    "output_text": ("text", "annotations", "logprobs", "parsed"),
    "refusal": ("refusal",),
}
_COMMON = ("type", "cache_control", "prompt_cache_breakpoint")


def blocks(content: Any, path: str, parts: dict[str, Part], notes: Notes) -> list[Block]:
    """Content, a string or parts, as blocks; the parts that may stand there are the table's."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    items = cast("list[Any]", expect(content, list, path, "a string or an array of content parts"))
    return [_block(item, f"{path}.{i}", parts, notes) for i, item in enumerate(items)]


def _block(item: Any, path: str, parts: dict[str, Part], notes: Notes) -> Block:
    part = cast("Fields", expect(item, dict, path, "a content part"))
    kind = cast("str", expect(part.get("type"), str, f"{path}.type", "a string"))
    read = parts.get(kind)
    if read is None:
        raise refuse(path, f"{kind} parts cannot be sent here; what can: {', '.join(parts)}")
    block = read(part, path, notes)
    mark = cache_control(part, path)
    if mark is not None:
        block["cache_control"] = mark
    if part.get("prompt_cache_breakpoint") is not None:
        notes.dropped(f"{path}.prompt_cache_breakpoint", _CACHE)
    note_others(part, (*_COMMON, *_MEMBERS.get(kind, ("text",))), path, notes)
    return block


def is_blank(block: Block) -> bool:
    """Whether a block is text without a visible character, which the Messages API refuses."""
    return block["type"] == "text" and not block["text"].strip()
