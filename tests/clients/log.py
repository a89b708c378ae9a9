"""Writes down what a client sent, as a page of the docs."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.clients.relay import Exchange

INTRODUCTION = (
    "Written by `make test-clients`: each kind of request once, in the order in which they came, with",
    "the contents removed. Headers whose values tell of a person or a machine are only named. Every",
    "request carries these:",
)
_IN_LINES = ("messages", "system", "contents")


def written(head: str, titles: Mapping[str, str], log: Mapping[str, list[Exchange]]) -> str:
    """The log as a page that begins with ``head``; ``titles`` are those of its scenarios."""
    everything = [exchange for exchanges in log.values() for exchange in exchanges]
    common = {
        name: value
        for name, value in everything[0].headers.items()
        if all(exchange.headers.get(name) == value for exchange in everything)
    }
    shown = [f"{name}: {value}" for name, value in common.items()]
    lines = [head.strip("\n"), "", *INTRODUCTION, "", "```text", *shown, "```"]
    for name, exchanges in log.items():
        lines += ["", f"## {titles[name]}"]
        kinds = {request_text(exchange, common): exchange.status for exchange in exchanges}
        for text, status in kinds.items():
            lines += ["", f"Answered with {status}:", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def request_text(exchange: Exchange, common: Mapping[str, str]) -> str:
    """A request as text: the line, the headers that not all have, the members of the body."""
    headers = {name: value for name, value in exchange.headers.items() if name not in common}
    betas = headers.pop("anthropic-beta", "")
    lines = [exchange.request, *(f"{name}: {value}" for name, value in headers.items())]
    if betas:
        lines += ["anthropic-beta:", *(f"  {beta}" for beta in betas.split(","))]
    lines.append("")
    shape = dict(exchange.shape or {})
    if "/count_tokens" in exchange.request and shape.get("tools"):
        shape["tools"] = "some"  # each on its own, and together
    for name, value in shape.items():
        if name in _IN_LINES and isinstance(value, list):
            lines += [f"{name}:", *(f"  {json.dumps(turn)}" for turn in value)]
        else:
            lines.append(f"{name}: {json.dumps(value)}")
    notes = exchange.answer.get("x-isthmus-notes")
    return "\n".join([*lines, *(["", f"(answered with the notes: {notes})"] if notes else [])])
