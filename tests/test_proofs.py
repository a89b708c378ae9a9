"""What is a proof, and what is wrong with a row that claims something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.proofs import Claim, complaints, fault


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


SOUND = Claim("a", "1", "breaks", "holds", "", ("test_turns.py::test_turns",))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (SOUND, ""),
        (replace(SOUND, does="", proofs=(), waits_for="more"), ""),
        (replace(SOUND, does="", proofs=()), "nothing"),
        (replace(SOUND, risk=""), "nothing"),
        (replace(SOUND, proofs=()), "proven"),
        (replace(SOUND, does="", waits_for="more"), "proven"),
        (replace(SOUND, proofs=SOUND.proofs * 2), "twice"),
        (replace(SOUND, proofs=("test_turns.py::test_turn",)), "no such test"),
        (replace(SOUND, does="holds."), "full stop"),
    ],
)
def test_what_is_wrong_with_a_row(row: Claim, complaint: str) -> None:
    said = " ".join(complaints(row))
    assert complaint in said
    assert bool(complaint) == bool(said)
