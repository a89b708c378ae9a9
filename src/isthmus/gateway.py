"""Answers requests: chooses the target, runs the steps, and makes the attempt."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast
from urllib.parse import quote

from isthmus import errors, stores, wire
from isthmus.backends import Backend, Decoder
from isthmus.catalog import Catalog
from isthmus.config import Config
from isthmus.dialects import BACKENDS
from isthmus.errors import GatewayError
from isthmus.event import Event, stream_error
from isthmus.explain import document
from isthmus.frontends import Frontend, Match, Model, openai_responses
from isthmus.pipeline import Answer, Call, Step, compose
from isthmus.plan import Plan, is_strict, plan
from isthmus.profile_settings import profiles_of
from isthmus.rates import Ratios
from isthmus.request import Body, Headers, HttpRequest, Request
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
from isthmus.upstream import Bounds, Deadlines, Origin, Response, Upstream

ERROR_LIMIT = 1024 * 1024
WHOLE_LIMIT = 128 * 1024 * 1024
"""Bytes of an error body, and of an answer that is not streamed."""
LIST_LIMIT = 4 * 1024 * 1024
LIST_DEADLINES = Deadlines(connect=5, first_event=5, idle=5, total=10)
HEAD_SECONDS = 10.0
"""How long the head of a stream waits for its message to start; then pings go out."""
NATIVE = "anthropic"
HOP = "x-isthmus-hop"
"""Header with the id of the gateway that sent a request, so that one that comes back is noticed."""
_MESSAGE = re.compile(rb'"type"\s*:\s*"message"')
TYPED_WITHIN = 256
"""Bytes of an answer in which its type stands, as a rule."""


@dataclass(frozen=True, slots=True)
class Account:
    """A configured backend, ready to be used."""

    name: str
    dialect: Backend
    origin: Origin


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
        self._simulators: list[Simulator] = []
        self.responses = Responses(kept.get(stores.RESPONSES))
        self._dialects = {name: BACKENDS[row.type].DIALECT for name, row in config.backends.items()}
        self._profiles = profiles_of(config.profiles)
        self.routing = Routing(config, self._profiles, pools, _now)
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
        along = failover(routing.around, routing.keys, granted, self._left, tick)
        self._answering: Call = compose([along], self._in_its_lane)
        self._answering_foreign: Call = compose([*remembering, along], self._in_its_lane)
        self._explained: Call = compose([*remembering, *mending, pauses], self._explanation)

    async def _in_its_lane(self, request: Request) -> Answer:
        """One attempt through the steps of its lane."""
        assert request.target is not None
        native = request.dialect == self._dialects[request.target.backend]
        return await (self._native if native else self._translated)(request)

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
        request.began = _now()
        request.target = self.routing.first(request)
        foreign = request.dialect != NATIVE
        return await (self._answering_foreign if foreign else self._answering)(request)

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
        whole = document(planned, request.key)
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
            return await self._send(request, planned)

        async def call(asked: Request) -> Answer:
            return await self._send(asked, planned if asked is request else self._plan(asked))

        return await self._fits(request, call)

    async def _send(self, request: Request, planned: Plan) -> Answer:
        account = self._accounts[planned.target.backend]
        # Who sends it is no part of what is sent, and another at every start.
        http = planned.http
        http.headers = (*http.headers, (HOP, self.id))
        response = await self._upstream.send(
            account.origin, http, self._deadlines(request, account), request.key
        )
        try:
            answer = Answer(
                response.status,
                _keyless(account.dialect.passed_headers(response.headers), request.key),
                planned.target,
                response.close,
                received=response.headers,
                notes=planned.notes,
            )
            await self._fill(answer, response, request, account)
        except BaseException:
            response.close()
            raise
        return answer

    def _deadlines(self, request: Request, account: Account) -> Deadlines:
        """What the config grants, less what earlier rounds of the same attempt took of it.

        The head of an answer that is not streamed comes with its end.
        """
        times, total = self.config.timeouts, max(0.0, self._left(request))
        if _streams(request, account):
            first = min(times.first_event, total)
            return Deadlines(times.connect, first, times.idle, total, times.write)
        return Deadlines(times.connect, total, total, total, times.write)

    def _left(self, request: Request) -> float:
        """The seconds that all attempts of a request together still have."""
        times = self.config.timeouts
        total = times.stream_total if request.stream else times.total
        return total - (_now() - request.began)

    async def _fill(
        self, answer: Answer, response: Response, request: Request, account: Account
    ) -> None:
        """Give the answer its events or its whole body, once it is certain that there is one."""
        if not 200 <= response.status < 300:
            raise await _refusal(response, account, request.key)
        if response.header("content-encoding") not in ("", "identity"):
            raise errors.broken("a compressed answer, which was not asked for")
        if not _streams(request, account):
            answer.whole = _checked(await response.read(WHOLE_LIMIT))
            return
        if not response.header("content-type").startswith("text/event-stream"):
            raise await _not_streamed(response)
        tick = min(self.config.timeouts.keepalive, HEAD_SECONDS)
        batches = _batches(response, account.dialect.decoder(request), tick, request.key)
        first, answer.open = await _first(batches, _now, wait=not request.last)
        # What fails before the content is told to the route, which remembers it itself.
        told = request.last or request.pause is not None or not answer.open
        answer.events = self._rejoined(first, batches, request, told)

    async def _rejoined(
        self, first: list[Event], rest: AsyncIterator[list[Event]], request: Request, begun: bool
    ) -> AsyncIterator[list[Event]]:
        """The batches of a stream; that it fails when it has ``begun`` is remembered of its key."""
        if first and first[-1].type == "error":
            broke(self.routing.around, request, stream_error(first[-1]))
        yield first
        try:
            async for batch in rest:
                begun = begun or any(event.type == "content_block_start" for event in batch)
                if begun and batch and batch[-1].type == "error":
                    broke(self.routing.around, request, stream_error(batch[-1]))
                yield batch
        except GatewayError as error:
            # The exchange may know another key, or none: a step can have replaced its request.
            error.message = errors.hidden(error.message, request.key)
            if begun:
                broke(self.routing.around, request, error)
            raise

    async def _list_models(self, name: str) -> list[Model]:
        """Ask one backend for its models. Raises GatewayError where it does not say."""
        _, value = await self._get(name, "/v1/models", "limit=1000")
        rows = value.get("data")
        if not isinstance(rows, list):
            raise errors.broken("no list of models")
        return [row for row in cast("list[Any]", rows) if _is_model(row)]

    async def _one_model(self, name: str, model: str) -> Model | None:
        """Ask one backend for a model. Raises GatewayError where it does not say."""
        status, value = await self._get(name, f"/v1/models/{quote(model, safe='')}", "")
        return value if status == 200 and _is_model(value) else None

    async def _get(self, name: str, path: str, query: str) -> tuple[int, dict[str, Any]]:
        account = self._accounts[name]
        key = self.routing.key_of(name)
        headers = (("anthropic-version", "2023-06-01"), ("x-api-key", key))
        http = HttpRequest("GET", path, query, headers)
        response = await self._upstream.send(account.origin, http, LIST_DEADLINES, key)
        try:
            value = wire.loads(await response.read(LIST_LIMIT))
        except ValueError:
            value = None
        finally:
            response.close()
        if not isinstance(value, dict):
            raise errors.broken("no JSON object")
        return response.status, cast("dict[str, Any]", value)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _bounds(config: Config) -> Bounds:
    own = config.limits.connections_per_key
    each = config.share(config.limits.connections_per_backend)
    return Bounds(each, None if own is None else config.share(own))


def _is_model(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(cast("Model", row).get("id"), str)


def _streams(request: Request, account: Account) -> bool:
    """Whether the provider is asked for a stream: always, unless a client of its own dialect is not."""
    if request.operation == "count_tokens":
        return False
    return request.stream or request.dialect != account.dialect.DIALECT


def _checked(body: bytes) -> bytes:
    """A whole answer. Raises GatewayError where it is none, or an error in disguise."""
    if _MESSAGE.search(body, 0, TYPED_WITHIN) and body.endswith(b"}"):
        return body  # in a string its quotes would be escaped: this is a member
    try:
        kind = Body(body).peek("type")
    except GatewayError:
        raise errors.broken(f"no JSON object: {errors.quoted(body)}") from None
    if kind == "error":
        raise errors.provider_error(wire.loads(body))
    return body


async def _refusal(response: Response, account: Account, key: str) -> GatewayError:
    """What a non-2xx answer says; a redirect is not followed, a refused key is no fault of the client.

    A provider that repeats our key in its answer does not give it away.
    """
    body = await response.read(ERROR_LIMIT)
    if len(key) >= errors.SECRET_LENGTH:
        body = body.replace(key.encode(), errors.HIDDEN.encode())
    response.close()
    error = account.dialect.decode_error(response.status, response.headers, body)
    error.headers = _keyless(error.headers, key)
    if response.status < 400:
        error.message = (
            f"backend {account.name!r} answered {response.status}, which is not followed"
        )
    elif error.kind == "upstream_refused_key":
        error.message = (
            f"backend {account.name!r} refused the gateway's own key ({response.status})"
        )
    return error


def _keyless(headers: Headers, key: str) -> Headers:
    """Headers in which a provider does not give our key away."""
    if len(key) < errors.SECRET_LENGTH or not any(key in value for _, value in headers):
        return headers
    return tuple((name, value.replace(key, errors.HIDDEN)) for name, value in headers)


async def _not_streamed(response: Response) -> GatewayError:
    """What a 2xx without a stream means: an error in disguise, or no provider at all."""
    body = await response.read(ERROR_LIMIT)
    try:
        value = wire.loads(body)
    except ValueError:
        value = None
    if isinstance(value, dict) and value.get("type") == "error":  # pyright: ignore
        return errors.provider_error(value)
    return errors.broken(
        f"no stream but {response.header('content-type')!r}: {errors.quoted(body)}"
    )


async def _batches(
    response: Response, decoder: Decoder, tick: float, key: str
) -> AsyncIterator[list[Event]]:
    """The events of each read; an empty batch for each ``tick`` seconds of silence."""
    async for data in response.chunks(tick):
        if not data:
            yield []
            continue
        events = decoder.feed(data)
        if events:
            if events[-1].type == "error":
                events[-1] = _without(key, events[-1])
            yield events
        if decoder.failure is not None:
            raise decoder.failure
        if decoder.ended:
            response.close(linger=True)
            return
    decoder.finish()


def _without(key: str, event: Event) -> Event:
    """An error event in which the provider does not give our key away; the same one where it does not."""
    if len(key) < errors.SECRET_LENGTH or key.encode() not in event.wire:
        return event
    return Event(event.wire.replace(key.encode(), errors.HIDDEN.encode()))


async def _first(
    batches: AsyncIterator[list[Event]], clock: Callable[[], float], *, wait: bool
) -> tuple[list[Event], bool]:
    """All events up to the start of the message and what came with it, for HEAD_SECONDS at most.

    With ``wait`` up to the start of its content; whether that has not come yet is the second value.
    Raises what an ``error`` event before any content says: the head has not gone out yet.
    """
    events: list[Event] = []
    end = clock() + HEAD_SECONDS
    async for batch in batches:
        events += batch
        for event in batch:
            if event.type == "content_block_start":
                return events, False
            if event.type == "error":
                raise stream_error(event)
        if clock() >= end or (not wait and any(event.type == "message_start" for event in batch)):
            return events, True
    return events, False
