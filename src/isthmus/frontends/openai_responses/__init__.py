"""The Responses frontend: OpenAI's newer API, which Codex and the Agents SDK speak.

Source: OpenAI's API reference (create a response, count input tokens); the extra members
(``thinking``, ``top_k``, ``cache_control``) are Anthropic's, sent as ``extra_body``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from isthmus.errors import GatewayError, refuse
from isthmus.frontends import Match, Route, openai
from isthmus.frontends import schema as schemas
from isthmus.frontends.openai_chat.answer import encode_model, encode_models, envelope
from isthmus.frontends.openai_responses import compactions
from isthmus.frontends.openai_responses.items import Conversation
from isthmus.frontends.openai_responses.stored import (
    ENCRYPTED,
    Known,
    continued,
    not_there,
    own_items,
)
from isthmus.frontends.openai_responses.stream import encode_count, encode_message, encoder
from isthmus.frontends.openai_responses.tools import Tools, offered_search, tool_choice
from isthmus.frontends.parameters import (
    UNKNOWN,
    body_of,
    count,
    mapping,
    note_others,
    number,
    optional,
    required_text,
)
from isthmus.request import Body, HttpRequest, Request, expect

__all__ = [
    "DIALECT",
    "NAMES",
    "ROUTES",
    "SIGNS",
    "decode",
    "encode_count",
    "encode_error",
    "encode_message",
    "encode_model",
    "encode_models",
    "encoder",
]

DIALECT = "openai-responses"
ROUTES = (
    Route("POST", "/v1/responses", "messages"),
    Route("POST", "/v1/responses/input_tokens", "count_tokens"),
    Route("GET", "/v1/responses/{response}/input_items", "input_items"),
    Route("POST", "/v1/responses/{response}/cancel", "cancel_response"),
    Route("GET", "/v1/responses/{response}", "response"),
    Route("DELETE", "/v1/responses/{response}", "delete_response"),
)
SIGNS = ("/v1/responses",)
NAMES = {
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "output_config.effort": "reasoning.effort",
    "output_config.format": "text.format",
    "system": "instructions",
    "thinking": "reasoning",
}

NOTHING = Known()
"""What is known where no responses are kept."""

_INCLUDED = {
    ENCRYPTED: "encrypted",
    "web_search_call.action.sources": "sources",
}
"""What can be included, and what ``memory`` calls it."""


@dataclass(slots=True)
class Draft(openai.Draft):
    """The draft of a request that may go on from stored responses."""

    known: Known = NOTHING


def decode(http: HttpRequest, match: Match, known: Known = NOTHING) -> Request:
    """Read a request for a response, or for the count of its tokens, as a Messages one.

    ``memory`` keeps for the answer: ``created`` (seconds since 1970), ``encrypted`` (whether
    reasoning is to be sent with its content), ``sources`` (whether searches tell what they found),
    ``compacting`` (whether the answer is a compaction that was asked for), ``echo`` (what a response
    repeats of its request), ``tools`` (kind, name and namespace of the tools by their legal names) and,
    of a response that is to be stored, ``stored`` (the items of its input). The items of earlier
    responses are named in notes and errors by their places in the conversation, as
    ``previous_response_id.N``.
    Raises GatewayError (400) that names the member at fault, for wrong types at any level and for
    content that a Messages request cannot hold; Missing where it needs to know more.
    """
    draft = Draft(hub={}, memory={"created": http.arrived}, known=known)
    body, earlier = continued(body_of(http.body, draft.notes), known)
    model = cast("str", expect(body.get("model"), str, "model", "a string"))
    if not model:
        raise refuse("model", "must not be empty")
    draft.hub["model"] = model
    for name, read in READ.items():
        if body.get(name) is not None:
            draft.path = name
            read(draft, body[name])
    _conversation(draft, body, earlier)
    _note_dropped(draft, body)
    counting = match.route.operation == "count_tokens"
    draft.memory["echo"] = {name: body[name] for name in _ECHOED if body.get(name) is not None}
    if known.keeps and not counting and body.get("store") is not False:
        draft.memory["stored"] = own_items(body["input"])
        draft.memory["echo"]["store"] = True
    streamed = draft.memory.pop("stream", False)
    return Request(
        dialect=DIALECT,
        body=Body(draft.hub),
        model=model,
        stream=streamed and not counting,
        operation="count_tokens" if counting else "messages",
        headers=http.headers,
        query=http.query,
        notes=draft.notes,
        memory=draft.memory,
    )


# --- parameters ---------------------------------------------------------------------------------


def _stream_options(draft: Draft, value: Any) -> None:
    options = mapping(value, draft.path)
    optional(options, "include_obfuscation", bool, draft.path, "a boolean")
    note_others(options, ("include_obfuscation",), draft.path, draft.notes)


_SUMMARIES = ("auto", "concise", "detailed")


def _reasoning(draft: Draft, value: Any) -> None:
    """An effort or a summary switches thinking on, the effort "none" off.

    A ``thinking`` object, read before, decides itself.
    """
    asked, path = mapping(value, draft.path), draft.path
    effort = optional(asked, "effort", str, path, "a string")
    summary = optional(asked, "summary", str, path, "a string")
    summary = summary or optional(asked, "generate_summary", str, path, "a string")
    note_others(asked, ("effort", "summary", "generate_summary"), path, draft.notes)
    if summary not in (None, "none", *_SUMMARIES):
        raise refuse(f"{path}.summary", f"expected one of {', '.join(_SUMMARIES)}")
    shown = "summarized" if summary in _SUMMARIES else "omitted"
    if effort is not None:
        openai.effort(draft, effort, f"{path}.effort", shown)
    elif summary:
        draft.hub.setdefault("thinking", {"type": "adaptive", "display": shown})


def _text(draft: Draft, value: Any) -> None:
    text, path = mapping(value, draft.path), draft.path
    verbosity = optional(text, "verbosity", str, path, "a string")
    if verbosity not in (None, "medium"):
        draft.notes.dropped(f"{path}.verbosity", _HINT)
    note_others(text, ("format", "verbosity"), path, draft.notes)
    form = optional(text, "format", dict, path, "an object")
    if form is None:
        return
    at = f"{path}.format"
    kind = required_text(form, "type", at)
    if kind == "json_object":
        draft.notes.dropped(at, "JSON without a schema cannot be enforced: say it in words")
    elif kind == "json_schema":
        openai.json_schema(draft, {k: v for k, v in form.items() if k != "type"}, at)
    elif kind != "text":
        raise refuse(f"{at}.type", "expected text, json_object or json_schema")


def _metadata(draft: Draft, value: Any) -> None:
    for name, said in mapping(value, draft.path).items():
        expect(said, str, f"{draft.path}.{name}", "a string")
    openai.metadata(draft, value, "only user_id can be sent; the response repeats it")


def _include(draft: Draft, value: Any) -> None:
    for index, name in enumerate(expect(value, list, draft.path, "an array of strings")):
        at = f"{draft.path}.{index}"
        if expect(name, str, at, "a string") in _INCLUDED:
            draft.memory[_INCLUDED[name]] = True
        else:
            draft.notes.dropped(at, f"{name} is not there to be included")


def _context_management(draft: Draft, value: Any) -> None:
    edits = compactions.edits(value, draft.path, draft.notes)
    if edits is not None:
        draft.hub["context_management"] = edits


def _max_tool_calls(draft: Draft, value: Any) -> None:
    """A limit on the calls that the provider runs, of which web search is the only one."""
    draft.memory["searches"] = count(1)(value, draft.path)


def _truncation(draft: Draft, value: Any) -> None:
    if value not in ("auto", "disabled"):
        raise refuse(draft.path, 'expected "auto" or "disabled"')
    if value == "auto":
        draft.notes.dropped(draft.path, "nothing is left out of a conversation here")


def _store(draft: Draft, value: Any) -> None:
    if expect(value, bool, draft.path, "a boolean") and not draft.known.keeps:
        draft.notes.dropped(draft.path, "nothing is stored here")


def _background(draft: Draft, value: Any) -> None:
    if expect(value, bool, draft.path, "a boolean"):
        raise refuse(draft.path, "an answer cannot be fetched later: ask for a stream")


def _previous(draft: Draft, value: Any) -> None:
    previous = expect(value, str, draft.path, "a string")
    if not draft.known.chain:
        raise not_there(previous)


def _refused(reason: str) -> Callable[[Draft, Any], None]:
    def read(draft: Draft, value: Any) -> None:
        raise refuse(draft.path, reason)

    return read


READ: dict[str, Callable[[Draft, Any], None]] = {
    "max_output_tokens": openai.passing("max_tokens", count(1)),
    "stream": openai.stream,
    "stream_options": _stream_options,
    "temperature": openai.passing("temperature", number(0, 2)),
    "top_p": openai.passing("top_p", number(0, 1)),
    "top_k": openai.passing("top_k", count(0)),
    "thinking": openai.passing("thinking", mapping),
    "reasoning": _reasoning,
    "text": _text,
    "service_tier": openai.service_tier,
    "metadata": _metadata,
    "safety_identifier": openai.user,
    "user": openai.user,
    "cache_control": openai.marked,
    "include": _include,
    "context_management": _context_management,
    "max_tool_calls": _max_tool_calls,
    "truncation": _truncation,
    "store": _store,
    "background": _background,
    "previous_response_id": _previous,
    "conversation": _refused("conversations are not stored here: send the items as input"),
    "prompt": _refused("prompts are not stored here: send their text as instructions"),
}
"""How each parameter is read, in this order; null counts as absent."""

_HINT = "Anthropic has nothing like it"
_CACHING = "caching is asked for by cache_control"
DROPPED: dict[str, tuple[Any, str]] = {
    "access_programs": (None, _HINT),
    "background_options": (None, "nothing runs in the background"),
    "client_metadata": (None, _HINT),
    "image": (None, _HINT),
    "moderation": (None, _HINT),
    "personality": (None, _HINT),
    "prompt_cache_key": (None, _CACHING),
    "prompt_cache_options": (None, _CACHING),
    "prompt_cache_retention": (None, _CACHING),
    "top_logprobs": (0, _HINT),
}
"""Parameters that are left out: the value that means nothing, and why any other has no effect."""

CONVERSATION = ("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls")

_ECHOED = (
    *("instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "prompt_cache_key"),
    *("previous_response_id", "reasoning", "safety_identifier", "temperature", "text"),
    *("tool_choice", "tools", "top_p", "truncation", "user"),
)
"""What a response repeats of its request."""


def _note_dropped(draft: Draft, body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name in READ or name in CONVERSATION or value is None:
            continue
        neutral, reason = DROPPED.get(name, (None, UNKNOWN))
        if value != neutral:
            draft.notes.dropped(name, reason)


# --- the conversation and its tools -------------------------------------------------------------


def _conversation(draft: Draft, body: dict[str, Any], earlier: list[dict[str, Any]]) -> None:
    """Put tools, tool choice, system and messages into the draft."""
    limit = draft.memory.pop("searches", None)
    tools = Tools(draft.notes, limit)
    tools.reserve(offered_search(body, earlier))
    if body.get("tools") is not None:
        tools.add(body["tools"], "tools")
    conversation = Conversation(tools, draft.notes)
    if body.get("instructions") is not None:
        conversation.instruct(body["instructions"], "instructions")
    turns = conversation.read(body.get("input"), "input", earlier)
    choice = _choice(draft, body, tools)
    if tools.blocks:
        draft.hub["tools"] = tools.blocks
    if choice is not None:
        draft.hub["tool_choice"] = choice
    if conversation.system:
        draft.hub["system"] = conversation.system
    if limit is not None and not tools.searching:
        draft.notes.dropped("max_tool_calls", "there is no tool that the provider runs")
    draft.hub["messages"] = turns
    draft.memory["tools"] = tools.owners()
    if conversation.compacting:
        _compact(draft)
    elif "format" in draft.hub.get("output_config", {}):
        schemas.refuse_beside(turns, "text.format")


def _compact(draft: Draft) -> None:
    """The answer is to be a summary: a request can ask for one way of compacting only."""
    draft.hub["compaction"] = compactions.ON_DEMAND
    draft.memory["compacting"] = True
    if draft.hub.pop("context_management", None):
        draft.notes.dropped("context_management", "the request asks for a compaction itself")


def _choice(draft: Draft, body: dict[str, Any], tools: Tools) -> dict[str, Any] | None:
    """The tool choice, or None where there is nothing to say."""
    parallel = optional(body, "parallel_tool_calls", bool, "", "a boolean")
    asked = body.get("tool_choice")
    choice = None
    if asked is not None and (tools.blocks or asked not in ("auto", "none")):
        choice = tool_choice(asked, "tool_choice", tools)
    if parallel is False and tools.blocks and (choice or {}).get("type") != "none":
        choice = {"type": "auto", **(choice or {}), "disable_parallel_tool_use": True}
    elif parallel is False and not tools.blocks:
        draft.notes.dropped("parallel_tool_calls", "there are no tools to be called")
    return choice


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """OpenAI's envelope; a prompt that is too long is the fault of ``input``."""
    return envelope(error, DIALECT, "input")
