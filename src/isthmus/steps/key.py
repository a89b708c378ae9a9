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
    return session.encode() if session else request.body.first("messages")


def _nearest(pool: tuple[str, ...], root: bytes) -> str:
    return max(pool, key=lambda key: blake2b(root, key=key.encode()[:64], digest_size=8).digest())
