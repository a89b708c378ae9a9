"""One client request on its way to the hub: its HTTP form, its Messages body, its target, its notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, cast

from isthmus import wire
from isthmus.errors import refuse
from isthmus.profiles import Profile

Operation = Literal["messages", "count_tokens"]
Headers = tuple[tuple[str, str], ...]
"""Header fields in their order, names in lower case."""


@dataclass(slots=True)
class HttpRequest:
    """An HTTP request: what a frontend decodes, and what a backend encodes.

    ``path`` is the part of the target before the query, percent-encoded as it was sent.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: bytes = b""
    arrived: int = 0
    """When it came, in whole seconds since 1970; 0 where nobody looked at a clock."""

    def header(self, name: str) -> str | None:
        """The values of one header joined by commas (RFC 9110, section 5.3); None if absent."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Note:
    """One field that was dropped or changed on the way, for the client to see.

    ``path`` is the field's path in the client's own request (``tools.0.strict``), ``action`` what
    happened to it, ``reason`` why, in a few words.
    """

    path: str
    action: Literal["dropped", "changed"]
    reason: str

    def __str__(self) -> str:
        return f"{self.path} {self.action}: {self.reason}"


@dataclass(slots=True)
class Notes:
    """The notes of one exchange, each said once, in the order in which they were made."""

    rows: list[Note] = field(default_factory=list[Note])
    _said: set[Note] = field(default_factory=set[Note], repr=False, compare=False)

    def dropped(self, path: str, reason: str) -> None:
        self._add(Note(path, "dropped", reason))

    def changed(self, path: str, reason: str) -> None:
        self._add(Note(path, "changed", reason))

    def take(self, others: Notes, names: Mapping[str, str]) -> None:
        """Add notes on the hub's fields under the names that these have in the client's dialect."""
        for note in others.rows:
            self._add(replace(note, path=named(note.path, names)))

    def _add(self, note: Note) -> None:
        if note not in self._said:
            self._said.add(note)
            self.rows.append(note)

    def header(self, limit: int = 2000) -> str:
        """The notes as one ASCII header value of at most ``limit`` bytes."""
        text = "; ".join(map(str, self.rows)).encode("unicode_escape").decode("ascii")
        return text if len(text) <= limit else f"{text[: limit - 4]} ..."


def named(path: str, names: Mapping[str, str]) -> str:
    """The path with its longest known beginning replaced by the client's name for it."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        known = names.get(".".join(parts[:length]))
        if known is not None:
            return ".".join([known, *parts[length:]])
    return path


# --- the body -----------------------------------------------------------------------------------

_DROPPED: Any = object()


class Body:
    """A Messages request body that keeps its wire form until somebody changes it.

    Made from wire bytes it is scanned, not parsed: ``peek`` decodes one top-level member, ``edit``
    and ``drop`` are spliced into the original bytes, and whatever nobody edited stays as it was.
    """

    def __init__(self, source: bytes | dict[str, Any]) -> None:
        self._wire = source if isinstance(source, bytes) else None
        self._spans = wire.members(source) if isinstance(source, bytes) else wire.Members()
        self._values: dict[str, Any] = {} if isinstance(source, bytes) else source
        self._edits: dict[str, Any] = {}

    def copy(self) -> Body:
        """The same body, whose edits are its own."""
        twin = Body.__new__(Body)
        twin._wire, twin._spans, twin._values = self._wire, self._spans, self._values
        twin._edits = dict(self._edits)
        return twin

    def __contains__(self, name: str) -> bool:
        if name in self._edits:
            return self._edits[name] is not _DROPPED
        return name in self._spans or name in self._values

    def peek(self, name: str) -> Any:
        """The value of one member, None if it is absent. Do not change it in place: ``edit`` it.

        Raises GatewayError (400) where the member stands twice in the body.
        """
        if name in self._edits:
            value = self._edits[name]
            return None if value is _DROPPED else value
        if name in self._spans and name not in self._values:
            self._values[name], _ = wire.loads_repaired(self.text(name) or b"")
        return self._values.get(name)

    def text(self, name: str) -> bytes | None:
        """The JSON text of one member as it came; None where it is absent or not kept so.

        Raises GatewayError (400) where the member stands twice in the body.
        """
        if self._wire is None or name in self._edits or name not in self._spans:
            return None
        if name in self._spans.repeated:
            raise refuse(name, "this member stands twice in the body")
        return self._wire[self._spans[name].value : self._spans[name].end]

    def opening(self, name: str) -> tuple[bytes, int]:
        """The JSON text of the first item of an array, and how many items there are; b"" and 0 for none."""
        if self._wire is not None and name in self._spans and name not in self._edits:
            span = self._spans[name]
            return wire.opening(self._wire[span.value : span.end])
        items = self.peek(name)
        found = cast("list[Any]", items) if isinstance(items, list) else []
        return (wire.dumps(found[0]), len(found)) if found else (b"", 0)

    def mentions(self, text: bytes) -> bool:
        """Whether bytes stand anywhere in the body as it came; of a body that was built nobody knows."""
        return self._wire is not None and text in self._wire

    def edit(self, name: str, value: Any) -> None:
        self._edits[name] = value

    def drop(self, name: str) -> None:
        if name in self:
            self._edits[name] = _DROPPED

    @property
    def edited(self) -> bool:
        return bool(self._edits)

    def value(self) -> dict[str, Any]:
        """The whole body decoded, edits applied."""
        names = [*self._spans, *(n for n in self._values if n not in self._spans)]
        names += [n for n in self._edits if n not in names]
        return {name: self.peek(name) for name in names if name in self}

    def wire(self) -> bytes:
        """The body's bytes: the original ones, with nothing but the edited members replaced."""
        if self._wire is None:
            return wire.dumps(self.value())
        return self._spliced(self._wire) if self._edits else self._wire

    def _spliced(self, source: bytes) -> bytes:
        """The members in their order with the very bytes around them, but for the edited values."""
        kept: list[bytes] = []
        start = source.index(b"{") + 1
        for name, span in self._spans.rows:
            end = wire.blank_end(source, span.end)
            if name not in self._edits:
                kept.append(source[start:end])
            elif self._edits[name] is not _DROPPED and span is self._spans[name]:
                new = wire.dumps(self._edits[name])
                kept.append(source[start : span.value] + new + source[span.end : end])
            start = end + 1
        kept += [
            wire.dumps(name) + b":" + wire.dumps(value)
            for name, value in self._edits.items()
            if name not in self._spans and value is not _DROPPED
        ]
        return b"{" + b",".join(kept) + b"}"


# --- the request --------------------------------------------------------------------------------


class Limit(NamedTuple):
    """The most tokens that a prompt may have, and what says so."""

    tokens: int
    source: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where one attempt goes: a configured backend, a model of its, and parameters of the selector.

    ``changed`` says that the gateway itself put another model or parameter in place: only then may
    a native body be adapted to the model, since a caller's own choice is the provider's to judge.
    ``profile`` is what the configuration knows of the model; None leaves it to the package's table.
    ``defaults`` are parameters for requests that do not have them. ``max_context`` is the most tokens
    of a prompt that the selector lets through to it, ``window`` the smallest of all such limits.
    """

    backend: str
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    changed: bool = False
    profile: Profile | None = None
    prompt_cache: bool = False
    max_context: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    window: Limit | None = None


class Place(NamedTuple):
    """One key of one backend. ``key`` is the key's label, never the key; "" where there is one only."""

    backend: str
    key: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, for people: where it went, and its status or what became of it."""

    where: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Pause:
    """A turn that the provider paused: what it has said of it, and in which container.

    A backend sends the blocks, as they came, behind the messages of the request.
    """

    blocks: tuple[dict[str, Any], ...]
    container: str | None


@dataclass(slots=True)
class Request:
    """What a client asks, in the hub's terms, whatever dialect it came in.

    ``body`` is a Messages body, which may hold ``system`` turns anywhere and lack ``max_tokens``: the
    backend makes of it what the target's model takes. ``model`` is the selector as the client wrote
    it; ``stream`` says whether the client wants events; ``headers`` and ``query`` are the caller's,
    for the native lane. ``caller`` tells whose request it is, so that nobody is given what was kept
    for another. ``began`` is the moment at which it was begun, by the clock of its loop. ``target``,
    ``place`` and ``key``, the provider's, are set for each attempt, ``last`` where none can follow it,
    ``pause`` for each round of it but the first; ``attempts`` tells of all of them. ``memory`` is the
    frontend's own: what its encoder must know of the request.
    """

    dialect: str
    body: Body
    model: str
    stream: bool
    operation: Operation = "messages"
    headers: Headers = ()
    query: str = ""
    notes: Notes = field(default_factory=Notes)
    caller: str = ""
    began: float = 0.0
    target: Target | None = None
    place: Place | None = None
    key: str = field(default="", repr=False)
    last: bool = False
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    pause: Pause | None = None
    memory: Mapping[str, Any] = field(default_factory=dict[str, Any])


SHORT = 4096
"""Tokens of an answer that comes soon enough to be awaited as a whole."""


def is_short(request: Request, target: Target) -> bool:
    """Whether a client that wants no stream asks for so little that nobody needs one.

    A longer answer is streamed by the provider all the same, since a silent connection is not kept
    for ever; and so is one that may hold a call, since only a stream tells where a call was cut off.
    """
    if request.stream or request.operation != "messages" or request.pause is not None:
        return False
    body = request.body
    most = target.parameters.get("max_tokens", body.peek("max_tokens"))
    calls = body.peek("tools") or "mcp_servers" in body
    return isinstance(most, int) and most <= SHORT and not calls


def expect(value: Any, kind: type | tuple[type, ...], path: str, wanted: str) -> Any:
    """The value if it is of the wanted JSON type. Raises GatewayError (400) that names its path."""
    if isinstance(value, kind) and not (isinstance(value, bool) and bool not in _kinds(kind)):
        return value
    raise refuse(path, f"expected {wanted}, got {wire.kind_of(value)}")


def _kinds(kind: type | tuple[type, ...]) -> tuple[type, ...]:
    return kind if isinstance(kind, tuple) else cast("tuple[type, ...]", (kind,))


_OBJECTS = ("thinking", "tool_choice", "output_config", "context_management")
_LISTS = ("messages", "tools", "stop_sequences")


def check_shapes(body: Body) -> None:
    """See that what the rules read has the types that they trust; null counts as absent.

    Raises GatewayError (400) that names the path of the first wrong type.
    """
    for name in _OBJECTS:
        value = body.peek(name)
        if value is not None:
            expect(value, dict, name, "an object")
            if value.get("type") is not None:
                expect(value["type"], str, f"{name}.type", "a string")
    for name in _LISTS:
        if body.peek(name) is not None:
            expect(body.peek(name), list, name, "an array")
    for index, turn in enumerate(body.peek("messages") or ()):
        path = f"messages.{index}"
        expect(turn, dict, path, "an object")
        expect(turn.get("role"), str, f"{path}.role", "a string")
        content = expect(
            turn.get("content"), (str, list), f"{path}.content", "a string or an array"
        )
        for at, block in enumerate(content if isinstance(content, list) else ()):
            expect(block, dict, f"{path}.content.{at}", "an object")
            if block.get("type") == "text":
                expect(block.get("text"), str, f"{path}.content.{at}.text", "a string")
