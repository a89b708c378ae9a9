"""One request on its way along its route: which target and key is tried next, and what is told at last.

Pure: what the attempts bring is told to it, and clock, dice and the state of the keys are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import NamedTuple

from isthmus.errors import GatewayError
from isthmus.request import Operation, Place, Request, Target
from isthmus.routing.conversation import Conversation
from isthmus.routing.health import FAMILY_LENGTH, Choice, Health, State, read_retry_after
from isthmus.routing.retry import Budget, Rule, may_repeat, pause_before, rule_of
from isthmus.routing.route import Candidate, Leg, Route, Router

KEYS_PER_TARGET = 3
"""How many keys of one target a request is tried with at most, in one go along the route."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What journeys share. ``clock`` tells seconds, ``dice`` is at least 0 and below 1.

    ``wall`` tells the time of day, in seconds since 1970; ``budget`` is for the repeats of a backend.
    """

    router: Router
    health: Health
    budget: Callable[[str], Budget]
    repeats: int
    clock: Callable[[], float]
    wall: Callable[[], float]
    dice: Callable[[], float]
    choose: Callable[
        [Health, Sequence[Place], str, bytes | None, float, Sequence[Place]], Choice | None
    ] = Health.pick


class Pick(NamedTuple):
    """One attempt to be made: of which candidate, at which target, with which key, for which ``family``."""

    candidate: Candidate
    target: Target
    choice: Choice
    family: str

    @property
    def place(self) -> Place:
        return self.choice.place


COUNTING = " count_tokens"


def family(target: Target, operation: Operation) -> str:
    """The models that share a rate limit with the target's, told by a name.

    Counting tokens has a limit of its own (Anthropic's page on token counting). A model that nobody
    knows counts as the newest one in all else.
    """
    row = target.profile
    own = row.line if row is not None and row.is_of(target.model) else None
    line = own or target.model
    return line if operation == "messages" else line[: FAMILY_LENGTH - len(COUNTING)] + COUNTING


def plain(around: Surroundings, route: Route, request: Request) -> Pick | None:
    """The pick of a route that has one key of one target, where nothing bad is known of that key.

    As nearly always: then there is nothing to be chosen, and no journey to be gone unless it fails.
    """
    if not route.alone:
        return None
    candidate = route.first
    place = candidate.pool[0]
    if not around.health.is_spotless(place):
        return None
    target = around.router.target(candidate, place.backend)
    return Pick(candidate, target, Choice(place, "open"), family(target, request.operation))


class Trial(NamedTuple):
    """What is tried next, after ``pause`` seconds: one attempt, or several side by side in a race."""

    picks: tuple[Pick, ...]
    pause: float = 0.0


class Journey:
    """The trials of one request. Each failure of a pick is told before the next trial is asked for."""

    def __init__(
        self,
        around: Surroundings,
        request: Request,
        route: Route,
        *,
        single: bool = False,
        ends: float = inf,
    ) -> None:
        """``single`` makes the first pick the only one; once it is ``ends``, nothing more is tried."""
        self._around = around
        self._route = route
        self._single = single
        self._ends = ends
        self._talk = Conversation(request)
        self._operation = request.operation
        self._tried: dict[tuple[int, Place], bool] = {}
        """What was tried, and whether it may be tried again in a further round."""
        self._round = 0
        self._failures: list[tuple[Rule, GatewayError]] = []
        self._rule: Rule | None = None
        self._too_small = 0
        """A target must take more tokens than this."""
        self._stopped = False
        self._shunned: list[tuple[Candidate, Pick]] = []
        """Picks of keys that have failed too often, for the case that nothing else answers."""
        self.passed_over: list[Candidate] = []
        """The candidates that were passed over, since none of their keys may be used now."""

    @property
    def has_one_trial(self) -> bool:
        """Whether nothing can follow the first trial."""
        return self._single or (self._route.alone and not self._around.repeats)

    def trials(self) -> Iterator[Trial]:
        """What to try, one after the other, until something is answered."""
        pause, dice = 0.0, self._around.dice
        if self._failures and self._single:
            return
        for repeat in range(self._around.repeats + 1):
            self._round = repeat
            for picks in self._picks():
                yield Trial(picks, pause)
                pause = 0.0
                if self._single or self._stopped:
                    return
            pause = pause_before(repeat, dice())
            if self._is_late(pause) or not self._goes_round(repeat):
                return

    def _picks(self) -> Iterator[tuple[Pick, ...]]:
        """What one go along the route tries; in the end, in need, keys that have failed too often."""
        self.passed_over.clear()
        self._shunned.clear()
        for leg in self._route.legs:
            if self._is_late():
                return
            yield from self._leg(leg)
        for candidate, pick in self._shunned:
            if self._is_late():
                return
            self.passed_over.remove(candidate)
            yield (pick,)

    def _is_late(self, pause: float = 0.0) -> bool:
        """Whether the time for all attempts is over, or will be after a pause; the first is always made."""
        return bool(self._failures) and self._around.clock() + pause >= self._ends

    def _leg(self, leg: Leg) -> Iterator[tuple[Pick, ...]]:
        candidates = self._preferred(leg)
        if leg.race and not self._single:
            picks = tuple(p for one in candidates if (p := self._pick(one)) is not None)
            # The others were passed over, or shunned, which is noted once.
            candidates = [pick.candidate for pick in picks]
            if picks:
                yield picks
        for candidate in candidates:
            yield from self._keys_of(candidate)

    def _keys_of(self, candidate: Candidate) -> Iterator[tuple[Pick]]:
        """The candidate with one key after the other, while another key may help."""
        for _ in range(KEYS_PER_TARGET):
            pick = self._pick(candidate)
            if pick is None:
                return
            self._rule = None
            yield (pick,)
            if self._is_late() or (self._rule and self._rule.then in ("target", "window")):
                return

    def _pick(self, candidate: Candidate) -> Pick | None:
        around, pool = self._around, candidate.pool
        backend = pool[0].backend
        target = around.router.target(candidate, backend)
        if target.window is not None and target.window.tokens <= self._too_small:
            return None
        known = self._tried
        tried = [place for place in pool if (id(candidate), place) in known] if known else []
        if len(tried) == len(pool):
            return None
        root = self._talk.root if len(pool) > 1 and self._talk.goes_on else None
        models = family(target, self._operation)
        choice = around.choose(around.health, pool, models, root, around.clock(), tried)
        if choice is None:
            self.passed_over.append(candidate)
            return None
        if choice.place.backend != backend:
            target = around.router.target(candidate, choice.place.backend)
        pick = Pick(candidate, target, choice, models)
        if choice.kind == "last":
            self.passed_over.append(candidate)
            self._shunned.append((candidate, pick))
            return None
        return pick

    def _preferred(self, leg: Leg) -> Sequence[Candidate]:
        """The candidates in the order of their trial: a conversation stays with what it was given."""
        if len(leg.candidates) == 1:
            return leg.candidates
        ordered = leg.ordered(self._around.dice)
        if not self._talk.goes_on:
            return ordered
        kept = self._around.health.kept(self._talk.choice(self._route.text))
        given = int(kept.key) if kept is not None else None
        return sorted(ordered, key=lambda one: leg.candidates.index(one) != given)

    def _goes_round(self, repeat: int) -> bool:
        """Whether what may be tried again is tried again, within the budget of its backend."""
        again = [at for at, repeatable in self._tried.items() if repeatable]
        if not again or repeat == self._around.repeats:
            return False
        backend = again[-1][1].backend
        if not self._around.budget(backend).spend(self._around.clock()):
            return False
        for at in again:
            del self._tried[at]
        return True

    # --- what the attempts bring ----------------------------------------------------------------

    def failed(self, pick: Pick, error: GatewayError) -> None:
        """Take in that an attempt failed, before its content."""
        around, rule = self._around, rule_of(error)
        again = may_repeat(rule, error)
        self._count(pick)
        if error.source == "upstream":  # our own errors know their time
            error.retry_after = read_retry_after(error.headers, around.wall())
        effect = rule.effect
        if effect == "cool_long" and error.kind == "rate_limit" and self._operation != "messages":
            effect = "cool"  # for this family alone: messages have a limit of their own
        around.health.failed(pick.place, pick.family, effect, error.retry_after, around.clock())
        self._rule = rule
        self._failures.append((rule, error))
        self._stopped = rule.then == "stop" and not again
        away = [pick.place]
        if rule.then == "backend":
            away = [one for one in pick.candidate.pool if one.backend == pick.place.backend]
        for place in away:
            self._tried[id(pick.candidate), place] = again
        if rule.then == "window" and pick.target.window is not None:
            self._too_small = max(self._too_small, pick.target.window.tokens)

    def outrun(self, pick: Pick) -> None:
        """Take in that another process tries this key already."""
        self._tried[id(pick.candidate), pick.place] = False

    def answered(self, pick: Pick) -> bool:
        """Take in that an attempt was answered; whether the conversation moved to another account."""
        health, leg = self._around.health, self._leg_of(pick)
        self._count(pick)
        moved = False
        if len(pick.candidate.pool) > 1:
            before = health.kept(self._talk.root) if self._talk.goes_on else None
            moved = before is not None and before != pick.place
            health.keep(self._talk.root, pick.place)
        if len(leg.candidates) > 1:
            number = str(leg.candidates.index(pick.candidate))
            health.keep(self._talk.choice(self._route.text), Place("", number))
        return moved

    def _count(self, pick: Pick) -> None:
        """Let a request that is no repeat add to the budget of its backend."""
        if self._around.repeats and not self._round:
            self._around.budget(pick.place.backend).sent()

    def _leg_of(self, pick: Pick) -> Leg:
        legs = self._route.legs
        return next(leg for leg in legs if len(legs) == 1 or pick.candidate in leg.candidates)

    def outcome(self) -> GatewayError:
        """What the client is told in the end: the last of the most useful failures."""
        if not self._failures:
            return self._all_shut()
        best = max(rule.weight for rule, _ in self._failures)
        error = next(error for rule, error in reversed(self._failures) if rule.weight == best)
        if error.kind in ("rate_limit", "overloaded") and not self._route.alone:
            _come_again(error, self._soonest())
        return error

    def _all_shut(self) -> GatewayError:
        """What is told where not one key of the route may be used now."""
        around, now = self._around, self._around.clock()
        waits: list[tuple[float, State]] = []
        for candidate in self._route.candidates:
            target = around.router.target(candidate, candidate.pool[0].backend)
            models = family(target, self._operation)
            standings = (around.health.standing(place, models, now) for place in candidate.pool)
            waits += [(standing.waits(now), standing.state) for standing in standings]
        # A key that is refused is no matter of waiting, unless nothing else is.
        waits = [wait for wait in waits if wait[1] != "benched"] or waits
        kind, why = SHUT[min(waits)[1]]
        names = " and ".join(dict.fromkeys(one.name for one in self._route.candidates))
        error = GatewayError(kind, f"no key of {names} can be used now: {why}", source="gateway")
        _come_again(error, min(waits)[0])
        return error

    def _soonest(self) -> float | None:
        """Seconds until the first key of the route may be used again; None where that is not known."""
        around, now = self._around, self._around.clock()
        found: list[float] = []
        for candidate in self._route.candidates:
            target = around.router.target(candidate, candidate.pool[0].backend)
            soonest = around.health.soonest(candidate.pool, family(target, self._operation), now)
            found += [] if soonest is None else [soonest]
        return min(found, default=None)


SHUT: Mapping[State, tuple[str, str]] = {
    "open": ("rate_limit", "one request tries it again, and others wait for its answer"),
    "cooling": ("rate_limit", "the provider's rate limit is reached, and it is cooling down"),
    "benched": ("upstream_refused_key", "the provider refused it"),
    "ejected": ("overloaded", "it has failed too often"),
}
"""The kind of error by the state of the key that is free first, and the words for it."""


def _come_again(error: GatewayError, seconds: float | None) -> None:
    """Tell a client when to come again: when the first key of the whole route is free."""
    if seconds is None:
        return
    error.retry_after = float(max(1, ceil(seconds)))
    kept = tuple(row for row in error.headers if row[0] not in ("retry-after", "retry-after-ms"))
    error.headers = kept
