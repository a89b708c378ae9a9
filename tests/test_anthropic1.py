"""The last `anthropic` 1.x, run in its own environment, as the client of API version 2023-06-01."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests import material, oracle
from tests.harness import World

CHECKS = re.findall(r"@check\ndef (\w+)", (oracle.SCRIPTS / "client.py").read_text())
DOORS = ("prefix", "main port", "own port")


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, Any]]:
    """What the script said of each check, and the requests that reached the provider."""
    locks = {"auth": {"keys": ["right-key-canary-1"]}, "limits": {"body_bytes": 5000}}
    world, locked = World(), World(**locks)
    try:
        own = f"http://127.0.0.1:{world.anthropic_port}"
        with pytest.MonkeyPatch.context() as patch:
            material.clean(patch)
            places = (f"{world.url}/anthropic", world.url, own, f"{locked.url}/anthropic")
            checks = json.loads(oracle.run("client.py", *places))
        yield {"checks": checks, "received": world.received()}
    finally:
        world.close()
        locked.close()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", CHECKS)
def test_a_client_of_2023(told: dict[str, Any], name: str, door: str) -> None:
    failure = told["checks"][f"{name}, {door}"]
    assert failure is None, failure


def test_keys(told: dict[str, Any]) -> None:
    failure = told["checks"]["keys"]
    assert failure is None, failure


def test_the_version_and_the_sampling_of_the_client_reach_the_provider(
    told: dict[str, Any],
) -> None:
    sent = [(dict(request.headers), json.loads(request.body)) for request in told["received"]]
    assert {headers["anthropic-version"] for headers, _ in sent} == {"2023-06-01"}
    assert {headers["x-stainless-package-version"][:2] for headers, _ in sent} == {"1."}
    bodies = [body for _, body in sent]
    for name, value in (("temperature", 0.5), ("top_p", 0.9), ("top_k", 3)):
        assert any(body.get(name) == value for body in bodies), name


def test_every_check_was_made(told: dict[str, Any]) -> None:
    assert len(CHECKS) > 15
    assert set(told["checks"]) == {f"{name}, {door}" for name in CHECKS for door in DOORS} | {
        "keys"
    }
