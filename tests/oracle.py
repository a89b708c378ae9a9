"""An oracle that is not ours: the types of the `anthropic` 1.x SDK, run in its own environment."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import World

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(__file__).parent / "anthropic1"
PYTHON = ROOT / ".venv-anthropic1" / "bin" / "python"
TRANSLATED = "2023-06-01"
"""The API version of the bodies that translated lanes send, and of the SDK whose types judge them."""

Line = dict[str, Any]
"""``kind`` (messages or count_tokens), ``body``, and whatever tells where it came from."""


def run(script: str, *arguments: str) -> str:
    """The standard output of a script of ``anthropic1/`` in the SDK's environment."""
    if not PYTHON.exists():
        pytest.skip("no .venv-anthropic1: run `make setup-anthropic1` (`make test` does)")
    command = [str(PYTHON), str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objections(lines: Iterable[Line]) -> list[tuple[Line, list[str]]]:
    """Those of the bodies that the SDK's types refuse, each with what is said against it."""
    rows = list(lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bodies.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        answers = [json.loads(text) for text in run("validate.py", str(path)).splitlines()]
    assert len(answers) == len(rows)
    return [(row, found) for row, found in zip(rows, answers, strict=True) if found]


def translated(world: World) -> list[Line]:
    """The bodies that translated lanes sent to the world's simulator."""
    found: list[Line] = []
    for request in world.received():
        headers = dict(request.headers)
        if headers.get("anthropic-version") == TRANSLATED and "user-agent" not in headers:
            kind = request.path.removeprefix("/v1/").removeprefix("messages/")
            found.append({"kind": kind, "body": json.loads(request.body)})
    return found


def assert_legal(lines: Iterable[Line]) -> None:
    """Every body fits the SDK's types."""
    rows = list(lines)
    assert rows, "no body was gathered"
    told = [f"{json.dumps(row)[:600]}\n    {found}" for row, found in objections(rows)]
    assert not told, "\n".join(told[:20])
