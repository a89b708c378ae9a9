"""What becomes of each field of a dialect on its way to the hub and back: rows for the reader.

The rows stand beside the code that they speak of, keyed like its tables; tests hold both together,
and ``docs/dialects/`` is written from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

Fate = Literal["carried", "approximated", "lost", "refused"]
"""``carried``: it arrives with its meaning. ``approximated``: as what comes nearest, with a note where
it differs. ``lost``: left out, with a note. ``refused``: a 400 that names its path.
"""

Fates = Mapping[str, tuple[Fate, str]]
"""For each field what becomes of it, in a sentence."""


def lost(reasons: Mapping[str, str]) -> Fates:
    """The fates of fields that are left out, each for its reason."""
    return {name: ("lost", reason) for name, reason in reasons.items()}


def refused(names: Iterable[str], reason: str) -> Fates:
    """The fates of fields that are refused, all for one reason."""
    return dict.fromkeys(names, ("refused", reason))


def refusals(reasons: Mapping[str, str]) -> Fates:
    """The fates of fields that are refused, each for its reason."""
    return {name: ("refused", reason) for name, reason in reasons.items()}
