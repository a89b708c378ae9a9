"""The selector: ``[backend:]model[?name=value&...]``, the string that a client puts in ``model``.

A prefix counts as a backend only where one of that name is configured, so that model names may hold
colons and slashes themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import parse_qsl

from isthmus.errors import refuse
from isthmus.profiles import EFFORTS
from isthmus.request import Body


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector; ``backend`` is None where the client named none."""

    backend: str | None
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Parameter:
    """One URI parameter: how its text is read, what it may be (for people), where it goes."""

    read: Callable[[str], Any]
    range: str
    put: Callable[[Body, Any], None]


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not low <= value <= high:  # which is so for NaN too
            raise ValueError
        return value

    return read


def _whole(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if value < low:
            raise ValueError
        return value

    return read


def _one_of(*values: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return read


def _member(name: str) -> Callable[[Body, Any], None]:
    return lambda body, value: body.edit(name, value)


def _put_effort(body: Body, value: Any) -> None:
    body.edit("output_config", {**(body.peek("output_config") or {}), "effort": value})


def _put_budget(body: Body, value: Any) -> None:
    budget = {"type": "enabled", "budget_tokens": value}
    body.edit("thinking", budget if value else {"type": "disabled"})


_EFFORT = Parameter(_one_of(*EFFORTS), "one of " + ", ".join(EFFORTS), _put_effort)

PARAMETERS: dict[str, Parameter] = {
    "temperature": Parameter(_number(0, 2), "a number from 0 to 2", _member("temperature")),
    "top_p": Parameter(_number(0, 1), "a number from 0 to 1", _member("top_p")),
    "top_k": Parameter(_whole(0), "a whole number from 0", _member("top_k")),
    "max_tokens": Parameter(_whole(1), "a whole number from 1", _member("max_tokens")),
    "effort": _EFFORT,
    "reasoning_effort": _EFFORT,
    "thinking_budget": Parameter(_whole(0), "a whole number of tokens, 0 for off", _put_budget),
    "service_tier": Parameter(
        _one_of("auto", "standard_only"), "auto or standard_only", _member("service_tier")
    ),
    "speed": Parameter(_one_of("standard", "fast"), "standard or fast", _member("speed")),
}
"""The parameters that a selector may carry; they win over the request's own fields."""


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
        if parameter in parameters:
            raise refuse("model", f"parameter {parameter!r} stands twice")
        parameters[parameter] = _read(parameter, value)
    return Selector(backend, model, parameters)


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=32
        )
    except ValueError:
        raise refuse("model", f"{query!r} is not a list of name=value parameters") from None


def _read(name: str, text: str) -> Any:
    parameter = PARAMETERS.get(name)
    if parameter is None:
        near = get_close_matches(name, PARAMETERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(PARAMETERS)
        raise refuse("model", f"unknown parameter {name!r}; {hint}")
    try:
        return parameter.read(text)
    except ValueError:
        raise refuse(
            "model", f"parameter {name!r} must be {parameter.range}, not {text!r}"
        ) from None


def apply(parameters: Mapping[str, Any], body: Body) -> None:
    """Put a selector's parameters into a Messages body."""
    for name, value in parameters.items():
        PARAMETERS[name].put(body, value)
