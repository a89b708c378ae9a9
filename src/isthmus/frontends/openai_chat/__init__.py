"""The Chat Completions frontend: OpenAI's clients, and everyone who speaks as they do.

Source: OpenAI's API reference (create chat completion, models); the extra members (``thinking``,
``top_k``, ``cache_control``, ``service_tier: standard_only``) are Anthropic's, sent as ``extra_body``.
"""

from __future__ import annotations

from typing import Any, cast

from isthmus.errors import refuse
from isthmus.frontends import Match, Route, openai
from isthmus.frontends import schema as schemas
from isthmus.frontends.openai import Draft
from isthmus.frontends.openai_chat.answer import (
    encode_count,
    encode_error,
    encode_message,
    encode_model,
    encode_models,
    encoder,
)
from isthmus.frontends.openai_chat.messages import Conversation
from isthmus.frontends.openai_chat.tools import (
    BREAKPOINT,
    Tools,
    function_choice,
    note_lifetime,
    tool_choice,
)
from isthmus.frontends.parameters import (
    UNKNOWN,
    body_of,
    count,
    mapping,
    note_others,
    number,
    optional,
    required_text,
    text,
)
from isthmus.request import Body, HttpRequest, Notes, Request, expect

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

DIALECT = "openai-chat"
ROUTES = (
    Route("POST", "/v1/chat/completions", "messages"),
    Route("GET", "/v1/models", "models"),
    Route("GET", "/v1/models/{model}", "model"),
)
SIGNS: tuple[str, ...] = ()
"""None: whoever shows no other sign is taken for a client of this dialect."""
NAMES = {
    "output_config.effort": "reasoning_effort",
    "output_config.format": "response_format",
    "stop_sequences": "stop",
}

Members = dict[str, tuple[str, Any]]
"""The members of a body by name, each with its path and its value."""


def decode(http: HttpRequest, match: Match) -> Request:
    """Read a chat completion request as a Messages one.

    ``memory`` keeps for the answer: ``created`` (seconds since 1970), ``include_usage``, ``legacy``
    (the client offered ``functions``) and ``names`` (its tool names by the legal ones).
    Raises GatewayError (400) that names the member at fault, for wrong types at any level and for
    content that a Messages request cannot hold.
    """
    draft = Draft(hub={}, memory={"created": http.arrived})
    members = _members(http.body, draft.notes)
    path, value = members.get("model", ("model", None))
    model = cast("str", expect(value, str, path, "a string"))
    if not model:
        raise refuse(path, "must not be empty")
    draft.hub["model"] = model
    for name, read in READ.items():
        draft.path, value = members.get(name, (name, None))
        if value is not None:
            read(draft, value)
    _conversation(draft, members)
    _note_dropped(draft, members)
    return Request(
        dialect=DIALECT,
        body=Body(draft.hub),
        model=model,
        stream=draft.memory.pop("stream", False),
        headers=http.headers,
        query=http.query,
        notes=draft.notes,
        memory=draft.memory,
    )


def _members(source: bytes, notes: Notes) -> Members:
    """The body's members, and those of an ``extra_body`` that an SDK would have merged into it."""
    body = body_of(source, notes)
    extra = optional(body, "extra_body", dict, "", "an object") or {}
    members = {name: (f"extra_body.{name}", value) for name, value in extra.items()}
    members |= {name: (name, value) for name, value in body.items() if name != "extra_body"}
    return members


# --- parameters ---------------------------------------------------------------------------------


def _max_tokens(draft: Draft, value: Any) -> None:
    """Two names for one limit; the newer one is read first and wins."""
    limit = count(1)(value, draft.path)
    if draft.hub.setdefault("max_tokens", limit) != limit:
        draft.notes.dropped(draft.path, "max_completion_tokens counts")


def _stream_options(draft: Draft, value: Any) -> None:
    options = mapping(value, draft.path)
    asked = optional(options, "include_usage", bool, draft.path, "a boolean")
    if asked:
        draft.memory["include_usage"] = True
    if optional(options, "include_obfuscation", bool, draft.path, "a boolean"):
        draft.notes.dropped(f"{draft.path}.include_obfuscation", "nothing is obfuscated")
    note_others(options, ("include_usage", "include_obfuscation"), draft.path, draft.notes)


def _stop(draft: Draft, value: Any) -> None:
    texts = [value] if isinstance(value, str) else expect(value, list, draft.path, "strings")
    for index, item in enumerate(texts):
        text(item, f"{draft.path}.{index}")
    if texts:
        draft.hub["stop_sequences"] = texts


def _reasoning_effort(draft: Draft, value: Any) -> None:
    openai.effort(draft, value, draft.path, "summarized")


def _prompt_cache_options(draft: Draft, value: Any) -> None:
    """OpenAI's implicit breakpoint, where it is asked for, is Anthropic's automatic one."""
    options = mapping(value, draft.path)
    mode = optional(options, "mode", str, draft.path, "a string")
    if mode not in (None, "implicit", "explicit"):
        raise refuse(f"{draft.path}.mode", 'expected "implicit" or "explicit"')
    note_lifetime(options, draft.path, draft.notes)
    note_others(options, ("mode", "ttl"), draft.path, draft.notes)
    if mode == "implicit" and draft.hub.setdefault("cache_control", BREAKPOINT) is not BREAKPOINT:
        draft.notes.dropped(draft.path, "cache_control counts")


def _n(draft: Draft, value: Any) -> None:
    if expect(value, int, draft.path, "a whole number") != 1:
        raise refuse(draft.path, "only one choice can be given: n must be 1")


def _modalities(draft: Draft, value: Any) -> None:
    if any(item != "text" for item in expect(value, list, draft.path, "an array")):
        raise refuse(draft.path, 'only text can be answered: expected ["text"]')


def _audio(draft: Draft, value: Any) -> None:
    raise refuse(draft.path, "audio cannot be answered: leave it out")


def _response_format(draft: Draft, value: Any) -> None:
    form = mapping(value, draft.path)
    kind = required_text(form, "type", draft.path)
    if kind == "json_object":
        draft.notes.dropped(draft.path, "JSON without a schema cannot be enforced: say it in words")
    elif kind == "json_schema":
        path = f"{draft.path}.json_schema"
        openai.json_schema(draft, mapping(form.get("json_schema"), path), path)
    elif kind != "text":
        raise refuse(f"{draft.path}.type", "expected text, json_object or json_schema")


READ: dict[str, openai.Read] = {
    "max_completion_tokens": _max_tokens,
    "max_tokens": _max_tokens,
    "stream": openai.stream,
    "stream_options": _stream_options,
    "temperature": openai.passing("temperature", number(0, 2)),
    "top_p": openai.passing("top_p", number(0, 1)),
    "top_k": openai.passing("top_k", count(0)),
    "stop": _stop,
    "thinking": openai.passing("thinking", mapping),
    "reasoning_effort": _reasoning_effort,
    "response_format": _response_format,
    "service_tier": openai.service_tier,
    "metadata": openai.metadata,
    "user": openai.user,
    "safety_identifier": openai.user,
    "cache_control": openai.marked,
    "prompt_cache_options": _prompt_cache_options,
    "context_management": openai.passing("context_management", mapping),
    "n": _n,
    "modalities": _modalities,
    "audio": _audio,
}
"""How each parameter is read, in this order; null counts as absent."""

_HINT = "Anthropic has nothing like it"
_CACHING = "caching is asked for by cache_control"
DROPPED: dict[str, tuple[Any, str]] = {
    "frequency_penalty": (0, _HINT),
    "logit_bias": ({}, _HINT),
    "logprobs": (False, _HINT),
    "moderation": (None, _HINT),
    "prediction": (None, _HINT),
    "presence_penalty": (0, _HINT),
    "prompt_cache_key": (None, _CACHING),
    "prompt_cache_retention": (None, _CACHING),
    "seed": (None, _HINT),
    "store": (False, "nothing is stored"),
    "top_logprobs": (0, _HINT),
    "verbosity": ("medium", _HINT),
}
"""Parameters that are left out: the value that means nothing, and why any other has no effect."""

CONVERSATION = (
    *("model", "messages", "tools", "tool_choice", "parallel_tool_calls"),
    *("functions", "function_call", "web_search_options"),
)


def _note_dropped(draft: Draft, members: Members) -> None:
    for name, (path, value) in members.items():
        if name in READ or name in CONVERSATION or value is None:
            continue
        neutral, reason = DROPPED.get(name, (None, UNKNOWN))
        if value != neutral:
            draft.notes.dropped(path, reason)


# --- the conversation and its tools -------------------------------------------------------------


def _conversation(draft: Draft, members: Members) -> None:
    """Put tools, tool choice, system and messages into the draft."""
    tools = Tools(draft.notes)
    for name, add in (
        ("web_search_options", tools.add_search),
        ("tools", tools.add),
        ("functions", tools.add_functions),
    ):
        path, value = members.get(name, (name, None))
        if value is not None:
            add(value, path)
    choice = _choice(draft, members, tools)
    conversation = Conversation(tools.names, draft.notes)
    path, value = members.get("messages", ("messages", None))
    turns = conversation.read(value, path)
    if tools.blocks or tools.server:
        draft.hub["tools"] = [*tools.blocks, *tools.server]
    if choice is not None:
        draft.hub["tool_choice"] = choice
    if conversation.system:
        draft.hub["system"] = conversation.system
    draft.hub["messages"] = turns
    draft.memory["names"] = tools.names.renamed
    if "format" in draft.hub.get("output_config", {}):
        schemas.refuse_beside(turns, members["response_format"][0])


def _choice(draft: Draft, members: Members, tools: Tools) -> dict[str, Any] | None:
    """The tool choice, or None where there is nothing to say."""
    path, parallel = members.get("parallel_tool_calls", ("parallel_tool_calls", None))
    if parallel is not None:
        parallel = expect(parallel, bool, path, "a boolean")
    draft.memory["legacy"] = legacy = bool(tools.blocks) and not _given(members, "tools")
    choice: dict[str, Any] | None = None
    for name, read in (("tool_choice", tool_choice), ("function_call", function_choice)):
        path, value = members.get(name, (name, None))
        if value is not None and choice is not None:
            draft.notes.dropped(path, "tool_choice counts")
        elif value is not None:
            choice = _possible(draft, read(value, path, tools), path, tools)
    if tools.blocks and (parallel is False or legacy) and (choice or {}).get("type") != "none":
        choice = {"type": "auto", **(choice or {}), "disable_parallel_tool_use": True}
    return choice


def _possible(
    draft: Draft, choice: dict[str, Any], path: str, tools: Tools
) -> dict[str, Any] | None:
    """The choice, but for one without tools: a call cannot be required then, all else says nothing."""
    if tools.blocks or tools.server:
        return choice
    if choice["type"] == "any":
        raise refuse(path, "a call is required, but there are no tools")
    draft.notes.dropped(path, "there are no tools to choose from")
    return None


def _given(members: Members, name: str) -> bool:
    return bool(members.get(name, (name, None))[1])
