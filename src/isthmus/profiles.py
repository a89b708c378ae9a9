"""What each Claude model accepts: rows of data, read from ``data/models.json``.

Source of the rows: Anthropic's models overview, migration guide and deprecations page, as of
2026-11-22. An unknown model counts as the newest one, whose rules new models have followed so far.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any, Literal

from isthmus import wire


@dataclass(frozen=True, slots=True)
class Profile:
    """One model. Token counts are whole tokens, prices dollars per million tokens."""

    id: str
    display_name: str
    aliases: tuple[str, ...]
    status: Literal["active", "deprecated", "retired"]
    released: str
    retires_at: str | None
    context_window: int
    max_output: int
    thinking: tuple[str, ...]
    """The values of ``thinking.type`` that it accepts."""
    thinking_default: Literal["always", "on", "off"]
    thinking_off_effort: str | None
    """The highest effort at which thinking may be switched off; None where effort plays no part."""
    display: Literal["omitted", "summarized"]
    efforts: tuple[str, ...]
    """The levels of ``output_config.effort``, lowest first; empty where the field is refused."""
    effort_default: str | None
    sampling: Literal["free", "one", "default"]
    """``one``: temperature or top_p, not both; ``default``: no value but the default."""
    prefill: bool
    forced_tools: bool
    system_turns: bool
    """Whether ``system`` may be a role inside ``messages``."""
    min_cacheable: int | None
    fast: bool
    """Whether ``speed`` may be ``fast``."""
    geography: bool
    """Whether ``inference_geo`` is taken."""
    prices: Mapping[str, float] | None


def _rows() -> tuple[Profile, ...]:
    names = [field.name for field in fields(Profile)]
    text = files("isthmus").joinpath("data/models.json").read_bytes()
    return tuple(Profile(**{n: _frozen(row[n]) for n in names}) for row in wire.loads(text))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore


PROFILES: tuple[Profile, ...] = _rows()
"""All rows, newest models first."""

_BY_NAME = {name: row for row in PROFILES for name in (row.id, *row.aliases)}
_DATED = re.compile(r"-\d{8}$")


def known(model: str) -> Profile | None:
    """The row of a model by its id, an alias, or its id with or without a date; None if there is none."""
    return _BY_NAME.get(model) or _BY_NAME.get(_DATED.sub("", model))


def profile(model: str) -> Profile:
    """What a model accepts; the newest model's row where it has none of its own."""
    return known(model) or PROFILES[0]
