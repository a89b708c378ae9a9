"""The settings of a simulator, and what it records of each request."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

MAX_BODY = 32 * 1024 * 1024
MAX_RECORDED = 1000
ORGANIZATION = "5e0a1b2c-51b0-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class Options:
    """How a simulator runs.

    `api_keys` empty accepts any key. `binding` "enforced" checks the thinking prefix as for accounts created since
    2026-08-31, "default" only on models that always check. `trust_foreign_signatures` takes signatures that the
    simulator did not make. `organization_per_key` gives every key an organization of its own. `clock` is wall time in
    seconds, for cache lifetimes and rate-limit windows. `max_body` in bytes; `requests_per_minute` and
    `tokens_per_minute` are what the rate-limit headers announce; with `enforce_limits` the former is a 429.
    """

    host: str = "127.0.0.1"
    port: int = 0
    retired: bool = True
    api_keys: tuple[str, ...] = ()
    binding: Literal["enforced", "default"] = "enforced"
    trust_foreign_signatures: bool = False
    organization_per_key: bool = False
    clock: Callable[[], float] = time.time
    max_body: int = MAX_BODY
    requests_per_minute: int = 4_000
    tokens_per_minute: int = 2_000_000
    enforce_limits: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived: exact header names and body bytes; `at` is the clock's time."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float
