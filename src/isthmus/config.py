"""Where the configuration comes from: flags, environment, file and defaults, in this order.

Everything that is wrong is found before anything is bound, and reported at once with its place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from isthmus import yamldoc
from isthmus.backend_settings import BACKEND_TYPES, BackendConfig, key_variables
from isthmus.checks import CHECKS, dotted, is_loopback
from isthmus.proxies import from_environment
from isthmus.routing_settings import rewrites_in, rewrites_of
from isthmus.settings import (
    CONFIG_FILE,
    CONFIG_VARIABLE,
    SETTINGS,
    AuthConfig,
    Config,
    Limits,
    Setting,
    Timeouts,
    first_backend,
    leaves,
    pools,
    section_at,
)
from isthmus.yamldoc import Document, KeyPath, did_you_mean, quoted

__all__ = [
    "BACKEND_TYPES",
    "SETTINGS",
    "AuthConfig",
    "BackendConfig",
    "Config",
    "ConfigError",
    "ConfigErrors",
    "Limits",
    "Resolved",
    "Setting",
    "Timeouts",
    "first_backend",
    "is_loopback",
    "key_variables",
    "leaves",
    "load",
    "pools",
]

# What pydantic calls a mistake, where its own words are not ours. A template sees its context.
_MESSAGES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a section of `key: value` lines",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "string_type": "must be text: put it in quotes",
    "model_attributes_type": "must be a section of `key: value` lines",
    "model_type": "must be a section of `key: value` lines",
}


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One mistake. `line` and `column` count from 1; `source` names a variable or a flag."""

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    key: str = ""
    source: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return ": ".join(part for part in (place or self.source, self.key, self.message) if part)


class ConfigErrors(Exception):
    """Everything that is wrong with a configuration; `str()` gives a line for each mistake."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = list(errors)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A configuration that can be served, and where each value of it came from.

    `sources` has a row for each key of `leaves(config)`: "default", "file PATH:LINE" (with
    "via ${NAME}" where a reference was filled in), "environment NAME" or "flag --name".
    """

    config: Config
    sources: Mapping[str, str]


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Resolved:
    """Resolve the configuration.

    `path` is the file that was asked for; without one it is `ISTHMUS_CONFIG`, else `config.yaml`
    in the working directory where there is one. `flags` maps keys ("anthropic_port") to what the
    command line gives; None counts as not given, as does an empty variable.

    Raises ConfigErrors with every mistake: those of the file in its order, then the others.
    """
    draft = _Draft(_file(path, environ))
    draft.lay_over(environ, flags)
    draft.supply_keys(environ)
    draft.supply_proxies(environ)
    config = draft.validated()
    for check in CHECKS:
        for where, message in check(config, draft):
            draft.report(where, message)
    if draft.errors:
        raise ConfigErrors(sorted(draft.errors, key=_in_reading_order))
    sources = {dotted(key): draft.source(key, value) for key, value in leaves(config)}
    return Resolved(config, sources)


def _file(path: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, Document]:
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    if path is None and CONFIG_FILE.exists():
        path = CONFIG_FILE
    return path, yamldoc.read(path, environ) if path else Document()


def _in_reading_order(error: ConfigError) -> tuple[bool, int, int]:
    return (error.file is None, error.line or 0, error.column or 0)


def _split(text: str) -> list[str]:
    # "a,b," is two keys, but "," is a mistake and must not pass for "no keys wanted".
    parts = [part.strip() for part in text.split(",")]
    return [part for part in parts if part] or [""]


def _place(detail: ErrorDetails) -> KeyPath:
    """The path of a mistake; of `api_keys` pydantic also says as which of its two forms it was read."""
    path = detail["loc"]
    of_keys = path[:1] == ("backends",) and path[2:3] == ("api_keys",)
    return path[:3] + path[4:] if of_keys else path


_IN_ENVIRONMENT: Mapping[str, Callable[[str], object]] = {
    "auth.keys": _split,
    "model_aliases": rewrites_in,
}
_OF_FLAG: Mapping[str, Callable[[Any], object]] = {"model_aliases": rewrites_of}
"""What reads a setting that is more than one value."""


class _Draft:
    """The configuration while its sources are laid over each other and mistakes are collected."""

    def __init__(self, file: tuple[Path | None, Document]) -> None:
        self.path, self.document = file
        self.data = self.document.data
        # What an environment variable or a flag has set.
        self.overlaid: dict[KeyPath, str] = {}
        # Values that a reported mistake keeps us from knowing: nothing is concluded from them.
        self.unknown = set(self.document.unknown)
        self.errors: list[ConfigError] = []
        for path, mark, message in self.document.problems:
            self._add(path, message, mark)

    def _add(self, path: KeyPath, message: str, mark: yamldoc.Mark | None) -> None:
        line, column = mark or (None, None)
        self.errors.append(ConfigError(message, str(self.path), line, column, dotted(path)))

    def lay_over(self, environ: Mapping[str, str], flags: Mapping[str, object]) -> None:
        """Put flags, else environment variables, over what the file says."""
        for key, variable, flag in SETTINGS:
            given = (
                (flags.get(key), f"flag {flag}", _OF_FLAG.get(key)),
                (
                    environ.get(variable) or None,
                    f"environment {variable}",
                    _IN_ENVIRONMENT.get(key),
                ),
            )
            for said, source, read in given:
                value = self._read(key, said, source, read)
                if value is not None:
                    self._put(tuple(key.split(".")), value, source)
                    break

    def _read(
        self, key: str, said: Any, source: str, read: Callable[[Any], object] | None
    ) -> object:
        """What a flag or a variable says, in the form of the file; None for nothing."""
        if said is None or read is None:
            return said
        try:
            return read(said)
        except ValueError as error:
            self.errors.append(ConfigError(str(error), key=key, source=source))
            self.unknown.add(tuple(key.split(".")))
            return None

    def _put(self, path: KeyPath, value: object, source: str) -> None:
        section = self.data
        for part in path[:-1]:
            if section.get(str(part)) is None:
                section[str(part)] = {}
            inner = section[str(part)]
            if not isinstance(inner, dict):
                return  # reported as what it is: no section
            section = inner
        section[str(path[-1])] = value
        self.overlaid[path] = source
        self.unknown.discard(path)

    def supply_keys(self, environ: Mapping[str, str]) -> None:
        """Give each backend without a key of its own those that its type's variables hold."""
        if self.data.get("backends") in (None, {}) and not self.is_unknown(("backends",)):
            self.data["backends"] = {name: dict(of) for name, of in Config.NO_BACKENDS.items()}
        backends = self.data.get("backends")
        for name, backend in backends.items() if isinstance(backends, dict) else ():
            path: KeyPath = ("backends", name)
            if not isinstance(backend, dict) or backend.get("api_key") is not None:
                continue
            row = BACKEND_TYPES.get(str(backend.get("type")))
            given = (*path, "api_key"), (*path, "api_keys")
            taken = backend.get("api_keys") not in (None, [], {}) or self.is_unknown(*given)
            if row and row.key_variable and not taken:
                backend.pop("api_keys", None)
                self._put_keys(path, environ, key_variables(environ, row.key_variable))

    def _put_keys(
        self, path: KeyPath, environ: Mapping[str, str], variables: Mapping[str, str]
    ) -> None:
        """Lay the keys of a backend's variables over it, the only one as its `api_key`.

        Beside others the variable without a number has the label 0.
        """
        for suffix, variable in variables.items():
            key: KeyPath = (*path, "api_keys", suffix or "0")
            if suffix.startswith("0"):
                self.unknown.add(key[:-1])
                rule = "a number behind it is 1 or more and does not begin with 0"
                error = ConfigError(rule, source=f"environment {variable}")
                self.errors += [error] if error not in self.errors else []
            elif list(variables) == [""]:
                self._put((*path, "api_key"), environ[variable], f"environment {variable}")
            else:
                self._put(key, environ[variable], f"environment {variable}")

    def supply_proxies(self, environ: Mapping[str, str]) -> None:
        """Give each backend without a proxy of its own the one that the environment names."""
        backends = self.data.get("backends")
        for name, backend in backends.items() if isinstance(backends, dict) else ():
            if isinstance(backend, dict) and backend.get("proxy") is None:
                row = BACKEND_TYPES.get(str(backend.get("type")))
                url = backend.get("base_url") or (row.base_url if row else None)
                found = from_environment(environ, str(url or ""))
                if found is not None:
                    variable, proxy = found
                    self._put(("backends", name, "proxy"), proxy, f"environment {variable}")

    def validated(self) -> Config:
        """The configuration without its wrong values, each of which is reported."""
        # What a later round finds only follows from what the first one took away.
        for first in (True, False, False):
            try:
                return Config.model_validate(self.data)
            except ValidationError as error:
                details = error.errors(include_url=False, include_input=False)
                for detail in details:
                    follows = detail["type"] == "missing" and self.is_unknown(_place(detail))
                    if first and not follows:
                        self._report_detail(detail)
                for detail in details:
                    self._take_away(_place(detail))
        return Config()

    def _report_detail(self, detail: ErrorDetails) -> None:
        path, context = _place(detail), detail.get("ctx", {})
        if detail["type"] == "extra_forbidden":
            known = section_at(path[:-1]).model_fields
            near = did_you_mean(str(path[-1]), known) or f"; known here: {', '.join(known)}"
            message, set_by = f"unknown key {quoted(str(path[-1]))}{near}", self.overlay(path)
            if set_by:
                self.report(path[:-1], message)
            else:
                self._add(path[:-1], message, self.document.keys.get(path))
            return
        message = _MESSAGES.get(detail["type"], detail["msg"]).format_map(context)
        if detail["type"] == "value_error":
            message = str(context["error"])
        if detail["type"] in ("missing", "literal_error") and path[-1] == "type":
            written = self.given(path)
            near = did_you_mean(written, BACKEND_TYPES) if isinstance(written, str) else ""
            message = f"must be one of {', '.join(BACKEND_TYPES)}{near}"
        self.report(path, message)

    def given(self, path: KeyPath) -> object:
        """What the sources say for a key; None where they say nothing."""
        value: object = self.data
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def _take_away(self, path: KeyPath) -> None:
        # A list goes as a whole, so that the places of the others in it stay true; so do the keys
        # of a backend, and a backend of which we do not know what it is.
        path = path[:-1] if path[-1:] == ("[key]",) else path
        whole = next((n for n, part in enumerate(path) if isinstance(part, int)), len(path))
        path = path[:whole]
        if path[:1] == ("backends",) and path[2:3] == ("api_keys",):
            path = path[:3]
        if path[:1] == ("backends",) and path[2:] == ("type",):
            path = path[:2]
        section = self.given(path[:-1])
        if path and isinstance(section, dict):
            section.pop(path[-1], None)
        self.unknown.add(path)

    def is_unknown(self, *paths: KeyPath) -> bool:
        """Whether a reported mistake stands at one of these paths or above it."""
        return any(path[:n] in self.unknown for path in paths for n in range(len(path) + 1))

    def overlay(self, path: KeyPath) -> str | None:
        return next((s for at, s in self.overlaid.items() if path[: len(at)] == at), None)

    def source(self, path: KeyPath, value: object) -> str:
        """Where a resolved value came from, in the words of `Resolved.sources`."""
        set_by = self.overlay(path)
        mark = self.document.values.get(path)
        # A null in the file that was resolved to something else is no source.
        if set_by or mark is None or (value is not None and self.given(path) is None):
            return set_by or "default"
        references = self.document.references.items()
        used = [name for at, names in references if at[: len(path)] == path for name in names]
        via = f" via {', '.join(dict.fromkeys(used))}" if used else ""
        return f"file {self.path}:{mark.line}{via}"

    def report(self, path: KeyPath, message: str) -> None:
        """Record a mistake at the value of `path`, or where the nearest part of it stands."""
        set_by = self.overlay(path)
        if set_by:
            self.errors.append(ConfigError(message, key=dotted(path), source=set_by))
            return
        for length in range(len(path), 0, -1):
            # An item of a list has no key of its own.
            whole = length == len(path) or isinstance(path[length - 1], int)
            marks = self.document.values if whole else self.document.keys
            if path[:length] in marks:
                self._add(path, message, marks[path[:length]])
                return
        self.errors.append(ConfigError(message, key=dotted(path)))

    def backend_names(self) -> list[str]:
        """The names that the sources give, those of backends with mistakes in them too."""
        backends = self.given(("backends",))
        spoilt = [str(path[1]) for path in self.unknown if len(path) == 2 and path[0] == "backends"]
        return list(dict.fromkeys([*(backends if isinstance(backends, dict) else ()), *spoilt]))
