"""A raw HTTP/1.1 client for the simulator's tests: it shows bytes and resets as they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from isthmus.simulator import Options, Simulator

HEADERS = {
    "x-api-key": "sk-test",
    "anthropic-version": "2023-06-01",
    "content-type": "application/json",
}
TIMEOUT = 10.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `complete` says that the body ended as HTTP says, `error` names how the connection broke."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    error: str = ""

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json()["error"]["message"])

    def events(self) -> list[dict[str, Any]]:
        """The events of a stream, checked for their framing."""
        text = self.body.decode()
        found = []
        for part in text.split("\n\n")[:-1]:
            name, data = part.split("\n")
            value = json.loads(data.removeprefix("data: "))
            assert name == f"event: {value['type']}"
            found.append(value)
        return found


def encode(method: str, target: str, body: bytes, headers: dict[str, str | None]) -> bytes:
    """A request's bytes; a header of None is left out."""
    merged: dict[str, str | None] = {
        "host": "127.0.0.1",
        **HEADERS,
        "content-length": str(len(body)),
        **headers,
    }
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in merged.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer, whatever happens to the connection."""
    status, headers, body = 0, {}, b""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        status = int(first.split(" ")[1])
        headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines}
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        elif "content-length" in headers:
            body = b""
            left = int(headers["content-length"])
            while left:
                data = await reader.read(left)
                if not data:
                    raise asyncio.IncompleteReadError(body, left)
                body += data
                left -= len(data)
        return Answer(status, headers, body, True)
    except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
        return Answer(status, headers, body, False, type(error).__name__)


async def send(
    simulator: Simulator,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str | None] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    try:
        writer.write(encode(method, target, body, headers or {}))
        return await asyncio.wait_for(read_answer(reader), TIMEOUT)
    finally:
        writer.close()


async def post(
    simulator: Simulator, target: str, value: Any, headers: dict[str, str | None] | None = None
) -> Answer:
    """A JSON request."""
    return await send(simulator, "POST", target, json.dumps(value).encode(), headers)


def with_simulator(work: Callable[[Simulator], Awaitable[T]], options: Options | None = None) -> T:
    """Run a coroutine against a fresh simulator."""

    async def run() -> T:
        simulator = Simulator(options or Options())
        await simulator.start()
        try:
            return await asyncio.wait_for(work(simulator), TIMEOUT * 3)
        finally:
            await simulator.stop()

    return asyncio.run(run())


BODY: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 500,
    "messages": [
        {
            "role": "user",
            "content": "Say something rather long, please, so that there are many deltas",
        }
    ],
}
STREAM = {**BODY, "stream": True}


def scripted(script: dict[str, Any], body: dict[str, Any] | None = None) -> Answer:
    """The answer to one request under a script."""

    async def work(simulator: Simulator) -> Answer:
        simulator.scripts.append(script)
        return await post(simulator, "/v1/messages", body or STREAM)

    return with_simulator(work)


def raw(
    work: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]],
    options: Options | None = None,
) -> Any:
    """Run something on one raw connection."""

    async def run(simulator: Simulator) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        try:
            return await work(reader, writer)
        finally:
            writer.close()

    return with_simulator(run, options)
