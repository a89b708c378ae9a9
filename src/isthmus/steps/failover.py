"""Step, per exchange: takes a request along its route until an attempt is answered.

``routing.journey`` says what is tried; here it is tried. Before the first content only: what a client
has been told is never told again by another.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import replace

from isthmus.errors import GatewayError, hidden, refuse
from isthmus.event import Event, stream_error
from isthmus.pipeline import Answer, Call, Step
from isthmus.request import Attempt, Place, Request
from isthmus.routing.health import Choice
from isthmus.routing.journey import Journey, Pick, Surroundings, Trial, family, plain
from isthmus.routing.retry import rule_of

SWITCH = "x-isthmus-failover"
MOVED = (
    "the conversation moved to another key: what its provider keeps of it, such as cached prompts "
    "and sealed reasoning, may not be readable there"
)

MOST_HELD = 1_000
"""Events without content that are held back at most: then the stream is relayed as it is."""

Granted = Callable[[Choice, str, float], Awaitable[bool]]
"""Whether an attempt with a chosen key may go out, for a family of models, now."""


def failover(
    around: Surroundings,
    keys: Mapping[Place, str],
    granted: Granted,
    end: Callable[[Request], float],
    tick: float,
) -> Step:
    """The step. ``granted`` asks whether an attempt may go out: a probe of a key goes out once in all processes.

    ``end`` tells when the time for all attempts is over. While a further one is awaited, each ``tick``
    seconds bring an empty batch.
    """

    async def step(request: Request, call: Call) -> Answer:
        route = around.router.route(request.model)
        single = is_single(request)
        pick = plain(around, route, request)
        answer = failure = None
        if pick is not None:
            _aim(request, pick, keys)
            request.last = single or not around.repeats
            try:
                answer = await call(request)
            except GatewayError as error:
                failure = error
            else:
                _note_plain(around, pick, request, answer)
                if request.last or not answer.open:
                    return answer
        journey = Journey(around, request, route, single=single, ends=end(request))
        way = _Way(around, journey, keys, granted, call)
        if pick is not None and failure is not None:
            way.failed(pick, request, failure)
        if pick is not None and answer is not None:
            return way.held(pick, request, answer, tick)
        return await way.answer(request, tick)

    return step


def _aim(request: Request, pick: Pick, keys: Mapping[Place, str]) -> None:
    request.target, request.place, request.key = pick.target, pick.place, keys[pick.place]


def _note_plain(around: Surroundings, pick: Pick, request: Request, answer: Answer) -> None:
    """Remember of the only key of the only target that it was answered."""
    around.health.answered(pick.place, pick.family, answer.received, around.clock())
    request.attempts.append(Attempt(_where(pick), str(answer.status)))
    if around.repeats:
        around.budget(pick.place.backend).sent()


def is_single(request: Request) -> bool:
    """Whether the client wants one attempt and no other. Raises GatewayError (400)."""
    said = [value.strip().lower() for name, value in request.headers if name == SWITCH]
    if not said:
        return False
    if len(said) > 1 or said[0] not in ("on", "off"):
        raise refuse(SWITCH, "expected on or off")
    return said[0] == "off"


def broke(around: Surroundings, request: Request, error: GatewayError) -> None:
    """Remember a failure that came when the content had begun."""
    if request.place is not None and request.target is not None:
        fate = rule_of(error).effect, error.retry_after
        models = family(request.target, request.operation)
        around.health.failed(request.place, models, *fate, around.clock())


class _Way:
    """The attempts of one request."""

    def __init__(
        self,
        around: Surroundings,
        journey: Journey,
        keys: Mapping[Place, str],
        granted: Granted,
        call: Call,
    ) -> None:
        self._around = around
        self._journey = journey
        self._keys = keys
        self._granted = granted
        self._call = call
        self._trials: Iterator[Trial] = journey.trials()
        self._current: Answer | None = None
        self._pick: Pick | None = None
        self._asking: asyncio.Task[Answer] | None = None

    async def answer(self, request: Request, tick: float) -> Answer:
        """The first answer. Where it has no content yet, another attempt may still take its place."""
        answer = await self._next(request)
        if not answer.open or answer.events is None or self._journey.has_one_trial:
            return answer
        return self._held(request, answer, tick)

    def held(self, pick: Pick, request: Request, answer: Answer, tick: float) -> Answer:
        """An answer without content yet, in whose place another attempt may still come."""
        self._pick = pick
        return self._held(request, answer, tick)

    def _held(self, request: Request, answer: Answer, tick: float) -> Answer:
        self._current = answer
        return replace(answer, events=self._until_content(request, tick), close=self._close)

    async def _next(self, request: Request) -> Answer:
        """What the next attempt that succeeds brings. Raises GatewayError where none is left."""
        for trial in self._trials:
            if trial.pause:
                await asyncio.sleep(trial.pause)
            if len(trial.picks) == 1:
                self._pick = trial.picks[0]
                answer = await self._run(self._pick, request)
            else:
                answer = await self._race(trial.picks, request)
            if answer is not None:
                return answer
        for candidate in self._journey.passed_over:
            where = f"{candidate.name}:{candidate.leaf.model}"
            request.attempts.append(Attempt(where, "cooling down"))
        raise self._journey.outcome()

    async def _run(self, pick: Pick, request: Request) -> Answer | None:
        """Make one attempt; None where it failed, which the journey then knows."""
        health, clock = self._around.health, self._around.clock
        if not await self._granted(pick.choice, pick.family, clock()):
            self._journey.outrun(pick)
            return None
        _aim(request, pick, self._keys)
        request.last = self._journey.has_one_trial
        try:
            answer = await self._call(request)
        except GatewayError as error:
            self.failed(pick, request, error)
            return None
        except BaseException:
            if pick.choice.kind == "probe":
                health.released(pick.place, pick.family)
            raise
        health.answered(pick.place, pick.family, answer.received, clock())
        if self._journey.answered(pick):
            answer.notes.changed("messages", MOVED)
        request.attempts.append(Attempt(_where(pick), str(answer.status)))
        return answer

    def failed(self, pick: Pick, request: Request, error: GatewayError) -> None:
        """Take in that an attempt failed, before its content."""
        # What a provider said is quoted, and it may have repeated the key that it was sent.
        error.message = hidden(error.message, self._keys[pick.place])
        self._journey.failed(pick, error)
        status = error.status or error.row.status
        request.attempts.append(Attempt(_where(pick), f"{status} {error.kind}"))

    # --- side by side ---------------------------------------------------------------------------

    async def _race(self, picks: Sequence[Pick], request: Request) -> Answer | None:
        """The answer that has content first. The others are given up; None where all of them failed."""
        waiting = sorted(picks, key=lambda pick: pick.candidate.leaf.handicap)
        began = self._around.clock()
        running: dict[asyncio.Task[Answer | None], Pick] = {}
        try:
            while waiting or running:
                late = self._around.clock() - began
                while waiting and (not running or waiting[0].candidate.leaf.handicap <= late):
                    pick = waiting.pop(0)
                    running[asyncio.create_task(self._run(pick, replace(request)))] = pick
                until = waiting[0].candidate.leaf.handicap - late if waiting else None
                done, _ = await asyncio.wait(running, timeout=until, return_when=FIRST_COMPLETED)
                for task in done:
                    pick, answer = running.pop(task), task.result()
                    if answer is not None:
                        self._pick = pick
                        _aim(request, pick, self._keys)
                        return answer
            return None
        finally:
            _give_up(running)
            for pick in (*waiting, *running.values()):
                # A probe that was not sent, or not to its end, must not keep others from trying.
                self._around.health.released(pick.place, pick.family)

    # --- between the head and the content -------------------------------------------------------

    async def _until_content(self, request: Request, tick: float) -> AsyncIterator[list[Event]]:
        """The batches of the first answer that has content; empty ones while that is awaited."""
        while True:
            held: list[Event] = []
            failure: GatewayError | None = None
            assert self._current is not None
            assert self._current.events is not None
            batches = self._current.events
            try:
                async for batch in batches:
                    # In place of the provider's own pings the client is told at once that we live.
                    held += [event for event in batch if event.type != "ping"]
                    if _has_content(batch) or len(held) > MOST_HELD:
                        break
                    yield []
            except GatewayError as error:
                failure = error
            if failure is None:
                yield held
                async for batch in batches:
                    yield batch
                return
            self._current.close()
            assert self._pick is not None
            self.failed(self._pick, request, failure)
            self._asking = asyncio.create_task(self._next(request))
            while not (await asyncio.wait({self._asking}, timeout=tick))[0]:
                yield []
            self._current = self._asking.result()

    def _close(self) -> None:
        """End the attempt that is under way, or the asking for the next."""
        if self._current is not None:
            self._current.close()
        if self._asking is None:
            return
        if not self._asking.done():
            self._asking.cancel()
        elif not self._asking.cancelled() and self._asking.exception() is None:
            self._asking.result().close()


def _has_content(batch: list[Event]) -> bool:
    """Whether content begins in a batch. Raises GatewayError where the stream reports an error first."""
    for event in batch:
        if event.type == "content_block_start":
            return True
        if event.type == "error":
            raise stream_error(event)
    return False


def _give_up(running: Collection[asyncio.Task[Answer | None]]) -> None:
    """Cancel attempts, not waiting until they have let go of their connections.

    Who waits may itself be cancelled, and then loses the answer that has won.
    """
    for task in running:
        task.cancel()
        task.add_done_callback(_closed)


def _closed(task: asyncio.Task[Answer | None]) -> None:
    """Close the answer that came in spite of all."""
    answer = None if task.cancelled() or task.exception() is not None else task.result()
    if answer is not None:
        answer.close()


def _where(pick: Pick) -> str:
    return f"{pick.target.backend}:{pick.target.model}"
