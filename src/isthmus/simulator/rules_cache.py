"""Rules of `cache_control`: at most four breakpoints, longer lifetimes first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .conversation import Request, system_blocks
from .errors import Refusal

MAX_BREAKPOINTS = 4


def nested(path: str, block: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A block and the blocks inside a tool result or a document's content."""
    inner = block.get("content")
    if block.get("type") == "document":
        inner = block["source"].get("content")
        path = f"{path}.source"
    if block.get("type") in ("tool_result", "document") and isinstance(inner, list):
        for index, part in enumerate(inner):
            yield from nested(f"{path}.content.{index}", part)
    yield path.removesuffix(".source"), block


def breakpoints(request: Request) -> list[tuple[str, str]]:
    """Path and ttl of every explicit breakpoint, in the provider's order."""
    places: list[tuple[str, dict[str, Any]]] = []
    places.extend((f"tools.{index}", tool) for index, tool in enumerate(request.tools))
    places.extend(
        (f"system.{index}", block) for index, block in enumerate(system_blocks(request.body))
    )
    for turn in request.turns:
        for item in turn.blocks:
            places.extend(nested(item.path, item.block))
    return [
        (path, block["cache_control"].get("ttl", "5m"))
        for path, block in places
        if block.get("cache_control")
    ]


def check_cited_documents(request: Request) -> None:
    """The parts of a document with citations have no breakpoints of their own."""
    for turn in request.turns:
        for item in turn.blocks:
            if item.kind != "document" or not (item.block.get("citations") or {}).get("enabled"):
                continue
            content = item.block["source"].get("content")
            for index, part in enumerate(content if isinstance(content, list) else []):
                if part.get("cache_control"):
                    raise Refusal(
                        f"{item.path}.document.source.content.{index}.cache_control: cache_control is not allowed "
                        "inside a document with citations"
                    )


def check_cache(request: Request) -> None:
    """Count, order, and the automatic breakpoint."""
    check_cited_documents(request)
    found = breakpoints(request)
    automatic = request.body.get("cache_control")
    total = len(found) + (1 if automatic else 0)
    if automatic and request.turns and request.turns[-1].blocks:
        own = request.turns[-1].blocks[-1].block.get("cache_control")
        ttl = automatic.get("ttl", "5m")
        if own and own.get("ttl", "5m") != ttl:
            raise Refusal(
                f"Top-level cache_control has ttl='{ttl}' but the target block already has cache_control with "
                f"ttl='{own.get('ttl', '5m')}'"
            )
        total -= 1 if own else 0
        found = found if own else [*found, ("cache_control", ttl)]
    if total > MAX_BREAKPOINTS:
        raise Refusal(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {total}."
        )
    short_seen = False
    for path, ttl in found:
        if ttl == "1h" and short_seen:
            raise Refusal(
                f"{path}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: `tools`, `system`, "
                "`messages`."
            )
        short_seen = short_seen or ttl == "5m"
