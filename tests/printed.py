"""What a page prints, ready to be run: curl commands, other commands, configs, JSON, tables.

The seed page (``shared/reference`` beside the checkout, absent in a bare clone) came as text: its
blocks have lost their fences and their indentation, and some begin where another one ends.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
SEED = next(iter(sorted((ROOT.parent / "shared" / "reference").glob("000_*.txt"))), None)
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
_CURL = re.compile(r"(?:\b|(?<=anthropic))curl (?:[^'`]|'[^']*')*?-d '[^']*'")
_COMMAND = re.compile(
    r"(?m)(?:^|^\$ |`)((?:isthmus|python -m src\.core\.cli)(?: +(?:[-\w./]+|'[^'\n]*'))*)"
    r"(?=[`#\n]|$)"
)
_EXPORT = re.compile(r"export (\w+)=(\"[^\"]*\"|[^\s\"#]+)")
ELLIPSIS = '[{"role": "user", "content": "Hello"}]'
"""What stands for the ``[...]`` that the seed page puts in place of a conversation."""


def seed() -> str:
    """The seed page, or nothing where it is absent: then there is nothing on it to run."""
    return SEED.read_text("utf-8") if SEED else ""


@dataclass(frozen=True, slots=True)
class Curl:
    """A printed curl command as the request that it sends; ``path`` has its query."""

    method: str
    host: str
    port: int
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


def curls(text: str) -> list[Curl]:
    """The curl commands of a page, each of which ends with its ``-d``."""
    return [curl(printed) for printed in _CURL.findall(text)]


def curl(printed: str) -> Curl:
    """Read a command as a shell and curl would. Fails on an option that is not known here."""
    words = iter(shlex.split(printed.replace("\\\n", " "))[1:])
    method, url, data = "", "", ""
    headers: dict[str, str] = {}
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(":")
            headers[name.lower()] = value.strip()
        elif word == "-d":
            data = next(words)
        elif not word.startswith("-"):
            url = word
        elif word not in ("-N", "-s", "-i"):
            raise ValueError(f"curl {word}: not known here")
    place = urlsplit(url)
    path = f"{place.path}?{place.query}" if place.query else place.path
    headers.setdefault("content-type", "application/x-www-form-urlencoded")
    return Curl(
        *(method or "POST", place.hostname or "", place.port or 80, path, headers, data.encode())
    )


def commands(text: str) -> list[list[str]]:
    """The commands of ours that a page prints, in blocks or between backticks, each once."""
    found = [tuple(shlex.split(printed)) for printed in _COMMAND.findall(text)]
    return [list(words) for words in dict.fromkeys(found)]


def exports(text: str) -> list[tuple[str, str]]:
    """The environment variables that a page sets."""
    return [(name, value.strip('"')) for name, value in _EXPORT.findall(text)]


def configs(text: str) -> list[str]:
    """The YAML files of a page: the blocks of ours, and what follows ``# config.yaml`` in the seed."""
    if "```" in text:
        return [body for language, body in FENCE.findall(text) if language == "yaml"]
    found = []
    for part in re.split(r"(?=# config\.yaml)", text)[1:]:
        lines = re.split(r"curl |\nOr |\nexport ", part)[0].splitlines()
        keyed = [line for line in lines[1:] if re.match(r'\w+: ?["\w]*', line)]
        found.append("\n".join([lines[0], *_indented(keyed)]) + "\n")
    return found


def _indented(lines: Sequence[str]) -> Iterator[str]:
    """Give the lines of a section back the indentation that the seed's text has lost."""
    depth = 0
    for line in lines:
        if line.startswith(("default_backend", "host", "port", "anthropic_port")):
            depth = 0
        yield "  " * depth + line
        depth += line.endswith(":")


def fragments(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a page that stand outside of its curl commands."""
    if "```" in text:
        return [json.loads(body) for language, body in FENCE.findall(text) if language == "json"]
    rest = _CURL.sub("", text).replace("[...]", ELLIPSIS)
    found: list[dict[str, Any]] = []
    position = 0
    while match := re.compile(r"(?m)^\{$").search(rest, position):
        value, position = json.JSONDecoder().raw_decode(rest, match.start())
        found.append(value)
    return found


def table(text: str, heading: str, number: int = 0) -> list[tuple[str, ...]]:
    """The rows of a table, without backticks: of the first whose first column has this heading."""
    lines = text.splitlines()
    rules = [n for n, line in enumerate(lines) if re.match(r"\|(?: ?---)", line)]
    starts = [n for n in rules if lines[n - 1].startswith(f"| {heading} |")]
    start = starts[number]
    cells: list[str] = []
    for n in range(start + 1, len(lines)):
        if not lines[n].endswith("|") or n + 1 in rules:
            break
        cells += [cell.strip().replace("`", "") for cell in lines[n].strip("|").split("|")]
    columns = lines[start].count("|") - 1
    return [tuple(cells[n : n + columns]) for n in range(0, len(cells), columns)]
