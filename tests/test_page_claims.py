"""The sentences of our pages that promise something, each held against the running product."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.profiles import PROFILES
from isthmus.simulator import Options
from tests import printed
from tests.harness import VERSION, World, error_message, message, whole_stream
from tests.test_context import prompt
from tests.test_failover import send
from tests.test_page_tables import CHAT, HELLO, PNG, chat, gemini_user
from tests.test_server import DIALECTS

ROOT = Path(__file__).resolve().parents[1]
OLDER = "claude-sonnet-4-6"
NEWEST = "claude-sonnet-5-5"
ROOMY = {"max_tokens": 20_000}


def last_body(world: World) -> dict[str, Any]:
    return json.loads(world.received()[-1].body)


def selected(world: World, dialect: str, model: str, **members: Any) -> dict[str, Any]:
    """What arrives upstream for a request whose ``model`` is a selector."""
    if dialect == "anthropic":
        reply = world.post("/v1/messages", message(model=model, **members), **VERSION)
    else:
        reply = world.post(CHAT, {"model": model, "messages": HELLO, **members})
    assert reply.status == 200, reply.body
    return last_body(world)


# --- parameters in the model name ---------------------------------------------------------------

PARAMETERS: list[tuple[str, str, dict[str, Any]]] = [
    (OLDER, "temperature=0.7", {"temperature": 0.7}),
    (OLDER, "temperature=2", {"temperature": 1.0}),  # Anthropic's highest
    (OLDER, "top_p=0.9", {"top_p": 0.9}),
    (OLDER, "top_k=5", {"top_k": 5}),
    (OLDER, "max_tokens=7", {"max_tokens": 7}),
    (OLDER, "effort=low", {"output_config": {"effort": "low"}}),
    (OLDER, "reasoning_effort=high", {"output_config": {"effort": "high"}}),
    (OLDER, "thinking_budget=2000", {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
    (OLDER, "thinking_budget=0", {"thinking": {"type": "disabled"}}),
    (OLDER, "service_tier=standard_only", {"service_tier": "standard_only"}),
    (OLDER, "temperature=0.2&top_k=3", {"temperature": 0.2, "top_k": 3}),
]


@pytest.mark.parametrize("dialect", ["anthropic", "openai-chat"])
@pytest.mark.parametrize(("model", "query", "wanted"), PARAMETERS, ids=[r[1] for r in PARAMETERS])
def test_a_parameter_in_the_model_name(
    world: World, dialect: str, model: str, query: str, wanted: dict[str, Any]
) -> None:
    got = selected(world, dialect, f"anthropic:{model}?{query}", **ROOMY)
    assert got["model"] == model
    assert got.items() >= wanted.items()


def test_a_parameter_takes_the_place_of_the_member(world: World) -> None:
    for dialect in ("anthropic", "openai-chat"):
        got = selected(world, dialect, f"{OLDER}?temperature=0.7", temperature=0.1)
        assert got["temperature"] == 0.7


def test_gemini_s_path_takes_a_selector_too(world: World) -> None:
    path = f"/v1beta/models/anthropic:{OLDER}%3Ftemperature=0.7:generateContent"
    reply = world.post(path, gemini_user())
    assert reply.status == 200, reply.body
    assert (last_body(world)["model"], last_body(world)["temperature"]) == (OLDER, 0.7)


def test_a_prefix_is_a_backend_only_where_one_is_named_like_that(world: World) -> None:
    reply = world.post("/v1/messages", message(model="somebody:special"), **VERSION)
    assert reply.status == 404
    assert last_body(world)["model"] == "somebody:special"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("temprature=1", "temprature"),
        ("temperature=2.1", "temperature"),
        ("temperature=warm", "temperature"),
        ("top_p=-1", "top_p"),
        ("top_k=1.5", "top_k"),
        ("max_tokens=0", "max_tokens"),
        ("effort=heroic", "effort"),
        ("thinking_budget=-1", "thinking_budget"),
        ("service_tier=priority", "service_tier"),
        ("speed=slow", "speed"),
    ],
)
def test_a_wrong_parameter_is_refused_and_named(world: World, query: str, named: str) -> None:
    for dialect in ("anthropic", "openai-chat"):
        path = CHAT if dialect == "openai-chat" else "/v1/messages"
        reply = world.post(path, message(model=f"{OLDER}?{query}"), **VERSION)
        assert reply.status == 400
        assert named in error_message(dialect, reply)
    assert not world.received()


def test_a_parameter_that_the_model_does_not_take_is_dropped_with_a_note(world: World) -> None:
    asked = message(model=f"{NEWEST}?temperature=0.7")
    reply = world.post("/v1/messages", asked, **VERSION)
    assert reply.status == 200, reply.body
    assert "temperature" not in last_body(world)
    assert "temperature dropped" in reply.headers["x-isthmus-notes"]


def test_fast_speed_brings_its_beta_or_is_dropped(world: World) -> None:
    for path, headers in ((CHAT, {}), ("/v1/messages", VERSION)):
        for own in ({}, {"anthropic_beta": "fast-mode-2026-02-01"}):
            asked = message(model="claude-opus-5?speed=fast")
            reply = world.post(path, asked, **headers, **own)
            assert reply.status == 200, reply.body
            assert last_body(world)["speed"] == "fast"
            sent = [
                value for name, value in world.received()[-1].headers if name == "anthropic-beta"
            ]
            assert sent == ["fast-mode-2026-02-01"]
        reply = world.post(path, message(model=f"{OLDER}?speed=fast"), **headers)
        assert reply.status == 200, reply.body
        assert "speed dropped" in reply.headers["x-isthmus-notes"]


# --- several keys -------------------------------------------------------------------------------

KEYS = [f"sk-upstream-canary-{n}" for n in range(3)]


Pooled = tuple[World, World]


@pytest.fixture(scope="module")
def pooled() -> Iterator[Pooled]:
    """A gateway with three keys for one backend and two accounts under names of their own, and the
    world whose simulator answers them all."""
    world = World(Options(api_keys=tuple(KEYS)))
    url = world.simulator.url
    one = {"type": "anthropic", "base_url": url}
    backends = {
        "anthropic": {**one, "api_keys": KEYS},
        "first": {**one, "api_key": KEYS[0]},
        "second": {**one, "api_key": KEYS[1]},
    }
    gateway = World(backends=backends)
    yield gateway, world
    gateway.close()
    world.close()


def key_used(pooled: Pooled, body: dict[str, Any]) -> str:
    gateway, upstream = pooled
    reply = gateway.post("/v1/messages", body, **VERSION)
    assert reply.status == 200, reply.body
    return dict(upstream.received()[-1].headers)["x-api-key"]


def test_a_conversation_keeps_its_key_and_others_spread(pooled: Pooled) -> None:
    used = set()
    for n in range(30):
        turns = message(f"conversation {n}")["messages"]
        keys = set()
        for _ in range(3):
            keys.add(key_used(pooled, message(messages=turns)))
            turns = [*turns, {"role": "assistant", "content": "Yes."}, *HELLO]
        assert len(keys) == 1
        used |= keys
    assert used == set(KEYS)


def test_an_account_is_chosen_by_hand(pooled: Pooled) -> None:
    for name, key in (("first", KEYS[0]), ("second", KEYS[1])):
        assert key_used(pooled, message(model=f"{name}:{NEWEST}")) == key


@pytest.mark.parametrize("path", ["/v1/messages", CHAT])
def test_a_limited_key_s_429_reaches_the_client(world: World, path: str) -> None:
    world.script(error={"status": 429, "type": "rate_limit_error", "retry_after": 7})
    reply = world.post(path, message(), **VERSION)
    assert (reply.status, reply.headers["retry-after"]) == (429, "7")


# --- the seed page on routes ----------------------------------------------------------------------


def on_the_seed_page(sentence: str) -> None:
    """It holds this sentence, where the page is here at all."""
    assert not printed.SEED or sentence in " ".join(printed.seed().split())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_you_can_specify_model_parameters_using_uri_syntax(world: World, dialect: str) -> None:
    on_the_seed_page("You can specify model parameters using URI syntax")
    reply = send(world, dialect, f"anthropic:{OLDER}?temperature=0.7")
    assert reply.status == 200, reply.body
    got = last_body(world)
    assert (got["model"], got["temperature"]) == (OLDER, 0.7)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_key_rotation_via_multiple_backend_instances_balances_load(dialect: str) -> None:
    """No client needs to know of it: the default backend is the type, and so all of that type."""
    on_the_seed_page(
        "Consider using API Key Rotation (via multiple backend instances) for load balancing"
    )
    world = World(names=("first", "second", "third"), default_backend="anthropic")
    try:
        for number in range(9):
            assert send(world, dialect, OLDER, text=f"n {number}").status == 200
        assert [len(world.received(name)) for name in world.simulators] == [3, 3, 3]
    finally:
        world.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_use_failover_to_switch_to_alternative_models(dialect: str) -> None:
    on_the_seed_page("Anthropic has rate limits based on your account tier")
    on_the_seed_page("Use failover to switch to alternative models")
    world = World(retry={"repeats": 0})
    try:
        world.script(error={"status": 429, "type": "rate_limit_error", "retry_after": 60})
        for _ in range(2):
            reply = send(world, dialect, f"claude-opus-4-6|{OLDER}")
            assert reply.status == 200, reply.body
            assert reply.headers["x-isthmus-target"] == f"anthropic:{OLDER}"
            assert last_body(world)["model"] == OLDER
        assert len(world.received()) == 3, "the limited model is not asked again"
    finally:
        world.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_forced_specific_model(dialect: str) -> None:
    on_the_seed_page("--force-model claude-3-5-sonnet-20241022")
    rule = {"pattern": ".*", "replacement": NEWEST}
    world = World(force_model=OLDER, model_aliases=[rule])
    try:
        assert send(world, dialect, "gpt-7?temperature=0.1").status == 200
        assert last_body(world)["model"] == OLDER
    finally:
        world.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_context_window_enforcement_catches_issues_early(world: World, dialect: str) -> None:
    """A model of 200K tokens gets 170,000 of them, and nobody is asked for 230,000."""
    on_the_seed_page("Extended context windows (up to 200K tokens)")
    on_the_seed_page("Claude models have large context windows, but they're not unlimited")
    on_the_seed_page("Use the proxy's context window enforcement to catch issues early")
    fits = send(world, dialect, "claude-haiku-4-5", text=prompt(170_000))
    assert fits.status == 200, fits.body[:500]
    before = len(world.received())
    reply = send(world, dialect, "claude-haiku-4-5", text=prompt(230_000))
    assert reply.status == 400
    assert "200000" in error_message(dialect, reply)
    assert len(world.received()) == before


# --- the Anthropic page -------------------------------------------------------------------------


def version(model: str) -> tuple[int, int]:
    match = re.search(r"-(\d)(?:-(\d))?(?:-\d{8})?$", model)
    assert match, model
    return int(match[1]), int(match[2] or 0)


ACTIVE = [row for row in PROFILES if row.status == "active"]


@pytest.mark.parametrize("row", ACTIVE, ids=lambda row: row.id)
def test_what_the_page_says_of_models(row: Any) -> None:
    number = version(row.id)
    assert row.context_window == (200_000 if number <= (4, 5) else 1_000_000)
    assert (row.sampling == "default") == (number >= (4, 7))
    assert ("enabled" in row.thinking) == (number <= (4, 6))
    late = ("claude-opus-5-5", "claude-sonnet-5-5")
    unforced = row.id in late or (number >= (5, 1) and ("fable" in row.id or "mythos" in row.id))
    assert row.forced_tools == (not unforced)


@pytest.mark.parametrize(
    "model",
    [
        *("claude-3-5-sonnet-20241022", "claude-sonnet-4-20250514"),
        *("claude-3-opus-20240229", "claude-3-haiku-20240307"),
    ],
)
def test_retired_models_are_a_404(model: str) -> None:
    world = World(Options(retired=False))
    try:
        for path, dialect in (("/v1/messages", "anthropic"), (CHAT, "openai-chat")):
            reply = world.post(path, message(model=model), **VERSION)
            assert reply.status == 404
            assert model in error_message(dialect, reply)
    finally:
        world.close()


def test_url_safe_base64_is_for_gemini_clients(world: World) -> None:
    data = PNG.replace("+", "-").replace("/", "_")
    assert data != PNG
    part = {"inlineData": {"mimeType": "image/png", "data": data}}
    reply = world.post(f"/v1beta/models/{OLDER}:generateContent", gemini_user(part))
    assert reply.status == 200, reply.body
    assert last_body(world)["messages"][0]["content"][0]["source"]["data"] == PNG
    source = {"type": "base64", "media_type": "image/png", "data": data}
    block = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    assert world.post("/v1/messages", message(messages=block), **VERSION).status == 400


def test_signed_thinking_goes_back_unchanged_and_is_verified(world: World) -> None:
    ask = {"model": OLDER, "max_tokens": 2000}
    ask["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    said = world.post("/v1/messages", message(**ask), **VERSION).json()["content"]
    again = [*message()["messages"], {"role": "assistant", "content": said}, *HELLO]
    assert world.post("/v1/messages", message(**ask, messages=again), **VERSION).status == 200
    said[0]["signature"] = said[0]["signature"][:-8] + "AAAAAAA="
    again = [*message()["messages"], {"role": "assistant", "content": said}, *HELLO]
    assert world.post("/v1/messages", message(**ask, messages=again), **VERSION).status == 400


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("path", "dialect"), [("/v1/messages", "anthropic"), (CHAT, "openai-chat")]
)
def test_a_refused_gateway_key_is_no_fault_of_the_client(
    world: World, path: str, dialect: str, status: int
) -> None:
    world.script(error={"status": status, "type": "authentication_error", "message": "invalid"})
    reply = world.post(path, message(), **VERSION)
    assert reply.status == 502
    assert "refused the gateway's own key" in error_message(dialect, reply)


def test_errors_of_anthropic_as_they_were_written(world: World) -> None:
    body = '{"type":"error", "error":{"type":"overloaded_error","message":"Full","x":1}}'
    world.script(error={"status": 529, "raw_body": body})
    reply = world.post("/v1/messages", message(), **VERSION)
    assert (reply.status, reply.body.decode()) == (529, body)
    world.script(error={"status": 529, "raw_body": body})
    reply = world.post(CHAT, message())
    assert (reply.status, error_message("openai-chat", reply)) == (503, "Full")


def test_what_the_readme_says_of_codex(world: World) -> None:
    page = (ROOT / "docs" / "clients" / "codex.md").read_text()
    [block] = re.findall(r"(?ms)^```toml\n(.*?)^```$", page)
    settings = tomllib.loads(block)
    provider = settings["model_providers"][settings["model_provider"]]
    assert f'`base_url = "{provider["base_url"]}"`' in (ROOT / "README.md").read_text()
    path = provider["base_url"].removeprefix("http://127.0.0.1:8000") + "/responses"
    reply = world.post(path, {"model": settings["model"], "input": "Hello", "stream": True})
    assert whole_stream("openai-responses", reply).message["status"] == "completed"
    reply = world.get(path, connection="Upgrade", upgrade="websocket")
    assert (reply.status, "only POST" in error_message("openai-responses", reply)) == (426, True)


def test_members_that_nobody_has_heard_of_pass(world: World) -> None:
    body = json.dumps(message(brand_new={"a": 1.0})).encode()
    world.post("/v1/messages", body, anthropic_beta="brand-new-2030-01-01", **VERSION)
    received = world.received()[-1]
    assert received.body == body
    assert dict(received.headers)["anthropic-beta"] == "brand-new-2030-01-01"


def test_extra_body_stands_beside_the_model(world: World) -> None:
    tier = {"service_tier": "auto", "thinking": {"type": "enabled", "budget_tokens": 1024}}
    got = chat(world, {"model": OLDER, "max_tokens": 2000, **tier})
    assert got.items() >= tier.items()
