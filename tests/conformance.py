"""The table of conformance.toml: what it holds, whether its proofs exist, and the page made of it."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "conformance.md"

NUMBERS: dict[str, tuple[str, ...]] = {
    "claude-code": tuple(f"0.{n}" for n in range(1, 11)),
    "thinking": tuple("1 2 3 4 5 6 8 9 10 11 12 13 14 16 17 18 19 21 22 24".split()),
    "tools": tuple(
        "25 26 27 28 30 31 32 35 36 38 39 40 42 44 45 47 48 49 50 51 52 54 55 56 58".split()
    ),
    "streaming": tuple("61 62 63 64 65 68 69 71 72 74 76 77 78 79 82 83 84".split()),
    "usage": tuple("85 87 88 90 91".split()),
    "stops": tuple("92 93 95 96 97 98".split()),
    "roles": tuple("100 101 102 103 105 107 108 110 111".split()),
    "caching": tuple("113 114 115 116 117 118 120".split()),
    "content": tuple("121 123 124 125 126 128 129 130 131 133".split()),
    "headers": tuple("134 135 136 137 138 139 141 142 143 144 145".split()),
    "counting": tuple("146 147 148 149".split()),
    "failures": tuple("151 152 153 154 155 157 158 160 161 163 164 166".split()),
    "resources": tuple(str(n) for n in range(167, 183)),
    "more": tuple("184 186 187 188 190 192 193 194 195 197 198 199 200 201 202 203".split()),
}
"""The numbers of all scenarios, by the section of the page."""

_PROOF = re.compile(r"(?P<file>[\w./-]+)::(?P<name>[^\[]+?)(?:\[(?P<row>.+)\])?")

INTRO = """\
# Conformance

What is known to break between an agent and a model when a gateway stands between them, what Isthmus does
in each case, and where that is proven. A proof is a test, or a case of a golden file: what a client sends
beside what the provider must get, or what the provider sends beside what the client must get. The numbers
have gaps, and stay what they are.

{count} scenarios: {proven} are proven, {partly} are proven in part and wait for a feature with the rest,
{waiting} wait for a feature that is not in this release.
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: ``proofs`` as they are written in the table; ``waits_for`` is "" where nothing is missing."""

    section: str
    number: str
    risk: str
    does: str
    waits_for: str
    proofs: tuple[str, ...]


@cache
def titles() -> dict[str, str]:
    """The heading of each section, in the order of the page."""
    return tomllib.loads((TESTS / "conformance.toml").read_text("utf-8"))["titles"]


@cache
def scenarios() -> tuple[Scenario, ...]:
    """All rows in the order of the table. Raises TypeError for a member that no row has."""
    table = tomllib.loads((TESTS / "conformance.toml").read_text("utf-8"))
    absent = {"does": "", "waits_for": "", "proofs": ()}
    return tuple(
        Scenario(section, number, **{**absent, **row, "proofs": tuple(row.get("proofs", ()))})
        for section in table["titles"]
        for number, row in table[section].items()
    )


# --- proofs -------------------------------------------------------------------------------------


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


# --- the page -----------------------------------------------------------------------------------


def page() -> str:
    """docs/conformance.md."""
    rows = scenarios()
    proven = [row for row in rows if row.proofs and not row.waits_for]
    partly = [row for row in rows if row.proofs and row.waits_for]
    counts = {"count": len(rows), "proven": len(proven), "partly": len(partly)}
    waiting = len(rows) - len(proven) - len(partly)
    return "\n".join([INTRO.format(**counts, waiting=waiting), *_sections(rows)])


def _sections(rows: tuple[Scenario, ...]) -> Iterator[str]:
    for section, title in titles().items():
        yield f"## {title}\n"
        yield "| | What goes wrong elsewhere | What Isthmus does | Proof |"
        yield "| --- | --- | --- | --- |"
        for row in rows:
            if row.section == section:
                proofs = "<br>".join(map(_link, row.proofs))
                yield f"| {row.number} | {_cell(row.risk)} | {_cell(_answer(row))} | {proofs} |"
        yield ""


def _answer(row: Scenario) -> str:
    waits = f"*Waits for: {row.waits_for}.*" if row.waits_for else ""
    return " ".join(filter(None, (f"{row.does}." if row.does else "", waits)))


def _link(proof: str) -> str:
    file, _, name = proof.partition("::")
    shown = name.removeprefix("test_").replace("[", ": ").removesuffix("]").replace("_", " ")
    return f"[{_cell(shown if not file.startswith('wire/') else name)}](../tests/{file})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("[", "\\[").replace("]", "\\]")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
