"""The soak sees what goes on in the gateway, and judges it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import report, soak
from benchmarks.bench import opened
from benchmarks.soak import Outcome, Sample

QUIET: Callable[[str], None] = lambda _: None  # noqa: E731


def outcome(grown: float = 0.0, **after: int) -> Outcome:
    """Ten minutes in which memory has grown by so many bytes since minute 2."""
    begin = Sample(0.0, 50_000_000, 10, 4)
    during = [
        Sample(minute / 10, 60_000_000 + int(max(0, minute - 20) * grown / 80), 80, 90)
        for minute in range(101)
    ]
    load: dict[str, Any] = {
        "sent": 9,
        "completed": 7,
        "cancelled": 1,
        "errors": {"status 500: x": 1},
    }
    seen = {"requests": 9, "failed": 1, "abandoned": 1, "live": 0}
    return Outcome(begin, during, replace(begin, **after), load, seen)


def test_what_returns_is_no_complaint() -> None:
    quiet = outcome(descriptors=9)
    assert quiet.complaints() == []
    assert quiet.growth() == 0


@pytest.mark.parametrize(
    ("spoilt", "complaint"),
    [
        (outcome(grown=3e6), "memory grew by 2.7 MB"),
        (outcome(descriptors=11), "descriptors: 10 before, 11 after"),
        (outcome(tasks=5), "tasks: 4 before, 5 after"),
        (
            replace(outcome(), upstream={**outcome().upstream, "live": 2}),
            "2 streams are still open upstream",
        ),
        (
            replace(outcome(), upstream={**outcome().upstream, "failed": 0}),
            "1 failed, only 0 were made to fail",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_return_is_one(spoilt: Outcome, complaint: str) -> None:
    assert spoilt.complaints() == [complaint]


def test_the_text_groups_failures_by_kind() -> None:
    text = soak.text_of(outcome())
    assert "* 9 requests: 7 whole, 1 given up, 1 failed" in text
    assert "* 1 status 500" in text


def test_the_page_has_its_place() -> None:
    page = soak.PAGE.read_text()
    assert report.replaced(page, "soak", "figures") != page


def test_the_soak_counts_what_goes_on_in_the_gateway() -> None:
    with opened(["isthmus"], 1.0, QUIET) as bench:
        seen = soak.soak(bench, 0.03, rest=1.6)
    assert seen.load["sent"] > 50
    # What fails before its content another key may answer, so that no client hears of it.
    assert seen.load["completed"] > seen.upstream["failed"] > 0
    assert seen.upstream["failed"] >= seen.failed()
    assert seen.before.tasks > 0
    assert max(sample.descriptors for sample in seen.during) > seen.before.descriptors
    assert not [text for text in seen.complaints() if "memory" not in text]
    ET.fromstring(soak.drawing(seen))
