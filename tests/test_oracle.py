"""What translated lanes send, judged by the parameter types of Anthropic's own SDK of that version."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from isthmus import profiles
from isthmus.backends import anthropic
from isthmus.errors import GatewayError
from isthmus.frontends import Frontend, gemini, matched, openai_chat
from isthmus.request import HttpRequest, Notes, Target
from tests import oracle
from tests.material import FIRST, NEW, OLD, PDF_TEXT, PNG_TEXT, WEATHER
from tests.oracle import Line
from tests.strategies import Said, as_chat, as_gemini, conversations, sent

CASES = Path(__file__).parent / "wire"
CHAT = "/v1/chat/completions"
GEMINI = "/v1beta/models/m:generateContent"
COUNT = "/v1beta/models/m:countTokens"
MODELS = (FIRST, OLD, NEW, "claude-sonnet-4-20250514", "claude-opus-4-6", "claude-opus-5-5")
"""One of each kind: no thinking, budgets, efforts, both, and a model that always thinks."""


# --- gathering ----------------------------------------------------------------------------------


def line(frontend: Frontend, path: str, body: Any, model: str, told: str) -> Line | None:
    """What a request becomes on its way to a model; None if it is refused."""
    http = HttpRequest("POST", path, "", (), json.dumps(body).encode())
    match = next(found for route in frontend.ROUTES if (found := matched(route, path)))
    try:
        request = frontend.decode(http, match)
        sent = anthropic.encode(request, Target("anthropic", model), Notes())
    except GatewayError:
        return None
    assert ("anthropic-version", oracle.TRANSLATED) in sent.headers
    return {"kind": request.operation, "body": json.loads(sent.body), "from": f"{told}, {model}"}


def golden() -> Iterator[tuple[Frontend, str, Any, str]]:
    """Every request of the golden files with its path and name; some of them are refused.

    Those that need a beta are left out: the types are of the API without one.
    """
    for path in sorted((CASES / "openai_chat").glob("*.json")):
        for name, case in json.loads(path.read_text()).items():
            if "context_management" in case["request"]:
                continue
            body = {"model": "m", "messages": [{"role": "user", "content": "?"}], **case["request"]}
            yield openai_chat, CHAT, body, f"{path.stem}: {name}"
    for path in sorted((CASES / "gemini").glob("*.json")):
        for case in json.loads(path.read_text()):
            if "request" in case:
                yield (
                    gemini,
                    case.get("path", GEMINI),
                    case["request"],
                    f"{path.stem}: {case['case']}",
                )


def kept(lines: Iterator[Line | None]) -> list[Line]:
    return [one for one in lines if one]


def drawn(count: int) -> list[Line]:
    """Generated conversations at every point where a client would have sent them."""
    found: list[Line] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(conversations())
    def gather(said: list[Said]) -> None:
        model = MODELS[len(found) % len(MODELS)]
        for length in sent(said):
            part = said[:length]
            late = any(one.role == "system" for one in part[2:])
            chat = line(openai_chat, CHAT, as_chat(part), model, "drawn for Chat")
            assert chat
            found.append(chat)
            for path in (GEMINI, COUNT) if not late else ():
                other = line(gemini, path, as_gemini(part), model, "drawn for Gemini")
                found.extend([other] if other else [])

    gather()
    return found


# --- the oracle agrees --------------------------------------------------------------------------


def test_golden_requests() -> None:
    lines = kept(line(*row[:3], model, row[3]) for row in golden() for model in MODELS)
    assert len(lines) > 200 * len(MODELS) // 2
    assert {one["kind"] for one in lines} == {"messages", "count_tokens"}
    oracle.assert_legal(lines)


def test_every_profile() -> None:
    """One rich request of each dialect for every model that there is."""
    models = [profile.id for profile in profiles.PROFILES]
    lines = kept(line(*row, model, "rich") for row in rich() for model in models)
    assert len(lines) == len(models) * 3
    oracle.assert_legal(lines)


def test_drawn_conversations() -> None:
    oracle.assert_legal(drawn(60))


def rich() -> list[tuple[Frontend, str, Any]]:
    """Requests with nearly everything that their dialects have."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_TEXT}"}}
    pdf = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF_TEXT}"}
    call = {"name": "get_weather", "arguments": '{"location": "London"}'}
    mark = {"type": "ephemeral"}
    chat = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief.", "cache_control": mark},
            {"role": "user", "content": [{"type": "text", "text": "?"}, image]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a b", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": "a b", "content": [image], "is_error": False},
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "file", "file": pdf}]},
        ],
        "tools": [
            {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
            {
                "type": "function",
                "function": {"name": "a.b/c", "parameters": WEATHER, "strict": True},
            },
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 1.5,
        "top_p": 0.5,
        "top_k": 5,
        "stop": ["END"],
        "max_tokens": 3000,
        "reasoning_effort": "minimal",
        "service_tier": "default",
        "user": "u",
    }
    part = {"inlineData": {"mimeType": "image/png", "data": PNG_TEXT}}
    response = {"name": "get_weather", "response": {"error": "x"}, "parts": [part]}
    google = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "?"}, part]},
            {"role": "model", "parts": [{"functionCall": {"name": "get_weather", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": response}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "get_weather", "parameters": WEATHER}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {
            "temperature": 1,
            "topP": 0.95,
            "topK": 64,
            "maxOutputTokens": 5000,
            "stopSequences": ["END"],
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2000},
            "responseMimeType": "application/json",
            "responseJsonSchema": WEATHER,
        },
    }
    counted = {name: google[name] for name in ("systemInstruction", "contents", "tools")}
    whole = {"generateContentRequest": {"model": "models/m", **counted}}
    return [(openai_chat, CHAT, chat), (gemini, GEMINI, google), (gemini, COUNT, whole)]


# --- the oracle refuses -------------------------------------------------------------------------

CACHED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
IMAGE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
LEGAL: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "stream": True,
    "system": [CACHED],
    "messages": [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "x", "signature": "x"},
                {"type": "tool_use", "id": "t", "name": "n", "input": {"free": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "image", "source": IMAGE}],
                },
                {"type": "document", "source": {"type": "url", "url": "u"}, "title": "t"},
            ],
        },
        {"role": "system", "content": [CACHED]},
    ],
    "tools": [{"name": "n", "input_schema": WEATHER, "strict": True}],
    "tool_choice": {"type": "tool", "name": "n", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "summarized"},
    "output_config": {
        "effort": "low",
        "format": {"type": "json_schema", "schema": {"free": {}}},
    },
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
    "stop_sequences": ["x"],
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 5,
}
FREE = ("input", "input_schema", "schema")
"""Members that may hold any object."""

Path_ = tuple[str | int, ...]

WRONG: list[tuple[Path_, Any]] = [
    (("model",), 5),
    (("max_tokens",), "9"),
    (("max_tokens",), 9.5),
    (("max_tokens",), None),
    (("stream",), "yes"),
    (("temperature",), "1"),
    (("top_k",), 0.5),
    (("system",), {}),
    (("system", 0, "type"), "image"),
    (("system", 0, "cache_control", "ttl"), "9h"),
    (("messages",), {}),
    (("messages", 0, "role"), "tool"),
    (("messages", 0, "content"), None),
    (("messages", 1, "content", 1, "type"), "function"),
    (("messages", 1, "content", 1, "input"), "{}"),
    (("messages", 1, "content", 0, "signature"), None),
    (("messages", 2, "content", 0, "is_error"), "no"),
    (("messages", 2, "content", 0, "content", 0, "type"), "tool_use"),
    (("messages", 2, "content", 0, "content", 0, "source", "media_type"), "image/bmp"),
    (("messages", 2, "content", 1, "source", "type"), "file_data"),
    (("tools", 0, "name"), None),
    (("tools", 0, "input_schema"), "object"),
    (("tool_choice", "type"), "required"),
    (("tool_choice",), "auto"),
    (("thinking", "type"), "on"),
    (("thinking", "budget_tokens"), "1024"),
    (("output_config", "effort"), "minimal"),
    (("output_config", "format", "type"), "json_object"),
    (("metadata", "user_id"), 5),
    (("service_tier",), "default"),
    (("stop_sequences",), "x"),
    (("stop_sequences", 0), 5),
]
NEEDED: list[Path_] = [
    ("model",),
    ("max_tokens",),
    ("messages",),
    ("messages", 0, "role"),
    ("messages", 0, "content"),
    ("messages", 1, "content", 0, "signature"),
    ("messages", 1, "content", 1, "id"),
    ("messages", 2, "content", 0, "tool_use_id"),
    ("messages", 2, "content", 0, "content", 0, "source", "data"),
    ("tools", 0, "input_schema"),
    ("tool_choice", "name"),
    ("thinking", "budget_tokens"),
]


def edited(path: Path_, value: Any = None, *, drop: bool = False) -> Line:
    """The legal body with one member replaced or left out."""
    body = copy.deepcopy(LEGAL)
    inside: Any = body
    for step in path[:-1]:
        inside = inside[step]
    if drop:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return {"kind": "messages", "body": body, "path": ".".join(map(str, path))}


def objects(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Where the objects of a body stand, those aside that may hold anything."""
    if isinstance(value, dict):
        yield path
    rows = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in rows:
        if isinstance(inner, dict | list) and step not in FREE:
            yield from objects(inner, (*path, step))


def uncountable() -> list[Line]:
    """Bodies for count_tokens, each with a member that it does not take."""
    body = {"model": "m", "messages": LEGAL["messages"]}
    names = ("max_tokens", "stream", "temperature", "metadata")
    return [
        {"kind": "count_tokens", "body": {**body, name: LEGAL[name]}, "path": name}
        for name in names
    ]


def test_the_oracle_refuses_what_is_wrong_and_only_that() -> None:
    """Else its silence would mean nothing."""
    strangers = [edited((*path, "unheard_of"), 1) for path in objects(LEGAL)]
    assert len(strangers) > 15
    legal: Line = {"kind": "messages", "body": LEGAL, "path": "nothing"}
    lines = [
        *(edited(path, value) for path, value in WRONG),
        *(edited(path, drop=True) for path in NEEDED),
        *strangers,
        *uncountable(),
    ]
    told = oracle.objections([legal, *lines])
    assert [row["path"] for row, _ in told] == [row["path"] for row in lines]
    for row, found in told:
        names = row["path"].split(".")
        assert any(names[-1] in text or names[0] in text for text in found), (row["path"], found)
