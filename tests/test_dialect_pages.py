"""The pages of docs/dialects/: written from the code, complete, and true of what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from openai.types.responses import ResponseInputItemParam, ToolParam
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from isthmus import dialect_pages, reference
from isthmus.adapt import RULES
from isthmus.dialects import FRONTENDS
from isthmus.errors import KINDS, GatewayError
from isthmus.frontends import gemini, matched, openai_chat, openai_responses
from isthmus.frontends.fates import Fates
from isthmus.frontends.gemini import contents, served, settings
from isthmus.frontends.gemini import fates as gemini_fates
from isthmus.frontends.openai_chat import fates as chat_fates
from isthmus.frontends.openai_chat import messages
from isthmus.frontends.openai_responses import content, items, local_tools, searches, tools
from isthmus.frontends.openai_responses import fates as responses_fates
from isthmus.request import HttpRequest, Request

DOCS = Path(__file__).resolve().parents[1] / "docs"
OTHERS = {"any other"}


@pytest.mark.parametrize("page", dialect_pages.PAGES)
def test_the_pages_are_up_to_date(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    assert text == reference.filled(text), "run: python -m isthmus.reference docs"


def test_every_table_stands_on_one_page() -> None:
    text = "".join((DOCS / page).read_text("utf-8") for page in dialect_pages.PAGES)
    shown = re.findall(r"<!-- generated: (\w+) -->", text)
    assert sorted(shown) == sorted(dialect_pages.tables())


MEMBERS = {
    "chat request": (
        chat_fates.REQUEST,
        {*openai_chat.READ, *openai_chat.DROPPED, *openai_chat.CONVERSATION} | OTHERS,
    ),
    "chat roles": (chat_fates.ROLES, set(messages.ROLES)),
    "chat parts": (chat_fates.PARTS, {*messages.USER_PARTS, *messages.ASSISTANT_PARTS}),
    "chat assistant": (
        chat_fates.ASSISTANT,
        {*messages.ROLES["assistant"][2], "name"} - {"content"},
    ),
    "responses request": (
        responses_fates.REQUEST,
        {*openai_responses.READ, *openai_responses.DROPPED, *openai_responses.CONVERSATION}
        | OTHERS,
    ),
    "responses items": (
        responses_fates.ITEMS,
        {*items.ITEMS, *items.LEFT_OUT, *items.REFUSED},
    ),
    "responses parts": (responses_fates.PARTS, {*content.USER, *content.ASSISTANT}),
    "responses tools": (
        responses_fates.TOOLS,
        {"function", "custom", "namespace", *searches.TYPES, *local_tools.LOCAL}
        | {*tools.LEFT_OUT, *tools.REFUSED},
    ),
    "gemini request": (gemini_fates.REQUEST, {*gemini.CONVERSATION} | OTHERS),
    "gemini config": (gemini_fates.CONFIG, set(settings.CONFIG)),
    "gemini tools": (
        gemini_fates.TOOLS,
        {"functionDeclarations", *served.SERVED, *settings.SERVED_BY_GOOGLE},
    ),
    "gemini parts": (
        gemini_fates.PARTS,
        {*contents.KINDS, *served.NATIVE_PARTS, *contents.UNSUPPORTED, *contents.HINTS}
        | {"thought", "thoughtSignature", "cacheControl", "a block of Anthropic's"},
    ),
}


@pytest.mark.parametrize(("fates", "members"), MEMBERS.values(), ids=MEMBERS)
def test_every_member_that_the_code_reads_has_its_row(fates: Fates, members: set[str]) -> None:
    """A member that is added or taken away needs its row in the ``fates.py`` of its dialect."""
    assert set(fates) == members


def types_of(union: Any) -> set[str]:
    """The values of ``type`` that the members of a union of the SDK's have."""
    rows = [get_type_hints(member).get("type") for member in get_args(union)]
    return {value for row in rows for value in literals(row)}


def literals(hint: Any) -> set[str]:
    if get_origin(hint) is Literal:
        return {value for value in get_args(hint) if isinstance(value, str)}
    return {value for inner in get_args(hint) for value in literals(inner)}


def test_all_that_openai_s_sdk_can_send_has_its_row() -> None:
    assert set(get_type_hints(ResponseCreateParamsStreaming)) <= set(responses_fates.REQUEST)
    assert types_of(ResponseInputItemParam) <= set(responses_fates.ITEMS)
    assert len(types_of(ResponseInputItemParam)) > 25
    assert types_of(ToolParam) <= set(responses_fates.TOOLS)
    assert len(types_of(ToolParam)) > 15


def test_every_rule_and_every_error_has_its_line() -> None:
    tables = dialect_pages.tables()
    assert tables["rules"].count("\n* ") == len(RULES) - 1
    assert all(line.endswith(".") and len(line) > 10 for line in tables["rules"].splitlines())
    for kind in KINDS.values():
        assert f"| {kind.status} | `{kind.anthropic}` |" in tables["anthropic_errors"]


# --- that it is so ------------------------------------------------------------------------------

HELLO = [{"role": "user", "content": "Hello"}]
BAD = {
    "n": 2,
    "modalities": ["audio"],
    "candidateCount": 2,
}
"""What makes a member that may be harmless one that is refused."""


def chat(body: dict[str, Any]) -> Request:
    return decoded("openai-chat", "/v1/chat/completions", {"model": "m", "messages": HELLO, **body})


def responses(body: dict[str, Any]) -> Request:
    return decoded("openai-responses", "/v1/responses", {"model": "m", "input": "Hello", **body})


def asked(body: dict[str, Any], **part: Any) -> Request:
    turns = [{"role": "user", "parts": [{"text": "Hello", **part}]}]
    return decoded("gemini", "/v1beta/models/m:generateContent", {"contents": turns, **body})


def decoded(dialect: str, path: str, body: dict[str, Any]) -> Request:
    frontend = FRONTENDS[dialect]
    match = next(m for route in frontend.ROUTES if (m := matched(route, path)))
    return frontend.decode(HttpRequest("POST", path, "", (), json.dumps(body).encode()), match)


WAYS = {
    "chat": (chat_fates.REQUEST, "", lambda name, value: chat({name: value})),
    "responses": (responses_fates.REQUEST, "", lambda name, value: responses({name: value})),
    "gemini": (gemini_fates.REQUEST, "", lambda name, value: asked({name: value})),
    "gemini config": (
        gemini_fates.CONFIG,
        "generationConfig.",
        lambda name, value: asked({"generationConfig": {name: value}}),
    ),
    "gemini tools": (
        gemini_fates.TOOLS,
        "tools.0.",
        lambda name, value: asked({"tools": [{name: value}]}),
    ),
    "gemini parts": (
        gemini_fates.PARTS,
        "contents.0.parts.0.",
        lambda name, value: asked({}, **{name: value}),
    ),
}
CASES = [
    pytest.param(way, name, fate, id=f"{way}-{name}")
    for way, (fates, _, _) in WAYS.items()
    for name, (fate, _) in fates.items()
    if fate in ("lost", "refused") and name not in (*OTHERS, "thought")
]


@pytest.mark.parametrize(("way", "name", "fate"), CASES)
def test_what_is_lost_has_a_note_and_what_is_refused_is_named(
    way: str, name: str, fate: str
) -> None:
    _, prefix, send = WAYS[way]
    if fate == "lost":
        notes = {note.path: note.action for note in send(name, {"any": 1}).notes.rows}
        assert notes == {prefix + name: "dropped"}
        return
    with pytest.raises(GatewayError) as refusal:
        send(name, BAD.get(name, {"any": 1}))
    assert refusal.value.status_for("anthropic") == 400
    assert (refusal.value.param or "").startswith(prefix + name)


TYPED = {
    "items": (
        responses_fates.ITEMS,
        "input.0",
        lambda item: responses({"input": [item, {"role": "user", "content": "Hello"}]}),
    ),
    "tools": (responses_fates.TOOLS, "tools.0", lambda tool: responses({"tools": [tool]})),
}


@pytest.mark.parametrize(
    ("way", "kind", "fate"),
    [
        pytest.param(way, kind, fate, id=f"{way}-{kind}")
        for way, (fates, _, _) in TYPED.items()
        for kind, (fate, _) in fates.items()
        if fate in ("lost", "refused")
    ],
)
def test_a_type_that_is_lost_has_a_note_and_one_that_is_refused_is_named(
    way: str, kind: str, fate: str
) -> None:
    _, path, send = TYPED[way]
    if fate == "lost":
        notes = {note.path: note.action for note in send({"type": kind}).notes.rows}
        assert notes == {path: "dropped"}
        return
    with pytest.raises(GatewayError) as refusal:
        send({"type": kind})
    assert refusal.value.row.status == 400
    assert (refusal.value.param or "").startswith(path)
