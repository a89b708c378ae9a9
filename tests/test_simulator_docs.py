"""What docs/simulator.md prints works: its requests are answered, its program runs, its tables are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from isthmus.simulator import Simulator
from isthmus.simulator.script import FAULTS, SCRIPT

from .simulator_client import post, with_simulator

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "simulator.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?ms)^```(\w+)\n(.*?)^```$")
COMMAND = re.compile(r"curl -s http://127\.0\.0\.1:\d+(/\S+).*?-d '(.*?)'", re.DOTALL)
COMMANDS = [
    pair for kind, text in BLOCK.findall(PAGE) if kind == "sh" for pair in COMMAND.findall(text)
]


def test_the_requests_are_answered_as_the_page_says() -> None:
    async def work(simulator: Simulator) -> list[int]:
        return [(await post(simulator, path, json.loads(body))).status for path, body in COMMANDS]

    assert with_simulator(work) == [200, 529, 200]


def test_the_program_runs() -> None:
    programs = [text for kind, text in BLOCK.findall(PAGE) if kind == "python"]
    assert len(programs) == 1
    exec(compile(programs[0], "docs/simulator.md", "exec"), {"__name__": "__main__"})


def rows(heading: str) -> set[str]:
    """The names in the first column of the table under a heading."""
    part = PAGE.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    cells = re.findall(r"(?m)^\| (`.*?) \|", part)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "names"),
    [("## Scripts", {name.rstrip("!?") for name in SCRIPT.fields}), ("### Faults", set(FAULTS))],
)
def test_the_tables_name_everything(heading: str, names: set[str]) -> None:
    assert rows(heading) == names
