"""What a client of each dialect may receive: state machines that read a whole answer as its client
does, raise Illegal where a rule is broken, and give what the answer amounts to.

Written from the providers' references and from their recorded streams, not from our encoders, and
without a line of the package: they must be able to contradict it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Value = dict[str, Any]


class Illegal(AssertionError):
    """The answer breaks a rule of its dialect."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole answer: the message it joins to, or the error that ended it (then ``message`` is
    what had come before). ``arguments`` holds the text of each tool call's input, in order."""

    message: Value
    error: Value | None
    arguments: tuple[str, ...] = ()


def need(fact: object, rule: str, seen: object = "") -> None:
    if not fact:
        raise Illegal(f"{rule}: {seen!r}" if seen != "" else rule)


def loads(text: str | bytes) -> Any:
    """Strict JSON: no NaN, no member twice, nothing that is not Unicode text."""

    def unrepeated(pairs: list[tuple[str, Any]]) -> Value:
        names = [name for name, _ in pairs]
        need(len(set(names)) == len(names), "a member stands twice", names)
        return dict(pairs)

    def refused(name: str) -> None:
        raise Illegal(f"{name} is no JSON number")

    try:
        value = json.loads(text, object_pairs_hook=unrepeated, parse_constant=refused)
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        raise Illegal(f"no JSON ({error}): {text!r}") from error
    return value


def an_object(value: Any, what: str) -> Value:
    need(isinstance(value, dict), f"{what} is an object", value)
    return value


def a_count(value: Any, what: str) -> int:
    need(type(value) is int and value >= 0, f"{what} is a whole number from 0", value)
    return value


def a_text(value: Any, what: str) -> str:
    need(isinstance(value, str), f"{what} is a string", value)
    return value


# --- server-sent events -------------------------------------------------------------------------


def frames(data: bytes) -> list[tuple[str, str]]:
    """Each event's name and data. Only forms that every SDK's own parser reads are legal: LF lines,
    one space after the colon, whole events; comments and unnamed keep-alives are left out."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Illegal(f"not UTF-8: {error}") from error
    need("\r" not in text, "lines end with LF alone")
    need(not text or text.endswith("\n\n"), "the last event has its blank line", text[-80:])
    found: list[tuple[str, str]] = []
    for block in text.split("\n\n"):
        name, lines = "", []
        for line in block.split("\n"):
            field, colon, value = line.partition(": ")
            if not line or line.startswith(":"):
                continue
            need(colon and field in ("event", "data"), "a line is event, data or a comment", line)
            if field == "event":
                need(not name, "one name for an event", block)
                name = value
            else:
                lines.append(value)
        if name or lines:
            need(len(lines) == 1, "an event has one data line", block)
            found.append((name, lines[0]))
    return found


# --- Anthropic ----------------------------------------------------------------------------------

_GROWING: dict[str, tuple[str, ...]] = {
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "tool_use": ("input_json_delta",),
    "server_tool_use": ("input_json_delta",),
    "mcp_tool_use": ("input_json_delta",),
    "compaction": ("compaction_delta",),
}
_DELTAS = {kind for kinds in _GROWING.values() for kind in kinds}
"""Those of today; whoever reads a stream passes over others."""
_FIRST: dict[str, Value] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
    "mcp_tool_use": {"input": {}},
    "compaction": {"content": None},
}
_ENDS = {
    *("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"),
    *("model_context_window_exceeded", "compaction"),
}


class _Anthropic:
    """One Messages stream: message_start, blocks one after the other, message_delta, message_stop."""

    def __init__(self) -> None:
        self.message: Value = {}
        self.error: Value | None = None
        self.arguments: list[str] = []
        self._open: int | None = None
        self._pieces: list[str] = []
        self._signed = False
        self._begun = self._settled = self._stopped = False

    def read(self, name: str, value: Value) -> None:
        need(name == value.get("type"), "the event's name is its data's type", (name, value))
        need(not self.error, "nothing follows an error", name)
        step: Callable[[Value], None] | None = getattr(self, f"_{name}", None)
        if step is None:
            return
        if name not in ("message_start", "error"):
            need(self._begun, "message_start comes first", name)
        need(not self._stopped, "nothing follows message_stop", name)
        step(value)

    def _message_start(self, value: Value) -> None:
        need(not self._begun, "one message_start")
        message = an_object(value.get("message"), "message_start.message")
        for key in ("id", "model"):
            a_text(message.get(key), f"message.{key}")
        need(message.get("type") == "message", "message.type", message.get("type"))
        need(message.get("role") == "assistant", "message.role", message.get("role"))
        need(message.get("content") == [], "a message starts empty", message.get("content"))
        for key in ("stop_reason", "stop_sequence"):
            need(message.get(key, 0) is None, f"message_start has a null {key}", message.get(key))
        usage = an_object(message.get("usage"), "message.usage")
        a_count(usage.get("input_tokens"), "usage.input_tokens")
        a_count(usage.get("output_tokens"), "usage.output_tokens")
        self.message = {**message, "content": [], "usage": dict(usage)}
        self._begun = True

    def _content_block_start(self, value: Value) -> None:
        need(self._open is None, "blocks do not overlap", value)
        need(not self._settled, "no block after message_delta", value)
        index = a_count(value.get("index"), "index")
        need(index == len(self.message["content"]), "blocks are numbered without gaps", value)
        block = an_object(value.get("content_block"), "content_block")
        kind = a_text(block.get("type"), "content_block.type")
        for key, empty in _FIRST.get(kind, {}).items():
            need(block.get(key, empty) == empty, f"a {kind} block starts empty", block)
        self.message["content"].append(dict(block))
        self._open, self._pieces, self._signed = index, [], False

    def _content_block_delta(self, value: Value) -> None:
        need(
            self._open is not None and value.get("index") == self._open, "its block is open", value
        )
        block = self.message["content"][-1]
        delta = an_object(value.get("delta"), "delta")
        kind = a_text(delta.get("type"), "delta.type")
        if kind not in _DELTAS:
            return
        need(kind in _GROWING.get(block["type"], ()), f"a {block['type']} block takes no {kind}")
        need(not self._signed, "nothing follows the signature of a block", value)
        if kind == "text_delta":
            block["text"] = block.get("text", "") + a_text(delta.get("text"), "delta.text")
        elif kind == "thinking_delta":
            block["thinking"] += a_text(delta.get("thinking"), "delta.thinking")
        elif kind == "signature_delta":
            block["signature"] = a_text(delta.get("signature"), "delta.signature")
            self._signed = True
        elif kind == "input_json_delta":
            self._pieces.append(a_text(delta.get("partial_json"), "delta.partial_json"))
        elif kind == "citations_delta":
            citation = an_object(delta.get("citation"), "delta.citation")
            block["citations"] = [*(block.get("citations") or []), citation]
        else:
            block.update({key: inner for key, inner in delta.items() if key != "type"})

    def _content_block_stop(self, value: Value) -> None:
        need(
            self._open is not None and value.get("index") == self._open, "its block is open", value
        )
        block = self.message["content"][-1]
        if "input" in _FIRST.get(block["type"], ()):
            text = "".join(self._pieces)
            self.arguments.append(text or "{}")
            block["input"] = whole_object(text)
        self._open = None

    def _message_delta(self, value: Value) -> None:
        need(self._open is None, "message_delta comes after the last block", value)
        delta = an_object(value.get("delta"), "delta")
        for key in ("stop_reason", "stop_sequence"):
            need(key in delta, f"message_delta says {key}", delta)
        usage = an_object(value.get("usage"), "usage")
        a_count(usage.get("output_tokens"), "usage.output_tokens")
        self.message.update(delta)
        known = {key: number for key, number in usage.items() if number is not None}
        self.message["usage"].update(known)
        extra = {k: inner for k, inner in value.items() if k not in ("type", "delta", "usage")}
        self.message.update(extra)
        self._settled = True

    def _message_stop(self, value: Value) -> None:
        need(self._settled, "message_delta comes before message_stop")
        reason = self.message["stop_reason"]
        need(reason in _ENDS, "the last message_delta has a known stop_reason", reason)
        stopped = self.message["stop_sequence"]
        need(stopped is None or reason == "stop_sequence", "stop_sequence belongs to its reason")
        self._stopped = True

    def _error(self, value: Value) -> None:
        self.error = anthropic_error(value)

    @property
    def ended(self) -> bool:
        return self._stopped or self.error is not None


def whole_object(text: str) -> Value:
    """A tool call's input; one that a limit cut off counts as empty."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def anthropic_error(value: Value) -> Value:
    """Anthropic's envelope, as a body or as the data of an error event."""
    need(value.get("type") == "error", "an error's type is error", value)
    need(set(value) <= {"type", "error", "request_id"}, "nothing else beside the error", value)
    error = an_object(value.get("error"), "error")
    a_text(error.get("type"), "error.type")
    need(a_text(error.get("message"), "error.message"), "error.message is not empty")
    need(isinstance(value.get("request_id", ""), str), "request_id is a string", value)
    return error


def anthropic(data: bytes) -> Outcome:
    """Read a Messages stream to its end, which is ``message_stop`` or one error event."""
    machine = _Anthropic()
    for name, text in frames(data):
        need(name, "every event is named", text)
        machine.read(name, an_object(loads(text), "data"))
    need(machine.ended, "the stream ends with message_stop or an error", data[-200:])
    return Outcome(machine.message, machine.error, tuple(machine.arguments))


# --- Chat Completions ---------------------------------------------------------------------------

_FINISHES = {"stop", "length", "tool_calls", "content_filter", "function_call"}
_CONSTANT = ("id", "created", "model", "object")
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


def chat_usage(value: Any) -> Value:
    """Usage whose parts are whole numbers that add up; the details stand inside the totals."""
    usage = an_object(value, "usage")
    prompt = a_count(usage.get("prompt_tokens"), "usage.prompt_tokens")
    completion = a_count(usage.get("completion_tokens"), "usage.completion_tokens")
    need(usage.get("total_tokens") == prompt + completion, "total_tokens is the sum", usage)
    for name, whole in (("prompt", prompt), ("completion", completion)):
        details = usage.get(f"{name}_tokens_details") or {}
        for key, number in an_object(details, f"{name}_tokens_details").items():
            need(a_count(number, key) <= whole, f"{key} is a part of the {name} tokens", usage)
    return usage


def chat_error(value: Value) -> Value:
    """OpenAI's envelope: message and type are strings, param and code strings or null."""
    need(set(value) == {"error"}, "an error stands alone", value)
    error = an_object(value["error"], "error")
    need({"message", "type", "param", "code"} <= set(error), "an error has its four fields", error)
    need(a_text(error["message"], "error.message"), "error.message is not empty")
    a_text(error["type"], "error.type")
    for key in ("param", "code"):
        need(error[key] is None or isinstance(error[key], str), f"error.{key}", error)
    return error


class _Chat:
    """One chat.completion.chunk stream of a single choice."""

    def __init__(self) -> None:
        self.completion: Value = {}
        self.message: Value = {}
        self.calls: list[Value] = []
        self.finish: str | None = None
        self.usage: Value | None = None
        self.error: Value | None = None
        self.done = False

    def read(self, text: str) -> None:
        need(not self.done, "nothing follows [DONE]", text)
        need(not self.error, "nothing follows an error", text)
        if text == "[DONE]":
            need(self.finish, "a finish_reason comes before [DONE]")
            self.done = True
            return
        value = an_object(loads(text), "data")
        if "error" in value:
            self.error = chat_error(value)
        else:
            self._chunk(value)

    def _chunk(self, chunk: Value) -> None:
        need(chunk.get("object") == "chat.completion.chunk", "object", chunk)
        a_text(chunk.get("id"), "id")
        a_text(chunk.get("model"), "model")
        a_count(chunk.get("created"), "created")
        need(isinstance(chunk.get("choices"), list), "choices is an array", chunk)
        need(self.usage is None, "the usage chunk is the last one", chunk)
        same = {key: chunk[key] for key in _CONSTANT}
        before = {key: self.completion.get(key, chunk[key]) for key in _CONSTANT}
        need(same == before, "id, created and model stay the same", (before, same))
        rest = {k: v for k, v in chunk.items() if k not in ("choices", "usage") and v is not None}
        self.completion.update(rest)
        if chunk.get("usage") is not None:
            self.usage = chat_usage(chunk["usage"])
        need(chunk["choices"] or self.usage, "a chunk without choices carries the usage", chunk)
        need(len(chunk["choices"]) <= 1, "one choice", chunk)
        for choice in chunk["choices"]:
            self._choice(an_object(choice, "choice"))

    def _choice(self, choice: Value) -> None:
        need(choice.get("index") == 0, "choice.index", choice)
        need(self.finish is None, "nothing follows finish_reason but usage", choice)
        delta = an_object(choice.get("delta"), "delta")
        need("finish_reason" in choice, "a choice has a finish_reason, null until the last", choice)
        if not self.message:
            need(delta.get("role") == "assistant", "the first delta says the role", delta)
        need(delta.get("role", "assistant") == "assistant", "delta.role", delta)
        for key, value in delta.items():
            self._grow(key, value)
        if choice["finish_reason"] is not None:
            need(choice["finish_reason"] in _FINISHES, "finish_reason", choice)
            self.finish = choice["finish_reason"]

    def _grow(self, key: str, value: Any) -> None:
        if key == "tool_calls":
            need(isinstance(value, list) and value, "tool_calls is an array", value)
            for piece in value:
                self._call(an_object(piece, "tool call"))
        elif value is None or key == "role":
            self.message.setdefault(key, value)
        elif key == "function_call":
            self._legacy_call(an_object(value, "function_call"))
        elif key in _TEXTS:
            self.message[key] = (self.message.get(key) or "") + a_text(value, f"delta.{key}")
        elif isinstance(value, list):
            self.message[key] = [*(self.message.get(key) or []), *value]
        else:
            self.message[key] = value

    def _call(self, piece: Value) -> None:
        index = a_count(piece.get("index"), "tool call index")
        function = an_object(piece.get("function"), "function")
        need(index <= len(self.calls), "tool calls are numbered without gaps", piece)
        if index == len(self.calls):
            need(a_text(piece.get("id"), "tool call id"), "the first piece has an id", piece)
            need(piece.get("type") == "function", "the first piece has a type", piece)
            need(a_text(function.get("name"), "name"), "the first piece has a name", piece)
            arguments = a_text(function.get("arguments"), "arguments")
            self.calls.append({**piece, "function": {**function, "arguments": arguments}})
            return
        need(index == len(self.calls) - 1, "the pieces of a call are not mixed with others'", piece)
        last = self.calls[-1]
        need(piece.get("id") in (None, last["id"]), "a later piece brings no other id", piece)
        need(function.get("name") in (None, ""), "a later piece brings no name", piece)
        last["function"]["arguments"] += a_text(function.get("arguments"), "arguments")

    def _legacy_call(self, piece: Value) -> None:
        """The one call of a client that still sends ``functions``: its name, then its arguments."""
        call = self.message.setdefault(
            "function_call", {"name": piece.get("name"), "arguments": ""}
        )
        need(piece.get("name") in (None, call["name"]), "a later piece brings no name", piece)
        need(a_text(call["name"], "function_call.name"), "the first piece has a name", piece)
        call["arguments"] += a_text(piece.get("arguments"), "arguments")

    def joined(self) -> Value:
        """The chat.completion that these chunks amount to."""
        calls = [{k: v for k, v in call.items() if k != "index"} for call in self.calls]
        message = {**self.message, **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        whole = {**self.completion, "object": "chat.completion", "choices": [choice]}
        return {**whole, "usage": self.usage} if self.usage else whole


def chat(data: bytes, *, usage: bool | None = None) -> Outcome:
    """Read a Chat stream to ``[DONE]`` or to one error, after which no ``[DONE]`` comes.

    ``usage`` says whether the client asked for it; None where that is not known.
    """
    machine = _Chat()
    for name, text in frames(data):
        need(not name, "events have no name", name)
        machine.read(text)
    need(machine.done or machine.error, "the stream ends with [DONE] or an error", data[-200:])
    if usage is not None and machine.done:
        need((machine.usage is not None) is usage, "usage comes if and only if it was asked for")
    arguments = [call["function"]["arguments"] for call in machine.calls]
    if "function_call" in machine.message:
        arguments.insert(0, machine.message["function_call"]["arguments"])
    if machine.done and machine.finish in ("tool_calls", "function_call"):
        need(arguments, "a call comes before a finish that tells of one", machine.finish)
    if machine.finish in ("stop", "tool_calls", "function_call"):
        for text in arguments:
            need(isinstance(loads(text), dict), "arguments are a JSON object", text)
    return Outcome(machine.joined(), machine.error, tuple(arguments))


def chat_completion(data: bytes) -> Value:
    """Read a whole chat.completion."""
    value = an_object(loads(data), "the body")
    need(value.get("object") == "chat.completion", "object", value.get("object"))
    a_text(value.get("id"), "id")
    a_text(value.get("model"), "model")
    a_count(value.get("created"), "created")
    need(len(value.get("choices", ())) == 1, "one choice", value)
    choice = value["choices"][0]
    need(choice.get("finish_reason") in _FINISHES, "finish_reason", choice)
    message = an_object(choice.get("message"), "message")
    need(message.get("role") == "assistant", "message.role", message)
    need(
        message.get("content", 0) is None or isinstance(message["content"], str), "content", message
    )
    need("refusal" in message, "message.refusal is there, null or a string", message)
    for call in message.get("tool_calls") or []:
        need(call["type"] == "function", "tool call type", call)
        need(call["id"] and call["function"]["name"], "tool call id and name", call)
        a_text(call["function"]["arguments"], "arguments")
        need("index" not in call, "an index belongs to streams", call)
    chat_usage(value.get("usage"))
    return value


# --- Gemini -------------------------------------------------------------------------------------

_PART_DATA = {
    *("text", "inlineData", "functionCall", "functionResponse", "fileData"),
    *("executableCode", "codeExecutionResult"),
}
_GEMINI_ENDS = {
    *("STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"),
}
_SUMMED = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
)


def gemini_usage(value: Any) -> Value:
    """Usage whose counts add up; cached tokens are a part of the prompt's."""
    usage = an_object(value, "usageMetadata")
    for key, number in usage.items():
        if key.endswith("TokenCount"):
            a_count(number, key)
    total = sum(usage.get(key, 0) for key in _SUMMED)
    need(usage.get("totalTokenCount") == total, "totalTokenCount is the sum", usage)
    cached = usage.get("cachedContentTokenCount", 0)
    need(cached <= usage.get("promptTokenCount", 0), "cached tokens are prompt tokens", usage)
    return usage


def gemini_error(value: Value) -> Value:
    """Google's envelope: a numeric code, a message, a status in capitals."""
    need(set(value) == {"error"}, "an error stands alone", value)
    error = an_object(value["error"], "error")
    need(400 <= a_count(error.get("code"), "error.code") < 600, "error.code is a status", error)
    need(a_text(error.get("message"), "error.message"), "error.message is not empty")
    status = a_text(error.get("status"), "error.status")
    need(status and status == status.upper(), "error.status is in capitals", status)
    return error


def gemini_part(part: Value) -> Value:
    """A part of a content: at most one kind of data, each of its own shape."""
    kinds = _PART_DATA & set(part)
    need(len(kinds) == 1 or (not kinds and "thoughtSignature" in part), "one kind of data", part)
    if "text" in part:
        a_text(part["text"], "part.text")
    if "thought" in part:
        need(part["thought"] is True, "part.thought is true or absent", part)
    if "thoughtSignature" in part:
        need(a_text(part["thoughtSignature"], "thoughtSignature"), "a signature is not empty", part)
    if "functionCall" in part:
        call = an_object(part["functionCall"], "functionCall")
        need(a_text(call.get("name"), "functionCall.name"), "a call has a name", call)
        an_object(call.get("args", {}), "functionCall.args")
        need(isinstance(call.get("id", ""), str), "functionCall.id", call)
    return part


class _Gemini:
    """A sequence of GenerateContentResponses that make one answer of a single candidate."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.response: Value = {}
        self.candidate: Value = {}
        self.parts: list[Value] = []
        self.finish: str | None = None
        self.error: Value | None = None

    def read(self, value: Value) -> None:
        need(not self.error, "nothing follows an error", value)
        if "error" in value:
            self.error = gemini_error(value)
            return
        need(self.finish is None, "nothing follows the finishReason", value)
        for key in ("modelVersion", "responseId"):
            if key in value:
                a_text(value[key], key)
                need(self.response.get(key, value[key]) == value[key], f"{key} stays the same")
        if "usageMetadata" in value:
            usage = an_object(value["usageMetadata"], "usageMetadata")
            self.response["usageMetadata"] = gemini_usage(usage) if self.strict else usage
        plain = {k: v for k, v in value.items() if k not in ("candidates", "usageMetadata")}
        self.response.update(plain)
        candidates = value.get("candidates", [])
        need(isinstance(candidates, list) and len(candidates) <= 1, "one candidate", value)
        for candidate in candidates:
            self._candidate(an_object(candidate, "candidate"))

    def _candidate(self, candidate: Value) -> None:
        need(candidate.get("index", 0) == 0, "candidate.index", candidate)
        content = an_object(candidate.get("content", {}), "content")
        need(content.get("role", "model") == "model", "content.role", content)
        for part in content.get("parts", []):
            self._join(gemini_part(an_object(part, "part")))
        plain = {k: v for k, v in candidate.items() if k not in ("content", "finishReason")}
        self.candidate.update(plain)
        self.finish = candidate.get("finishReason")
        need(self.finish is None or self.finish in _GEMINI_ENDS, "finishReason", self.finish)

    def _join(self, part: Value) -> None:
        """Append, or continue the text before it if that is of the same kind and nothing new is signed."""
        if not set(part) <= _DATA_OF_TEXT or not part.get("text"):
            if part.get("text") != "" or "thoughtSignature" in part:
                self.parts.append(dict(part))
            return
        last = self.parts[-1] if self.parts else {}
        same = bool(last.get("text")) and last.get("thought") == part.get("thought")
        if same and "thoughtSignature" not in part:
            self.parts[-1] = {**last, **part, "text": last["text"] + part["text"]}
        else:
            self.parts.append(dict(part))

    def joined(self) -> Value:
        candidate = {**self.candidate, "content": {"role": "model", "parts": self.parts}}
        return {**self.response, "candidates": [{**candidate, "finishReason": self.finish}]}


_DATA_OF_TEXT = {"text", "thought", "thoughtSignature"}


def _gemini(values: list[Any], *, strict: bool) -> Outcome:
    machine = _Gemini(strict=strict)
    for value in values:
        machine.read(an_object(value, "response"))
    need(machine.finish or machine.error, "the answer ends with a finishReason or an error")
    if machine.finish and not machine.error:
        need("usageMetadata" in machine.response, "a finished answer tells its usage")
    return Outcome(machine.joined(), machine.error)


def gemini_sse(data: bytes, *, strict: bool = True) -> Outcome:
    """Read a ``streamGenerateContent?alt=sse`` answer: it just ends, without a terminator.

    ``strict`` asks of usage that it adds up, which Google's own early chunks do not.
    """
    body, bare = data, b""
    if not data.endswith(b"\n\n"):
        body, _, bare = data.rpartition(b"\n\n")
        body += b"\n\n"
    found = frames(body)
    if bare:
        # Google's service sends an error as bare JSON, and its JavaScript SDK reads no other.
        need(found and bare.decode() == found[-1][1], "a bare line repeats the last event", bare)
        gemini_error(an_object(loads(bare), "the bare line"))
    need(not any(name for name, _ in found), "events have no name")
    need(b"[DONE]" not in [text.encode() for _, text in found], "Gemini has no [DONE]")
    return _gemini([loads(text) for _, text in found], strict=strict)


def gemini_array(data: bytes, *, strict: bool = True) -> Outcome:
    """Read a ``streamGenerateContent`` answer without ``alt=sse``: one JSON array."""
    values = loads(data)
    need(isinstance(values, list), "the body is an array")
    return _gemini(values, strict=strict)


def gemini_response(data: bytes) -> Value:
    """Read a whole GenerateContentResponse, its neighbouring texts joined as a client reads them."""
    value = an_object(loads(data), "the body")
    outcome = _gemini([value], strict=True)
    need(outcome.error is None, "a response is no error", value)
    return outcome.message


# --- Responses ----------------------------------------------------------------------------------

_RESPONSE_ENDS = {"response.completed", "response.incomplete", "response.failed"}
_PARTS = {
    "output_text": ("text", "response.output_text.delta", "response.output_text.done"),
    "refusal": ("refusal", "response.refusal.delta", "response.refusal.done"),
}
_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}
_LOCAL = {"local_shell_call": "action", "shell_call": "action", "apply_patch_call": "operation"}
_SUMMARY = "response.reasoning_summary"
_SEARCH = "response.web_search_call"


def response_usage(value: Any) -> Value:
    """Usage whose parts are whole numbers that add up, with every detail that the SDK demands."""
    usage = an_object(value, "usage")
    given = a_count(usage.get("input_tokens"), "usage.input_tokens")
    made = a_count(usage.get("output_tokens"), "usage.output_tokens")
    need(usage.get("total_tokens") == given + made, "total_tokens is the sum", usage)
    details = an_object(usage.get("input_tokens_details"), "input_tokens_details")
    for key in ("cached_tokens", "cache_write_tokens"):
        need(a_count(details.get(key), key) <= given, f"{key} is a part of the input", usage)
    details = an_object(usage.get("output_tokens_details"), "output_tokens_details")
    a_count(details.get("reasoning_tokens"), "reasoning_tokens")
    return usage


def response_object(value: Any) -> Value:
    """A response object, in whatever state."""
    response = an_object(value, "response")
    need(response.get("object") == "response", "object", response)
    a_text(response.get("id"), "id")
    a_text(response.get("model"), "model")
    a_count(response.get("created_at"), "created_at")
    for key, kind in (("output", list), ("tools", list), ("parallel_tool_calls", bool)):
        need(isinstance(response.get(key), kind), f"{key} is there", response)
    status = response.get("status")
    need((response.get("error") is not None) == (status == "failed"), "error", response)
    cut = response.get("incomplete_details") is not None
    need(cut == (status == "incomplete"), "incomplete_details belong to their status", response)
    ids = [a_text(an_object(item, "item").get("id"), "item.id") for item in response["output"]]
    need(len(set(ids)) == len(ids), "items have ids of their own", ids)
    for item in response["output"]:
        whole = status == "completed"
        searched = (
            item["type"] == "web_search_call"
        )  # which may have no result for reasons of its own
        ended = item.get("status", "completed") == "completed" or searched
        need(not whole or ended, "a cut item", item)
    if response.get("usage") is not None:
        response_usage(response["usage"])
    return response


class _Responses:
    """One stream: created, in_progress, items one after the other, one end with the full response."""

    def __init__(self) -> None:
        self.count = 0
        self.last: Value = {}
        self.items: list[Value] = []
        self.open: Value | None = None
        self.part: Value | None = None
        self.summary: Value | None = None
        self.argued = False
        self.searched: list[str] = []
        self.error: Value | None = None
        self.ended = False

    def read(self, name: str, value: Value) -> None:
        kind = a_text(value.get("type"), "type")
        need(name == kind, "the event's name is its data's type", (name, kind))
        need(not self.ended, "nothing follows the end", kind)
        need(value.get("sequence_number") == self.count, "events are numbered from 0", value)
        first = {0: "response.created", 1: "response.in_progress"}.get(self.count)
        early = self.count == 0 and kind == "error"
        need(first is None or kind == first or early or kind == "response.failed", "order", kind)
        self.count += 1
        if kind == "error":
            need(a_text(value.get("message"), "message"), "an error says something", value)
            self.error, self.ended = value, True
        elif kind in ("response.created", "response.in_progress", *_RESPONSE_ENDS):
            self._response(kind, value)
        elif kind.startswith("response.output_item."):
            self._item(kind, value)
        else:
            self._inside(kind, value)

    def _response(self, kind: str, value: Value) -> None:
        response = response_object(value.get("response"))
        status = {"created": "in_progress"}.get(kind.split(".")[1], kind.split(".")[1])
        need(response["status"] == status, "the status is the event's", response["status"])
        if kind not in _RESPONSE_ENDS:
            need(response["output"] == [], "a response begins without output", response)
            need(response.get("usage") is None, "and without usage", response)
        same = ("id", "model", "created_at", "tools")
        for key in same if self.last else ():
            need(response[key] == self.last[key], f"{key} stays the same", response[key])
        self.last = response
        if kind in _RESPONSE_ENDS:
            self._end(kind, response)

    def _end(self, kind: str, response: Value) -> None:
        self.ended = True
        output = response["output"]
        if kind == "response.completed":
            done = all(
                item.get("status", "completed") == "completed"
                for item in self.items
                if item["type"] != "web_search_call"
            )
            need(self.open is None and done, "every item is done", self.items)
        need(output[: len(self.items)] == self.items, "the output is what was done", output)
        rest = output[len(self.items) :]
        need(len(rest) == (self.open is not None), "an item that is not done stands last", rest)
        for item in rest:
            need(item.get("status", "incomplete") == "incomplete", "it is incomplete", item)
            if kind == "response.incomplete":
                need(item["type"] in _CALLS, "only a cut call is not done", item)
            if item["type"] in _CALLS:
                member = _CALLS[item["type"]][0]
                need(item[member] == (self.open or {})[member], "what was said of it", item)
        if kind == "response.failed":
            self.error = an_object(response["error"], "error")
            a_text(self.error.get("code"), "error.code")

    def _item(self, kind: str, value: Value) -> None:
        item = an_object(value.get("item"), "item")
        if kind.endswith("added") and self.open and self.open["type"] in _CALLS:
            # Cut off by a refusal, whose message follows: it never gets done.
            self.items.append({**self.open, "status": "incomplete"})
            self.open = None
        need(value.get("output_index") == len(self.items), "items are numbered in order", value)
        if kind.endswith("added"):
            need(self.open is None, "items do not overlap", value)
            need(item.get("status", "in_progress") == "in_progress", "an item begins", item)
            self._begin(item)
            return
        need(self.open is not None, "an item is added before it is done", item)
        open_item = self.open or {}
        need(self.part is None and self.summary is None, "its parts are done", value)
        for key in ("id", "type", "call_id", "name", "namespace"):
            need(item.get(key) == open_item.get(key), f"{key} stays the same", item)
        need(item.get("status", "completed") != "in_progress", "a done item has ended", item)
        for key in ("content", "summary", "arguments", "input"):
            need(item.get(key) == open_item.get(key), f"{key} is what the events said", item)
        if item["type"] in _CALLS:
            need(self.argued, "arguments are done before the call", item)
            need(item.get("status") == "completed", "a call that is done is complete", item)
        if item["type"] == "web_search_call":
            self._searched(item)
        self.items.append(item)
        self.open = None

    def _begin(self, item: Value) -> None:
        """See that an item begins empty, but for those that are told whole."""
        empty = {"message": "content", "reasoning": "summary", "compaction": "encrypted_content"}
        kind = item["type"]
        if kind == "web_search_call":
            need(set(item["action"]) == {"type"}, "a search begins without what it looks for", item)
        elif kind not in _LOCAL:
            need(not item[empty.get(kind) or _CALLS[kind][0]], "an item begins empty", item)
        self.open, self.argued, self.searched = dict(item), False, []

    def _searched(self, item: Value) -> None:
        """See that a search told what became of it, in the right order."""
        order = ["in_progress", "searching", "completed"]
        need(self.searched == order[: len(self.searched)], "the order of a search", self.searched)
        status = item["status"]
        need(status in ("completed", "failed", "incomplete"), "the end of a search", item)
        need((self.searched == order) == (status == "completed"), "completed", self.searched)
        need(item["action"]["type"] == (self.open or {})["action"]["type"], "one action", item)

    def _inside(self, kind: str, value: Value) -> None:
        need(self.open is not None, "an item is open", kind)
        item = self.open or {}
        need(value.get("item_id") == item["id"], "item_id", value)
        need(value.get("output_index") == len(self.items), "output_index", value)
        if item["type"] == "message":
            self._message(kind, value, item)
        elif item["type"] == "reasoning":
            self._reasoning(kind, value, item)
        elif item["type"] == "web_search_call":
            need(kind.startswith(f"{_SEARCH}."), "an event of a search", kind)
            self.searched.append(kind.removeprefix(f"{_SEARCH}."))
        elif item["type"] == "compaction":
            need(kind == "response.compaction.compacting", "an event of a compaction", kind)
        else:
            member, stem = _CALLS[item["type"]]
            need(not self.argued, "nothing follows what is done", kind)
            if kind == f"{stem}.delta":
                need(value["delta"], "a delta says something", value)
                item[member] += a_text(value["delta"], "delta")
            else:
                need(kind == f"{stem}.done", "an event of a call", kind)
                need(value.get(member) == item[member], "done says it all", value)
                self.argued = True

    def _message(self, kind: str, value: Value, item: Value) -> None:
        index = len(item["content"])
        need(value.get("content_index") == index, "parts are numbered in order", value)
        if kind == "response.content_part.added":
            need(self.part is None, "parts do not overlap", value)
            self.part = dict(an_object(value.get("part"), "part"))
            need(not self.part[_PARTS[self.part["type"]][0]], "a part begins empty", value)
            return
        need(self.part is not None, "a part is open", kind)
        part = self.part or {}
        member, delta, done = _PARTS[part["type"]]
        if kind == delta:
            need(value["delta"], "a delta says something", value)
            part[member] += a_text(value["delta"], "delta")
        elif kind == "response.output_text.annotation.added":
            found = part["annotations"]
            need(value.get("annotation_index") == len(found), "annotations in order", value)
            part["annotations"] = [*found, an_object(value.get("annotation"), "annotation")]
        elif kind == done:
            need(value.get(member) == part[member], "done says it all", value)
        else:
            need(kind == "response.content_part.done", "an event of a message", kind)
            need(value.get("part") == part, "the part is what the events said", value)
            item["content"] = [*item["content"], part]
            self.part = None

    def _reasoning(self, kind: str, value: Value, item: Value) -> None:
        need(value.get("summary_index") == len(item["summary"]), "parts in order", value)
        if kind == f"{_SUMMARY}_part.added":
            need(self.summary is None, "parts do not overlap", value)
            self.summary = dict(an_object(value.get("part"), "part"))
            return
        need(self.summary is not None, "a part is open", kind)
        part = self.summary or {}
        if kind == f"{_SUMMARY}_text.delta":
            part["text"] += a_text(value["delta"], "delta")
        elif kind == f"{_SUMMARY}_text.done":
            need(value.get("text") == part["text"], "done says it all", value)
        else:
            need(kind == f"{_SUMMARY}_part.done", "an event of reasoning", kind)
            need(value.get("part") == part, "the part is what the events said", value)
            item["summary"] = [*item["summary"], part]
            self.summary = None


def responses(data: bytes) -> Outcome:
    """Read a Responses stream to its one end; ``arguments`` are those of functions."""
    machine = _Responses()
    for name, text in frames(data):
        need(name, "every event is named", text)
        machine.read(name, an_object(loads(text), "data"))
    need(machine.ended, "the stream ends with a response or an error", data[-200:])
    items = machine.last.get("output", [])
    found = [item["arguments"] for item in items if item["type"] == "function_call"]
    return Outcome(machine.last, machine.error, tuple(found))


def whole_response(data: bytes) -> Value:
    """Read a whole response, which is complete or says why it is not."""
    value = response_object(loads(data))
    need(value["status"] in ("completed", "incomplete"), "status", value)
    return value
