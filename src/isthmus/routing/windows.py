"""How long a prompt may be at a target: the smallest of the limits that hold there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus.profiles import known
from isthmus.request import Limit, Target


@dataclass(frozen=True, slots=True)
class Windows:
    """What the configuration says of limits, in tokens.

    ``forced`` stands in place of every profile's window (``force_context_window``); ``limits`` has by
    model what ``model_defaults.NAME.limits`` gives: ``context_window``, ``max_input_tokens``.
    """

    forced: int | None = None
    limits: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])


def limit_of(target: Target, windows: Windows) -> Limit | None:
    """The smallest of all limits that hold for a target; None where nothing is known of its model."""
    found = [
        Limit(tokens, f"model_defaults.{target.model}.limits.{name}")
        for name, tokens in windows.limits.get(target.model, {}).items()
    ]
    if windows.forced is not None:
        found.append(Limit(windows.forced, "force_context_window"))
    elif (window := _profiled(target)) is not None:
        found.append(Limit(window, "context_window of the profile"))
    if target.max_context is not None:
        found.append(Limit(target.max_context, "max_context of the selector"))
    return min(found, default=None)


def _profiled(target: Target) -> int | None:
    """The window of the model's own profile; that of the newest model, which an unknown one counts as in
    all else, would refuse what may fit."""
    row = target.profile or known(target.model)
    return row.context_window if row is not None and row.is_of(target.model) else None
