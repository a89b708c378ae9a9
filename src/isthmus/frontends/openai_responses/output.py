"""The output items of a response, each from its blocks: messages, reasoning, compactions, calls.

An item tells the events of its own stream as dicts; who sends them numbers them.
Source: OpenAI's API reference (output items of a response, streaming events).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from isthmus.frontends.gemini.signatures import packed
from isthmus.frontends.openai_responses.compactions import ASKED
from isthmus.frontends.openai_responses.freeform import Unwrapper
from isthmus.frontends.openai_responses.local_tools import call_item
from isthmus.frontends.openai_responses.sealed import sealed
from isthmus.messages import Block, grows, input_text
from isthmus.turns import tool_input

Value = dict[str, Any]
Events = list[Value]


class Item(Protocol):
    """One item while it grows, or a run of items that belong together.

    ``values`` is what it amounts to so far, as the client will keep it.
    """

    @property
    def values(self) -> list[Value]: ...

    def begin(self) -> Events: ...

    def takes(self, block: Block) -> bool:
        """Whether a block that follows belongs to it too."""
        ...

    def open(self, block: Block) -> Events:
        """The events that the start of a block brings."""
        ...

    def delta(self, delta: Mapping[str, Any]) -> Events: ...

    def close(self) -> Events:
        """The events that the end of a block brings."""
        ...

    def settle(self, status: str) -> Events:
        """The last events; ``status`` is "completed", or "incomplete" where the item was cut off."""
        ...

    def cut(self) -> None:
        """Keep what has come, of an answer that breaks off."""
        ...


class Growing:
    """What single items have in common: their place among the others, and the events around them."""

    def __init__(self, value: Value, index: int) -> None:
        self.value = value
        self._index = index

    @property
    def values(self) -> list[Value]:
        return [self.value]

    def takes(self, block: Block) -> bool:
        return False

    def _event(self, kind: str, **fields: Any) -> Value:
        """An event about a part of the item."""
        place = {"item_id": self.value["id"], "output_index": self._index}
        return {"type": f"response.{kind}", **place, **fields}

    def _item_event(self, kind: str) -> Value:
        kind = f"response.output_item.{kind}"
        return {"type": kind, "output_index": self._index, "item": self.value}

    def _change(self, **fields: Any) -> None:
        """Other values for some members; events that went out keep the old ones."""
        self.value = {**self.value, **fields}


# --- messages -----------------------------------------------------------------------------------


class MessageItem(Growing):
    """Neighbouring texts of the assistant: one message with a part for each."""

    def __init__(self, key: str, index: int) -> None:
        value: Value = {"id": f"msg_{key}", "type": "message", "status": "in_progress"}
        super().__init__({**value, "role": "assistant", "content": []}, index)
        self._text: list[str] = []
        self._citations: list[Any] = []

    def begin(self) -> Events:
        return [self._item_event("added")]

    def takes(self, block: Block) -> bool:
        return block["type"] == "text"

    def open(self, block: Block) -> Events:
        self._citations = list(block.get("citations") or ())
        events = [self._part("content_part.added", part=_output_text("", []))]
        return [*events, *self._grown(block["text"])]

    def delta(self, delta: Mapping[str, Any]) -> Events:
        if delta["type"] == "citations_delta":
            self._citations.append(delta["citation"])
            return []
        return self._grown(delta["text"]) if delta["type"] == "text_delta" else []

    def close(self) -> Events:
        text = "".join(self._text)
        notes = cited(self._citations, len(text))
        part = _output_text(text, notes)
        events = [
            self._part("output_text.annotation.added", annotation_index=i, annotation=note)
            for i, note in enumerate(notes)
        ]
        events.append(self._part("output_text.done", text=text, logprobs=[]))
        events.append(self._part("content_part.done", part=part))
        self._change(content=[*self.value["content"], part])
        self._text.clear()
        return events

    def refuse(self, text: str) -> Events:
        """The events of a refusal, which is a part of its own."""
        part = {"type": "refusal", "refusal": text}
        events = [
            self._part("content_part.added", part={**part, "refusal": ""}),
            self._part("refusal.delta", delta=text),
            self._part("refusal.done", refusal=text),
            self._part("content_part.done", part=part),
        ]
        self._change(content=[*self.value["content"], part])
        return events

    def settle(self, status: str) -> Events:
        self._change(status=status)
        return [self._item_event("done")]

    def cut(self) -> None:
        """Keep the part that is still growing, of an answer that breaks off."""
        self._change(status="incomplete")
        if self._text:
            part = _output_text("".join(self._text), [])
            self._change(content=[*self.value["content"], part])

    def _grown(self, text: str) -> Events:
        if not text:
            return []
        self._text.append(text)
        return [self._part("output_text.delta", delta=text, logprobs=[])]

    def _part(self, kind: str, **fields: Any) -> Value:
        return self._event(kind, content_index=len(self.value["content"]), **fields)


def _output_text(text: str, notes: list[Value]) -> Value:
    return {"type": "output_text", "annotations": notes, "logprobs": [], "text": text}


def cited(citations: Sequence[Any], end: int) -> list[Value]:
    """Citations as annotations; each belongs to the whole part that holds it, ``end`` characters.

    Pages of the web are cited by their address, documents of the request by their place and title.
    """
    found = (_annotation(citation, end) for citation in citations if isinstance(citation, dict))
    return [note for note in found if note is not None]


def _annotation(citation: Value, end: int) -> Value | None:
    url, title = citation.get("url") or citation.get("source"), citation.get("title")
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        told = {"title": title if isinstance(title, str) and title else url, "url": url}
        return {"type": "url_citation", "start_index": 0, "end_index": end, **told}
    name = citation.get("document_title") or title
    place = citation.get("document_index", citation.get("search_result_index"))
    if not isinstance(place, int):
        return None
    # The dialect demands an id: a document that was never uploaded has none.
    own = citation.get("file_id")
    return {
        "type": "file_citation",
        "file_id": own if isinstance(own, str) else "",
        "filename": name if isinstance(name, str) else "",
        "index": place,
    }


# --- reasoning ----------------------------------------------------------------------------------


class ReasoningItem(Growing):
    """A block of thinking: its text as the summary, and all of it in ``encrypted_content``.

    That is sent where the client included it, and holds the signature: a block without one cannot
    be sent back and has none.
    """

    def __init__(self, key: str, index: int, *, encrypted: bool) -> None:
        super().__init__({"id": f"rs_{key}", "type": "reasoning", "summary": []}, index)
        self._encrypted = encrypted
        self._text: list[str] = []
        self._block: Block = {}

    def begin(self) -> Events:
        return [self._item_event("added")]

    def open(self, block: Block) -> Events:
        self._block = dict(block)
        return self._grown(str(block.get("thinking") or ""))

    def delta(self, delta: Mapping[str, Any]) -> Events:
        if delta["type"] == "thinking_delta":
            return self._grown(delta["thinking"])
        if delta["type"] == "signature_delta":
            self._block["signature"] = delta["signature"]
        return []

    def close(self) -> Events:
        text = "".join(self._text)
        events: Events = []
        if text:
            part = {"type": "summary_text", "text": text}
            events.append(self._event("reasoning_summary_text.done", summary_index=0, text=text))
            events.append(self._event("reasoning_summary_part.done", summary_index=0, part=part))
            self._change(summary=[part])
        signed = isinstance(self._block.get("signature"), str) and self._block["signature"]
        if self._block["type"] == "thinking":
            self._block["thinking"] = text
        if self._encrypted and (signed or self._block["type"] == "redacted_thinking"):
            self._change(encrypted_content=packed([(0, self._block)]))
        return [*events, self._item_event("done")]

    def settle(self, status: str) -> Events:
        return []

    def cut(self) -> None:
        """Keep the summary that is still growing, of an answer that breaks off."""
        if self._text and not self.value["summary"]:
            self._change(summary=[{"type": "summary_text", "text": "".join(self._text)}])

    def _grown(self, text: str) -> Events:
        if not text:
            return []
        first = not self._text
        self._text.append(text)
        events: Events = []
        if first:
            part = {"type": "summary_text", "text": ""}
            events.append(self._event("reasoning_summary_part.added", summary_index=0, part=part))
        events.append(self._event("reasoning_summary_text.delta", summary_index=0, delta=text))
        return events


def reasoning_item(key: str, content: str) -> Value:
    """An item that carries what is to come back on later turns, and shows nothing."""
    return {"id": f"rs_{key}", "type": "reasoning", "summary": [], "encrypted_content": content}


# --- compactions --------------------------------------------------------------------------------


class CompactionItem(Growing):
    """A summary of the conversation so far, which its provider alone reads: the block, sealed."""

    def __init__(self, key: str, index: int, *, asked: bool) -> None:
        value: Value = {"id": f"cmp_{key}", "type": "compaction", "encrypted_content": ""}
        super().__init__(value, index)
        self._marks = [ASKED] if asked else []
        self._block: Block = {}

    def begin(self) -> Events:
        return [self._item_event("added"), self._event("compaction.compacting")]

    def open(self, block: Block) -> Events:
        self._block = dict(block)
        return []

    def delta(self, delta: Mapping[str, Any]) -> Events:
        if grows(self._block, delta):
            self._block |= {name: value for name, value in delta.items() if name != "type"}
        return []

    def close(self) -> Events:
        self._change(encrypted_content=sealed([self._block, *self._marks]))
        return [self._item_event("done")]

    def settle(self, status: str) -> Events:
        return []

    def cut(self) -> None:
        """What has not come whole is of no use to anybody."""


# --- calls --------------------------------------------------------------------------------------


class CallItem(Growing):
    """A call of a function, whose arguments are JSON, or of a free-form tool, whose input is text.

    It is complete when something follows it or the answer ends of itself. One that a limit cut off
    gets no event that says it is done: clients run what is done.
    """

    def __init__(self, key: str, index: int, block: Block, own: Sequence[str]) -> None:
        kind, name, namespace = own
        self._custom = kind == "custom"
        self._member = "input" if self._custom else "arguments"
        self._stem = "custom_tool_call_input" if self._custom else "function_call_arguments"
        self._unwrapper = Unwrapper()
        self._held = ""
        self._text: list[str] = []
        value: Value = {
            "id": f"{'ctc' if self._custom else 'fc'}_{key}",
            "type": "custom_tool_call" if self._custom else "function_call",
            "status": "in_progress",
            "call_id": block["id"],
            "name": name,
            self._member: "",
        }
        super().__init__({**value, "namespace": namespace} if namespace else value, index)

    def begin(self) -> Events:
        return [self._item_event("added")]

    def open(self, block: Block) -> Events:
        return self._json(input_text(block["input"])) if block["input"] else []

    def delta(self, delta: Mapping[str, Any]) -> Events:
        return self._json(delta["partial_json"]) if delta["type"] == "input_json_delta" else []

    def close(self) -> Events:
        return self._grown(self._unwrapper.finish()) if self._custom else []

    def settle(self, status: str) -> Events:
        done = status == "completed"
        events = self._released() if done else self._grown(self._held.removesuffix("{}"))
        text = "".join(self._text)
        self._change(**{"status": status, self._member: text})
        if not done:
            return events
        told = {self._member: text}
        if not self._custom:
            told["name"] = self.value["name"]
        return [*events, self._event(f"{self._stem}.done", **told), self._item_event("done")]

    def cut(self) -> None:
        """Keep what has come of a call in an answer that breaks off."""
        self._change(**{"status": "incomplete", self._member: "".join(self._text)})

    def _json(self, piece: str) -> Events:
        """The events of a piece of the call's JSON.

        "{}" is held back while there is nothing else: it may be a call that a limit cuts off before
        its arguments begin, and that must not look like a complete one.
        """
        if self._custom:
            return self._grown(self._unwrapper.feed(piece))
        self._held += piece
        if not self._text and "{}".startswith(self._held):
            return []
        held, self._held = self._held, ""
        return self._grown(held)

    def _released(self) -> Events:
        """What was held back of a complete call; the least that a function can be given is {}."""
        if self._custom:
            return []
        held, self._held = self._held, ""
        return self._grown(held if held or self._text else "{}")

    def _grown(self, text: str) -> Events:
        if not text:
            return []
        self._text.append(text)
        return [self._event(f"{self._stem}.delta", delta=text)]


class LocalCallItem(Growing):
    """A call of a tool that the client runs by itself, told whole: it has no form that grows.

    One that a limit cut off is left out, since what it says cannot be run.
    """

    def __init__(self, key: str, index: int, block: Block, kind: str) -> None:
        super().__init__({}, index)
        self._key = key
        self._kind = kind
        self._block = block
        self._text: list[str] = []
        self._done = False

    @property
    def values(self) -> list[Value]:
        return [self.value] if self._done else []

    def begin(self) -> Events:
        return []

    def open(self, block: Block) -> Events:
        return []

    def delta(self, delta: Mapping[str, Any]) -> Events:
        if delta["type"] == "input_json_delta":
            self._text.append(delta["partial_json"])
        return []

    def close(self) -> Events:
        return []

    def settle(self, status: str) -> Events:
        given = tool_input("".join(self._text) or input_text(self._block["input"]))
        if status != "completed" or given is None:
            return []
        self._done = True
        self.value = call_item(self._kind, self._key, self._block["id"], given)
        early = {**self.value, "status": "in_progress"}
        added = {"type": "response.output_item.added", "output_index": self._index, "item": early}
        return [added, self._item_event("done")]

    def cut(self) -> None:
        """What has not come whole cannot be run."""
