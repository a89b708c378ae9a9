"""Step, per attempt: leaves out reasoning that the provider has refused, and remembers that it did.

A thinking block is refused where its signature is another provider's, or where the conversation
before it was changed. A Claude client is told so and repairs itself; a client of another dialect
cannot, and would meet the same 400 on every later turn. So the attempt is made again, once, without
any thinking, and later requests leave out what was refused from the start. What is thought after
that is valid behind the stripped turns, and stays.
Source: Anthropic's page on preserved thinking (strip all of it, and keep it stripped).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any, cast

from isthmus.errors import GatewayError
from isthmus.messages import Block
from isthmus.pipeline import Answer, Call, Step
from isthmus.request import Request
from isthmus.storage import Store

NATIVE = "anthropic"
LEFT_OUT = "the provider refused the reasoning of earlier turns: it was left out"
SEALS = {"thinking": "signature", "redacted_thinking": "data"}
"""The field of each kind of reasoning block that tells it from all others."""


def refused_reasoning(store: Store, strict: Callable[[Request], bool]) -> Step:
    """The step over a store; where ``strict`` holds for a request nothing is left out of it."""

    async def step(request: Request, call: Call) -> Answer:
        seals = dict(_seals(request))
        if request.dialect == NATIVE or not seals or strict(request):
            return await call(request)
        keys = [_key(request.caller, seal) for seal in seals]
        known = await store.get(keys)
        last = max(
            (seals[s] for s, v in zip(seals, known, strict=True) if v is not None), default=-1
        )
        try:
            return await _without(request, last, call)
        except GatewayError as error:
            if error.kind != "reasoning_refused":
                raise
        for key in keys:
            await store.add(key, b"")
        return await _without(request, max(seals.values()), call)

    return step


def _seals(request: Request) -> Iterator[tuple[str, int]]:
    """The seal of each reasoning block with the place of its turn."""
    if request.dialect == NATIVE:
        return
    for place, turn in enumerate(request.body.peek("messages") or ()):
        for block in turn["content"] if isinstance(turn["content"], list) else ():
            if block["type"] in SEALS:
                yield str(block.get(SEALS[block["type"]])), place


def _key(caller: str, seal: str) -> bytes:
    return blake2b(f"refused\0{caller}\0{seal}".encode(), digest_size=16).digest()


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
