"""Answers requests: chooses the target, runs the steps, and makes the attempt."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from time import monotonic

from isthmus import stores
from isthmus.attempt import HEAD_SECONDS, Account, Attempts, now
from isthmus.catalog import Catalog
from isthmus.config import Config
from isthmus.dialects import BACKENDS
from isthmus.errors import GatewayError
from isthmus.explain import document
from isthmus.frontends import Frontend, Match, Model, openai_responses
from isthmus.pipeline import Answer, Call, Step, compose
from isthmus.plan import Plan, is_strict, plan
from isthmus.profile_settings import profiles_of
from isthmus.rates import Ratios
from isthmus.request import HttpRequest, Request
from isthmus.responses import Responses
from isthmus.routes import Routing
from isthmus.simulator import Options, Simulator
from isthmus.steps.context import enforce_context
from isthmus.steps.failover import broke, failover
from isthmus.steps.pause import continue_pauses
from isthmus.steps.refused import refused_reasoning
from isthmus.steps.vault import vault
from isthmus.storage import Store
from isthmus.storage.pools import Pools
from isthmus.tokens import may_exceed
from isthmus.upstream import Bounds, Origin, Upstream

NATIVE = "anthropic"
"""The dialect of the hub: what its clients send is relayed as it is to backends of it."""


class Gateway:
    """The configured backends and the pipeline over them. ``start`` it in the loop that uses it."""

    def __init__(
        self,
        config: Config,
        kept: Mapping[str, Store] | None = None,
        gateway: str | None = None,
        pools: Pools | None = None,
    ) -> None:
        """The stores by name, ``kept``, the id ``gateway`` and ``pools``, where processes share them."""
        self.config = config
        self.id = gateway or secrets.token_hex(8)
        kept = stores.in_memory(config, monotonic) if kept is None else kept
        self._upstream = Upstream(_bounds(config))
        self._accounts: dict[str, Account] = {}
        times, told = config.timeouts, self._broke
        self._attempts = Attempts(self._upstream, self._accounts, times, self.id, told)
        self._simulators: list[Simulator] = []
        self.responses = Responses(kept.get(stores.RESPONSES))
        self._dialects = {name: BACKENDS[row.type].DIALECT for name, row in config.backends.items()}
        self._profiles = profiles_of(config.profiles)
        self.routing = Routing(config, self._profiles, pools, now)
        self._compose(kept)
        self.catalog = Catalog(config, self._profiles, self._list_models, self._one_model)

    def _compose(self, kept: Mapping[str, Store]) -> None:
        """Put the steps together: those of an exchange by its client, those of an attempt by its lane."""
        tick = min(self.config.timeouts.keepalive, HEAD_SECONDS)

        def strict(asked: Request) -> bool:
            return is_strict(asked, self.config.strict)

        remembering: list[Step] = [self.responses.step]
        if stores.VAULT in kept:
            remembering.append(vault(kept[stores.VAULT]))
        mending: list[Step] = [refused_reasoning(kept[stores.REFUSED], strict)]
        pauses = continue_pauses(self._dialects, tick)
        counting = [name for name, dialect in self._dialects.items() if dialect == NATIVE]
        self._fits = enforce_context(Ratios(), counting)
        self._native: Call = self._attempt
        self._translated: Call = compose([*mending, pauses], self._attempt)
        routing = self.routing
        granted = routing.pools.granted
        along = failover(routing.around, routing.keys, granted, self._attempts.end, tick)
        self._answering: Call = compose([along], self._in_its_lane)
        self._answering_foreign: Call = compose([*remembering, along], self._in_its_lane)
        self._explained: Call = compose([*remembering, *mending, pauses], self._explanation)

    async def _in_its_lane(self, request: Request) -> Answer:
        """One attempt through the steps of its lane."""
        assert request.target is not None
        native = request.dialect == self._dialects[request.target.backend]
        return await (self._native if native else self._translated)(request)

    def _broke(self, request: Request, error: GatewayError) -> None:
        broke(self.routing.around, request, error)

    async def _list_models(self, name: str) -> list[Model]:
        return await self._attempts.models(name, self.routing.key_of(name))

    async def _one_model(self, name: str, model: str) -> Model | None:
        return await self._attempts.model(name, self.routing.key_of(name), model)

    async def start(self) -> None:
        """Open what the backends need. Raises OSError when a simulator cannot be bound."""
        for name, row in self.config.backends.items():
            base_url = row.base_url
            if row.type == "simulator":
                simulator = Simulator(Options())
                await simulator.start()
                self._simulators.append(simulator)
                base_url = simulator.url
            origin = Origin.of(base_url or "", row.way)
            self._accounts[name] = Account(name, BACKENDS[row.type], origin)
        self.catalog.start()

    async def stop(self) -> None:
        await self.catalog.stop()
        self._upstream.close()
        for simulator in self._simulators:
            await simulator.stop()

    async def decoded(
        self, frontend: Frontend, http: HttpRequest, match: Match, caller: str
    ) -> Request:
        """A client's request in the hub's terms. Raises GatewayError (400) where it has none."""
        if frontend.DIALECT == openai_responses.DIALECT:
            return await self.responses.decoded(http, match, caller)
        request = frontend.decode(http, match)
        request.caller = caller
        return request

    async def answer(self, request: Request) -> Answer:
        """Have a request answered. Raises GatewayError with the reason where that fails.

        The caller closes the answer, at any moment.
        """
        request.began = now()
        if request.dialect == NATIVE:
            return await self._answering(request)
        # What remembers a conversation goes by the first target's model.
        request.target = self.routing.first(request)
        return await self._answering_foreign(request)

    async def explain(self, request: Request) -> Answer:
        """What answering the request would send, as ``explain.document``; nothing is sent.

        Raises GatewayError where it would be refused by the translation itself. The gateway need
        not have been started.
        """
        pick = self.routing.expected(request)
        request.target, request.place, request.key = pick
        return await self._explained(request)

    async def _explanation(self, request: Request) -> Answer:
        planned = self._plan(request)
        whole = document(planned, request.key, self.routing.way(request))
        return Answer(200, (), planned.target, lambda: None, whole=whole, notes=planned.notes)

    def _plan(self, request: Request) -> Plan:
        """What an attempt at the request's target sends, sent or not."""
        target = request.target
        assert target is not None
        dialect = BACKENDS[self.config.backends[target.backend].type]
        return plan(request, target, dialect, self.config.strict)

    async def _attempt(self, request: Request) -> Answer:
        planned = self._plan(request)
        if planned.refusal is not None:
            raise planned.refusal
        window = planned.target.window
        if window is None or not may_exceed(planned.http.body, window.tokens):
            return await self._attempts.send(request, planned)

        async def call(asked: Request) -> Answer:
            return await self._attempts.send(
                asked, planned if asked is request else self._plan(asked)
            )

        return await self._fits(request, call)


def _bounds(config: Config) -> Bounds:
    own = config.limits.connections_per_key
    each = config.share(config.limits.connections_per_backend)
    return Bounds(each, None if own is None else config.share(own))
