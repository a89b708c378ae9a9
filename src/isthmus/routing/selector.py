"""The selector: ``[backend:]model[?name=value&...]``, the string that a client puts in ``model``.

A prefix counts as a backend only where one of that name is configured, so that model names may hold
colons and slashes themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from isthmus.errors import refuse
from isthmus.routing.parameters import read


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector; ``backend`` is None where the client named none."""

    backend: str | None
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


def parse(text: str, backends: Collection[str]) -> Selector:
    """Read a selector. Raises GatewayError (400) naming the parameter that is wrong, and its range."""
    name, mark, query = text.partition("?")
    prefix, colon, rest = name.partition(":")
    backend = prefix if colon and prefix in backends else None
    model = rest if backend else name
    if not model.strip():
        raise refuse("model", f"{text!r} names no model")
    parameters: dict[str, Any] = {}
    for parameter, value in _pairs(query) if mark else ():
        try:
            own, meant = read(parameter, value, parameters)
        except ValueError as mistake:
            raise refuse("model", str(mistake)) from None
        parameters[own] = meant
    return Selector(backend, model, parameters)


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=32
        )
    except ValueError:
        raise refuse("model", f"{query!r} is not a list of name=value parameters") from None
