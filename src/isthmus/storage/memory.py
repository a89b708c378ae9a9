"""Storage in the memory of one process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

ENTRY_BYTES = 300
"""What an entry costs beside its key and value: the table's slot, three objects and a clock reading."""


class MemoryStore:
    """A ``Store`` of at most ``max_bytes``, where what was not used for ``max_age`` seconds is gone.

    ``clock`` gives seconds and never goes back. Where room is needed, what was used longest ago goes
    first; a value that would not fit at all is not kept.
    """

    def __init__(self, max_bytes: int, max_age: float, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._clock = clock
        # Every use moves an entry to the end, so the oldest use stands first.
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self.bytes = 0

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self._expire()
        return [self._use(key) for key in keys]

    async def add(self, key: bytes, value: bytes) -> None:
        self._expire()
        if self._use(key) is not None or _size(key, value) > self._max_bytes:
            return
        self._entries[key] = (self._clock(), value)
        self.bytes += _size(key, value)
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    async def delete(self, key: bytes) -> bool:
        self._expire()
        return self._drop(key)

    def _use(self, key: bytes) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries[key] = (self._clock(), entry[1])
        self._entries.move_to_end(key)
        return entry[1]

    def _expire(self) -> None:
        end = self._clock() - self._max_age
        while self._entries:
            key, (used, _) = next(iter(self._entries.items()))
            if used > end:
                return
            self._drop(key)

    def _drop(self, key: bytes) -> bool:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= _size(key, entry[1])
        return entry is not None


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_BYTES
