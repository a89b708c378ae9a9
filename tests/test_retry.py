"""The table of retry and failover: which row an error falls under, and how often is repeated."""

from __future__ import annotations

import pytest

from isthmus.errors import KINDS, GatewayError
from isthmus.routing.retry import (
    BUDGET_SECONDS,
    RULES,
    STOP,
    Budget,
    may_repeat,
    pause_before,
    rule_of,
)


def error(kind: str, source: str = "upstream", **headers: str) -> GatewayError:
    made = GatewayError(kind, "x")
    made.source = source  # type: ignore[assignment]
    made.headers = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return made


ROWS = [
    (error("rate_limit", retry_after="3"), "key", "cool"),
    (error("rate_limit", retry_after_ms="30"), "key", "cool"),
    (error("rate_limit", retry_after="soon"), "key", "cool"),
    (error("rate_limit"), "key", "cool_long"),
    (error("billing"), "key", "cool_long"),
    (error("overloaded"), "key", "fail"),
    (error("internal"), "key", "fail"),
    (error("unavailable"), "key", "fail"),
    (error("unavailable", "gateway"), "backend", "none"),
    (error("timeout"), "key", "fail"),
    (error("conflict"), "key", "none"),
    (error("upstream_disconnected"), "key", "fail"),
    (error("upstream_unreachable"), "backend", "fail"),
    (error("upstream_refused_key"), "key", "bench"),
    (error("model_not_found"), "backend", "none"),
    (error("context_overflow"), "window", "none"),
    (error("context_overflow", "gateway"), "window", "none"),
    (error("invalid_request", "client"), "target", "none"),
    (error("invalid_request"), "stop", "none"),
    (error("too_large"), "stop", "none"),
    (error("reasoning_refused"), "stop", "none"),
    (error("internal", "gateway"), "key", "fail"),
]


@pytest.mark.parametrize(("failure", "then", "effect"), ROWS)
def test_the_row_of_a_failure(failure: GatewayError, then: str, effect: str) -> None:
    rule = rule_of(failure)
    assert (rule.then, rule.effect) == (then, effect)


def test_each_kind_of_the_table_is_one_that_there_is() -> None:
    own = {"rate_limit_timeless", "crowded", "untranslatable"}
    assert {kind for rule in RULES for kind in rule.kinds} - own <= KINDS.keys()
    assert not STOP.kinds


@pytest.mark.parametrize(
    ("kind", "said", "repeats"),
    [
        ("overloaded", None, True),
        ("overloaded", "false", False),
        ("invalid_request", "true", True),
        ("invalid_request", None, False),
        ("timeout", None, False),
        ("timeout", " TRUE ", True),
        ("overloaded", "maybe", True),
    ],
)
def test_the_provider_s_word_counts_before_the_table(
    kind: str, said: str | None, repeats: bool
) -> None:
    failure = error(kind, **({"x_should_retry": said} if said else {}))
    assert may_repeat(rule_of(failure), failure) is repeats


def test_a_budget_is_a_share_of_the_requests_and_some_each_second() -> None:
    budget = Budget(0.2, 10, 0.0)
    assert sum(budget.spend(0.0) for _ in range(1000)) == 10 * BUDGET_SECONDS
    assert sum(budget.spend(1.0) for _ in range(100)) == 10
    for _ in range(52):
        budget.sent()
    assert sum(budget.spend(1.0) for _ in range(100)) == 10
    assert sum(budget.spend(1e9) for _ in range(1000)) == 10 * BUDGET_SECONDS


def test_a_budget_of_a_share_alone() -> None:
    budget = Budget(0.5, 0, 0.0)
    assert not budget.spend(9.0)
    budget.sent()
    assert not budget.spend(9.0)
    budget.sent()
    assert budget.spend(9.0)
    assert not budget.spend(9.0)


def test_pauses_double_and_lose_a_quarter_at_most() -> None:
    assert [pause_before(n, 0.0) for n in range(6)] == [0.5, 1, 2, 4, 8, 8]
    assert pause_before(0, 1.0) == 0.375
