"""Runs a gateway and the simulator behind it in a thread, and speaks to them over real sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.config import Config
from isthmus.profile_settings import profiles_of
from isthmus.request import Request, Target
from isthmus.routes import table_of
from isthmus.routing.route import Router
from isthmus.server import serve
from isthmus.simulator import Options, Simulator
from isthmus.workers import supervise
from tests import legality

UPSTREAM_KEY = "sk-upstream-canary-4711"
SECONDS = 20


@dataclass(frozen=True)
class Reply:
    """An HTTP answer: header names in lower case, the body complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """The server-sent events of the body as (name, decoded data)."""
        found: list[tuple[str, Any]] = []
        for frame in self.body.decode().split("\n\n"):
            lines = dict(
                line.split(": ", 1) for line in frame.splitlines() if not line.startswith(":")
            )
            if "data" in lines:
                data = lines["data"]
                found.append(
                    (lines.get("event", ""), data if data == "[DONE]" else json.loads(data))
                )
        return found


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Callable[[], None]:
        """Begin something that goes on; the function returned cancels it and waits for its end."""
        tasks: list[asyncio.Task[Any]] = []

        async def begin() -> None:
            tasks.append(asyncio.create_task(coroutine))

        async def end() -> None:
            tasks[0].cancel()
            await asyncio.wait(tasks)

        self.run(begin())
        return lambda: self.run(end())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()


def target_of(request: Request, config: Config) -> Target:
    """The first target of a request's route."""
    router = Router(table_of(config), profiles_of(config.profiles))
    candidate = router.route(request.model).first
    return router.target(candidate, candidate.pool[0].backend)


FORGIVING = {
    "repeats": 0,
    "cool_seconds": 1e-6,
    "long_cool_seconds": 1e-6,
    "longest_cool_seconds": 1e-6,
    "bench_seconds": 1e-6,
    "failures": 1000,
}
"""Each attempt is the only one, and no failure shuts a key for the next test."""


class World:
    """A gateway whose backends, by default one named ``anthropic``, are simulators on sockets of their own.

    ``backend`` is laid over each backend's section and ``config`` over the whole configuration; the
    ports are ``port`` and ``anthropic_port``. ``simulator`` is the first backend's.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        backend: Mapping[str, Any] | None = None,
        names: Sequence[str] = ("anthropic",),
        **config: Any,
    ) -> None:
        self.loop = Loop()
        self.simulators = {
            name: Simulator(options or Options(api_keys=(UPSTREAM_KEY,))) for name in names
        }
        self.simulator = self.simulators[names[0]]
        sections: dict[str, Any] = {}
        for name, simulator in self.simulators.items():
            self.loop.run(simulator.start())
            section = {"type": "anthropic", "api_key": UPSTREAM_KEY, "base_url": simulator.url}
            sections[name] = section | dict(backend or {})
        settings = {
            "port": 0,
            "anthropic_port": 0,
            "retry": FORGIVING,
            **({} if "backends" in config else {"backends": sections, "default_backend": names[0]}),
            **config,
        }
        ready: list[Mapping[str, int]] = []
        bound = threading.Event()

        def tell(ports: Mapping[str, int]) -> None:
            ready.append(ports)
            bound.set()

        checked = Config.model_validate(settings)
        served = serve if checked.workers == 1 else supervise
        self._end = self.loop.start(served(checked, tell))
        assert bound.wait(SECONDS)
        self.port = ready[0].get("main", 0)
        self.anthropic_port = ready[0].get("anthropic", 0)
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._end()
        for simulator in self.simulators.values():
            self.loop.run(simulator.stop())
        self.loop.close()

    def script(self, backend: str | None = None, **script: Any) -> None:
        """What a backend's simulator, the first one's unless it is named, does with the next request."""
        simulator = self.simulators[backend] if backend else self.simulator
        simulator.scripts.append(script)

    def received(self, backend: str | None = None) -> list[Any]:
        """The requests for answers that reached a backend's simulator, oldest first."""
        simulator = self.simulators[backend] if backend else self.simulator
        return [r for r in simulator.requests if not r.path.startswith("/v1/models")]

    def post(self, path: str, body: Any, port: int | None = None, **headers: str) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, data, port=port, **headers)

    def get(self, path: str, port: int | None = None, **headers: str) -> Reply:
        return self.ask("GET", path, None, port=port, **headers)

    def ask(
        self, method: str, path: str, body: bytes | None, port: int | None = None, **headers: str
    ) -> Reply:
        """One request on a connection of its own; underscores in header names become dashes."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=SECONDS)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, fields, answer.read())
        finally:
            connection.close()


VERSION = {"anthropic_version": "2023-06-01"}


def message(text: str = "Hello", **fields: Any) -> dict[str, Any]:
    """A small Messages request."""
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 200,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }


_STREAMS = {
    "anthropic": legality.anthropic,
    "openai-chat": legality.chat,
    "openai-responses": legality.responses,
    "gemini": legality.gemini_sse,
}
_ERRORS = {
    "anthropic": legality.anthropic_error,
    "openai-chat": legality.chat_error,
    "openai-responses": legality.chat_error,
    "gemini": legality.gemini_error,
}


def error_message(dialect: str, reply: Reply) -> str:
    """The message of an error answer, which must be a legal envelope of its dialect."""
    assert reply.headers["content-type"] == "application/json"
    value = reply.json()
    _ERRORS[dialect](value)
    if dialect == "gemini":
        assert value["error"]["code"] == reply.status
    return value["error"]["message"]


def whole_stream(dialect: str, reply: Reply) -> legality.Outcome:
    """What a stream joins to; it must be legal and end with its success terminator."""
    assert reply.status == 200, reply.body
    outcome = _STREAMS[dialect](reply.body)
    assert outcome.error is None, outcome.error
    return outcome


def failed_stream(dialect: str, reply: Reply) -> legality.Outcome:
    """What a stream joins to that ends with an error frame, and with no terminator beside it."""
    assert reply.status == 200, reply.body
    outcome = _STREAMS[dialect](reply.body)
    assert outcome.error is not None, reply.body
    return outcome
