"""One process's state for several: served over sockets to the workers that it started.

A message is four bytes of its length and MessagePack: ``[number, store, operation, arguments]`` one
way, ``[number, result]`` the other. A connection's calls are answered in their order. Number 0 is no
call: a worker posts, and the owner tells, what nobody answers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from isthmus.storage import Store
from isthmus.storage.board import NAME as BOARD
from isthmus.storage.board import Board

MESSAGE_LIMIT = 256 * 1024 * 1024
"""Bytes of one message: a response is stored whole."""
UNREAD_LIMIT = 16 * 1024 * 1024
"""Bytes that the owner has not read; with more than that it is out of reach, lest they fill the memory."""
CALL_SECONDS = 2.0
"""How long a worker waits for the owner of the state; then it goes on as if nothing were kept."""
_SIZE = 4

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_log = structlog.get_logger("isthmus")

_OPERATIONS: Mapping[str, Callable[[Store], Callable[..., Awaitable[Any]]]] = {
    "get": lambda store: store.get,
    "add": lambda store: store.add,
    "delete": lambda store: store.delete,
}


async def serve(
    stores: Mapping[str, Store], connection: socket.socket, board: Board | None = None
) -> None:
    """Answer one worker's calls until it closes its end of the connection, and tell it what happens."""
    reader, writer = await asyncio.open_connection(sock=connection, limit=MESSAGE_LIMIT)

    def tell(message: Any) -> None:
        if _unread(writer) > UNREAD_LIMIT:
            writer.transport.abort()  # it ends and starts again, with the whole state
        elif not writer.transport.is_closing():
            _write(writer, [0, message])

    try:
        while True:
            number, store, operation, arguments = _decode(await _read(reader))
            if board is not None and store == BOARD:
                result = board.operate(tell, operation, arguments)
            else:
                result = await _OPERATIONS[operation](stores[store])(*arguments)
            if number:
                _write(writer, [number, result])
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        if board is not None:
            board.leave(tell)
        writer.close()


def _unread(writer: asyncio.StreamWriter) -> int:
    return writer.transport.get_write_buffer_size()


async def _read(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(_SIZE), "big")
    return await reader.readexactly(size)


def _write(writer: asyncio.StreamWriter, value: Any) -> None:
    data = _encode(value)
    writer.write(len(data).to_bytes(_SIZE, "big") + data)


class Line:
    """A worker's connection to the process that owns the state. ``lost`` is set when that is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = 0
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self.lost = asyncio.Event()
        self.heard: Callable[[Any], None] | None = None
        """Told, in their order, of the messages that are no answers; never later than of an answer."""
        self._task = asyncio.create_task(self._listen())

    @classmethod
    async def open(cls, connection: socket.socket) -> Line:
        return cls(*await asyncio.open_connection(sock=connection, limit=MESSAGE_LIMIT))

    @property
    def unread(self) -> int:
        """Bytes that the owner has not taken yet."""
        return _unread(self._writer)

    @property
    def reachable(self) -> bool:
        return not self.lost.is_set() and self.unread <= UNREAD_LIMIT

    def post(self, store: str, operation: str, *arguments: Any) -> bool:
        """Send what nobody answers; whether that was possible."""
        if self.reachable:
            _write(self._writer, [0, store, operation, arguments])
            return True
        return False

    async def call(self, store: str, operation: str, *arguments: Any) -> Any:
        """The result of an operation. Raises TimeoutError where none comes in CALL_SECONDS.

        Also at once where the owner is gone, or has not read UNREAD_LIMIT bytes.
        """
        if not self.reachable:
            raise TimeoutError
        self._numbers += 1
        number = self._numbers
        result = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                _write(self._writer, [number, store, operation, arguments])
                return await result
        finally:
            del self._calls[number]

    async def _listen(self) -> None:
        try:
            while True:
                number, result = _decode(await _read(self._reader))
                if not number:
                    if self.heard is not None:
                        self.heard(result)
                    continue
                waiting = self._calls.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(result)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.lost.set()

    async def close(self) -> None:
        self._task.cancel()
        self._writer.close()
        await asyncio.wait([self._task])


class SharedStore:
    """A ``Store`` that another process keeps. While that cannot be reached there is nothing in it."""

    def __init__(self, line: Line, name: str) -> None:
        self._line = line
        self._name = name

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found = await self._call("get", list(keys))
        return [None] * len(keys) if found is None else found

    async def add(self, key: bytes, value: bytes) -> None:
        await self._call("add", key, value)

    async def delete(self, key: bytes) -> bool:
        return bool(await self._call("delete", key))

    async def _call(self, operation: str, *arguments: Any) -> Any:
        try:
            return await self._line.call(self._name, operation, *arguments)
        except TimeoutError:
            _log.warning("shared state is out of reach", store=self._name, operation=operation)
            return None
