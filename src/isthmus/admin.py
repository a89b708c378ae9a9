"""What operators see of a running gateway: documents in JSON under ``/admin``."""

from __future__ import annotations

from isthmus import wire
from isthmus.frontends import Route
from isthmus.routes import Routing

ROUTES = Route("GET", "/admin/routes", "routes")


def routes_document(routing: Routing) -> bytes:
    """Names, rewrites and the standing of every key, as ``Routing.shown`` tells them."""
    return wire.dumps(routing.shown()) + b"\n"
