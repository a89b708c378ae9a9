"""What a selector or the configuration may set of a request: one row for each parameter.

A selector's parameters win over the request (``apply``), the request wins over the defaults of a model
(``supply``). Source of the ranges: Anthropic's Messages API reference; temperature goes up to 2 as in the
other dialects, and what a model does not take of it is brought into its range later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from isthmus.profiles import EFFORTS, Profile
from isthmus.request import Body, Notes
from isthmus.thinking import BUDGETS, effort_of

MOST = 1_000_000_000
"""No count of tokens is above this: a longer one is a slip of the hand."""

_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"[0-9]{1,10}")
_LONGEST_SHOWN, _LISTED = 40, 12


@dataclass(frozen=True, slots=True)
class Range:
    """What one value may be: ``words`` for people, ``read`` for text and for typed values.

    ``read`` raises ValueError for anything else.
    """

    words: str
    read: Callable[[object], Any]


def number(low: float, high: float, unit: str = "", *, above: bool = False) -> Range:
    """A number from ``low`` to ``high``; with ``above`` it has to be greater than ``low``."""
    bounds = f"above {low:g}, at most {high:.0f}" if above else f"from {low:g} to {high:g}"

    def read(value: object) -> float:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        if not low <= value <= high or (above and value == low):  # which is so for NaN too
            raise ValueError
        return float(value) + 0.0  # never -0.0

    return Range(f"a number{unit} {bounds}", read)


def whole(low: int, unit: str = "", also: str = "") -> Range:
    """A whole number from ``low`` to ``MOST``."""

    def read(value: object) -> int:
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MOST:
            raise ValueError
        return value

    return Range(f"a whole number{unit} from {low} to {MOST}{also}", read)


def one_of(*values: str) -> Range:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in values:
            raise ValueError
        return value

    return Range(f"{', '.join(values[:-1])} or {values[-1]}", read)


def shown(value: object) -> str:
    """A value of somebody else's as a message may show it: short, and without control codes."""
    plain = isinstance(value, str | float | None) or (
        isinstance(value, int) and abs(value) <= MOST**2  # longer ones may have no decimal form
    )
    text = repr(value) if plain else "what is there"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest right one, else those that there are."""
    known = list(names)
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known[:_LISTED])}"


# --- what a request says itself -----------------------------------------------------------------

Said = Callable[[Body, Any], bool]
"""Whether a request says in any form what a default would say, or something that excludes it."""


def _at(body: Body, path: str) -> Any:
    name, _, inner = path.partition(".")
    value = body.peek(name)
    return value.get(inner) if inner and isinstance(value, dict) else None if inner else value


def _any_of(*paths: str) -> Said:
    return lambda body, _: any(_at(body, path) is not None for path in paths)


def _samples(*paths: str) -> Said:
    # Older models take no sampling beside thinking, and some temperature or top_p alone: a default must
    # not cost a request what it says itself.
    given = _any_of(*paths)
    return lambda body, value: (
        given(body, value) or _at(body, "thinking.type") in ("enabled", "adaptive")
    )


_reasons = _any_of("thinking", "output_config.effort")
_sampled = _any_of("temperature", "top_p", "top_k")


def _budgets(body: Body, value: Any) -> bool:
    return _reasons(body, value) or (value > 0 and _sampled(body, value))


# --- the table ----------------------------------------------------------------------------------

Fits = Callable[[Profile, Any], bool]
"""Whether a model takes a value as it is."""

EVERY = ("anthropic", "openai-chat", "openai-responses", "gemini")
"""The dialects of backends; each says in its own words what the Messages body says."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row. ``place`` is where it goes in a Messages body; "" where nothing there is like it.

    ``dialects`` are those of the backends that have it. ``key`` names the field of a model's profile
    that decides whether the model takes it, "" where each does; ``fits`` asks that field.
    """

    range: Range
    place: str
    said: Said
    dialects: tuple[str, ...] = EVERY
    key: str = ""
    fits: Fits = lambda _, __: True


def _takes_sampling(profile: Profile, _: Any) -> bool:
    return profile.sampling != "default"


def _takes_budget(profile: Profile, tokens: int) -> bool:
    if tokens == 0 and profile.thinking_default == "off":
        return True
    return ("enabled" if tokens else "disabled") in profile.thinking


PARAMETERS: Mapping[str, Parameter] = {
    "temperature": Parameter(
        number(0, 2),
        "temperature",
        _samples("temperature", "top_p"),
        key="sampling",
        fits=_takes_sampling,
    ),
    "top_p": Parameter(
        number(0, 1),
        "top_p",
        _samples("temperature", "top_p"),
        key="sampling",
        fits=_takes_sampling,
    ),
    "top_k": Parameter(
        whole(0),
        "top_k",
        _samples("top_k"),
        dialects=("anthropic", "gemini"),
        key="sampling",
        fits=_takes_sampling,
    ),
    "max_tokens": Parameter(
        whole(1),
        "max_tokens",
        _any_of("max_tokens"),
        key="max_output",
        fits=lambda profile, tokens: tokens <= profile.max_output,
    ),
    "effort": Parameter(
        one_of(*EFFORTS),
        "output_config.effort",
        _reasons,
        key="efforts",
        fits=lambda profile, level: level in profile.efforts,
    ),
    "thinking_budget": Parameter(
        whole(0, " of tokens", ", 0 for off"),
        "thinking.budget_tokens",
        _budgets,
        key="thinking",
        fits=_takes_budget,
    ),
    "verbosity": Parameter(
        one_of("low", "medium", "high"),
        "",
        _any_of(),
        dialects=("openai-chat", "openai-responses"),
    ),
    "service_tier": Parameter(
        one_of("auto", "standard_only"), "service_tier", _any_of("service_tier")
    ),
    "speed": Parameter(
        one_of("standard", "fast"),
        "speed",
        _any_of("speed"),
        dialects=("anthropic",),
        key="fast",
        fits=lambda profile, speed: speed == "standard" or profile.fast,
    ),
}
"""By the name that a parameter has wherever it has been read."""

ALIASES: Mapping[str, str] = {"reasoning_effort": "effort"}
"""Other names under which a parameter may be given, and its own."""


def read(name: str, value: object, before: Container[str] = ()) -> tuple[str, Any]:
    """One parameter as given, text or typed: its own name and its value.

    ``before`` holds the own names of those that were read already. Raises ValueError that says what is
    wrong, and what would be right.
    """
    own = ALIASES.get(name, name)
    row = PARAMETERS.get(own)
    if row is None:
        known = (*PARAMETERS, *ALIASES)
        raise ValueError(f"unknown parameter {shown(name)}; {nearest(name, known)}")
    if own in before:
        twins = sorted(other for other, of in ALIASES.items() if of == own)
        also = f" ({' and '.join((own, *twins))} are one)" if twins else ""
        raise ValueError(f"parameter {name!r} stands twice{also}")
    try:
        return own, row.range.read(value)
    except ValueError:
        wanted = row.range.words
        raise ValueError(f"parameter {name!r} must be {wanted}, not {shown(value)}") from None


def is_taken(name: str, value: Any, profile: Profile) -> bool:
    """Whether a model takes this value of a parameter as it is, as its profile says."""
    return PARAMETERS[name].fits(profile, value)


# --- into a request -----------------------------------------------------------------------------


def taken(parameters: Mapping[str, Any], dialect: str, notes: Notes) -> Mapping[str, Any]:
    """Those that backends of a dialect have; each of the others leaves a note."""
    kept: dict[str, Any] = {}
    for name, value in parameters.items():
        if dialect in PARAMETERS[name].dialects:
            kept[name] = value
        else:
            notes.dropped(name, f"{dialect} has nothing like it")
    return kept


def apply(parameters: Mapping[str, Any], body: Body) -> None:
    """Lay parameters over a Messages body that has passed ``request.check_shapes``.

    A budget and an effort are two words for one thing: where one is laid over a request that says the
    other, the other follows it, so that the request's own word does not win at a model that knows only
    that one.
    """
    effort, budget = parameters.get("effort"), parameters.get("thinking_budget")
    for name, value in parameters.items():
        if name == "thinking_budget":
            _put_budget(body, value)
        elif PARAMETERS[name].place:
            _put(body, PARAMETERS[name].place, value)
    if effort and budget is None and _at(body, "thinking.type") == "enabled":
        _put(body, "thinking.budget_tokens", BUDGETS[effort])
    if budget and effort is None and _at(body, "output_config.effort") is not None:
        _put(body, "output_config.effort", effort_of(budget))


def supply(defaults: Mapping[str, Any], body: Body) -> None:
    """Put into a body, checked as for ``apply``, what it says itself in no form."""
    missing = {k: v for k, v in defaults.items() if not PARAMETERS[k].said(body, v)}
    apply(missing, body)


def sources(
    given: Mapping[str, Any], defaults: Mapping[str, Any], body: Body
) -> Iterator[tuple[str, Any, str]]:
    """Each parameter that a request goes out with: its name, its value, and what says so.

    ``given`` are the selector's, ``defaults`` the model's; ``body`` is the request before either.
    """
    for name, row in PARAMETERS.items():
        own = _at(body, row.place) if row.place else None
        if name in given:
            yield name, given[name], "selector"
        elif own is not None:
            yield name, own, "request"
        elif name in defaults and not row.said(body, defaults[name]):
            yield name, defaults[name], "model_defaults"


def _put(body: Body, place: str, value: Any) -> None:
    name, _, inner = place.partition(".")
    body.edit(name, {**(body.peek(name) or {}), inner: value} if inner else value)


def _put_budget(body: Body, tokens: int) -> None:
    if not tokens:
        body.edit("thinking", {"type": "disabled"})
        return
    # Whether thinking is shown is no matter of how much there is.
    asked = cast("dict[str, Any]", body.peek("thinking") or {})
    display = {k: v for k, v in asked.items() if k == "display"}
    body.edit("thinking", {"type": "enabled", "budget_tokens": tokens, **display})
