"""The journey of a request along its route, as tables: a selector, what each attempt brings, what follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import GatewayError
from isthmus.profiles import PACKAGED
from isthmus.request import Body, Place, Request
from isthmus.routing.health import Health, Policy
from isthmus.routing.journey import KEYS_PER_TARGET, Journey, Surroundings
from isthmus.routing.retry import Budget
from isthmus.routing.route import Router, Table

M, N = "claude-sonnet-4-5", "claude-haiku-4-5"
POOLS = {
    "a": (Place("a", ""),),
    "b": (Place("b", ""),),
    "c": (Place("c", "1"), Place("c", "2"), Place("c", "3"), Place("c", "4")),
    "c.2": (Place("c", "2"),),
    "all": (Place("a", ""), Place("b", "")),
}


class Desk:
    """A journey with its clock and dice at hand."""

    def __init__(
        self,
        selector: str,
        *,
        repeats: int = 0,
        single: bool = False,
        dice: Callable[[], float] = lambda: 0.5,
        **body: Any,
    ) -> None:
        self.now = 1000.0
        self.health = Health(Policy())
        table = Table(pools=POOLS, default="a", types=frozenset())
        self.router = Router(table, PACKAGED)
        budget = Budget(0.2, 10, self.now)
        self.around = Surroundings(
            self.router,
            self.health,
            lambda _: budget,
            repeats,
            lambda: self.now,
            lambda: self.now,
            dice,
        )
        self.single = single
        self.selector = selector
        self.body = {"messages": [{"role": "user", "content": "hi"}], **body}

    def journey(self) -> Journey:
        request = Request("anthropic", Body(self.body), self.selector, False)
        return Journey(self.around, request, self.router.route(self.selector), single=self.single)

    def told(self, *outcomes: str) -> tuple[list[str], GatewayError | None]:
        """Where the attempts went, "ok" being the end of the outcomes; and what is told if none was."""
        journey = self.journey()
        tried: list[str] = []
        left = list(outcomes)
        for trial in journey.trials():
            assert len(trial.picks) == 1
            pick = trial.picks[0]
            self.now += trial.pause
            key = f".{pick.place.key}" if pick.place.key else ""
            tried.append(f"{pick.target.backend}{key}:{pick.target.model}")
            said = left.pop(0)
            if said == "ok":
                journey.answered(pick)
                self.health.answered(pick.place, "x", (), self.now)
                return tried, None
            journey.failed(pick, failure(said))
        return tried, journey.outcome()


def failure(said: str) -> GatewayError:
    kind, _, seconds = said.partition(" ")
    error = GatewayError(kind, said, source="upstream")
    if seconds:
        error.headers = (("retry-after", seconds),)
    return error


CASES: Sequence[tuple[str, Sequence[str], Sequence[str], str | None]] = [
    (f"a:{M}", ["ok"], [f"a:{M}"], None),
    (f"a:{M}|b:{N}", ["overloaded", "ok"], [f"a:{M}", f"b:{N}"], None),
    (f"a:{M}|b:{N}", ["invalid_request"], [f"a:{M}"], "invalid_request"),
    (f"a:{M}|b:{N}", ["timeout", "timeout"], [f"a:{M}", f"b:{N}"], "timeout"),
    (f"a:{M}|a:{N}", ["model_not_found", "ok"], [f"a:{M}", f"a:{N}"], None),
    (f"a:{M}|b:{M}", ["internal", "invalid_request"], [f"a:{M}", f"b:{M}"], "invalid_request"),
    (f"a:{M}|b:{M}", ["rate_limit 9", "model_not_found"], [f"a:{M}", f"b:{M}"], "rate_limit"),
    (f"c:{M}|b:{M}", ["upstream_unreachable", "ok"], [f"c.1:{M}", f"b:{M}"], None),
    (
        f"c:{M}|b:{M}",
        ["context_overflow", "context_overflow"][:1],
        [f"c.1:{M}"],
        "context_overflow",
    ),
    (
        f"c:{M}|b:{M}",
        ["rate_limit 9", "internal", "upstream_refused_key", "ok"],
        [f"c.1:{M}", f"c.2:{M}", f"c.3:{M}", f"b:{M}"],
        None,
    ),
    (f"c.9x|b:{M}", ["ok"], ["a:c.9x"], None),
]


@pytest.mark.parametrize(("selector", "outcomes", "tried", "told"), CASES)
def test_what_is_tried(
    selector: str, outcomes: Sequence[str], tried: Sequence[str], told: str | None
) -> None:
    found, error = Desk(selector).told(*outcomes)
    assert found == list(tried)
    assert (error.kind if error else None) == told


def test_a_longer_window_is_looked_for_when_a_prompt_is_too_long() -> None:
    """The second has the same window, the third a larger one."""
    big = "claude-fable-5-2"
    found, error = Desk(f"a:{M}|b:{N}|b:{big}").told("context_overflow", "ok")
    assert found == [f"a:{M}", f"b:{big}"]
    assert error is None


def test_a_single_attempt_is_the_only_one() -> None:
    found, error = Desk(f"a:{M}|b:{N}", single=True, repeats=3).told("overloaded")
    assert found == [f"a:{M}"]
    assert error is not None


def test_repeats_come_when_no_other_is_left_and_go_to_those_that_may_be_repeated() -> None:
    desk = Desk(f"a:{M}|b:{M}", repeats=2)
    found, error = desk.told("overloaded", "model_not_found", "overloaded", "ok")
    assert found == [f"a:{M}", f"b:{M}", f"a:{M}", f"a:{M}"]
    assert error is None
    assert desk.now - 1000 == pytest.approx((0.5 + 1) * 0.875)


def test_what_cools_is_passed_over_and_told_when_nothing_is_left() -> None:
    desk = Desk(f"a:{M}|b:{M}")
    _, error = desk.told("rate_limit 50", "rate_limit 20")
    assert error is not None
    assert error.retry_after == 20
    assert not [row for row in error.headers if row[0] == "retry-after"]
    desk.now += 5
    found, error = desk.told()
    assert found == []
    assert error is not None
    assert (error.kind, error.retry_after, error.source) == ("rate_limit", 15, "gateway")
    desk.now += 16
    assert desk.told("ok") == ([f"b:{M}"], None)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [("rate_limit", "rate_limit"), ("upstream_refused_key", "upstream_refused_key")],
)
def test_what_is_told_when_the_only_key_rests(outcome: str, kind: str) -> None:
    desk = Desk(f"a:{M}")
    desk.told(outcome)
    found, error = desk.told()
    assert found == []
    assert error is not None
    assert error.kind == kind
    assert error.row.status in (429, 502)


def test_a_key_that_failed_too_often_is_the_last_resort() -> None:
    desk = Desk(f"a:{M}|b:{M}")
    for _ in range(5):
        desk.told("internal", "ok")
    assert desk.told("ok") == ([f"b:{M}"], None)
    assert desk.told("internal", "ok") == ([f"b:{M}", f"a:{M}"], None), (
        "a guess, when all else failed"
    )


def test_a_key_is_chosen_where_a_conversation_was() -> None:
    desk = Desk(f"c:{M}", messages=[{"role": "user", "content": "hi"}] * 3)
    [first], _ = desk.told("ok")
    assert {desk.told("ok")[0][0] for _ in range(8)} == {first}
    place = Place("c", first.split(":")[0].partition(".")[2])
    desk.health.failed(place, "sonnet", "cool", 30.0, desk.now)
    [second], _ = desk.told("ok")
    assert second != first
    desk.now += 60
    assert desk.told("ok")[0] == [second], "it stays where it went"


def test_no_target_is_tried_with_more_keys_than_the_table_says() -> None:
    found, _ = Desk(f"c:{M}").told(*["rate_limit 9"] * KEYS_PER_TARGET)
    assert len(found) == KEYS_PER_TARGET


def test_weights_are_kept_over_many_throws() -> None:
    throws = Random(7).random
    first: Counter[str] = Counter()
    for _ in range(1000):
        desk = Desk(f"[weight=3]a:{M}^[weight=1]b:{M}", dice=throws)
        first[desk.told("ok")[0][0]] += 1
    assert 650 < first[f"a:{M}"] < 850


def test_a_race_is_one_trial_and_then_each_alone() -> None:
    journey = Desk(f"a:{M}!b:{M}").journey()
    trials = journey.trials()
    both = next(trials)
    assert [pick.target.backend for pick in both.picks] == ["a", "b"]
    for pick in both.picks:
        journey.failed(pick, failure("overloaded"))
    assert list(trials) == []
    assert journey.outcome().kind == "overloaded"


KINDS = (
    "rate_limit,rate_limit 5,overloaded,internal,timeout,upstream_refused_key,"
    "upstream_unreachable,model_not_found,conflict,billing,ok"
).split(",")
LEAVES = st.sampled_from([f"a:{M}", f"b:{M}", f"c:{M}", f"all:{N}", f"c.2:{N}"])


@given(
    st.lists(LEAVES, min_size=1, max_size=4),
    st.lists(st.lists(st.sampled_from(KINDS), max_size=30), min_size=1, max_size=8),
    st.integers(0, 3),
    st.lists(st.floats(0, 700), min_size=8, max_size=8),
)
def test_every_journey_ends_and_no_resting_key_is_tried(
    leaves: list[str], requests: list[list[str]], repeats: int, waits: list[float]
) -> None:
    desk = Desk("|".join(leaves), repeats=repeats)
    resting: dict[tuple[Place, str], float] = {}
    for outcomes, wait in zip(requests, waits, strict=False):
        desk.now += wait
        journey, left, trials = desk.journey(), [*outcomes, *["ok"] * 100], 0
        for trial in journey.trials():
            trials += 1
            [pick] = trial.picks
            desk.now += trial.pause
            line = (pick.target.profile.line if pick.target.profile else None) or ""
            for family in (line, ""):
                assert resting.get((pick.place, family), 0) <= desk.now
            said = left.pop(0)
            if said == "ok":
                desk.health.answered(pick.place, line, (), desk.now)
                journey.answered(pick)
                break
            journey.failed(pick, failure(said))
            for family, seconds in _rest(said, line).items():
                resting[pick.place, family] = desk.now + seconds
        else:
            assert journey.outcome().row.status >= 400
        assert trials <= (repeats + 1) * len(leaves) * (KEYS_PER_TARGET + 1)


def _rest(said: str, line: str) -> Mapping[str, float]:
    if said in ("rate_limit", "billing"):
        return {"": 600}
    if said == "rate_limit 5":
        return {line: 5}
    return {"": 300} if said == "upstream_refused_key" else {}
