"""Rewrites: what a pattern matches, what becomes of parameters, what is refused, and how fast it is."""

from __future__ import annotations

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
    assert Rules(rows).rewritten(text) == (expected, "", place)


def test_the_parameters_of_the_request_are_kept_aside() -> None:
    rules = Rules([("a.*", "b|c?top_k=1")])
    assert rules.rewritten("a?top_k=2") == ("b|c?top_k=1", "top_k=2", 0)
    assert rules.rewritten("a?b?c=1") == ("b|c?top_k=1", "b?c=1", 0)
    assert rules.rewritten("a?") == ("b|c?top_k=1", "", 0)


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
    """One that goes back and forth would not come to an end on the first of these texts."""
    rules = Rules([(pattern, "x")])
    for text in ("a" * 25 + "!", "a" * (LONGEST_NAME - 1) + "-", "a" * 100_000):
        assert rules.rewritten(text).place is None


@given(
    st.text(max_size=40),
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=3),
)
def test_nothing_is_raised_but_at_the_start(text: str, rows: list[tuple[str, str]]) -> None:
    try:
        rules = Rules(rows)
    except ValueError:
        return
    new, _, place = rules.rewritten(text)
    assert isinstance(new, str)
    assert place is not None or new == text
