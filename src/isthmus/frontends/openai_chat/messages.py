"""The conversation of a Chat request in the hub's terms: system blocks, turns, content parts.

Source: OpenAI's API reference (messages and their content parts); Anthropic's for what a block is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from isthmus.errors import refuse
from isthmus.frontends import media
from isthmus.frontends.openai_chat import details
from isthmus.frontends.openai_chat.tools import Calls, Names, cache_breakpoint
from isthmus.frontends.parameters import cache_control, note_others, optional, required_text
from isthmus.messages import Block, Turn
from isthmus.request import Notes, expect
from isthmus.turns import Turns, tool_input, trimmed

Fields = dict[str, Any]

_BLANK = "text without a visible character is not accepted"
_UNSIGNED = "reasoning without the provider's signature cannot be sent back"


# --- content parts ------------------------------------------------------------------------------


def _text(part: Fields, path: str, notes: Notes) -> Block:
    text = expect(part.get("text"), str, f"{path}.text", "a string")
    return {"type": "text", "text": text}


def _refused(part: Fields, path: str, notes: Notes) -> Block:
    """A refusal that the assistant gave earlier: it said that, so it stays said."""
    text = expect(part.get("refusal"), str, f"{path}.refusal", "a string")
    return {"type": "text", "text": text}


def _image_url(part: Fields, path: str, notes: Notes) -> Block:
    value, at = part.get("image_url"), f"{path}.image_url"
    if isinstance(value, dict):
        image = cast("Fields", value)
        if image.get("detail") not in (None, "auto"):
            notes.dropped(f"{at}.detail", "images are always read in full detail")
        note_others(image, ("url", "detail"), at, notes)
        value, at = image.get("url"), f"{at}.url"
    return media.from_address(expect(value, str, at, "a URL"), at)


def _file(part: Fields, path: str, notes: Notes) -> Block:
    at = f"{path}.file"
    file = cast("Fields", expect(part.get("file"), dict, at, "an object"))
    note_others(file, ("file_data", "filename", "file_id"), at, notes)
    name = optional(file, "filename", str, at, "a string")
    if file.get("file_id") is not None and not file.get("file_data"):
        raise refuse(
            f"{at}.file_id", "uploaded files cannot be reached: send the bytes in file_data"
        )
    data = required_text(file, "file_data", at)
    block = media.from_file(data, name or "", f"{at}.file_data")
    if name and "title" not in block:
        notes.dropped(f"{at}.filename", "images have no titles")
    return block


def _passed(part: Fields, path: str, notes: Notes) -> Block:
    """An Anthropic block in a Chat message, which goes as it is."""
    source = cast("Fields", expect(part.get("source"), dict, f"{path}.source", "an object"))
    required_text(source, "type", f"{path}.source")
    return dict(part)


Part = Callable[[Fields, str, Notes], Block]

_SAID: dict[str, Part] = {"text": _text}
ASSISTANT_PARTS: dict[str, Part] = {**_SAID, "refusal": _refused}
USER_PARTS: dict[str, Part] = {
    **_SAID,
    "image_url": _image_url,
    "file": _file,
    "image": _passed,
    "document": _passed,
}
_OWN = ("type", "cache_control")
_MEMBERS = {kind: (*_OWN, kind) for kind in (*USER_PARTS, *ASSISTANT_PARTS)}


def _blocks(content: Any, path: str, parts: dict[str, Part], notes: Notes) -> list[Block]:
    """Content, a string or parts, as blocks; the parts that this role may have are the table's."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    items = cast("list[Any]", expect(content, list, path, "a string or an array of content parts"))
    return [_block(item, f"{path}.{i}", parts, notes) for i, item in enumerate(items)]


def _block(item: Any, path: str, parts: dict[str, Part], notes: Notes) -> Block:
    part = cast("Fields", expect(item, dict, path, "a content part"))
    kind = expect(part.get("type"), str, f"{path}.type", "a string")
    read = parts.get(kind)
    if read is None:
        raise refuse(path, f"{kind} parts cannot be sent here; what can: {', '.join(parts)}")
    block = read(part, path, notes)
    mark = cache_control(part, path)
    if read is _passed:
        return block
    mark = cache_breakpoint(part, path, notes) or mark
    if mark is not None:
        block["cache_control"] = mark
    note_others(part, (*_MEMBERS[kind], "prompt_cache_breakpoint"), path, notes)
    return block


def _is_blank(block: Block) -> bool:
    return block["type"] == "text" and not block["text"].strip()


def _is_markable(block: Block) -> bool:
    """Thinking takes no cache marker."""
    return block["type"] not in ("thinking", "redacted_thinking")


# --- messages -----------------------------------------------------------------------------------


class Conversation:
    """Reads the messages one by one; ``system`` holds what the leading ones said."""

    def __init__(self, names: Names, notes: Notes) -> None:
        self.system: list[Block] = []
        self._names = names
        self._notes = notes
        self._calls = Calls()
        self._turns = Turns(notes)
        self._leading = True
        self._last = ""
        self._path = ""

    def read(self, value: Any, path: str) -> list[Turn]:
        """The turns of ``messages``. Raises GatewayError (400) that names the path at fault."""
        messages = cast("list[Any]", expect(value, list, path, "an array of messages"))
        for index, item in enumerate(messages):
            self._message(item, f"{path}.{index}")
        turns = trimmed(self._turns.finish(), self._notes, self._path)
        if not turns:
            raise refuse(
                path, "at least one message of the user or the assistant must say something"
            )
        return turns

    def _message(self, item: Any, path: str) -> None:
        message = cast("Fields", expect(item, dict, path, "a message"))
        role = expect(message.get("role"), str, f"{path}.role", "a string")
        if role not in ROLES:
            raise refuse(f"{path}.role", f"expected one of {', '.join(ROLES)}")
        said, read, known = ROLES[role]
        self._leading = self._leading and said == "system"
        if said == "assistant" and self._last != "assistant":
            self._calls.turn()
        self._last, self._path = said, path
        blocks = read(self, message, path)
        self._mark(blocks, message, path)
        if message.get("name") is not None and "name" not in known:
            self._notes.dropped(f"{path}.name", "turns have no names")
        note_others(message, ("role", "name", "cache_control", *known), path, self._notes)
        if self._leading:
            self.system += [block for block in blocks if self._is_said(block, path)]
        else:
            self._turns.add(said, blocks, path)

    def _mark(self, blocks: list[Block], message: Fields, path: str) -> None:
        """A message's own cache marker belongs to the last part that is sent."""
        mark = cache_control(message, path)
        if mark is None:
            return
        sent = [block for block in blocks if not _is_blank(block) and _is_markable(block)]
        if not sent or "cache_control" in sent[-1]:
            why = "its last part has a marker" if sent else "the message has no content"
            self._notes.dropped(f"{path}.cache_control", why)
        else:
            sent[-1]["cache_control"] = mark

    def _is_said(self, block: Block, path: str) -> bool:
        if _is_blank(block) and block["text"]:
            self._notes.dropped(path, _BLANK)
        return not _is_blank(block)

    def _system(self, message: Fields, path: str) -> list[Block]:
        return _blocks(message.get("content"), f"{path}.content", _SAID, self._notes)

    def _user(self, message: Fields, path: str) -> list[Block]:
        return _blocks(message.get("content"), f"{path}.content", USER_PARTS, self._notes)

    def _assistant(self, message: Fields, path: str) -> list[Block]:
        content = message.get("content")
        blocks = _blocks(
            "" if content is None else content, f"{path}.content", ASSISTANT_PARTS, self._notes
        )
        refusal = optional(message, "refusal", str, path, "a string")
        if refusal:
            blocks.append({"type": "text", "text": refusal})
        if message.get("audio") is not None:
            raise refuse(f"{path}.audio", "audio cannot be sent: give its transcript as content")
        made: list[Block] = []
        calls = optional(message, "tool_calls", list, path, "an array of tool calls")
        for index, call in enumerate(calls or ()):
            made.append(self._call(call, f"{path}.tool_calls.{index}"))
        function = optional(message, "function_call", dict, path, "an object")
        if function is not None:
            own = f"function-{function.get('name')}"
            made.append(self._use(function, own, f"{path}.function_call"))
        blocks = self._whole(blocks, made, message, path)
        self._note_shown(blocks, message, path)
        return blocks

    def _whole(
        self, texts: list[Block], calls: list[Block], message: Fields, path: str
    ) -> list[Block]:
        """The turn with what its message carries of the other blocks, in either of two forms."""
        held, used = list[details.Entry](), ""
        for name, read in _SIDE_FIELDS.items():
            at = f"{path}.{name}"
            if message.get(name) and used:
                self._notes.dropped(at, f"{used} counts")
            elif message.get(name):
                held = read(message[name], at, self._notes)
                used = name if held else ""
        return details.rebuilt(texts, calls, held, f"{path}.{used}", self._notes)

    def _note_shown(self, blocks: list[Block], message: Fields, path: str) -> None:
        """Say what the message shows of blocks that did not come with it."""
        kinds = {block["type"] for block in blocks}
        for name in ("reasoning_content", "reasoning"):
            if message.get(name) and not kinds & {"thinking", "redacted_thinking"}:
                self._notes.dropped(f"{path}.{name}", _UNSIGNED)
        if message.get("annotations") and not any(block.get("citations") for block in blocks):
            self._notes.dropped(f"{path}.annotations", "citations are not sent back")

    def _call(self, item: Any, path: str) -> Block:
        call = cast("Fields", expect(item, dict, path, "a tool call"))
        if call.get("type", "function") != "function":
            raise refuse(f"{path}.type", "only function calls are supported")
        own = required_text(call, "id", path)
        note_others(call, ("id", "type", "function", "index"), path, self._notes)
        at = f"{path}.function"
        function = expect(call.get("function"), dict, at, "an object")
        block = self._use(function, own, at)
        if block["id"] != own:
            self._notes.changed(f"{path}.id", "illegal or used before: sent as another id")
        return block

    def _use(self, function: Fields, own: str, path: str) -> Block:
        """The tool_use block of one call; arguments that are no JSON object are refused."""
        name = self._names.legal(required_text(function, "name", path))
        text = optional(function, "arguments", str, path, "a JSON object as a string")
        value = tool_input(text or "")
        if value is None:
            raise refuse(f"{path}.arguments", "expected the text of a JSON object")
        note_others(function, ("name", "arguments"), path, self._notes)
        return {"type": "tool_use", "id": self._calls.call(own), "name": name, "input": value}

    def _tool(self, message: Fields, path: str) -> list[Block]:
        own = required_text(message, "tool_call_id", path)
        return [self._result(message, self._calls.result(own), path)]

    def _function(self, message: Fields, path: str) -> list[Block]:
        own = f"function-{required_text(message, 'name', path)}"
        return [self._result(message, self._calls.result(own), path)]

    def _result(self, message: Fields, call: str, path: str) -> Block:
        content = message.get("content")
        blocks = _blocks(
            "" if content is None else content, f"{path}.content", USER_PARTS, self._notes
        )
        kept = [block for block in blocks if self._is_said(block, f"{path}.content")]
        result: Block = {"type": "tool_result", "tool_use_id": call}
        if kept:
            result["content"] = content if isinstance(content, str) else kept
        failed = optional(message, "is_error", bool, path, "a boolean")
        if failed and all(block["type"] == "text" for block in kept):
            result["is_error"] = True
        elif failed:
            self._notes.dropped(f"{path}.is_error", "a failed result may hold text only")
        return result


_SIDE_FIELDS = {
    "reasoning_details": details.entries,
    "thinking_blocks": details.thinking_blocks,
}
"""Members that hold the blocks for which Chat has no form; the first that has any counts."""

Reader = Callable[[Conversation, Fields, str], list[Block]]

_ANSWERED = ("content", "is_error")
ROLES: dict[str, tuple[str, Reader, tuple[str, ...]]] = {
    "system": ("system", Conversation._system, ("content",)),
    "developer": ("system", Conversation._system, ("content",)),
    "user": ("user", Conversation._user, ("content",)),
    "assistant": (
        "assistant",
        Conversation._assistant,
        (
            *("content", "refusal", "tool_calls", "function_call", "audio", "annotations"),
            *("reasoning_content", "reasoning", *_SIDE_FIELDS),
        ),
    ),
    "tool": ("user", Conversation._tool, (*_ANSWERED, "tool_call_id", "name")),
    "function": ("user", Conversation._function, (*_ANSWERED, "name")),
}
"""Role -> the hub's role, how its messages are read, and their members beside role, name and marker."""
