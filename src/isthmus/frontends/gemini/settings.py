"""Turns what stands beside the conversation into the hub's fields: tools, sampling, thinking, format."""

from __future__ import annotations

from typing import Any

from isthmus.errors import refuse
from isthmus.frontends.gemini.fields import Fields, cache_control, joined
from isthmus.frontends.gemini.names import Names
from isthmus.frontends.gemini.schemas import closed, json_schema
from isthmus.frontends.gemini.served import SERVED
from isthmus.frontends.schema import compiled, input_schema, refuse_beside
from isthmus.frontends.tools import limited
from isthmus.request import Notes, expect

Body = dict[str, Any]

KNOBS = {
    "audioTimestamp": "Claude hears no audio",
    "audioTranscriptionConfig": "Claude hears no audio",
    "enableAffectiveDialog": "Claude speaks no audio",
    "enableEnhancedCivicAnswers": "Claude has no such mode",
    "frequencyPenalty": "Claude has no penalties",
    "generationOutputConfig": "Claude makes no media",
    "imageConfig": "Claude makes no images",
    "logprobs": "Claude tells no probabilities",
    "mediaResolution": "Claude takes no such hint",
    "modelSelectionConfig": "the gateway's routing selects the model",
    "presencePenalty": "Claude has no penalties",
    "responseLogprobs": "Claude tells no probabilities",
    "routingConfig": "the gateway's routing selects the model",
    "seed": "Claude has no seed",
    "speechConfig": "Claude speaks no audio",
    "translationConfig": "Claude has no such mode",
}
"""Members of generationConfig that the Messages API has no word for, and why."""

_SCHEMAS = ("responseSchema", "responseJsonSchema")
_READ = (
    *(
        "candidateCount",
        "maxOutputTokens",
        "responseFormat",
        "responseMimeType",
        "responseModalities",
    ),
    *("stopSequences", "temperature", "thinkingConfig", "topK", "topP"),
)
CONFIG = {*KNOBS, *_SCHEMAS, *_READ}

LEVELS = {"MINIMAL": "low", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh"}
"""thinkingLevel -> effort. Claude thinks at its least at low."""


_SAMPLING = {"temperature": ("temperature", 2), "topP": ("top_p", 1)}
"""Gemini's name -> the hub's, and the highest value; the lowest is 0."""


def configure(body: Body, config: Fields, notes: Notes) -> bool:
    """Put a generationConfig's values beside the body's turns as they are; backends fit them to their model.

    True says that the client wants to see the model's reasoning.
    """
    for name, why in KNOBS.items():
        if name in config:
            notes.dropped(config.path(name), why)
    if config.integer("candidateCount") not in (None, 1):
        raise refuse(config.path("candidateCount"), "Claude gives one answer: expected 1")
    for name, (ours, high) in _SAMPLING.items():
        if (value := config.number(name)) is None:
            continue
        if not 0 <= value <= high:
            raise refuse(config.path(name), f"expected a number from 0 to {high}")
        body[ours] = value
    if (limit := config.integer("maxOutputTokens")) is not None:
        if limit < 1:
            raise refuse(config.path("maxOutputTokens"), "expected at least 1")
        body["max_tokens"] = limit
    if (size := config.integer("topK")) is not None:
        if size < 0:
            raise refuse(config.path("topK"), "expected at least 0")
        body["top_k"] = size
    path = config.path("stopSequences")
    stops = [
        expect(stop, str, joined(path, index), "a string")
        for index, stop in enumerate(config.array("stopSequences"))
    ]
    if stops:
        body["stop_sequences"] = stops
    _modalities(config, notes)
    _format(body, config, notes)
    return _think(body, config, notes)


def _modalities(config: Fields, notes: Notes) -> None:
    path = config.path("responseModalities")
    rows = [
        expect(row, str, joined(path, index), "a string").upper()
        for index, row in enumerate(config.array("responseModalities"))
    ]
    others = [row for row in rows if row not in ("TEXT", "MODALITY_UNSPECIFIED")]
    if others and "TEXT" not in rows:
        raise refuse(path, "Claude answers in text only")
    if others:
        notes.dropped(path, "Claude answers in text only")


def _think(body: Body, config: Fields, notes: Notes) -> bool:
    if "thinkingConfig" not in config:
        return False
    known = ("includeThoughts", "thinkingBudget", "thinkingLevel")
    wish = Fields(config.get("thinkingConfig"), config.path("thinkingConfig"), known, notes)
    level, budget = (wish.string("thinkingLevel") or "").upper(), wish.integer("thinkingBudget")
    if level == "THINKING_LEVEL_UNSPECIFIED":
        level = ""
    if level and budget is not None:
        raise refuse(wish.path("thinkingLevel"), "send either thinkingLevel or thinkingBudget")
    if level and level not in LEVELS:
        raise refuse(wish.path("thinkingLevel"), f"expected one of {', '.join(LEVELS)}")
    if level == "MINIMAL":
        notes.changed(wish.path("thinkingLevel"), "the least effort that Claude knows is low")
    if budget is not None and budget < -1:
        raise refuse(wish.path("thinkingBudget"), "expected -1, 0 or a number of tokens")
    shown = wish.boolean("includeThoughts") or False
    if level:
        body.setdefault("output_config", {})["effort"] = LEVELS[level]
    if budget == 0:
        body["thinking"] = {"type": "disabled"}
        return shown
    if budget is not None and budget > 0:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif level or budget == -1 or shown:
        body["thinking"] = {"type": "adaptive"}
    if shown:
        body["thinking"]["display"] = "summarized"
    return shown


def _format(body: Body, config: Fields, notes: Notes) -> None:
    """The wish for JSON: a schema becomes Claude's structured output."""
    name, schema, path = _asked_schema(config, notes)
    kind = (config.string("responseMimeType") or "").partition(";")[0].strip().lower()
    if kind == "text/x.enum":
        raise refuse(config.path("responseMimeType"), "not carried; ask for application/json")
    if kind not in ("", "text/plain", "application/json"):
        raise refuse(config.path("responseMimeType"), "expected text/plain or application/json")
    if not name:
        if kind == "application/json":
            notes.dropped(
                config.path("responseMimeType"), "Claude binds itself to JSON only by a schema"
            )
        return
    if kind == "text/plain":
        raise refuse(path, "a schema goes with the responseMimeType application/json")
    refuse_beside(body["messages"], path)
    plain = json_schema(schema, path, google=name == "responseSchema")
    strict, moved = compiled(closed(plain, path), path)
    if moved:
        notes.changed(path, f"fitted to what Claude takes for answers: {', '.join(moved)}")
    body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": strict}


def _asked_schema(config: Fields, notes: Notes) -> tuple[str, Any, str]:
    """The member that holds the schema of the answer, its value and path; empty where none does."""
    if "responseFormat" in config:
        raise refuse(config.path("responseFormat"), "not carried; send responseJsonSchema")
    names = [name for name in _SCHEMAS if name in config]
    if len(names) > 1:
        raise refuse(config.path(names[1]), f"send either {names[0]} or {names[1]}")
    return (names[0], config.get(names[0]), config.path(names[0])) if names else ("", None, "")


# --- tools --------------------------------------------------------------------------------------

SERVED_BY_GOOGLE = (
    *("fileSearch", "googleMaps", "computerUse", "enterpriseWebSearch", "retrieval", "mcpServers"),
    *("parallelAiSearch", "exaAiSearch"),
)
"""Tools that Google runs and that Claude has none in the place of."""

_FUNCTION = {
    *(
        "name",
        "description",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
    ),
    *("behavior", "cacheControl"),
}


def offered(root: Fields, notes: Notes) -> list[Fields]:
    """The tools of a request. Raises GatewayError (400) for those that only Google runs."""
    known = {"functionDeclarations", *SERVED, *SERVED_BY_GOOGLE}
    found = [Fields(value, path, known, notes) for path, value in root.items("tools")]
    for tool in found:
        for name in SERVED_BY_GOOGLE:
            if name in tool:
                raise refuse(tool.path(name), "a tool that Google runs; declare a function instead")
    return found


def declared(tools: list[Fields], notes: Notes) -> list[Fields]:
    """The function declarations of all tools."""
    rows = [row for tool in tools for row in tool.items("functionDeclarations")]
    found = [Fields(row, at, _FUNCTION, notes) for at, row in rows]
    names: set[str] = set()
    for function in found:
        name = function.string("name")
        if not name:
            raise refuse(function.path("name"), "expected the name of the function")
        if name in names:
            raise refuse(function.path("name"), f"{name!r} is declared twice")
        names.add(name)
    return found


def tool_of(function: Fields, names: Names, notes: Notes) -> Body:
    """One tool as Claude is offered it."""
    tool: Body = {"name": names.legal(function.string("name") or "")}
    if description := function.string("description"):
        tool["description"] = description
    if "parameters" in function and "parametersJsonSchema" in function:
        path = function.path("parametersJsonSchema")
        raise refuse(path, "send either parameters or parametersJsonSchema")
    google = "parametersJsonSchema" not in function
    key = "parameters" if google else "parametersJsonSchema"
    if key in function:
        parameters = json_schema(function.get(key), function.path(key), google=google)
        tool["input_schema"], reason = input_schema(parameters)
    else:
        tool["input_schema"], reason = input_schema(None)
    if reason is not None:
        notes.changed(function.path(key), reason)
    for name in ("response", "responseJsonSchema", "behavior"):
        if name in function:
            notes.dropped(function.path(name), "Claude is told a function's parameters only")
    if (mark := cache_control(function)) is not None:
        tool["cache_control"] = mark
    return tool


def tool_choice(root: Fields, functions: list[Fields], names: Names, notes: Notes) -> Body | None:
    """What ``toolConfig`` says of calling functions; None where it says nothing.

    Claude makes no difference between functions and the tools that its provider runs.
    """
    if "toolConfig" not in root:
        return None
    known = ("functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations")
    config = Fields(root.get("toolConfig"), root.path("toolConfig"), known, notes)
    for name in known[1:]:
        if name in config:
            notes.dropped(config.path(name), "for tools that Google runs")
    if "functionCallingConfig" not in config:
        return None
    known = ("mode", "allowedFunctionNames", "streamFunctionCallArguments")
    path = config.path("functionCallingConfig")
    calling = Fields(config.get("functionCallingConfig"), path, known, notes)
    if calling.boolean("streamFunctionCallArguments"):
        notes.dropped(calling.path("streamFunctionCallArguments"), "calls are sent whole")
    allowed = _allowed(calling, functions)
    mode = (calling.string("mode") or "AUTO").upper()
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise refuse(calling.path("mode"), "expected AUTO, ANY, NONE or VALIDATED")
    if not functions:
        notes.dropped(path, "no function is declared")
        return None
    if names.reserved and (mode == "NONE" or (mode == "ANY" and len(allowed) != 1)):
        why = f"holds for {' and '.join(sorted(names.reserved))} as well"
        notes.changed(calling.path("mode"), why)
    if mode == "VALIDATED":
        notes.changed(calling.path("mode"), "calls are not validated against their schema: auto")
    if mode == "NONE" or not allowed:
        return {"type": {"ANY": "any", "NONE": "none"}.get(mode, "auto")}
    declared = [names.legal(function.string("name") or "") for function in functions]
    path = calling.path("allowedFunctionNames")
    return limited(map(names.legal, allowed), declared, path, notes, forced=mode == "ANY")


def _allowed(calling: Fields, functions: list[Fields]) -> list[str]:
    path = calling.path("allowedFunctionNames")
    offered = {function.string("name") for function in functions}
    found: list[str] = []
    for index, row in enumerate(calling.array("allowedFunctionNames")):
        name = expect(row, str, joined(path, index), "the name of a function")
        if name not in offered:
            raise refuse(joined(path, index), f"{name!r} is not declared")
        found.append(name)
    return list(dict.fromkeys(found))
