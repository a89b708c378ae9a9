"""Fixtures that several test files share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from hypothesis import settings

if TYPE_CHECKING:
    from tests.harness import World


# The same cases on every run, so that a change is judged by what it changes; EXPLORE=1 draws new ones.
settings.register_profile("isthmus", deadline=None, derandomize="EXPLORE" not in os.environ)
settings.load_profile("isthmus")


Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine function in an event loop of either kind, for 20 seconds at most."""

    def runs(body: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(20):
                return await body()

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(bounded())

    return runs


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    """One gateway over one simulator for all tests that change no settings."""
    from tests.harness import World

    world = World()
    yield world
    world.close()


@pytest.fixture
def world(shared_world: World) -> World:
    """The shared gateway, its simulator forgetful of what came before."""
    shared_world.simulator.reset()
    return shared_world
