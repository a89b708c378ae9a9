"""Step, per attempt: refuses a prompt that is too long for the target, before it is sent and paid for.

Far below the limit nothing is decoded: a token is a byte at least. Nearer to it the prompt is estimated
(``isthmus.tokens``), and within a tenth of the limit counted by the provider, where it counts. Answers to
what was estimated tell how good that was (``isthmus.rates.Ratios``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from typing import Any

import structlog

from isthmus import wire
from isthmus.errors import GatewayError, overflow
from isthmus.event import Event
from isthmus.pipeline import Answer, Call, Step
from isthmus.rates import Ratios
from isthmus.request import Body, Limit, Request, Target
from isthmus.tokens import estimate, may_exceed, prompt_tokens

MARGIN = 0.1
"""How near to the limit, as a share of it, an estimate has to be for the provider to be asked."""
COUNT_SECONDS = 10.0
"""How long the provider may take to count: then the estimate decides."""
COUNTED = (
    *("messages", "model", "system", "tools", "tool_choice", "thinking", "output_config"),
    *("cache_control", "speed", "context_management", "mcp_servers"),
)
"""The members of a Messages body that ``count_tokens`` takes (Anthropic's API reference)."""

_log = structlog.get_logger("isthmus")


def enforce_context(ratios: Ratios, counting: Collection[str]) -> Step:
    """The step; ``counting`` names the backends that count tokens, by a call of its own.

    Raises GatewayError (``context_overflow``, with the numbers in ``tokens``) for a prompt that is too long.
    """

    async def step(request: Request, call: Call) -> Answer:
        target = request.target
        limit = target.window if target is not None else None
        if target is None or limit is None or request.operation != "messages":
            return await call(request)
        if not may_exceed(request.body.wire(), limit.tokens):
            return await call(request)
        prompt = _Prompt(request, target, ratios)
        tokens, counted = prompt.tokens, None
        if target.backend in counting and prompt.is_doubtful(limit.tokens):
            counted = await _count(request, call)
            if counted is not None:
                prompt.learn(counted)
                tokens = counted
        if tokens > limit.tokens and (counted is not None or prompt.estimate.trust != "open"):
            raise _refused(target, tokens, limit, counted is not None)
        return _watched(await call(request), prompt.learn)

    return step


class _Prompt:
    """The prompt of one attempt as it was estimated, and what is learned of it."""

    def __init__(self, request: Request, target: Target, ratios: Ratios) -> None:
        self.estimate = estimate(request.body, target.model)
        self._place = target.backend, target.model
        self._ratios = ratios
        self.tokens = round(self.estimate.tokens * ratios.ratio(*self._place))

    def is_doubtful(self, limit: int) -> bool:
        """Whether only the provider can say if the prompt fits.

        What was learned of other callers' prompts refuses none that would fit without it.
        """
        if abs(self.tokens - limit) <= limit * MARGIN:
            return True
        seen = self.estimate.trust == "sure" and self.estimate.tokens > limit
        return self.tokens > limit and not seen

    def learn(self, used: int) -> None:
        """Of what is only a figure for something unseen nothing can be learned."""
        if self.estimate.trust == "sure":
            self._ratios.learn(*self._place, self.estimate.tokens, used)


def _refused(target: Target, tokens: int, limit: Limit, exact: bool) -> GatewayError:
    _log.info(
        "prompt too long",
        backend=target.backend,
        model=target.model,
        tokens=tokens,
        maximum=limit.tokens,
        limit=limit.source,
        counted=exact,
    )
    return overflow(tokens, limit.tokens)


async def _count(request: Request, call: Call) -> int | None:
    """The provider's own count of the prompt; None where it does not give one in time.

    A prompt that is too long may be refused even there: in words that tell its count.
    """
    full = request.body
    body = Body({name: full.peek(name) for name in COUNTED if name in full})
    asked = replace(request, body=body, operation="count_tokens", stream=False)
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            answer = await call(asked)
    except GatewayError as error:
        return error.tokens[0] if error.tokens is not None else None
    except TimeoutError:
        return None
    answer.close()
    try:
        return prompt_tokens(wire.loads(answer.whole or b""))
    except ValueError:
        return None


# --- what answers tell --------------------------------------------------------------------------


def _watched(answer: Answer, learn: Callable[[int], None]) -> Answer:
    """The answer, whose usage is looked at as it passes."""
    if answer.events is not None:
        return replace(answer, events=_overheard(answer.events, learn))
    if answer.whole is not None:
        try:
            _tell(Body(answer.whole).peek("usage"), learn)
        except GatewayError:
            return answer
    return answer


async def _overheard(
    batches: AsyncIterator[list[Event]], learn: Callable[[int], None]
) -> AsyncIterator[list[Event]]:
    """The same batches; of their events only the start of the message is decoded."""
    heard = False
    async for batch in batches:
        if not heard:
            heard = any(_is_start(event, learn) for event in batch)
        yield batch


def _is_start(event: Event, learn: Callable[[int], None]) -> bool:
    if event.type != "message_start":
        return False
    message: Any = event.value.get("message")
    _tell(message.get("usage") if isinstance(message, dict) else None, learn)  # pyright: ignore
    return True


def _tell(usage: Any, learn: Callable[[int], None]) -> None:
    used = prompt_tokens(usage)
    if used is not None:
        learn(used)
