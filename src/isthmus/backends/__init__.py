"""The backends: each turns the hub's requests into one provider dialect's, and its answers back.

A backend is a module that fits ``Backend``: pure and synchronous, like the frontends.
"""

from __future__ import annotations

from typing import Protocol

from isthmus.errors import GatewayError
from isthmus.event import Event
from isthmus.request import Headers, HttpRequest, Notes, Request, Target


class Decoder(Protocol):
    """Turns one provider stream into events; any split of the bytes gives the same ones."""

    ended: bool
    """True once the event that ends the stream has been given out."""
    failure: GatewayError | None
    """What is wrong with the bytes behind the events that were given out."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete, up to the end of the stream or a failure."""
        ...

    def finish(self) -> None:
        """The bytes are at their end. Raises GatewayError if the stream is not."""
        ...


class Backend(Protocol):
    """One provider dialect."""

    @property
    def DIALECT(self) -> str: ...

    def encode(self, request: Request, target: Target, notes: Notes) -> HttpRequest:
        """The provider's request for one attempt, always made from the client's original request.

        What had to be dropped or changed for the target's model goes to ``notes``.
        """
        ...

    def decoder(self, request: Request) -> Decoder: ...

    def decode_message(self, request: Request, body: bytes) -> list[Event]:
        """The events that a whole answer amounts to. Raises GatewayError where it is none."""
        ...

    def decode_error(self, status: int, headers: Headers, body: bytes) -> GatewayError:
        """What a non-2xx answer says; the provider's own bytes are kept for clients of its dialect."""
        ...

    def passed_headers(self, headers: Headers) -> Headers:
        """Those of the provider's answer headers that a client may see."""
        ...
