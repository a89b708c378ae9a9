"""Sending a reply: pacing, splitting, and everything that goes wrong on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import TYPES, envelope
from .reply import LAST_CHUNK, Reply, chunk, head_bytes
from .script import Fault
from .stream import frame

FOREVER = 600.0
SLOW_HEAD_SECONDS = 1.0
GARBAGE = b'\x16\x03\x01\x00\xa5 data\xff\xfe{]: \x00\xc3\x28 not an event\r\r\n\n: \xe2\x82 data: {"type":\n\n'
HTML = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head>"
    b"<body><h1>502 Bad Gateway</h1><p>The simulator was told to answer with a web page.</p></body></html>"
)
# Faults that replace the whole answer when they come first.
REPLACING = ("html", "not_sse", "garbage")


@dataclass(slots=True)
class Counters:
    """What `/sim/state` reports."""

    connections: int = 0
    streams: int = 0
    aborted_by_client: int = 0


class Channel(Protocol):
    """What a reply is written to."""

    counters: Counters
    transport: asyncio.Transport | None

    async def write(self, data: bytes) -> None:
        """Write and wait while the client's buffers are full."""
        ...

    def finish(self) -> None:
        """Close after what is written has gone out."""
        ...

    def reset(self) -> None:
        """Drop the connection with a RST."""
        ...


async def send_reply(connection: Channel, reply: Reply, keep_alive: bool, no_body: bool) -> None:
    """Write a reply; returns when it is written or the fault has happened."""
    fault = reply.fault
    if fault and fault.after == 0 and fault.kind in REPLACING and not fault.head:
        reply = replaced(reply, fault)
        fault = None
    if fault and fault.after == 0 and not fault.head and fault.kind in BEFORE_HEAD:
        if not await BEFORE_HEAD[fault.kind](connection, fault):
            return
        fault = None
    streaming = reply.frames is not None
    head = head_bytes(reply, None if streaming else len(reply.body), keep_alive)
    if fault and fault.kind == "slow_head":
        await drip(
            connection, head, fault.seconds if fault.seconds is not None else SLOW_HEAD_SECONDS
        )
        fault = None
        head = b""
    if no_body:
        await connection.write(head)
    elif streaming:
        with live_stream(connection):
            await send_stream(connection, reply, fault, head)
    else:
        await send_body(connection, reply, fault, head)


@contextmanager
def live_stream(connection: Channel) -> Iterator[None]:
    """Count the stream while it lives."""
    connection.counters.streams += 1
    try:
        yield
    finally:
        connection.counters.streams -= 1


def replaced(reply: Reply, fault: Fault) -> Reply:
    """The answer that comes in place of the real one."""
    if fault.kind == "html":
        status = int(fault.error.get("status", 200))
        return Reply(status, reply.headers, HTML, content_type="text/html; charset=utf-8")
    if fault.kind == "garbage":
        frames = [GARBAGE] if reply.frames is not None else None
        return Reply(200, reply.headers, GARBAGE, frames, reply.content_type)
    body = frame_data(error_envelope(fault, reply)) if fault.error else reply.body
    return Reply(200, reply.headers, body)


def error_envelope(fault: Fault, reply: Reply) -> dict[str, Any]:
    """The error object of a fault."""
    error = fault.error
    kind = error.get("type") or TYPES.get(error.get("status", 529), "api_error")
    message = error.get("message", "Overloaded")
    return envelope(kind, message, reply.request_id, error.get("details"))


def frame_data(event: dict[str, Any]) -> bytes:
    """Only the JSON of an event."""
    return frame(event).split(b"data: ", 1)[1].strip()


async def stall(connection: Channel, fault: Fault) -> bool:
    """Wait; without `seconds` until the client leaves, bounded."""
    await asyncio.sleep(fault.seconds if fault.seconds is not None else FOREVER)
    return True


async def drop(connection: Channel, _fault: Fault) -> bool:
    """Reset the connection, once the kernel has sent what was written."""
    await flushed(connection)
    connection.reset()
    return False


async def leave(connection: Channel, _fault: Fault) -> bool:
    """Close the connection without the end of the message."""
    connection.finish()
    return False


async def flushed(connection: Channel) -> None:
    """Wait until the transport's buffer is empty, bounded."""
    transport = connection.transport
    for _ in range(200):
        if transport is None or not transport.get_write_buffer_size():
            break
        await asyncio.sleep(0.005)
    # A RST overtakes bytes that the peer has not read yet: give it a moment.
    await asyncio.sleep(0.02)


BEFORE_HEAD: dict[str, Callable[[Channel, Fault], Awaitable[bool]]] = {
    "reset": drop,
    "close": leave,
    "stall": stall,
}


async def drip(connection: Channel, data: bytes, seconds: float) -> None:
    """Write byte by byte over a time."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for index in range(len(data)):
        await connection.write(data[index : index + 1])
        due = start + seconds * (index + 1) / len(data)
        await asyncio.sleep(max(0.0, due - loop.time()))


async def send_body(connection: Channel, reply: Reply, fault: Fault | None, head: bytes) -> None:
    """A body with a length; a fault strikes in its middle."""
    if fault is None:
        await write_pieces(connection, reply, head, reply.body)
        return
    half = reply.body[: len(reply.body) // 2] if fault.after or fault.kind == "truncate" else b""
    await connection.write(head + half)
    if fault.kind == "stall":
        await stall(connection, fault)
        await connection.write(reply.body[len(half) :])
    elif fault.kind == "reset":
        await drop(connection, fault)
    else:
        if fault.kind in ("garbage", "html"):
            await connection.write(
                (GARBAGE if fault.kind == "garbage" else HTML)[: len(reply.body) - len(half) - 1]
            )
        connection.finish()


async def write_pieces(connection: Channel, reply: Reply, head: bytes, body: bytes) -> None:
    """Head and body in one write, or the body in writes of `chunk_bytes`."""
    if reply.chunk_bytes is None:
        await connection.write(head + body)
        return
    await connection.write(head)
    for start in range(0, len(body), reply.chunk_bytes):
        await pause(reply)
        await connection.write(body[start : start + reply.chunk_bytes])


async def pause(reply: Reply) -> None:
    """The time between two writes; at least one turn of the loop, so that they leave separately."""
    await asyncio.sleep(reply.delay)


async def send_stream(connection: Channel, reply: Reply, fault: Fault | None, head: bytes) -> None:
    """A chunked stream; a fault strikes after its number of events."""
    frames = reply.frames or []
    if fault is None:
        await write_frames(connection, reply, head, frames)
        await connection.write(LAST_CHUNK)
        return
    await write_frames(connection, reply, head, frames[: fault.after])
    if fault.kind == "reset":
        await drop(connection, fault)
    elif fault.kind == "close":
        await leave(connection, fault)
    elif fault.kind == "stall":
        await stall(connection, fault)
        await write_frames(connection, reply, b"", frames[fault.after :])
        await connection.write(LAST_CHUNK)
    else:
        extra = fault_bytes(fault, reply)
        await connection.write((chunk(extra) if extra else b"") + LAST_CHUNK)


def fault_bytes(fault: Fault, reply: Reply) -> bytes:
    """What a fault puts into the stream before it ends."""
    if fault.kind == "error_event":
        event = error_envelope(fault, reply)
        event.pop("request_id", None)
        return frame(event)
    return {"garbage": GARBAGE, "html": HTML, "not_sse": b'{"not": "an event"}\n'}.get(
        fault.kind, b""
    )


async def write_frames(connection: Channel, reply: Reply, head: bytes, frames: list[bytes]) -> None:
    """Events as they leave: together, one by one with a delay, or in writes of `chunk_bytes`."""
    if reply.chunk_bytes is None and not reply.delay:
        await connection.write(head + b"".join(chunk(data) for data in frames))
        return
    if head:
        await connection.write(head)
    async for data in paced(reply, frames):
        await connection.write(chunk(data))


async def paced(reply: Reply, frames: list[bytes]) -> AsyncIterator[bytes]:
    """The writes of a stream, with the pause before each."""
    if reply.chunk_bytes is None:
        for index, data in enumerate(frames):
            if index:
                await pause(reply)
            yield data
        return
    whole = b"".join(frames)
    for start in range(0, len(whole), reply.chunk_bytes):
        await pause(reply)
        yield whole[start : start + reply.chunk_bytes]
