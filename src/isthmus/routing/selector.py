"""The selector, the string that a client puts in ``model``: its grammar, its parser and its printer.

::

    selector = leg *( "|" leg )                    tried in this order
    leg      = member *( "^" member )              one of them, by weight
             | member *( "!" member )              all of them, the first one wins
    member   = [ "[" name "=" value *( "," name "=" value ) "]" ] ( leaf | hybrid )
    leaf     = [ backend ":" ] model [ query ]
    hybrid   = "hybrid" ":" "[" leaf "," leaf "]" [ query ]
    query    = "?" name "=" value *( "&" name "=" value )

White space around all of these marks means nothing. A model's name may hold slashes, colons and whatever
else can be printed, but none of ``| ^ ! ? ,``; brackets only as its end (``claude-opus-4-6[1m]``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from isthmus.errors import GatewayError, refuse
from isthmus.routing.parameters import PARAMETERS, Range, nearest, number, read, shown, whole

MOST_LEAVES = 32
LONGEST = 2_000
"""Characters of a selector."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _parameters() -> Any:
    # Read-only, since many requests may share what was parsed; a mapping of this kind has no hash.
    return field(default_factory=lambda: _NOTHING, hash=False)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One model to be asked, at a named pool of keys or (None) wherever it is to be found.

    ``weight`` counts in a ``Weighted``, ``handicap``, in seconds, in a ``Race``; a request that is
    longer than ``max_context`` tokens does not come here. ``parameters`` have their own names and typed
    values, as ``routing.parameters`` reads them.
    """

    model: str
    backend: str | None = None
    parameters: Mapping[str, Any] = _parameters()
    weight: float = 1.0
    handicap: float = 0.0
    max_context: int | None = None


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Two models as one: what the first one thinks, the second one answers from."""

    thinker: Leaf
    executor: Leaf
    parameters: Mapping[str, Any] = _parameters()
    weight: float = 1.0
    handicap: float = 0.0
    max_context: int | None = None


Member = Leaf | Hybrid


@dataclass(frozen=True, slots=True)
class Weighted:
    """One of the members, two at least, each as often as its weight says."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Race:
    """All members, two at least, each after its handicap; the first one that answers wins."""

    members: tuple[Member, ...]


Leg = Leaf | Hybrid | Weighted | Race


@dataclass(frozen=True, slots=True)
class Selector:
    """The legs in the order in which they are tried, one at least."""

    legs: tuple[Leg, ...]


class Option(NamedTuple):
    """One row: what may stand in the brackets before a member; ``mark`` tells in which group alone."""

    range: Range
    mark: str
    default: float | None


OPTIONS: Mapping[str, Option] = {
    "weight": Option(number(0, 1_000_000, above=True), "^", 1.0),
    "handicap": Option(number(0, 3600, " of seconds"), "!", 0.0),
    "max_context": Option(whole(1, " of tokens"), "", None),
}
GROUPS: Mapping[str, type[Weighted | Race]] = {"^": Weighted, "!": Race}
_MARKS: Mapping[type[Weighted | Race], str] = {kind: mark for mark, kind in GROUPS.items()}


# --- the parser ---------------------------------------------------------------------------------

CACHED_LENGTH, CACHED = 200, 2_048
"""The longest text that is kept parsed, in characters, and how many are kept."""


def parse(text: str, names: Collection[str], types: Collection[str]) -> Selector:
    """Read a selector.

    ``names`` stand for pools of keys and may be prefixes of a model, ``types`` are the known kinds of
    backends. Raises GatewayError (400) that points at the column, counted from 1. Fastest with frozen
    sets, since then an equal call before answers this one.
    """
    known, kinds = frozenset(names), frozenset(types)
    if len(text) > CACHED_LENGTH:
        return _Reading(known, kinds).selector(text)
    return _parsed(text, known, kinds)


@lru_cache(maxsize=CACHED)
def _parsed(text: str, names: frozenset[str], types: frozenset[str]) -> Selector:
    return _Reading(names, types).selector(text)


def parse_query(query: str, column: int) -> Mapping[str, Any]:
    """The parameters of a query that stands behind ``?`` at a column. Raises GatewayError as ``parse``."""
    return _query(_Piece(query, column).trimmed())


def overlaid(selector: Selector, parameters: Mapping[str, Any]) -> Selector:
    """The selector in which each model has these parameters, in place of its own of the same names."""
    return Selector(tuple(_overlaid(leg, parameters) for leg in selector.legs))


def _overlaid(leg: Leg, parameters: Mapping[str, Any]) -> Leg:
    if isinstance(leg, Weighted | Race):
        return type(leg)(tuple(_with(member, parameters) for member in leg.members))
    return _with(leg, parameters)


def _with(member: Member, parameters: Mapping[str, Any]) -> Member:
    if isinstance(member, Leaf):
        return _leaf_with(member, parameters)
    thinker, executor = (_leaf_with(one, parameters) for one in (member.thinker, member.executor))
    return replace(member, thinker=thinker, executor=executor)


def _leaf_with(leaf: Leaf, parameters: Mapping[str, Any]) -> Leaf:
    return replace(leaf, parameters=MappingProxyType({**leaf.parameters, **parameters}))


class _Piece(NamedTuple):
    """A part of the text, and the column where it begins."""

    text: str
    column: int

    def trimmed(self) -> _Piece:
        begins = len(self.text) - len(self.text.lstrip())
        return _Piece(self.text.strip(), self.column + begins)

    def behind(self, length: int) -> _Piece:
        """What follows the first ``length`` characters."""
        return _Piece(self.text[length:], self.column + length)

    def cut(self, mark: str) -> tuple[_Piece, _Piece | None]:
        """What stands before the first mark and behind it, trimmed; None where there is no mark."""
        head, found, _ = self.text.partition(mark)
        rest = self.behind(len(head) + 1).trimmed() if found else None
        return _Piece(head, self.column).trimmed(), rest

    def parts(self, mark: str) -> list[_Piece]:
        """What stands between the marks, trimmed."""
        found: list[_Piece] = []
        rest: _Piece | None = self
        while rest is not None:
            part, rest = rest.cut(mark)
            found.append(part)
        return found

    def wrong(self, message: str) -> GatewayError:
        return refuse("model", f"column {self.column}: {message}")


_HYBRID = re.compile(r"hybrid\s*:\s*\[")
_HYBRID_FORM = "hybrid:[model,model]"
_MODEL = re.compile(r"[^\[\],]+(?:\[[^\[\],]+\])?")


class _Reading:
    """One text on its way to a selector."""

    def __init__(self, names: frozenset[str], types: frozenset[str]) -> None:
        self._names, self._types = names, types
        self._leaves = 0

    def selector(self, text: str) -> Selector:
        if len(text) > LONGEST:
            raise _Piece("", LONGEST + 1).wrong(f"at most {LONGEST} characters make a selector")
        return Selector(tuple(self._leg(piece) for piece in _Piece(text, 1).parts("|")))

    def _leg(self, piece: _Piece) -> Leg:
        marks = [(at, mark) for at, mark in enumerate(piece.text) if mark in GROUPS]
        if not marks:
            return self._member(piece, "")
        _, first = marks[0]
        for at, mark in marks:
            if mark != first:
                where = piece.behind(at)
                raise where.wrong("`^` and `!` do not stand in one leg: put `|` between them")
        return GROUPS[first](tuple(self._member(part, first) for part in piece.parts(first)))

    def _member(self, piece: _Piece, mark: str) -> Member:
        options: dict[str, Any] = {}
        if piece.text.startswith("["):
            end = piece.text.find("]")
            if end < 0:
                raise piece.wrong("this bracket has no end: [name=value] stands before a model")
            inner = _Piece(piece.text[1:end], piece.column + 1)
            options = _options(inner, mark)
            piece = piece.behind(end + 1).trimmed()
        if begins := _HYBRID.match(piece.text):
            return self._hybrid(piece, begins.end(), options)
        return self._leaf(piece, options)

    def _hybrid(self, piece: _Piece, begins: int, options: dict[str, Any]) -> Hybrid:
        end = _closing(piece.text, begins)
        if end is None:
            raise piece.behind(begins - 1).wrong(f"this bracket has no end: {_HYBRID_FORM}")
        inner = _Piece(piece.text[begins:end], piece.column + begins).parts(",")
        for part in inner:
            if part.text.startswith("[") or _HYBRID.match(part.text):
                raise part.wrong("in a hybrid only [backend:]model[?parameters] may stand")
        if len(inner) != 2:
            raise piece.wrong(f"two models make a hybrid, not {len(inner)}: {_HYBRID_FORM}")
        thinker, executor = (self._leaf(part, {}) for part in inner)
        rest, query = piece.behind(end + 1).cut("?")
        if rest.text:
            raise rest.wrong("behind a hybrid's bracket only ?parameters may stand")
        return Hybrid(thinker, executor, _query(query), **options)

    def _leaf(self, piece: _Piece, options: dict[str, Any]) -> Leaf:
        self._leaves += 1
        if self._leaves > MOST_LEAVES:
            raise piece.wrong(f"at most {MOST_LEAVES} models may stand in a selector")
        name, query = piece.cut("?")
        prefix, rest = name.cut(":")
        if rest is not None and prefix.text in self._names:
            return Leaf(_model(rest), prefix.text, _query(query), **options)
        if rest is not None:
            _refuse_mistaken(prefix, rest.text, self._names, self._types)
        return Leaf(_model(name), None, _query(query), **options)


def _closing(text: str, start: int) -> int | None:
    """Where the bracket ends that was opened just before ``start``."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"[": 1, "]": -1}.get(text[at], 0)
        if not depth:
            return at
    return None


def _model(piece: _Piece) -> str:
    if not piece.text:
        raise piece.wrong("the name of a model is missing here")
    if not piece.text.isprintable():
        at = next(at for at, mark in enumerate(piece.text) if not mark.isprintable())
        raise piece.behind(at).wrong("a model's name holds no character that cannot be printed")
    if not _MODEL.fullmatch(piece.text):
        at = next((at for at, mark in enumerate(piece.text) if mark in ",[]"), 0)
        raise piece.behind(at).wrong("a model's name holds no comma, and a bracket only at its end")
    return piece.text


def _options(piece: _Piece, mark: str) -> dict[str, Any]:
    """The options in front of a member that stands in a group of this mark, or ("") alone."""
    found: dict[str, Any] = {}
    for part in piece.parts(","):
        name, value = part.cut("=")
        row = OPTIONS.get(name.text)
        if row is None:
            raise name.wrong(f"unknown option {shown(name.text)}; {nearest(name.text, OPTIONS)}")
        if name.text in found:
            raise name.wrong(f"option {name.text!r} stands twice")
        if row.mark not in ("", mark):
            raise name.wrong(f"option {name.text!r} needs `{row.mark}` between models")
        try:
            found[name.text] = row.range.read(value.text if value else "")
        except ValueError:
            given = f", not {shown(value.text)}" if value else ""
            message = f"option {name.text!r} must be {row.range.words}{given}"
            raise (value or name).wrong(message) from None
    return found


def _query(piece: _Piece | None) -> Mapping[str, Any]:
    """The parameters of a query, percent-decoded."""
    found: dict[str, Any] = {}
    for part in piece.parts("&") if piece and piece.text else ():
        name, value = part.cut("=")
        if value is None:
            raise part.wrong("expected name=value")
        try:
            own, meant = read(unquote(name.text), unquote(value.text), found)
        except ValueError as mistake:
            raise name.wrong(str(mistake)) from None
        found[own] = meant
    return MappingProxyType(found) if found else _NOTHING


# --- what looks like a backend and is none ------------------------------------------------------

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What the configuration takes for the name of a backend."""
_NEAR = 0.8
_NUMBERED = re.compile(r".*[0-9]")
_WORD = re.compile(r"[A-Za-z]+")


def _refuse_mistaken(
    prefix: _Piece, rest: str, names: frozenset[str], types: frozenset[str]
) -> None:
    """Raises GatewayError (400) where a prefix must have been meant to be a backend."""
    if prefix.text in types:
        what = f"{prefix.text!r} is a type of backend, and none that is configured goes by it"
        raise prefix.wrong(f"{what}; {nearest(prefix.text, sorted(names))}")
    # Models have colons of their own: before the size of a local one, before the version of one at Bedrock.
    if not _NAME.fullmatch(prefix.text) or rest[:1].isdigit():
        return
    stem, dot, label = prefix.text.rpartition(".")
    if dot and stem in names:
        right = sorted(name for name in names if name.startswith(f"{stem}.")) or [stem]
        what = f"backend {stem!r} has no key {shown(label)}"
        raise prefix.wrong(f"{what}; {nearest(prefix.text, right)}")
    if _NUMBERED.fullmatch(prefix.text) and _WORD.fullmatch(rest):
        return
    lowered = {name.lower(): name for name in sorted(names)}
    for near in get_close_matches(prefix.text.lower(), lowered, n=1, cutoff=_NEAR):
        right = lowered[near]
        raise prefix.wrong(f"no backend is named {prefix.text!r}; did you mean {right!r}?")


# --- the printer --------------------------------------------------------------------------------


def printed(selector: Selector) -> str:
    """The selector as text, without white space and without what is so by default.

    ``parse`` makes the same selector of it.
    """
    return "|".join(_leg_text(leg) for leg in selector.legs)


def _leg_text(leg: Leg) -> str:
    if isinstance(leg, Leaf | Hybrid):
        return _member_text(leg)
    return _MARKS[type(leg)].join(map(_member_text, leg.members))


def _member_text(member: Member) -> str:
    given = [(name, getattr(member, name), row.default) for name, row in OPTIONS.items()]
    options = [f"{name}={_value(value)}" for name, value, default in given if value != default]
    before = f"[{','.join(options)}]" if options else ""
    if isinstance(member, Hybrid):
        inner = ",".join(map(_member_text, (member.thinker, member.executor)))
        return f"{before}hybrid:[{inner}]{_query_text(member.parameters)}"
    prefix = f"{member.backend}:" if member.backend is not None else ""
    return f"{before}{prefix}{member.model}{_query_text(member.parameters)}"


def _query_text(parameters: Mapping[str, Any]) -> str:
    pairs = [f"{name}={_value(parameters[name])}" for name in PARAMETERS if name in parameters]
    return f"?{'&'.join(pairs)}" if pairs else ""


def _value(value: Any) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else quote(str(value))
