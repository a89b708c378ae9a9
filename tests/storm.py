"""Trouble for many requests at once: what befalls each attempt is drawn from a seed, and written down.

Whether an attempt meets trouble depends on its request alone, not on which thread was first; which kind
it is goes round all of them. A request meets two at most, and one place is never shut, so that there is
always one that can serve.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from isthmus.simulator import Simulator
from tests.harness import Reply, World, whole_stream
from tests.test_server import DIALECTS, HEADERS, asked

MODEL = "claude-sonnet-4-5"
THREADS = 16
FIRST_EVENT = 1.0
LONG, BENCH, EJECT = 1.5, 1.2, 1.0
"""Seconds in the configuration of a storm, which has no time for the usual ones."""
FAILURES = 5
"""In a row, until a key is asked only where nothing else is left; so it is by default."""
SHORTEST_PAUSE = 0.37
"""Seconds before the same target is asked again: half of one, less a quarter."""
_NUMBER = re.compile(rb"no\.(\d+);")


@dataclass(frozen=True)
class Case:
    """One kind of trouble: what the simulator does, and what the table of docs/failover.md says of it."""

    script: dict[str, Any]
    told: str
    """Its words in ``x-isthmus-attempts``."""
    shuts: float | None = None
    """Seconds for which it alone shuts its key."""
    again: bool = False
    streamed: bool = False
    """Only a stream meets it before its end."""


def error(status: int, **more: Any) -> dict[str, Any]:
    return {"error": {"status": status, **more}}


CASES: dict[str, Case] = {
    "429 with a time": Case(error(429, retry_after=1), "429 rate_limit", 1.0),
    "429 without": Case(error(429), "429 rate_limit", LONG),
    "401": Case(error(401), "502 upstream_refused_key", BENCH),
    "529": Case(error(529), "529 overloaded", again=True),
    "500": Case(error(500), "500 internal", again=True),
    "reset": Case({"fault": {"kind": "reset", "head": True}}, "502 upstream_disconnected"),
    "stall": Case({"fault": {"kind": "stall", "seconds": 3}}, "504 timeout", streamed=True),
    "overload in the stream": Case(
        {"fault": {"kind": "error_event", "after": 1}}, "529 overloaded", again=True, streamed=True
    ),
}
MILD = tuple(name for name, case in CASES.items() if case.again)
"""What leaves the key as it is, and may be followed by the same target."""


@dataclass(frozen=True)
class Place:
    """A key of a backend, as its simulator sees it."""

    backend: str
    key: str


@dataclass(frozen=True)
class Attempt:
    """A request as it reached a simulator: which client's, when, and what befell it, None for nothing."""

    number: int
    place: Place
    at: float
    case: str | None


class Dealer:
    """Says what befalls each attempt. All simulators ask the same one, in one thread."""

    def __init__(self, seed: int, safe: Place) -> None:
        self.log: list[Attempt] = []
        self._seed = seed
        self._safe = safe
        self._in_a_row = 0
        self._met: Counter[int] = Counter()
        self._dealt: Counter[str] = Counter()

    def deal(self, number: int, place: Place, *, stream: bool) -> str | None:
        dice = random.Random(f"{self._seed} {number} {self._met[number]} {place.backend}")
        case = self._drawn(dice, place, stream=stream) if self._met[number] < 2 else None
        self._met[number] += case is not None
        if place == self._safe:
            self._in_a_row = self._in_a_row + 1 if case else 0
        self.log.append(Attempt(number, place, time.monotonic(), case))
        return case

    def _drawn(self, dice: random.Random, place: Place, *, stream: bool) -> str | None:
        safe = place == self._safe
        # Five failures in a row would shut the safe place too.
        if dice.random() >= (0.06 if safe else 0.5) or (safe and self._in_a_row == 2):
            return None
        names = [name for name in (MILD if safe else CASES) if stream or not CASES[name].streamed]
        case = min(names, key=lambda name: (self._dealt[name], dice.random()))
        self._dealt[case] += not safe
        return case


class Scripts(deque[dict[str, Any]]):
    """The scripts of one simulator, of which there is always a next one."""

    def __init__(self, name: str, simulator: Simulator, dealer: Dealer) -> None:
        super().__init__()
        self._name = name
        self._requests = simulator.requests
        self._dealer = dealer

    def __bool__(self) -> bool:
        return True

    def popleft(self) -> dict[str, Any]:
        request = self._requests[-1]
        found = _NUMBER.search(request.body)
        assert found is not None
        place = Place(self._name, dict(request.headers)["x-api-key"])
        streams = b'"stream":true' in request.body.replace(b" ", b"")
        case = self._dealer.deal(int(found[1]), place, stream=streams)
        return CASES[case].script if case else {}


@dataclass
class Told:
    """What one client saw, and when it asked and had its answer."""

    selector: str
    dialect: str
    stream: bool
    began: float = 0.0
    ended: float = 0.0
    reply: Reply = field(default_factory=lambda: Reply(0, {}, b""))


def said(told: Told) -> str:
    """All that the client was told, joined; it must be a complete answer of its dialect."""
    assert told.reply.status == 200, (told.selector, told.reply.headers, told.reply.body)
    value = told.reply.json() if not told.stream else None
    message = whole_stream(told.dialect, told.reply).message if value is None else value
    return json.dumps(message)


class Storm:
    """Requests of all dialects, streamed and not, from many threads at once, and what became of them."""

    def __init__(self, world: World, safe: Place, seed: int = 5) -> None:
        self.world = world
        self.safe = safe
        self.dealer = Dealer(seed, safe)
        self.told: dict[int, Told] = {}
        for name, simulator in world.simulators.items():
            simulator.api.scripts = Scripts(name, simulator, self.dealer)

    def blow(self, count: int, selectors: Sequence[str]) -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(lambda number: self._ask(number, selectors), range(count)))

    def _ask(self, number: int, selectors: Sequence[str]) -> None:
        dice = random.Random(f"client {number}")
        told = Told(dice.choice(selectors), dice.choice(DIALECTS), dice.random() < 0.6)
        path, body = asked(told.dialect, f"no.{number}; hello", stream=told.stream)
        if told.dialect == "gemini":
            path = path.replace(MODEL, quote(told.selector, safe=""))
        else:
            body["model"] = told.selector
        self.told[number] = told
        told.began = time.monotonic()
        told.reply = self.world.post(path, body, **HEADERS[told.dialect])
        told.ended = time.monotonic()

    # --- what must hold -------------------------------------------------------------------------

    def attempts(self) -> dict[int, list[Attempt]]:
        """The attempts of each request, oldest first."""
        found: dict[int, list[Attempt]] = defaultdict(list)
        for attempt in self.dealer.log:
            found[attempt.number].append(attempt)
        return found

    def each_is_answered_once(self) -> None:
        """No error, no content twice, nothing asked for after an answer or twice of the same key."""
        of = self.attempts()
        for number, told in self.told.items():
            assert said(told).count(f"no.{number};") == 1, told.reply.body
            *failed, last = of[number]
            assert last.case is None
            assert all(attempt.case for attempt in failed), "charged twice"
            assert told.reply.headers["x-isthmus-target"] == f"{last.place.backend}:{MODEL}"
            for earlier, later in _repeats(of[number]):
                assert CASES[earlier.case or ""].again, (earlier, later)
                assert later.at - earlier.at > SHORTEST_PAUSE

    def each_is_told(self) -> None:
        """The header tells exactly the attempts that the simulators have seen, in their order."""
        for number, attempts in self.attempts().items():
            rows = [f"{a.place.backend}:{MODEL} {_words(a)}" for a in attempts]
            header = self.told[number].reply.headers.get("x-isthmus-attempts", rows[0])
            assert header.split("; ") == rows, (number, header, rows)

    def no_shut_key_is_asked(self, slack: float = 0.0) -> int:
        """Nothing that was sent while its gateway knew a key to be shut went to that key.

        ``slack`` is what word of it may take to other workers, in seconds. Gives the number of times
        that a key was shut.
        """
        of = self.attempts()
        shut = [
            (attempt, self._after(of, attempt) + slack, attempt.at + seconds)
            for attempt in self.dealer.log
            if (seconds := CASES[attempt.case].shuts if attempt.case else None)
            and not self._is_outdone(attempt)
        ]
        for attempt in self.dealer.log:
            sent = self._before(of, attempt)
            asked = [
                (cause, attempt.at - cause.at)
                for cause, known, until in shut
                if cause.place == attempt.place and known < sent and attempt.at < until - 0.01
            ]
            assert not asked, (attempt, asked)
        return len(shut)

    def _is_outdone(self, attempt: Attempt) -> bool:
        """Whether a limit met a key that was refused meanwhile: then the refusal's time alone counts."""
        return attempt.case == "429 without" and any(
            other.case == "401"
            and other.place == attempt.place
            and abs(other.at - attempt.at) < BENCH
            for other in self.dealer.log
        )

    def _after(self, of: dict[int, list[Attempt]], attempt: Attempt) -> float:
        """When the gateway knew at the latest what had become of an attempt."""
        rows = of[attempt.number]
        place = rows.index(attempt) + 1
        return rows[place].at if place < len(rows) else self.told[attempt.number].ended

    def _before(self, of: dict[int, list[Attempt]], attempt: Attempt) -> float:
        """When an attempt was sent at the earliest."""
        rows = of[attempt.number]
        place = rows.index(attempt)
        return rows[place - 1].at if place else self.told[attempt.number].began

    def order_is_kept(self, selector: str, order: Sequence[str]) -> None:
        """A target is passed over only after trouble, and asked later in another go or as a last resort."""
        for number, attempts in self.attempts().items():
            if self.told[number].selector != selector:
                continue
            places = [order.index(a.place.backend) for a in attempts]
            for name in order[: places[0]]:
                assert self._troubles(name, attempts[0].at) > 0, attempts
            for at, (one, next_one) in enumerate(pairwise(places)):
                before, after = attempts[at], attempts[at + 1]
                if next_one < one and after.at - before.at < SHORTEST_PAUSE:
                    assert self._troubles(order[next_one], after.at) >= FAILURES, attempts

    def _troubles(self, backend: str, until: float) -> int:
        """How many troubles a backend has had."""
        rows = self.dealer.log
        return sum(a.case is not None and a.place.backend == backend and a.at < until for a in rows)

    def met(self, backends: Collection[str]) -> Counter[str]:
        """How often each kind of trouble befell these backends."""
        return Counter(a.case for a in self.dealer.log if a.case and a.place.backend in backends)


def _words(attempt: Attempt) -> str:
    return CASES[attempt.case].told if attempt.case else "200"


def _repeats(attempts: Sequence[Attempt]) -> list[tuple[Attempt, Attempt]]:
    """Each attempt that asked the same key again, with the one before it."""
    found: list[tuple[Attempt, Attempt]] = []
    last: dict[Place, Attempt] = {}
    for attempt in attempts:
        if attempt.place in last:
            found.append((last[attempt.place], attempt))
        last[attempt.place] = attempt
    return found
