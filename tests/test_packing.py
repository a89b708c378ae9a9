"""What clients carry unread comes back as it was packed, and nothing else is taken for it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.frontends.packing import MAGIC, packed, unpacked

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(VALUES) | st.dictionaries(st.text(), VALUES))
def test_what_was_packed_is_unpacked(value: Any) -> None:
    text = packed(value)
    assert unpacked(text) == value
    assert unpacked(text.rstrip("=").replace("+", "-").replace("/", "_")) == value


def encoded(data: bytes) -> str:
    return b64encode(data).decode()


FOREIGN = {
    "empty": "",
    "no base64": "é!",
    "somebody's": encoded(b"another mark"),
    "no JSON": encoded(MAGIC + b"{"),
    "no object": encoded(MAGIC + b"3"),
    "not UTF-8": encoded(MAGIC + b'["\xff"]'),
    "too deep": encoded(MAGIC + b"[" * 250 + b"]" * 250),
    "far too deep": encoded(MAGIC + b"[" * 100_000 + b"]" * 100_000),
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_anything_else_is_nothing(text: str) -> None:
    assert unpacked(text) is None
