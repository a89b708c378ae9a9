"""Names of functions and ids of calls, as Claude takes them: legal, stable from turn to turn, unique."""

from __future__ import annotations

import re
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
    every turn of a conversation.
    """

    def __init__(self, declared: Iterable[str] = ()) -> None:
        self._declared = frozenset(declared)
        self.originals: dict[str, str] = {}

    def legal(self, name: str) -> str:
        if _LEGAL_NAME.fullmatch(name):
            return name
        digits = 8
        while (new := _renamed(name, digits)) in self._declared:
            digits += 1
        self.originals[new] = name
        return new


@dataclass(slots=True)
class _Call:
    given: str | None
    name: str
    id: str
    answered: bool = False


class Calls:
    """Gives each call of a conversation its id, and finds the call that a response answers.

    Older clients send neither ids on calls nor on responses: then name and order decide. An id that
    stands twice, or that Anthropic would refuse, is replaced by one made of it and of its position.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._taken: set[str] = set()
        self._turn = 0

    def begin_turn(self) -> None:
        """From here on name and order mean the calls of a new turn of the model."""
        self._turn = len(self._calls)

    def add(self, given: str | None, name: str) -> str:
        """The id of the next call."""
        wanted = self._legal(given) if given else f"call_{len(self._calls) + 1}"
        new, copies = wanted, 1
        while new in self._taken:
            copies += 1
            new = f"{wanted}_{copies}"
        self._taken.add(new)
        self._calls.append(_Call(given or None, name, new))
        return new

    def answered(self, given: str | None, name: str) -> str:
        """The id of the call that this response answers, or one that no call has."""
        call = self._by_id(given) if given else self._by_name(name, any_id=True)
        call = call or self._by_name(name, any_id=False)
        if call is None:
            return "none" if given is None else self._legal(given)
        call.answered = True
        return call.id

    def _by_id(self, given: str) -> _Call | None:
        found = [call for call in self._calls if call.given == given]
        waiting = [call for call in found if not call.answered]
        return (waiting or found or [None])[-1]

    def _by_name(self, name: str, *, any_id: bool) -> _Call | None:
        for call in self._calls[self._turn :]:
            if call.name == name and not call.answered and (any_id or call.given is None):
                return call
        return None

    @staticmethod
    def _legal(given: str) -> str:
        return given if _LEGAL_ID.fullmatch(given) else _renamed(given, 12)
