"""`python -m isthmus`: the command line, after a look at the Python version."""

from __future__ import annotations  # so that a Python too old for us can still read this file

import sys


def unsupported(version: tuple[int, ...]) -> str | None:
    """What to tell somebody whose Python cannot run Isthmus; None where it can."""
    if (3, 11) <= version[:2] < (3, 15):
        return None
    found = ".".join(str(part) for part in version[:3])
    return f"Isthmus needs Python 3.11, 3.12, 3.13 or 3.14; this is {found}."


if __name__ == "__main__":
    refusal = unsupported(tuple(sys.version_info[:3]))
    if refusal:
        sys.exit(refusal)
    # Only now: what the command line imports may not even load on another version.
    from isthmus.cli import main

    main()
