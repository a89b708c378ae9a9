"""One answer as a response: its items as they come, the events of the stream, the whole object.

Source: OpenAI's API reference (the response object, streaming events, errors of a response).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from isthmus.errors import GatewayError
from isthmus.frontends.openai_responses.local_tools import LOCAL
from isthmus.frontends.openai_responses.output import (
    CallItem,
    CompactionItem,
    Events,
    Item,
    LocalCallItem,
    MessageItem,
    ReasoningItem,
    Value,
)
from isthmus.frontends.openai_responses.searches import ServerRun
from isthmus.frontends.usage import whole_usage
from isthmus.messages import Block, Event
from isthmus.request import Request

CUT = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}
"""Stop reasons of answers that are incomplete, and how the dialect says why; all others complete one."""

DECLINED = "The model declined to respond."
"""The refusal of an answer whose provider gives no explanation."""

_CODES = {
    "context_overflow": "context_length_exceeded",
    "billing": "insufficient_quota",
    "rate_limit": "rate_limit_exceeded",
    "overloaded": "server_is_overloaded",
    "invalid_request": "invalid_prompt",
}
"""The code of a failed response by the kind of the failure, as Codex knows them; else server_error."""

_PROMPT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")

_DEFAULTS: Value = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
"""What a response says of its request where the request says nothing."""


def usage(counts: Mapping[str, Any]) -> Value | None:
    """Messages count cached tokens beside the input, Responses inside it; None where nothing is known.

    The dialect demands every one of these numbers: what the provider did not tell of is 0.
    """
    counts = whole_usage(counts)
    fresh, written, read = (_count(counts, name) for name in _PROMPT)
    answer = _count(counts, "output_tokens")
    if fresh is None and answer is None:
        return None
    prompt = sum(count or 0 for count in (fresh, written, read))
    details = counts.get("output_tokens_details")
    thought = _count(cast("Value", details), "thinking_tokens") if isinstance(details, dict) else 0
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": read or 0, "cache_write_tokens": written or 0},
        "output_tokens": answer or 0,
        "output_tokens_details": {"reasoning_tokens": thought or 0},
        "total_tokens": prompt + (answer or 0),
    }


def _count(counts: Mapping[str, Any], name: str) -> int | None:
    value = counts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def echo(asked: Mapping[str, Any]) -> Value:
    """What a response repeats of its request, in the forms that the dialect's own types demand."""
    value = {**_DEFAULTS, **asked}
    if "text" in asked:
        value["text"] = {**_DEFAULTS["text"], **asked["text"]}
    value["tools"] = [
        {"parameters": None, "strict": None, **tool} if tool.get("type") == "function" else tool
        for tool in value["tools"]
    ]
    return value


class Answer:
    """Follows one legal stream of events; each method gives the dialect's events, unnumbered."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._tools = cast("Mapping[str, list[str]]", request.memory.get("tools") or {})
        self._echo = echo(request.memory.get("echo") or {})
        self._head: Value = {}
        self._key = ""
        self._output: list[Value] = []
        self._item: Item | None = None
        self._blocks = 0
        self._usage: Value = {}
        self._end: Value = {}
        self.response: Value = {}

    def feed(self, event: Event) -> Events:
        """The events that one of the hub's brings, which may be none."""
        read = _READ.get(event.type)
        return [] if read is None else read(self, event.value)

    def fail(self, error: GatewayError) -> Events:
        """The one event that ends a failed answer: the response so far, or a bare error before it."""
        code, words = _CODES.get(error.kind, "server_error"), error.words("openai-responses")
        if not self._head:
            fields = {"code": code, "message": words, "param": error.param or None}
            return [{"type": "error", **fields}]
        if self._item is not None:
            self._item.cut()
            self._output += self._item.values
            self._item = None
        told = {"code": code, "message": words}
        return [{"type": "response.failed", "response": self._whole("failed", error=told)}]

    # --- the whole ------------------------------------------------------------------------------

    def _whole(self, status: str, **fields: Any) -> Value:
        """The response object as it stands."""
        value = {**self._head, "status": status, "error": None, "incomplete_details": None}
        counts = None if status == "in_progress" else usage(self._usage)
        return {**value, **self._echo, "output": list(self._output), "usage": counts, **fields}

    def _start(self, value: Mapping[str, Any]) -> Events:
        message = value["message"]
        self._key = str(message.get("id") or "").removeprefix("msg_")
        self._head = {
            "id": f"resp_{self._key}",
            "object": "response",
            "created_at": self._request.memory.get("created", 0),
            "model": message.get("model") or self._request.model,
        }
        self._count(message.get("usage"))
        whole = self._whole("in_progress")
        return [
            {"type": f"response.{kind}", "response": whole} for kind in ("created", "in_progress")
        ]

    def _count(self, told: Any) -> None:
        for name, count in told.items() if isinstance(told, dict) else ():
            if count is not None:
                self._usage[name] = count

    def _settle(self, value: Mapping[str, Any]) -> Events:
        self._end.update(value["delta"])
        self._count(value.get("usage"))
        return []

    def _stop(self, value: Mapping[str, Any]) -> Events:
        """What the reason for the end makes of the last item, and the complete response."""
        reason = self._end.get("stop_reason")
        why = CUT.get(reason) if isinstance(reason, str) else None
        events = self._refused() if reason == "refusal" else []
        events += self._done("incomplete" if why else "completed")
        status = "incomplete" if why else "completed"
        details = {"reason": why} if why else None
        self.response = self._whole(status, incomplete_details=details)
        return [*events, {"type": f"response.{status}", "response": self.response}]

    def _refused(self) -> Events:
        """The refusal, in the message that was going on or in one of its own."""
        details = self._end.get("stop_details")
        told = cast("Value", details).get("explanation") if isinstance(details, dict) else None
        events: Events = []
        if not isinstance(self._item, MessageItem):
            events = self._done("incomplete")
            self._item = MessageItem(f"{self._key}_{self._blocks}", len(self._output))
            events += self._item.begin()
        return [*events, *self._item.refuse(str(told or DECLINED))]

    # --- items ----------------------------------------------------------------------------------

    def _done(self, status: str) -> Events:
        """The events that end the last item, which is settled only when its end is known."""
        item, self._item = self._item, None
        if item is None:
            return []
        events = item.settle(status)
        self._output += item.values
        return events

    def _open(self, value: Mapping[str, Any]) -> Events:
        block = cast("Block", value["content_block"])
        self._blocks += 1
        if self._item is not None and self._item.takes(block):
            return self._item.open(block)
        events = self._done("completed")
        make = _ITEMS.get(block["type"], Answer._server_run)
        item = self._item = make(self, block, f"{self._key}_{value['index']}")
        return [*events, *item.begin(), *item.open(block)]

    def _message(self, block: Block, key: str) -> MessageItem:
        return MessageItem(key, len(self._output))

    def _reasoning(self, block: Block, key: str) -> ReasoningItem:
        encrypted = bool(self._request.memory.get("encrypted"))
        return ReasoningItem(key, len(self._output), encrypted=encrypted)

    def _call(self, block: Block, key: str) -> CallItem | LocalCallItem:
        own = self._tools.get(block["name"], ["function", block["name"], ""])
        if own[0] in LOCAL:
            return LocalCallItem(key, len(self._output), block, own[0])
        return CallItem(key, len(self._output), block, own)

    def _compaction(self, block: Block, key: str) -> CompactionItem:
        asked = bool(self._request.memory.get("compacting"))
        return CompactionItem(key, len(self._output), asked=asked)

    def _server_run(self, block: Block, key: str) -> ServerRun:
        memory = self._request.memory
        wanted = {name: bool(memory.get(name)) for name in ("encrypted", "sources")}
        return ServerRun(key, len(self._output), **wanted)

    def _delta(self, value: Mapping[str, Any]) -> Events:
        return self._item.delta(value["delta"]) if self._item else []

    def _close(self, value: Mapping[str, Any]) -> Events:
        return self._item.close() if self._item else []


_ITEMS: dict[str, Callable[[Answer, Block, str], Item]] = {
    "text": Answer._message,
    "thinking": Answer._reasoning,
    "redacted_thinking": Answer._reasoning,
    "tool_use": Answer._call,
    "compaction": Answer._compaction,
}
"""What item each type of block becomes; all others are a run of the provider's own tools."""

_READ: dict[str, Callable[[Answer, Mapping[str, Any]], Events]] = {
    "message_start": Answer._start,
    "content_block_start": Answer._open,
    "content_block_delta": Answer._delta,
    "content_block_stop": Answer._close,
    "message_delta": Answer._settle,
    "message_stop": Answer._stop,
}
