"""Bytes and values: JSON with its edge cases, server-sent events, data URLs."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import wire
from isthmus.errors import GatewayError

from .strategies import (
    BLANKS,
    FORMS,
    JSON,
    Form,
    framed,
    json_texts,
    on_the_wire,
    spliceable,
    splits,
)

DEEP = 100_000


# --- JSON ---------------------------------------------------------------------------------------

REFUSED = {
    "empty": b"",
    "blank": b" \n",
    "word": b"nope",
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":-Infinity}',
    "1e400": b'{"a":1e400}',
    "5,000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "depth 100,000": b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "open depth 100,000": b'{"a":' + b'{"a":' * DEEP,
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "not UTF-8": b'{"a":"\xff"}',
    "half a character": '{"a":"é"}'.encode()[:-3] + b'"}',
    "surrogate bytes": b'{"a":"\xed\xa0\x80"}',
    "line break in a string": b'{"a":"\n"}',
    "unknown escape": b'{"a":"\\q"}',
    "half an escape": b'{"a":"\\ud8"}',
    "leading zero": b'{"a":01}',
    "bare point": b'{"a":1.}',
    "plus": b'{"a":+1}',
    "hexadecimal": b'{"a":0x1}',
    "trailing comma": b'{"a":1,}',
    "single quotes": b"{'a':1}",
    "comment": b'{"a":1/**/}',
    "open object": b'{"a":1',
    "open string": b'{"a":"',
    "two values": b'{"a":1}{"a":1}',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_not_json_is_refused_with_a_400(text: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        wire.loads_repaired(text)
    assert caught.value.row.status == 400
    assert caught.value.source == "client"
    assert len(caught.value.message) < 300
    with pytest.raises(ValueError, match=r".+"):
        wire.loads(text)


SCANNED_ONLY = {"1e400", "5,000 digits", "not UTF-8", "half a character", "surrogate bytes"}
"""Members are scanned without decoding their values: those mistakes are for whoever reads them."""


@pytest.mark.parametrize("name", sorted(REFUSED.keys() - SCANNED_ONLY))
def test_the_members_of_what_is_not_json_are_refused_with_a_400(name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        wire.members(REFUSED[name])
    assert caught.value.row.status == 400


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"[]", "an array"),
        (b'"a"', "a string"),
        (b"1", "a number"),
        (b"1.5", "a number"),
        (b"true", "a boolean"),
        (b"null", "null"),
    ],
)
def test_a_body_that_is_no_object_is_named(text: bytes, kind: str) -> None:
    with pytest.raises(GatewayError, match=f"must be a JSON object, not {kind}"):
        wire.members(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-0", 0),
        ("1.0", 1.0),
        ("1e2", 100.0),
        ("9" * 40, int("9" * 40)),
        ("-" + "9" * 40, -int("9" * 40)),
        (str(2**64), 2**64),
        ("0.1", 0.1),
        ("1e-400", 0.0),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\u0000"', "\x00"),
        ('"\u2028\u2029"', "\u2028\u2029"),
        (' \t\r\n{"a" : [ ] } ', {"a": []}),
    ],
)
def test_json_is_read_exactly(text: str, value: Any) -> None:
    assert wire.loads(text) == wire.loads(text.encode()) == value
    assert type(wire.loads(text)) is type(value)
    assert wire.loads(wire.dumps(wire.loads(text))) == value


@given(json_texts())
def test_any_json_is_read_as_the_standard_library_reads_it(text: str) -> None:
    assert wire.loads(text) == json.loads(text)
    assert wire.loads_repaired(text.encode()) == (json.loads(text), False)


@given(JSON)
def test_what_is_written_is_compact_and_reads_back(value: Any) -> None:
    text = wire.dumps(value)
    assert json.loads(text) == value
    assert b"\n" not in text
    assert b"\r" not in text
    assert text == wire.dumps(json.loads(text))


LONE = {
    "high": (rb'"\ud83d"', "\ufffd"),
    "low": (rb'"\ude00"', "\ufffd"),
    "the wrong way round": (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
    "upper case": (rb'"a\uD83Db"', "a\ufffdb"),
    "beside a whole one": (rb'"\ud83d\ud83d\ude00"', "\ufffd😀"),
    "in a key": (rb'{"\ud83d": 1}', {"\ufffd": 1}),
    "deep": (rb'[[{"a": ["\ud83d", 1e2, null]}]]', [[{"a": ["\ufffd", 100.0, None]}]]),
    "with a large number": (rb'["\ud83d", 99999999999999999999]', ["\ufffd", 10**20 - 1]),
}


@pytest.mark.parametrize(("text", "value"), LONE.values(), ids=LONE)
def test_lone_surrogates_are_mended_and_told(text: bytes, value: Any) -> None:
    assert wire.loads_repaired(text) == (value, True)
    assert wire.loads(text) == value
    wire.dumps(wire.loads(text))


@pytest.mark.parametrize(
    "text", [rb'{"a": "\ud83d", "b": NaN}', rb'["\ud83d", 1e999]', b'"\\ud83d']
)
def test_a_lone_surrogate_excuses_nothing_else(text: bytes) -> None:
    with pytest.raises(GatewayError):
        wire.loads_repaired(text)


@pytest.mark.parametrize("depth", [100, 400, 900, 5000, DEEP])
@pytest.mark.parametrize("read", [wire.loads_repaired, wire.members], ids=["value", "members"])
def test_depth_never_ends_in_a_recursion_error(read: Callable[[bytes], Any], depth: int) -> None:
    """A lone surrogate sends the body another way, and the stack of that one is shorter."""
    for odd in (b"1", rb'"\ud83d"'):
        text = b'{"a":' + odd + b',"a":' + b"[" * depth + odd + b"]" * depth + b"}"
        try:
            read(text)
        except GatewayError as error:
            assert error.row.status == 400
            assert depth > 100


def test_depth_never_ends_in_a_recursion_error_for_provider_text() -> None:
    for depth in (900, 5000, DEEP):
        try:
            wire.loads(b"[" * depth + rb'"\ud83d"' + b"]" * depth)
        except ValueError:
            assert depth > 100


# --- members ------------------------------------------------------------------------------------


def walked(text: str) -> list[tuple[str, str, str]]:
    """The members of an object by a reader of its own: each name, its text and its value's text."""
    position = text.index("{") + 1
    found = []
    while True:
        while text[position] in " \t\r\n,":
            position += 1
        if text[position] == "}":
            return found
        name, after = json.JSONDecoder().raw_decode(text, position)
        start = text.index(":", after) + 1
        while text[start] in " \t\r\n":
            start += 1
        _, end = json.JSONDecoder().raw_decode(text, start)
        found.append((name, text[position:after], text[start:end]))
        position = end


@given(spliceable())
def test_members_are_found_where_they_stand(drawn: tuple[str, list[str]]) -> None:
    text, names = drawn
    body = text.encode()
    found = wire.members(body)
    last = {name: (key, value) for name, key, value in walked(text)}
    assert {
        name: (
            body[s.key : s.key + len(last[name][0].encode())].decode(),
            body[s.value : s.end].decode(),
        )
        for name, s in found.items()
    } == last
    assert found.repeated == {name for name in names if names.count(name) > 1}
    assert set(found) == set(names)


@given(st.lists(json_texts(), max_size=4), st.lists(BLANKS, min_size=10, max_size=10))
def test_items_are_found_where_they_stand(texts: list[str], blanks: list[str]) -> None:
    before, after = blanks[:5], blanks[5:]
    rows = [left + text + right for left, text, right in zip(before, texts, after, strict=False)]
    body = f"{before[4]}[{','.join(rows) or after[4]}]".encode()
    assert [body[start:end].decode() for start, end in wire.items(body)] == texts


@pytest.mark.parametrize("text", [b"null", b"1", b'"[1]"', b'{"a":[1]}', b"[]", b" [ ] "])
def test_what_is_no_array_has_no_items(text: bytes) -> None:
    assert wire.items(text) == []


@pytest.mark.parametrize("text", [b"", b"nope", b"[1", b"[1,]", b"[" * DEEP])
def test_the_items_of_what_is_not_json_are_refused_with_a_400(text: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        wire.items(text)
    assert caught.value.row.status == 400


@pytest.mark.parametrize("text", ["{}", " {\n} ", "{\t}\r\n"])
def test_an_empty_object_has_no_members(text: str) -> None:
    assert wire.members(text.encode()) == {}


def test_a_name_is_compared_as_a_value_and_not_as_text() -> None:
    found = wire.members(rb'{"model":1,"mod\u0065l":2}')
    assert found.repeated == {"model"}
    assert found["model"].value == len(rb'{"model":1,"mod\u0065l":')


@pytest.mark.parametrize("text", [rb'{"\ud83d":1}', rb'{"a":1,"a\ude00":"\ud83d"}'])
def test_names_are_unicode_text_even_where_the_body_had_none(text: bytes) -> None:
    for name in wire.members(text):
        name.encode()


# --- server-sent events -------------------------------------------------------------------------

PING = {"type": "ping"}


def read_all(pieces: list[bytes]) -> list[tuple[str, str]]:
    """Name and data of every event, as a client of these bytes has them; empty frames left out."""
    frames = wire.Frames()
    found = [wire.fields(frame) for piece in pieces for frame in frames.feed(piece)]
    return [(name, data.decode()) for name, data in found if name or data]


@given(st.data())
def test_any_split_gives_the_same_events(data: st.DataObject) -> None:
    """T009: emoji, line ends and the mark itself may be cut in half."""
    values = [{"type": "a", "text": text} for text in ("😀日本\r\n", "é", "", "\u2028")]
    values.insert(data.draw(st.integers(0, 3)), PING)
    body = on_the_wire(values, form := data.draw(FORMS))
    found = read_all(data.draw(splits(body)))
    assert [name for name, _ in found] == [v["type"] if form.named else "" for v in values]
    assert [json.loads(text) for _, text in found] == values


@given(st.data())
def test_no_byte_is_lost_or_made_up(data: st.DataObject) -> None:
    form = data.draw(st.builds(Form, line_end=st.sampled_from(["\n", "\r\n", "\r"])))
    body = on_the_wire([PING, {"type": "é"}], form) + b"data: the re"
    frames = wire.Frames()
    whole = b"".join(f for piece in data.draw(splits(body)) for f in frames.feed(piece))
    assert whole + frames.rest == body


def test_every_split_in_two_of_crlf_frames_gives_the_same_events() -> None:
    body = on_the_wire([PING, {"type": "b"}, PING], Form(line_end="\r\n", comments=True))
    whole = read_all([body])
    assert len(whole) == 3
    for at in range(len(body)):
        assert read_all([body[:at], body[at:]]) == whole


FIELDS = {
    "plain": (b"event: a\ndata: 1\n\n", ("a", b"1")),
    "no space": (b"event:a\ndata:1\n\n", ("a", b"1")),
    "only one space goes": (b"data:  1\n\n", ("", b" 1")),
    "no name": (b"data: 1\n\n", ("", b"1")),
    "data first": (b"data: 1\nevent: a\n\n", ("a", b"1")),
    "the last name counts": (b"event: a\nevent: b\ndata: 1\n\n", ("b", b"1")),
    "many lines": (b"data: 1\ndata:\ndata: 2\n\n", ("", b"1\n\n2")),
    "field without a colon": (b"data\ndata: 1\nnothing\n\n", ("", b"\n1")),
    "comment": (b": ping\n\n", ("", b"")),
    "colon in the value": (b"data: a: b\n\n", ("", b"a: b")),
    "id with NUL, retry": (b"id: a\x00b\nretry: 1\ndata: 1\n\n", ("", b"1")),
    "names have letter case": (b"Data: 1\nEVENT: a\n\n", ("", b"")),
    "CR": (b"event: a\rdata: 1\rdata: 2\r\r", ("a", b"1\n2")),
    "CRLF": (b"event: a\r\ndata: 1\r\ndata: 2\r\n\r\n", ("a", b"1\n2")),
    "mixed": (b"event: a\rdata: 1\ndata: 2\r\n\n", ("a", b"1\n2")),
    "U+2028 ends no line": (
        "data: 1\u20282\x0b3\x0c4\x855\n\n".encode(),
        ("", "1\u20282\x0b3\x0c4\x855".encode()),
    ),
}


@pytest.mark.parametrize(("frame", "read"), FIELDS.values(), ids=FIELDS)
def test_fields_are_read_as_whatwg_says(frame: bytes, read: tuple[str, bytes]) -> None:
    assert wire.fields(frame) == read
    assert read_all([frame]) == ([(read[0], read[1].decode())] if any(read) else [])


def test_a_mark_is_skipped_at_the_start_alone() -> None:
    mark = b"\xef\xbb\xbf"
    assert read_all([mark[:1], mark[1:] + b"data: 1\n\n"]) == [("", "1")]
    assert read_all([b"data: 1\n\n" + mark + b"data: 2\n\n"]) == [("", "1")]
    assert read_all([mark + mark + b"data: 1\n\n"]) == []


def test_a_frame_without_its_blank_line_is_not_given_out() -> None:
    frames = wire.Frames()
    assert frames.feed(b"data: 1\n\ndata: 2\n") == [b"data: 1\n\n"]
    assert frames.rest == b"data: 2\n"
    assert frames.feed(b"") == []
    assert frames.feed(b"\n") == [b"data: 2\n\n"]
    assert frames.rest == b""


@given(JSON, st.sampled_from(["", "a", "message_start"]))
def test_what_is_framed_is_read_back(value: Any, name: str) -> None:
    frame = wire.frame(wire.dumps(value), name)
    assert wire.Frames().feed(frame) == [frame]
    assert wire.fields(frame) == (name, wire.dumps(value))


def test_an_event_of_ten_megabytes_comes_through() -> None:
    """T011, in pieces of 4 KB."""
    body = b"data: " + b"x" * 10_000_000 + b"\n\n"
    frames = wire.Frames()
    found = [f for i in range(0, len(body), 4096) for f in frames.feed(body[i : i + 4096])]
    assert found == [body]


def test_an_endless_event_is_refused_before_it_fills_the_memory() -> None:
    """T012: with and without line ends, in one piece and in many."""
    for piece in (b"x" * 65536, b"data: x\n" * 8192):
        frames = wire.Frames()
        pieces = [piece] * (wire.EVENT_LIMIT // len(piece) + 2)
        with pytest.raises(GatewayError) as caught:
            any(frames.feed(one) for one in pieces)
        assert caught.value.kind == "upstream_bad_response"
        assert len(frames.rest) <= wire.EVENT_LIMIT + len(piece)
    with pytest.raises(GatewayError):
        wire.Frames().feed(b"data: " + b"x" * 17_000_000 + b"\n\n")


def test_many_small_events_in_one_read_are_no_single_large_one() -> None:
    body = wire.frame(b"x" * 1000) * 17_000
    assert len(body) > wire.EVENT_LIMIT
    assert len(wire.Frames().feed(body)) == 17_000


# --- work that grows with the input, and no faster ----------------------------------------------


def seconds(work: Callable[[bytes], object], data: bytes) -> float:
    """Processor time, which other programs on the machine do not stretch much."""
    started = time.process_time()
    work(data)
    return time.process_time() - started


def feed_in_pieces(data: bytes) -> None:
    frames = wire.Frames()
    for i in range(0, len(data), 7):
        frames.feed(data[i : i + 7])


def object_of(member: bytes) -> Callable[[int], bytes]:
    """An object with this member, numbered, so many times; `%d` in it is the number."""
    return lambda n: b"{" + b",".join(member.replace(b"%d", b"%d" % i) for i in range(n)) + b"}"


LINEAR: dict[str, tuple[Callable[[bytes], object], Callable[[int], bytes]]] = {
    "data lines of one event (T014)": (wire.fields, lambda n: b"data: x\n" * n + b"\n"),
    "one event, in pieces": (feed_in_pieces, lambda n: b"data: x\n" * n + b"\n"),
    "one line, in pieces": (feed_in_pieces, lambda n: b"data: " + b"x" * 8 * n + b"\n\n"),
    "small events in one read": (lambda d: wire.Frames().feed(d), lambda n: b"data: x\n\n" * n),
    "line ends": (lambda d: wire.Frames().feed(d), lambda n: b"\r\n" * n),
    "members": (wire.members, object_of(b'"m%d":1')),
    "blanks": (wire.members, lambda n: b'{"a"' + b" " * 9 * n + b": 1}"),
    "escapes": (wire.members, lambda n: b'{"' + b"\\\\" * 4 * n + b'":1}'),
    "repeated members": (wire.members, object_of(b'"a":1')),
    "members beside a lone surrogate": (wire.members, object_of(rb'"m%d":"\ud83d"')),
    "lone surrogates": (wire.loads_repaired, lambda n: b'["' + rb"\ud83d" * n + b'"]'),
}


@pytest.mark.parametrize(("work", "data"), LINEAR.values(), ids=LINEAR)
def test_the_work_grows_with_the_input_and_no_faster(
    work: Callable[[bytes], object], data: Callable[[int], bytes]
) -> None:
    """Ten times the input may take 25 times as long, in the best of five tries."""
    small, large = data(3_000), data(30_000)
    ratios = []
    for _ in range(5):
        base = min(seconds(work, small) for _ in range(3))
        ratios.append(seconds(work, large) / max(base, 0.0005))
        if ratios[-1] <= 25:
            return
    pytest.fail(f"10 times the input took {', '.join(f'{r:.0f}' for r in ratios)} times as long")


# --- data URLs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("data:image/png;base64,AAAA", ("image/png", "AAAA")),
        ("DaTa:Image/PNG;BASE64,AAAA", ("image/png", "AAAA")),
        ("data:image/png;charset=utf-8;base64,AAAA", ("image/png", "AAAA")),
        ("data:application/pdf;name=a.pdf;base64,AAAA", ("application/pdf", "AAAA")),
        ("data:;base64,AAAA", ("", "AAAA")),
        ("data:image/png;base64,", ("image/png", "")),
        ("data:image/png;base64,-_-_", ("image/png", "+/+/")),
        ("data:image/png;base64,AA", ("image/png", "AA==")),
        ("data:image/png;base64,AAA", ("image/png", "AAA=")),
        ("data:image/png;base64,AA==", ("image/png", "AA==")),
        ("data:image/png;base64,AA\nAA ", ("image/png", "AAAA")),
        ("data:image/png,AAAA", None),
        ("data:text/plain,hello, world", None),
        ("data:image/png;base64", None),
        ("data:", None),
        ("https://example.com/data:image/png;base64,AAAA", None),
        ("", None),
    ],
)
def test_data_urls(url: str, read: tuple[str, str] | None) -> None:
    assert wire.data_url(url) == read


@given(st.binary(max_size=40))
def test_base64_of_any_alphabet_becomes_standard(data: bytes) -> None:
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        text = encode(data).decode()
        assert base64.b64decode(wire.standard_base64(text), validate=True) == data
        assert wire.standard_base64(text.rstrip("=")) == base64.b64encode(data).decode()


def test_a_frame_of_the_tests_own_is_what_they_say() -> None:
    form = Form(comments=True, space="", extra=("id: 7",), indent=1)
    assert framed({"type": "ping"}, form) == (
        ': keep-alive\nid: 7\nevent:ping\ndata:{\ndata: "type": "ping"\ndata:}\n\n'
    )
