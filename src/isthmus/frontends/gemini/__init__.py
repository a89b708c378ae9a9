"""The Gemini frontend: clients of Google's generateContent API.

Source of the shapes: the reference of the Gemini API (ai.google.dev/api) and the types of the
google-genai SDK; what its clients really send was recorded from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import parse_qs

from isthmus import wire
from isthmus.errors import GatewayError, refuse
from isthmus.frontends import Match, Model, Route, Served
from isthmus.frontends.gemini.answers import ArrayEncoder, Encoder, failure, whole
from isthmus.frontends.gemini.contents import system_blocks, turns_of
from isthmus.frontends.gemini.fields import Fields, cache_control
from isthmus.frontends.gemini.names import Names
from isthmus.frontends.gemini.served import served_tools
from isthmus.frontends.gemini.settings import (
    CONFIG,
    configure,
    declared,
    offered,
    tool_choice,
    tool_of,
)
from isthmus.messages import Message
from isthmus.request import Body, HttpRequest, Notes, Request

DIALECT = "gemini"

SIGNS = ("/v1beta/", "x-goog-api-key")
NAMES = {
    "messages": "contents",
    "system": "systemInstruction",
    "max_tokens": "generationConfig.maxOutputTokens",
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "stop_sequences": "generationConfig.stopSequences",
    "thinking": "generationConfig.thinkingConfig",
    "thinking.budget_tokens": "generationConfig.thinkingConfig.thinkingBudget",
    "output_config.effort": "generationConfig.thinkingConfig.thinkingLevel",
    "output_config.format": "generationConfig.responseJsonSchema",
    "tool_choice": "toolConfig.functionCallingConfig",
}

_STREAMING = ":streamGenerateContent"
_CALLS: tuple[tuple[str, Served], ...] = (
    (":generateContent", "messages"),
    (_STREAMING, "messages"),
    (":countTokens", "count_tokens"),
)


def _routes() -> Iterator[Route]:
    for version in ("/v1beta", "/v1"):
        # /v1/models is shared with dialects that have other signs.
        signs = ("x-goog-api-key", "?key") if version == "/v1" else ()
        for ending, operation in _CALLS:
            yield Route("POST", f"{version}/models/{{model}}{ending}", operation)
        yield Route("GET", f"{version}/models", "models", signs)
        yield Route("GET", f"{version}/models/{{model}}", "model", signs)


ROUTES = tuple(_routes())

CONVERSATION = (
    *("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings"),
    *("labels", "cachedContent", "serviceTier", "store", "model", "cacheControl"),
    *("modelArmorConfig", "continuationToken"),
)
_COUNTED = (
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
)
"""What Anthropic's count_tokens takes; the other members change no count."""

KNOBS = {
    "safetySettings": "Claude has no thresholds to set",
    "labels": "they are for Google's bills",
    "modelArmorConfig": "Google's filter is out of reach",
    "store": "nothing is stored",
}
REFUSED = {
    "cachedContent": "Google's caches are out of reach; send the contents",
    "continuationToken": "resumes an answer that Google began; send the contents",
}
_TIERS = {
    "standard": "standard_only",
    "standard_only": "standard_only",
    "priority": "auto",
    "auto": "auto",
}


def decode(http: HttpRequest, match: Match) -> Request:
    """Read a request to generate or to count. Raises GatewayError (400) that names the field."""
    notes = Notes()
    body = _body(http.body, notes)
    counting = match.route.operation == "count_tokens"
    try:
        hub, memory = _hub(
            _counted_root(body, notes) if counting else _root(body, "", notes), notes
        )
    except RecursionError:
        raise refuse("", "the body is nested too deeply to be read") from None
    if counting:
        hub = {name: value for name, value in hub.items() if name in _COUNTED}
    model = match.parts["model"].removeprefix("models/")
    stream = match.route.pattern.endswith(_STREAMING)
    memory["sse"] = stream and _wants_events(http.query)
    return Request(
        dialect=DIALECT,
        body=Body({"model": model, **hub}),
        model=model,
        stream=stream,
        operation="count_tokens" if counting else "messages",
        headers=http.headers,
        query=http.query,
        notes=notes,
        memory=memory,
    )


def _body(source: bytes, notes: Notes) -> dict[str, Any]:
    for name in sorted(wire.members(source).repeated):
        raise refuse(name, "this member stands twice in the body")
    value, repaired = wire.loads_repaired(source)
    if repaired:
        notes.changed("", "lone surrogates became U+FFFD")
    return cast("dict[str, Any]", value)


def _root(value: Any, path: str, notes: Notes) -> Fields:
    return Fields(value, path, CONVERSATION, notes)


def _counted_root(value: Any, notes: Notes) -> Fields:
    """What is to be counted: the contents, or a whole request of which they are part."""
    outer = Fields(value, "", (*CONVERSATION, "generateContentRequest"), notes)
    if "generateContentRequest" not in outer:
        return outer
    path = outer.path("generateContentRequest")
    if "contents" in outer:
        raise refuse(path, "send either contents or generateContentRequest")
    for name in CONVERSATION:
        if name in outer and name != "model":
            notes.dropped(outer.path(name), "generateContentRequest says what is counted")
    return _root(outer.get("generateContentRequest"), path, notes)


def _hub(root: Fields, notes: Notes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The Messages body, and what the encoder must remember of the request."""
    for name, why in REFUSED.items():
        if name in root:
            raise refuse(root.path(name), why)
    for name, why in KNOBS.items():
        if name in root:
            notes.dropped(root.path(name), why)
    root.string("model")
    tools = offered(root, notes)
    functions, served = declared(tools, notes), served_tools(tools, notes)
    called = (function.string("name") or "" for function in functions)
    names = Names(called, (tool["name"] for tool in served))
    hub: dict[str, Any] = {}
    if "systemInstruction" in root:
        path = root.path("systemInstruction")
        if system := system_blocks(root.get("systemInstruction"), path, notes):
            hub["system"] = system
    if functions or served:
        hub["tools"] = [*(tool_of(function, names, notes) for function in functions), *served]
    if (choice := tool_choice(root, functions, names, notes)) is not None:
        hub["tool_choice"] = choice
    hub["messages"] = turns_of(root, names, notes)
    thoughts = False
    if "generationConfig" in root:
        path = root.path("generationConfig")
        config = Fields(root.get("generationConfig"), path, CONFIG, notes)
        thoughts = configure(hub, config, notes)
    if (tier := root.string("serviceTier")) is not None:
        _choose_tier(hub, tier, root.path("serviceTier"), notes)
    if (mark := cache_control(root)) is not None:
        hub["cache_control"] = mark
    return hub, {"names": names.originals, "thoughts": thoughts}


def _choose_tier(hub: dict[str, Any], tier: str, path: str, notes: Notes) -> None:
    chosen = _TIERS.get(tier.lower())
    if chosen is None:
        notes.dropped(path, f"Anthropic has no tier {tier!r}")
    else:
        hub["service_tier"] = chosen


def _wants_events(query: str) -> bool:
    """Whether a stream is asked for as server-sent events, rather than as a JSON array."""
    values = parse_qs(query)
    form = (values.get("alt") or values.get("$alt") or ["json"])[-1]
    if form not in ("sse", "json"):
        raise refuse("alt", "expected sse or json")
    return form == "sse"


def encoder(request: Request) -> Encoder:
    return (Encoder if request.memory.get("sse") else ArrayEncoder)(request.memory)


def encode_message(request: Request, message: Message) -> bytes:
    return wire.dumps(whole(message, request.memory))


def encode_count(request: Request, tokens: int) -> bytes:
    return wire.dumps({"totalTokens": tokens})


def encode_error(error: GatewayError, request_id: str) -> bytes:
    return wire.dumps(failure(error, request_id))


# --- models -------------------------------------------------------------------------------------

PAGE_SIZE, LARGEST_PAGE = 50, 1000
"""Models of one page: unless asked otherwise, and at most (models.list of the API's reference)."""


def encode_models(models: Sequence[Model], http: HttpRequest) -> bytes:
    """One page of the list. Raises GatewayError (400) for a page that cannot be meant."""
    query = parse_qs(http.query)
    size = _page_size((query.get("pageSize") or query.get("page_size") or [""])[-1])
    token = (query.get("pageToken") or query.get("page_token") or [""])[-1]
    start = 0
    if token:
        ids = [model["id"] for model in models]
        if token not in ids:
            raise refuse("pageToken", "no page of this list begins there")
        start = ids.index(token)
    page: dict[str, Any] = {"models": [_model(model) for model in models[start : start + size]]}
    if start + size < len(models):
        page["nextPageToken"] = models[start + size]["id"]
    return wire.dumps(page)


def _page_size(text: str) -> int:
    if not text:
        return PAGE_SIZE
    if not (text.isascii() and text.isdigit()):
        raise refuse("pageSize", "expected a number")
    return min(int(text[:9]), LARGEST_PAGE) or PAGE_SIZE


def encode_model(model: Model) -> bytes:
    return wire.dumps(_model(model))


def _model(model: Model) -> dict[str, Any]:
    name = model["id"]
    found: dict[str, Any] = {
        "name": f"models/{name}",
        "baseModelId": name,
        "version": name,
        "displayName": model.get("display_name") or name,
        "inputTokenLimit": model.get("max_input_tokens"),
        "outputTokenLimit": model.get("max_tokens"),
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }
    return {key: value for key, value in found.items() if value is not None}
