"""Who may import whom, and where an error may be caught without a name."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"

# The pure part, lowest first: a module imports its own row or the rows above it in this list.
LAYERS = [
    ("errors",),
    ("wire",),
    ("event",),
    ("messages",),
    ("request", "profiles"),
    ("adapt", "dimensions", "prompt_cache", "properties", "rates", "thinking", "tokens", "turns"),
    ("frontends", "backends", "routing"),
]
# Neighbours in the last row that must not know each other: the two halves of a dialect meet in
# the hub only.
STRANGERS = {"frontends": {"backends"}, "backends": {"frontends"}, "routing": {"frontends"}}

# Bytes and values in, bytes and values out: no clock, no dice, no files, no sockets, no threads.
IMPURE = {
    *("asyncio", "concurrent", "multiprocessing", "threading", "selectors", "signal", "subprocess"),
    *("ftplib", "http", "smtplib", "socket", "socketserver", "ssl", "urllib.request", "wsgiref"),
    *("random", "secrets", "time", "uuid"),
    *("fcntl", "os", "shutil", "sqlite3", "tempfile"),
}
LIBRARIES_OF_THE_PURE = {"msgspec", "re2"}

# Steps see the storage protocols, never what stands behind them, nor anything at the edges.
CLOSED_TO_STEPS = {
    *("admin", "cli", "dashboard", "server", "upstream"),
    *("storage.memory", "storage.postgres", "storage.sqlite", "storage.valkey"),
}

# An import inside a function: only an optional extra, or a slow import that a short command of
# the command line should not pay for. (module, what it imports): why.
LATE_IMPORTS: dict[tuple[str, str], str] = {
    ("cli", "isthmus.errors"): "only `explain` pays for the codecs",
    ("cli", "isthmus.explain"): "only `explain` pays for the codecs",
    ("cli", "isthmus.gateway"): "only `explain` pays for the codecs",
    ("cli", "isthmus.request"): "only `explain` pays for the codecs",
    ("cli", "isthmus.server"): "only `serve` pays for what serves",
    ("cli", "isthmus.workers"): "only `serve` pays for what serves",
    ("cli", "isthmus.simulator"): "only `simulate` pays for the simulator",
    ("edge.connection", "resource"): "there is none for Windows",
    ("server", "uvloop"): "there is none for Windows",
}

# The three places of `except Exception`: the server's edge, a background task, an observing step.
# Module: why. A handler that ends by raising again swallows nothing and does not count.
BROAD_EXCEPTS: dict[str, str] = {
    "edge.cycle": "an application's fault ends one response, never the connection's other duties",
    "exchange": "the edge, where what nobody foresaw becomes a logged 500 in the client's dialect; and "
    "observers, which cannot spoil the answer that they look at",
}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, as seen from the module that imports it."""

    name: str
    line: int
    inside_function: bool


@dataclass(frozen=True, slots=True)
class Module:
    """A source file: its dotted name without `isthmus.`, its syntax tree and its imports."""

    name: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        """The part of the tree it stands in: `frontends`, `wire`, ..."""
        return self.name.partition(".")[0]


def modules() -> dict[str, Module]:
    """Every module of the package by its name, `isthmus` itself as the empty name."""
    trees = {}
    for path in sorted((SOURCE / "isthmus").rglob("*.py")):
        parts = path.relative_to(SOURCE / "isthmus").with_suffix("").parts
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        trees[name] = (package, ast.parse(path.read_text(), filename=str(path)))
    names = set(trees)
    return {
        name: Module(name, tree, tuple(imports_of(tree, name, package, names)))
        for name, (package, tree) in trees.items()
    }


def imports_of(tree: ast.Module, importer: str, package: bool, names: set[str]) -> Iterator[Import]:
    """Each import, inner modules as `isthmus.NAME` and never as the attribute of one."""
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    late = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = imported_from(node, importer, package, names)
        else:
            continue
        for name in found:
            yield Import(name, node.lineno, id(node) in late)


def imported_from(node: ast.ImportFrom, importer: str, package: bool, names: set[str]) -> list[str]:
    base = node.module or ""
    if node.level:
        parts = ["isthmus", *importer.split(".")] if importer else ["isthmus"]
        drop = node.level - package
        parts = parts[: len(parts) - drop]
        base = ".".join([*parts, *([base] if base else [])])
    if base.partition(".")[0] != "isthmus":
        return [base]
    inside = base.removeprefix("isthmus").removeprefix(".")
    found = set()
    for alias in node.names:
        child = f"{inside}.{alias.name}".removeprefix(".")
        # The package itself holds nothing but its version.
        is_module = child in names or (not inside and not alias.name.startswith("__"))
        found.add(f"isthmus.{child}" if is_module else base)
    return sorted(found)


MODULES = modules()
PURE = {room: level for level, row in enumerate(LAYERS) for room in row}
PURE_MODULES = [module for module in MODULES.values() if module.room in PURE]


def inner(name: str) -> str | None:
    """The module's name without `isthmus.`, or None for somebody else's."""
    return name[len("isthmus") :].removeprefix(".") if within(name, {"isthmus"}) else None


def names(module: Module) -> str:
    return module.name or "isthmus"


def within(name: str, rooms: set[str]) -> bool:
    """Whether a dotted name is one of these or inside one of these."""
    return any(name == room or name.startswith(room + ".") for room in rooms)


def test_the_tree_was_found() -> None:
    assert "" in MODULES


@pytest.mark.parametrize("module", MODULES.values(), ids=names)
def test_a_file_says_its_subject_in_its_first_line(module: Module) -> None:
    assert ast.get_docstring(module.tree) or not module.tree.body


@pytest.mark.parametrize("module", PURE_MODULES, ids=names)
def test_the_pure_part_has_no_clock_no_dice_and_no_sockets(module: Module) -> None:
    for found in module.imports:
        top = found.name.partition(".")[0]
        assert not within(found.name, IMPURE), f"line {found.line}: {found.name}"
        allowed = {"isthmus", "__future__", *LIBRARIES_OF_THE_PURE, *sys.stdlib_module_names}
        assert top in allowed, f"line {found.line}: {found.name}"


@pytest.mark.parametrize("module", PURE_MODULES, ids=names)
def test_the_pure_part_imports_downwards(module: Module) -> None:
    for found in module.imports:
        target = inner(found.name)
        if not target:
            continue
        room = target.partition(".")[0]
        assert room in PURE, f"line {found.line}: {found.name} is not of the pure part"
        assert PURE[room] <= PURE[module.room], f"line {found.line}: {found.name} is above"
        strangers = STRANGERS.get(module.room, set())
        assert room not in strangers, f"line {found.line}: {found.name} is the other half"


@pytest.mark.parametrize(
    "module", [module for module in MODULES.values() if module.room == "steps"], ids=names
)
def test_steps_know_no_edge(module: Module) -> None:
    for found in module.imports:
        target = inner(found.name)
        assert not (target and within(target, CLOSED_TO_STEPS)), f"line {found.line}: {found.name}"


@pytest.mark.parametrize(
    "module", [module for module in MODULES.values() if module.room == "simulator"], ids=names
)
def test_the_simulator_can_contradict_us(module: Module) -> None:
    """It shares no code with what it checks."""
    for found in module.imports:
        target = inner(found.name)
        assert target is None or within(target, {"simulator"}), f"line {found.line}: {found.name}"


def test_nothing_is_imported_inside_a_function_but_what_is_listed() -> None:
    late = {
        (module.name, found.name)
        for module in MODULES.values()
        for found in module.imports
        if found.inside_function
    }
    assert late <= LATE_IMPORTS.keys(), sorted(late - LATE_IMPORTS.keys())
    stale = {pair for pair in LATE_IMPORTS if pair[0] in MODULES} - late
    assert not stale, f"no longer there: {sorted(stale)}"


def test_no_cycles() -> None:
    graph = {
        module.name: {
            target for found in module.imports if (target := inner(found.name)) in MODULES
        }
        for module in MODULES.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def is_broad(handler: ast.ExceptHandler) -> bool:
    """`except:`, `except Exception` or `except BaseException`, alone or in a tuple, and kept."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})
        for kind in kinds
    )
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def test_errors_are_caught_by_name_but_in_three_places() -> None:
    found = [
        (module.name, node.lineno)
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    ]
    assert [place for place in found if place[0] not in BROAD_EXCEPTS] == []
    assert len(found) <= 3, found
    stale = {name for name in BROAD_EXCEPTS if name in MODULES} - {name for name, _ in found}
    assert not stale, f"no longer there: {sorted(stale)}"
    assert len(BROAD_EXCEPTS) <= 3


@pytest.mark.parametrize(
    ("code", "importer", "package", "expected"),
    [
        ("import asyncio", "wire", False, {"asyncio"}),
        ("from isthmus import wire", "frontends.anthropic", False, {"isthmus.wire"}),
        ("from isthmus.wire import SSE", "server", False, {"isthmus.wire"}),
        ("from . import wire", "server", False, {"isthmus.wire"}),
        ("from ..wire import SSE", "frontends.anthropic", False, {"isthmus.wire"}),
        ("from .anthropic import X", "frontends", True, {"isthmus.frontends.anthropic"}),
        ("from .. import __version__", "frontends.anthropic", False, {"isthmus"}),
    ],
)
def test_imports_are_read_right(
    code: str, importer: str, package: bool, expected: set[str]
) -> None:
    known = {"", "wire", "server", "frontends", "frontends.anthropic"}
    found = imports_of(ast.parse(code), importer, package, known)
    assert {one.name for one in found} == expected
