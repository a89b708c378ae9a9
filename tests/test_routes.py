"""What people see of routing: the way of a request in an explanation, and the standing of all keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import UPSTREAM_KEY, World, error_message, message

MODEL = "claude-sonnet-4-5"


@pytest.fixture
def world() -> Iterator[World]:
    made = World(
        names=("first", "second"),
        backend={"models": []},
        retry={"repeats": 0},
        model_aliases=[
            {
                "pattern": "gpt-(.*)",
                "replacement": f"first:{MODEL}?effort=low|second:claude-haiku-4-5",
            }
        ],
        model_defaults={MODEL: {"parameters": {"top_k": 5, "max_tokens": 9}}},
    )
    yield made
    made.close()


def explained(world: World, model: str, **fields: Any) -> dict[str, Any]:
    reply = world.post("/explain?dialect=anthropic", {**message("hi", **fields), "model": model})
    assert reply.status == 200, reply.body
    return reply.json()


def test_an_explanation_shows_the_rewrite_and_the_candidates_in_their_order(world: World) -> None:
    told = explained(world, "gpt-5")
    assert told["rewrite"]["pattern"] == "gpt-(.*)"
    assert told["rewrite"]["selector"] == f"first:{MODEL}?effort=low|second:claude-haiku-4-5"
    assert [(row["target"], row["leg"]) for row in told["candidates"]] == [
        (f"first:{MODEL}", 1),
        ("second:claude-haiku-4-5", 2),
    ]
    assert told["candidates"][0]["keys"] == [
        {"key": "first", "state": "open", "seconds": 0.0, "headroom": None}
    ]
    assert (told["backend"], told["model"]) == ("first", MODEL)
    assert not world.received("first")


def test_an_explanation_names_the_source_of_each_parameter(world: World) -> None:
    told = explained(world, f"first:{MODEL}?temperature=0.5", max_tokens=77)
    assert told["parameters"] == [
        {"name": "temperature", "value": 0.5, "source": "selector"},
        {"name": "top_k", "value": 5, "source": "model_defaults"},
        {"name": "max_tokens", "value": 77, "source": "request"},
    ]
    assert told["body"]["top_k"] == 5
    assert told["body"]["max_tokens"] == 77
    assert told["rewrite"] is None


def test_a_choice_and_a_race_are_told_apart(world: World) -> None:
    told = explained(world, f"[weight=3]first:{MODEL}^second:{MODEL}|first:{MODEL}!second:{MODEL}")
    assert [(row["leg"], row.get("weight"), row.get("race")) for row in told["candidates"]] == [
        (1, 3.0, None),
        (1, 1.0, None),
        (2, None, True),
        (2, None, True),
    ]


def test_a_cooling_key_is_shown_as_such_and_never_asked_for_an_explanation(world: World) -> None:
    for name in ("first", "second"):
        world.script(name, error={"status": 429, "type": "rate_limit_error", "retry_after": 30})
    world.post(
        "/v1/chat/completions",
        {"model": f"first:{MODEL}|second:{MODEL}", "messages": [{"role": "user", "content": "hi"}]},
    )
    told = explained(world, f"first:{MODEL}|second:{MODEL}")
    for row in told["candidates"]:
        [key] = row["keys"]
        assert key["state"] == "cooling"
        assert 25 < key["seconds"] <= 30
    assert told["backend"] == "first"
    assert [len(world.received(name)) for name in ("first", "second")] == [1, 1]


def test_the_routes_page_tells_names_rewrites_and_keys(world: World) -> None:
    world.script("second", error={"status": 401, "type": "authentication_error"})
    world.post(
        "/v1/messages",
        {**message("hi"), "model": f"second:{MODEL}"},
        anthropic_version="2023-06-01",
    )
    reply = world.get("/admin/routes")
    assert reply.status == 200
    assert UPSTREAM_KEY.encode() not in reply.body
    told = reply.json()
    assert told["default_backend"] == "first"
    assert told["names"] == {
        "first": ["first"],
        "second": ["second"],
        "anthropic": ["first", "second"],
    }
    assert told["model_aliases"][0]["pattern"] == "gpt-(.*)"
    states = {(row["key"], row["family"]): row["state"] for row in told["keys"]}
    assert states["second", None] == "benched"
    assert states["first", None] == "open"


def test_the_routes_page_is_read_only_and_on_the_main_port_alone(world: World) -> None:
    reply = world.post("/admin/routes", {})
    assert reply.status == 405
    assert "only GET" in error_message("openai-chat", reply)
    assert world.get("/admin/routes", port=world.anthropic_port).status == 404


def test_the_routes_page_needs_a_key_where_there_are_keys() -> None:
    world = World(auth={"keys": ["a-client-key"]})
    try:
        assert world.get("/admin/routes").status == 401
        assert world.get("/admin/routes", x_api_key="a-client-key").status == 200
    finally:
        world.close()
