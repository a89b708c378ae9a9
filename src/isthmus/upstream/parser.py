"""Reads HTTP/1.1 responses from bytes as they come, and bounds all that is not body. No sockets.

llhttp below it refuses what RFC 9112 forbids (a length beside a transfer coding, two lengths, bare
line ends, white space before a colon); what it leaves to its user is refused here.
"""

from __future__ import annotations

from typing import Any

import httptools

from isthmus.errors import GatewayError

HEAD_LIMIT = 64 * 1024
"""Bytes of one response's status lines and fields, interim responses and trailers included; and
bytes in a row that carry no body, such as chunk extensions."""
FIELD_LIMIT = 200
INTERIM_LIMIT = 100
"""How many 1xx responses may come before the one that counts."""
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_MANY = 64
"""So many pieces of one read become one, lest small ones take more room than what they hold."""
_EMPTY = frozenset({204, 304})
_VERSIONS = frozenset({"1.0", "1.1"})


class ResponseParser:
    """One response after another on one connection; ``reset`` comes between them.

    ``status`` and ``headers`` hold once ``head_complete``, ``held`` counts the bytes of the body that
    nobody has taken yet, ``complete`` tells its end, and ``reusable`` whether another response may
    follow on the connection.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.body: list[bytes] = []
        self.discarding = False
        """Whether the rest of the body is read for its end only."""
        self.reset()

    def reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.head_complete = self.complete = self.reusable = self.any_byte = False
        self.discarding = False
        self.received = self.held = 0
        self.body.clear()
        self._barren = self._fields = self._field_bytes = self._interims = 0
        self._coding = ""
        self._sized = False

    def feed(self, data: bytes) -> None:
        """Take what one read brought. Raises GatewayError for what is no HTTP or beyond the limits.

        Bytes after the end of a response are not read: they only make it not ``reusable``.
        """
        self.any_byte = True
        before, parts = self.received, len(self.body)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise not_http("an upgrade that nobody asked for") from None
        except httptools.HttpParserError as error:
            if self.complete:
                self.reusable = False
                return
            cause = error.__context__
            raise cause if isinstance(cause, GatewayError) else not_http(error) from None
        if self.received != before:
            self._barren = 0
            if len(self.body) - parts > _MANY:
                self.body[parts:] = [b"".join(self.body[parts:])]
            return
        self._barren += len(data)
        if self._barren > HEAD_LIMIT and not self.complete:
            raise not_http("too much that is no body")

    def take(self) -> bytes:
        """What came of the body since the last time."""
        parts = self.body
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self.held = 0
        return data

    def finish(self) -> bool:
        """The connection has ended in an orderly way: whether the response is whole with that."""
        if self.head_complete and not self._sized:
            self.complete = True
        return self.complete

    # what httptools calls

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        self._fields += 1
        self._field_bytes += len(name) + len(value) + 4
        if self._fields > FIELD_LIMIT or self._field_bytes > HEAD_LIMIT:
            raise not_http("too large a head")
        if self.head_complete:
            return  # a trailer: nothing that we use stands there
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in _FRAMING:
            self._sized = True
            if key == "transfer-encoding":
                self._coding += f",{text.strip().lower()}"
        self.headers.append((key, text))

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        self.status = self._parser.get_status_code()
        if not 100 <= self.status <= 599:
            raise not_http(f"status {self.status}")
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            raise not_http(f"version {version}")
        if self._coding and (self._coding != ",chunked" or version != "1.1"):
            raise not_http("a transfer coding that nobody asked for")
        # Only now: after the message the parser says no in any case.
        self.reusable = self._parser.should_keep_alive()
        self.head_complete = self.status >= 200
        self._sized = self._sized or self.status in _EMPTY

    def on_body(self, body: bytes) -> None:
        if self.complete:
            return
        self.received += len(body)
        if not self.discarding:
            self.held += len(body)
            self.body.append(body)

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.complete = True
            return
        self._interims += 1
        if self._interims > INTERIM_LIMIT:
            raise not_http("too many interim responses")
        self.headers = []
        self._coding, self._sized = "", False


def not_http(what: Any) -> GatewayError:
    return GatewayError(
        "upstream_bad_response", f"the provider sent bad HTTP: {what}", source="upstream"
    )
