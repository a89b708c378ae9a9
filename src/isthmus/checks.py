"""What no single field of a configuration can tell: the checks that look at several at once."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from isthmus import sockets
from isthmus.backend_settings import BACKEND_NAME, BACKEND_TYPES, KEY_LABEL, BackendConfig
from isthmus.errors import GatewayError
from isthmus.profile_settings import wrong_profiles
from isthmus.profiles import PACKAGED
from isthmus.routing.route import Router, Table
from isthmus.routing_settings import Found, wrong_defaults, wrong_rewrites
from isthmus.settings import Config, pools
from isthmus.yamldoc import KeyPath, did_you_mean, quoted


class Draft(Protocol):
    """What the checks ask of what the sources gave, mistakes included."""

    def given(self, path: KeyPath) -> Any: ...

    def is_unknown(self, *paths: KeyPath) -> bool: ...

    def backend_names(self) -> list[str]: ...


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach `host`; of names only localhost is trusted."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def dotted(path: KeyPath) -> str:
    text = ".".join(str(part) for part in path)
    return text if text.isprintable() and len(text) <= 200 else quoted(text)[1:-1]


def _wrong_names(_: Config, draft: Draft) -> Found:
    for name in draft.backend_names():
        if not BACKEND_NAME.fullmatch(name):
            rule = "letters, digits and . _ - make the name of a backend, at most 64 of them"
            yield ("backends", name), rule


def _wrong_backends(config: Config, draft: Draft) -> Found:
    for name, backend in config.backends.items():
        path: KeyPath = ("backends", name)
        row = BACKEND_TYPES[backend.type]
        given = (*path, "api_key"), (*path, "api_keys")
        for key in ("base_url", "proxy") if backend.type == "simulator" else ():
            if getattr(backend, key):
                yield (*path, key), f"a simulator has no {key}"
        if name not in draft.backend_names() or draft.is_unknown(*given):
            continue
        if backend.api_key is not None and backend.api_keys:
            yield given[1], "give either api_key or api_keys, not both"
        if row.key_variable and not backend.keys:
            yield path, f"has no key: set {row.key_variable} or {dotted(given[0])}"
        yield from _wrong_keys(backend, given[1])


def _wrong_keys(backend: BackendConfig, path: KeyPath) -> Found:
    if isinstance(backend.api_keys, list):
        yield from _repeated(list(backend.keys.values()), path)
        return
    first: dict[str, str] = {}
    for label, key in backend.keys.items():
        if backend.api_key is None and not KEY_LABEL.fullmatch(label):
            rule = "letters, digits and _ - make the label of a key, at most 64 of them"
            yield (*path, label), rule
        if first.setdefault(key, label) != label:
            yield (*path, label), f"is the same key as {quoted(first[key])}"


def _names_of_keys(config: Config, _: Draft) -> Found:
    for name, backend in config.backends.items():
        for label in backend.keys:
            if label and f"{name}.{label}" in config.backends:
                rule = f"is the name of the key {quoted(label)} of the backend {quoted(name)} too"
                yield ("backends", f"{name}.{label}"), rule


def _wrong_profiles(config: Config, draft: Draft) -> Found:
    return wrong_profiles(config.profiles, draft.is_unknown)


def _wrong_default(config: Config, draft: Draft) -> Found:
    path: KeyPath = ("default_backend",)
    name, names = draft.given(path), list(dict.fromkeys([*pools(config), *draft.backend_names()]))
    if draft.is_unknown(path, ("backends",)):
        return
    if config.default_backend is None and len(draft.backend_names()) > 1:
        yield path, f"is needed where there are several backends: one of {', '.join(names)}"
    if not isinstance(name, str) or name in names or _may_be_meant(name, config, draft):
        return
    hint = did_you_mean(name, names) or f"; there is {', '.join(names)}"
    if name in BACKEND_TYPES:
        hint = f"; the file has to name it: backends: {{{name}: {{type: {name}}}}}"
    yield path, f"no backend is named {quoted(name)}{hint}"


def _may_be_meant(name: str, config: Config, draft: Draft) -> bool:
    """Whether mistakes in backends keep us from knowing what `name` stands for."""
    unsure = _unsure(config, draft)
    spoilt = any(backend not in config.backends for backend in unsure)
    return (spoilt and name in BACKEND_TYPES) or any(name.startswith(f"{n}.") for n in unsure)


def _unsure(config: Config, draft: Draft) -> list[str]:
    """The backends with mistakes that keep us from knowing their type or the labels of their keys."""
    return [
        name
        for name in draft.backend_names()
        if name not in config.backends or draft.is_unknown(("backends", name, "api_keys"))
    ]


def _wrong_selectors(config: Config, draft: Draft) -> Found:
    names = pools(config)
    if draft.is_unknown(("backends",)) or _unsure(config, draft):
        return  # what stands before a colon may be a name or not

    table = Table(names, next(iter(names)), frozenset(BACKEND_TYPES))
    router = Router(table, PACKAGED)

    def fault_of(selector: str) -> str | None:
        try:
            router.route(selector)
        except GatewayError as error:
            return error.message.removeprefix("model: ")
        return None

    fault = fault_of(config.force_model) if config.force_model else None
    if fault:
        yield ("force_model",), fault
    yield from wrong_rewrites(config.model_aliases, fault_of)


def _wrong_defaults(config: Config, _: Draft) -> Found:
    return wrong_defaults(config.model_defaults)


def _wrong_ports(config: Config, draft: Draft) -> Found:
    port, second = config.port, config.anthropic_port
    if port and port == second and not draft.is_unknown(("port",), ("anthropic_port",)):
        yield ("anthropic_port",), f"must be another port than `port`, which is {port} too"


def _wrong_tls(config: Config, draft: Draft) -> Found:
    cert, key = config.tls.cert, config.tls.key
    if draft.is_unknown(("tls",), ("tls", "cert"), ("tls", "key")) or (cert is key is None):
        return
    if cert is None or key is None:
        yield ("tls",), "needs both cert and key"
        return
    problem = sockets.tls_problem(cert, key)
    if problem:
        yield ("tls",), problem


def _open_to_others(config: Config, draft: Draft) -> Found:
    if config.auth.keys or draft.is_unknown(("host",), ("auth", "keys")):
        return
    reached = config.unix_socket is None or config.anthropic_port is not None
    if reached and not is_loopback(config.host):
        rule = "is not a loopback address, so clients need keys"
        yield ("host",), f"{rule}: set ISTHMUS_API_KEYS or auth.keys, or listen on 127.0.0.1"


def _repeated_client_keys(config: Config, _: Draft) -> Found:
    keys = [key.get_secret_value() for key in config.auth.keys]
    yield from _repeated(keys, ("auth", "keys"))


def _repeated(keys: Sequence[str], path: KeyPath) -> Found:
    for place, key in enumerate(keys):
        if key in keys[:place]:
            message = f"the same key stands at places {keys.index(key) + 1} and {place + 1}"
            yield (*path, place), message


CHECKS: tuple[Callable[[Config, Draft], Found], ...] = (
    _wrong_names,
    _wrong_backends,
    _names_of_keys,
    _wrong_profiles,
    _wrong_default,
    _wrong_selectors,
    _wrong_defaults,
    _wrong_ports,
    _wrong_tls,
    _open_to_others,
    _repeated_client_keys,
)
"""Each gives the paths and the messages of what it finds."""
