"""What becomes of a request when an attempt fails: the one table of retry and failover.

Source: Anthropic's pages on errors and on rate limits, the retry rules of the official SDKs, and
design notes in docs/failover.md, whose table is generated from this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isthmus.errors import GatewayError
from isthmus.routing.health import Effect

Then = Literal["stop", "key", "backend", "target", "window"]
"""What is tried next.

``stop``: nothing, the client is told; ``key``: another key for the same target, then the next target;
``backend``: a key of another backend, then the next target; ``target``: the next target at once;
``window``: the next target whose context window is larger.
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. ``again`` says whether the same target may be asked again when no other is left.

    ``effect`` is what is remembered of the key. Of several failures the client is told the last of
    those with the highest ``weight``.
    """

    what: str
    kinds: frozenset[str]
    then: Then
    effect: Effect = "none"
    again: bool = False
    weight: int = 0


def _row(
    what: str, kinds: str, then: Then, effect: Effect = "none", *, again: bool = False, weight: int
) -> Rule:
    return Rule(what, frozenset(kinds.split()), then, effect, again, weight)


RULES: tuple[Rule, ...] = (
    _row("the prompt is longer than the model's window", "context_overflow", "window", weight=9),
    _row("rate limit with a time (429)", "rate_limit", "key", "cool", weight=8),
    _row("rate limit without a time (429)", "rate_limit_timeless", "key", "cool_long", weight=8),
    _row("overloaded (529, or an event)", "overloaded", "key", "fail", again=True, weight=7),
    _row(
        "an error of the provider (5xx)",
        "internal unavailable",
        "key",
        "fail",
        again=True,
        weight=6,
    ),
    _row("no answer in time (408, 504, ours)", "timeout", "key", "fail", weight=6),
    _row("conflict (409)", "conflict", "key", again=True, weight=5),
    _row(
        "broken off, or no answer that can be read",
        "upstream_disconnected upstream_bad_response",
        "key",
        "fail",
        weight=5,
    ),
    _row(
        "cannot be reached: name, connection, TLS",
        "upstream_dns upstream_tls upstream_unreachable",
        "backend",
        "fail",
        again=True,
        weight=4,
    ),
    _row("too many requests of our own run there (503)", "crowded", "backend", weight=4),
    _row("credit or spend limit (402, 400 by its words)", "billing", "key", "cool_long", weight=3),
    _row("our key is refused (401, 403)", "upstream_refused_key", "key", "bench", weight=2),
    _row("no such model there (404)", "not_found model_not_found", "backend", weight=1),
    _row("cannot be sent to this model as it is", "untranslatable", "target", weight=10),
)
"""The first row that fits holds; what fits none is the request's own fault, and stops."""

STOP = Rule("refused for what it is (400, 413, 422)", frozenset(), "stop", weight=10)

_BY_KIND = {kind: rule for rule in RULES for kind in rule.kinds}
_REQUESTS_FAULT = frozenset(("invalid_request", "too_large"))


def rule_of(error: GatewayError) -> Rule:
    """The row that says what follows from a failed attempt."""
    kind = error.kind
    if kind == "rate_limit" and not _has_time(error):
        kind = "rate_limit_timeless"
    elif kind == "unavailable" and error.source == "gateway":
        kind = "crowded"
    elif kind in _REQUESTS_FAULT and error.source == "client":
        kind = "untranslatable"
    return _BY_KIND.get(kind, STOP)


def _has_time(error: GatewayError) -> bool:
    return any(name in ("retry-after", "retry-after-ms") for name, _ in error.headers)


def may_repeat(rule: Rule, error: GatewayError) -> bool:
    """Whether the same target may be asked again: as the provider says, else as the row does."""
    said = next((value for name, value in error.headers if name == "x-should-retry"), "")
    return {"true": True, "false": False}.get(said.strip().lower(), rule.again)


# --- how often ----------------------------------------------------------------------------------

BUDGET_SECONDS = 10.0
"""How long what was not repeated may be saved up."""


class Budget:
    """How many repeats one backend may be sent: a share of its requests, and some each second.

    Source of the figures: the defaults of well-known service meshes.
    """

    def __init__(self, share: float, per_second: float, now: float) -> None:
        """``share`` is a part of one, 0.2 for a fifth of the requests."""
        self._share = share
        self._per_second = per_second
        self._most = per_second * BUDGET_SECONDS
        self._left = self._most
        self._at = now

    def sent(self) -> None:
        """A request goes out for the first time."""
        self._left = min(self._left + self._share, max(self._most, 1.0))

    def spend(self, now: float) -> bool:
        """Take one repeat out of the budget; False where there is none left."""
        grown = self._left + (now - self._at) * self._per_second
        self._left, self._at = min(grown, max(self._most, 1.0)), now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0


def pause_before(repeat: int, dice: float) -> float:
    """Seconds before the repeat of this number, counted from 0; ``dice`` is from 0 to 1.

    Source: the official SDKs, whose pauses double from half a second and lose up to a quarter.
    """
    return min(FIRST_PAUSE * 2**repeat, LONGEST_PAUSE) * (1 - dice / 4)
