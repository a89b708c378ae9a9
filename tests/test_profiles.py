"""What models take: the package's rows, and what a configuration makes of them."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_args

import pytest

from isthmus.adapt import adapt
from isthmus.catalog import described
from isthmus.cli import check_lines
from isthmus.config import Config, Resolved, leaves
from isthmus.profile_settings import Effort, PriceConfig, ProfileConfig, Thinking, profiles_of
from isthmus.profiles import EFFORTS, PACKAGED, PROFILES, Profile, Profiles
from isthmus.request import Body, Notes, Request
from tests.harness import VERSION, World, error_message, message, target_of

NEWEST = PROFILES[0]
OPUS = PACKAGED.profile("claude-opus-5-5")
HAIKU = PACKAGED.profile("claude-haiku-4-5")


def table(**profiles: Any) -> Profiles:
    names = {name.replace("_", "-"): value for name, value in profiles.items()}
    return profiles_of(Config.model_validate({"profiles": names}).profiles)


def test_every_field_can_be_configured() -> None:
    assert {*ProfileConfig.model_fields} == {field.name for field in fields(Profile)} - {"id"} | {
        "like"
    }
    assert get_args(Effort) == EFFORTS
    assert {kind for row in PROFILES for kind in row.thinking} <= set(get_args(Thinking))
    for row in PROFILES:
        assert set(row.prices or {}) <= set(PriceConfig.model_fields)


@pytest.mark.parametrize("row", PROFILES, ids=lambda row: row.id)
def test_every_row_can_be_written_as_a_config(row: Profile) -> None:
    """What the package says of a model is a legal section, and comes to the same row."""
    given = {field.name: getattr(row, field.name) for field in fields(row) if field.name != "id"}
    given |= {key: list(value) for key, value in given.items() if isinstance(value, tuple)}
    section = ProfileConfig.model_validate(given)
    assert PACKAGED.with_model(row.id, section.given()).known(row.id) == row
    assert replace(PACKAGED.with_model("new", section.given()).profile("new"), id=row.id) == row


def test_a_known_model_keeps_what_is_not_said() -> None:
    changed = table(claude_haiku_4_5={"max_output": 1000, "prices": {"input": 9}})
    row = changed.profile("claude-haiku-4-5")
    assert row == replace(HAIKU, max_output=1000, prices={**(HAIKU.prices or {}), "input": 9.0})
    assert changed.profile(HAIKU.id) is row
    assert [r.id for r in changed.rows] == [r.id for r in PROFILES]
    assert PACKAGED.profile("claude-haiku-4-5") is HAIKU, "the package's table is as it was"


def test_a_known_model_like_another_keeps_its_name() -> None:
    row = table(claude_haiku_4_5={"like": "claude-opus-5-5"}).profile("claude-haiku-4-5")
    kept = ("id", "display_name", "aliases", "status", "released", "retires_at")
    assert row == replace(OPUS, **{name: getattr(HAIKU, name) for name in kept})


def test_a_new_model() -> None:
    models = table(mine={"like": "claude-opus-5-5", "aliases": ["me"]}, other={"like": "me"}, x={})
    mine = models.profile("me")
    assert mine == replace(
        OPUS, id="mine", display_name="mine", aliases=("me",), released=None, status="active"
    )
    assert models.profile("other") == replace(mine, id="other", display_name="other", aliases=())
    assert models.profile("x") == replace(
        NEWEST, id="x", display_name="x", released=None, prices=None
    )
    assert models.profile("never heard of") is NEWEST, "new rows do not count as the newest"
    assert models.known("mine-20260101") is mine


def test_a_dated_name_is_a_model_of_its_own() -> None:
    models = table(**{"claude-opus-5-5-20991231": {"max_output": 7}})
    assert models.profile("claude-opus-5-5") is OPUS
    row = models.profile("claude-opus-5-5-20991231")
    assert row.max_output == 7
    assert row.forced_tools is OPUS.forced_tools is False


def test_levels_are_in_order_and_none_is_left_that_is_no_effort() -> None:
    opus = table(claude_opus_5={"efforts": ["high", "low", "high"]}).profile("claude-opus-5")
    assert (opus.efforts, opus.thinking_off_effort, opus.effort_default) == (
        ("low", "high"),
        "high",
        "high",
    )
    opus = table(claude_opus_5={"efforts": ["low"]}).profile("claude-opus-5")
    assert (opus.thinking_off_effort, opus.effort_default) == (None, None)
    body = Body(message(thinking={"type": "disabled"}, output_config={"effort": "max"}))
    adapt(body, opus, Notes())
    assert body.peek("output_config") == {"effort": "low"}


def test_a_target_carries_its_profile() -> None:
    config = Config.model_validate({"profiles": {"mine": {"like": "claude-haiku-4-5"}}})
    for model, name in (("mine", "mine"), ("anthropic:mine?top_k=1", "mine"), ("?", NEWEST.id)):
        request = Request("openai-chat", Body({}), model.replace("?", "a", model == "?"), False)
        row = target_of(request, config).profile
        assert row is not None
        assert row.id == name


def test_a_model_of_unknown_date_is_described_without_one() -> None:
    assert "created_at" not in described(replace(OPUS, released=None), "m")
    assert described(OPUS, "m")["created_at"] == f"{OPUS.released}T00:00:00Z"


def test_check_shows_what_was_given_and_no_more() -> None:
    config = Config.model_validate(
        {"profiles": {"m": {"prices": {"input": 1}, "retires_at": None, "fast": True}}}
    )
    rows = {".".join(map(str, key)): value for key, value in leaves(config)}
    shown = {key: value for key, value in rows.items() if key.startswith("profiles.")}
    assert shown == {
        "profiles.m.prices.input": 1.0,
        "profiles.m.retires_at": None,
        "profiles.m.fast": True,
    }
    lines = check_lines(Resolved(config, dict.fromkeys(rows, "default")))
    assert any(line.split() == ["profiles.m.fast", "=", "true", "#", "default"] for line in lines)


def test_requests_are_fitted_to_the_configured_model() -> None:
    sections = {"claude-sonnet-4-5": {"max_output": 77, "forced_tools": False, "prefill": False}}
    world = World(profiles=sections)
    try:
        tool = {"type": "function", "function": {"name": "look"}}
        body = {"model": "claude-sonnet-4-5", "messages": message()["messages"]}
        reply = world.post(
            "/v1/chat/completions", {**body, "tools": [tool], "tool_choice": "required"}
        )
        assert reply.status == 200
        assert "cannot be forced" in reply.headers["x-isthmus-notes"]
        sent = json.loads(world.received()[-1].body)
        assert (sent["max_tokens"], sent["tool_choice"]) == (77, {"type": "auto"})
        said = [*message()["messages"], {"role": "assistant", "content": "I"}]
        reply = world.post("/v1/chat/completions", {**body, "messages": said})
        assert "continues no assistant message" in error_message("openai-chat", reply)
        assert world.post("/v1/messages", message(), **VERSION).status == 200
        assert json.loads(world.received()[-1].body)["max_tokens"] == 200, (
            "the native lane is not fitted"
        )
    finally:
        world.close()
