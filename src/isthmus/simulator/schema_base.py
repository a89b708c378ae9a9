"""Tables: the small shapes that blocks, tools and requests share."""

from __future__ import annotations

from . import betas
from .shapes import Anything, Flag, Gated, Items, Number, Object, Shape, Tagged, Text

STRING = Text()
INTEGER = Number()
COUNT = Number(min=0)
FLAG = Flag()
MAPPING = Anything(mapping=True)
STRINGS = Items(STRING)


def block(**fields: Shape) -> Object:
    """An object with a `type` that the enclosing table has already matched."""
    return Object({"type": STRING, **fields})


CACHE_CONTROL = Tagged(
    {
        "ephemeral": block(
            ttl=Text(values=("5m", "1h")),
            scope=Gated(Text(values=("global", "organization")), betas.CACHE_SCOPE),
        )
    }
)


def marked(fields: dict[str, Shape]) -> Object:
    """A block that may carry a cache breakpoint."""
    return Object({"type": STRING, **fields, "cache_control?": CACHE_CONTROL})


CITATIONS_SWITCH = Object({"enabled": FLAG})
MCP_TOOL = Object({"name!": STRING, "input_schema!": MAPPING, "description?": STRING})
