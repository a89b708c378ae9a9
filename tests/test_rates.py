"""What text costs each family of models, and how real usage corrects an estimate."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from isthmus.rates import LEAST, MODELS, MOST, Rates, Ratios, rates_of, text_tokens

OLD, NEW, OTHER = (rates_of(name) for name in ("claude-3", "claude-opus-5", "gpt-6"))


@pytest.mark.parametrize(
    ("model", "family"),
    [
        *((name, "old") for name in ("claude-3-opus-latest", "claude-2.1", "claude-instant-1.2")),
        *((name, "old") for name in ("claude-sonnet-4-0", "claude-opus-4-1-20250805")),
        *((name, "old") for name in ("claude-sonnet-4-20250514", "claude-sonnet-4-5-20250929")),
        *((name, "old") for name in ("us.anthropic.claude-haiku-4-5-20251001-v1:0",)),
        *((name, "old") for name in ("anthropic/claude-sonnet-4.6", "claude-opus-4-6")),
        *((name, "new") for name in ("claude-opus-4-7", "anthropic/claude-opus-4.8")),
        *((name, "new") for name in ("claude-opus-5-5", "claude-haiku-5-5", "claude-fable-5-2")),
        *((name, "new") for name in ("claude-opus-40", "claude-of-next-year")),
        *((name, "other") for name in ("gpt-6", "gemini-3.5-pro", "llama3:8b", "")),
    ],
)
def test_a_name_tells_the_family(model: str, family: str) -> None:
    assert rates_of(model) is {"old": OLD, "new": NEW, "other": OTHER}[family]


PROSE = (
    "Nobody who has crossed the isthmus on foot forgets the morning: fog over two oceans, and "
    "between them a road that seems to float. "
)
CODE = "def total(rows: list[Row]) -> int:\n    return sum(row['n'] for row in rows if row)\n"
DIGEST = b"".join(sha256(bytes([n])).digest() for n in range(200))


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        # bytes for each token, on the older models
        (PROSE * 50, 4.2, 5.2),
        (CODE * 50, 2.8, 4.0),
        ("\u4e2d\u6587\u6a21\u578b" * 500, 2.4, 3.2),
        ("\u043f\u0440\u0438\u0432\u0435\u0442 " * 500, 2.4, 3.2),
        (b64encode(DIGEST).decode(), 1.3, 1.6),
        (DIGEST.hex(), 1.3, 1.6),
        ('{"a":1,"bc":[2,3]},' * 200, 1.8, 3.0),
    ],
    ids=["prose", "code", "chinese", "russian", "base64", "hex", "json"],
)
def test_each_kind_of_text(text: str, least: float, most: float) -> None:
    data = text.encode()
    assert least < len(data) / text_tokens(data, OLD) < most
    assert text_tokens(data, NEW) == pytest.approx(1.3 * text_tokens(data, OLD), rel=0.05)
    assert text_tokens(data, OTHER) >= text_tokens(data, OLD)


def test_no_byte_is_more_than_a_token() -> None:
    for rates in (OLD, NEW, OTHER):
        assert max(rates.letter, rates.mark, rates.wide, rates.blob) < 1


def test_a_blob_within_prose_is_seen() -> None:
    both = (PROSE * 100).encode() + b64encode(DIGEST)
    apart = text_tokens((PROSE * 100).encode(), OLD) + text_tokens(b64encode(DIGEST), OLD)
    assert text_tokens(both, OLD) > 0.75 * apart


def test_nothing_is_nothing() -> None:
    assert text_tokens(b"", OLD) == 0


# --- the correction -----------------------------------------------------------------------------


def test_a_ratio_goes_to_what_answers_tell() -> None:
    ratios = Ratios()
    assert ratios.ratio("a", "m") == 1
    for _ in range(20):
        ratios.learn("a", "m", 100, 130)
    assert ratios.ratio("a", "m") == pytest.approx(1.3, abs=0.01)
    assert ratios.ratio("a", "other") == ratios.ratio("b", "m") == 1


@pytest.mark.parametrize(("used", "bound"), [(1, LEAST), (10**9, MOST)])
def test_a_ratio_is_bounded(used: int, bound: float) -> None:
    ratios = Ratios()
    for _ in range(100):
        ratios.learn("a", "m", 1000, used)
    assert ratios.ratio("a", "m") == pytest.approx(bound)


@pytest.mark.parametrize(("estimated", "used"), [(0, 5), (5, 0), (-1, 5), (5, -1)])
def test_what_tells_nothing_is_not_learned(estimated: int, used: int) -> None:
    ratios = Ratios()
    ratios.learn("a", "m", estimated, used)
    assert not ratios.rows


def test_the_ratio_that_nobody_asks_for_goes() -> None:
    ratios = Ratios()
    for number in range(MODELS + 5):
        ratios.learn("a", str(number), 100, 200)
        ratios.ratio("a", "0")
    assert len(ratios.rows) == MODELS
    assert ratios.ratio("a", "0") > 1
    assert ratios.ratio("a", "1") == 1


# --- the page -----------------------------------------------------------------------------------


def test_the_page_shows_the_table() -> None:
    page = (
        Path(__file__).resolve().parents[1] / "docs" / "context-window-enforcement.md"
    ).read_text()
    rows = [
        [f"{getattr(rates, name):{form}}" for rates in (OLD, NEW, OTHER)]
        for name, form in zip(Rates._fields, [".2f"] * 4 + [","] * 3, strict=True)
        if name != "side"
    ]
    shown = [line.split(" | ")[1:] for line in page.splitlines() if line.endswith(" |")]
    assert [[cell.removesuffix(" |") for cell in row] for row in shown][-len(rows) :] == rows
