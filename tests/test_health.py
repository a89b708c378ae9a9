"""Which key is asked, and what answers and failures do to it: tables, and a machine that tries everything."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from isthmus.request import Place
from isthmus.routing import health
from isthmus.routing.health import Choice, Effect, Health, Policy
from tests.test_allowance import limits

A, B, C = POOL = tuple(Place("a", label) for label in ("1", "2", "3"))
POLICY = Policy()


def told(left: int, seconds: int = 60) -> tuple[tuple[str, str], ...]:
    """Headers that tell of so many per cent left."""
    return (
        ("date", "Sun, 22 Nov 2026 00:00:00 GMT"),
        *limits(tokens=("100", str(left), f"2026-11-22T00:{seconds // 60:02}:{seconds % 60:02}Z")),
    )


def shut(
    known: Health, place: Place, effect: Effect, now: float = 0.0, family: str = "opus"
) -> None:
    """Have a place fail until it is shut."""
    for _ in range(POLICY.failures if effect == "fail" else 1):
        known.failed(place, family, effect, None, now)


def pick(known: Health, now: float, **more: Any) -> Choice | None:
    asked = {"pool": POOL, "family": "opus", "root": None, "tried": (), **more}
    return known.pick(now=now, **asked)


# --- the choice ---------------------------------------------------------------------------------


def test_a_conversation_stays_where_it_was_last() -> None:
    known = Health()
    known.answered(B, "opus", told(1), 0)
    assert known.kept(b"root") is None
    known.keep(b"root", B)
    assert known.kept(b"root") == B
    assert known.choose(POOL, "opus", b"root", 1) == B
    known.failed(B, "opus", "cool", 10, 1)
    other = known.choose(POOL, "opus", b"root", 2)
    assert other in (A, C)
    assert pick(known, 11, root=b"root") == (B, "probe")


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ((10, 90, 50), B),
        ((90, None, 50), B),
        ((99, 98, 100), C),
        ((55, 51, 12), A),
    ],
)
def test_then_comes_the_most_headroom(left: tuple[int | None, ...], expected: Place) -> None:
    known = Health()
    for place, per_cent in zip(POOL, left, strict=True):
        if per_cent is not None:
            known.answered(place, "opus", told(per_cent), 0)
    assert known.choose(POOL, "opus", None, 1) == expected


def test_a_window_that_has_ended_is_full() -> None:
    known = Health()
    known.answered(A, "opus", told(5, 30), 0)
    known.answered(B, "opus", told(50, 90), 0)
    known.answered(C, "opus", told(50, 90), 0)
    assert known.choose(POOL, "opus", None, 29) == B
    assert known.choose(POOL, "opus", None, 30) == A
    assert known.standing(A, "opus", 29).headroom == 0.05
    assert known.standing(A, "haiku", 29).headroom is None


def test_ties_go_in_turn_or_by_conversation() -> None:
    known = Health(weights={A: 2.0})
    chosen = [known.choose(POOL, "opus", None, 0) for _ in range(8)]
    assert "".join(place.key for place in chosen if place is not None) == "12311231"
    roots = [f"root {n}".encode() for n in range(60)]
    spread = {root: known.choose(POOL, "opus", root, 0) for root in roots}
    assert set(spread.values()) == set(POOL)
    assert spread == {root: known.choose(POOL, "opus", root, 9) for root in reversed(roots)}


def test_places_that_were_tried_are_left_out() -> None:
    known = Health()
    found: list[Place] = []
    while (place := known.choose(POOL, "opus", b"root", 0, found)) is not None:
        found.append(place)
    assert sorted(found) == list(POOL)
    assert known.choose((), "opus", None, 0) is None


# --- what shuts a place, and for how long -------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "retry_after", "seconds", "family"),
    [
        ("cool", 20, 20, "open"),
        ("cool", 0, 1, "open"),
        ("cool", 0.2, 1, "open"),
        ("cool", 1e9, 3600, "open"),
        ("cool", None, 60, "open"),
        ("cool_long", None, 600, "cooling"),
        ("cool_long", 5, 600, "cooling"),
        ("cool_long", 1000, 1000, "cooling"),
        ("bench", None, 300, "benched"),
        ("none", 20, 0, "open"),
        ("fail", 20, 0, "open"),
    ],
)
def test_what_shuts_a_place_for_how_long(
    effect: Effect, retry_after: float | None, seconds: float, family: str
) -> None:
    known = Health()
    known.failed(A, "opus", effect, retry_after, 100)
    standing = known.standing(A, "opus", 100)
    assert standing.waits(100) == seconds
    assert (standing.state == "open") == (seconds == 0)
    assert known.standing(A, "haiku", 100).state == family
    assert known.standing(B, "opus", 100).state == "open"
    assert known.soonest([A], "opus", 100) == seconds
    assert known.soonest(POOL, "opus", 100) == 0


def test_no_request_goes_to_a_pool_that_cools_and_the_soonest_end_is_known() -> None:
    known = Health()
    for seconds, place in zip((30, 20, 40), POOL, strict=True):
        known.failed(place, "opus", "cool", seconds, 0)
    assert not any(pick(known, now, root=b"x") for now in range(20) for _ in range(25))
    assert known.soonest(POOL, "opus", 5) == 15
    assert known.soonest((), "opus", 5) is None
    assert pick(known, 5, family="haiku") is not None


def test_a_later_limit_lengthens_a_cool_down_and_never_shortens_it() -> None:
    known = Health()
    known.failed(A, "opus", "cool", 30, 0)
    known.failed(A, "opus", "cool", 5, 1)
    assert known.standing(A, "opus", 1).until == 30
    known.failed(A, "opus", "cool", 60, 2)
    assert known.standing(A, "opus", 2).until == 62


@pytest.mark.parametrize("effect", ["cool", "cool_long", "bench"])
def test_answers_to_earlier_requests_end_no_limit_and_no_refusal(effect: Effect) -> None:
    known = Health()
    shut(known, A, effect)
    known.answered(A, "opus", (), 1)
    shut(known, A, "fail", 2)
    assert known.choose([A], "opus", None, 3) is None


@pytest.mark.parametrize(
    ("effect", "family", "lengths"),
    [
        ("bench", "haiku", [300, 600, 1200, 2400, 3000, 3000]),
        ("fail", "opus", [30, 60, 120, 240, 300, 300]),
        ("cool", "opus", [60, 60, 60]),
        ("cool_long", "haiku", [600, 600, 600]),
    ],
)
def test_a_probe_that_fails_shuts_for_longer_within_bounds(
    effect: Effect, family: str, lengths: list[float]
) -> None:
    known, now, found = Health(), 0.0, []
    shut(known, A, effect)
    for _ in lengths:
        wait = known.soonest([A], family, now)
        assert wait is not None
        found.append(wait)
        now += wait
        assert pick(known, now, pool=[A], family=family) == (A, "probe")
        known.failed(A, family, effect, None, now)
    assert found == lengths


@pytest.mark.parametrize("effect", ["cool", "cool_long", "bench", "fail"])
def test_one_probe_and_an_answer_reopen(effect: Effect) -> None:
    known = Health()
    shut(known, A, effect)
    end = known.standing(A, "opus", 0).until
    assert [pick(known, end - 0.1, pool=[A, B]) for _ in range(3)] == [(B, "open")] * 3
    picked = [pick(known, end, pool=[A, B], root=b"x", tried=[B] * (n % 2)) for n in range(20)]
    assert picked.count(Choice(A, "probe")) == 1
    assert known.standing(A, "opus", end).probing
    known.answered(A, "opus", (), end + 0.5)
    assert known.standing(A, "opus", end + 0.5).state == "open"
    assert {pick(known, end + 1, pool=[A]) for _ in range(9)} == {(A, "open")}


@pytest.mark.parametrize("how", ["released", "none"])
def test_a_probe_that_tells_nothing_makes_room_for_the_next(how: str) -> None:
    known = Health()
    known.failed(A, "opus", "cool", 5, 0)
    assert pick(known, 5, pool=[A]) == (A, "probe")
    assert pick(known, 5, pool=[A]) is None
    if how == "released":
        known.released(A, "opus")
    else:
        known.failed(A, "opus", "none", None, 6)
    assert known.standing(A, "opus", 6).state == "cooling"
    assert pick(known, 6, pool=[A]) == (A, "probe")


def test_the_end_of_another_request_frees_no_probe() -> None:
    known = Health()
    known.failed(A, "opus", "cool", 5, 0)
    known.claim(A, "opus", 5)
    known.released(A, "opus")
    assert pick(known, 6, pool=[A]) is None
    known.answered(A, "opus", (), 7)
    known.failed(A, "opus", "cool", 5, 10)
    assert pick(known, 15, pool=[A]) == (A, "probe")
    known.answered(A, "opus", (), 15)
    known.failed(A, "opus", "cool", 5, 16)
    known.claim(A, "opus", 21)
    known.released(A, "opus")
    assert pick(known, 22, pool=[A]) is None


def test_to_look_changes_nothing() -> None:
    known = Health()
    assert {known.look(POOL, "opus", None, 0) for _ in range(5)} == {(A, "open")}
    known.failed(A, "opus", "cool", 5, 0)
    assert {known.look([A], "opus", None, 5) for _ in range(5)} == {(A, "probe")}
    assert pick(known, 5, pool=[A]) == (A, "probe")
    assert known.look([A], "opus", None, 5) is None


def test_a_probe_that_never_ends_holds_a_key_for_some_seconds_only() -> None:
    known = Health()
    known.failed(A, "opus", "cool", 5, 0)
    assert pick(known, 5, pool=[A]) == (A, "probe")
    assert known.soonest([A], "opus", 6) == POLICY.probe_seconds - 1
    assert pick(known, 5 + POLICY.probe_seconds - 0.1, pool=[A]) is None
    assert pick(known, 5 + POLICY.probe_seconds, pool=[A]) == (A, "probe")


def test_a_key_that_is_benched_has_one_probe_for_all_families() -> None:
    known = Health()
    known.failed(A, "opus", "bench", None, 0)
    assert pick(known, 300, pool=[A], family="haiku") == (A, "probe")
    assert pick(known, 300, pool=[A], family="opus") is None
    known.answered(A, "haiku", (), 301)
    assert pick(known, 301, pool=[A], family="opus") == (A, "open")


def test_refusals_that_come_late_make_a_bench_no_longer() -> None:
    known = Health()
    for now in (0, 10, 299):
        known.failed(A, "opus", "bench", None, now)
    assert known.standing(A, "opus", 299).until == 300
    known.failed(A, "opus", "bench", None, 301)
    assert known.standing(A, "opus", 301).until == 601
    known.failed(A, "opus", "cool_long", 1000, 302)
    assert known.standing(A, "opus", 302).until == 601
    known.failed(B, "opus", "cool_long", 3600, 0)
    known.failed(B, "opus", "bench", None, 1)
    assert known.standing(B, "opus", 1).until == 3600


# --- failures in a row --------------------------------------------------------------------------


def test_an_answer_ends_the_row() -> None:
    known = Health()
    for _ in range(3):
        for _ in range(POLICY.failures - 1):
            known.failed(A, "opus", "fail", None, 0)
        known.answered(A, "opus", (), 0)
    assert known.standing(A, "opus", 0).state == "open"
    shut(known, A, "fail")
    assert known.standing(A, "opus", 0).state == "ejected"
    assert known.standing(A, "haiku", 0).state == "open"


def test_what_fails_late_makes_an_ejection_no_longer() -> None:
    known = Health()
    shut(known, A, "fail")
    for now in range(40):
        known.failed(A, "opus", "fail", None, now)
    assert known.standing(A, "opus", 39).until == 30
    assert pick(known, 39, pool=[A]) == (A, "probe")


def test_one_of_three_that_fails_gets_nothing_and_comes_back() -> None:
    known, asked = Health(), 0
    for n in range(300):
        place = known.choose(POOL, "opus", None, n / 100)
        assert place is not None
        if place == A:
            asked += 1
            known.failed(A, "opus", "fail", None, n / 100)
        else:
            known.answered(place, "opus", (), n / 100)
    assert asked == POLICY.failures
    until = known.standing(A, "opus", 3).until
    assert [pick(known, until) for _ in range(6)].count(Choice(A, "probe")) == 1
    known.answered(A, "opus", (), until + 0.5)
    assert {pick(known, until + 1) for _ in range(6)} == {(place, "open") for place in POOL}


def test_where_all_are_ejected_each_is_tried_in_its_turn() -> None:
    known = Health()
    for at, place in enumerate((B, A, C)):
        shut(known, place, "fail", at)
    order = []
    for now in range(3, 9):
        choice = pick(known, now)
        assert choice is not None
        assert choice.kind == "last"
        order.append(choice.place)
        known.failed(choice.place, "opus", "fail", None, now)
    assert order == [B, A, C, B, A, C]
    assert pick(known, 9, tried=POOL) is None
    known.answered(A, "opus", (), 9)
    assert pick(known, 9) == (A, "open")


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (("fail", "fail"), (A, "last")),
        (("cool", "bench"), (A, "last")),
        (("cool", None), None),
    ],
)
def test_the_last_resort_is_neither_cooling_nor_benched(
    others: tuple[Effect | None, ...], expected: Choice | None
) -> None:
    """With an open one that was tried already, nothing is a last resort."""
    known = Health()
    shut(known, A, "fail")
    for place, effect in zip((B, C), others, strict=True):
        if effect is not None:
            shut(known, place, effect, 1)
    assert (
        pick(known, 2, tried=[p for p, e in zip((B, C), others, strict=True) if not e]) == expected
    )


@pytest.mark.parametrize("effect", ["cool_long", "bench"])
def test_an_ejected_place_whose_key_is_shut_is_no_last_resort(effect: Effect) -> None:
    known = Health()
    shut(known, A, "fail")
    known.failed(A, "haiku", effect, 1, 0)
    assert pick(known, 1, pool=[A]) is None


# --- bounds, and what is shown ------------------------------------------------------------------


def test_what_clients_name_makes_nothing_grow() -> None:
    known = Health()
    known.failed(A, "opus", "cool", 3600, 0)
    known.failed(A, "opus", "bench", None, 0)
    for n in range(20_000):
        name = f"made up {n} " + "x" * 10_000
        known.keep(name.encode(), A)
        known.failed(A, name, "fail", None, n)
        known.answered(A, name, told(50), n)
        known.choose(POOL, name, name.encode(), n)
    marks, kept = known.whole()
    assert len(kept) == health.CONVERSATIONS
    assert len(marks) <= health.FAMILIES + 1
    assert len(known.snapshot(POOL, 1)) <= 2 * health.FAMILIES + 1 + 2
    assert known.standing(A, "opus", 3599).state == "cooling"
    assert known.soonest([A], "opus", 100) == 3500
    assert max(len(row.family) for row in known.snapshot(POOL, 1)) == health.FAMILY_LENGTH
    assert sum(sys.getsizeof(digest) for digest, *_ in kept) < 2 * 1024 * 1024


def test_a_new_family_can_still_be_ejected_where_many_are() -> None:
    known = Health()
    for n in range(2 * health.FAMILIES):
        shut(known, A, "fail", n, family=f"made up {n}")
    shut(known, A, "fail", 500)
    assert known.standing(A, "opus", 500).state == "ejected"


def test_a_snapshot_says_all_that_is_known() -> None:
    known = Health()
    known.answered(A, "opus", told(40), 10)
    known.failed(A, "haiku", "fail", None, 11)
    known.failed(A, "haiku", "cool", 30, 12)
    known.failed(B, "opus", "bench", None, 13)
    rows = known.snapshot((A, B, C), 14)
    assert [
        (row.place, row.family, row.standing.state, row.seconds, row.failures, row.changed)
        for row in rows
    ] == [
        (A, "", "open", 0, 0, None),
        (A, "haiku", "cooling", 28, 0, 2),
        (A, "opus", "open", 0, 0, None),
        (B, "", "benched", 299, 0, 1),
        (C, "", "open", 0, 0, None),
    ]
    assert rows[2].standing.headroom == 0.4


# --- anything at all ----------------------------------------------------------------------------


class Anything(RuleBasedStateMachine):
    """Requests over three keys that end as they like, in any order, while time passes."""

    @initialize()
    def begin(self) -> None:
        self.known = Health()
        self.now = 0.0
        self.running: list[tuple[Choice, str, float]] = []
        # What must not be asked: (place, family or None for all) until then.
        self.closed: dict[tuple[Place, str | None], float] = {}

    @rule(
        family=st.sampled_from(["opus", "haiku"]),
        root=st.sampled_from([None, b"1", b"2"]),
        tried=st.sets(st.sampled_from(POOL), max_size=2),
    )
    def ask(self, family: str, root: bytes | None, tried: set[Place]) -> None:
        choice = self.known.pick(POOL, family, root, self.now, tried)
        if choice is None:
            return
        assert choice.place not in tried
        for scope in ((choice.place, family), (choice.place, None)):
            assert self.closed.get(scope, 0.0) <= self.now, "asked while it is cooling or benched"
        self.running.append((choice, family, self.now))

    @rule(which=st.integers(0, 9), left=st.sampled_from([None, 0, 50, 100]))
    def answer(self, which: int, left: int | None) -> None:
        if self.running:
            choice, family, _ = self.running.pop(which % len(self.running))
            self.known.answered(
                choice.place, family, told(left) if left is not None else (), self.now
            )
            if choice.kind == "probe" and not self._is_closed(choice.place, family):
                assert self.known.standing(choice.place, family, self.now).state == "open"

    @rule(
        which=st.integers(0, 9),
        effect=st.sampled_from(["none", "cool", "cool_long", "bench", "fail", "fail", "fail"]),
        retry_after=st.sampled_from([None, 0.0, 5.0, 90.0, 1e9]),
        times=st.integers(1, 6),
    )
    def fail(self, which: int, effect: Effect, retry_after: float | None, times: int) -> None:
        for _ in range(times):
            if not self.running:
                return
            choice, family, _ = self.running.pop(which % len(self.running))
            self.known.failed(choice.place, family, effect, retry_after, self.now)
            if effect == "cool":
                seconds = 60.0 if retry_after is None else min(3600.0, max(1.0, retry_after))
                self._close((choice.place, family), self.now + seconds)
            elif effect in ("cool_long", "bench"):
                until = self.closed.get((choice.place, None), 0.0)
                # A refusal that comes late makes a bench no longer.
                self._close((choice.place, None), until if until > self.now else self.now + 300)

    def _close(self, scope: tuple[Place, str | None], until: float) -> None:
        self.closed[scope] = max(self.closed.get(scope, 0.0), until)
        standing = self.known.standing(scope[0], scope[1] or "opus", self.now)
        assert standing.until >= self.closed[scope]
        assert standing.state in ("cooling", "benched", "ejected")

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        if self.running:
            choice, family, _ = self.running.pop(which % len(self.running))
            before = self.known.standing(choice.place, family, self.now)
            if choice.kind == "probe":
                self.known.released(choice.place, family)
            after = self.known.standing(choice.place, family, self.now)
            assert (before.state, before.headroom) == (after.state, after.headroom)

    @rule(seconds=st.sampled_from([0.01, 1.0, 9.0, 61.0, 301.0, 3601.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def _is_closed(self, place: Place, family: str) -> bool:
        return any(self.closed.get(s, 0.0) > self.now for s in ((place, family), (place, None)))

    @invariant()
    def one_probe_at_most(self) -> None:
        for place in POOL:
            for family in ("opus", "haiku"):
                standing = self.known.standing(place, family, self.now)
                if standing.probing:
                    for _ in range(2):
                        choice = self.known.pick([place], family, None, self.now)
                        assert choice is None or choice.kind == "last"

    @invariant()
    def everything_reopens(self) -> None:
        for place in POOL:
            wait = self.known.soonest([place], "opus", self.now)
            assert wait is not None
            assert wait < 3601

    def teardown(self) -> None:
        """After the longest time that anything is shut each place is tried, and opens."""
        now = self.now + 3601
        for place in POOL:
            choice = self.known.pick([place], "opus", None, now)
            assert choice is not None
            self.known.answered(place, "opus", (), now)
            assert self.known.standing(place, "opus", now).state == "open"


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=120, stateful_step_count=50)
