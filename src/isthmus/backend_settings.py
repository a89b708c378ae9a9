"""What the configuration says of a provider account: ``backends.NAME``, and the types of them."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag, model_validator

from isthmus.proxies import DIRECT, Proxy
from isthmus.sections import BaseUrl, Name, ProxyUrl, Secret, Section, Weight


class BackendType(NamedTuple):
    """One row for each `type` of backend.

    `key_variable` gives a backend of this type its key when it has none of its own, and with a
    number behind it further ones (`ANTHROPIC_API_KEY_2`); None where no key is needed. `base_url`
    is the provider's address; None where there is no provider. `example_model` stands in the
    requests that we print to be pasted.
    """

    key_variable: str | None
    base_url: str | None
    example_model: str
    meaning: str


BACKEND_TYPES = {
    "anthropic": BackendType(
        "ANTHROPIC_API_KEY",
        "https://api.anthropic.com",
        "claude-haiku-4-5",
        "Anthropic's Messages API.",
    ),
    "simulator": BackendType(
        None,
        None,
        "claude-haiku-4-5",
        "The embedded simulator: made-up answers, no key, no network. For trials and tests.",
    ),
}

BACKEND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KEY_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Without a dot, which stands between a backend's name and the label."""


def _form(value: object) -> str | None:
    if isinstance(value, list):
        return "list"
    return "labels" if isinstance(value, dict) else None


Keys = Annotated[
    Annotated[list[Secret], Tag("list")] | Annotated[dict[str, Secret], Tag("labels")],
    Discriminator(
        _form,
        custom_error_type="keys_type",
        custom_error_message="must be a list of keys, or a section of `label: key` lines",
    ),
]


class BackendConfig(Section):
    """A provider account: `backends.NAME`."""

    type: Literal["anthropic", "simulator"] = Field(
        title="type of backend", description="Which provider this is; see the types below."
    )
    api_key: Secret | None = Field(
        None, title="key", description="The provider's key; either this or `api_keys`."
    )
    api_keys: Keys = Field(
        default_factory=list[Secret],
        title="list of keys, or key for each label",
        description="Several keys, to choose among. `NAME.LABEL` is one of them by name; in a list the "
        "labels are 1, 2 and so on.",
    )
    weight: Weight = Field(
        1.0,
        title="number",
        description="Its part of the requests, beside other backends, where a name stands for several.",
    )
    base_url: BaseUrl = Field(
        None,
        title="URL",
        description="Where the provider answers, without `/v1`; by default its own address.",
    )
    proxy: ProxyUrl = Field(
        None,
        title="URL or `direct`",
        description="An HTTP proxy on the way there, `http://[user:password@]host[:port]`; by default "
        "what the environment names, with `direct` none.",
    )
    models: list[Name] | None = Field(
        None, title="list of names", description="The models to show in model lists."
    )
    prompt_cache: Literal["off", "auto"] = Field(
        "off",
        title="off or auto",
        description="`auto` has the provider cache the prompts of requests in which the client set no "
        "`cache_control` itself.",
    )

    @model_validator(mode="before")
    @classmethod
    def _provider(cls, data: object) -> object:
        if not isinstance(data, dict) or data.get("base_url") is not None:
            return data
        row = BACKEND_TYPES.get(str(data.get("type")))
        return {**data, "base_url": row.base_url} if row else data

    @property
    def keys(self) -> Mapping[str, str]:
        """The keys in the clear by their labels, in order; {} for a type that needs none.

        The key of `api_key` has the label "", those of a list the labels "1", "2" and so on.
        """
        given = {"": self.api_key} if self.api_key is not None else self.api_keys
        if isinstance(given, list):
            given = {str(number): key for number, key in enumerate(given, start=1)}
        return {label: key.get_secret_value() for label, key in given.items()}

    @property
    def way(self) -> Proxy | None:
        """The proxy on the way to the provider; None for none."""
        url = self.proxy.get_secret_value() if self.proxy is not None else DIRECT
        return None if url == DIRECT else Proxy.of(url)


def key_variables(environ: Mapping[str, str], variable: str) -> dict[str, str]:
    """The variables that hold keys by what stands behind their first underscore: "", "1", "2".

    `variable` itself comes first, then the numbered ones in the order of their numbers, gaps or not.
    An empty variable counts as none. A number may be written wrongly (0, 01): that is not judged here.
    """
    numbered = re.compile(rf"{variable}_([0-9]+)")
    found = ["" for name in (variable,) if environ.get(name)]
    numbers = [
        match[1] for name in environ if environ[name] and (match := numbered.fullmatch(name))
    ]
    # By length first: a number of thousands of digits is not made an int.
    found += sorted(numbers, key=lambda digits: (len(digits), digits))
    return {suffix: f"{variable}_{suffix}" if suffix else variable for suffix in found}
