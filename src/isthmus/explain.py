"""Explains a request: what would be sent upstream for it, and what would be lost, without sending it.

``POST /explain`` and ``isthmus explain`` both begin with a client's body in its dialect, read it with
that dialect's frontend, and print the same document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, quote

from isthmus import wire
from isthmus.dialects import FRONTENDS
from isthmus.errors import refuse
from isthmus.frontends import Frontend, Match, Route
from isthmus.plan import Plan
from isthmus.request import HttpRequest

ROUTE = Route("POST", "/explain", "explain")
DIALECT = "x-isthmus-dialect"
OPERATIONS = ("messages", "count_tokens")
MASK = "****"

_OWN = ("dialect", "operation", "model")
"""Members of the query that are ours; the others are the explained request's."""


def frontend(http: HttpRequest) -> Frontend:
    """The frontend that the query or the header names. Raises GatewayError (400)."""
    named = set(parse_qs(http.query).get("dialect", []))
    named |= {value for name, value in http.headers if name == DIALECT}
    if len(named) > 1:
        raise refuse("dialect", f"expected one, got {' and '.join(sorted(named))}")
    found = FRONTENDS.get(next(iter(named), ""))
    if found is None:
        raise refuse("dialect", f"expected one of {', '.join(FRONTENDS)}")
    return found


def explained(http: HttpRequest) -> tuple[HttpRequest, Match]:
    """The request that this one asks about, as it would have come, and its route.

    The query's ``operation`` is ``messages`` or ``count_tokens``, its ``model`` the one that a dialect
    names in the path. Raises GatewayError (400) for these.
    """
    dialect = frontend(http)
    asked = {name: values[-1] for name, values in parse_qs(http.query).items()}
    operation = asked.get("operation", OPERATIONS[0])
    if operation not in OPERATIONS:
        raise refuse("operation", f"expected one of {', '.join(OPERATIONS)}")
    routes = [r for r in dialect.ROUTES if r.method == "POST" and r.operation == operation]
    if not routes:
        raise refuse("operation", f"{dialect.DIALECT} has no {operation}")
    parts = _parts(routes[0], asked.get("model"))
    path = routes[0].pattern
    for name, value in parts.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    pairs = [pair for pair in http.query.split("&") if pair.partition("=")[0] not in _OWN]
    own = replace(http, method=routes[0].method, path=path, query="&".join(pairs))
    return own, Match(routes[0], parts)


def _parts(route: Route, model: str | None) -> dict[str, str]:
    if "{model}" not in route.pattern:
        if model is not None:
            raise refuse("model", "a request of this dialect names its model in its body")
        return {}
    if not model:
        raise refuse("model", "needed, since this dialect names it in the path of a request")
    return {"model": model}


@dataclass(frozen=True, slots=True)
class Way:
    """How a request comes to its target: values of JSON, as ``document`` shows them."""

    rewrite: dict[str, Any] | None
    candidates: list[dict[str, Any]]
    parameters: list[dict[str, Any]]


def document(plan: Plan, key: str, way: Way) -> bytes:
    """What a plan comes to as JSON: the way to its target, notes, refusal, and the provider's request.

    ``refusal`` is what a strict client is told in place of an answer, else null. The provider's
    ``key`` is masked wherever it stands in a header. The body stands there as the very bytes that
    would be sent where these are JSON, as a string where they are not.
    """
    http, refusal = plan.http, plan.refusal
    headers = [(name, value.replace(key, MASK) if key else value) for name, value in http.headers]
    notes = [{"path": n.path, "action": n.action, "reason": n.reason} for n in plan.notes.rows]
    members = (
        ("rewrite", wire.dumps(way.rewrite)),
        ("candidates", _lines(way.candidates)),
        ("parameters", _lines(way.parameters)),
        ("backend", wire.dumps(plan.target.backend)),
        ("model", wire.dumps(plan.target.model)),
        ("notes", _lines(notes)),
        ("refusal", wire.dumps(refusal.message if refusal else None)),
        ("method", wire.dumps(http.method)),
        ("path", wire.dumps(f"{http.path}?{http.query}" if http.query else http.path)),
        ("headers", _lines(headers)),
        ("body", _embedded(http.body)),
    )
    rows = [wire.dumps(name) + b": " + value for name, value in members]
    return b"{\n" + b",\n".join(rows) + b"\n}\n"


def _lines(rows: Sequence[Any]) -> bytes:
    """An array with a line for each of its items."""
    return b"[\n  " + b",\n  ".join(map(wire.dumps, rows)) + b"\n]" if rows else b"[]"


def _embedded(body: bytes) -> bytes:
    try:
        wire.loads(body)
    except ValueError:
        return wire.dumps(body.decode("utf-8", "replace"))
    return body
