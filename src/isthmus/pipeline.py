"""How a request is answered: ``Call``, ``Answer`` and the steps between them.

The order of the steps, outermost first: once per exchange

* ``responses.step`` and ``vault``: the conversation is whole before anything is chosen by it;
* ``failover``: the route, one attempt after the other;

and per attempt

* ``refused``: what the provider would refuse of the conversation goes again;
* ``pause``: as many rounds as a paused turn takes, within the one key, since the account holds what the
  turn refers to: its cached prompt, its container;
* ``context``: what the model's window does not hold is not sent, in any of those rounds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from isthmus.event import Event
from isthmus.messages import Message
from isthmus.request import Headers, Notes, Request, Target


@dataclass(slots=True)
class Answer:
    """What an attempt brought: a head, and either the events of a stream or a whole body.

    Events arrive in batches, one for each read, so that one read costs one write. ``whole`` is a
    complete JSON body in the backend's dialect (a message, a token count). Whoever holds an answer
    closes it: ``close`` ends the upstream exchange at any moment, and may be called twice. ``headers``
    are for the client, ``received`` all that the provider sent. ``open``
    says that nothing of its content has come yet, so that another attempt may still take its place.
    ``observers`` are told the complete message on translated lanes, before its end goes out.
    """

    status: int
    headers: Headers
    target: Target
    close: Callable[[], None]
    events: AsyncIterator[list[Event]] | None = None
    whole: bytes | None = None
    open: bool = False
    received: Headers = ()
    notes: Notes = field(default_factory=Notes)
    observers: list[Observer] = field(default_factory=list["Observer"])


Observer = Callable[[Message], Awaitable[None]]
"""Looks at a message and changes nothing. What it raises is logged, and the answer goes on."""

Call = Callable[[Request], Awaitable[Answer]]
"""One thing answers a request: an attempt, or a step around another call."""

Step = Callable[[Request, Call], Awaitable[Answer]]
"""A step sees the request before the call below it and the answer after; it may call it again."""


def compose(steps: Sequence[Step], call: Call) -> Call:
    """The steps around a call, the first outermost."""
    for step in reversed(steps):
        call = _around(step, call)
    return call


def _around(step: Step, call: Call) -> Call:
    async def stepped(request: Request) -> Answer:
        return await step(request, call)

    return stepped
