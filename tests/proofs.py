"""Tables of claims and what proves them: whether the proofs exist, and the pages made of the tables.

A table is a TOML file in this folder. Its ``titles`` name the sections; each row of a section holds ``risk``
(what goes wrong), ``does`` (what happens here), ``proofs`` and, for what does not exist yet, ``waits_for``.
"""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"

_PROOF = re.compile(r"(?P<file>[\w./-]+)::(?P<name>[^\[]+?)(?:\[(?P<row>.+)\])?")


@dataclass(frozen=True, slots=True)
class Claim:
    """One row: ``proofs`` as they are written in the table; ``waits_for`` is "" where nothing is missing."""

    section: str
    number: str
    risk: str
    does: str
    waits_for: str
    proofs: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """``name``.toml and docs/``name``.md. ``risk`` heads the page's column of risks.

    ``intro`` opens the page, with places for ``count``, ``proven``, ``partly`` and ``waiting``; ``numbers``
    are those that the sections must hold, in their order.
    """

    name: str
    risk: str
    intro: str
    numbers: Mapping[str, tuple[str, ...]]

    @property
    def file(self) -> Path:
        return DOCS / f"{self.name}.md"

    @property
    def titles(self) -> dict[str, str]:
        """The heading of each section, in the order of the page."""
        return _parsed(self.name)["titles"]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All rows in the order of the table. Raises TypeError for a member that no row has."""
        absent = {"does": "", "waits_for": "", "proofs": ()}
        return tuple(
            Claim(section, number, **{**absent, **row, "proofs": tuple(row.get("proofs", ()))})
            for section in self.titles
            for number, row in _parsed(self.name)[section].items()
        )

    def found(self) -> dict[str, tuple[str, ...]]:
        """The numbers that stand in the table, to compare with ``numbers``."""
        return {
            section: tuple(row.number for row in self.claims if row.section == section)
            for section in self.titles
        }

    def page(self) -> str:
        """What ``file`` must hold."""
        rows = self.claims
        proven = sum(bool(row.proofs and not row.waits_for) for row in rows)
        partly = sum(bool(row.proofs and row.waits_for) for row in rows)
        counts = {"count": len(rows), "proven": proven, "partly": partly}
        waiting = len(rows) - proven - partly
        return "\n".join([self.intro.format(**counts, waiting=waiting), *self._sections()])

    def _sections(self) -> Iterator[str]:
        for section, title in self.titles.items():
            yield f"## {title}\n"
            yield f"| | {self.risk} | What Isthmus does | Proof |"
            yield "| --- | --- | --- | --- |"
            for row in self.claims:
                if row.section == section:
                    proofs = "<br>".join(map(_link, row.proofs))
                    yield f"| {row.number} | {_cell(row.risk)} | {_cell(_answer(row))} | {proofs} |"
            yield ""

    def write(self) -> None:
        self.file.write_text(self.page(), "utf-8")


@cache
def _parsed(name: str) -> dict[str, dict[str, dict[str, object]]]:
    return tomllib.loads((TESTS / f"{name}.toml").read_text("utf-8"))


def _answer(row: Claim) -> str:
    waits = f"*Waits for: {row.waits_for}.*" if row.waits_for else ""
    return " ".join(filter(None, (f"{row.does}." if row.does else "", waits)))


def _link(proof: str) -> str:
    file, _, name = proof.partition("::")
    shown = name.removeprefix("test_").replace("[", ": ").removesuffix("]").replace("_", " ")
    return f"[{_cell(shown if not file.startswith('wire/') else name)}](../tests/{file})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("[", "\\[").replace("]", "\\]")


def complaints(row: Claim) -> list[str]:
    """What is wrong with a row: it must say what happens and prove it, or say what it waits for."""
    said = [f"{proof}: {wrong}" for proof in row.proofs if (wrong := fault(proof))]
    if len(set(row.proofs)) != len(row.proofs):
        said.append("a proof stands twice")
    if not row.risk or not (row.does or row.waits_for):
        said.append("says nothing")
    if bool(row.does) != bool(row.proofs):
        said.append("what is said is proven, and what is proven said")
    if any(text.endswith(".") for text in (row.risk, row.does, row.waits_for)):
        said.append("texts end without a full stop")
    return said


def fault(proof: str) -> str | None:
    """What is wrong with a proof; None where it exists and is run."""
    found = _PROOF.fullmatch(proof)
    if proof.startswith("wire/"):
        file, _, name = proof.partition("::")
        return _golden_fault(TESTS / file, name)
    if found is None:
        return "neither a test nor a case"
    path = TESTS / found["file"]
    if not path.is_file():
        return "no such file"
    functions, constants = _read(path)
    if found["name"] not in functions:
        return "no such test"
    if found["row"] and found["row"] not in constants:
        return "no such row"
    return None


def _golden_fault(path: Path, name: str) -> str | None:
    if not path.is_file():
        return "no such file"
    cases = json.loads(path.read_text("utf-8"))
    names = cases if isinstance(cases, dict) else [case["case"] for case in cases]
    if name not in names:
        return "no such case"
    _, constants = _read(TESTS / f"test_{path.parent.name}.py")
    collected = any(fnmatch.fnmatch(path.name, text) or text == path.stem for text in constants)
    return None if collected else "a file that no test reads"


@cache
def _read(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The names of a module's tests, and all texts that stand in it."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    tests = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return frozenset(n for n in tests if n.startswith("test_")), frozenset(texts)
