"""The place: one key of one backend, which is what limits, cool-downs and affinity belong to."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A key by its label, never the key itself; "" where a backend has one key only, or none."""

    backend: str
    key: str
