"""Routes: what a model name comes to where backends, lists, rewrites and defaults are known."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from isthmus.errors import GatewayError
from isthmus.profiles import PACKAGED
from isthmus.request import Place
from isthmus.routing.route import LONG, MANY, Router, Table
from isthmus.routing.rules import Rules
from isthmus.routing.windows import Windows

POOLS = {"a": (Place("a", "1"), Place("a", "2")), "b": (Place("b", ""),), "a.2": (Place("a", "2"),)}
LISTS = {"a": frozenset({"both", "one"}), "b": frozenset({"both", "two"})}


def router(**fields: object) -> Router:
    table = Table(pools=POOLS, default="a", types=frozenset({"anthropic"}), lists=LISTS)
    for name, value in fields.items():
        object.__setattr__(table, name, value)
    return Router(table, PACKAGED)


@pytest.mark.parametrize(
    ("asked", "name", "model"),
    [
        ("one", "a", "one"),
        ("two", "b", "two"),
        ("both", "a", "both"),
        ("neither", "a", "neither"),
        ("b:one", "b", "one"),
        ("a.2:x", "a.2", "x"),
        ("llama3:8b", "a", "llama3:8b"),
        ("b:anthropic/claude-x:beta", "b", "anthropic/claude-x:beta"),
        ("claude-opus-4-6[1m]", "a", "claude-opus-4-6[1m]"),
    ],
)
def test_where_a_model_is_found(asked: str, name: str, model: str) -> None:
    first = router().route(asked).first
    assert (first.name, first.leaf.model) == (name, model)
    assert first.pool == POOLS[name]


@pytest.mark.parametrize(
    ("asked", "changed"),
    [
        ("m", False),
        ("b:m", False),
        ("m?top_k=1", True),
        ("m|n", True),
        ("given", True),
        ("alias", True),
        ("same", True),
    ],
)
def test_whether_the_gateway_chose_it(asked: str, changed: bool) -> None:
    """A caller's own choice is the provider's to judge; what we put in its place is fitted."""
    rules = Rules([("alias", "b:other"), ("(same)", r"b:\1")])
    found = router(rules=rules, defaults={"given": {"top_k": 2}}).route(asked).first
    assert found.changed is changed


def test_a_forced_selector_beats_the_rewrites_and_what_is_asked() -> None:
    rules = Rules([(".*", "b:rewritten")])
    route = router(rules=rules, forced="a:x|b:y").route("b:m?top_k=1")
    assert [(one.name, one.leaf.model) for one in route.candidates] == [("a", "x"), ("b", "y")]
    assert route.rewrite is None


def test_a_rewrite_is_told_and_takes_the_request_s_parameters() -> None:
    rules = Rules([("no", "b:no"), ("gpt-(.*)", r"a:c-\1?effort=high|b:d")])
    route = router(rules=rules).route("gpt-5?effort=low&top_k=3")
    assert route.rewrite == 1
    assert [dict(one.leaf.parameters) for one in route.candidates] == [
        {"effort": "low", "top_k": 3}
    ] * 2
    with pytest.raises(GatewayError, match=r"column 7: .*effort"):
        router(rules=rules).route("gpt-5?effort=huge")


def test_a_target_carries_what_the_configuration_knows_of_it() -> None:
    made = router(
        defaults={"claude-haiku-4-5": {"top_k": 2}},
        caching=frozenset({"b"}),
        windows=Windows(forced=9000),
    )
    candidate = made.route("b:claude-haiku-4-5").first
    target = made.target(candidate, "b")
    assert target.profile is not None
    assert (target.profile.line, target.prompt_cache, dict(target.defaults)) == (
        "haiku",
        True,
        {"top_k": 2},
    )
    assert target.window is not None
    assert target.window.tokens == 9000
    assert made.target(candidate, "b") is target


def test_the_dice_decide_as_the_weights_say() -> None:
    [leg] = router().route("[weight=1]a:x^[weight=2]b:y^[weight=1]a:z").legs
    first = Counter(leg.ordered(Random(number).random)[0].leaf.model for number in range(2000))
    assert first["y"] == pytest.approx(1000, abs=90)
    assert first["x"] == pytest.approx(500, abs=80)
    whole = {one.leaf.model for one in leg.ordered(Random(1).random)}
    assert whole == {"x", "y", "z"}, "the others stand in"


def test_what_is_remembered_is_bounded() -> None:
    made = router()
    assert made.route("m") is made.route("m")
    long = "m" * (LONG + 1)
    assert made.route(long) is not made.route(long)
    for number in range(3 * MANY):
        made.target(made.route(f"m{number}").first, "a")
    assert len(made._routes) <= MANY
    assert len(made._targets) <= MANY
