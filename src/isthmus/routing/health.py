"""What is known of the keys of all backends, and the choice of one of them for an attempt.

Nothing here has a clock or a socket: ``now`` is given, in seconds of one clock that never goes back,
and whoever shares this between processes is told of every event by ``post``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from isthmus.request import Headers, Place
from isthmus.routing import circuit
from isthmus.routing.allowance import Limits, limits_in, read_retry_after
from isthmus.routing.choose import Rotation, digest_of, nearest, weight_in
from isthmus.routing.circuit import (
    OPEN,
    SHORTEST,
    Effect,
    Mark,
    Policy,
    Standing,
    State,
    standing_of,
)

__all__ = ["Choice", "Effect", "Health", "Policy", "Row", "Standing", "State", "read_retry_after"]

FAMILIES = 64
"""Model families that are known apart at one place; clients name models as they like."""
FAMILY_LENGTH = 128
"""Characters of a family's name; longer ones that begin alike count as one."""
CONVERSATIONS = 16_384
"""Conversations whose place is known, 4 MB of them; the one used longest ago is forgotten first."""
WHOLE = ""
"""Stands for all families of a place: where a limit or a refusal is the key's own."""

Event = tuple[Any, ...]
"""What happened, in values that MessagePack knows: the name of a method and its arguments."""
Scope = tuple[Place, str]
"""A place and a family, or WHOLE."""
Post = Callable[[Event], None]


class Choice(NamedTuple):
    """A place to make an attempt from, and how it stands.

    A ``probe`` is the only request that is let through; it must be followed by ``answered``, ``failed``
    or ``released``. ``last``: all that is left was ejected, so another candidate of a route may be better.
    """

    place: Place
    kind: Literal["open", "probe", "last"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line for people: a place for one family, WHOLE for what concerns all of them.

    ``seconds`` until it may be tried again, ``changed`` seconds since the last change, None for never.
    """

    place: Place
    family: str
    standing: Standing
    seconds: float
    failures: int
    changed: float | None


def _nobody(event: Event) -> None:
    pass


class Health:
    """The standing of all keys, as far as one process knows it.

    Bounded: FAMILIES at each place and CONVERSATIONS in all, whatever clients name. An answer or a
    failure speaks for its place, whichever request it belongs to; nothing is shut for ever.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        post: Post = _nobody,
        weights: Mapping[Place, float] | None = None,
    ) -> None:
        """``post`` is told of what others should know; weights are above 0, and 1 where none is given."""
        self._policy = policy or Policy()
        self._post = post
        self._weight = weight_in(weights or {})
        self._marks: dict[Place, dict[str, Mark]] = {}
        self._limits: dict[Place, OrderedDict[str, Limits]] = {}
        self._kept: OrderedDict[bytes, Place] = OrderedDict()
        self._rotation = Rotation()
        self._held: set[Scope] = set()

    # --- the choice -----------------------------------------------------------------------------

    def choose(
        self,
        pool: Sequence[Place],
        family: str,
        root: bytes | None,
        now: float,
        tried: Collection[Place] = (),
    ) -> Place | None:
        """The place to make the next attempt from; None where there is none that may be tried.

        In this order: where the conversation ``root`` was last; the most headroom, in tenths; by
        weight, the same for each request of a conversation, else in turn. A place that was chosen
        as a probe is left out until the probe has ended. Where a whole pool is ejected, the one
        that has not failed for longest is tried all the same.
        """
        choice = self.pick(pool, family, root, now, tried)
        return None if choice is None else choice.place

    def pick(
        self,
        pool: Sequence[Place],
        family: str,
        root: bytes | None,
        now: float,
        tried: Collection[Place] = (),
    ) -> Choice | None:
        """As ``choose``, and how the place stands."""
        choice = self.look(pool, family, root, now, tried)
        if choice is None or choice.kind == "last":
            return choice
        self._rotation.count(choice.place, self._weight(choice.place))
        if choice.kind == "probe":
            self._claim(choice.place, family, now)
            self._held.add(_scopes(choice.place, family)[1])
        return choice

    def look(
        self,
        pool: Sequence[Place],
        family: str,
        root: bytes | None,
        now: float,
        tried: Collection[Place] = (),
    ) -> Choice | None:
        """What ``pick`` would choose, for those who only want to know: nothing is sent there."""
        if len(pool) == 1 and not self._marks.get(pool[0]):
            return None if pool[0] in tried else Choice(pool[0], "open")  # as nearly always
        stands = {place: standing_of(self._marks_of(place, family), now) for place in pool}
        free = [p for p, s in stands.items() if s.until <= now]
        left = [p for p in free if p not in tried]
        if not left:
            last = None if free else self._ejected(stands, family, tried)
            return None if last is None else Choice(last, "last")
        place = left[0] if len(left) == 1 else self._best(left, family, root, now)
        return Choice(place, "probe" if stands[place].probe else "open")

    def _best(self, places: list[Place], family: str, root: bytes | None, now: float) -> Place:
        digest = None if root is None else digest_of(root)
        last = None if digest is None else self._kept.get(digest)
        if digest is not None and last in places:
            self._kept.move_to_end(digest)
            return last
        room = {place: _tenths(self._room(place, family, now)) for place in places}
        most = max(room.values())
        best = [place for place in places if room[place] == most]
        if digest is None:
            return self._rotation.next(best)
        return nearest(best, self._weight, digest)

    def _ejected(
        self, stands: Mapping[Place, Standing], family: str, tried: Collection[Place]
    ) -> Place | None:
        """Of the places that nothing but an ejection shuts, the one longest without a failure."""
        found = [
            (self._mark(own).changed, place)
            for place in stands
            if place not in tried
            for whole, own in [_scopes(place, family)]
            if self._mark(own).state == "ejected" and self._mark(whole).state == "open"
        ]
        return min(found, key=lambda row: row[0])[1] if found else None

    def is_spotless(self, place: Place) -> bool:
        """Whether nothing bad is known of a place, for any family."""
        return not self._marks.get(place)

    def claim(self, place: Place, family: str, now: float) -> bool:
        """Let a probe that was chosen elsewhere go out, unless one is under way or the place is shut."""
        if self.standing(place, family, now).until > now:
            return False
        self._claim(place, family, now)
        return True

    def outrun(self, place: Place, family: str) -> None:
        """A probe that was chosen here does not go out: another process has sent one."""
        self._held.discard(_scopes(place, family)[1])

    def _claim(self, place: Place, family: str, now: float) -> None:
        for scope in _scopes(place, family):
            self._put(scope, circuit.claimed(self._mark(scope), now, self._policy))

    # --- what is known --------------------------------------------------------------------------

    def standing(self, place: Place, family: str, now: float) -> Standing:
        """How a place stands for a family, what concerns all of its families included."""
        standing = standing_of(self._marks_of(place, family), now)
        return replace(standing, headroom=self._room(place, family, now))

    def _marks_of(self, place: Place, family: str) -> list[Mark]:
        return [self._mark(scope) for scope in _scopes(place, family)]

    def _room(self, place: Place, family: str, now: float) -> float | None:
        rows = self._limits.get(place)
        limits = None if rows is None else rows.get(family[:FAMILY_LENGTH])
        return None if limits is None else limits.headroom(now)

    def soonest(self, pool: Sequence[Place], family: str, now: float) -> float | None:
        """Seconds until one of the pool may be tried; None for an empty pool."""
        return min((self.standing(p, family, now).waits(now) for p in pool), default=None)

    def snapshot(self, places: Iterable[Place], now: float) -> list[Row]:
        """All that is known of these places: a row for each as a whole, then one for each family."""
        return [row for place in places for row in self._rows(place, now)]

    def _rows(self, place: Place, now: float) -> Iterable[Row]:
        named = {**self._marks.get(place, {}), **self._limits.get(place, {})}
        for family in (WHOLE, *sorted(name for name in named if name != WHOLE)):
            mark = self._mark((place, family))
            shown = replace(standing_of([mark], now), headroom=self._room(place, family, now))
            changed = now - mark.changed if mark is not OPEN else None
            yield Row(place, family, shown, shown.waits(now), mark.failures, changed)

    # --- what happens ---------------------------------------------------------------------------

    def answered(self, place: Place, family: str, headers: Headers, now: float) -> None:
        """The provider answered: its row of failures ends, and a probe reopens the place.

        ``headers`` are the answer's, names in lower case; what they say of limits stays with us.
        """
        scopes = _scopes(place, family)
        limits = limits_in(headers)
        if limits:
            rows = self._limits.setdefault(place, OrderedDict())
            rows[scopes[1][1]] = Limits(limits, now)
            rows.move_to_end(scopes[1][1])
            if len(rows) > FAMILIES:
                rows.popitem(last=False)
        if not self._marks.get(place):
            self._held.discard(scopes[1])
            return
        if self._become(scopes, [circuit.answered(self._mark(scope), now) for scope in scopes]):
            self._post(("answered", *place, scopes[1][1], now))

    def failed(
        self, place: Place, family: str, effect: Effect, retry_after: float | None, now: float
    ) -> None:
        """An attempt came to nothing, with this effect; ``retry_after`` as ``read_retry_after`` says."""
        if effect == "none":
            self.released(place, family)
            return
        scopes = _scopes(place, family)
        marks = self._after(effect, [self._mark(scope) for scope in scopes], retry_after, now)
        if self._become(scopes, marks):
            self._post(("failed", *place, scopes[1][1], effect, retry_after, now))

    def _after(
        self, effect: Effect, marks: Sequence[Mark], retry_after: float | None, now: float
    ) -> tuple[Mark, Mark]:
        """The marks of the place as a whole and of the family, as the effect leaves them."""
        policy = self._policy
        whole, own = marks
        if effect == "cool":
            seconds = policy.cool_seconds
            if retry_after is not None:
                seconds = min(policy.longest_cool_seconds, max(SHORTEST, retry_after))
            return circuit.released(whole), circuit.cooled(own, seconds, now)
        if effect == "cool_long":
            said = min(policy.longest_cool_seconds, retry_after or 0.0)
            seconds = max(policy.long_cool_seconds, said)
            return circuit.cooled(whole, seconds, now), circuit.released(own)
        if effect == "bench":
            return circuit.benched(whole, now, policy), circuit.released(own)
        return circuit.released(whole), circuit.failed(own, now, policy)

    def released(self, place: Place, family: str) -> None:
        """A probe that was chosen here ended and tells nothing: the client left, or was at fault.

        Where none was chosen here nothing happens.
        """
        if _scopes(place, family)[1] in self._held and self._release(place, family):
            self._post(("released", *place, family[:FAMILY_LENGTH]))

    def _release(self, place: Place, family: str) -> bool:
        scopes = _scopes(place, family)
        return self._become(scopes, [circuit.released(self._mark(scope)) for scope in scopes])

    def keep(self, root: bytes, place: Place) -> None:
        """Remember where a conversation was last: its prompts are cached for that account."""
        digest = digest_of(root)
        if self._kept.get(digest) != place:
            self._post(("keep", digest, *place))
        self._remember(digest, place)

    def kept(self, root: bytes) -> Place | None:
        """Where a conversation was last; None where that is not known."""
        return self._kept.get(digest_of(root))

    # --- its replicas ---------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Have happen here what a replica has posted."""
        name, *values = event
        if name == "keep":
            digest, backend, key = values
            self._remember(digest, Place(backend, key))
            return
        backend, key, family, *rest = values
        place = Place(backend, key)
        if name == "answered":
            self.answered(place, family, (), *rest)
        elif name == "failed":
            self.failed(place, family, *rest)
        else:
            self._release(place, family)

    def marks(self, place: Place, family: str) -> list[Sequence[Any]]:
        """What ``learn`` takes, of a place for a family."""
        return [(*place, scope[1], *self._mark(scope)) for scope in _scopes(place, family)]

    def learn(self, row: Sequence[Any]) -> None:
        """Take over what another replica knows."""
        backend, key, family, *mark = row
        self._put((Place(backend, key), family), Mark(*mark))

    def whole(self) -> tuple[list[Sequence[Any]], list[Sequence[Any]]]:
        """All of it but the headroom, for a replica that starts: marks, and conversations' places."""
        places = self._marks.items()
        marks: list[Sequence[Any]] = [
            (*place, family, *mark) for place, rows in places for family, mark in rows.items()
        ]
        return marks, [(digest, *place) for digest, place in self._kept.items()]

    # --- the tables -----------------------------------------------------------------------------

    def _mark(self, scope: Scope) -> Mark:
        return self._marks.get(scope[0], {}).get(scope[1], OPEN)

    def _become(self, scopes: Sequence[Scope], marks: Sequence[Mark]) -> bool:
        """Put marks in place; whether that changes any. Whatever probe was chosen here has ended."""
        self._held.discard(scopes[1])
        changed = [
            pair for pair in zip(scopes, marks, strict=True) if self._mark(pair[0]) != pair[1]
        ]
        for scope, mark in changed:
            self._put(scope, mark)
        return bool(changed)

    def _put(self, scope: Scope, mark: Mark) -> None:
        rows = self._marks.setdefault(scope[0], {})
        rows.pop(scope[1], None)
        if mark == OPEN:
            return
        rows[scope[1]] = mark
        if len(rows) > FAMILIES + 1:
            del rows[_least(rows)]

    def _remember(self, digest: bytes, place: Place) -> None:
        self._kept[digest] = place
        self._kept.move_to_end(digest)
        if len(self._kept) > CONVERSATIONS:
            self._kept.popitem(last=False)


def _scopes(place: Place, family: str) -> tuple[Scope, Scope]:
    """The place as a whole, and for the family."""
    return (place, WHOLE), (place, family[:FAMILY_LENGTH])


def _tenths(room: float | None) -> int:
    """Headroom as it is compared; what is unknown is full."""
    return 10 if room is None else int(room * 10)


def _least(rows: Mapping[str, Mark]) -> str:
    """The family that is missed least: an open one, else the one of which we heard longest ago.

    Never the newest, which would else be forgotten before it can be known for anything.
    """
    names = [name for name in rows if name != WHOLE][:-1]
    return next((name for name in names if rows[name].state == "open"), names[0])
