"""Providers for many streams at a time, and asyncio clients to read them, or not to."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from tests.clients_raw import request
from tests.harness import Loop, message
from tests.peers import FakeUpstream, Script, Step, Talk, asked

MODELS = b'{"data":[],"has_more":false,"first_id":null,"last_id":null}'
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ASKING = request(
    "/v1/messages", json.dumps(message(stream=True)).encode(), "anthropic-version: 2023-06-01"
)


def chunk(kind: str, **members: Any) -> bytes:
    """One event in a chunk of its own."""
    data = json.dumps({"type": kind, **members})
    event = f"event: {kind}\ndata: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


def delta(text: str) -> bytes:
    return chunk("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


_HEAD = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
START = chunk("message_start", message=_HEAD) + chunk(
    "content_block_start", index=0, content_block={"type": "text", "text": ""}
)
END = (
    chunk("content_block_stop", index=0)
    + chunk(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": 1},
    )
    + chunk("message_stop")
    + b"0\r\n\r\n"
)


def streaming(*parts: bytes | float, times: int = 1, end: bytes = END) -> Script:
    """Answers requests with a stream whose middle is the parts, so many times."""

    async def play(talk: Talk) -> None:
        await asked(talk)
        if talk.log.requests[-1].startswith(b"GET "):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
            await talk.send(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(MODELS), MODELS))
            return
        await talk.send(STREAM + START)
        for _ in range(times):
            for part in parts:
                await (talk.send(part) if isinstance(part, bytes) else asyncio.sleep(part))
        await talk.send(end)

    step: Step = play
    return (step,)


class Provider:
    """A FakeUpstream that plays one script on each connection, in a loop of its own thread."""

    def __init__(self, script: Script) -> None:
        self.loop = Loop()
        self.fake = FakeUpstream(script)
        self.loop.run(self.fake.start())
        self.url = self.fake.url

    def asked(self) -> int:
        """How many requests for answers have come."""
        return sum(not one.startswith(b"GET ") for one in self.fake.requests)

    def open(self) -> int:
        """How many connections the other side has not closed."""
        return sum(log.closed is None for log in self.fake.logs)

    def close(self) -> None:
        self.loop.run(self.fake.stop())
        self.loop.close()


class Peer(asyncio.Protocol):
    """A client that sends what it is given and keeps what comes, unless it is deaf."""

    def __init__(self, data: bytes, deaf: bool = False) -> None:
        self.got = b""
        self.transport: Any = None
        self.ended = asyncio.Event()
        self._data = data
        self._deaf = deaf

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._deaf:
            transport.pause_reading()
        if self._data:
            transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


class Crowd:
    """Many clients, who all leave with the end of ``async with``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.peers: list[Peer] = []

    async def join(self, data: bytes = b"", *, times: int = 1, deaf: bool = False) -> list[Peer]:
        """Connect so many clients that send this. Raises OSError where one may not."""
        loop = asyncio.get_running_loop()
        for _ in range(times):
            sock = socket.socket()
            if deaf:  # what the kernel takes for it is nobody's fault
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, ("127.0.0.1", self.port))
            except OSError:
                sock.close()
                raise
            made = await loop.create_connection(lambda: Peer(data, deaf), sock=sock)
            self.peers.append(made[1])
        return self.peers[-times:]

    async def __aenter__(self) -> Crowd:
        return self

    async def __aexit__(self, *_: Any) -> None:
        for peer in self.peers:
            peer.transport.abort()
        await asyncio.sleep(0.1)  # until the sockets are closed


async def until(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:  # noqa: ASYNC110 - what is awaited has no event
        await asyncio.sleep(0.01)
    return true()
