"""The route of a request: what a selector comes to where backends, rewrites and defaults are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log
from typing import Any, TypeVar

from isthmus.errors import refuse
from isthmus.profiles import Profiles
from isthmus.request import Place, Target
from isthmus.routing.rules import Rules
from isthmus.routing.selector import (
    Hybrid,
    Leaf,
    Race,
    Weighted,
    overlaid,
    parse,
    parse_query,
    printed,
)
from isthmus.routing.windows import Windows, limit_of

MANY = 1024
LONG = 256
"""How many routes are remembered, of selectors of at most so many characters."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One leaf with the places that may serve it. ``changed`` is as in ``Target``."""

    leaf: Leaf
    name: str
    """The name of the pool."""
    pool: tuple[Place, ...]
    changed: bool


@dataclass(frozen=True, slots=True)
class Leg:
    """Candidates that stand side by side: one alone, a weighted choice, or a race."""

    candidates: tuple[Candidate, ...]
    race: bool = False

    def ordered(self, dice: Callable[[], float]) -> Sequence[Candidate]:
        """The candidates in a random order, in which each is first as often as its weight says.

        Each throw of the dice gives a number of at least 0 and below 1.
        """
        if self.race or len(self.candidates) == 1:
            return self.candidates
        return sorted(self.candidates, key=lambda one: -log(1 - dice()) / one.leaf.weight)


@dataclass(frozen=True, slots=True)
class Route:
    """The legs in their order. ``rewrite`` is the place of the rule that made ``text`` of what was asked."""

    text: str
    legs: tuple[Leg, ...]
    rewrite: int | None = None
    alone: bool = False
    """Whether it is one key of one target."""

    @property
    def first(self) -> Candidate:
        return self.legs[0].candidates[0]

    @property
    def candidates(self) -> list[Candidate]:
        return [candidate for leg in self.legs for candidate in leg.candidates]


@dataclass(frozen=True, slots=True)
class Table:
    """What routes are made of: all of it comes from the configuration."""

    pools: Mapping[str, tuple[Place, ...]]
    default: str
    """The name of the pool that serves a model of which nothing else is known."""
    types: frozenset[str]
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """The models that a backend lists, where the configuration says it."""
    rules: Rules = field(default_factory=lambda: Rules(()))
    forced: str | None = None
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Parameters by model, for requests that do not have them."""
    caching: frozenset[str] = frozenset()
    """The backends whose prompts are cached without the client's asking."""
    windows: Windows = field(default_factory=Windows)


class Router:
    """Makes routes, and targets of their candidates; remembers the latest of both."""

    def __init__(self, table: Table, profiles: Profiles) -> None:
        self._table = table
        self._profiles = profiles
        self._routes: dict[str, Route] = {}
        self._targets: dict[tuple[int, str], tuple[Candidate, Target]] = {}

    def route(self, model: str) -> Route:
        """The route of what a client asks for. Raises GatewayError (400) for what cannot be meant."""
        known = self._routes.get(model)
        if known is None:
            known = self._made(model)
            if len(model) <= LONG:
                _remember(self._routes, model, known)
        return known

    def _made(self, asked: str) -> Route:
        table = self._table
        text, query, rewrite = (
            (table.forced, "", None) if table.forced else table.rules.rewritten(asked)
        )
        selector = parse(text, table.pools.keys(), table.types)
        if query:
            given = parse_query(query, len(asked) - len(query) + 1)
            selector = overlaid(selector, given)
            text = printed(selector)
        alone = len(selector.legs) == 1 and isinstance(selector.legs[0], Leaf)
        own = asked if alone and text == asked else None
        legs: list[Leg] = []
        for leg in selector.legs:
            members = leg.members if isinstance(leg, Weighted | Race) else (leg,)
            found = tuple(self._candidate(member, own) for member in members)
            legs.append(Leg(found, isinstance(leg, Race)))
        alone = len(legs) == 1 and len(legs[0].candidates) == 1
        return Route(text, tuple(legs), rewrite, alone and len(legs[0].candidates[0].pool) == 1)

    def _candidate(self, leaf: Leaf | Hybrid, asked: str | None) -> Candidate:
        """The candidate of a leaf; ``asked`` is what the client wrote where that is this leaf and no more."""
        if isinstance(leaf, Hybrid):
            raise refuse("model", "hybrid:[...] is not served yet")
        name = leaf.backend or self._lister(leaf.model)
        own = asked is not None and asked.partition("?")[0].endswith(leaf.model)
        changed = not own or bool(leaf.parameters) or leaf.model in self._table.defaults
        return Candidate(leaf, name, self._table.pools[name], changed)

    def _lister(self, model: str) -> str:
        """The pool for a model without one: a backend that lists it, else the default one."""
        lists, default = self._table.lists, self._table.default
        if model in lists.get(default, ()):
            return default
        return next((name for name, listed in lists.items() if model in listed), default)

    def target(self, candidate: Candidate, backend: str) -> Target:
        """Where an attempt at a candidate goes when one of this backend's keys is used."""
        known = self._targets.get((id(candidate), backend))
        if known is not None and known[0] is candidate:
            return known[1]
        leaf, table = candidate.leaf, self._table
        target = Target(
            backend,
            leaf.model,
            leaf.parameters,
            candidate.changed,
            self._profiles.profile(leaf.model),
            backend in table.caching,
            leaf.max_context,
            table.defaults.get(leaf.model, {}),
        )
        target = replace(target, window=limit_of(target, table.windows))
        _remember(self._targets, (id(candidate), backend), (candidate, target))
        return target


_K = TypeVar("_K")
_V = TypeVar("_V")


def _remember(known: dict[_K, _V], key: _K, value: _V) -> None:
    if len(known) >= MANY:
        known.clear()
    known[key] = value
