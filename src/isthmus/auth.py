"""Who may use the gateway: client keys, and on an open loopback no web page."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import parse_qs

from isthmus.config import is_loopback
from isthmus.errors import GatewayError
from isthmus.request import HttpRequest

_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


_NOBODY = bytes(32)


class Door:
    """Decides on each request by its headers, before a byte of its body is read."""

    def __init__(self, keys: Iterable[str], host: str, scheme: str = "http") -> None:
        digests = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._digests = dict(zip(digests, digests, strict=True))
        self._scheme = scheme
        self._names = {"localhost", host.lower()}

    def admit(self, http: HttpRequest, peer: str | None) -> str:
        """Who asks: a digest of the key that was presented, "" where none is required.

        ``peer`` is the client's address, None where it has none, as at a unix socket. Raises
        GatewayError: 400 for a Host that is none, 401 for a missing or wrong key, 403 for a web
        page or another machine at an open gateway.
        """
        name = host_name(http)
        if not self._digests:
            if peer and not _is_loopback(peer):  # a host that was told to listen everywhere
                text = "without keys only programs of this machine are answered"
                raise GatewayError("permission", text)
            self._keep_pages_out(name, http)
            return ""
        presented = credentials(http)
        if len(presented) > 1:
            raise GatewayError("invalid_request", "the request carries several different keys")
        for key in presented:
            digest = hashlib.sha256(key.encode()).digest()
            # How long the search takes tells of digests only, which nobody can aim at.
            if hmac.compare_digest(digest, self._digests.get(digest, _NOBODY)):
                return digest.hex()
        problem = "the key is not known here" if presented else "a key is required"
        raise GatewayError("authentication", f"{problem}: present a key of this gateway")

    def _keep_pages_out(self, name: str, http: HttpRequest) -> None:
        """A page in a browser of this machine reaches loopback too, by a name of its own or openly."""
        if name not in self._names and not _is_loopback(name):
            raise GatewayError(
                "permission", f"host {name!r} is not this gateway: without keys only loopback is"
            )
        origin = http.header("origin")
        if origin is not None and origin != f"{self._scheme}://{http.header('host')}":
            raise GatewayError("permission", "requests of web pages are refused")


def host_name(http: HttpRequest) -> str:
    """The name in the one Host header (RFC 9112, section 3.2). Raises GatewayError (400)."""
    hosts = [value for name, value in http.headers if name == "host"]
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if match is None:
        raise GatewayError("invalid_request", "the Host header is missing, repeated or malformed")
    return match["name"].strip("[]").lower()


def credentials(http: HttpRequest) -> set[str]:
    """All keys that a request presents, wherever its dialect puts them."""
    found = {value for name, value in http.headers if name in _HEADERS}
    for name, value in http.headers:
        scheme, _, token = value.partition(" ")
        if name == "authorization" and scheme.lower() == "bearer":
            found.add(token.strip())
    if "key=" in http.query:
        found.update(parse_qs(http.query).get("key", []))
    return found - {""}


@lru_cache(256)
def _is_loopback(name: str) -> bool:
    return is_loopback(name)
