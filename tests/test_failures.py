"""The page of failures: none is missing, every proof exists, and the page is up to date."""

from __future__ import annotations

import re

import pytest

from tests.failures import FAILURES
from tests.proofs import TESTS, Claim, complaints

IDS = {number for numbers in FAILURES.numbers.values() for number in numbers}


def test_no_failure_is_missing() -> None:
    assert FAILURES.found() == FAILURES.numbers


@pytest.mark.parametrize("row", FAILURES.claims, ids=lambda row: row.number)
def test_a_row_says_what_happens_and_proves_it_or_waits(row: Claim) -> None:
    assert not complaints(row)


def test_a_test_that_names_a_failure_stands_in_its_row() -> None:
    listed = {(row.number, proof.split("[")[0]) for row in FAILURES.claims for proof in row.proofs}
    named = {
        (number.upper(), f"{path.name}::{name}")
        for path in TESTS.glob("test_*.py")
        for name in re.findall(r"def (test_t0\w+)\(", path.read_text("utf-8"))
        for number in re.findall(r"t\d{3}(?=_)", name)
    }
    assert {row for row in named if row[0] in IDS} <= listed


def test_the_page_is_up_to_date() -> None:
    page = FAILURES.file.read_text("utf-8")
    assert page == FAILURES.page(), "run: python -m tests.failures"
