"""Lets so many in at a time; who comes then waits in line, for a short time."""

from __future__ import annotations

import asyncio
from collections import deque

from isthmus.errors import GatewayError


class Gate:
    """Counts what is inside. ``enter`` where ``admits`` says so, else ``wait``; then ``leave``."""

    def __init__(self, limit: int, line: int) -> None:
        self._limit = limit
        self._line = line
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.inside = 0

    def admits(self) -> bool:
        """Go in, if there is room and nobody waits."""
        if self.inside >= self._limit:
            return False
        self.inside += 1
        return True

    async def wait(self, seconds: float) -> None:
        """Go in when it is one's turn. Raises GatewayError (``unavailable``) when that takes longer, or
        when the line is full. Who is cancelled has left the line, and whatever was his.
        """
        if len(self._waiting) >= self._line:
            raise _full(seconds)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise _full(seconds) from None
            raise

    def leave(self) -> None:
        """Go out; who waits longest takes the place at once, so that nobody slips in before him."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled, and does not know it yet
                turn.set_result(None)
                return
        self.inside -= 1


def _full(seconds: float) -> GatewayError:
    return GatewayError(
        "unavailable",
        "as many requests to the provider are running as the limits allow",
        source="gateway",
        retry_after=max(1.0, seconds),
    )
