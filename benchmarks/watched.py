"""Serves a configuration as ``isthmus serve`` does, and prints how many tasks run in its loop.

``python -m benchmarks.watched CONFIG`` prints a number a second; nothing outside can count them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import uvloop

from isthmus import config, server


async def _count() -> None:
    while True:
        print(len(asyncio.all_tasks()), flush=True)
        await asyncio.sleep(1)


def _ready(ports: Mapping[str, int]) -> None:
    """The counting says that we are up."""


async def _main(path: Path) -> None:
    settings = config.load(path, {}, {}).config
    counting = asyncio.create_task(_count())
    try:
        await server.serve(settings, _ready)
    finally:
        counting.cancel()


if __name__ == "__main__":
    server.log_to_stderr()
    uvloop.run(_main(Path(sys.argv[1])))
