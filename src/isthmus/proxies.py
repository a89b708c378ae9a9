"""HTTP proxies on the way to a provider: how one is written, and which one the environment names."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

DIRECT = "direct"
"""What stands in the place of a proxy's URL where none is to be used."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where an HTTP proxy listens, and the value of ``proxy-authorization`` that it wants, or ""."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str) -> Proxy:
        """Read ``http://[user:password@]host[:port]``; the scheme may be left out.

        Raises ValueError, which never repeats the password.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port, parts = None, 0, urlsplit("")
        tail = (parts.path.rstrip("/"), parts.query, parts.fragment)
        if parts.scheme != "http" or not host or any(tail):
            raise ValueError(
                "must be the URL of an HTTP proxy, such as http://user:password@proxy:3128"
            )
        if parts.username is None and parts.password is None:
            return cls(host, port)
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        return cls(host, port, f"Basic {base64.b64encode(user.encode()).decode()}")


def from_environment(environ: Mapping[str, str], base_url: str) -> tuple[str, str] | None:
    """The variable that names a proxy for this URL, and its value; None where nothing does.

    HTTPS_PROXY serves https URLs and HTTP_PROXY http ones; the names in lower case come first, as in
    curl. NO_PROXY lists what is reached without; loopback addresses always are.
    """
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    name = f"{parts.scheme}_proxy"
    variable = next((each for each in (name, name.upper()) if environ.get(each)), None)
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if variable is None or bypassed(excluded, host, port):
        return None
    return variable, environ[variable]


def bypassed(excluded: str, host: str, port: int) -> bool:
    """Whether a list such as NO_PROXY's names a host: itself, a domain above it, ``*``, an address or
    a network (``10.0.0.0/8``), each with a port or for all of them.
    """
    address = _address(host)
    if host.lower() == "localhost" or (address is not None and address.is_loopback):
        return True
    entries = excluded.replace(",", " ").split()
    return any(_names(entry.lower(), host.lower().rstrip("."), address, port) for entry in entries)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _names(entry: str, host: str, address: _Address | None, port: int) -> bool:
    if entry == "*":
        return True
    name, colon, only = entry.rpartition(":")
    if colon and only.isdigit() and (name.endswith("]") or ":" not in name):
        if int(only) != port:
            return False
        entry = name
    entry = entry.removeprefix("[").removesuffix("]")
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    entry = entry.removeprefix("*").strip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
