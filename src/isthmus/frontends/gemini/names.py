"""Names of functions and ids of calls, as Claude takes them: legal, stable from turn to turn, unique."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_LEGAL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")


def _renamed(name: str, digits: int) -> str:
    return f"{_ILLEGAL.sub('_', name)[:63]}_{sha256(name.encode()).hexdigest()[:digits]}"


class Names:
    """Function names by Anthropic's rule; ``originals`` leads back from each that was rewritten.

    A new name depends on the old one alone, unless it meets a declared one: so it is the same on
    every turn of a conversation. ``reserved`` are the names of tools that the provider runs.
    """

    def __init__(self, declared: Iterable[str] = (), reserved: Iterable[str] = ()) -> None:
        self.reserved = frozenset(reserved)
        self._declared = frozenset(declared) | self.reserved
        self.originals: dict[str, str] = {}

    def legal(self, name: str) -> str:
        if _LEGAL_NAME.fullmatch(name) and name not in self.reserved:
            return name
        digits = 8
        while (new := _renamed(name, digits)) in self._declared:
            digits += 1
        self.originals[new] = name
        return new


@dataclass(slots=True)
class _Call:
    id: str
    answered: bool = False


class Calls:
    """Gives each call of a conversation its id, and finds the call that a response answers.

    Older clients send neither ids on calls nor on responses: then name and order decide. An id that
    stands twice, or that Anthropic would refuse, is replaced by one made of it and of its position.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._copies: dict[str, int] = {}
        self._count = 0
        self._turn: dict[tuple[str, str], deque[_Call]] = {}

    def begin_turn(self) -> None:
        """From here on the calls of a new turn are to be answered; the API takes no late answers."""
        self._turn.clear()

    def add(self, given: str | None, name: str) -> str:
        """The id of the next call."""
        self._count += 1
        call = _Call(self._unused(_legal(given) if given else f"call_{self._count}"))
        for key in (("id", given) if given else ("bare", name), ("name", name)):
            self._turn.setdefault(key, deque()).append(call)
        return call.id

    def answered(self, given: str | None, name: str) -> str:
        """The id of the call that this response answers, or one that no call waits for."""
        keys = (("id", given), ("bare", name)) if given else (("name", name),)
        for key in keys:
            calls = self._turn.get(key, deque())
            while calls:
                call = calls.popleft()
                if not call.answered:
                    call.answered = True
                    return call.id
        return _legal(given) if given else "none"

    def _unused(self, wanted: str) -> str:
        new, copies = wanted, self._copies.get(wanted, 1)
        while new in self._taken:
            copies += 1
            new = f"{wanted}_{copies}"
        self._copies[wanted] = copies
        self._taken.add(new)
        return new


def _legal(given: str) -> str:
    return given if _LEGAL_ID.fullmatch(given) else _renamed(given, 12)
