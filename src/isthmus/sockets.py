"""Sockets to listen on: TCP ports, a unix socket, those that systemd passes; and TLS over them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

BACKLOG = 2048
SEND_BUFFER = 256 * 1024
"""Bytes that the system holds for a client that does not read, of itself several MB. What is accepted
on a socket inherits it."""
FIRST_PASSED = 3
"""The first descriptor that is passed (sd_listen_fds(3))."""


def tcp(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError naming the address when it cannot be had."""
    info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = info[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        error.filename = f"{host}:{port}"
        raise
    return listener


@contextlib.contextmanager
def unix(path: Path) -> Iterator[socket.socket]:
    """A listening unix socket that only its owner may use, removed at the end.

    The file of a program that has ended is replaced. Raises OSError naming the path: EADDRINUSE
    where a program answers there, EEXIST where something else than a socket stands there.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(0o600)  # nobody can connect before it listens
        listener.listen(BACKLOG)
        listener.setblocking(False)
        own = path.stat().st_ino
    except OSError as error:
        listener.close()
        error.filename = str(path)
        raise
    try:
        yield listener
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            if path.stat().st_ino == own:  # not that of a successor
                path.unlink()


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "a program answers there")


def passed(environ: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd, or what acts like it, has passed to this very process."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    listeners = [socket.socket(fileno=FIRST_PASSED + place) for place in range(int(count))]
    for listener in listeners:
        listener.setblocking(False)
        listener.set_inheritable(False)
    return listeners


def host_of(listener: socket.socket) -> str:
    """The address that a socket is bound to, loopback for one that only this machine reaches."""
    name = listener.getsockname()
    return name[0] if isinstance(name, tuple) else "127.0.0.1"


def tls(cert: str, key: str) -> ssl.SSLContext:
    """What a server with this certificate chain and key (PEM files) speaks: TLS 1.2 and newer.

    Raises OSError where a file cannot be read, and ssl.SSLError, which is one, where it is no PEM
    or the key is another certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # An encrypted key would ask for its password on the terminal, at every start.
    context.load_cert_chain(cert, key, password=b"")
    context.set_alpn_protocols(["http/1.1"])
    return context


def tls_problem(cert: str, key: str) -> str | None:
    """What is wrong with these files; None where TLS can be spoken with them."""
    for path in (cert, key):
        if not os.access(path, os.R_OK):
            return f"{path} is not there, or may not be read"
    try:
        tls(cert, key)
    except (OSError, ValueError):  # what OpenSSL says is for programmers
        return "cert and key are no certificate with its own, unencrypted key in PEM"
    return None
