"""Fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.harness import World


# The same cases on every run, so that a change is judged by what it changes; EXPLORE=1 draws new ones.
settings.register_profile("isthmus", deadline=None, derandomize="EXPLORE" not in os.environ)
settings.load_profile("isthmus")


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
