"""The list of models that can be asked for: what the backends say, else what the profiles know."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from isthmus.config import Config, first_backend
from isthmus.errors import GatewayError
from isthmus.frontends import Model
from isthmus.profiles import Profile, Profiles

REFRESH_SECONDS = 600.0
RETRY_SECONDS = 60.0

_log = structlog.get_logger("isthmus")

Listing = Callable[[str], Awaitable[list[Model]]]
"""Asks the backend of that name for its models."""

Asking = Callable[[str, str], Awaitable[Model | None]]
"""Asks the backend of that name for one model; None where it has none."""


class Catalog:
    """Answers from memory; a task of its own asks the backends now and then."""

    def __init__(
        self, config: Config, profiles: Profiles, listing: Listing, asking: Asking
    ) -> None:
        self._config = config
        self._profiles = profiles
        self._listing = listing
        self._asking = asking
        self._lists = {name: self._fallback(name) for name in config.backends}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._refresh(), name="model lists")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def models(self) -> list[Model]:
        """All models in the order of the backends, each under the name that asks for it."""
        default = first_backend(self._config)
        return [
            model if name == default else {**model, "id": f"{name}:{model['id']}"}
            for name, rows in self._lists.items()
            for model in rows
        ]

    async def model(self, name: str) -> Model:
        """One model by its name or an alias; a backend is asked for what its list does not hold.

        Raises GatewayError (404) where there is none of that name.
        """
        row = self._profiles.known(name)
        wanted = {name} | ({row.id, *row.aliases} if row else set())
        for model in self.models():
            if model["id"] in wanted:
                return model
        prefix, _, rest = name.partition(":")
        named = prefix in self._config.backends and bool(rest)
        backend = prefix if named else first_backend(self._config)
        found = await self._asking(backend, rest if named else name)
        if found is None:
            raise GatewayError("model_not_found", f"model: {name}", param="model")
        return {**found, "id": name} if named else found

    def _fallback(self, name: str) -> list[Model]:
        listed = self._config.backends[name].models
        if listed is not None:
            return [described(self._profiles.known(model), model) for model in listed]
        return [described(row, row.id) for row in self._profiles.rows if row.status != "retired"]

    async def _refresh(self) -> None:
        while True:
            results = [await self._ask(name) for name in self._lists]
            await asyncio.sleep(REFRESH_SECONDS if all(results) else RETRY_SECONDS)

    async def _ask(self, name: str) -> bool:
        if self._config.backends[name].models is not None:
            return True
        try:
            rows = await self._listing(name)
        except GatewayError as error:
            # The list that we have goes on being served.
            _log.warning("model list not refreshed", backend=name, reason=error.message)
            return False
        self._lists[name] = rows or self._lists[name]
        return bool(rows)


def described(row: Profile | None, name: str) -> Model:
    """A model in Anthropic's shape from what its profile knows."""
    if row is None:
        return {"id": name, "type": "model"}
    released = {"created_at": f"{row.released}T00:00:00Z"} if row.released else {}
    return {
        "id": name,
        "type": "model",
        "display_name": row.display_name,
        **released,
        "max_input_tokens": row.context_window,
        "max_tokens": row.max_output,
    }
