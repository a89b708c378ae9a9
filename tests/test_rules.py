"""Rewrites: what a pattern matches, what becomes of parameters, what is refused, and how fast it is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.routing.rules import LONGEST_NAME, Rules, compiled, template

CLAUDE = (r"gpt-(.*)", r"anthropic:claude-\1")


@pytest.mark.parametrize(
    ("rows", "text", "expected", "place"),
    [
        ([], "gpt-4", "gpt-4", None),
        ([CLAUDE], "gpt-4", "anthropic:claude-4", 0),
        # the whole name, or nothing
        ([("gpt", "x")], "gpt-4", "gpt-4", None),
        ([("gpt", "x")], "my-gpt", "my-gpt", None),
        ([("a|ab", "x")], "ab", "x", 0),
        ([("gpt-4", "x")], "GPT-4", "GPT-4", None),
        ([("(?i)gpt-4", "x")], "GPT-4", "x", 0),
        # the first that matches, once
        ([("b", "c"), ("a", "b"), ("a", "d")], "a", "b", 1),
        ([("a", "a"), ("a", "b")], "a", "a", 0),
        # groups
        ([(r"(\w)(\w)?(x)?", r"\2\1\0\3")], "ab", "baab", 0),
        ([(r"(\w)(\w)?", r"<\2>")], "a", "<>", 0),
        ([(r"(.)", r"\10")], "a", "a0", 0),
        ([(".", r"a\\1")], "a", "a\\1", 0),
        ([("(é.*)", r"\1")], "é-ß-日本", "é-ß-日本", 0),
        ([("(?P<maker>[^/]*)/(.*)", r"\1:\2")], "openai/gpt", "openai:gpt", 0),
        # parameters of the request are kept, and win
        ([CLAUDE], "gpt-4?effort=low", "anthropic:claude-4?effort=low", 0),
        ([CLAUDE], "gpt-4?", "anthropic:claude-4", 0),
        ([("a", "b?top_k=1&effort=high")], "a?top_k=2", "b?effort=high&top_k=2", 0),
        ([("a", "b?effort=high")], "a?reasoning_effort=low", "b?reasoning_effort=low", 0),
        ([("a", "b?reasoning_effort=high")], "a?%65ffort=low", "b?%65ffort=low", 0),
        ([("a", "b?top_k=1")], "a?oops", "b?top_k=1&oops", 0),
        ([("a.*", "b")], "a?b?c=1", "b?b?c=1", 0),
        # on every leg of the replacement
        (
            [("a", "b?top_k=1 | [weight=3]c ^ d[1m]?effort=low!e")],
            "a?top_k=2",
            "b?top_k=2 | [weight=3]c?top_k=2 ^ d[1m]?effort=low&top_k=2!e?top_k=2",
            0,
        ),
        (
            [("a", "hybrid:[x?top_k=1,y?effort=low]|z")],
            "a?top_k=2",
            "hybrid:[x,y?effort=low]?top_k=2|z?top_k=2",
            0,
        ),
        ([("a", "b||c")], "a?top_k=2", "b?top_k=2||c?top_k=2", 0),
        # a composite selector is matched as it is written
        ([(r"a\|b", "c")], "a|b", "c", 0),
        ([(r"a\|b", "c")], "a|b?top_k=1", "a|b?top_k=1", None),
        ([(r"(.*)", r"x:\1")], "a?top_k=1^b", "x:a?top_k=1^b", 0),
        ([(r"hybrid:\[a.*", "c")], "hybrid:[a?top_k=1,b]", "c", 0),
        # what is no name
        ([(".*", "x")], "", "x", 0),
        ([("(?s).*", "x")], "a\nb", "a\nb", None),
        ([("(?s).*", "x")], "a\0", "a\0", None),
        ([(".*", "x")], "a\ud800", "a\ud800", None),
        ([(".*", "x")], "a" * LONGEST_NAME, "x", 0),
        ([(".*", "x")], "a" * (LONGEST_NAME + 1), "a" * (LONGEST_NAME + 1), None),
    ],
)
def test_rewritten(
    rows: list[tuple[str, str]], text: str, expected: str, place: int | None
) -> None:
    assert Rules(rows).rewritten(text) == (expected, place)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "is no pattern: missing ): ("),
        ("[a", "is no pattern: missing ]: [a"),
        ("a**", "is no pattern: bad repetition operator: **"),
        ("(?=a)", "RE2 has no lookahead and no lookbehind: (?="),
        ("(?!a)b", "RE2 has no lookahead and no lookbehind: (?!"),
        ("(?<=a)b", "RE2 has no lookahead and no lookbehind: (?<="),
        ("(?<!a)b", "RE2 has no lookahead and no lookbehind: (?<!"),
        (r"(a)\1", r"RE2 has no references back to a group: \1"),
        ("(?P<n>a)(?P=n)", "RE2 has no references back to a group: (?P"),
        ("(a{1000}){1000}", "is no pattern: invalid repetition size: {1000}"),
        (r"(\pL{30}){30}", "is no pattern: pattern too large"),
        ("a" * 1001, "must have 1,000 characters at most"),
        ("\ud800", "is no pattern: half a surrogate pair"),
    ],
)
def test_what_is_no_pattern(pattern: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  (the words are compared below)
        compiled(pattern)
    assert str(refusal.value).startswith(says)
    with pytest.raises(ValueError, match=r"RE2|pattern|characters"):
        Rules([("a", "b"), (pattern, "x")])
    assert capfd.readouterr() == ("", ""), "RE2 writes nothing by itself"


@pytest.mark.parametrize(
    ("replacement", "groups", "says"),
    [
        (r"\1", 0, r"there is no group \1: the pattern has no groups"),
        (r"\2", 1, r"there is no group \2: the pattern has 1 group"),
        (r"\1\9", 2, r"there is no group \9: the pattern has 2 groups"),
        (r"\x", 1, "behind a backslash stands the number of a group"),
        (r"\g<1>", 1, "behind a backslash"),
        ("a\\", 1, "behind a backslash"),
    ],
)
def test_what_is_no_replacement(replacement: str, groups: int, says: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  (the words are compared below)
        template(replacement, groups)
    assert str(refusal.value).startswith(says)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(.*a){15}$", "(a|aa)+b", "(.*)(.*)(.*)(.*)(.*)x", r"(a?){100}a{100}"]
)
def test_no_pattern_takes_long(pattern: str) -> None:
    rules = Rules([(pattern, "x")])
    for text in ("a" * 25 + "!", "a" * (LONGEST_NAME - 1) + "-", "a" * 100_000):
        times: list[float] = []
        for _ in range(3):  # the best of them: others may be at work on this machine
            start = time.perf_counter()
            assert rules.rewritten(text)[1] is None
            times.append(time.perf_counter() - start)
        assert min(times) < 0.05


@given(
    st.text(max_size=40),
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=3),
)
def test_nothing_is_raised_but_at_the_start(text: str, rows: list[tuple[str, str]]) -> None:
    try:
        rules = Rules(rows)
    except ValueError:
        return
    new, place = rules.rewritten(text)
    assert isinstance(new, str)
    assert place is not None or new == text


PIECES = st.lists(
    st.sampled_from([*"ab|^!?&=[],\\ ", "hybrid:[", "effort=low", "top_k=1", "[1m]"]), max_size=14
).map("".join)


@given(PIECES, PIECES)
def test_whatever_the_replacement_is_the_request_wins(replacement: str, query: str) -> None:
    if "\\" not in replacement and not set(query) & set("|^![?"):
        new, _ = Rules([("m", replacement)]).rewritten(f"m?{query}")
        legs = [leg for leg in new.replace("^", "|").replace("!", "|").split("|") if leg.strip()]
        assert not query or all(leg.rstrip().endswith(query.rstrip()) for leg in legs)
