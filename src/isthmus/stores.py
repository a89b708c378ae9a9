"""The stores of a gateway by name, as its configuration wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isthmus.config import Config, pools
from isthmus.request import Place
from isthmus.routing.health import Policy
from isthmus.storage import Store
from isthmus.storage.memory import MemoryStore
from isthmus.storage.shared import Line, SharedStore

VAULT = "vault"
REFUSED = "refused"
RESPONSES = "responses"

REFUSED_BYTES = 4 * 1024 * 1024
"""Room for the digests of reasoning that providers have refused."""


def in_memory(config: Config, clock: Callable[[], float]) -> Mapping[str, Store]:
    """Stores in this process; what is switched off has none."""
    vault, responses = config.vault, config.responses
    stores: dict[str, Store] = {REFUSED: MemoryStore(REFUSED_BYTES, vault.max_age, clock)}
    if vault.enabled:
        stores[VAULT] = MemoryStore(vault.max_bytes, vault.max_age, clock)
    if responses.store:
        stores[RESPONSES] = MemoryStore(responses.max_bytes, responses.max_age, clock)
    return stores


def policy(config: Config) -> Policy:
    """How long keys are left alone."""
    retry = config.retry
    return Policy(
        cool_seconds=retry.cool_seconds,
        long_cool_seconds=retry.long_cool_seconds,
        longest_cool_seconds=retry.longest_cool_seconds,
        bench_seconds=retry.bench_seconds,
        failures=retry.failures,
        eject_seconds=retry.eject_seconds,
    )


def weights(config: Config) -> dict[Place, float]:
    """What part of the requests each key is to have beside others."""
    named = pools(config)
    return {place: row.weight for name, row in config.backends.items() for place in named[name]}


def over(line: Line, names: Mapping[str, Store]) -> Mapping[str, Store]:
    """The same stores, where another process keeps them."""
    return {name: SharedStore(line, name) for name in names}
