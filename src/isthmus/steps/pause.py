"""Step, per attempt: goes on with a turn that the provider paused, so that a client sees one answer.

A provider that runs tools by itself may end an answer with ``pause_turn`` and wait to be sent the turn
as it stands. Clients of other dialects know nothing like it, so it is done for them here.
Source: Anthropic's documentation of server tools and of stop reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from isthmus.errors import GatewayError
from isthmus.event import Event
from isthmus.messages import Block, Reader, sendable
from isthmus.pipeline import Answer, Call, Step
from isthmus.request import Body, Pause, Request

ROUNDS = 10
"""How often the provider is asked for one turn, the first time included; then the pause is the end."""


def continue_pauses(dialects: Mapping[str, str], tick: float) -> Step:
    """The step for backends whose dialects are given by name.

    While a further round is awaited, each ``tick`` seconds bring an empty batch.
    """

    async def step(request: Request, call: Call) -> Answer:
        if not _may_pause(request, dialects):
            return await call(request)
        answer = await call(request)
        if answer.events is None:
            return answer
        turn = _Turn(request, call, answer)
        return replace(answer, events=turn.events(tick), close=turn.close)

    return step


def _may_pause(request: Request, dialects: Mapping[str, str]) -> bool:
    """Whether the provider runs tools for this request, and its client cannot go on by itself."""
    if request.target is None or request.dialect == dialects[request.target.backend]:
        return False
    return request.operation == "messages" and _has_server_tools(request.body)


def _has_server_tools(body: Body) -> bool:
    """Whether a tool may be one that the provider runs: any of a type of its own."""
    if body.peek("mcp_servers"):
        return True
    tools = body.peek("tools")
    rows = cast("list[Any]", tools) if isinstance(tools, list) else []
    return any(isinstance(t, dict) and t.get("type") not in (None, "custom") for t in rows)


class _Turn:
    """One turn over its rounds: what the provider answers in each, as the events of one message."""

    def __init__(self, request: Request, call: Call, answer: Answer) -> None:
        self._request = request
        self._call = call
        self._answer = answer
        self._asking: asyncio.Task[Answer] | None = None
        self._reader = Reader()
        self._said: list[Block] = []
        self._used: list[dict[str, Any]] = []
        self._ends: list[Event] = []
        self._round = 1

    def close(self) -> None:
        """End the round that is under way, or the asking for it."""
        self._answer.close()
        asking = self._asking
        if asking is None:
            return
        if not asking.done():
            asking.cancel()
        elif not asking.cancelled() and asking.exception() is None:
            asking.result().close()

    async def events(self, tick: float) -> AsyncIterator[list[Event]]:
        """The batches of all rounds. Raises GatewayError where one of them fails."""
        more = True
        while more:
            assert self._answer.events is not None
            async for batch in self._answer.events:
                events, failure = self._taken(batch)
                if events or not batch:
                    yield events
                if failure is not None:
                    raise failure
            more = self._is_paused()
            if more:
                self._ask()
                while not await self._is_answered(tick):
                    yield []

    def _taken(self, batch: list[Event]) -> tuple[list[Event], GatewayError | None]:
        """The client's events for one batch, up to the first that is illegal."""
        events: list[Event] = []
        try:
            for event in batch:
                for whole in self._reader.feed(event):
                    events += self._joined(whole)
        except GatewayError as error:
            return events, error
        return events, None

    def _joined(self, event: Event) -> list[Event]:
        """What one event of this round is in the whole stream.

        The end of a message is held back until it is known to be the end of the turn.
        """
        kind = event.type
        if kind == "message_start" and self._round > 1:
            return []
        if kind == "message_delta":
            self._ends.append(event)
            return []
        if kind == "message_stop":
            return [] if self._is_paused() else [*self._end(), event]
        if self._said and kind.startswith("content_block_") and "index" in event.value:
            value = event.value
            return [Event(value={**value, "index": value["index"] + len(self._said)})]
        return [event]

    def _is_paused(self) -> bool:
        """Whether the round is complete and the turn goes on.

        A call that the client has to answer cannot be left open; nor is it of use to repeat a
        request of which nothing has come.
        """
        message = self._reader.message
        if self._reader.state != "done" or message.get("stop_reason") != "pause_turn":
            return False
        said = sendable([*self._said, *message["content"]])
        called = any(block["type"] == "tool_use" for block in said)
        return bool(said) and not called and self._round < ROUNDS

    def _end(self) -> list[Event]:
        """The end of the last round; of several rounds it tells what all of them used."""
        if not self._used:
            return self._ends
        *early, last = self._ends
        usage = summed([*self._used, self._reader.message["usage"]])
        return [*early, Event(value={**last.value, "usage": usage})]

    def _ask(self) -> None:
        """Begin the next round with what has been said so far."""
        self._answer.close()
        message = self._reader.message
        self._said += message["content"]
        self._used.append(message["usage"])
        said = tuple(sendable(self._said))
        pause = Pause(said, _container(message))
        self._asking = asyncio.ensure_future(self._call(replace(self._request, pause=pause)))
        self._reader = Reader()
        self._ends = list[Event]()
        self._round += 1

    async def _is_answered(self, tick: float) -> bool:
        """Wait for the next round's answer, for ``tick`` seconds at most."""
        assert self._asking is not None
        done, _ = await asyncio.wait({self._asking}, timeout=tick)
        if done:
            self._answer = self._asking.result()
        return bool(done)


def _container(message: Mapping[str, Any]) -> str | None:
    """The id of the container in which the turn runs code, where it has one."""
    container = message.get("container")
    found = cast("dict[str, Any]", container).get("id") if isinstance(container, dict) else None
    return found if isinstance(found, str) else None


_RUN = (
    *("input_tokens", "output_tokens"),
    *("cache_creation_input_tokens", "cache_read_input_tokens"),
)


def summed(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The usage of several rounds: numbers are added at any depth, of all else the last one counts.

    A round without ``iterations`` is one, where others list theirs: whoever adds those up would
    miss it. A number that no round tells stays unknown.
    """
    total: dict[str, Any] = {}
    for usage in rounds:
        for name, value in usage.items():
            total[name] = _sum(total.get(name), value)
    if any(usage.get("iterations") for usage in rounds):
        total["iterations"] = [run for usage in rounds for run in _runs(usage)]
    return total


def _sum(before: Any, value: Any) -> Any:
    if isinstance(before, dict) and isinstance(value, dict):
        return summed([before, value])  # pyright: ignore
    if _is_number(before) and _is_number(value):
        return before + value
    return before if value is None else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _runs(usage: Mapping[str, Any]) -> list[Any]:
    listed = usage.get("iterations")
    if isinstance(listed, list) and listed:
        return cast("list[Any]", listed)
    return [{"type": "message", **{name: usage[name] for name in _RUN if name in usage}}]
