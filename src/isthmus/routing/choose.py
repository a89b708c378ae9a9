"""One of several by weight: always the same for a conversation, or each in its turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from math import log

from isthmus.request import Place

Weight = Callable[[Place], float]


def digest_of(root: bytes) -> bytes:
    """What stands for a conversation: 16 bytes, however long its root is."""
    return blake2b(root, digest_size=16).digest()


def nearest(places: Sequence[Place], weight: Weight, digest: bytes) -> Place:
    """The place of a conversation: rendezvous hashing.

    Each gets conversations by its weight, and one that is taken away moves its own only.
    """
    return max(places, key=lambda place: _score(place, weight(place), digest))


def _score(place: Place, weight: float, digest: bytes) -> float:
    name = f"{place.backend}\0{place.key}".encode()
    drawn = int.from_bytes(blake2b(digest + name, digest_size=6).digest(), "big")
    return weight / -log((drawn + 1) / (2**48 + 1))


class Rotation:
    """Each in its turn, by weight: who was chosen least for its weight comes next.

    Whoever was away for a while is owed nothing for that time.
    """

    def __init__(self) -> None:
        self._turns: dict[Place, float] = {}
        self._turn = 0.0

    def next(self, places: Sequence[Place]) -> Place:
        """Whose turn it is; the first of several."""
        return min(places, key=self._due)

    def count(self, place: Place, weight: float) -> None:
        """Note that a place was chosen, for whatever reason."""
        self._turn = self._due(place)
        self._turns[place] = self._turn + 1 / weight

    def _due(self, place: Place) -> float:
        return max(self._turn, self._turns.get(place, 0.0))


def weight_in(weights: Mapping[Place, float]) -> Weight:
    """The weight of each place, 1 where none is given."""
    return lambda place: weights.get(place, 1.0)
