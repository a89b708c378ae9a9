"""The typed tree of the configuration: each key with its type, default, meaning and what sets it.

Others import these names from `isthmus.config`, which also loads them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, Field, model_validator

from isthmus.backend_settings import BACKEND_TYPES, BackendConfig
from isthmus.profile_settings import PriceConfig, ProfileConfig
from isthmus.request import Place
from isthmus.routing_settings import ModelDefaults, ModelLimits, RetryConfig, RewriteConfig
from isthmus.sections import (
    BodyBytes,
    ClientKey,
    Connections,
    FilePath,
    Host,
    Name,
    Port,
    Seconds,
    Section,
    SocketPath,
    StoreBytes,
    Switch,
    Tokens,
    Workers,
)
from isthmus.yamldoc import KeyPath


class Setting(NamedTuple):
    """One row for each key that an environment variable or a flag can set too."""

    key: str
    variable: str
    flag: str | None


SETTINGS = (
    Setting("host", "ISTHMUS_HOST", "--host"),
    Setting("port", "ISTHMUS_PORT", "--port"),
    Setting("anthropic_port", "ANTHROPIC_PORT", "--anthropic-port"),
    Setting("workers", "ISTHMUS_WORKERS", "--workers"),
    Setting("default_backend", "ISTHMUS_DEFAULT_BACKEND", "--default-backend"),
    Setting("force_model", "ISTHMUS_FORCE_MODEL", "--force-model"),
    Setting("model_aliases", "MODEL_ALIASES", "--model-alias"),
    Setting("force_context_window", "ISTHMUS_FORCE_CONTEXT_WINDOW", "--force-context-window"),
    # No flag: other users of the machine can read a command line.
    Setting("auth.keys", "ISTHMUS_API_KEYS", None),
)
CONFIG_VARIABLE = "ISTHMUS_CONFIG"
CONFIG_FILE = Path("config.yaml")


class AuthConfig(Section):
    """Who may use the gateway."""

    keys: list[ClientKey] = Field(
        default_factory=list,
        title="list of keys",
        description="Keys that clients must present, one of them; "
        "none leaves a loopback address open to local programs.",
    )


class TlsConfig(Section):
    """What the TCP ports speak TLS with; they speak plain HTTP without it."""

    cert: FilePath | None = Field(
        None, title="path", description="The certificate and its chain, a PEM file."
    )
    key: FilePath | None = Field(
        None, title="path", description="The certificate's private key, a PEM file."
    )


class Limits(Section):
    """How much there may be."""

    body_bytes: BodyBytes = Field(
        33_554_432,
        title="bytes",
        description="The largest request body that is accepted, as it comes and decoded.",
    )
    incoming_body_bytes: StoreBytes = Field(
        536_870_912,
        title="bytes",
        description="Of all request bodies together that have not come to their end; a client "
        "beyond that is told to come again (503).",
    )
    connections: Connections | None = Field(
        None,
        title="number or null",
        description="The clients' connections; by default half of what the process may have open.",
    )
    connections_per_backend: Connections = Field(
        10_000,
        title="number",
        description="How many requests to a provider's address run at once, each on a connection; "
        "more wait for 2 seconds at most. Backends with one address count together.",
    )
    connections_per_key: Connections | None = Field(
        None,
        title="number",
        description="The same for each key of a backend; by default a key has no limit of its own.",
    )


class Kept(Section):
    """How much is kept between requests, and for how long."""

    max_bytes: StoreBytes = Field(
        67_108_864,
        title="bytes",
        description="How much is kept at most; what was used longest ago goes first.",
    )
    max_age: Seconds = Field(
        86_400.0, title="seconds", description="How long something is kept after its last use."
    )


class VaultConfig(Kept):
    """What is kept of Claude's answers for clients that cannot give it back."""

    enabled: Switch = Field(
        True,
        title="true or false",
        description="Whether reasoning is kept between the requests of a conversation.",
    )


class ResponsesConfig(Kept):
    """What is kept of responses for clients of OpenAI's Responses API."""

    store: Switch = Field(
        True,
        title="true or false",
        description="Whether responses are kept, unless a client's own `store` is false; "
        "`previous_response_id` needs it.",
    )


class Timeouts(Section):
    """Durations in seconds."""

    connect: Seconds = Field(
        5.0, title="seconds", description="Until the connection to the provider stands."
    )
    first_event: Seconds = Field(
        300.0, title="seconds", description="From the request to the first event of a stream."
    )
    idle: Seconds = Field(
        300.0, title="seconds", description="Between two reads of the provider's answer."
    )
    write: Seconds = Field(
        30.0,
        title="seconds",
        description="For the provider to go on reading a request that it has stopped to read.",
    )
    total: Seconds = Field(
        600.0, title="seconds", description="For a whole answer that is not streamed."
    )
    stream_total: Seconds = Field(
        3600.0, title="seconds", description="For a whole answer that is streamed."
    )
    keepalive: Seconds = Field(
        10.0,
        title="seconds",
        description="Of silence in a stream before the client is sent a ping or a comment.",
    )
    body_idle: Seconds = Field(
        15.0, title="seconds", description="Between two reads of a request body."
    )
    head: Seconds = Field(
        10.0, title="seconds", description="For the head of a request in all, and a TLS handshake."
    )
    client_idle: Seconds = Field(
        75.0, title="seconds", description="Between two requests on a client's connection."
    )
    client_stall: Seconds = Field(
        30.0,
        title="seconds",
        description="That a client may leave its answer unread before it is given up.",
    )
    drain: Seconds = Field(
        300.0,
        title="seconds",
        description="That running answers may go on when the gateway is told to stop.",
    )


class Config(Section):
    """The whole configuration.

    Made directly it checks the fields only; what concerns several fields at once is checked by
    `load`, which is how a server's configuration comes about.
    """

    NO_BACKENDS: ClassVar[Mapping[str, Mapping[str, str]]] = {"anthropic": {"type": "anthropic"}}

    host: Host = Field(
        "127.0.0.1",
        title="address",
        description="The address to listen on; any but a loopback address needs `auth.keys`.",
    )
    port: Port = Field(
        8000, title="port", description="The port that speaks every dialect; 0 takes a free one."
    )
    anthropic_port: Port | None = Field(
        None,
        title="port or null",
        description="A second port that speaks the Anthropic dialect only, at its root; "
        "0 takes a free one.",
    )
    unix_socket: SocketPath | None = Field(
        None,
        title="path",
        description="A unix socket to listen on instead of `host` and `port`.",
    )
    workers: Workers = Field(
        1,
        title="count",
        description="How many processes serve; what is kept between requests is shared by all.",
    )
    default_backend: str | None = Field(
        None,
        title="name of a backend",
        description="Which backend answers a model name that names none, or which of its keys "
        "(`NAME.LABEL`), or all backends of a type; by default the only backend there is, else the "
        "one named `anthropic`.",
    )
    force_model: Name | None = Field(
        None,
        title="selector",
        description="The model that answers, whatever a client asks for and `model_aliases` say.",
    )
    model_aliases: list[RewriteConfig] = Field(
        default_factory=list[RewriteConfig],
        title="list of rewrites",
        description="Rules that turn the model that a client asks for into another; the first that "
        "matches counts.",
    )
    force_context_window: Tokens | None = Field(
        None,
        title="tokens or null",
        description="How long a prompt and its answer may be together, for every model.",
    )
    strict: Switch = Field(
        False,
        title="true or false",
        description="Whether a request is refused when a field of it would have to be dropped or "
        "changed; a request's own header `x-isthmus-strict` wins.",
    )
    backends: dict[str, BackendConfig] = Field(
        default_factory=dict,
        title="section for each name",
        description="Provider accounts by name; by default one named `anthropic`.",
    )
    model_defaults: dict[str, ModelDefaults] = Field(
        default_factory=dict,
        title="section for each model",
        description="What a model is given where neither its selector nor the request says it.",
    )
    profiles: dict[str, ProfileConfig] = Field(
        default_factory=dict,
        title="section for each model",
        description="What a model takes, where it differs from what Isthmus knows of it.",
    )
    retry: RetryConfig = RetryConfig()
    auth: AuthConfig = AuthConfig()
    tls: TlsConfig = TlsConfig()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    vault: VaultConfig = VaultConfig()
    responses: ResponsesConfig = ResponsesConfig()

    def share(self, limit: int) -> int:
        """What each worker may use of a limit that holds for all of them together."""
        return -(-limit // self.workers)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        if filled.get("backends") in (None, {}):
            filled["backends"] = dict(cls.NO_BACKENDS)
        names = filled["backends"]
        if filled.get("default_backend") is None and isinstance(names, dict):
            only = next(iter(names)) if len(names) == 1 else "anthropic"
            filled["default_backend"] = only if only in names else None
        return filled


def pools(config: Config) -> dict[str, tuple[Place, ...]]:
    """What may stand before the colon of a selector, each name with the keys that it stands for.

    The name of a backend stands for all its keys, `NAME.LABEL` for one of them, and the name of a type
    of backends that no backend has for all keys of all backends of that type.
    """
    names: dict[str, tuple[Place, ...]] = {}
    for name, backend in config.backends.items():
        names[name] = tuple(Place(name, label) for label in backend.keys or ("",))
    for place in [place for pool in names.values() for place in pool if place.key]:
        names.setdefault(f"{place.backend}.{place.key}", (place,))
    for kind in BACKEND_TYPES:
        of_kind = [name for name, backend in config.backends.items() if backend.type == kind]
        if of_kind and kind not in names:
            names[kind] = tuple(place for name in of_kind for place in names[name])
    return names


def first_backend(config: Config) -> str:
    """The backend that the default begins with: the first of the pool where its name stands for one."""
    name = config.default_backend or next(iter(config.backends))
    return name if name in config.backends else pools(config)[name][0].backend


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "retry": RetryConfig,
    "auth": AuthConfig,
    "tls": TlsConfig,
    "limits": Limits,
    "timeouts": Timeouts,
    "vault": VaultConfig,
    "responses": ResponsesConfig,
}


def section_at(path: KeyPath) -> type[BaseModel]:
    """The section whose keys stand under a path."""
    if path[:1] == ("backends",):
        return BackendConfig
    if path[:1] == ("profiles",):
        return PriceConfig if path[2:] == ("prices",) else ProfileConfig
    if path[:1] == ("model_defaults",):
        return ModelLimits if path[2:] == ("limits",) else ModelDefaults
    if path[:1] == ("model_aliases",):
        return RewriteConfig
    return _SECTIONS.get(str(path[0]), Config) if path else Config


def leaves(section: BaseModel, prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Every value of a configuration with the path of its key; a list is one value."""
    partial = isinstance(section, Section) and section.PARTIAL
    for name in type(section).model_fields:
        if partial and name not in section.model_fields_set:
            continue
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, (*prefix, name))
        elif isinstance(value, dict):
            for child, part in value.items():
                path = (*prefix, name, child)
                yield from leaves(part, path) if isinstance(part, BaseModel) else [(path, part)]
        else:
            yield (*prefix, name), value
