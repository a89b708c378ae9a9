"""Where requests go: an origin and the way to it, and how a request is written for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from isthmus.errors import GatewayError
from isthmus.proxies import Proxy
from isthmus.request import HttpRequest

_SAFE_TARGET = frozenset(map(chr, range(0x21, 0x7F)))
_FORBIDDEN = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a base URL points: scheme, host, port, and the path that every request path follows."""

    tls: bool
    host: str
    port: int
    prefix: str
    proxy: Proxy | None = None

    @classmethod
    def of(cls, base_url: str, proxy: Proxy | None = None) -> Origin:
        """Raises ValueError for what is no http or https URL with a host."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url!r} is not an http or https URL")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(tls, parts.hostname, port, parts.path.rstrip("/"), proxy)

    @property
    def authority(self) -> str:
        return self._named(self.port == (443 if self.tls else 80))

    @property
    def peer(self) -> tuple[str, int]:
        """Host and port of the other end of our sockets: the proxy's, where there is one."""
        return (self.proxy.host, self.proxy.port) if self.proxy else (self.host, self.port)

    def head(self, request: HttpRequest) -> bytes:
        """The head of a request, up to and with the empty line.

        Raises GatewayError for what would smuggle in a line of its own.
        """
        target = self.prefix + request.path + (f"?{request.query}" if request.query else "")
        if not _SAFE_TARGET.issuperset(target):
            raise GatewayError(
                "invalid_request", "the request path holds characters that HTTP forbids"
            )
        authority = self.authority
        proxy = None if self.tls else self.proxy
        if proxy is not None:  # RFC 9112, section 3.2.2
            target = f"http://{authority}{target}"
        lines = [f"{request.method} {target} HTTP/1.1", f"host: {authority}"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        if request.body or request.method == "POST":
            lines.append(f"content-length: {len(request.body)}")
        if proxy is not None and proxy.authorization:
            lines.append(f"proxy-authorization: {proxy.authorization}")
        if _FORBIDDEN.search("".join(lines)):
            raise GatewayError("invalid_request", "a header value holds a line break")
        lines += ("", "")
        return "\r\n".join(lines).encode("latin-1")

    def connect_request(self) -> bytes:
        """What asks the proxy for a way through (RFC 9110, section 9.3.6)."""
        authority = self._named(False)
        lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
        if self.proxy is not None and self.proxy.authorization:
            lines.append(f"proxy-authorization: {self.proxy.authorization}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _named(self, bare: bool) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if bare else f"{host}:{self.port}"
