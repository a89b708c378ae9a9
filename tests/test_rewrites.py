"""Rewrites at work: every dialect reaches another model, and the page about them says what happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.config import Config, load
from isthmus.profile_settings import profiles_of
from isthmus.routes import table_of
from isthmus.routing.route import Router
from isthmus.routing_settings import rules_of
from tests import printed
from tests.harness import VERSION, World, message

PAGE = (printed.ROOT / "docs" / "model-name-rewrites.md").read_text("utf-8")
ALIASES = [
    {"pattern": "gpt-(.*)", "replacement": r"anthropic:claude-\1?effort=high"},
    {"pattern": "claude-.*", "replacement": "claude-haiku-4-5"},
]
HELLO = [{"role": "user", "content": "Hello"}]
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/messages", message(model="NAME")),
    ("/v1/messages/count_tokens", {"model": "NAME", "messages": HELLO}),
    ("/v1/chat/completions", {"model": "NAME", "messages": HELLO}),
    ("/v1/responses", {"model": "NAME", "input": "Hello"}),
    ("/v1beta/models/NAME:generateContent", {"contents": [{"parts": [{"text": "Hello"}]}]}),
]
IDS = ["anthropic", "count_tokens", "openai-chat", "openai-responses", "gemini"]


@pytest.fixture(scope="module")
def rewriting() -> Iterator[World]:
    world = World(model_aliases=ALIASES)
    yield world
    world.close()


def sent(world: World, path: str, body: dict[str, Any], name: str) -> Any:
    """What the provider was asked after a client had asked for ``name``."""
    path = path.replace("NAME", name.replace("?", "%3F"))
    body = {**body, "model": name} if "model" in body else body
    reply = world.post(path, body, **(VERSION if "messages" in path else {}))
    assert reply.status == 200, reply.body
    return json.loads(world.simulator.requests[-1].body)


@pytest.mark.parametrize(("path", "body"), REQUESTS, ids=IDS)
def test_each_dialect_reaches_another_model(
    rewriting: World, path: str, body: dict[str, Any]
) -> None:
    first = sent(rewriting, path, body, "gpt-opus-5-5")
    assert (first["model"], first["output_config"]["effort"]) == ("claude-opus-5-5", "high")
    own = sent(rewriting, path, body, "gpt-opus-5-5?effort=low")
    assert (own["model"], own["output_config"]["effort"]) == ("claude-opus-5-5", "low")
    # The outcome of one rule is not another's business.
    assert sent(rewriting, path, body, "claude-sonnet-5-5")["model"] == "claude-haiku-4-5"


def test_a_forced_model_beats_the_rules() -> None:
    world = World(model_aliases=ALIASES, force_model="claude-sonnet-5-5")
    try:
        for path, body in REQUESTS:
            assert sent(world, path, body, "gpt-opus-5-5")["model"] == "claude-sonnet-5-5"
    finally:
        world.close()


def test_route_claude_models_to_other_providers() -> None:
    """The seed page's words. Nobody answers at the default backend's address."""
    backends = {
        "anthropic": {"type": "anthropic", "api_key": "any", "base_url": "http://127.0.0.1:9"},
        "other": {"type": "simulator"},
    }
    rule = {"pattern": "claude-(.*)", "replacement": r"other:\0"}
    world = World(backends=backends, default_backend="anthropic", model_aliases=[rule])
    try:
        for path, body in REQUESTS[2:4]:
            reply = world.post(path, {**body, "model": "claude-opus-5-5"})
            assert reply.status == 200
            assert b"Hello" in reply.body
        assert world.post("/v1/chat/completions", REQUESTS[2][1]).status == 502
    finally:
        world.close()


def test_a_rewritten_selector_that_is_none_is_a_400(rewriting: World) -> None:
    reply = rewriting.post("/v1/messages", message(model="gpt-x?effort=huge"), **VERSION)
    assert reply.status == 400
    assert "column 7: parameter 'effort' must be low" in reply.json()["error"]["message"]


def from_the_page(path: Path) -> Config:
    [text] = printed.configs(PAGE)
    path.write_text(text)
    return load(path, {"ANTHROPIC_API_KEY": "sk-test"}, {}).config


def test_the_table_of_the_page_is_what_its_rules_do(tmp_path: Path) -> None:
    config = from_the_page(tmp_path / "config.yaml")
    router = Router(table_of(config), profiles_of(config.profiles))
    rows = printed.table(PAGE, "A client asks for")
    assert len(rows) == 5
    assert [(asked, router.route(asked).text) for asked, _ in rows] == rows


def test_the_variable_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start = PAGE.index("export MODEL_ALIASES='") + len("export MODEL_ALIASES='")
    environ = {
        "ANTHROPIC_API_KEY": "sk-test",
        "MODEL_ALIASES": PAGE[start : PAGE.index("'", start)],
    }
    config = load(None, environ, {}).config
    assert rules_of(config.model_aliases).rewritten("gpt-7") == ("claude-sonnet-5-5", "", 0)


def test_the_commands_of_the_page_are_found() -> None:
    flags = [words.count("--model-alias") for words in printed.commands(PAGE)]
    assert sorted(flags) == [0, 0, 0, 2]
