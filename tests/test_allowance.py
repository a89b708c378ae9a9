"""What answers say of when to come again and of what is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.routing.allowance import Limits, Window, limits_in, read_retry_after, read_windows

WALL = 1_795_305_600.0  # Sun, 22 Nov 2026 00:00:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("1", 1),
        ("-1", 0),
        ("1.5", 1.5),
        (" 7 ", 7),
        ("+3", 3),
        ("1000000000", 1e9),
        ("1e9", 1e9),
        ("1e999", None),
        ("Sun, 22 Nov 2026 00:01:00 GMT", 60),
        ("Sun, 22 Nov 2026 00:01:00 -0000", 60),
        ("Sun, 22 Nov 2026 01:01:00 +0100", 60),
        ("Sunday, 22-Nov-26 00:01:00 GMT", 60),
        ("Sun Nov 22 00:01:00 2026", 60),
        ("Sat, 21 Nov 2026 23:00:00 GMT", 0),
        ("Sun, 22 Nov 2126 00:00:00 GMT", 36_525 * 86_400 - 86_400),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("٣", None),
        ("0x10", None),
        ("60, 90", None),
        ("Sun, 99 Nov 2026 00:01:00 GMT", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after_is_read_or_unknown(value: str, seconds: float | None) -> None:
    assert read_retry_after((("retry-after", value),), WALL) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), None),
        ((("retry-after-ms", "1500"), ("retry-after", "9")), 1.5),
        ((("retry-after", "9"), ("retry-after-ms", "-1")), 0),
        ((("retry-after", "9"), ("retry-after-ms", "soon")), 9),
        ((("retry-after", "9"), ("retry-after", "1")), 9),
    ],
)
def test_milliseconds_win_and_the_first_of_two(
    headers: tuple[tuple[str, str], ...], seconds: float | None
) -> None:
    assert read_retry_after(headers, WALL) == seconds


def limits(**kinds: tuple[str, str, str]) -> tuple[tuple[str, str], ...]:
    """Header rows of limit, remaining and reset; underscores become dashes."""
    return tuple(
        (f"anthropic-ratelimit-{kind.replace('_', '-')}-{name}", value)
        for kind, row in kinds.items()
        for name, value in zip(("limit", "remaining", "reset"), row, strict=True)
    )


DATE = (("date", "Sun, 22 Nov 2026 00:00:00 GMT"),)
SOON, LATER = "2026-11-22T00:00:10Z", "2026-11-22T00:00:40Z"


def test_the_scarcest_limit_counts_until_its_window_ends() -> None:
    headers = DATE + limits(
        requests=("100", "90", SOON), input_tokens=("1000", "100", SOON), tokens=("10", "5", LATER)
    )
    said = Limits(limits_in((*headers, ("content-type", "a/b"))), 1000.0)
    assert [said.headroom(now) for now in (1000, 1009, 1010, 1039, 1040)] == [
        *(0.1, 0.1, 0.5, 0.5, 1.0)
    ]


def test_what_no_answer_told_of_is_unknown() -> None:
    unread = (("anthropic-ratelimit-unified-remaining", "1"),)
    assert limits_in(unread) == unread
    assert Limits(unread, 0).headroom(0) is None
    assert limits_in((("date", "x"), ("x-y", "1"))) == read_windows((), 0) == ()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("10", "20", SOON), Window(1.0, 10)),
        (("10", "-5", SOON), Window(0.0, 10)),
        (("10", "5", "2026-11-21T00:00:00Z"), Window(0.5, 0)),
        (("10", "5", "2036-11-21T00:00:00+00:00"), Window(0.5, 3600)),
        (("10", "5", "whenever"), Window(0.5, 60)),
        (("10", "5", ""), Window(0.5, 60)),
        (("0", "0", SOON), None),
        (("-1", "1", SOON), None),
        (("many", "1", SOON), None),
        (("10", "", SOON), None),
    ],
)
def test_odd_limits_are_bounded_or_unknown(
    row: tuple[str, str, str], expected: Window | None
) -> None:
    assert read_windows(DATE + limits(requests=row), 0.0) == (
        () if expected is None else (expected,)
    )


def test_without_a_date_of_the_answer_a_window_is_a_minute() -> None:
    assert read_windows(limits(tokens=("10", "5", SOON)), 7.0) == (Window(0.5, 67.0),)


NUMBERLIKE = st.text(st.sampled_from("0123456789eE+-.,:TZGMT SunNov"), max_size=40)


@given(st.one_of(st.text(max_size=40), NUMBERLIKE))
def test_no_value_raises(value: str) -> None:
    found = read_retry_after((("retry-after", value), ("retry-after-ms", value[::-1])), WALL)
    assert found is None or 0 <= found < float("inf")
    names = ("limit", "remaining", "reset")
    for window in read_windows(
        (("date", value), *((f"anthropic-ratelimit-tokens-{name}", value) for name in names)), 5.0
    ):
        assert 0 <= window.left <= 1
        assert 5 <= window.until <= 3605
