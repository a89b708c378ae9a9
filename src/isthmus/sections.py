"""A section of the configuration file, and the kinds of values that stand in one."""

import ipaddress
import math
import re
from datetime import date
from typing import Annotated, ClassVar, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, model_validator

from isthmus.proxies import DIRECT, Proxy

MAX_SECONDS = 86_400
MAX_BODY_BYTES = 1 << 30
MAX_STORE_BYTES = 1 << 40
MAX_SOCKET_PATH = 100
MAX_WORKERS = 256
MAX_TOKENS = 1_000_000_000
MAX_PRICE = 1_000_000
MAX_CONNECTIONS = 1_000_000
MAX_WEIGHT = 1_000_000
MAX_REPEATS = 10
MAX_FAILURES = 1_000
MAX_PERCENT = 100
MAX_RATE = 1_000_000
MIN_CLIENT_KEY = 8

_DIGITS = re.compile(r"[0-9]{1,12}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
VISIBLE = re.compile(r"[!-~]+")


def _whole(value: object, low: int, high: int) -> int:
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        value = int(value)
    # True is an int to Python, and `port: true` is a mistake.
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        hint = ""
        if isinstance(value, str) and value.startswith("tcp://"):
            hint = "; Kubernetes sets it for a service named isthmus: use enableServiceLinks: false"
        raise ValueError(f"must be a whole number from {low} to {high}{hint}")
    return value


def _port(value: object) -> int:
    return _whole(value, 0, 65535)


def _body_bytes(value: object) -> int:
    return _whole(value, 1, MAX_BODY_BYTES)


def _store_bytes(value: object) -> int:
    return _whole(value, 1, MAX_STORE_BYTES)


def _connections(value: object) -> int:
    return _whole(value, 1, MAX_CONNECTIONS)


def _file(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("must be the path of a file")
    return value


def _socket_path(value: object) -> str:
    path = _file(value)
    if len(path.encode()) > MAX_SOCKET_PATH:
        raise ValueError(f"must be a path of at most {MAX_SOCKET_PATH} bytes, as for any socket")
    return path


def _workers(value: object) -> int:
    return _whole(value, 1, MAX_WORKERS)


def _tokens(value: object) -> int:
    return _whole(value, 1, MAX_TOKENS)


def _repeats(value: object) -> int:
    return _whole(value, 0, MAX_REPEATS)


def _failures(value: object) -> int:
    return _whole(value, 1, MAX_FAILURES)


def _number(value: object) -> float:
    """A number in the file or in the text of a reference; NaN for anything else."""
    try:
        return math.nan if isinstance(value, bool) else float(cast("str | float", value))
    except (OverflowError, TypeError, ValueError):
        return math.nan


def _seconds(value: object) -> float:
    seconds = _number(value)
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"must be a number of seconds, above 0 and at most {MAX_SECONDS}")
    return seconds


def _price(value: object) -> float:
    price = _number(value)
    if not 0 <= price <= MAX_PRICE:
        raise ValueError(f"must be a number of dollars from 0 to {MAX_PRICE}")
    return price


def _up_to(value: object, high: float) -> float:
    number = _number(value)
    if not 0 <= number <= high:
        raise ValueError(f"must be a number from 0 to {high}")
    return number


def _percent(value: object) -> float:
    return _up_to(value, MAX_PERCENT)


def _rate(value: object) -> float:
    return _up_to(value, MAX_RATE)


def _weight(value: object) -> float:
    weight = _number(value)
    if not 0 < weight <= MAX_WEIGHT:
        raise ValueError(f"must be a number above 0 and at most {MAX_WEIGHT}")
    return weight


def _date(value: object) -> str:
    try:
        return date.fromisoformat(value if isinstance(value, str) else "").isoformat()
    except ValueError:
        raise ValueError("must be a date such as 2026-11-22") from None


def _line(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("must be a line of text")
    return value


def _host(value: object) -> str:
    text = value if isinstance(value, str) else ""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if not _HOST.fullmatch(text):
            raise ValueError("must be an IP address (IPv6 without brackets) or a name") from None
    return text


def _visible(value: object) -> str:
    # A header carries keys and model names, so nothing else may stand in them.
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        raise ValueError("must be text: put it in quotes")
    if not VISIBLE.fullmatch(text):
        what = "holds a space or a character other than ASCII" if text else "is empty"
        raise ValueError(what)
    return text


def _selector(value: object) -> str:
    text = _line(value)
    if not text.isascii():
        raise ValueError("holds a character other than ASCII")
    return text


def _client_key(value: object) -> str:
    text = _visible(value)
    if len(text) < MIN_CLIENT_KEY:
        raise ValueError(f"is too short for a key: at least {MIN_CLIENT_KEY} characters")
    return text


def _base_url(value: object) -> str | None:
    if value is None:
        return None
    text = _visible(value)
    try:
        url = urlsplit(text)
        right = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        right = False
    if not right or set(text) & set("?#@\\"):
        raise ValueError(
            "must be a URL that begins with http:// or https:// and holds no user, ? or #"
        )
    return text.rstrip("/")


def _proxy(value: object) -> str | None:
    """With its port, so that the end of it, which may be shown, is never the end of a password."""
    if value is None or value == DIRECT:
        return None if value is None else DIRECT
    text = _visible(value).rstrip("/")
    port = Proxy.of(text).port
    return text if text.endswith(f":{port}") else f"{text}:{port}"


def _switch(value: object) -> bool:
    # As text it comes out of a `${REFERENCE}`.
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


Port = Annotated[int, BeforeValidator(_port)]
BodyBytes = Annotated[int, BeforeValidator(_body_bytes)]
StoreBytes = Annotated[int, BeforeValidator(_store_bytes)]
Connections = Annotated[int, BeforeValidator(_connections)]
FilePath = Annotated[str, BeforeValidator(_file)]
SocketPath = Annotated[str, BeforeValidator(_socket_path)]
Workers = Annotated[int, BeforeValidator(_workers)]
Tokens = Annotated[int, BeforeValidator(_tokens)]
Repeats = Annotated[int, BeforeValidator(_repeats)]
Failures = Annotated[int, BeforeValidator(_failures)]
Percent = Annotated[float, BeforeValidator(_percent)]
Rate = Annotated[float, BeforeValidator(_rate)]
Weight = Annotated[float, BeforeValidator(_weight)]
Price = Annotated[float, BeforeValidator(_price)]
Host = Annotated[str, BeforeValidator(_host)]
ProxyUrl = Annotated[SecretStr | None, BeforeValidator(_proxy)]
BaseUrl = Annotated[str | None, BeforeValidator(_base_url)]
Date = Annotated[str, BeforeValidator(_date)]
Line = Annotated[str, BeforeValidator(_line)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Name = Annotated[str, BeforeValidator(_visible)]
SelectorText = Annotated[str, BeforeValidator(_selector)]
Secret = Annotated[SecretStr, BeforeValidator(_visible)]
ClientKey = Annotated[SecretStr, BeforeValidator(_client_key)]


class Section(BaseModel):
    """A mapping in the file; nothing but its fields may stand in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    PARTIAL: ClassVar[bool] = False
    """Whether a key that is not given says nothing, so that it has no value to be shown."""

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, data: object) -> object:
        # A section whose lines are all commented out reads as null.
        return dict[str, object]() if data is None else data
