"""The table of failures.toml: what peers do wrong. `python -m tests.failures` writes its page."""

from __future__ import annotations

from tests.proofs import Table


def _ids(text: str) -> tuple[str, ...]:
    return tuple(f"T{number}" for number in text.split())


NUMBERS: dict[str, tuple[str, ...]] = {
    "upstream": _ids(
        "001 002 003 004 005 007 008 009 010 011 012 013 014 015 016 017 019 020 021 023 024 025 026 027 028"
    ),
    "downstream": _ids("029 030 032 033 034 035 036 037 039 040 041 042 043 044"),
    "wire": _ids("046 047 048 049 050 051 052 054 055"),
    "retries": _ids("056 057 058 059 061 062 063"),
}
"""The numbers of the catalogue's sections A, B and C, and of those of D what concerns keys and attempts."""

INTRO = """\
# Failures

What providers and clients do wrong, by accident or on purpose, what Isthmus does about it, and where that is
proven. A proof is a test; those in test_nightly.py are run by `make test-nightly`, all others by `make test`.
The numbers have gaps, and stay what they are.

{count} failures: {proven} are proven, {partly} are proven in part and wait for a feature with the rest,
{waiting} wait for a feature that is not in this release.
"""

FAILURES = Table("failures", "What goes wrong", INTRO, NUMBERS)

if __name__ == "__main__":
    FAILURES.write()
