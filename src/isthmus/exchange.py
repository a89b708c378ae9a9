"""One exchange: from the head of a client's request to the last byte of its answer."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from typing import Protocol, cast

import structlog

from isthmus import admin, attempt, errors, explain, wire
from isthmus.attempt import HOP
from isthmus.errors import GatewayError
from isthmus.event import Event, stream_error
from isthmus.frontends import Encoder, Frontend, Match
from isthmus.gateway import Gateway
from isthmus.messages import Message, Reader
from isthmus.pipeline import Answer
from isthmus.request import Attempt, Headers, HttpRequest, Request
from isthmus.responses import SERVED
from isthmus.scope import ClientGone, Receive, Scope, Send, http_request, leaving

PROBES = ("/", "/api/hello")
"""Paths that Claude Code asks with HEAD before its first request."""
JSON = "application/json"
FAREWELL_SECONDS = 1.0
"""How long a client may take to read of its failure."""
RETRY_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry")

_log = structlog.get_logger("isthmus")


class Host(Protocol):
    """What an exchange needs of the application that it runs in."""

    gateway: Gateway

    def admit(self, http: HttpRequest, peer: str | None) -> str: ...

    def match(self, http: HttpRequest) -> tuple[Frontend, Match | GatewayError]: ...

    async def body(self, http: HttpRequest, scope: Scope, receive: Receive) -> bytes: ...


class Exchange:
    """Answers one request. The head goes out once, and each byte is written at most once."""

    def __init__(self, host: Host, scope: Scope, receive: Receive, send: Send) -> None:
        self._host = host
        self._scope = scope
        self._receive = receive
        self._send = send
        self._id = secrets.token_hex(12)
        self._http = http_request(scope)
        self._frontend: Frontend = cast("Frontend", None)
        self._encoder: Encoder | None = None
        self._attempts: list[Attempt] = []
        self._begun = False
        self._streaming = False

    async def run(self) -> None:
        """Serve the request to its end. Nothing is raised but the cancellation of the server."""
        self._frontend, match = self._host.match(self._http)
        try:
            await self._serve(match)
        except GatewayError as error:
            await self._fail(error)
        except ClientGone:
            return
        except asyncio.CancelledError:
            await self._fail(GatewayError("unavailable", "the gateway is shutting down"))
        except Exception:
            _log.exception("internal error", exchange=self._id)
            await self._fail(GatewayError("internal", "an error of the gateway itself"))

    async def _serve(self, match: Match | GatewayError) -> None:
        gateway = self._host.gateway
        client = self._scope.get("client")
        caller = self._host.admit(self._http, client[0] if client else None)
        if self._http.header(HOP) == gateway.id:
            raise GatewayError("loop", "a backend's base_url leads back to this gateway")
        if self._http.method == "HEAD" and self._http.path in PROBES:
            await self._whole(200, (), b"")
            return
        if isinstance(match, GatewayError):
            raise match
        operation = match.route.operation
        if operation == "models":
            body = self._frontend.encode_models(gateway.catalog.models(), self._http)
            await self._whole(200, (), body)
        elif operation == "model":
            model = await gateway.catalog.model(match.parts["model"])
            await self._whole(200, (), self._frontend.encode_model(model))
        elif operation == "routes":
            await self._whole(200, (), admin.routes_document(gateway.routing))
        elif operation in SERVED:
            await self._whole(200, (), await gateway.responses.serve(self._http, match, caller))
        else:
            http = self._http
            http.body = await self._host.body(http, self._scope, self._receive)
            http.arrived = int(time.time())
            if operation == "explain":
                http, match = explain.explained(http)
            request = await gateway.decoded(self._frontend, http, match, caller)
            self._attempts = request.attempts
            if operation == "explain":
                answer = await gateway.explain(request)
                await self._whole(answer.status, self._headers(answer), answer.whole or b"")
            else:
                await self._answered(request)

    async def _answered(self, request: Request) -> None:
        """Have the request answered, and give it up at the moment its client leaves."""
        task = asyncio.current_task()
        assert task is not None
        gateway = self._host.gateway
        with leaving(self._scope, self._receive, task) as gone:
            try:
                async with asyncio.timeout(gateway.config.timeouts.stream_total):
                    await self._relay(request, await self._awaited(request))
            except TimeoutError:
                raise GatewayError("timeout", "the exchange took too long") from None
            except GatewayError as error:
                # What a provider said is quoted, and it may have repeated the key that it was sent.
                error.message = errors.hidden(error.message, request.key)
                raise
            except asyncio.CancelledError:
                if gone():
                    task.uncancel()
                    raise ClientGone from None
                raise

    async def _awaited(self, request: Request) -> Answer:
        """The answer. Who has waited for HEAD_SECONDS for a stream is told from then on that we live."""
        answering = self._host.gateway.answer(request)
        if not request.stream:
            return await answering
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        company: list[asyncio.Task[None]] = []
        timer = loop.call_later(
            attempt.HEAD_SECONDS,
            lambda: company.append(loop.create_task(self._keep_company(request, over))),
        )
        try:
            answer = await answering
        except asyncio.CancelledError:
            for task in company:
                task.cancel()
            raise
        except GatewayError:
            over.set()
            await asyncio.gather(*company, return_exceptions=True)
            raise
        finally:
            timer.cancel()
        over.set()
        await asyncio.gather(*company, return_exceptions=True)
        return answer

    async def _keep_company(self, request: Request, over: asyncio.Event) -> None:
        """Begin the client's stream before there is an answer, and keep it alive until that comes."""
        encoder = await self._open_stream(request, ())
        while not over.is_set():
            await self._more(encoder.keep_alive())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._host.gateway.config.timeouts.keepalive):
                    await over.wait()

    async def _open_stream(self, request: Request, headers: Headers) -> Encoder:
        """Send the head of a stream, unless that has gone out already."""
        if self._encoder is not None:
            return self._encoder
        encoder = self._encoder = self._frontend.encoder(request)
        streaming = (
            ("content-type", encoder.content_type),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
        )
        await self._head(200, (*streaming, *headers))
        self._streaming = True
        return encoder

    async def _relay(self, request: Request, answer: Answer) -> None:
        try:
            if answer.events is None:
                await self._relay_whole(request, answer)
            elif request.stream:
                await self._relay_stream(request, answer, answer.events)
            else:
                message = await _collected(answer.events)
                try:
                    body = self._frontend.encode_message(request, message)
                except UNREADABLE as error:
                    raise _unreadable(error) from error
                await self._observed(answer, message)
                await self._whole(200, self._headers(answer), body)
        finally:
            answer.close()

    async def _relay_whole(self, request: Request, answer: Answer) -> None:
        body = answer.whole or b""
        if request.operation == "count_tokens" and self._frontend.DIALECT != "anthropic":
            body = self._frontend.encode_count(request, _counted(body))
        await self._whole(answer.status, self._headers(answer), body)

    async def _relay_stream(
        self, request: Request, answer: Answer, batches: AsyncIterator[list[Event]]
    ) -> None:
        native = self._frontend.DIALECT == "anthropic"
        reader = Reader()
        encoder = await self._open_stream(request, self._headers(answer))
        clock = asyncio.get_running_loop().time
        heard, silence = clock(), self._host.gateway.config.timeouts.keepalive
        async for batch in batches:
            if native:
                data, error = b"".join(event.wire for event in batch), None
            else:
                data, error = _encoded(batch, reader, encoder)
                if reader.state == "done":
                    await self._observed(answer, reader.message)
            if not data and (not batch or clock() - heard >= silence):
                data = encoder.keep_alive()
            if data:
                await self._more(data)
                heard = clock()
            if error is not None:
                raise error
        if not native:
            reader.finish()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _observed(self, answer: Answer, message: Message) -> None:
        """Tell the observers, once: by the time of its next request a client finds what they kept."""
        observers = answer.observers.copy()
        answer.observers.clear()
        for observer in observers:
            try:
                await observer(message)
            except Exception:
                _log.exception("an observer failed", exchange=self._id)

    def _headers(self, answer: Answer) -> Headers:
        notes = answer.notes.header()
        target = f"{answer.target.backend}:{answer.target.model[:200]}"
        return (
            *answer.headers,
            ("x-isthmus-target", target.encode("unicode_escape").decode("ascii")),
            *((("x-isthmus-notes", notes),) if notes else ()),
            *(_story(self._attempts) if len(self._attempts) > 1 else ()),
        )

    # --- writing --------------------------------------------------------------------------------

    async def _fail(self, error: GatewayError) -> None:
        """Tell the client, by status and body, or within the stream where that has begun.

        A client that does not read is not waited for: the host closes what has no end.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                if self._streaming:
                    await self._end_stream(error)
                elif not self._begun:
                    await self._end_unanswered(error)

    async def _end_unanswered(self, error: GatewayError) -> None:
        dialect = self._frontend.DIALECT
        headers = error.headers if dialect == "anthropic" else _retry_headers(error)
        if error.retry_after is not None and not any(k == "retry-after" for k, _ in headers):
            headers = (*headers, ("retry-after", str(int(error.retry_after))))
        headers = (*headers, *_story(self._attempts))
        given = next((value for name, value in headers if name == "request-id"), f"req_{self._id}")
        body = self._frontend.encode_error(error, given)
        await self._whole(error.status_for(dialect), headers, body)

    async def _end_stream(self, error: GatewayError) -> None:
        data = self._encoder.fail(error) if self._encoder else b""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def _whole(self, status: int, headers: Headers, body: bytes) -> None:
        fields = (("content-type", JSON), ("content-length", str(len(body))), *headers)
        await self._head(status, fields)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _head(self, status: int, headers: Headers) -> None:
        own = (("x-isthmus-exchange", self._id),)
        given = [value for key, value in headers if key == "request-id"]
        if not given:
            own = (*own, ("request-id", f"req_{self._id}"))
        # OpenAI's SDKs read the second name.
        own = (*own, ("x-request-id", given[0] if given else f"req_{self._id}"))
        rows = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in (*headers, *own)]
        await self._send({"type": "http.response.start", "status": status, "headers": rows})
        self._begun = True

    async def _more(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


async def _collected(batches: AsyncIterator[list[Event]]) -> Message:
    """Join a stream for a client that wants none. Raises what an ``error`` event says."""
    reader = Reader()
    async for batch in batches:
        for event in batch:
            reader.feed(event)
            if reader.state == "error":
                raise stream_error(event)
    return reader.finish()


def _encoded(
    batch: list[Event], reader: Reader, encoder: Encoder
) -> tuple[bytes, GatewayError | None]:
    """The client's bytes for one batch, up to the first event that is illegal or reports an error."""
    data: list[bytes] = []
    try:
        for event in batch:
            whole = reader.feed(event)
            if reader.state == "error":
                return b"".join(data), stream_error(event)
            data += map(encoder.feed, whole)
    except GatewayError as error:
        return b"".join(data), error
    except UNREADABLE as error:
        return b"".join(data), _unreadable(error)
    return b"".join(data), None


UNREADABLE = (KeyError, TypeError, AttributeError, ValueError, IndexError)
"""What an encoder raises for what the reader let pass: it is no protocol that we know."""


def _unreadable(error: Exception) -> GatewayError:
    return errors.broken(f"a value that cannot be read ({type(error).__name__})")


STORY_LIMIT = 2000


def _story(attempts: list[Attempt]) -> Headers:
    """The header that tells of the attempts in their order; none where there was none."""
    rows = [f"{attempt.where[:200]} {attempt.outcome}" for attempt in attempts]
    text = "; ".join(rows).encode("unicode_escape").decode("ascii")
    shown = text if len(text) <= STORY_LIMIT else f"{text[: STORY_LIMIT - 4]} ..."
    return (("x-isthmus-attempts", shown),) if rows else ()


def _counted(body: bytes) -> int:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return int(wire.loads(body)["input_tokens"])
    raise errors.broken("no token count")


def _retry_headers(error: GatewayError) -> Headers:
    """Our own headers, and of a provider's those that every dialect's clients know."""
    if error.source != "upstream":
        return error.headers
    return tuple(row for row in error.headers if row[0] in (*RETRY_HEADERS, "request-id"))
