"""What each Claude model accepts: rows of data, read from ``data/models.json``.

Source of the rows: Anthropic's models overview, migration guide and deprecations page, as of
2026-11-22. An unknown model counts as the newest one, whose rules new models have followed so far.
A configuration makes a table of its own out of the package's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any, Literal

from isthmus import wire

EFFORTS = ("low", "medium", "high", "xhigh", "max")
"""The levels of ``output_config.effort``, lowest first."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One model. Token counts are whole tokens, prices dollars per million tokens."""

    id: str
    display_name: str
    line: str | None
    """The family of models that it belongs to; a provider limits the rate of each family."""
    aliases: tuple[str, ...]
    status: Literal["active", "deprecated", "retired"]
    released: str | None
    retires_at: str | None
    context_window: int
    max_output: int
    thinking: tuple[str, ...]
    """The values of ``thinking.type`` that it accepts."""
    thinking_default: Literal["always", "on", "off"]
    thinking_off_effort: str | None
    """The highest effort at which thinking may be switched off; None where effort plays no part."""
    display: Literal["omitted", "summarized"]
    bound: bool
    """Whether its thinking may only return behind the very conversation that it was produced in."""
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

    def is_of(self, model: str) -> bool:
        """Whether this is the model's own row: by its id, an alias, or either with a date behind it."""
        return any(name in (self.id, *self.aliases) for name in (model, _DATED.sub("", model)))


def _rows() -> tuple[Profile, ...]:
    names = [field.name for field in fields(Profile)]
    text = files("isthmus").joinpath("data/models.json").read_bytes()
    return tuple(Profile(**{n: _frozen(row[n]) for n in names}) for row in wire.loads(text))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore


PROFILES: tuple[Profile, ...] = _rows()
"""All rows, newest models first."""

_DATED = re.compile(r"-\d{8}$")
_LEVELS = ("thinking_off_effort", "effort_default")


class Profiles:
    """A table of rows, newest models first. It never changes: a further model makes another table."""

    def __init__(self, rows: Iterable[Profile]) -> None:
        self.rows = tuple(rows)
        self._by_name = {alias: row for row in self.rows for alias in row.aliases}
        self._by_name |= {row.id: row for row in self.rows}

    @property
    def names(self) -> Collection[str]:
        """All ids and aliases."""
        return self._by_name.keys()

    def known(self, model: str) -> Profile | None:
        """The row of a model by its id, an alias, or its id with or without a date; None if there is none."""
        return self._by_name.get(model) or self._by_name.get(_DATED.sub("", model))

    def profile(self, model: str) -> Profile:
        """What a model accepts; the newest model's row where it has none of its own."""
        return self.known(model) or self.rows[0]

    def with_model(self, name: str, given: Mapping[str, Any]) -> Profiles:
        """The table with one more model, or with one that is in it changed.

        ``given`` maps fields of ``Profile`` to values, lists for tuples; ``like`` names the row that
        the others come from: by default the model's own, else the newest one's.
        """
        own = self._by_name.get(name)
        base = self.profile(given.get("like", name))
        values = {field.name: getattr(base, field.name) for field in fields(Profile)}
        if own is not None:
            values |= {field: getattr(own, field) for field in _IDENTITY}
        else:
            # Of a stranger's name, dates and bill the row that it is like says nothing.
            values |= {**_STRANGER, "id": name, "display_name": name}
            values |= {} if "like" in given else {"prices": None}
        changes = {key: _frozen(value) for key, value in given.items() if key != "like"}
        if changes.get("prices") is not None:
            changes["prices"] = {**(values["prices"] or {}), **changes["prices"]}
        values |= changes
        values["efforts"] = tuple(level for level in EFFORTS if level in values["efforts"])
        values |= {key: None for key in _LEVELS if values[key] not in values["efforts"]}
        row = Profile(**values)
        if own is None:
            return Profiles((*self.rows, row))
        return Profiles(row if other is own else other for other in self.rows)


_IDENTITY = ("id", "display_name", "aliases", "status", "released", "retires_at")
_STRANGER = {"aliases": (), "status": "active", "released": None, "retires_at": None}

PACKAGED = Profiles(PROFILES)
"""The table that comes with the package."""

known = PACKAGED.known
profile = PACKAGED.profile
