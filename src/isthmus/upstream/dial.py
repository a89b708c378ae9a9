"""Opens sockets: names looked up off the loop, addresses tried in a race, proxies asked, TLS checked."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from typing import Any

from isthmus.errors import GatewayError
from isthmus.upstream.connection import Connection
from isthmus.upstream.origin import Origin

Address = tuple[int, Any]
"""A family, and an address in the form that sockets of that family take."""

Lookup = Callable[[str, int], Sequence[Address]]
"""Raises OSError, or UnicodeError for what can be no name."""

REMEMBERED_SECONDS = 30.0
"""How long addresses are believed; the system tells nobody how long they are good."""
ATTEMPT_SECONDS = 0.25
"""How long an address has before the next is tried beside it (RFC 8305, section 8)."""
PROXY_HEAD_LIMIT = 16 * 1024
KEEPALIVE_SECONDS = 60
"""Of silence before the system asks whether the other side still stands."""

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def system_lookup(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), address) for family, _, _, _, address in found]


class Resolver:
    """Looks names up, each in a thread of its own: one that hangs holds up nothing but its name."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}
        self._running: dict[tuple[str, int], asyncio.Future[list[Address] | Exception]] = {}

    async def addresses(self, host: str, port: int) -> list[Address]:
        """In the order in which they should be tried. Raises OSError or UnicodeError."""
        with contextlib.suppress(OSError, UnicodeError):
            # A number needs no look-up, and its conversion does not block.
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
            return [(int(found[0][0]), found[0][4])]
        loop = asyncio.get_running_loop()
        until, known = self._known.get((host, port), (0.0, []))
        if loop.time() < until:
            return known
        running = self._running.get((host, port)) or self._start(host, port)
        result = await asyncio.shield(running)
        if isinstance(result, Exception):
            raise result
        return result

    def forget(self, host: str, port: int) -> None:
        """Look the name up again next time: its addresses did not answer."""
        self._known.pop((host, port), None)

    def _start(self, host: str, port: int) -> asyncio.Future[list[Address] | Exception]:
        loop = asyncio.get_running_loop()
        running = self._running[host, port] = loop.create_future()

        def tell(result: list[Address] | Exception) -> None:
            del self._running[host, port]
            if isinstance(result, list):
                self._known[host, port] = (loop.time() + REMEMBERED_SECONDS, result)
            running.set_result(result)

        def look() -> None:
            result: list[Address] | Exception
            try:
                result = interleaved(self._lookup(host, port))
            except (OSError, UnicodeError) as error:
                result = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, result)

        # A daemon, so that nobody waits for it at the end of the process.
        threading.Thread(target=look, name="resolver", daemon=True).start()
        return running


def interleaved(found: Sequence[Address]) -> list[Address]:
    """Families in turn, that of the first address first (RFC 8305, section 4)."""
    if not found:
        raise OSError("the name has no address")
    first = found[0][0]
    mine = [row for row in found if row[0] == first]
    others = [row for row in found if row[0] != first]
    pairs = chain.from_iterable(zip_longest(mine, others))
    return list(dict.fromkeys(row for row in pairs if row is not None))


async def race(
    addresses: Sequence[Address], connect: Callable[[Address], Awaitable[socket.socket]]
) -> socket.socket:
    """The first connection that stands. Raises the first failure where none does.

    An address is tried ATTEMPT_SECONDS after the one before it, or when that has failed.
    """
    if len(addresses) == 1:
        return await connect(addresses[0])
    failure: OSError | None = None
    running: set[asyncio.Future[socket.socket]] = set()
    left = list(reversed(addresses))
    try:
        while left or running:
            if left:
                running.add(asyncio.ensure_future(connect(left.pop())))
            patience = ATTEMPT_SECONDS if left else None
            done, running = await asyncio.wait(
                running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    running |= done - {task}
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                failure = failure or error
    finally:
        for task in running:
            _give_up(task)
    raise failure or OSError("there was no address")


def _give_up(task: asyncio.Future[socket.socket]) -> None:
    """A connection that came in second is not kept."""

    def ended(task: asyncio.Future[socket.socket]) -> None:
        if not task.cancelled() and task.exception() is None:
            task.result().close()

    task.cancel()
    task.add_done_callback(ended)


class Dialer:
    """Opens connections to origins. ``context`` checks certificates; by default as the system does."""

    def __init__(self, context: ssl.SSLContext | None, resolver: Resolver) -> None:
        self._context = context
        self._resolver = resolver

    @property
    def context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = checking_context()
        return self._context

    async def dial(
        self, origin: Origin, make: Callable[[], Connection], seconds: float
    ) -> Connection:
        """A connection that stands, its TLS included, within so many seconds.

        Raises GatewayError: ``upstream_dns``, ``upstream_unreachable``, ``upstream_tls``, or
        ``unavailable`` where it is we who have no socket left. Nothing of the try is left behind.
        """
        attempt = _Attempt(self, self._resolver, origin)
        try:
            async with asyncio.timeout(seconds):
                return await attempt.connection(make)
        except TimeoutError:
            raise attempt.failed("no answer in time") from None
        except ssl.SSLCertVerificationError as error:
            # Up to the comma: what follows is our own configuration.
            raise attempt.failed(error.verify_message.partition(",")[0]) from error
        except ssl.SSLError as error:
            raise attempt.failed(error.reason or "handshake failed") from error
        except socket.gaierror as error:
            raise attempt.failed(error.strerror or "look-up failed") from error
        except OSError as error:
            if error.errno in _NO_DESCRIPTOR:
                text = "the gateway has no socket left for another connection"
                raise GatewayError(
                    "unavailable", text, source="gateway", retry_after=1.0
                ) from error
            # The number's own text: the error's may hold an address.
            reason = os.strerror(error.errno) if error.errno else str(error) or "it hung up"
            raise attempt.failed(reason) from error
        except ValueError as error:
            raise attempt.failed("the name is no host name") from error


_STAGES = {
    "upstream_dns": "the provider's name cannot be looked up",
    "upstream_unreachable": "the provider cannot be reached",
    "upstream_tls": "the provider's TLS failed",
}


class _Attempt:
    """One try to open a connection, which knows how far it has come."""

    def __init__(self, dialer: Dialer, resolver: Resolver, origin: Origin) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._origin = origin
        self._stage = "upstream_dns"

    def failed(self, reason: str) -> GatewayError:
        proxied = self._origin.proxy is not None and self._stage != "upstream_tls"
        what = _STAGES[self._stage].replace("provider", "proxy" if proxied else "provider")
        return GatewayError(self._stage, f"{what}: {reason}", source="upstream")

    async def connection(self, make: Callable[[], Connection]) -> Connection:
        origin, loop = self._origin, asyncio.get_running_loop()
        host, port = origin.peer
        addresses = await self._resolver.addresses(host, port)
        self._stage = "upstream_unreachable"
        try:
            sock = await race(addresses, _connected)
        except OSError:
            self._resolver.forget(host, port)
            raise
        try:
            context = None
            if origin.tls:
                if origin.proxy is not None:
                    await _tunnel(sock, origin)
                self._stage = "upstream_tls"
                context = self._dialer.context
            name = origin.host if origin.tls else None
            _, connection = await loop.create_connection(
                make, sock=sock, ssl=context, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise
        return connection


async def _connected(address: Address) -> socket.socket:
    family, place = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except BaseException:
        sock.close()
        raise
    return sock


async def _tunnel(sock: socket.socket, origin: Origin) -> None:
    """Have the proxy lead the socket to the origin (RFC 9110, section 9.3.6). Raises OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, origin.connect_request())
    head = b""
    while b"\r\n\r\n" not in head:
        data = await loop.sock_recv(sock, PROXY_HEAD_LIMIT)
        head += data
        if not data or len(head) > PROXY_HEAD_LIMIT:
            raise OSError("it did not answer CONNECT")
    status = _STATUS.match(head)
    if status is not None and not status[1].startswith(b"2"):
        raise OSError(f"it refused the connection with {status[1].decode()}")
    # In TLS the client speaks first: bytes after the head are nobody's.
    if status is None or not head.endswith(b"\r\n\r\n"):
        raise OSError("it did not answer CONNECT in HTTP")


def checking_context() -> ssl.SSLContext:
    """Certificates and names are checked against the system's authorities, or those that
    SSL_CERT_FILE and SSL_CERT_DIR name; TLS 1.2 at least; HTTP/1.1 and nothing else is offered.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
