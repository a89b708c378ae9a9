"""The prompt cache: what a request reads and writes, by the hash of its prefix at each breakpoint."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from .conversation import Request, system_blocks
from .thinking import plain
from .tokens import MESSAGE_COST, REQUEST_COST, block_tokens, tool_prompt_tokens, tool_tokens

TTL_SECONDS = {"5m": 300.0, "1h": 3600.0}
LOOKBACK = 20
MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Point:
    """The end of one block: hash and tokens of everything up to it, and the ttl of its breakpoint."""

    prefix: bytes
    tokens: int
    ttl: str | None


@dataclass(frozen=True, slots=True)
class Accounting:
    """The input side of `usage`, in tokens."""

    fresh: int
    read: int
    written_5m: int
    written_1h: int

    @property
    def total(self) -> int:
        """Everything the model reads."""
        return self.fresh + self.read + self.written_5m + self.written_1h


@dataclass(slots=True)
class _Entry:
    tokens: int
    ttl: str
    expires: float


def breakpoint_ttl(block: dict[str, Any]) -> str | None:
    """The ttl of a block's breakpoint; one inside a tool result or document stands at its end."""
    control = block.get("cache_control")
    if control:
        return str(control.get("ttl", "5m"))
    source = block.get("source")
    inner = source.get("content") if isinstance(source, dict) else block.get("content")
    for part in reversed(inner if isinstance(inner, list) else []):
        ttl = breakpoint_ttl(part)
        if ttl:
            return ttl
    return None


def message_seed(request: Request) -> bytes:
    """Parameters whose change invalidates the cached messages (but not tools and system)."""
    body = request.body
    images = any(item.kind == "image" for turn in request.turns for item in turn.blocks)
    thinking = {
        key: value for key, value in (body.get("thinking") or {}).items() if key != "display"
    }
    return msgspec.json.encode(
        [body.get("tool_choice"), thinking, request.effort, images], order="sorted"
    )


def points(request: Request) -> list[Point]:
    """The blocks of tools, system and messages in the provider's order."""
    model = request.model
    running = hashlib.sha256(f"{model.id}\n{request.body.get('speed')}".encode())
    tokens = REQUEST_COST + tool_prompt_tokens(request.tools, request.choice)
    found: list[Point] = []

    def add(kind: str, value: dict[str, Any], cost: int) -> None:
        nonlocal tokens
        tokens += cost
        running.update(kind.encode() + msgspec.json.encode(plain(value), order="sorted"))
        found.append(Point(running.digest(), tokens, breakpoint_ttl(value)))

    for tool in request.tools:
        add("tool", tool, tool_tokens(tool, model))
    for block in system_blocks(request.body):
        add("system", block, block_tokens(block, model))
    running.update(message_seed(request))
    for turn in request.turns:
        for position, item in enumerate(turn.blocks):
            cost = block_tokens(item.block, model) + (MESSAGE_COST if position == 0 else 0)
            add(turn.role, item.block, cost)
    return with_automatic(request, found)


def with_automatic(request: Request, found: list[Point]) -> list[Point]:
    """Put the top-level `cache_control` on the last block."""
    control = request.body.get("cache_control")
    if not control or not found or found[-1].ttl:
        return found
    last = found[-1]
    return [*found[:-1], Point(last.prefix, last.tokens, control.get("ttl", "5m"))]


class PromptCache:
    """Entries per key, with a clock that tests can set."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.entries: OrderedDict[tuple[str, bytes], _Entry] = OrderedDict()

    def account(self, request: Request, key: str) -> Accounting:
        """Read the longest cached prefix, write the breakpoints after it."""
        every = points(request)
        total = every[-1].tokens if every else REQUEST_COST
        marks = [
            index
            for index, point in enumerate(every)
            if point.ttl and point.tokens >= request.model.min_cacheable
        ]
        now = self.clock()
        read = self._longest_hit(every, marks, key, now)
        written = {"5m": 0, "1h": 0}
        boundary = read
        for index in marks:
            point = every[index]
            if point.tokens > boundary:
                written[point.ttl or "5m"] += point.tokens - boundary
                boundary = point.tokens
            self._store(key, point, now)
        return Accounting(total - boundary, read, written["5m"], written["1h"])

    def _longest_hit(self, every: list[Point], marks: list[int], key: str, now: float) -> int:
        for mark in reversed(marks):
            for index in range(mark, max(-1, mark - LOOKBACK), -1):
                entry = self.entries.get((key, every[index].prefix))
                if entry and entry.expires > now:
                    entry.expires = now + TTL_SECONDS[entry.ttl]
                    return entry.tokens
        return 0

    def _store(self, key: str, point: Point, now: float) -> None:
        ttl = point.ttl or "5m"
        self.entries[key, point.prefix] = _Entry(point.tokens, ttl, now + TTL_SECONDS[ttl])
        self.entries.move_to_end((key, point.prefix))
        while len(self.entries) > MAX_ENTRIES:
            self.entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()


def input_tokens(request: Request) -> int:
    """Tokens of the whole prompt, as `count_tokens` answers."""
    every = points(request)
    return every[-1].tokens if every else REQUEST_COST
