"""Routing as a configuration wants it: where requests may go, with which keys, and what is known of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from isthmus import stores
from isthmus.config import BACKEND_TYPES, Config, pools
from isthmus.explain import Way
from isthmus.profiles import Profiles
from isthmus.request import Place, Request, Target
from isthmus.routing.health import Health
from isthmus.routing.journey import Journey, Surroundings, family
from isthmus.routing.parameters import sources
from isthmus.routing.retry import Budget
from isthmus.routing.route import Candidate, Router, Table
from isthmus.routing.windows import Windows
from isthmus.routing_settings import rules_of
from isthmus.storage.pools import Pools

SIMULATOR_KEY = "simulated"


class Expected(NamedTuple):
    """Where a request would go now."""

    target: Target
    place: Place
    key: str


class Routing:
    """The router of a configuration, and the keys that its targets are asked with."""

    def __init__(
        self, config: Config, profiles: Profiles, shared: Pools | None, clock: Callable[[], float]
    ) -> None:
        """``shared`` is what several processes know of the keys; without it this one is alone."""
        self._config = config
        self._clock = clock
        self.pools = shared or Pools(Health(stores.policy(config), weights=stores.weights(config)))
        self.keys: dict[Place, str] = {
            Place(name, label): key
            for name, row in config.backends.items()
            for label, key in (row.keys or {"": SIMULATOR_KEY}).items()
        }
        self.router = Router(table_of(config), profiles)
        self._budgets: dict[str, Budget] = {}
        self.around = Surroundings(
            self.router,
            self.pools.health,
            self._budget,
            config.retry.repeats,
            clock,
            time.time,
            random.random,
        )

    def _budget(self, backend: str) -> Budget:
        found = self._budgets.get(backend)
        if found is None:
            retry = self._config.retry
            share = retry.budget_percent / 100
            rate = retry.budget_per_second / self._config.workers
            found = self._budgets[backend] = Budget(share, rate, self._clock())
        return found

    def first(self, request: Request) -> Target:
        """The target that stands first on the request's route. Raises GatewayError (400)."""
        candidate = self.router.route(request.model).first
        return self.router.target(candidate, candidate.pool[0].backend)

    def expected(self, request: Request) -> Expected:
        """Where an attempt would go now, or would go first if no key were cooling down.

        Raises GatewayError (400).
        """
        route = self.router.route(request.model)
        looking = replace(self.around, choose=Health.look, budget=lambda _: Budget(0, 0, 0))
        trial = next(Journey(looking, request, route).trials(), None)
        if trial is None:
            place = route.first.pool[0]
            target = self.router.target(route.first, place.backend)
        else:
            target, place = trial.picks[0].target, trial.picks[0].place
        return Expected(target, place, self.keys[place])

    def way(self, request: Request) -> Way:
        """How a request comes to its target, which is set."""
        route, target = self.router.route(request.model), request.target
        rule = None if route.rewrite is None else self._config.model_aliases[route.rewrite]
        rewrite = None if rule is None else {**rule.model_dump(), "selector": route.text}
        rows = sources(target.parameters, target.defaults, request.body) if target else ()
        parameters = [{"name": name, "value": value, "source": said} for name, value, said in rows]
        candidates = [
            {
                "target": f"{one.name}:{one.leaf.model}",
                "leg": number,
                **({"race": True} if leg.race else {}),
                **({"weight": one.leaf.weight} if len(leg.candidates) > 1 and not leg.race else {}),
                "keys": [self._key_shown(place, one, request) for place in one.pool],
            }
            for number, leg in enumerate(route.legs, start=1)
            for one in leg.candidates
        ]
        return Way(rewrite, candidates, parameters)

    def _key_shown(self, place: Place, candidate: Candidate, request: Request) -> dict[str, Any]:
        now = self._clock()
        models = family(self.router.target(candidate, place.backend), request.operation)
        standing = self.pools.health.standing(place, models, now)
        return {
            "key": label(place),
            "state": standing.state,
            "seconds": round(standing.waits(now), 1),
            "headroom": standing.headroom,
        }

    def shown(self) -> dict[str, Any]:
        """Names, rewrites and the standing of every key, as JSON values; times in seconds from now."""
        config, now = self._config, self._clock()
        rows = self.pools.health.snapshot(self.keys, now)
        return {
            "default_backend": config.default_backend,
            "force_model": config.force_model,
            "model_aliases": [row.model_dump() for row in config.model_aliases],
            "names": {
                name: [label(place) for place in places] for name, places in pools(config).items()
            },
            "keys": [
                {
                    "key": label(row.place),
                    "family": row.family or None,
                    "state": row.standing.state,
                    "seconds": round(row.seconds, 1),
                    "failures": row.failures,
                    "headroom": row.standing.headroom,
                    "changed": None if row.changed is None else round(row.changed, 1),
                }
                for row in rows
            ],
        }

    def key_of(self, backend: str) -> str:
        """A key of a backend, for what concerns no conversation."""
        return next(key for place, key in self.keys.items() if place.backend == backend)


def label(place: Place) -> str:
    """A key by the name that selectors know it by."""
    return f"{place.backend}.{place.key}" if place.key else place.backend


def table_of(config: Config) -> Table:
    """What the configuration says of routes."""
    named = pools(config)
    default = config.default_backend or next(iter(config.backends))
    return Table(
        pools=named,
        default=default,
        types=frozenset(BACKEND_TYPES),
        lists={
            name: frozenset(row.models)
            for name, row in config.backends.items()
            if row.models is not None
        },
        rules=rules_of(config.model_aliases),
        forced=config.force_model,
        defaults={
            name: row.parameters for name, row in config.model_defaults.items() if row.parameters
        },
        caching=frozenset(
            name for name, row in config.backends.items() if row.prompt_cache == "auto"
        ),
        windows=Windows(
            config.force_context_window,
            {
                name: row.limits.model_dump(exclude_none=True)
                for name, row in config.model_defaults.items()
            },
        ),
    )
