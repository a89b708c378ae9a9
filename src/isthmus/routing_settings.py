"""What the configuration says of routing: rewrites, what a model is given by default, and repeats."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

from pydantic import Field, field_validator

from isthmus import wire
from isthmus.routing.parameters import read
from isthmus.routing.rules import Rules, compiled, template
from isthmus.sections import (
    VISIBLE,
    Failures,
    Line,
    Percent,
    Rate,
    Repeats,
    Seconds,
    Section,
    SelectorText,
    Tokens,
)
from isthmus.yamldoc import KeyPath, quoted

Found = Iterator[tuple[KeyPath, str]]
"""The paths and the messages of mistakes."""

LONGEST_NAME = 128


class RewriteConfig(Section):
    """One rule: a row of `model_aliases`."""

    pattern: Line = Field(
        title="RE2 pattern", description="What the whole name that a client asks for must match."
    )
    replacement: SelectorText = Field(
        title="selector",
        description="What stands for it: any selector, with `\\1` to `\\9` for the pattern's groups and "
        "`\\0` for the whole name.",
    )


class ModelLimits(Section):
    """How long a prompt may be: `model_defaults.NAME.limits`."""

    PARTIAL: ClassVar[bool] = True

    context_window: Tokens | None = Field(
        None, title="tokens", description="The longest prompt and answer together."
    )
    max_input_tokens: Tokens | None = Field(None, title="tokens", description="The longest prompt.")


class ModelDefaults(Section):
    """What a model is given where neither the selector nor the request says it: `model_defaults.NAME`."""

    PARTIAL: ClassVar[bool] = True

    parameters: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        title="value for each name",
        description="Parameters as they may stand in a selector, such as `temperature` and `effort`.",
    )
    limits: ModelLimits = ModelLimits()

    @field_validator("parameters")
    @classmethod
    def _read(cls, given: dict[str, Any]) -> dict[str, Any]:
        # What cannot be read stays, for `wrong_defaults` to tell it with its place.
        return {own: value for _, own, value, _ in _readings(given)}


class RetryConfig(Section):
    """How often a request is repeated, and how long a key is left alone that failed."""

    repeats: Repeats = Field(
        2, title="count", description="How often one target may be asked again for a request."
    )
    budget_percent: Percent = Field(
        20.0,
        title="percent",
        description="How many of all requests may be such repeats, beside `budget_per_second`.",
    )
    budget_per_second: Rate = Field(
        10.0, title="number", description="How many such repeats a second there may be in any case."
    )
    cool_seconds: Seconds = Field(
        60.0,
        title="seconds",
        description="That a limited key is left alone where the provider's own time cannot be read.",
    )
    long_cool_seconds: Seconds = Field(
        600.0,
        title="seconds",
        description="The same where the provider names no time, or an account's money is spent.",
    )
    longest_cool_seconds: Seconds = Field(
        3600.0,
        title="seconds",
        description="The most that a limited key is left alone, whatever the provider says.",
    )
    bench_seconds: Seconds = Field(
        300.0, title="seconds", description="Until a refused key is tried again, once."
    )
    failures: Failures = Field(
        5, title="count", description="Failures in a row after which a key is left alone."
    )
    eject_seconds: Seconds = Field(
        30.0,
        title="seconds",
        description="For how long; doubled each time that it fails again, up to 10 times as long.",
    )


def rules_of(rows: Sequence[RewriteConfig]) -> Rules:
    """The rules of `model_aliases`. Raises ValueError for what `wrong_rewrites` tells of."""
    return Rules([(row.pattern, row.replacement) for row in rows])


def rewrites_in(text: str) -> object:
    """The rules of an environment variable: JSON in the form of the file; None for an empty list.

    Raises ValueError for what is no JSON list. Whether its rows are right is judged with the file's.
    """
    try:
        rows = wire.loads(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        rows = None
    if not isinstance(rows, list):
        rule = 'must be a JSON list such as [{"pattern": "gpt-.*", "replacement": "NAME"}]'
        raise ValueError(rule)
    return cast("list[object]", rows) or None


def rewrites_of(flags: Sequence[str]) -> object:
    """The rules of `--model-alias 'PATTERN=REPLACEMENT'`, split at the first `=`; None for none.

    Raises ValueError for one without `=`.
    """
    rows: list[dict[str, str]] = []
    for flag in flags:
        pattern, equals, replacement = flag.partition("=")
        if not equals:
            raise ValueError(f"{quoted(flag)} must be PATTERN=REPLACEMENT")
        rows.append({"pattern": pattern, "replacement": replacement})
    return rows or None


def wrong_rewrites(rows: Sequence[RewriteConfig], fault_of: Callable[[str], str | None]) -> Found:
    """What no single key can tell. ``fault_of`` says what is wrong with a selector."""
    for place, row in enumerate(rows):
        path: KeyPath = ("model_aliases", place)
        try:
            groups = compiled(row.pattern).groups
        except ValueError as error:
            yield (*path, "pattern"), str(error)
            continue
        try:
            pieces = template(row.replacement, groups)
        except ValueError as error:
            yield (*path, "replacement"), str(error)
            continue
        # With a group in it, it is a selector only once there is a name.
        whole = "".join(piece for piece in pieces if isinstance(piece, str))
        fault = fault_of(whole) if not any(isinstance(piece, int) for piece in pieces) else None
        if fault:
            yield (*path, "replacement"), fault


def wrong_defaults(sections: Mapping[str, ModelDefaults]) -> Found:
    """What is wrong with the names, parameters and limits of `model_defaults`."""
    for name, section in sections.items():
        path: KeyPath = ("model_defaults", name)
        if not VISIBLE.fullmatch(name) or set(name) & set("?|^!") or len(name) > LONGEST_NAME:
            yield (
                path,
                f"visible ASCII characters but ?|^! make the name of a model, at most {LONGEST_NAME}",
            )
        for parameter, _, _, fault in _readings(section.parameters):
            if fault:
                yield (*path, "parameters", parameter), fault
        window, prompt = section.limits.context_window, section.limits.max_input_tokens
        if window is not None and prompt is not None and prompt > window:
            at = (*path, "limits", "max_input_tokens")
            yield at, f"max_input_tokens {prompt} is above context_window {window}"


def _readings(given: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, str]]:
    """Each parameter as it is named, its own name and value, and what is wrong with it."""
    before: set[str] = set()
    for name, value in given.items():
        try:
            own, meant = read(name, value, before)
        except ValueError as mistake:
            yield name, name, value, str(mistake)
        else:
            before.add(own)
            yield name, own, meant, ""
