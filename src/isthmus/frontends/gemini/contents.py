"""Turns Gemini's ``contents`` and ``systemInstruction`` into the hub's turns and system blocks."""

from __future__ import annotations

from typing import Any

from isthmus import wire
from isthmus.errors import refuse
from isthmus.frontends.gemini.fields import Fields, cache_control
from isthmus.frontends.gemini.media import media
from isthmus.frontends.gemini.names import Calls, Names
from isthmus.frontends.gemini.served import NATIVE_PARTS, settled
from isthmus.frontends.gemini.signatures import START, Entry, is_dummy, placed, together, unpacked
from isthmus.messages import Block, Turn
from isthmus.request import Notes, expect
from isthmus.turns import Turns, trimmed

ROLES = {"user": "user", "function": "user", "tool": "user", "model": "assistant"}

KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
"""The members of a part that hold content; each part has one."""

UNSUPPORTED = ("audioTranscription", "speechMetadata")
HINTS = (
    *("videoMetadata", "mediaResolution", "partMetadata", "mediaProcessing"),
    *("documentMetadata", "spreadsheetMetadata", "audioMetadata"),
)
_RUN = {
    *("id", "language", "code", "outcome", "output", "toolType", "args", "response"),
}
"""The members of any of NATIVE_PARTS, of which only the id is looked at."""
_PART = {*KINDS, *NATIVE_PARTS, *UNSUPPORTED, *HINTS, "thought", "thoughtSignature", "cacheControl"}


def system_blocks(value: Any, path: str, notes: Notes) -> list[Block]:
    """The system prompt as text blocks; it comes as a Content, a single Part or a string."""
    if isinstance(value, str):
        value = {"text": value}
    content = Fields(value, path, ("parts", "role", "text"), notes)
    rows = [(path, {"text": content.get("text")})] if "text" in content else content.items("parts")
    blocks: list[Block] = []
    for at, row in rows:
        part = Fields(row, at, {*KINDS, *NATIVE_PARTS, *UNSUPPORTED, "cacheControl"}, notes)
        text = part.string("text")
        if text is None or any(kind in part for kind in (*KINDS[1:], *NATIVE_PARTS, *UNSUPPORTED)):
            raise refuse(at, "the system instruction takes text parts only")
        if text.strip():
            blocks.append(_marked({"type": "text", "text": text}, part))
        elif text:
            notes.dropped(at, "text without a visible character is not accepted")
    return blocks


def _marked(block: Block, part: Fields) -> Block:
    mark = cache_control(part)
    return block if mark is None else {**block, "cache_control": mark}


class Conversation:
    """Reads the contents in their order; each rewriting depends on what stands before it alone.

    What the model said in neighbouring parts or contents of text becomes one text block, since a
    client that read a stream may hold it in pieces, some of them blank.
    """

    def __init__(self, names: Names, notes: Notes) -> None:
        self._names = names
        self._notes = notes
        self._turns = Turns(notes)
        self._calls = Calls()
        self._role = ""
        self._said: list[str] = []
        self._said_at = ""
        self._said_mark: dict[str, Any] | None = None
        self._thoughts: list[str] = []
        self._restored = False
        self._early: list[tuple[int, Block | None]] = []
        self._length = 0
        self._runs: list[tuple[str, str]] = []
        self._ids: set[str] = set()
        self._heard = False

    def read(self, value: Any, path: str) -> None:
        """Take one Content. Raises GatewayError (400) for what Claude cannot be given."""
        content = Fields(value, path, ("parts", "role"), self._notes)
        role = content.string("role") or "user"
        if role not in ROLES:
            raise refuse(content.path("role"), f'expected "user" or "model", got {role!r}')
        for at, row in content.items("parts"):
            self._begin(ROLES[role])
            if _is_anthropics(row):
                self._pass(row, at)
                continue
            part = Fields(row, at, _PART, self._notes)
            kind = self._kind(part)
            self._note_hints(part)
            if self._role == "assistant":
                self._model_part(part, kind)
            else:
                self._user_part(part, kind)

    def finish(self) -> list[Turn]:
        self._begin("")
        turns = settled(self._turns.finish(), self._notes)
        return trimmed(turns, self._notes, "contents")

    def _begin(self, role: str) -> None:
        """Where the speaker changes, what the model said so far is complete."""
        if role == self._role:
            return
        self._say([])
        if not self._restored:
            for path in self._thoughts:
                self._notes.dropped(path, "a thought without a signature that Claude can verify")
        for path, run in self._runs:
            if run not in self._ids:
                self._notes.dropped(path, "of a tool that ran elsewhere; its text stays")
        self._thoughts.clear()
        self._runs.clear()
        self._restored = False
        if role == "assistant" and self._heard:
            self._calls.begin_turn()
            self._heard = False
        self._role = role

    def _pass(self, block: Block, path: str) -> None:
        """An image or document as Anthropic writes it goes as it is."""
        if self._role == "assistant":
            raise refuse(path, "a model turn holds no images or documents; put it in a user turn")
        source = expect(block["source"], dict, f"{path}.source", "an object")
        expect(source.get("type"), str, f"{path}.source.type", "a string")
        self._heard = True
        self._turns.add("user", [dict(block)], path)

    def _kind(self, part: Fields) -> str:
        for name in UNSUPPORTED:
            if name in part:
                raise refuse(part.path(name), f"not carried; a part may hold {', '.join(KINDS)}")
        kinds = [name for name in (*KINDS, *NATIVE_PARTS) if name in part]
        if len(kinds) > 1:
            raise refuse(part.at, f"a part holds one of {' and '.join(kinds)}, not both")
        if not kinds and "thoughtSignature" not in part and "thought" not in part:
            raise refuse(
                part.at, f"a part holds one of {', '.join(KINDS)}; this one has none of them"
            )
        return kinds[0] if kinds else "text"

    def _note_hints(self, part: Fields) -> None:
        for hint in HINTS:
            if hint in part:
                self._notes.dropped(part.path(hint), "Claude takes no such hint")

    def _user_part(self, part: Fields, kind: str) -> None:
        if "thoughtSignature" in part:
            part.string("thoughtSignature")
            self._notes.dropped(
                part.path("thoughtSignature"), "only the model's parts carry thinking"
            )
        if part.boolean("thought") and kind == "text":
            self._notes.dropped(part.at, "a thought that the model did not have")
            return
        if kind == "functionCall":
            raise refuse(part.path(kind), 'a function call belongs to the role "model"')
        if kind in NATIVE_PARTS:
            raise refuse(part.path(kind), 'belongs to the role "model"')
        if kind == "functionResponse":
            blocks = self._result(part)
        elif kind == "text":
            blocks = [{"type": "text", "text": part.string("text") or ""}]
        else:
            blocks = [media(part, kind, self._notes)]
        blocks[0] = _marked(blocks[0], part)
        self._heard = self._heard or kind != "text" or bool((part.string("text") or "").strip())
        self._turns.add("user", blocks, part.at)

    def _model_part(self, part: Fields, kind: str) -> None:
        entries = self._entries(part)
        thought = part.boolean("thought")
        if kind == "functionCall":
            self._say(entries or [])
            self._turns.add("assistant", [_marked(self._call(part), part)], part.at)
            return
        early = [entry for entry in entries or [] if entry[0] == START]
        self._early += [(self._length, block) for _, block in early]
        if kind in NATIVE_PARTS:
            self._run(part, kind)
        elif kind != "text":
            raise refuse(
                part.path(kind), f"Claude takes no {kind} in a model turn; put it in a user turn"
            )
        elif thought:
            part.string("text")
            self._thoughts.append(part.at)
        else:
            self._text(part)
        if entries and not early:
            self._say(entries)

    def _run(self, part: Fields, kind: str) -> None:
        """What a tool of the provider's did; the blocks themselves come from a signature."""
        run = Fields(part.get(kind), part.path(kind), _RUN, self._notes)
        self._runs.append((run.at, run.string("id") or ""))

    def _text(self, part: Fields) -> None:
        """A piece of what the model said."""
        text = part.string("text") or ""
        self._said_at = self._said_at or part.at
        self._said_mark = cache_control(part) or self._said_mark
        self._said.append(text)
        self._length += len(text)

    def _entries(self, part: Fields) -> list[Entry] | None:
        """What this part's signature restores; None if it has none of ours."""
        signature = part.string("thoughtSignature")
        if signature is None or is_dummy(signature):
            return None
        entries = unpacked(signature)
        if entries is None:
            self._notes.dropped(part.path("thoughtSignature"), "not issued here, so not verifiable")
            return None
        self._restored = True
        blocks = [block for _, block in entries if block is not None]
        self._ids |= {str(block.get("id") or block.get("tool_use_id")) for block in blocks}
        return entries

    def _say(self, entries: list[Entry]) -> None:
        """Hand over the text since the last call, with what signatures hold at its places."""
        text = "".join(self._said)
        early = [(len(text) - place, block) for place, block in self._early]
        blocks = placed(text, together(early, entries))
        texts = [block for block in blocks if block["type"] == "text"]
        if texts and self._said_mark is not None:
            texts[-1]["cache_control"] = self._said_mark
        self._turns.add("assistant", blocks, self._said_at)
        self._said.clear()
        self._early.clear()
        self._length = 0
        self._said_at, self._said_mark = "", None

    def _call(self, part: Fields) -> Block:
        path = part.path("functionCall")
        known = ("id", "name", "args", "partialArgs", "willContinue")
        call = Fields(part.get("functionCall"), path, known, self._notes)
        for name in ("partialArgs", "willContinue"):
            if call.get(name):
                raise refuse(call.path(name), "send the call whole, with args")
        name = _name(call)
        given = call.string("id")
        return {
            "type": "tool_use",
            "id": self._calls.add(given, name),
            "name": self._names.legal(name),
            "input": call.object("args") or {},
        }

    def _result(self, part: Fields) -> list[Block]:
        """The tool result, and beside it what a failed call's result may not hold."""
        path = part.path("functionResponse")
        known = ("id", "name", "response", "parts", "willContinue", "scheduling")
        fields = Fields(part.get("functionResponse"), path, known, self._notes)
        for name in ("willContinue", "scheduling"):
            if name in fields:
                self._notes.dropped(fields.path(name), "Claude waits for the whole response")
        name = _name(fields)
        response = fields.object("response") or {}
        text, failed = _outcome(response, name, fields.path("response"))
        block: Block = {
            "type": "tool_result",
            "tool_use_id": self._calls.answered(fields.string("id"), name),
        }
        shown = [self._shown(row, at) for at, row in fields.items("parts")]
        if shown and not failed:
            head = [{"type": "text", "text": text}] if text.strip() else []
            block["content"] = [*head, *shown]
            shown.clear()
        elif text.strip():
            block["content"] = text
        if failed:
            block["is_error"] = True
        return [block, *shown]

    def _shown(self, row: Any, path: str) -> Block:
        part = Fields(row, path, {"inlineData", "fileData", *HINTS}, self._notes)
        self._note_hints(part)
        kind = "inlineData" if "inlineData" in part else "fileData"
        if kind not in part or ("inlineData" in part and "fileData" in part):
            raise refuse(path, "a part of a function response holds either inlineData or fileData")
        return media(part, kind, self._notes)


def _is_anthropics(row: Any) -> bool:
    return isinstance(row, dict) and row.get("type") in ("image", "document") and "source" in row


def _name(fields: Fields) -> str:
    name = fields.string("name")
    if not name:
        raise refuse(fields.path("name"), "expected the name of the function")
    return name


def _outcome(response: dict[str, Any], name: str, path: str) -> tuple[str, bool]:
    """What a call brought as text, and whether it failed.

    Google's convention: ``output`` holds what the function returned and ``error`` why it failed, and
    without either the whole object is the output; its SDKs write ``result`` for ``output``, and the
    AI SDK puts ``content`` beside the function's name.
    """
    if len(response) == 2 and response.get("name") == name and "content" in response:
        response = {"output": response["content"]}
    failed = bool(response.get("error"))
    key = "error" if failed else next((key for key in ("output", "result") if key in response), "")
    value = response[key] if key and len(response) == 1 else response
    if isinstance(value, str):
        return value, failed
    try:
        return (wire.dumps(value).decode() if value else ""), failed
    except RecursionError:
        raise refuse(path, "nested too deeply") from None


def turns_of(root: Fields, names: Names, notes: Notes) -> list[Turn]:
    """The hub's turns of ``contents``. Raises GatewayError (400) where nothing is said in it."""
    conversation = Conversation(names, notes)
    for path, value in root.items("contents"):
        conversation.read(value, path)
    turns = conversation.finish()
    if not turns:
        raise refuse(root.path("contents"), "expected at least one part that says something")
    return turns
