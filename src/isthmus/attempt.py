"""One attempt over the wire: a plan goes to its backend, and an answer is made of the response."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from isthmus import errors, wire
from isthmus.backends import Backend, Decoder
from isthmus.config import Timeouts
from isthmus.errors import GatewayError
from isthmus.event import Event, stream_error
from isthmus.frontends import Model
from isthmus.pipeline import Answer
from isthmus.plan import Plan
from isthmus.request import Body, Headers, HttpRequest, Request, is_short
from isthmus.upstream import Deadlines, Origin, Response, Upstream

ERROR_LIMIT = 1024 * 1024
WHOLE_LIMIT = 128 * 1024 * 1024
"""Bytes of an error body, and of an answer that is not streamed."""
LIST_LIMIT = 4 * 1024 * 1024
LIST_DEADLINES = Deadlines(connect=5, first_event=5, idle=5, total=10)
HEAD_SECONDS = 10.0
"""How long the head of a stream waits for its message to start; then pings go out."""
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


def now() -> float:
    return asyncio.get_running_loop().time()


class Attempts:
    """What is asked of providers: attempts, and their lists of models."""

    def __init__(
        self,
        upstream: Upstream,
        accounts: Mapping[str, Account],
        times: Timeouts,
        gateway: str,
        broke: Callable[[Request, GatewayError], None],
    ) -> None:
        """``gateway`` is this one's id; ``broke`` is told of an answer that fails in its middle."""
        self._upstream = upstream
        self._accounts = accounts
        self._times = times
        self._id = gateway
        self._broke = broke

    async def send(self, request: Request, planned: Plan) -> Answer:
        """The provider's answer to a plan, once it is certain that there is one.

        Raises GatewayError with what came in its place.
        """
        account = self._accounts[planned.target.backend]
        # Who sends it is no part of what is sent, and another at every start.
        http = planned.http
        http.headers = (*http.headers, (HOP, self._id))
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
        times, total = self._times, max(0.0, self.end(request) - now())
        if _streams(request, account):
            first = min(times.first_event, total)
            return Deadlines(times.connect, first, times.idle, total, times.write)
        return Deadlines(times.connect, total, total, total, times.write)

    def end(self, request: Request) -> float:
        """When the time for all attempts of a request together is over."""
        return request.began + (self._times.stream_total if request.stream else self._times.total)

    async def _fill(
        self, answer: Answer, response: Response, request: Request, account: Account
    ) -> None:
        """Give the answer its events or its whole body, once it is certain that there is one."""
        if not 200 <= response.status < 300:
            raise await _refusal(response, account, request.key)
        if response.header("content-encoding") not in ("", "identity"):
            raise errors.broken("a compressed answer, which was not asked for")
        if not _streams(request, account):
            body = _checked(await response.read(WHOLE_LIMIT))
            if request.operation == "messages" and request.dialect != account.dialect.DIALECT:
                answer.events = _at_once(account.dialect.decode_message(request, body))
            else:
                answer.whole = body
            return
        if not response.header("content-type").startswith("text/event-stream"):
            raise await _not_streamed(response)
        tick = min(self._times.keepalive, HEAD_SECONDS)
        batches = _batches(response, account.dialect.decoder(request), tick, request.key)
        first, answer.open = await _first(batches, now, wait=not request.last)
        # What fails before the content is told to the route, which remembers it itself.
        told = request.last or request.pause is not None or not answer.open
        answer.events = self._rejoined(first, batches, request, told)

    async def _rejoined(
        self, first: list[Event], rest: AsyncIterator[list[Event]], request: Request, begun: bool
    ) -> AsyncIterator[list[Event]]:
        """The batches of a stream; that it fails when it has ``begun`` is remembered of its key."""
        if first and first[-1].type == "error":
            self._broke(request, stream_error(first[-1]))
        yield first
        try:
            async for batch in rest:
                begun = begun or any(event.type == "content_block_start" for event in batch)
                if begun and batch and batch[-1].type == "error":
                    self._broke(request, stream_error(batch[-1]))
                yield batch
        except GatewayError as error:
            # The exchange may know another key, or none: a step can have replaced its request.
            error.message = errors.hidden(error.message, request.key)
            if begun:
                self._broke(request, error)
            raise

    # --- lists of models ------------------------------------------------------------------------

    async def models(self, name: str, key: str) -> list[Model]:
        """Ask one backend for its models. Raises GatewayError where it does not say."""
        _, value = await self._get(name, key, "/v1/models", "limit=1000")
        rows = value.get("data")
        if not isinstance(rows, list):
            raise errors.broken("no list of models")
        return [row for row in cast("list[Any]", rows) if _is_model(row)]

    async def model(self, name: str, key: str, model: str) -> Model | None:
        """Ask one backend for a model. Raises GatewayError where it does not say."""
        status, value = await self._get(name, key, f"/v1/models/{quote(model, safe='')}", "")
        return value if status == 200 and _is_model(value) else None

    async def _get(self, name: str, key: str, path: str, query: str) -> tuple[int, dict[str, Any]]:
        account = self._accounts[name]
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


def _is_model(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(cast("Model", row).get("id"), str)


def _streams(request: Request, account: Account) -> bool:
    """Whether the provider is asked for a stream, whether or not its client wants one."""
    if request.operation == "count_tokens":
        return False
    if request.stream or request.dialect == account.dialect.DIALECT:
        return request.stream
    return request.target is None or not is_short(request, request.target)


async def _at_once(events: list[Event]) -> AsyncIterator[list[Event]]:
    yield events


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
