"""Building turns: pairing of calls and results, merging, and that nothing said before ever changes."""

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.request import Notes
from isthmus.turns import NO_RESULT, Turns, tool_input, trimmed, unanswered

from .strategies import OBJECTS, object_texts

Row = tuple[str, list[dict[str, Any]]]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "f", "input": {}}


def result(name: str, content: Any = "ok") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, "content": content}


IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}


def built(rows: Iterable[Row]) -> tuple[list[Row], list[str]]:
    """The turns that these rows make, and the notes."""
    notes = Notes()
    turns = Turns(notes)
    for i, (role, blocks) in enumerate(rows):
        turns.add(role, blocks, f"messages.{i}")
    made: Any = turns.finish()
    return [(turn["role"], turn["content"]) for turn in made], list(map(str, notes.rows))


PAIRING: dict[str, tuple[list[Row], list[Row]]] = {
    "nothing": ([], []),
    "one turn": ([("user", [text("a")])], [("user", [text("a")])]),
    "neighbours of one role are merged": (
        [("user", [text("a")]), ("user", [text("b")])],
        [("user", [text("a"), text("b")])],
    ),
    "neighbours of one role keep their blocks apart": (
        [("assistant", [text("a"), text("b")]), ("assistant", [text("c")])],
        [("assistant", [text("a"), text("b"), text("c")])],
    ),
    "a call and its result": (
        [("assistant", [call("1")]), ("user", [result("1")])],
        [("assistant", [call("1")]), ("user", [result("1")])],
    ),
    "results that came one by one": (
        [("assistant", [call("1"), call("2")]), ("user", [result("1")]), ("user", [result("2")])],
        [("assistant", [call("1"), call("2")]), ("user", [result("1"), result("2")])],
    ),
    "results come before what else the user says": (
        [("assistant", [call("1")]), ("user", [text("a")]), ("user", [result("1"), text("b")])],
        [("assistant", [call("1")]), ("user", [result("1"), text("a"), text("b")])],
    ),
    "a call that the user never answered": (
        [("assistant", [call("1")]), ("user", [text("a")])],
        [("assistant", [call("1")]), ("user", [unanswered("1"), text("a")])],
    ),
    "one of two calls unanswered": (
        [("assistant", [call("1"), call("2")]), ("user", [result("2")])],
        [("assistant", [call("1"), call("2")]), ("user", [result("2"), unanswered("1")])],
    ),
    "a call at the end": (
        [("user", [text("a")]), ("assistant", [call("1")])],
        [("user", [text("a")]), ("assistant", [call("1")]), ("user", [unanswered("1")])],
    ),
    "calls of neighbouring assistant messages": (
        [("assistant", [call("1")]), ("assistant", [call("2")]), ("user", [result("2"), result("1")])],
        [("assistant", [call("1"), call("2")]), ("user", [result("2"), result("1")])],
    ),
    "a system turn between a call and its result": (
        [("assistant", [call("1")]), ("system", [text("s")]), ("user", [result("1")])],
        [("assistant", [call("1")]), ("user", [result("1")]), ("system", [text("s")])],
    ),
    "a system turn between two results": (
        [
            *(("assistant", [call("1"), call("2")]), ("user", [result("1")])),
            *(("system", [text("s")]), ("user", [result("2")])),
        ],
        [("assistant", [call("1"), call("2")]), ("user", [result("1"), result("2")]), ("system", [text("s")])],
    ),
    "results pass what was said before them, in its order": (
        [
            ("assistant", [call("1"), call("2")]),
            ("user", [text("a"), result("2")]),
            ("system", [text("s")]),
            ("user", [text("b"), result("1"), text("c")]),
            ("assistant", [text("d")]),
        ],
        [
            ("assistant", [call("1"), call("2")]),
            ("user", [result("2"), result("1"), text("a")]),
            ("system", [text("s")]),
            ("user", [text("b"), text("c")]),
            ("assistant", [text("d")]),
        ],
    ),
    "a system turn after a result": (
        [("assistant", [call("1")]), ("user", [result("1")]), ("system", [text("s")]), ("user", [text("b")])],
        [("assistant", [call("1")]), ("user", [result("1")]), ("system", [text("s")]), ("user", [text("b")])],
    ),
    "a system turn stays where it is": (
        [("user", [text("a")]), ("system", [text("s")]), ("assistant", [text("b")])],
        [("user", [text("a")]), ("system", [text("s")]), ("assistant", [text("b")])],
    ),
    "a system turn after a call at the end": (
        [("assistant", [call("1")]), ("system", [text("s")])],
        [("assistant", [call("1")]), ("user", [unanswered("1")]), ("system", [text("s")])],
    ),
    "a second result for a call becomes text": (
        [("assistant", [call("1")]), ("user", [result("1", "a"), result("1", "b")])],
        [("assistant", [call("1")]), ("user", [result("1", "a"), text("Tool result:"), text("b")])],
    ),
    "a result without a call becomes text": (
        [("user", [result("9", "a")])],
        [("user", [text("Tool result:"), text("a")])],
    ),
    "a result without a call keeps its image": (
        [("user", [result("9", [text("a"), IMAGE])])],
        [("user", [text("Tool result:"), text("a"), IMAGE])],
    ),
    "a result that comes a turn late becomes text": (
        [("assistant", [call("1")]), ("user", [text("a")]), ("assistant", [text("b")]), ("user", [result("1")])],
        [
            ("assistant", [call("1")]),
            ("user", [unanswered("1"), text("a")]),
            ("assistant", [text("b")]),
            ("user", [text("Tool result:"), text("ok")]),
        ],
    ),
    "an empty result is a result": (
        [("assistant", [call("1")]), ("user", [result("1", "")])],
        [("assistant", [call("1")]), ("user", [result("1", "")])],
    ),
    "blank text goes": (
        [("user", [text(" \n"), text("a")]), ("assistant", [text("")]), ("user", [text("b")])],
        [("user", [text("a"), text("b")])],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "turns"), PAIRING.values(), ids=PAIRING)
def test_turns(rows: list[Row], turns: list[Row]) -> None:
    assert built(rows)[0] == turns


def test_each_repair_is_told() -> None:
    rows: list[Row] = [
        ("user", [text(" "), text(""), text("a"), result("9", ""), result("8", "x")]),
        ("assistant", [call("1")]),
    ]
    _, notes = built(rows)
    assert [note.split(":")[0] for note in notes] == [
        "messages.0 dropped",
        "messages.0 dropped",
        "messages.0 changed",
        "messages changed",
    ]
    assert "1" in notes[-1]


def test_a_system_turn_that_moves_is_told_of_once() -> None:
    rows: list[Row] = [
        ("assistant", [call("1"), call("2")]),
        ("system", [text("s")]),
        ("user", [result("1"), result("2")]),
        ("system", [text("t")]),
    ]
    told = "messages.1 changed: sent behind the results of the calls before it"
    assert built(rows)[1] == [told]


def test_what_needs_no_repair_has_no_note() -> None:
    rows: list[Row] = [
        ("user", [text("a")]),
        ("assistant", [text("b"), call("1")]),
        ("user", [result("1"), text("c")]),
        ("system", [text("s")]),
    ]
    assert built(rows) == (rows, [])


def test_building_changes_no_block_of_the_caller() -> None:
    rows: list[Row] = [
        ("user", [result("9", [text("a")])]),
        ("user", [text("b")]),
        ("assistant", [call("1")]),
        ("assistant", [call("2")]),
        ("user", [result("2")]),
    ]
    before = json.dumps(rows)
    built(rows)
    assert json.dumps(rows) == before


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Anything that a client may say, well paired or not; every call has an id of its own."""
    made: list[Row] = []
    calls = 0
    for i in range(draw(st.integers(1, 7))):
        role = draw(st.sampled_from(["user", "user", "assistant", "assistant", "system"]))
        words = draw(st.sampled_from([f"t{i}", f"t{i}", " ", ""]))
        blocks = [text(words)] if draw(st.booleans()) else []
        if role == "assistant":
            for _ in range(draw(st.integers(0, 2))):
                calls += 1
                blocks.append(call(f"c{calls}"))
        if role == "user":
            ids = draw(st.lists(st.integers(0, calls + 1), max_size=3))
            blocks += [result(f"c{n}", f"r{i}-{n}") for n in ids]
            blocks = draw(st.permutations(blocks))
        made.append((role, blocks))
    return made


@given(rows())
def test_turns_are_legal(said: list[Row]) -> None:
    """Roles alternate, each call is answered in the very next turn, once, before anything else."""
    turns, _ = built(said)
    assert all(blocks for _, blocks in turns)
    assert all(a[0] != b[0] for a, b in itertools.pairwise(turns))
    for i, (_, blocks) in enumerate(turns):
        asked = sorted(b["id"] for b in blocks if b["type"] == "tool_use")
        following = turns[i + 1] if i + 1 < len(turns) else ("", [])
        head = following[1][: len(asked)] if asked else []
        assert sorted(b["tool_use_id"] for b in head if b["type"] == "tool_result") == asked
        rest = following[1][len(asked) :]
        assert not any(b["type"] == "tool_result" for b in rest)
        if asked:
            assert following[0] == "user"
    if turns and turns[0][0] == "user":
        assert not any(b["type"] == "tool_result" for b in turns[0][1])


@given(rows())
def test_nothing_visible_is_lost(said: list[Row]) -> None:
    turns, _ = built(said)
    sent = json.dumps(turns)
    for _, blocks in said:
        for block in blocks:
            words = block.get("text") or block.get("content") or block.get("id") or ""
            assert not words.strip() or f'"{words}"' in sent


def flat(turns: list[Row]) -> list[tuple[str, str]]:
    """The blocks in their order, each with its role, in comparable form."""
    return [(role, json.dumps(block)) for role, blocks in turns for block in blocks]


@given(rows())
def test_what_was_sent_stays_as_it_was(said: list[Row]) -> None:
    """Law 5, at every point where a client sends (its own message stands last and every call before
    it has had its chance): made-up results at the very tail are all that may be undone."""
    whole = flat(built(said)[0])
    for n in range(1, len(said)):
        sends = said[n - 1][0] != "assistant" and any_visible(said[n - 1])
        if not sends or said[n][0] != "assistant" or not any_visible(said[n]):
            continue
        before = flat(built(said[:n])[0])
        assert before == whole[: len(before)]


def any_visible(row: Row) -> bool:
    return any(block["type"] != "text" or block["text"].strip() for block in row[1])


@given(rows())
def test_the_same_history_makes_the_same_turns(said: list[Row]) -> None:
    assert json.dumps(built(said)) == json.dumps(built(json.loads(json.dumps(said))))


THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "c2ln"}
SPACE = "the white space at the end of the final text was removed"
ENDLESS = "reasoning cannot end a conversation that is to be continued"
TAILS: dict[str, tuple[list[Row], list[Row], list[str]]] = {
    "nothing": ([], [], []),
    "a user turn": ([("user", [text("a ")])], [("user", [text("a ")])], []),
    "white space": (
        [("assistant", [text("a "), text(" b \n")])],
        [("assistant", [text("a "), text(" b")])],
        [f"m changed: {SPACE}"],
    ),
    "thinking": (
        [("user", [text("a")]), ("assistant", [THOUGHT, text("b"), THOUGHT, HIDDEN])],
        [("user", [text("a")]), ("assistant", [THOUGHT, text("b")])],
        [f"m dropped: {ENDLESS}"],
    ),
    "white space before thinking": (
        [("assistant", [text("b "), THOUGHT])],
        [("assistant", [text("b")])],
        [f"m dropped: {ENDLESS}", f"m changed: {SPACE}"],
    ),
    "thinking alone": (
        [("user", [text("a")]), ("assistant", [THOUGHT])],
        [("user", [text("a")])],
        [f"m dropped: {ENDLESS}"],
    ),
    "thinking that ends an earlier turn": (
        [("assistant", [THOUGHT]), ("user", [text("a")])],
        [("assistant", [THOUGHT]), ("user", [text("a")])],
        [],
    ),
}


@pytest.mark.parametrize(("given", "left", "told"), TAILS.values(), ids=TAILS)
def test_what_may_not_end_a_final_turn_goes(
    given: list[Row], left: list[Row], told: list[str]
) -> None:
    notes = Notes()
    turns: Any = [{"role": role, "content": blocks} for role, blocks in given]
    made: Any = trimmed(turns, notes, "m")
    assert [(turn["role"], turn["content"]) for turn in made] == left
    assert list(map(str, notes.rows)) == told


def test_a_made_up_result_is_an_error_of_fixed_words() -> None:
    assert unanswered("x") == {
        "type": "tool_result",
        "tool_use_id": "x",
        "content": NO_RESULT,
        "is_error": True,
    }


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        *(("", {}), (" \n", {}), ("{}", {}), ('{"a": 1.0}', {"a": 1.0})),
        *(
            ("[]", None),
            ("null", None),
            ('"{}"', None),
            ("1", None),
            ("{", None),
            ("{'a': 1}", None),
        ),
        *(('{"a": NaN}', None), ("[" * 100_000, None), ('{"a": "\\ud83d"}', {"a": "\ufffd"})),
    ],
    ids=lambda value: str(value)[:20],
)
def test_arguments_of_a_client(arguments: str, value: dict[str, Any] | None) -> None:
    assert tool_input(arguments) == value


@given(OBJECTS, object_texts())
def test_arguments_are_read_exactly(value: dict[str, Any], odd: str) -> None:
    assert tool_input(json.dumps(value)) == value
    assert tool_input(odd) == json.loads(odd)


def test_arguments_are_no_deeper_than_a_body() -> None:
    assert tool_input('{"a": ' + "[" * 199 + "]" * 199 + "}") is not None
    assert tool_input('{"a": ' + "[" * 200 + "]" * 200 + "}") is None
