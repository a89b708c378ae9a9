"""The conformance page: no scenario is missing, every proof exists, and the page is up to date."""

from __future__ import annotations

import pytest

from tests import conformance
from tests.conformance import NUMBERS, PAGE, Scenario, fault, scenarios, titles

EACH = pytest.mark.parametrize("row", scenarios(), ids=lambda row: row.number)


def test_no_scenario_is_missing() -> None:
    found: dict[str, list[str]] = {section: [] for section in titles()}
    for row in scenarios():
        found[row.section].append(row.number)
    assert {section: tuple(numbers) for section, numbers in found.items()} == NUMBERS


@EACH
def test_every_proof_exists(row: Scenario) -> None:
    wrong = {proof: said for proof in row.proofs if (said := fault(proof))}
    assert not wrong
    assert len(set(row.proofs)) == len(row.proofs)


@EACH
def test_a_row_says_what_happens_and_proves_it_or_waits(row: Scenario) -> None:
    assert row.risk
    assert bool(row.does) == bool(row.proofs), "what is said is proven, and what is proven said"
    assert row.does or row.waits_for
    for text in (row.risk, row.does, row.waits_for):
        assert not text.endswith(".")


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == conformance.page(), "run: python -m tests.conformance"


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        ("test_turns.py::test_turns", None),
        ("test_turns.py::test_turns[one turn]", None),
        ("test_turns.py::test_turns[one turn too many]", "no such row"),
        ("test_turns.py::test_turn", "no such test"),
        ("test_turns.py::built", "no such test"),
        ("test_return.py::test_turns", "no such file"),
        ("test_turns.py", "neither a test nor a case"),
        ("wire/openai_chat/answers.json::text", None),
        ("wire/openai_chat/answers.json::no text", "no such case"),
        ("wire/openai_chat/questions.json::text", "no such file"),
        ("wire/gemini/answers.json::text", None),
    ],
)
def test_what_is_no_proof(proof: str, said: str | None) -> None:
    assert fault(proof) == said
