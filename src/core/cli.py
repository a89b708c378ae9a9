"""`python -m src.core.cli`: the command line from a checkout, in its `.venv` if need be."""

from __future__ import annotations  # so that a Python too old for us can still read this file

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from isthmus.__main__ import unsupported  # noqa: E402  (found by the line above)


def run() -> None:
    """Run here if this interpreter can, else in the checkout's environment, else say what to do."""
    lacking = unsupported(tuple(sys.version_info[:3]))
    if lacking is None:
        try:
            from isthmus.cli import main
        except ImportError as error:
            if (error.name or "").partition(".")[0] in ("", "isthmus"):
                raise
            lacking = f"{sys.executable} cannot import {error.name}, which Isthmus needs."
        else:
            main()
            return
    python = ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if Path(sys.prefix) == ROOT / ".venv" or not python.exists():
        sys.exit(f"{lacking} Run `make setup` in {ROOT}; it builds the environment in .venv.")
    os.execv(python, [str(python), "-m", "isthmus", *sys.argv[1:]])


if __name__ == "__main__":
    run()
