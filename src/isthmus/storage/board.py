"""What is known of keys, shared between processes: the owner's board, and each worker's copy of it.

A worker reads its copy without asking anybody. What happens there it does to the copy at once and
posts to the owner, who does it to the board in the order in which things come, and tells all workers
what the board then says. So all copies come to say the same, and the owner's word is the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from isthmus.request import Place
from isthmus.routing.health import WHOLE, Event, Health, Policy

NAME = "keys"
"""What the board is called on the line."""

Tell = Callable[[Any], None]

_log = structlog.get_logger("isthmus")


class Line(Protocol):
    """The way to the owner."""

    heard: Tell | None

    def post(self, store: str, operation: str, *arguments: Any) -> bool: ...

    async def call(self, store: str, operation: str, *arguments: Any) -> Any: ...


class Board:
    """The owner's replica, and the workers that are told what it says."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.health = Health(policy)
        self._tells: list[Tell] = []

    @property
    def copies(self) -> int:
        """How many workers are told."""
        return len(self._tells)

    def operate(self, tell: Tell, operation: str, arguments: Sequence[Any]) -> Any:
        """Do what a worker asks for; ``tell`` is the way to tell that one.

        ``join`` tells the worker everything, and from then on what changes; ``post`` takes an event;
        ``claim`` says whether a probe may go out.
        """
        if operation == "join":
            tell(["whole", *self.health.whole()])
            self._tells.append(tell)
            return True
        if operation == "post":
            self._post(tell, arguments[0])
            return None
        backend, key, family, now = arguments
        place = Place(backend, key)
        granted = self.health.claim(place, family, now)
        if granted:
            self._say(["marks", False, self.health.marks(place, family)])
        return granted

    def leave(self, tell: Tell) -> None:
        """Tell a worker nothing more."""
        self._tells = [other for other in self._tells if other is not tell]

    def _post(self, author: Tell, event: Sequence[Any]) -> None:
        self.health.apply(tuple(event))
        if event[0] == "keep":
            self._say(list(event), author)
            return
        _, backend, key, family, *_ = event
        rows = self.health.marks(Place(backend, key), family)
        self._say(["marks", False, rows], author)
        author(["marks", True, rows])

    def _say(self, message: Any, author: Tell | None = None) -> None:
        for tell in self._tells:
            if tell is not author:
                tell(message)


class Copy:
    """A worker's replica, ``health``, and its claims of probes. ``join`` makes it say what the board says."""

    def __init__(
        self,
        line: Line,
        policy: Policy | None = None,
        weights: Mapping[Place, float] | None = None,
    ) -> None:
        self.health = Health(policy, self._post, weights)
        self._line = line
        # Of what we posted and the owner has not yet answered: until then our own view is newer.
        self._pending: Counter[tuple[str, str, str]] = Counter()
        line.heard = self._heard

    async def join(self) -> None:
        """Have the whole state, and from now on what changes it; nothing of it where nobody answers."""
        try:
            await self._line.call(NAME, "join")
        except TimeoutError:
            _log.warning("shared state is out of reach", store=NAME, operation="join")

    async def claim(self, place: Place, family: str, now: float) -> bool:
        """Whether a probe may go out: exactly one of all workers is told so, but for an owner out of reach."""
        try:
            return await self._line.call(NAME, "claim", *place, family, now)
        except TimeoutError:
            _log.warning("shared state is out of reach", store=NAME, operation="claim")
            return True

    def _post(self, event: Event) -> None:
        if self._line.post(NAME, "post", event) and event[0] != "keep":
            _, backend, key, family, *_ = event
            self._pending.update([(backend, key, WHOLE), (backend, key, family)])

    def _heard(self, message: Sequence[Any]) -> None:
        kind, *values = message
        if kind == "whole":
            marks, kept = values
            for row in marks:
                self.health.learn(row)
            for row in kept:
                self.health.apply(("keep", *row))
        elif kind == "marks":
            own, rows = values
            for row in rows:
                self._learn(own, row)
        else:
            self.health.apply(tuple(message))

    def _learn(self, own: bool, row: Sequence[Any]) -> None:
        backend, key, family, *_ = row
        scope = (backend, key, family)
        if own:
            self._pending -= Counter([scope])
        if not self._pending[scope]:
            self.health.learn(row)
