"""What is known of one key for one model family: open, or shut until some time, then tried by one.

Each function gives the next ``Mark`` for one; times are seconds of one clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Effect = Literal["none", "cool", "cool_long", "bench", "fail"]
"""What a failed attempt means for the key that it was made with.

``none``: nothing. ``cool``: the family is limited for now. ``cool_long``: the whole key is, and nobody
says for how long. ``bench``: the provider refuses the key. ``fail``: no answer, or one of an ill provider.
"""
State = Literal["open", "cooling", "benched", "ejected"]

SHORTEST = 1.0
"""Seconds of a cool-down, whatever the provider says."""
MOST_TIMES = 10.0
"""How many times its first length a bench or an ejection grows to."""
_MOST_DOUBLINGS = 8


@dataclass(frozen=True, slots=True)
class Policy:
    """How long keys are left alone. All but ``failures``, a count, are seconds."""

    cool_seconds: float = 60.0
    """For a limit that comes without a time."""
    long_cool_seconds: float = 600.0
    """For an account without credit, or at its spend limit."""
    longest_cool_seconds: float = 3600.0
    """The most that a provider's own time counts for."""
    bench_seconds: float = 300.0
    """For a key that is refused; twice as long each further time in a row."""
    failures: int = 5
    """In a row, until a key is ejected."""
    eject_seconds: float = 30.0
    """For a key that failed so often; twice as long each further time in a row."""
    probe_seconds: float = 10.0
    """After so long a probe that has said nothing holds nobody up: a refusal would have come."""


class Mark(NamedTuple):
    """What is known of a key, for one family or for all.

    A mark that is not open and whose ``until`` has passed is half-open: one request may try. While
    ``probe`` has not come, one is doing so. ``times`` counts the benches or ejections in a row beyond
    the first, ``changed`` is when any of this was last learned.
    """

    state: State = "open"
    until: float = 0.0
    failures: int = 0
    times: int = 0
    probe: float = 0.0
    changed: float = 0.0

    def shut(self, now: float) -> bool:
        return self.state != "open" and now < self.until

    def half_open(self, now: float) -> bool:
        return self.state != "open" and now >= self.until

    def probed(self, now: float) -> bool:
        """Whether a probe is under way."""
        return self.half_open(now) and now < self.probe


OPEN = Mark()


def claimed(mark: Mark, now: float, policy: Policy) -> Mark:
    """As a request goes out that may be a probe."""
    return mark._replace(probe=now + policy.probe_seconds) if mark.half_open(now) else mark


def released(mark: Mark) -> Mark:
    """As a probe ends that tells nothing."""
    return mark._replace(probe=0.0) if mark.probe else mark


def answered(mark: Mark, now: float) -> Mark:
    """As the provider answers: what was shut opens, but for a limit or a refusal that still holds.

    Such an answer belongs to a request from before. Of an ejection it proves the end.
    """
    if mark.state == "open" and not mark.failures:
        return mark
    if mark.state in ("cooling", "benched") and mark.shut(now):
        return mark
    return Mark(changed=now)


def cooled(mark: Mark, seconds: float, now: float) -> Mark:
    """As the provider says that it is too much, for so long."""
    until = now + seconds
    if mark.state == "benched" and mark.shut(now):
        return mark
    if mark.state == "cooling":
        until = max(until, mark.until)
    # Whoever limits answers, so the failures before were no row that goes on.
    return Mark("cooling", until, changed=now)


def benched(mark: Mark, now: float, policy: Policy) -> Mark:
    """As the provider refuses the key."""
    if mark.state == "benched" and mark.shut(now):
        return mark
    times = _more(mark) if mark.state == "benched" else 0
    until = now + _grown(policy.bench_seconds, times)
    return Mark("benched", max(until, mark.until), times=times, changed=now)


def failed(mark: Mark, now: float, policy: Policy) -> Mark:
    """As an attempt fails by the provider's fault."""
    if mark.state == "cooling" and mark.shut(now):
        return mark
    if mark.state == "ejected" and (mark.shut(now) or not mark.probe):
        # Not the probe's: of several that are ejected, the others are now asked before this one.
        return mark._replace(changed=now)
    failures = mark.failures + 1
    if failures < policy.failures:
        return mark._replace(failures=failures, probe=0.0, changed=now)
    times = _more(mark) if mark.state == "ejected" else 0
    until = now + _grown(policy.eject_seconds, times)
    return Mark("ejected", until, failures, times, changed=now)


def _more(mark: Mark) -> int:
    """The doublings of the next shutting; only what a probe has met proves anything anew."""
    return min(mark.times + 1, _MOST_DOUBLINGS) if mark.probe else mark.times


def _grown(seconds: float, times: int) -> float:
    return seconds * min(2.0**times, MOST_TIMES)


# --- what several marks make together -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """How a place stands for a family. One that is not open and whose ``until`` has passed is half-open:
    only a ``probe`` is let through, and none while one is ``probing``. ``until`` is 0 where it is open.

    ``headroom`` is the share that is left of the scarcest limit; None where the provider told of none.
    """

    state: State
    until: float
    headroom: float | None
    probe: bool
    probing: bool

    def waits(self, now: float) -> float:
        """Seconds until it may be tried."""
        return max(0.0, self.until - now)


_FREE = Standing("open", 0.0, None, probe=False, probing=False)


def standing_of(marks: Sequence[Mark], now: float) -> Standing:
    """The standing that marks make together, but for the headroom."""
    marks = [mark for mark in marks if mark.state != "open"]
    if not marks:
        return _FREE
    shut = [mark for mark in marks if mark.shut(now)]
    if shut:
        last = max(shut, key=lambda mark: mark.until)
        return Standing(last.state, last.until, None, probe=False, probing=False)
    probe = max(mark.probe for mark in marks)
    until = probe if probe > now else marks[0].until
    return Standing(marks[0].state, until, None, probe=True, probing=probe > now)
