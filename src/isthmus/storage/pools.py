"""The choice among keys where several processes share them: one probe of a key in all, not in each."""

from __future__ import annotations

from typing import Protocol

from isthmus.request import Place
from isthmus.routing.health import Choice, Health


class Claim(Protocol):
    """Whether a probe may go out; False where another process has sent one."""

    async def __call__(self, place: Place, family: str, now: float) -> bool: ...


async def always(place: Place, family: str, now: float) -> bool:
    """The claim of a process that shares its keys with none."""
    return True


class Pools:
    """The standing of the keys in this process, ``health``, and the choice that the others agree with.

    What is no choice is asked of ``health`` and told to it directly, without waiting.
    """

    def __init__(self, health: Health, claim: Claim = always) -> None:
        self.health = health
        self._claim = claim

    async def granted(self, choice: Choice, family: str, now: float) -> bool:
        """Whether the attempt that ``Health.pick`` has chosen may go out; waits for a probe's claim only.

        Where it may not, the place is left out by the next pick.
        """
        if choice.kind != "probe" or await self._claim(choice.place, family, now):
            return True
        self.health.outrun(choice.place, family)
        return False
