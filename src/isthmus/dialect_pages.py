"""The tables of docs/dialects/: what is carried, approximated, lost and refused, out of the code.

``isthmus.reference`` puts them into the pages.
"""

from collections.abc import Iterator, Mapping, Sequence

from isthmus.adapt import RULES
from isthmus.errors import KINDS, OUTSIDE_ANTHROPIC
from isthmus.frontends.fates import Fates
from isthmus.frontends.gemini import answers as gemini_answers
from isthmus.frontends.gemini import fates as gemini
from isthmus.frontends.openai_chat import answer as chat_answer
from isthmus.frontends.openai_chat import fates as chat
from isthmus.frontends.openai_responses import answer as responses_answer
from isthmus.frontends.openai_responses import fates as responses

PAGES = (
    *("dialects/anthropic.md", "dialects/gemini.md"),
    *("dialects/openai-chat.md", "dialects/openai-responses.md"),
)

TABLES: Mapping[str, tuple[str, Fates]] = {
    "chat_request": ("Member of the body", chat.REQUEST),
    "chat_roles": ("Role", chat.ROLES),
    "chat_parts": ("Type of part", chat.PARTS),
    "chat_assistant": ("Member of an assistant's message", chat.ASSISTANT),
    "chat_answer": ("Of Claude's answer", chat.ANSWER),
    "responses_request": ("Member of the body", responses.REQUEST),
    "responses_items": ("Type of item", responses.ITEMS),
    "responses_parts": ("Type of part", responses.PARTS),
    "responses_tools": ("Type of tool", responses.TOOLS),
    "responses_answer": ("Of Claude's answer", responses.ANSWER),
    "gemini_request": ("Member of the body", gemini.REQUEST),
    "gemini_config": ("Member of `generationConfig`", gemini.CONFIG),
    "gemini_tools": ("Member of a tool", gemini.TOOLS),
    "gemini_parts": ("Member of a part", gemini.PARTS),
    "gemini_answer": ("Of Claude's answer", gemini.ANSWER),
}
"""By name in the pages: what the first column holds, and the rows."""

REASONS: Mapping[str, tuple[str, Mapping[str, str], str]] = {
    "chat_reasons": ("finish_reason", chat_answer.FINISH, "`tool_calls` after a call, else `stop`"),
    "responses_reasons": (
        "incomplete_details.reason",
        responses_answer.CUT,
        "none: it is `completed`",
    ),
    "gemini_reasons": ("finishReason", gemini_answers.FINISH, "`OTHER`"),
}
"""By name in the pages: the field of the dialect, its values by stop reason, and that of any other."""


def tables() -> dict[str, str]:
    """Each generated part of the pages, as Markdown, by the name in its markers."""
    found = {
        name: table((head, "", "What becomes of it"), _fates(rows))
        for name, (head, rows) in TABLES.items()
    }
    found |= {
        name: table(("`stop_reason`", f"`{field}`"), _reasons(values, other))
        for name, (field, values, other) in REASONS.items()
    }
    errors = (
        ("anthropic", "`type`"),
        *((dialect, "`type` and `code`") for dialect in ("openai-chat", "openai-responses")),
        ("gemini", "`status`"),
    )
    for dialect, head in errors:
        name = f"{dialect.partition('-')[2] or dialect}_errors"
        found[name] = table(("Status", head), _errors(dialect))
    rules = (" ".join((rule.__doc__ or "").split("\n\n")[0].split()) for rule in RULES)
    return {**found, "rules": "".join(f"* {rule}\n" for rule in rules)}


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _fates(rows: Fates) -> Iterator[Sequence[str]]:
    for name, (fate, meaning) in rows.items():
        yield name if " " in name else f"`{name}`", fate, meaning


def _reasons(values: Mapping[str, str], other: str) -> Iterator[Sequence[str]]:
    for reason, value in values.items():
        yield f"`{reason}`", f"`{value}`"
    yield "any other", other


def _errors(dialect: str) -> Iterator[Sequence[str]]:
    found: set[tuple[str, str]] = set()
    for kind in KINDS.values():
        status = kind.status
        if dialect != "anthropic":
            status = OUTSIDE_ANTHROPIC.get(status, status)
        names = {"anthropic": kind.anthropic, "gemini": kind.gemini}
        said = f"`{names.get(dialect, kind.openai)}`"
        if dialect.startswith("openai-") and kind.openai_code:
            said += f", `{kind.openai_code}`"
        found.add((str(status), said))
    yield from sorted(found)
