"""The tables of the pages in docs/ that are written from the code.

`python -m isthmus.reference docs` brings these files up to date; tests compare them.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from isthmus import dialect_pages
from isthmus.backend_settings import BACKEND_TYPES, BackendConfig
from isthmus.cli import app
from isthmus.dialect_pages import table
from isthmus.profile_settings import PriceConfig, ProfileConfig
from isthmus.routing.parameters import ALIASES, EVERY, PARAMETERS
from isthmus.routing.retry import RULES, STOP
from isthmus.routing.selector import OPTIONS
from isthmus.routing_settings import ModelDefaults, ModelLimits, RetryConfig, RewriteConfig
from isthmus.settings import (
    CONFIG_VARIABLE,
    SETTINGS,
    AuthConfig,
    Config,
    Limits,
    ResponsesConfig,
    Timeouts,
    TlsConfig,
    VaultConfig,
)

SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("", Config),
    ("backends.NAME.", BackendConfig),
    ("model_aliases.N.", RewriteConfig),
    ("model_defaults.NAME.", ModelDefaults),
    ("model_defaults.NAME.limits.", ModelLimits),
    ("profiles.NAME.", ProfileConfig),
    ("profiles.NAME.prices.", PriceConfig),
    ("retry.", RetryConfig),
    ("auth.", AuthConfig),
    ("tls.", TlsConfig),
    ("limits.", Limits),
    ("timeouts.", Timeouts),
    ("vault.", VaultConfig),
    ("responses.", ResponsesConfig),
)


_YAML = {"None": "", "{}": "", "[]": "", "False": "false", "True": "true"}
"""Defaults as a file would say them; those that say nothing are not shown."""


def tables() -> dict[str, str]:
    """Each generated part of the documentation, as Markdown, by the name in its markers."""
    return {
        **dialect_pages.tables(),
        "keys": table(("Key", "Type", "Default", "Meaning"), _keys()),
        "sources": table(("Key", "Flag", "Environment"), _sources()),
        "types": table(("Type", "Key from", "Address", "Meaning"), _types()),
        "options": table(("Option", "Environment", "Meaning"), _options("serve")),
        "explain": table(("Option", "Default", "Meaning"), _explain()),
        "retry": table(("Failure", "What is tried next", "Again", "Its key"), _retry()),
        "simulate": table(("Option", "Default", "Meaning"), _simulate()),
        "parameters": table(
            ("Parameter", "Value", "In a Messages body", "Backends", "In the model's profile"),
            _selector_parameters(),
        ),
        "brackets": table(("Option", "Value", "Where"), _selector_options()),
    }


def filled(page: str) -> str:
    """A page with the text between `<!-- generated: NAME -->` and `<!-- end -->` renewed."""
    parts = tables()
    return re.sub(
        r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}\n{parts[match[2]]}\n{match[3]}",
        page,
        flags=re.DOTALL,
    )


def _keys() -> Iterator[Sequence[str]]:
    for prefix, section in SECTIONS:
        for name, field in section.model_fields.items():
            if isinstance(field.default, BaseModel):
                continue  # its keys have rows of their own
            default = (
                "" if field.is_required() else str(field.get_default(call_default_factory=True))
            )
            default = _YAML.get(default, default)
            shown = f"`{default.removesuffix('.0')}`" if default else ""
            yield f"`{prefix}{name}`", field.title or "", shown, field.description or ""


def _sources() -> Iterator[Sequence[str]]:
    yield "the file itself", "`--config`", f"`{CONFIG_VARIABLE}`"
    for key, variable, flag in SETTINGS:
        yield f"`{key}`", f"`{flag}`" if flag else "", f"`{variable}`"
    for name, row in BACKEND_TYPES.items():
        if row.key_variable:
            variables = ", ".join(f"`{row.key_variable}{suffix}`" for suffix in ("", "_1", "_2"))
            yield f"key, or keys, of a backend of type `{name}`", "", f"{variables} and so on"
    yield "`proxy` of a backend", "", "`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, or in lower case"


def _types() -> Iterator[Sequence[str]]:
    for name, row in BACKEND_TYPES.items():
        key = f"`{row.key_variable}`" if row.key_variable else "none needed"
        yield f"`{name}`", key, f"`{row.base_url}`" if row.base_url else "", row.meaning


def _parameters(command: str) -> Iterator[Any]:
    group: Any = typer.main.get_command(app)
    return (parameter for parameter in group.commands[command].params if parameter.name != "help")


def _options(command: str) -> Iterator[Sequence[str]]:
    for parameter in _parameters(command):
        meaning, _, variable = parameter.help.rpartition(" [")
        yield f"`{parameter.opts[0]}`", f"`{variable.rstrip(']')}`", meaning


def _explain() -> Iterator[Sequence[str]]:
    shared = {parameter.name for parameter in _parameters("serve")}
    for parameter in _parameters("explain"):
        if parameter.name not in shared and parameter.opts[0].startswith("--"):
            default = f"`{parameter.default}`" if parameter.default else ""
            yield f"`{parameter.opts[0]}`", default, parameter.help


def _simulate() -> Iterator[Sequence[str]]:
    for parameter in _parameters("simulate"):
        names = [*parameter.opts, *parameter.secondary_opts]
        default = "on" if parameter.default is True else f"`{parameter.default}`"
        yield " / ".join(f"`{name}`" for name in names), default, parameter.help


def _selector_parameters() -> Iterator[Sequence[str]]:
    for name, row in PARAMETERS.items():
        names = [name, *(other for other, own in ALIASES.items() if own == name)]
        dialects = "all" if row.dialects == EVERY else ", ".join(row.dialects)
        place, key = (f"`{text}`" if text else "" for text in (row.place, row.key))
        yield ", ".join(f"`{text}`" for text in names), row.range.words, place, dialects, key


def _selector_options() -> Iterator[Sequence[str]]:
    for name, row in OPTIONS.items():
        where = f"among models with `{row.mark}` between them" if row.mark else "anywhere"
        yield f"`{name}`", row.range.words, where


_NEXT = {
    "stop": "nothing: the client is told",
    "key": "another key, then the next target",
    "backend": "a key of another backend, then the next target",
    "target": "the next target",
    "window": "the next target with a larger window",
}
_KEY = {
    "none": "",
    "cool": "rests for this family of models until the time is over",
    "cool_long": "rests for `retry.long_cool_seconds`",
    "bench": "rests for `retry.bench_seconds`, then one request tries it",
    "fail": "rests for `retry.eject_seconds` after `retry.failures` in a row, longer each time",
}


def _retry() -> Iterator[Sequence[str]]:
    for rule in (*RULES, STOP):
        again = "yes" if rule.again else "no"
        yield rule.what, _NEXT[rule.then], again, _KEY[rule.effect]


PAGES = (
    "configuration.md",
    "cli.md",
    "uri-model-parameters.md",
    "failover.md",
    *dialect_pages.PAGES,
)


def main(folder: Path) -> None:
    """Renew the generated parts of the pages in `folder`."""
    for name in PAGES:
        page = folder / name
        page.write_text(filled(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
