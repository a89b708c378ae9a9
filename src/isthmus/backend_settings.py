"""What the configuration says of a provider account: ``backends.NAME``, and the types of them."""

import re
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from isthmus.proxies import DIRECT, Proxy
from isthmus.sections import BaseUrl, Name, ProxyUrl, Secret, Section


class BackendType(NamedTuple):
    """One row for each `type` of backend.

    `key_variable` gives a backend of this type its key when it has none of its own; None where no
    key is needed. `base_url` is the provider's address; None where there is no provider.
    `example_model` stands in the requests that we print to be pasted.
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


class BackendConfig(Section):
    """A provider account: `backends.NAME`."""

    type: Literal["anthropic", "simulator"] = Field(
        title="type of backend", description="Which provider this is; see the types below."
    )
    api_key: Secret | None = Field(
        None, title="key", description="The provider's key; either this or `api_keys`."
    )
    api_keys: list[Secret] = Field(
        default_factory=list,
        title="list of keys",
        description="Several keys of the same account type, to rotate.",
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
    def keys(self) -> tuple[str, ...]:
        """The keys in the clear, in their order; () for a type that needs none."""
        given = [self.api_key] if self.api_key is not None else self.api_keys
        return tuple(key.get_secret_value() for key in given)

    @property
    def way(self) -> Proxy | None:
        """The proxy on the way to the provider; None for none."""
        url = self.proxy.get_secret_value() if self.proxy is not None else DIRECT
        return None if url == DIRECT else Proxy.of(url)
