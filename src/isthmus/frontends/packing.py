"""Values that travel through a client unread: base64 of a mark and JSON, in fields it sends back."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import Any

from isthmus import wire

MAGIC = b"isthmus1"


def packed(value: Any) -> str:
    """The text that holds a JSON object or array. It is neither secret nor signed: whoever holds it can read it."""
    return b64encode(MAGIC + wire.dumps(value)).decode()


def unpacked(text: str) -> Any:
    """The object or array in a text that we packed, in either base64 alphabet; None for anything else.

    What is nested too deeply for a body is not ours either.
    """
    try:
        content = b64decode(wire.standard_base64(text), validate=True)
        value = wire.loads(content.removeprefix(MAGIC)) if content.startswith(MAGIC) else None
    except (ValueError, binascii.Error):
        return None
    return value if isinstance(value, (dict, list)) and not wire.is_deep(value) else None
