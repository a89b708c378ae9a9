"""A client as ASGI shows it: its request, and the moment at which it leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from isthmus.edge.cycle import GONE
from isthmus.request import HttpRequest

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ClientGone(Exception):
    """The client closed the connection: nobody is left to be answered."""


@contextlib.contextmanager
def leaving(
    scope: Scope, receive: Receive, task: asyncio.Task[Any]
) -> Iterator[Callable[[], bool]]:
    """Cancel the task when its client leaves; what is given tells whether that is why.

    Our own edge calls back; any other host tells only who keeps asking, which takes a task.
    """
    left: list[None] = []

    def leave() -> None:
        if not left:
            left.append(None)
            task.cancel()

    subscribe = scope.get("extensions", {}).get(GONE)
    if subscribe is not None:
        subscribe(leave)
        try:
            yield lambda: bool(left)
        finally:
            left.append(None)
        return
    watch = asyncio.create_task(_wait_until_gone(receive, leave))
    try:
        yield lambda: bool(left)
    finally:
        watch.cancel()


async def _wait_until_gone(receive: Receive, leave: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()


def http_request(scope: Scope) -> HttpRequest:
    # As a list first: a generator takes twice as long.
    headers = tuple(
        [(k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in scope["headers"]]
    )
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"].decode("latin-1")
    return HttpRequest(scope["method"], path.decode("latin-1"), query, headers)
