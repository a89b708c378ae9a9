"""A YAML file: its values with the ${references} filled in, and where each of them stands."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

# Bounds for a file that somebody half wrote, or wrote to hurt: a real one is far below each.
MAX_BYTES = 1 << 20
MAX_VALUES = 10_000
MAX_DEPTH = 20
MAX_REFERENCED_BYTES = 64 << 10

KeyPath = tuple[str | int, ...]

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOO_MUCH = f"has more than {MAX_VALUES:,} values, aliases unfolded, or {MAX_DEPTH} levels"
_TAG = "tag:yaml.org,2002:"
# The last three are text to us: 2026-11-22, << and =.
_KINDS = {"map", "seq", "null", "bool", "int", "float", "str", "timestamp", "merge", "value"}
# Stands for a value that a reported mistake keeps us from knowing.
_UNKNOWN = object()


class Mark(NamedTuple):
    """A place in a file; both count from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One mistake in the file. `path` leads to the value it spoils; () is the whole file."""

    path: KeyPath
    mark: Mark | None
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says. `data` leaves out the values whose paths are in `unknown`."""

    data: dict[str, object] = field(default_factory=dict)
    keys: dict[KeyPath, Mark] = field(default_factory=dict)
    values: dict[KeyPath, Mark] = field(default_factory=dict)
    references: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict)
    unknown: set[KeyPath] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


class _UnusableError(Exception):
    """Nothing of the file can be taken: it cannot be read, or it is not YAML."""

    def __init__(self, message: str, mark: Mark | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mark = mark


def read(path: Path, environ: Mapping[str, str]) -> Document:
    """Read a mapping from `path`, with `${NAME}` taken from `environ`; an empty file is {}.

    Raises nothing: whatever is wrong with the file is in `problems`, all of it at once, and a file
    of which nothing can be used has () in `unknown`.
    """
    document = Document()
    try:
        root = _root(_text(path))
        if root is not None and not _is_null(root):
            _Reading(document, environ, path.parent).top(root)
    except _UnusableError as error:
        spoilt = Problem((), error.mark, error.message)
        return Document(unknown={()}, problems=[*document.problems, spoilt])
    return document


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a message that names the nearest right name; '' where none is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def quoted(text: str) -> str:
    """Text out of a file as a message may show it: short, on one line, without control codes."""
    return repr(text if len(text) <= 60 else text[:59] + "…")


def _text(path: Path) -> str:
    raw = _bytes(path, MAX_BYTES)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].split(b"\n")
        mark = Mark(len(before), len(before[-1]) + 1)
        raise _UnusableError("is not UTF-8 text", mark) from None


def _bytes(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise _UnusableError(f"cannot be read: {error.strerror or error}") from None
    except ValueError:  # a NUL in the name
        raise _UnusableError("cannot be read: no file can have this name") from None
    if len(raw) > limit:
        raise _UnusableError(f"is larger than {limit >> 10} KiB")
    return raw


class _BoundedComposer(Composer):
    """Stops early: ruamel needs a quarter of a minute for a megabyte of short lines."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self.warn_double_anchors = False  # legal, and a warning would reach the terminal
        self.count = 0
        self.level = 0

    # pyrefly: ignore[missing-override-decorator]  (typing has it from Python 3.12)
    def compose_node(self, parent: Any, index: Any) -> Any:
        self.count += 1
        self.level += 1
        # A key and its value are two nodes.
        if self.count > 2 * MAX_VALUES or self.level > MAX_DEPTH:
            raise _UnusableError(_TOO_MUCH, _mark(self.parser.peek_event()))
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


def _root(text: str) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _BoundedComposer
    try:
        return yaml.compose(text)
    except MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(at.line + 1, at.column + 1) if at else None
        said = " ".join(str(error.problem or error.context or "cannot be parsed").split())
        raise _UnusableError(f"is not valid YAML: {said[:200]}", mark) from None
    except YAMLError as error:
        before = text[: getattr(error, "position", 0)].split("\n")
        mark = Mark(len(before), len(before[-1]) + 1)
        raise _UnusableError("is not valid YAML: a character is not allowed here", mark) from None
    except (AssertionError, LookupError, OverflowError, ValueError):  # ruamel's own slips
        raise _UnusableError("is not valid YAML: a directive or an escape is wrong") from None


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == _TAG + "null"


def _mark(node: Any) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _scalar(tag: str, text: str) -> object:
    """The value of a plain scalar; what does not parse as its tag stays text."""
    try:
        match tag:
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False, "yes": True, "no": False}[text.lower()]
            case "int":
                digits = text.replace("_", "")
                return int(digits, 0 if digits.lstrip("+-")[1:2] in ("x", "o", "b") else 10)
            case "float":
                return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except (KeyError, ValueError):
        return text
    return text


@dataclass(slots=True)
class _Reading:
    """The walk over the nodes of one file, which fills its document."""

    document: Document
    environ: Mapping[str, str]
    folder: Path
    count: int = 0

    def top(self, node: Node) -> None:
        if not isinstance(node, MappingNode):
            raise _UnusableError("must be a section of `key: value` lines", _mark(node))
        self.mapping(node, (), self.document.data)

    def value(self, node: Node, path: KeyPath) -> object:
        # Aliases are followed as often as they are written, so what they unfold to is counted.
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _UnusableError(_TOO_MUCH, _mark(node))
        tag = str(node.tag)
        if tag.removeprefix(_TAG) not in _KINDS:
            return self.spoil(path, _mark(node), f"the tag {quoted(tag)} means nothing here")
        if isinstance(node, MappingNode):
            section: dict[str, object] = {}
            self.mapping(node, path, section)
            return section
        if isinstance(node, SequenceNode):
            items = [self.item(child, (*path, place)) for place, child in enumerate(node.value)]
            return _UNKNOWN if _UNKNOWN in items else items
        if tag == _TAG + "str":
            return self.filled(node.value, path, _mark(node))
        return _scalar(tag.removeprefix(_TAG), node.value)

    def item(self, node: Node, path: KeyPath) -> object:
        self.document.values[path] = _mark(node)
        value = self.value(node, path)
        if value is _UNKNOWN:
            self.document.unknown.add(path[:-1])
        return value

    def mapping(self, node: MappingNode, path: KeyPath, into: dict[str, object]) -> None:
        for key, child in node.value:
            if not isinstance(key, ScalarNode) or not _encodable(key.value):
                self.spoil(path, _mark(key), "a key must be plain text")
                continue
            here = (*path, str(key.value))
            if here in self.document.keys:
                first = self.document.keys[here].line
                message = f"key {quoted(key.value)} is already given in line {first}"
                self.document.problems.append(Problem(path, _mark(key), message))
                continue
            self.document.keys[here] = _mark(key)
            self.document.values[here] = _mark(child)
            value = self.value(child, here)
            if value is not _UNKNOWN:
                into[key.value] = value

    def filled(self, text: str, path: KeyPath, mark: Mark) -> object:
        """`text` with its references replaced; what they bring in is not searched again."""
        used: list[str] = []
        wrong: list[str] = []

        def replaced(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            used.append(match[0])
            try:
                return self.referenced(match[1])
            except _UnusableError as error:
                wrong.append(error.message)
                return ""

        result = _REFERENCE.sub(replaced, text)
        if not _encodable(result):
            wrong.append("holds half a surrogate pair, which is not text")
        if used:
            self.document.references[path] = tuple(used)
        for message in wrong:
            self.spoil(path, mark, message)
        return _UNKNOWN if wrong else result

    def referenced(self, name: str | None) -> str:
        if name and name.startswith("file:"):
            return self.content(name.removeprefix("file:"))
        if not name or not _VARIABLE.fullmatch(name):
            found = quoted("${" + (name or "") + "}") if name is not None else "an unclosed ${"
            raise _UnusableError(
                f"{found} is not a reference: write ${{NAME}} or ${{file:PATH}}, "
                "or $${ where the text is meant to hold ${"
            )
        if name not in self.environ:
            near = did_you_mean(name, self.environ)
            raise _UnusableError(f"the environment variable {name} is not set{near}")
        return self.environ[name]

    def content(self, name: str) -> str:
        try:
            raw = _bytes(self.folder / name, MAX_REFERENCED_BYTES)
            return raw.decode("utf-8-sig").rstrip("\r\n")
        except _UnusableError as error:
            raise _UnusableError(f"the file {quoted(name)} {error.message}") from None
        except UnicodeDecodeError:
            raise _UnusableError(f"the file {quoted(name)} is not UTF-8 text") from None

    def spoil(self, path: KeyPath, mark: Mark, message: str) -> object:
        self.document.problems.append(Problem(path, mark, message))
        self.document.unknown.add(path)
        return _UNKNOWN
