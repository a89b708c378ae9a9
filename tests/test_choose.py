"""Which of several comes next: shares by weight, and conversations that stay where they are."""

from __future__ import annotations

from collections import Counter

import pytest

from isthmus.request import Place
from isthmus.routing.choose import Rotation, digest_of, nearest, weight_in

A, B, C = (Place("a", label) for label in ("1", "2", "3"))


def turns(rotation: Rotation, places: list[Place], weights: dict[Place, float], count: int) -> str:
    weight = weight_in(weights)
    found = []
    for _ in range(count):
        place = rotation.next(places)
        rotation.count(place, weight(place))
        found.append(place.key)
    return "".join(found)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, "123123123"),
        ({A: 3.0}, "123111231"),
        ({B: 0.5}, "123131231"),
    ],
)
def test_the_rotation_is_smooth_and_always_the_same(
    weights: dict[Place, float], expected: str
) -> None:
    assert turns(Rotation(), [A, B, C], weights, 9) == expected


def test_shares_are_as_the_weights() -> None:
    counts = Counter(turns(Rotation(), [A, B, C], {A: 3.0, B: 2.0}, 600))
    assert counts == {"1": 300, "2": 200, "3": 100}


def test_who_was_away_is_owed_nothing() -> None:
    rotation = Rotation()
    assert turns(rotation, [A, B], {}, 100).count("1") == 50
    assert turns(rotation, [A, B, C], {}, 9).count("3") <= 4


def test_conversations_go_by_weight_and_stay() -> None:
    weight = weight_in({A: 2.0})
    roots = [digest_of(f"conversation {n}".encode()) for n in range(2000)]
    before = {root: nearest([A, B, C], weight, root) for root in roots}
    assert before == {root: nearest([C, B, A], weight, root) for root in roots}
    counts = Counter(before.values())
    assert counts[A] == pytest.approx(1000, abs=100)
    assert counts[B] == pytest.approx(500, abs=80)
    for root, place in before.items():
        if place != A:
            assert nearest([B, C], weight, root) == place
