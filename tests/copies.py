"""A process that holds a copy of the board of keys, as a worker does, and does what its input says.

Started with the descriptor of its line. Each line of input is a JSON array, the name of a thing to do
and its arguments; the answer is a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from isthmus.request import Place
from isthmus.routing.health import Choice
from isthmus.storage.board import Copy
from isthmus.storage.pools import Pools
from isthmus.storage.shared import Line

FAMILY = "opus"


async def chosen(
    pools: Pools, pool: Sequence[Place], family: str, root: bytes | None, now: float
) -> Choice | None:
    """What is picked and may go out: where another process tries a key already, the next one."""
    for _ in range(len(pool) + 1):
        choice = pools.health.pick(pool, family, root, now)
        if choice is None or await pools.granted(choice, family, now):
            return choice
    return None


async def do(pools: Pools, name: str, *arguments: Any) -> Any:
    now = time.monotonic()
    if name == "choose":
        keys, root = arguments
        pool = [Place("a", key) for key in keys]
        choice = await chosen(pools, pool, FAMILY, root and root.encode(), now)
        return choice and [choice.place.key, choice.kind]
    place = Place("a", arguments[0])
    if name == "state":
        return pools.health.standing(place, FAMILY, now).state
    if name == "answered":
        return pools.health.answered(place, FAMILY, (), now)
    if name == "failed":
        return pools.health.failed(place, FAMILY, arguments[1], arguments[2], now)
    if name == "released":
        return pools.health.released(place, FAMILY)
    return pools.health.keep(arguments[1].encode(), place)


async def main(descriptor: int) -> None:
    line = await Line.open(socket.socket(fileno=descriptor))
    copy = Copy(line)
    await copy.join()
    pools = Pools(copy.health, copy.claim)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while text := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await do(pools, *json.loads(text))), flush=True)
    await line.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
