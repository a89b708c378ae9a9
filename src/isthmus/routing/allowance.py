"""What a provider's answer says of how much more it takes: when to come again, and what is left.

Sources: RFC 9110 section 10.2.3 (``retry-after``), Anthropic's pages on errors and on rate limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

from isthmus.request import Headers

WINDOW_SECONDS = 60.0
"""The length of a window whose end cannot be told: Anthropic's limits are so much a minute."""
LONGEST_WINDOW = 3600.0
VALUE_LENGTH = 64
"""Characters of a header's value that means something to us."""
_PREFIX = "anthropic-ratelimit-"
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?", re.ASCII)


class Window(NamedTuple):
    """One limit of a key: the share of it that is left, from 0 to 1, until it is full again."""

    left: float
    until: float


def read_retry_after(headers: Headers, wall: float) -> float | None:
    """Seconds until a provider wants to be asked again; None where it does not say.

    ``wall`` is the time in seconds since 1970, which dates are compared with. A time that has
    passed is 0, and ``retry-after-ms`` wins. Nothing is clamped: a provider may say years.
    """
    found = dict(reversed(headers))  # the first of each name
    milliseconds = _number(found.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = found.get("retry-after")
    seconds = _number(text)
    if seconds is None:
        end = _date(text)
        seconds = None if end is None else end - wall
    return None if seconds is None else max(0.0, seconds)


def limits_in(headers: Headers) -> Headers:
    """The headers of an answer that ``read_windows`` reads; () where none tells of limits."""
    limits = tuple(row for row in headers if row[0].startswith(_PREFIX))
    return limits and (*limits, *(row for row in headers if row[0] == "date"))


def read_windows(headers: Headers, now: float) -> tuple[Window, ...]:
    """What the ``anthropic-ratelimit-*`` headers of an answer say that came ``now``; () for nothing.

    A window's end is a date; counted from the answer's own ``date`` it needs no clock of ours.
    """
    found = {
        name.removeprefix(_PREFIX): value for name, value in headers if name.startswith(_PREFIX)
    }
    said = next((value for name, value in headers if name == "date"), None)
    return tuple(
        window for kind in _KINDS if (window := _window(found, kind, _date(said), now)) is not None
    )


def _window(found: Mapping[str, str], kind: str, said: float | None, now: float) -> Window | None:
    limit, remaining = _number(found.get(f"{kind}-limit")), _number(found.get(f"{kind}-remaining"))
    if limit is None or remaining is None or limit <= 0:
        return None
    end = _instant(found.get(f"{kind}-reset"))
    length = WINDOW_SECONDS if end is None or said is None else end - said
    return Window(
        min(1.0, max(0.0, remaining / limit)), now + min(LONGEST_WINDOW, max(0.0, length))
    )


class Limits:
    """What an answer that came ``now`` said of limits.

    Its headers, as ``limits_in`` gives them, are read when somebody asks: with a single key nobody does.
    """

    __slots__ = ("_headers", "_now", "_windows")

    def __init__(self, headers: Headers, now: float) -> None:
        self._headers = headers
        self._now = now
        self._windows: tuple[Window, ...] | None = None

    def headroom(self, now: float) -> float | None:
        """The smallest share that is left of any limit, from 0 to 1; None where none can be read."""
        if self._windows is None:
            self._windows = read_windows(self._headers, self._now)
            self._headers = ()
        if not self._windows:
            return None
        return min((window.left for window in self._windows if window.until > now), default=1.0)


def _number(text: str | None) -> float | None:
    if text is None or len(text) > VALUE_LENGTH or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if isfinite(value) else None


@lru_cache(maxsize=16)  # many answers come within a second
def _date(text: str | None) -> float | None:
    """Seconds since 1970 of a date as HTTP writes it."""
    if text is None or len(text) > VALUE_LENGTH:
        return None
    try:
        return _seconds(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _instant(text: str | None) -> float | None:
    """Seconds since 1970 of a date of RFC 3339."""
    if text is None or len(text) > VALUE_LENGTH:
        return None
    try:
        return _seconds(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        return None


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
