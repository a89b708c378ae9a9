"""The request as a value: its body's bytes, its notes, and what is expected of a client's types."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import GatewayError, refuse
from isthmus.request import Body, HttpRequest, Notes, expect

from .strategies import JSON, OBJECTS, spliceable

# --- the body -----------------------------------------------------------------------------------


def members(text: str) -> list[tuple[str, str]]:
    """Each member of an object in its order: its name, and its value's text (a reader of its own)."""
    scan = json.JSONDecoder().raw_decode
    position, found = text.index("{") + 1, []
    while (position := _next(text, position, " \t\r\n,")) is not None and text[position] != "}":
        name, after = scan(text, position)
        start = _next(text, text.index(":", after) + 1, " \t\r\n")
        _, position = scan(text, start)
        found.append((name, text[start:position]))
    return found


def _next(text: str, position: int, passed: str) -> int:
    while text[position] in passed:
        position += 1
    return position


@given(spliceable())
def test_unedited_the_bytes_stay(drawn: tuple[str, list[str]]) -> None:
    """Law 6, however odd the spacing, the numbers, the escapes and the repetitions are."""
    source = drawn[0].encode()
    body = Body(source)
    for name in drawn[1]:
        if drawn[1].count(name) == 1:
            body.peek(name)
    assert body.wire() is source
    assert body.copy().wire() is source
    assert not body.edited


@given(spliceable(), JSON, st.data())
def test_an_edit_changes_one_value_and_no_other_byte(
    drawn: tuple[str, list[str]], value: Any, data: st.DataObject
) -> None:
    text, names = drawn
    single = [name for name in names if names.count(name) == 1]
    name = data.draw(st.sampled_from([*single, "new", "né"]))
    body = Body(text.encode())
    body.edit(name, value)
    after = body.wire().decode()
    expected = [(n, json.dumps(value) if n == name else old) for n, old in members(text)]
    if name not in names:
        expected.append((name, json.dumps(value)))
    assert [n for n, _ in members(after)] == [n for n, _ in expected]
    for (_, new), (n, old) in zip(members(after), expected, strict=True):
        assert (json.loads(new) == value) if n == name else (new == old)
    if name in names:
        start = text.index(old := dict(members(text))[name], _place(text, name))
        assert after.startswith(text[:start].lstrip())
        assert after.endswith(text[start + len(old) :].rstrip())


def _place(text: str, name: str) -> int:
    """Where a member that stands once begins."""
    scan = json.JSONDecoder().raw_decode
    position = text.index("{") + 1
    while True:
        position = _next(text, position, " \t\r\n,")
        found, after = scan(text, position)
        start = _next(text, text.index(":", after) + 1, " \t\r\n")
        if found == name:
            return start
        _, position = scan(text, start)


@given(spliceable(), st.data())
def test_a_dropped_member_is_gone_and_no_other(
    drawn: tuple[str, list[str]], data: st.DataObject
) -> None:
    text, names = drawn
    single = [name for name in names if names.count(name) == 1]
    name = data.draw(st.sampled_from([*single, "new"]))
    body = Body(text.encode())
    body.drop(name)
    assert name not in body
    assert body.peek(name) is None
    assert members(body.wire().decode()) == [row for row in members(text) if row[0] != name]


@given(
    spliceable(),
    st.lists(st.tuples(st.sampled_from(["model", "stream", "x", "new"]), JSON), max_size=4),
)
def test_many_edits_come_to_what_their_order_says(
    drawn: tuple[str, list[str]], edits: list[tuple[str, Any]]
) -> None:
    text, names = drawn
    edits = [(name, value) for name, value in edits if names.count(name) < 2]
    body = Body(text.encode())
    expected = {name: json.loads(value) for name, value in members(text)}
    for name, value in edits:
        if value is None:
            body.drop(name)
            expected.pop(name, None)
        else:
            body.edit(name, value)
            expected[name] = value
    assert json.loads(body.wire()) == expected
    if len(set(names)) == len(names):
        assert body.value() == expected


REPEATED = '{"a": 1, "b":2 ,"a":3}'


def test_a_repeated_member_is_refused_when_it_is_read() -> None:
    body = Body(REPEATED.encode())
    assert body.peek("b") == 2
    assert "a" in body
    with pytest.raises(GatewayError, match="twice") as caught:
        body.peek("a")
    assert caught.value.param == "a"
    with pytest.raises(GatewayError, match="twice"):
        body.value()


def test_a_repeated_member_that_nobody_edits_stays_twice() -> None:
    body = Body(REPEATED.encode())
    body.edit("b", 5)
    assert body.wire() == b'{"a": 1, "b":5 ,"a":3}'
    body.drop("b")
    assert members(body.wire().decode()) == [("a", "1"), ("a", "3")]


def test_an_edited_or_dropped_member_does_not_stay_behind_under_its_name() -> None:
    """Whoever reads the body after us must not find the value that was replaced."""
    body = Body(REPEATED.encode())
    body.edit("a", 9)
    assert set(members(body.wire().decode())) == {("a", "9"), ("b", "2")}
    body = Body(REPEATED.encode())
    body.drop("a")
    assert members(body.wire().decode()) == [("b", "2")]


def test_a_copy_has_its_own_edits() -> None:
    body = Body(b'{"a": 1, "b": 2}')
    body.edit("a", 3)
    twin = body.copy()
    twin.edit("b", 4)
    twin.drop("a")
    assert body.wire() == b'{"a": 3, "b": 2}'
    assert json.loads(twin.wire()) == {"b": 4}
    assert body.value() == {"a": 3, "b": 2}


@given(OBJECTS)
def test_a_body_made_of_values(value: dict[str, Any]) -> None:
    body = Body(dict(value))
    assert json.loads(body.wire()) == body.value() == value
    assert body.wire() == body.copy().wire()
    body.edit("new", [1])
    assert json.loads(body.wire()) == {**value, "new": [1]}
    for name in value:
        body.drop(name)
    assert json.loads(body.wire()) == {"new": [1]}


def test_what_is_dropped_can_come_back() -> None:
    body = Body(b'{"a": 1,"b":2}')
    body.drop("a")
    body.edit("a", 7)
    assert body.wire() == b'{"a": 7,"b":2}'
    body.drop("nothing")
    assert "nothing" not in body


def test_large_whole_numbers_survive_an_edit() -> None:
    body = Body(b'{"a": 99999999999999999999999999, "b": 1}')
    body.edit("a", [body.peek("a")])
    assert body.wire() == b'{"a": [99999999999999999999999999], "b": 1}'


@pytest.mark.parametrize(
    "text",
    [
        rb'{"a": "\ud83d", "b": 1}',
        rb'{"\ud83d": 1, "b": 1}',
        rb'{"x": {"\ud83d": "\ude00"}, "b": 1}',
    ],
)
def test_lone_surrogates_pass_untouched_and_are_mended_where_they_are_read(text: bytes) -> None:
    body = Body(text)
    assert body.wire() is text
    body.edit("b", 2)
    assert body.wire() == text.replace(b'"b": 1', b'"b": 2')
    json.dumps(body.value(), ensure_ascii=False).encode()
    assert Body(body.value()).wire()


def test_one_megabyte_is_not_decoded() -> None:
    inner = b'{"role": "user", "content": "' + b"x" * 1_000_000 + b'"}'
    source = b'{"model": "a", "messages": [' + inner + b'], "stream": true}'
    body = Body(source)
    assert body.peek("model") == "a"
    body.edit("model", "b")
    assert body.wire() == source.replace(b'"model": "a"', b'"model": "b"')


@pytest.mark.parametrize("text", [b"[1]", b"", b"nope", b'{"a":1', b'{"a":NaN}'])
def test_a_body_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        Body(text)
    assert caught.value.row.status == 400


@pytest.mark.parametrize("value", [b"1e400", b'"\xff"', b"9" * 5000])
def test_what_the_scan_lets_pass_is_refused_when_it_is_read(value: bytes) -> None:
    body = Body(b'{"a": ' + value + b"}")
    with pytest.raises(GatewayError) as caught:
        body.peek("a")
    assert caught.value.row.status == 400


@given(spliceable())
def test_a_members_text_is_the_clients_own(drawn: tuple[str, list[str]]) -> None:
    text, names = drawn
    body = Body(text.encode())
    for name in set(names):
        if names.count(name) == 1:
            assert json.loads(body.text(name) or b"") == json.loads(text)[name]
            assert (body.text(name) or b"") in text.encode()


def test_a_member_that_is_no_longer_as_it_came_has_no_text() -> None:
    body = Body(b'{"a": 1.0, "b": 2, "c": 3, "c": 4}')
    body.edit("a", 2)
    body.drop("b")
    assert body.text("a") is body.text("b") is body.text("x") is Body({"a": 1}).text("a") is None
    with pytest.raises(GatewayError):
        body.text("c")


# --- notes --------------------------------------------------------------------------------------


def test_a_note_is_said_once_and_in_order() -> None:
    notes = Notes()
    notes.dropped("seed", "no such thing")
    notes.changed("stop", "became a list")
    notes.dropped("seed", "no such thing")
    assert list(map(str, notes.rows)) == [
        "seed dropped: no such thing",
        "stop changed: became a list",
    ]
    assert notes.header() == "seed dropped: no such thing; stop changed: became a list"
    assert Notes().header() == ""


@given(
    st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=8), st.integers(4, 200)
)
def test_notes_fit_into_a_header(rows: list[tuple[str, str]], limit: int) -> None:
    """A path holds names that the client made up: line ends, NUL and other controls among them."""
    notes = Notes()
    for path, reason in rows:
        notes.dropped(path, reason)
    text = notes.header(limit)
    assert len(text) <= limit
    assert all(" " <= character <= "~" for character in text), text


@pytest.mark.parametrize(
    "name", ["a\nb", "a\r\nx-evil: 1", "a\x00b", "a\x1bb", "a\x7fb", "é", "\ud83d", "\u2028"]
)
def test_no_name_of_a_client_breaks_a_header(name: str) -> None:
    notes = Notes()
    notes.dropped(name, "not known")
    text = notes.header()
    assert text.endswith("dropped: not known")
    assert text.isascii()
    assert text.isprintable()


def test_a_long_header_says_that_it_was_cut() -> None:
    notes = Notes()
    for i in range(1000):
        notes.dropped(f"messages.{i}.name", "not known")
    assert len(notes.header()) == 2000
    assert notes.header().endswith(" ...")


# --- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        ("a", str, True),
        (None, str, False),
        (1, str, False),
        (1, int, True),
        (True, int, False),
        (False, (int, float), False),
        (True, bool, True),
        (True, (str, bool), True),
        (0, bool, False),
        (1.5, int, False),
        (1.5, (int, float), True),
        ([], list, True),
        ({}, list, False),
        ({}, (str, dict), True),
        (None, (str, type(None)), True),
    ],
)
def test_types_are_those_of_json(value: Any, kind: Any, fits: bool) -> None:
    if fits:
        assert expect(value, kind, "a.b", "this") is value
        return
    with pytest.raises(GatewayError) as caught:
        expect(value, kind, "a.b", "this")
    assert caught.value.param == "a.b"
    assert caught.value.message.startswith("a.b: expected this, got ")
    assert caught.value.row.status == 400


def test_a_refusal_names_its_path() -> None:
    assert str(refuse("a.0", "wrong")) == "a.0: wrong"
    assert str(refuse("", "wrong")) == "wrong"


def test_a_header_is_joined_by_commas() -> None:
    http = HttpRequest("POST", "/", headers=(("a", "1"), ("b", "2"), ("a", "3")))
    assert http.header("a") == "1, 3"
    assert http.header("b") == "2"
    assert http.header("c") is None


# --- the first item of an array -----------------------------------------------------------------


@given(st.lists(JSON, max_size=3), st.booleans())
def test_the_first_item_of_an_array_is_found_in_either_form(items: list[Any], wired: bool) -> None:
    value = {"a": items, "b": 1}
    body = Body(json.dumps(value, indent=1).encode() if wired else value)
    found, count = body.opening("a")
    assert (json.loads(found) if found else None) == (items[0] if items else None)
    assert count == len(items)
    body.edit("a", [5, 6])
    assert body.opening("a") == (b"5", 2)
    assert body.opening("nothing") == (b"", 0)


@pytest.mark.parametrize("text", ["1", '"x"', "null", "{}", '{"a": 1}', "[]", "[ ]"])
def test_what_is_no_array_has_no_first_item(text: str) -> None:
    assert Body(f'{{"a": {text}}}'.encode()).opening("a") == (b"", 0)
