"""The rate-limit headers: counters per key and minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import Refusal

WINDOW = 60.0
MAX_KEYS = 1000


@dataclass(slots=True)
class Window:
    """What one key used since `start`."""

    start: float
    requests: int = 0
    input: int = 0
    output: int = 0


class Limits:
    """Windows per key."""

    def __init__(self, clock: Callable[[], float], requests: int, tokens: int) -> None:
        self.clock = clock
        self.requests = requests
        self.tokens = tokens
        self.windows: dict[str, Window] = {}

    def window(self, key: str) -> Window:
        """The key's window, a new one after a minute."""
        now = self.clock()
        window = self.windows.get(key)
        if window is None or now - window.start >= WINDOW:
            if len(self.windows) >= MAX_KEYS:
                self.windows.clear()
            window = self.windows[key] = Window(now)
        return window

    def admit(self, key: str) -> None:
        """A 429 when the key has used up its minute."""
        window = self.window(key)
        if window.requests <= self.requests:
            return
        wait = max(1, round(window.start + WINDOW - self.clock()))
        raise Refusal(
            "This request would exceed your organization's rate limit of "
            f"{self.requests} requests per minute. Please reduce the number of requests or wait.",
            status=429,
            headers=(("retry-after", str(wait)),),
        )

    def headers(self, key: str) -> list[tuple[str, str]]:
        """All of `anthropic-ratelimit-*`."""
        window = self.window(key)
        reset = datetime.fromtimestamp(window.start + WINDOW, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows = (
            ("requests", self.requests, window.requests),
            ("input-tokens", self.tokens, window.input),
            ("output-tokens", self.tokens // 5, window.output),
            ("tokens", self.tokens + self.tokens // 5, window.input + window.output),
        )
        found: list[tuple[str, str]] = []
        for name, limit, used in rows:
            found.append((f"anthropic-ratelimit-{name}-limit", str(limit)))
            found.append((f"anthropic-ratelimit-{name}-remaining", str(max(0, limit - used))))
            found.append((f"anthropic-ratelimit-{name}-reset", reset))
        return found
