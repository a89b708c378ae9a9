"""The ASGI application of one port: routes, admission, request bodies."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import chain

from isthmus import admin, explain
from isthmus.auth import Door
from isthmus.bodies import Bodies
from isthmus.dialects import FRONTENDS
from isthmus.edge import reply
from isthmus.edge.cycle import WHOLE
from isthmus.edge.head import FIELD_LIMIT, HEAD_LIMIT, Refused
from isthmus.errors import GatewayError
from isthmus.exchange import Exchange
from isthmus.frontends import Frontend, Match, Route, anthropic, matched
from isthmus.gateway import Gateway
from isthmus.request import HttpRequest
from isthmus.scope import Receive, Scope, Send

RouteTable = Sequence[tuple[Frontend, Route]]

MAIN: RouteTable = sorted(
    ((frontend, route) for frontend in FRONTENDS.values() for route in frontend.ROUTES),
    key=lambda row: not row[1].signs,
)
"""The routes of the main port; those that need a sign of their dialect are tried first."""

DEDICATED: RouteTable = [(FRONTENDS["anthropic"], route) for route in anthropic.BARE]
"""The routes of the port that speaks Anthropic's dialect only."""

OWN = {route.pattern: route for route in (explain.ROUTE, admin.ROUTES)}
"""The routes that belong to no dialect, by their paths: on the main port only."""

SPOKEN = (("upgrade", "HTTP/1.1"), ("connection", "upgrade"))
"""What a 426 has to name: the protocol that is spoken here (RFC 9110, section 15.5.22)."""
FALLBACK = "openai-chat"
"""The dialect of an error answer to a request that bears no sign of any."""


class Application:
    """One port's ASGI 3 application over a started gateway.

    Ports that share ``bodies`` share the room for them.
    """

    def __init__(
        self, gateway: Gateway, routes: RouteTable = MAIN, bodies: Bodies | None = None
    ) -> None:
        config = gateway.config
        self.gateway = gateway
        self._routes = routes
        keys = [key.get_secret_value() for key in config.auth.keys]
        self._door = Door(keys, config.host, "https" if config.tls.cert else "http")
        self._bodies = bodies or Bodies(config)

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

    def admit(self, http: HttpRequest, peer: str | None) -> str:
        """Who asks, as ``Door.admit`` tells it.

        Raises GatewayError for who may not use the gateway, and for a head that is too large.
        """
        size = sum(map(len, chain.from_iterable(http.headers)))
        if len(http.headers) > FIELD_LIMIT or size > HEAD_LIMIT:
            raise GatewayError(
                "too_large_head",
                f"more than {FIELD_LIMIT} header fields or {HEAD_LIMIT} bytes of them",
            )
        return self._door.admit(http, peer)

    def match(self, http: HttpRequest) -> tuple[Frontend, Match | GatewayError]:
        """The frontend of a request, and its route or what is wrong: 404 or 405."""
        path = http.path.rstrip("/") if len(http.path) > 1 else http.path
        if self._routes is MAIN and path in OWN:
            return self._own(http, OWN[path])
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

    def _own(self, http: HttpRequest, route: Route) -> tuple[Frontend, Match | GatewayError]:
        """A route of no dialect; mistakes are told in the one that is explained, or looks like the client's."""
        if http.method != route.method:
            text = f"{http.method} is not served here, only {route.method}"
            return self._dialect(http), GatewayError("method_not_allowed", text)
        if route is not explain.ROUTE:
            return self._dialect(http), Match(route)
        try:
            return explain.frontend(http), Match(route)
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

    async def body(self, http: HttpRequest, scope: Scope, receive: Receive) -> bytes:
        """A request's body, as ``Bodies.read`` gives it."""
        return await self._bodies.read(http, receive, scope.get("extensions", {}).get(WHOLE))


def _bears(http: HttpRequest, sign: str) -> bool:
    """Whether a request bears a sign: a path prefix, a header, or (``?name``) a query parameter."""
    if sign.startswith("/"):
        return http.path.startswith(sign)
    if sign.startswith("?"):
        return any(part.startswith(f"{sign[1:]}=") for part in http.query.split("&"))
    return http.header(sign) is not None
