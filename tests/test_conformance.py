"""The conformance page: no scenario is missing, every proof exists, and the page is up to date."""

from __future__ import annotations

import pytest

from tests.conformance import CONFORMANCE
from tests.proofs import Claim, complaints


def test_no_scenario_is_missing() -> None:
    assert CONFORMANCE.found() == CONFORMANCE.numbers


@pytest.mark.parametrize("row", CONFORMANCE.claims, ids=lambda row: row.number)
def test_a_row_says_what_happens_and_proves_it_or_waits(row: Claim) -> None:
    assert not complaints(row)


def test_the_page_is_up_to_date() -> None:
    page = CONFORMANCE.file.read_text("utf-8")
    assert page == CONFORMANCE.page(), "run: python -m tests.conformance"
