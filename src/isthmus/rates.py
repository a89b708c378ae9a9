"""How many tokens text is to each family of models, and what real usage says of an estimate.

The rates were fitted on recorded exchanges, whose answers tell the real usage. How well, and which of
them no recording shows, is said in docs/context-window-enforcement.md.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple


class Rates(NamedTuple):
    """What one family of models makes of text: tokens for each byte of a kind; pictures and pages."""

    letter: float
    """ASCII letters and spaces: English prose has 5 of them to a token."""
    mark: float
    """Other ASCII: digits, punctuation, line ends; code and JSON are dense because of them."""
    wide: float
    """Each byte of UTF-8 beyond ASCII: 1.1 tokens for a Chinese character in three bytes."""
    blob: float
    """Letters and digits in long runs without a space: base64, hexadecimal digits."""
    side: int
    """Pixels of the longer side to which a picture is brought down."""
    patches: int
    """Tokens of one picture at most."""
    page: int
    """Tokens of a PDF's page: its picture, and its text."""


_FAMILIES: tuple[tuple[re.Pattern[str], Rates], ...] = (
    (
        re.compile(r"claude-(?:[123]\b|instant|(?:opus|sonnet|haiku)-4(?!\d)(?![-.][7-9](?!\d)))"),
        Rates(0.20, 0.50, 0.37, 0.70, 1568, 1568, 2600),
    ),
    (re.compile("claude"), Rates(0.26, 0.65, 0.48, 0.90, 2576, 4784, 3400)),
    (re.compile(""), Rates(0.22, 0.50, 0.40, 0.75, 2576, 4784, 3400)),
)
"""Claude up to 4.6; Claude from 4.7 on, whose tokenizer yields 30 % more for the same text (Anthropic's
migration guide); all others. The first pattern that is found in a model's name decides."""

MOST_PATCHES = max(rates.patches for _, rates in _FAMILIES)


_LETTERS = bytes(range(65, 91)) + bytes(range(97, 123))
_DIGITS = b"0123456789"
_HIGH = bytes(range(128, 256))
_RUN = 64
"""Letters and digits that make a blob if hardly anything stands between them."""
_CHUNK = 4096
"""Bytes that are looked at together, so that a blob within prose is seen as one."""


def rates_of(model: str) -> Rates:
    """The rates of a model's family, by its name."""
    return next(rates for pattern, rates in _FAMILIES if pattern.search(model))


def text_tokens(text: bytes, rates: Rates) -> float:
    """Tokens of UTF-8 text."""
    return sum(
        _chunk_tokens(text[start : start + _CHUNK], rates) for start in range(0, len(text), _CHUNK)
    )


def _chunk_tokens(text: bytes, rates: Rates) -> float:
    rest = text.translate(None, _LETTERS)
    wide = 0 if rest.isascii() else len(rest) - len(rest.translate(None, _HIGH))
    spaces = rest.count(b" ")
    marks = len(rest) - wide - spaces
    letters = len(text) - len(rest)
    if spaces * 64 < len(text) and letters + marks >= _RUN:
        digits = len(rest) - len(rest.translate(None, _DIGITS))
        if (marks - digits) * 16 < letters + digits:
            return (letters + marks) * rates.blob + (wide * rates.wide)
    return (letters + spaces) * rates.letter + marks * rates.mark + wide * rates.wide


# --- the correction -----------------------------------------------------------------------------

LEAST, MOST = 0.5, 2.0
"""The bounds of a ratio: what lies beyond them was no prompt of the one that was estimated."""
WEIGHT = 0.3
"""The share of the newest answer in a ratio."""
MODELS = 1000
"""Ratios that are kept; the one that was used longest ago goes first."""


@dataclass(slots=True)
class Ratios:
    """How the real usage compares with the estimate, for each backend and model."""

    rows: OrderedDict[tuple[str, str], float] = field(
        default_factory=OrderedDict[tuple[str, str], float]
    )

    def ratio(self, backend: str, model: str) -> float:
        """What an estimate is to be multiplied with; 1 where nothing has been learned."""
        row = backend, model
        if row in self.rows:
            self.rows.move_to_end(row)
        return self.rows.get(row, 1.0)

    def learn(self, backend: str, model: str, estimated: int, used: int) -> None:
        """Move the ratio towards what an answer tells of the prompt that was estimated."""
        if estimated <= 0 or used <= 0:
            return
        told = min(MOST, max(LEAST, used / estimated))
        before = self.ratio(backend, model)
        self.rows[backend, model] = before + WEIGHT * (told - before)
        self.rows.move_to_end((backend, model))
        if len(self.rows) > MODELS:
            self.rows.popitem(last=False)
