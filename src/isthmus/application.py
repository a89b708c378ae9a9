"""The ASGI application of one port: routes, admission, request bodies."""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections.abc import Sequence
from itertools import chain

from isthmus import explain
from isthmus.auth import Door
from isthmus.dialects import FRONTENDS
from isthmus.edge import reply
from isthmus.edge.head import FIELD_LIMIT, HEAD_LIMIT, Refused
from isthmus.errors import GatewayError
from isthmus.exchange import ClientGone, Exchange, Receive, Scope, Send
from isthmus.frontends import Frontend, Match, Route, anthropic, matched
from isthmus.gateway import Gateway
from isthmus.request import HttpRequest

RouteTable = Sequence[tuple[Frontend, Route]]

MAIN: RouteTable = sorted(
    ((frontend, route) for frontend in FRONTENDS.values() for route in frontend.ROUTES),
    key=lambda row: not row[1].signs,
)
"""The routes of the main port; those that need a sign of their dialect are tried first."""

DEDICATED: RouteTable = [(FRONTENDS["anthropic"], route) for route in anthropic.BARE]
"""The routes of the port that speaks Anthropic's dialect only."""

BODY_SECONDS = 120.0
"""How long a request body may take in all."""
SPOKEN = (("upgrade", "HTTP/1.1"), ("connection", "upgrade"))
"""What a 426 has to name: the protocol that is spoken here (RFC 9110, section 15.5.22)."""
FALLBACK = "openai-chat"
"""The dialect of an error answer to a request that bears no sign of any."""


class Application:
    """One port's ASGI 3 application over a started gateway."""

    def __init__(self, gateway: Gateway, routes: RouteTable = MAIN) -> None:
        config = gateway.config
        self.gateway = gateway
        self._routes = routes
        self._door = Door([key.get_secret_value() for key in config.auth.keys], config.host)
        self._body_limit = config.limits.body_bytes
        self._body_idle = config.timeouts.body_idle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await Exchange(self, scope, receive, send).run()
        else:
            raise RuntimeError(f"{scope['type']} is not spoken here")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """For hosts that mount the application by itself: they start and stop the gateway with it."""
        while (await receive())["type"] != "lifespan.shutdown":
            await self.gateway.start()
            await send({"type": "lifespan.startup.complete"})
        await self.gateway.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def admit(self, http: HttpRequest) -> str:
        """Who asks, as ``Door.admit`` tells it.

        Raises GatewayError for who may not use the gateway, and for a head that is too large.
        """
        size = sum(map(len, chain.from_iterable(http.headers)))
        if len(http.headers) > FIELD_LIMIT or size > HEAD_LIMIT:
            raise GatewayError(
                "too_large_head",
                f"more than {FIELD_LIMIT} header fields or {HEAD_LIMIT} bytes of them",
            )
        return self._door.admit(http)

    def match(self, http: HttpRequest) -> tuple[Frontend, Match | GatewayError]:
        """The frontend of a request, and its route or what is wrong: 404 or 405."""
        path = http.path.rstrip("/") if len(http.path) > 1 else http.path
        if path == explain.ROUTE.pattern and self._routes is MAIN:
            return self._explained(http)
        methods: dict[str, Frontend] = {}
        for frontend, route in self._routes:
            found = matched(route, path)
            if found is None or (route.signs and not any(_bears(http, s) for s in route.signs)):
                continue
            if route.method == http.method:
                return frontend, found
            if not found.parts:  # else the path may name something that is not served at all
                methods.setdefault(route.method, frontend)
        if methods:
            text = f"{http.method} is not served here, only {' and '.join(methods)}"
            error = GatewayError("method_not_allowed", text)
            # Codex asks for a WebSocket first: 426 alone makes it send a POST at once.
            if (http.header("upgrade") or "").lower() == "websocket":
                error = GatewayError("upgrade_refused", text)
                error.headers = SPOKEN
            return next(iter(methods.values())), error
        frontend = self._dialect(http)
        served = [f"{r.method} {r.pattern}" for f, r in self._routes if f is frontend]
        text = f"{http.method} {http.path[:200]} is not served; served are {', '.join(served)}"
        return frontend, GatewayError("not_found", text)

    def _explained(self, http: HttpRequest) -> tuple[Frontend, Match | GatewayError]:
        """The frontend that a request to explain names, so that mistakes too are told in its dialect."""
        if http.method != explain.ROUTE.method:
            text = f"{http.method} is not served here, only {explain.ROUTE.method}"
            return self._dialect(http), GatewayError("method_not_allowed", text)
        try:
            return explain.frontend(http), Match(explain.ROUTE)
        except GatewayError as error:
            return self._dialect(http), error

    def _dialect(self, http: HttpRequest) -> Frontend:
        """The frontend whose client this looks like, where no route tells."""
        spoken = {frontend.DIALECT: frontend for frontend, _ in self._routes}
        for frontend in spoken.values():
            if len(spoken) == 1 or any(_bears(http, sign) for sign in frontend.SIGNS):
                return frontend
        return FRONTENDS[FALLBACK]

    def answer(self, refused: Refused) -> bytes:
        """The whole response to what could not be read as a request, in the dialect of its path."""
        frontend = self._dialect(HttpRequest("GET", refused.path))
        error = GatewayError(refused.kind, refused.message)
        request_id = f"req_{secrets.token_hex(12)}"
        body = frontend.encode_error(error, request_id)
        fields = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"request-id", request_id.encode()),
            *([(b"retry-after", b"1")] if refused.kind == "unavailable" else []),
        ]
        status = error.status_for(frontend.DIALECT)
        return reply.head(status, fields, chunked=False, close=True) + body

    async def body(self, http: HttpRequest, receive: Receive) -> bytes:
        """Read the request body and undo its encoding.

        Raises GatewayError: 413 above the limit (before reading where the length is announced), 408
        where the client falls silent, 415 for an encoding that is not known, 400 for a broken one.
        """
        announced = http.header("content-length") or "0"
        if announced.isdigit() and int(announced) > self._body_limit:
            raise _too_large(self._body_limit)
        parts: list[bytes] = []
        size, more = 0, True
        clock = asyncio.get_running_loop().time
        end = clock() + BODY_SECONDS
        while more:
            try:
                async with asyncio.timeout(min(self._body_idle, end - clock())):
                    message = await receive()
            except TimeoutError:
                raise GatewayError("request_timeout", "the request body did not come") from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
            if size > self._body_limit:
                raise _too_large(self._body_limit)
        encoding = (http.header("content-encoding") or "identity").strip().lower()
        return inflated(b"".join(parts), encoding, self._body_limit)


def _bears(http: HttpRequest, sign: str) -> bool:
    """Whether a request bears a sign: a path prefix, a header, or (``?name``) a query parameter."""
    if sign.startswith("/"):
        return http.path.startswith(sign)
    if sign.startswith("?"):
        return any(part.startswith(f"{sign[1:]}=") for part in http.query.split("&"))
    return http.header(sign) is not None


def _too_large(limit: int) -> GatewayError:
    return GatewayError("too_large", f"the request body has more than {limit} bytes")


_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content encodings that are undone, with zlib's name for them (RFC 9110, section 8.4.1)."""


def inflated(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo a content encoding; never more than ``limit`` bytes come to exist."""
    if encoding == "identity":
        return body
    if encoding not in _WINDOWS:
        known = ", ".join(sorted(_WINDOWS))
        raise GatewayError(
            "unsupported_encoding", f"content-encoding {encoding!r}: known are {known}"
        )
    inflater = zlib.decompressobj(_WINDOWS[encoding])
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise GatewayError("invalid_request", f"the body is not {encoding}") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise GatewayError("invalid_request", f"the {encoding} body does not end where it should")
    return plain
