"""The selector: its grammar, what it refuses and where, and that printing and parsing are each other's inverse."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.dialects import FRONTENDS
from isthmus.errors import GatewayError
from isthmus.frontends import matched
from isthmus.request import HttpRequest
from isthmus.routing import selector
from isthmus.routing.selector import (
    CACHED_LENGTH,
    LONGEST,
    MOST_LEAVES,
    Hybrid,
    Leaf,
    Race,
    Selector,
    Weighted,
    overlaid,
    parse,
    parse_query,
    printed,
)
from tests.harness import World, error_message
from tests.test_page_tables import gemini_user

NAMES = frozenset({"anthropic", "anthropic.1", "anthropic.team-a", "local", "llama"})
TYPES = frozenset({"anthropic", "openai"})
A, B, C = Leaf("a"), Leaf("b"), Leaf("c")


def read(text: str) -> Selector:
    return parse(text, NAMES, TYPES)


# --- leaves -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "backend", "model", "parameters"),
    [
        ("claude-x", None, "claude-x", {}),
        ("anthropic:claude-x", "anthropic", "claude-x", {}),
        ("anthropic.team-a:claude-x", "anthropic.team-a", "claude-x", {}),
        ("local:llama3:8b", "local", "llama3:8b", {}),
        ("llama3:8b", None, "llama3:8b", {}),
        ("openrouter/anthropic/claude-x:beta", None, "openrouter/anthropic/claude-x:beta", {}),
        ("openrouter:anthropic/claude-x:beta", None, "openrouter:anthropic/claude-x:beta", {}),
        ("unknown:claude-x", None, "unknown:claude-x", {}),
        ("claude-x@20250101", None, "claude-x@20250101", {}),
        ("claude-opus-4-6[1m]", None, "claude-opus-4-6[1m]", {}),
        ("anthropic:claude-opus-4-6[1m]?top_k=1", "anthropic", "claude-opus-4-6[1m]", {"top_k": 1}),
        ("hybrid:x", None, "hybrid:x", {}),
        ("local:hybrid:[1m]", "local", "hybrid:[1m]", {}),
        ("anthropic:claude-x?temperature=0.7", "anthropic", "claude-x", {"temperature": 0.7}),
        ("m?effort=high&top_k=0", None, "m", {"effort": "high", "top_k": 0}),
        ("m?reasoning_effort=high", None, "m", {"effort": "high"}),
        ("m?", None, "m", {}),
        ("m?thinking_budget=0", None, "m", {"thinking_budget": 0}),
        ("m?temperature=0%2E5", None, "m", {"temperature": 0.5}),
        ("m%3F?%74op_k=1", None, "m%3F", {"top_k": 1}),
        (" local : m ? top_k = 1 & top_p = 1 ", "local", "m", {"top_k": 1, "top_p": 1.0}),
        ("two words", None, "two words", {}),
        ("wörter", None, "wörter", {}),
    ],
)
def test_a_leaf(text: str, backend: str | None, model: str, parameters: dict[str, Any]) -> None:
    assert read(text) == Selector((Leaf(model, backend, parameters),))


def test_a_prefix_is_a_backend_where_one_goes_by_it() -> None:
    asked = "openrouter:anthropic/claude-x:beta"
    assert parse(asked, {"openrouter"}, ()).legs == (
        Leaf("anthropic/claude-x:beta", backend="openrouter"),
    )
    assert parse("openai:gpt-x", {"openai"}, {"openai"}).legs == (Leaf("gpt-x", "openai"),)


@pytest.mark.parametrize(
    "text",
    [
        "llama3:8b",
        "llama3:instruct",
        "llama3.2:latest",
        "ollama.2:70b-instruct-q4_0",
        "anthropic.claude-x-20250101-v1:0",
        "us.anthropic.claude-x-20250101-v1:0",
        "locals/x:y",
        ":x",
        "x:",
        f"{'local' * 20}:x",
    ],
)
def test_a_colon_of_a_model_s_own(text: str) -> None:
    assert read(text) == Selector((Leaf(text),))


# --- what stands together -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "legs"),
    [
        ("a|b|c", (A, B, C)),
        (" a |\n b\t", (A, B)),
        ("a^b", (Weighted((A, B)),)),
        ("[weight=3]a^[weight=1]b", (Weighted((Leaf("a", weight=3.0), B)),)),
        ("[weight=0.5] a ^ b | c", (Weighted((Leaf("a", weight=0.5), B)), C)),
        ("a!b|b^c", (Race((A, B)), Weighted((B, C)))),
        ("a![handicap=2.5]b", (Race((A, Leaf("b", handicap=2.5))),)),
        ("[max_context=1000]a|b", (Leaf("a", max_context=1000), B)),
        (
            "[ max_context = 9 , weight = 2 ]local:a^b",
            (Weighted((Leaf("a", "local", weight=2.0, max_context=9), B)),),
        ),
        ("[weight=2]claude[1m]^b", (Weighted((Leaf("claude[1m]", weight=2.0), B)),)),
        ("hybrid:[a,b]", (Hybrid(A, B),)),
        (
            "hybrid : [ local:a[1m]?top_k=1 , b ] ? top_k=2",
            (Hybrid(Leaf("a[1m]", "local", {"top_k": 1}), B, {"top_k": 2}),),
        ),
        ("[weight=2]hybrid:[a,b]^c", (Weighted((Hybrid(A, B, weight=2.0), C)),)),
        ("[handicap=1,max_context=5]hybrid:[a,b]!c|a", (Race((Hybrid(A, B, handicap=1.0, max_context=5), C)), A)),
    ],
)  # fmt: skip
def test_a_whole_selector(text: str, legs: tuple[selector.Leg, ...]) -> None:
    assert read(text) == Selector(legs)


def test_the_printed_form_has_nothing_that_means_nothing() -> None:
    text = (
        " [ weight=1.0, max_context=07 ] a ?top_p=1.0& temperature=.50 ^ hybrid: [a ,local: b]|c? "
    )
    assert printed(read(text)) == "[max_context=7]a?temperature=0.5&top_p=1^hybrid:[a,local:b]|c"


# --- what is refused ----------------------------------------------------------------------------

REFUSED = [
    ("", 1, "the name of a model is missing"),
    ("anthropic:", 11, "the name of a model is missing"),
    ("?temperature=1", 1, "the name of a model is missing"),
    ("a||b", 3, "the name of a model is missing"),
    ("a|b^", 5, "the name of a model is missing"),
    ("[max_context=1]", 16, "the name of a model is missing"),
    ("antropic:claude-x", 1, "no backend is named 'antropic'; did you mean 'anthropic'?"),
    ("a|Anthropic:opus", 3, "did you mean 'anthropic'?"),
    ("locale:claude-x", 1, "did you mean 'local'?"),
    ("llama2:some-thing", 1, "did you mean 'llama'?"),
    ("anthropic.2:opus", 1, "'anthropic' has no key '2'; did you mean 'anthropic.1'?"),
    ("anthropic.team-b:opus", 1, "no key 'team-b'; did you mean 'anthropic.team-a'?"),
    ("local.1:opus", 1, "backend 'local' has no key '1'; did you mean 'local'?"),
    ("openai:gpt-x", 1, "'openai' is a type of backend, and none that is configured goes by it"),
    ("a^b!c", 4, "do not stand in one leg"),
    ("x|a!b^c", 6, "do not stand in one leg"),
    ("a,b", 2, "holds no comma"),
    ("a[1m]b", 2, "a bracket only at its end"),
    ("anthropic:[1m]", 11, "a bracket only at its end"),
    ("a]", 2, "a bracket only at its end"),
    ("a\x00b", 2, "cannot be printed"),
    ("a\nb", 2, "cannot be printed"),
    ("\ud800", 1, "cannot be printed"),
    ("[weight=2]a", 2, "option 'weight' needs `^` between models"),
    ("b|[handicap=2]a^c", 4, "option 'handicap' needs `!` between models"),
    ("[weight=2]a!b", 2, "option 'weight' needs `^` between models"),
    ("[weigth=2]a^b", 2, "unknown option 'weigth'; did you mean 'weight'?"),
    ("[x=1]a", 2, "known are weight, handicap, max_context"),
    ("[]a", 2, "unknown option ''"),
    ("[weight=0]a^b", 9, "must be a number above 0, at most 1000000, not '0'"),
    ("[weight=-1]a^b", 9, "must be a number above 0"),
    ("[weight=1e999]a^b", 9, "must be a number above 0"),
    ("[weight]a^b", 2, "must be a number above 0, at most 1000000"),
    ("a![handicap=3601]b", 13, "must be a number of seconds from 0 to 3600, not '3601'"),
    ("[max_context=0]a", 14, "must be a whole number of tokens from 1 to 1000000000, not '0'"),
    ("[max_context=1.5]a", 14, "must be a whole number of tokens"),
    ("[max_context=1,max_context=2]a", 16, "option 'max_context' stands twice"),
    ("a|[max_context=1", 3, "this bracket has no end"),
    ("hybrid:[a,b", 8, "this bracket has no end"),
    ("hybrid:[a]", 1, "two models make a hybrid, not 1"),
    ("c|hybrid:[a,b,c]", 3, "two models make a hybrid, not 3"),
    ("hybrid:[a,]", 11, "the name of a model is missing"),
    ("hybrid:[a,[weight=1]b]", 11, "in a hybrid only [backend:]model[?parameters] may stand"),
    ("hybrid:[a,hybrid:[b,c]]", 11, "in a hybrid only"),
    ("hybrid:[a,b]c", 13, "only ?parameters may stand"),
    ("hybrid:[a,b?effort=mid]", 13, "low, medium, high, xhigh or max"),
    ("m?temprature=1", 3, "unknown parameter 'temprature'; did you mean 'temperature'?"),
    ("m?x=1", 3, "known are temperature"),
    ("m?temperature=hot", 3, "a number from 0 to 2, not 'hot'"),
    ("m?temperature=3", 3, "a number from 0 to 2"),
    ("m?temperature=nan", 3, "a number from 0 to 2"),
    ("m?max_tokens=0", 3, "a whole number from 1"),
    ("m?temperature", 3, "expected name=value"),
    ("m?top_k=1&", 11, "expected name=value"),
    ("m?top_k=1&top_k=2", 11, "stands twice"),
    ("m?effort=low&reasoning_effort=low", 14, "effort and reasoning_effort are one"),
    ("a" * (LONGEST + 1), LONGEST + 1, "at most 2000 characters"),
    ("|".join("a" * (MOST_LEAVES + 1)), 65, "at most 32 models"),
    ("|".join(["hybrid:[a,b]"] * 17), 217, "at most 32 models"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "says"), REFUSED, ids=[row[0][:30] for row in REFUSED])
def test_a_refusal_names_the_column_and_what_would_be_right(
    text: str, column: int, says: str
) -> None:
    with pytest.raises(GatewayError) as refusal:
        read(text)
    assert refusal.value.message.startswith(f"model: column {column}: ")
    assert says in refusal.value.message
    assert (refusal.value.param, refusal.value.row.status) == ("model", 400)


def test_a_refusal_shows_little_of_a_long_text() -> None:
    with pytest.raises(GatewayError) as refusal:
        read(f"m?{'x' * 1900}=1")
    assert len(refusal.value.message) < 400


def test_as_many_leaves_as_there_may_be() -> None:
    assert len(read("|".join("a" * MOST_LEAVES)).legs) == MOST_LEAVES
    assert len(read("|".join(["hybrid:[a,b]"] * 16)).legs) == 16
    assert read("a" * LONGEST).legs == (Leaf("a" * LONGEST),)


# --- laws ---------------------------------------------------------------------------------------

MODELS = st.builds(
    lambda words, end: " ".join(words) + end,
    st.lists(st.text("abc19/:@.-é&=%", min_size=1, max_size=8), min_size=1, max_size=2),
    st.sampled_from(["", "", "[1m]", "[a b]"]),
)
"""Names that no prefix makes a backend's: no name of one can be spelt with these letters."""
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2).map(abs),
        "top_p": st.floats(0, 1).map(abs),
        "top_k": st.integers(0, 10**9),
        "max_tokens": st.integers(1, 10**9),
        "effort": st.sampled_from(["low", "xhigh"]),
        "thinking_budget": st.integers(0, 10**9),
        "verbosity": st.sampled_from(["low", "high"]),
        "service_tier": st.sampled_from(["auto", "standard_only"]),
        "speed": st.sampled_from(["standard", "fast"]),
    },
)
LEAVES = st.builds(
    Leaf, MODELS, backend=st.none() | st.sampled_from(sorted(NAMES)), parameters=VALUES
)
WINDOWS = st.none() | st.integers(1, 10**9)
WEIGHTS = st.floats(0, 1e6, exclude_min=True)
HANDICAPS = st.floats(0, 3600).map(abs)


def members(**options: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Leaves and hybrids with these options as well as ``max_context``."""
    options["max_context"] = WINDOWS
    backends = st.none() | st.sampled_from(sorted(NAMES))
    leaf = st.builds(Leaf, MODELS, backends, VALUES, **options)
    return leaf | st.builds(Hybrid, LEAVES, LEAVES, VALUES, **options)


def groups(member: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(member, min_size=2, max_size=4).map(tuple)


SELECTORS = st.builds(
    Selector,
    st.lists(
        members()
        | st.builds(Weighted, groups(members(weight=WEIGHTS)))
        | st.builds(Race, groups(members(handicap=HANDICAPS))),
        min_size=1,
        max_size=3,
    ).map(tuple),
)
PARTS = st.sampled_from(
    [
        *("a", "b", "claude-x[1m]", "anthropic", "anthropic:", "local:", "llama3:8b", "hybrid:[a,b]"),
        *("|", "|", "^", "^", "!", "!", "?", "&", ":", ",", "[", "]", " ", "\t", "hybrid:["),
        *("[weight=2]", "[handicap=1]", "[max_context=5]", "temperature=0.50", "?top_k=1", "?effort=low"),
    ]
)  # fmt: skip
TEXTS = st.lists(PARTS, max_size=12).map("".join)


@given(SELECTORS)
def test_what_was_printed_is_read_as_the_same(drawn: Selector) -> None:
    text = printed(drawn)
    if len(text) <= LONGEST:
        assert read(text) == drawn
        assert printed(read(text)) == text


@given(TEXTS | SELECTORS.map(printed).map(lambda text: text.replace("|", " | ")))
def test_what_was_read_is_printed_as_the_same(text: str) -> None:
    try:
        once = read(text)
    except GatewayError:
        return
    assert read(printed(once)) == once
    assert printed(read(printed(once))) == printed(once)


@given(TEXTS | st.text(max_size=60) | st.text("[]|^!?:,=&%. ab1", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except GatewayError as refusal:
        found = re.match(r"model: column (\d+): .", refusal.message)
        assert refusal.param == "model"
        assert found
        assert 1 <= int(found[1]) <= len(text) + 1


# --- the cache ----------------------------------------------------------------------------------


def test_a_short_text_is_parsed_once_for_the_same_names() -> None:
    assert read("claude-cached") is read("claude-cached")
    assert parse("claude-cached", dict.fromkeys(NAMES), list(TYPES)) is read("claude-cached")
    long = "a" * (CACHED_LENGTH + 1)
    assert read(long) == read(long)
    assert read(long) is not read(long)


def test_the_cache_keeps_the_names_apart() -> None:
    assert parse("x:y", {"x"}, ()).legs == (Leaf("y", "x"),)
    assert parse("x:y", {"z"}, ()).legs == (Leaf("x:y"),)


def test_what_is_shared_cannot_be_changed() -> None:
    for text in ("a", "a?top_k=1"):
        (leaf,) = read(text).legs
        assert isinstance(leaf, Leaf)
        assert hash(leaf) == hash(Leaf("a"))
        with pytest.raises(TypeError):
            leaf.parameters["top_k"] = 2  # type: ignore[index]


# --- on its way ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segment", "model"),
    [
        ("anthropic:claude-x%3Ftemperature=0.7", "anthropic:claude-x?temperature=0.7"),
        ("anthropic%3Aclaude-x%253Fa", "anthropic:claude-x%3Fa"),
        ("claude-x%3Ftemperature=0%252E7", "claude-x?temperature=0%2E7"),
        ("a%7Cb%5E%5Bweight=2%5Dc", "a|b^[weight=2]c"),
        ("openrouter:anthropic/claude-x:beta", "openrouter:anthropic/claude-x:beta"),
        ("a%2Bb+c", "a+b+c"),
    ],
)
def test_gemini_s_path_is_decoded_once(segment: str, model: str) -> None:
    frontend = FRONTENDS["gemini"]
    http = HttpRequest("POST", f"/v1beta/models/{segment}:generateContent", body=b'{"contents":[]}')
    match = next(filter(None, (matched(route, http.path) for route in frontend.ROUTES)))
    assert match.parts["model"] == model
    http.body = b'{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}'
    assert frontend.decode(http, match).model == model


def test_gemini_s_path_as_served(world: World) -> None:
    path = "/v1beta/models/claude-sonnet-4-6%3Ftemperature=0%252E5:generateContent"
    assert world.post(path, gemini_user()).status == 200
    assert b'"temperature":0.5' in world.received()[-1].body
    world.post("/v1beta/models/claude-x%253Ftemperature=0.5:generateContent", gemini_user())
    assert b'"model":"claude-x%3Ftemperature=0.5"' in world.received()[-1].body


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("anthropic", "/v1/messages"),
        ("openai-chat", "/v1/chat/completions"),
        ("openai-responses", "/v1/responses"),
    ],
)
def test_a_client_is_told_in_its_dialect(world: World, dialect: str, path: str) -> None:
    body = {"model": "antropic:claude-haiku-4-5", "max_tokens": 5}
    hello: Any = [{"role": "user", "content": "Hello"}]
    reply = world.post(path, {**body, "messages": hello, "input": hello})
    assert (reply.status, world.received()) == (400, [])
    assert "column 1: no backend is named 'antropic'" in error_message(dialect, reply)


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("b?top_k=1&effort=high", "top_k=2", "b?top_k=2&effort=high"),
        ("b?effort=high", "reasoning_effort=low", "b?effort=low"),
        (
            "b?top_k=1|[weight=3]c^d[1m]?effort=low",
            "top_k=2",
            "b?top_k=2|[weight=3]c?top_k=2^d[1m]?top_k=2&effort=low",
        ),
        (
            "hybrid:[x?top_k=1,y?effort=low]|z",
            "top_k=2",
            "hybrid:[x?top_k=2,y?top_k=2&effort=low]|z?top_k=2",
        ),
    ],
)
def test_parameters_laid_over_every_model(text: str, query: str, expected: str) -> None:
    selector = parse(text, (), ())
    assert printed(overlaid(selector, parse_query(query, 1))) == expected
