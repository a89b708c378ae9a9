"""Step, per attempt: leaves out reasoning that the provider has refused, and remembers that it did.

A thinking block is refused where its signature is another provider's, or where the conversation
before it was changed. A Claude client is told so and repairs itself; a client of another dialect
cannot, and would meet the same 400 on every later turn. So the attempt is made again, once, without
any thinking, and later requests leave out what was refused from the start. What is thought after
that is valid behind the stripped turns, and stays.
Source: Anthropic's page on preserved thinking (strip all of it, and keep it stripped).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any, cast

from isthmus import wire
from isthmus.errors import GatewayError
from isthmus.messages import Block
from isthmus.pipeline import Answer, Call, Step
from isthmus.request import Request
from isthmus.steps.vault import bare
from isthmus.storage import Store

NATIVE = "anthropic"
LEFT_OUT = "the provider refused the reasoning of earlier turns: it was left out"
SEALS = {"thinking": "signature", "redacted_thinking": "data"}
"""The field of each kind of reasoning block that tells it from all others."""

_PLACE = re.compile(r"messages\.(\d{1,9})\.")


def refused_reasoning(store: Store, strict: Callable[[Request], bool]) -> Step:
    """The step over a store; where ``strict`` holds for a request nothing is left out of it."""

    async def step(request: Request, call: Call) -> Answer:
        seals = dict(_seals(request))
        if not seals or strict(request):
            return await call(request)
        known = await store.get(list(seals))
        places = zip(seals.values(), known, strict=True)
        last = max((place for place, value in places if value is not None), default=-1)
        try:
            return await _without(request, last, call)
        except GatewayError as error:
            if error.kind != "reasoning_refused":
                raise
            first = _first(error.message)
        for key, place in seals.items():
            if place >= first:
                await store.add(key, b"")
        return await _without(request, max(seals.values()), call)

    return step


def _first(message: str) -> int:
    """The place before which the provider found nothing wrong: blocks there may be valid elsewhere.

    What is sent has as many turns as the request or fewer, so that its places are never later ones.
    """
    named = _PLACE.match(message)
    return int(named[1]) if named else 0


def _seals(request: Request) -> Iterator[tuple[bytes, int]]:
    """The key of each reasoning block with the place of its turn.

    A key covers what stands before the block: the same block may be valid in a conversation that
    another one has branched off from.
    """
    turns = request.body.peek("messages") or ()
    if request.dialect == NATIVE or not any(_sealed(turn) for turn in turns):
        return
    frame = [request.caller, bare(request.body.peek("system")), bare(request.body.peek("tools"))]
    chain = blake2b(wire.canonical(frame), digest_size=16)
    for place, turn in enumerate(turns):
        for block in _sealed(turn):
            key = chain.copy()
            key.update(str(block.get(SEALS[block["type"]])).encode())
            yield key.digest(), place
        chain.update(wire.canonical(bare(_stripped(turn))))


def _sealed(turn: dict[str, Any]) -> list[Block]:
    """The reasoning blocks of a turn."""
    blocks = cast("list[Block]", turn["content"] if isinstance(turn["content"], list) else [])
    return [block for block in blocks if block["type"] in SEALS]


async def _without(request: Request, last: int, call: Call) -> Answer:
    """The answer to a request whose turns up to ``last`` hold no reasoning; -1 for all as it is."""
    if last < 0:
        return await call(request)
    body = request.body.copy()
    turns = cast("list[dict[str, Any]]", body.peek("messages"))
    stripped = [_stripped(turn) if at <= last else turn for at, turn in enumerate(turns)]
    body.edit("messages", [turn for turn in stripped if turn["content"]])
    answer = await call(replace(request, body=body))
    answer.notes.dropped("messages", LEFT_OUT)
    return answer


def _stripped(turn: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(turn["content"], list):
        return turn
    blocks = cast("list[Block]", turn["content"])
    return {**turn, "content": [block for block in blocks if block["type"] not in SEALS]}
