"""One attempt before anything is sent: its target, the provider's request, and the notes on both.

The attempt itself and its explanation (``isthmus explain``) start from the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.backends import Backend
from isthmus.dialects import FRONTENDS
from isthmus.errors import GatewayError, refuse
from isthmus.request import HttpRequest, Notes, Request, Target, named

STRICT = "x-isthmus-strict"
_SWITCH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Plan:
    """What one attempt would send. ``notes`` are named in the client's own dialect."""

    target: Target
    http: HttpRequest
    notes: Notes
    strict: bool

    @property
    def refusal(self) -> GatewayError | None:
        """The 400 that a strict client gets in place of a request with notes; None if it is sent."""
        if not self.strict or not self.notes.rows:
            return None
        listed = "; ".join(map(str, self.notes.rows))
        text = f"strict: the request cannot be sent as it is: {listed}"
        error = GatewayError("invalid_request", text, param=self.notes.rows[0].path)
        error.faults = tuple((note.path, str(note)) for note in self.notes.rows)
        return error


def plan(request: Request, target: Target, backend: Backend, strict: bool) -> Plan:
    """The plan of one attempt; ``strict`` holds where the request's own header says nothing.

    Raises GatewayError (400) for what cannot be sent to this target at all, and for a bad header.
    """
    strict = is_strict(request, strict)
    notes, fitted = Notes(), Notes()
    names = FRONTENDS[request.dialect].NAMES
    try:
        http = backend.encode(request, target, fitted)
    except GatewayError as error:
        raise _by_client_name(error, names) from None
    notes.take(request.notes, {})
    notes.take(fitted, names)
    return Plan(target, http, notes, strict)


def _by_client_name(error: GatewayError, names: Mapping[str, str]) -> GatewayError:
    """The refusal of a field of the hub under the name that it has in the client's dialect."""
    path = named(error.param or "", names)
    if path == error.param or error.kind != "invalid_request":
        return error
    return refuse(path, error.message.removeprefix(f"{error.param}: "))


def is_strict(request: Request, otherwise: bool) -> bool:
    """Whether notes refuse this request: as its header says, else ``otherwise``."""
    said = {value.strip().lower() for name, value in request.headers if name == STRICT}
    if not said:
        return otherwise
    if len(said) > 1 or not said <= _SWITCH.keys():
        raise refuse(STRICT, "expected true or false")
    return _SWITCH[said.pop()]
