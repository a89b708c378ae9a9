"""What is remembered between exchanges: the protocols that the rest of the gateway knows storage by.

State has one owner: whoever needs some is handed an object that fits one of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Store(Protocol):
    """Values by key, kept for a while.

    Bounded in bytes and in age: whoever asks must live with any value being gone. Keys are digests,
    so that no two owners' values meet; values are immutable.
    """

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of the keys in their order, None for what is not (or no longer) there.

        What is asked for counts as used: it is kept for its full age again.
        """
        ...

    async def add(self, key: bytes, value: bytes) -> None:
        """Keep a value. One that stands under the key already stays, and counts as used."""
        ...

    async def delete(self, key: bytes) -> bool:
        """Forget a value; whether there was one."""
        ...
