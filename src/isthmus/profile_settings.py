"""What the configuration may say of a model: ``profiles.NAME``, each key a field of ``Profile``."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from isthmus.profiles import PACKAGED, Profile, Profiles
from isthmus.sections import VISIBLE, Date, Line, Name, Price, Section, Switch, Tokens
from isthmus.yamldoc import KeyPath, did_you_mean, quoted

Effort = Literal["low", "medium", "high", "xhigh", "max"]
Thinking = Literal["adaptive", "enabled", "disabled", "between_tools"]

LONGEST_NAME = 128

_SAME: Any = None
"""The default of each key, which is never read: a key that is not given is as in ``like``."""


class PriceConfig(Section):
    """Dollars per million tokens: `profiles.NAME.prices`."""

    PARTIAL: ClassVar[bool] = True

    input: Price = Field(_SAME, title="dollars", description="Tokens of the prompt.")
    output: Price = Field(_SAME, title="dollars", description="Tokens of the answer.")
    cache_write_5m: Price = Field(
        _SAME, title="dollars", description="Tokens written to the cache for 5 minutes."
    )
    cache_write_1h: Price = Field(
        _SAME, title="dollars", description="Tokens written to the cache for an hour."
    )
    cache_read: Price = Field(_SAME, title="dollars", description="Tokens read from the cache.")


class ProfileConfig(Section):
    """A model that differs from what is known of it, or that is not known: `profiles.NAME`."""

    PARTIAL: ClassVar[bool] = True

    like: Name = Field(
        _SAME,
        title="name of a model",
        description="The model that it is like in all that is not given here, one that is known or "
        "stands above; by default the model of this name, else the newest.",
    )
    display_name: Line = Field(_SAME, title="text", description="Its name in model lists.")
    line: Name | None = Field(
        _SAME,
        title="name or null",
        description="The family of models whose rate limits it shares; null where it has its own.",
    )
    aliases: list[Name] = Field(
        _SAME, title="list of names", description="Other names under which it is asked for."
    )
    status: Literal["active", "deprecated", "retired"] = Field(
        _SAME,
        title="active, deprecated or retired",
        description="A retired model is not shown in model lists.",
    )
    released: Date | None = Field(
        _SAME, title="date or null", description="When it came out, if that is known."
    )
    retires_at: Date | None = Field(
        _SAME, title="date or null", description="From when on it is not served any more."
    )
    context_window: Tokens = Field(
        _SAME, title="tokens", description="The longest prompt and answer together."
    )
    max_output: Tokens = Field(
        _SAME,
        title="tokens",
        description="The longest answer: what `max_tokens` is where it is absent, and at most.",
    )
    thinking: list[Thinking] = Field(
        _SAME,
        title="list of adaptive, enabled, disabled, between_tools",
        description="The values of `thinking.type` that it takes.",
    )
    thinking_default: Literal["always", "on", "off"] = Field(
        _SAME,
        title="always, on or off",
        description="Whether it thinks when `thinking` is absent; `always`: nor can it be told not to.",
    )
    thinking_off_effort: Effort | None = Field(
        _SAME,
        title="level or null",
        description="The highest effort at which thinking may be off; null where any will do.",
    )
    display: Literal["omitted", "summarized"] = Field(
        _SAME,
        title="omitted or summarized",
        description="What is shown of its thinking when `thinking.display` is absent.",
    )
    bound: Switch = Field(
        _SAME,
        title="true or false",
        description="Whether its thinking may only return behind the very conversation that it was "
        "produced in.",
    )
    efforts: list[Effort] = Field(
        _SAME,
        title="list of low, medium, high, xhigh, max",
        description="The levels of `output_config.effort`; an empty list where it is refused.",
    )
    effort_default: Effort | None = Field(
        _SAME, title="level or null", description="The effort when none is given."
    )
    sampling: Literal["free", "one", "default"] = Field(
        _SAME,
        title="free, one or default",
        description="`free`: temperature and top_p; `one`: one of them; `default`: neither.",
    )
    prefill: Switch = Field(
        _SAME,
        title="true or false",
        description="Whether it goes on from a final assistant message.",
    )
    forced_tools: Switch = Field(
        _SAME,
        title="true or false",
        description="Whether it can be forced to call a tool (`tool_choice` any or tool).",
    )
    system_turns: Switch = Field(
        _SAME,
        title="true or false",
        description="Whether `system` may be a role inside `messages`.",
    )
    min_cacheable: Tokens | None = Field(
        _SAME, title="tokens or null", description="The shortest prefix that is cached."
    )
    fast: Switch = Field(_SAME, title="true or false", description="Whether `speed` may be `fast`.")
    geography: Switch = Field(
        _SAME, title="true or false", description="Whether `inference_geo` is taken."
    )
    prices: PriceConfig | None = Field(
        _SAME,
        title="section or null",
        description="Dollars per million tokens; what is not given is as in `like`.",
    )

    def given(self) -> Mapping[str, Any]:
        """The keys that are given with their values, as ``profiles.Profiles.with_model`` takes them."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        if self.prices is not None:
            values["prices"] = self.prices.model_dump(exclude_unset=True)
        return values


def profiles_of(sections: Mapping[str, ProfileConfig]) -> Profiles:
    """The package's table of models with what the configuration says of them."""
    table = PACKAGED
    for name, section in sections.items():
        table = table.with_model(name, section.given())
    return table


def wrong_profiles(
    sections: Mapping[str, ProfileConfig], is_unknown: Callable[[KeyPath], bool]
) -> Iterator[tuple[KeyPath, str]]:
    """What no single key can tell, with the path of each mistake.

    ``is_unknown`` says whether another mistake keeps us from knowing what stands at a path.
    """
    table = PACKAGED
    for name, section in sections.items():
        path: KeyPath = ("profiles", name)
        given = section.given()
        if not VISIBLE.fullmatch(name) or "?" in name or len(name) > LONGEST_NAME:
            rule = (
                f"visible ASCII characters but ? make the name of a model, at most {LONGEST_NAME}"
            )
            yield path, rule
        like = given.get("like", name)
        if "like" in given and not table.known(like) and not is_unknown(("profiles", like)):
            near = did_you_mean(like, table.names)
            yield (*path, "like"), f"no model above this one is named {quoted(like)}{near}"
        for place, alias in enumerate(given.get("aliases", ())):
            if alias != name and any(row.id == alias for row in table.rows):
                yield (*path, "aliases", place), "is the name of another model"
        table = table.with_model(name, given)
        yield from _wrong_row(table.profile(name), given, path)


def _wrong_row(
    row: Profile, given: Mapping[str, Any], path: KeyPath
) -> Iterator[tuple[KeyPath, str]]:
    for key in ("thinking_off_effort", "effort_default"):
        if given.get(key) is not None and given[key] not in row.efforts:
            yield (*path, key), f"is none of its efforts: {', '.join(row.efforts) or 'none'}"
    if row.max_output > row.context_window:
        at = "max_output" if "max_output" in given else "context_window"
        yield (
            (*path, at),
            f"max_output {row.max_output} is above context_window {row.context_window}",
        )
