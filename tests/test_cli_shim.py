"""`python -m src.core.cli`: run here, run in the checkout's environment, or say what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMAND_LINE = """
import sys
import {needed}


def main() -> None:
    print("ran with", *sys.argv[1:])
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The shim and what it imports, with a command line that only says that it ran."""
    for name in ("src/core/cli.py", "src/isthmus/__init__.py", "src/isthmus/__main__.py"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    return tmp_path


def documented(checkout: Path, needed: str) -> subprocess.CompletedProcess[str]:
    """Run the documented command in a checkout whose command line imports ``needed``."""
    text = COMMAND_LINE.format(needed=needed)
    (checkout / "src" / "isthmus" / "cli.py").write_text(text)
    command = [sys.executable, "-m", "src.core.cli", "serve", "--port", "0"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def environment(checkout: Path, script: str) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)


def test_runs_here_where_nothing_is_missing(checkout: Path) -> None:
    environment(checkout, "echo in the environment")
    assert documented(checkout, "json").stdout == "ran with serve --port 0\n"


def test_runs_in_the_environment_of_the_checkout(checkout: Path) -> None:
    environment(checkout, 'echo "$@"')
    done = documented(checkout, "a_library_that_nobody_has")
    assert done.stdout == "-m isthmus serve --port 0\n"
    assert done.returncode == 0


def test_names_make_setup_where_there_is_no_environment(checkout: Path) -> None:
    done = documented(checkout, "a_library_that_nobody_has")
    assert done.returncode != 0
    assert "a_library_that_nobody_has" in done.stderr
    assert "`make setup`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_of_our_own_is_not_hidden(checkout: Path) -> None:
    environment(checkout, "echo in the environment")
    done = documented(checkout, "isthmus.no_such_module")
    assert "isthmus.no_such_module" in done.stderr
    assert done.stdout == ""
