"""A small language for the shape of a JSON value, and the check that a value has it.

The tables of `schema_*.py` are written in it. A refusal carries the wording of Anthropic's validator:
`path: reason`, the path dotted, with list indexes and with the tag of every tagged object
(`messages.0.content.1.tool_use.foo: Extra inputs are not permitted`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .errors import Refusal

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A string; `values` makes it an enumeration."""

    values: tuple[str, ...] = ()
    min: int = 0
    max: int | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A number; with `whole` an integer."""

    whole: bool = True
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value, or with `mapping` any object."""

    mapping: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    of: Shape
    min: int = 0
    max: int | None = None


@dataclass(frozen=True, slots=True)
class Values:
    """An object with free keys."""

    of: Shape


@dataclass(frozen=True, slots=True)
class Object:
    """An object with known keys. A key ending in `!` is required, in `?` may be null, in `!?` both."""

    fields: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Tagged:
    """One of several objects, told apart by `key`; `otherwise` is the tag of an object without the key."""

    options: Mapping[str, Shape]
    key: str = "type"
    otherwise: str | None = None


@dataclass(frozen=True, slots=True)
class Either:
    """A value whose shape depends on its JSON type: string, list or object."""

    string: Shape | None = None
    array: Shape | None = None
    mapping: Shape | None = None
    flag: Shape | None = None


@dataclass(frozen=True, slots=True)
class Gated:
    """A member that exists only with one of these betas, or only in one API version."""

    shape: Shape
    betas: frozenset[str] = frozenset()
    version: str | None = None


Shape: TypeAlias = (
    Text | Number | Flag | Anything | Items | Values | Object | Tagged | Either | Gated
)


@dataclass(frozen=True, slots=True)
class Caller:
    """What of a request's headers decides which members exist."""

    betas: frozenset[str]
    version: str

    def sees(self, shape: Shape) -> bool:
        """Whether a member of this shape exists for this caller."""
        if not isinstance(shape, Gated):
            return True
        version_ok = shape.version is None or shape.version == self.version
        return version_ok and (not shape.betas or bool(shape.betas & self.betas))


def check(value: Any, shape: Shape, path: Path, caller: Caller) -> None:
    """Raise a Refusal when the value has not the shape."""
    CHECKS[type(shape)](value, shape, path, caller)


def dotted(path: Path) -> str:
    """The path as Anthropic writes it."""
    return ".".join(str(step) for step in path)


def refuse(path: Path, reason: str) -> Refusal:
    """A 400 with `path: reason`."""
    return Refusal(f"{dotted(path)}: {reason}" if path else reason)


def listed(values: tuple[str, ...]) -> str:
    """`'a', 'b' or 'c'`."""
    quoted = [f"'{value}'" for value in values]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]


def plural(count: int, noun: str) -> str:
    """`1 item`, `2 items`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def check_text(value: Any, shape: Text, path: Path, _caller: Caller) -> None:
    """Type, enumeration, length and pattern of a string."""
    if shape.values:
        if value not in shape.values:
            raise refuse(path, f"Input should be {listed(shape.values)}")
        return
    if not isinstance(value, str):
        raise refuse(path, "Input should be a valid string")
    if len(value) < shape.min:
        raise refuse(path, f"String should have at least {plural(shape.min, 'character')}")
    if shape.max is not None and len(value) > shape.max:
        raise refuse(path, f"String should have at most {plural(shape.max, 'character')}")
    if shape.pattern and not re.fullmatch(shape.pattern, value):
        raise refuse(path, f"String should match pattern '^{shape.pattern}$'")


def check_number(value: Any, shape: Number, path: Path, _caller: Caller) -> None:
    """Type and bounds of a number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise refuse(path, f"Input should be a valid {'integer' if shape.whole else 'number'}")
    if shape.whole and value % 1:
        raise refuse(path, "Input should be a valid integer, got a number with a fractional part")
    if shape.min is not None and value < shape.min:
        raise refuse(path, f"Input should be greater than or equal to {shape.min:g}")
    if shape.max is not None and value > shape.max:
        raise refuse(path, f"Input should be less than or equal to {shape.max:g}")


def check_flag(value: Any, _shape: Flag, path: Path, _caller: Caller) -> None:
    """Only true and false."""
    if not isinstance(value, bool):
        raise refuse(path, "Input should be a valid boolean")


def check_anything(value: Any, shape: Anything, path: Path, _caller: Caller) -> None:
    """Any value, or any object."""
    if shape.mapping and not isinstance(value, dict):
        raise refuse(path, "Input should be a valid dictionary")


def check_items(value: Any, shape: Items, path: Path, caller: Caller) -> None:
    """A list, its length, its members."""
    if not isinstance(value, list):
        raise refuse(path, "Input should be a valid list")
    if len(value) < shape.min:
        raise refuse(
            path,
            f"List should have at least {plural(shape.min, 'item')} after validation, not {len(value)}",
        )
    if shape.max is not None and len(value) > shape.max:
        raise refuse(
            path,
            f"List should have at most {plural(shape.max, 'item')} after validation, not {len(value)}",
        )
    for index, item in enumerate(value):
        check(item, shape.of, (*path, index), caller)


def check_values(value: Any, shape: Values, path: Path, caller: Caller) -> None:
    """An object whose keys are free."""
    if not isinstance(value, dict):
        raise refuse(path, "Input should be a valid dictionary")
    for key, item in value.items():
        check(item, shape.of, (*path, key), caller)


def check_object(value: Any, shape: Object, path: Path, caller: Caller) -> None:
    """Every known member in the table's order, then the unknown ones."""
    if not isinstance(value, dict):
        raise refuse(path, "Input should be an object")
    known = set()
    for mark, member in shape.fields.items():
        if not caller.sees(member):
            continue
        name = mark.rstrip("!?")
        known.add(name)
        if name not in value:
            if "!" in mark:
                raise refuse((*path, name), "Field required")
            continue
        if value[name] is None and "?" in mark:
            continue
        check(value[name], member, (*path, name), caller)
    for name in value:
        if name not in known:
            raise refuse((*path, name), "Extra inputs are not permitted")


def check_tagged(value: Any, shape: Tagged, path: Path, caller: Caller) -> None:
    """The tag, then the object it stands for; the tag becomes a step of the path."""
    if not isinstance(value, dict):
        raise refuse(path, "Input should be an object")
    tag = value.get(shape.key)
    if tag is None:
        if shape.otherwise is None:
            raise refuse((*path, shape.key), "Field required")
        tag = shape.otherwise
    option = shape.options.get(tag) if isinstance(tag, str) else None
    if option is None or not caller.sees(option):
        expected = ", ".join(
            f"'{name}'" for name, item in shape.options.items() if caller.sees(item)
        )
        reason = f"Input tag '{tag}' found using '{shape.key}' does not match any of the expected tags: {expected}"
        raise refuse(path, reason)
    check(value, option, (*path, tag), caller)


def check_either(value: Any, shape: Either, path: Path, caller: Caller) -> None:
    """Dispatch on the JSON type."""
    branch = {str: shape.string, list: shape.array, dict: shape.mapping, bool: shape.flag}.get(
        type(value)
    )
    if branch is not None:
        check(value, branch, path, caller)
        return
    wanted = "a valid list" if shape.array else "an object" if shape.mapping else "a valid string"
    raise refuse(path, f"Input should be {wanted}")


def check_gated(value: Any, shape: Gated, path: Path, caller: Caller) -> None:
    """The gate was asked by the enclosing object; here only the shape counts."""
    check(value, shape.shape, path, caller)


CHECKS: dict[type, Callable[[Any, Any, Path, Caller], None]] = {
    Text: check_text,
    Number: check_number,
    Flag: check_flag,
    Anything: check_anything,
    Items: check_items,
    Values: check_values,
    Object: check_object,
    Tagged: check_tagged,
    Either: check_either,
    Gated: check_gated,
}
