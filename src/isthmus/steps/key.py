"""Step, per attempt: chooses the key of the target's backend.

A conversation keeps its key, since prompt caches belong to an account: rendezvous hashing moves only
the conversations of a key that is taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from isthmus.pipeline import Answer, Call, Step
from isthmus.request import Request

SESSION = "x-claude-code-session-id"
ROOT_BYTES = 16 * 1024
"""How much of a conversation's first message tells it from others."""


def choose_key(keys: Mapping[str, tuple[str, ...]]) -> Step:
    """The step for backends whose keys are given by name; each has one at least."""

    async def step(request: Request, call: Call) -> Answer:
        pool = keys[request.target.backend] if request.target else ()
        request.key = pool[0] if len(pool) == 1 else _nearest(pool, conversation(request))
        return await call(request)

    return step


def conversation(request: Request) -> bytes:
    """What stays the same from turn to turn: the client's session, else the first message."""
    session = next((value for name, value in request.headers if name == SESSION), None)
    return session.encode() if session else request.body.first("messages")[:ROOT_BYTES]


def _nearest(pool: tuple[str, ...], root: bytes) -> str:
    same = blake2b(root, digest_size=16).digest()
    return max(pool, key=lambda key: blake2b(same, key=key.encode()[:64], digest_size=8).digest())
