"""From HTTP to a checked request: key, version, betas, encoding, JSON, shape, model."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from .betas import parse_betas
from .catalog import find_model
from .conversation import Request, split_turns
from .errors import Refusal
from .schema_request import COUNT_TOKENS, MESSAGES, VERSIONS
from .shapes import Caller, check

Headers = list[tuple[str, str]]

MAX_DEPTH = 200


def header(headers: Headers, name: str) -> str | None:
    """The first header of that name."""
    return next((value for key, value in headers if key.lower() == name), None)


def authenticate(headers: Headers, keys: tuple[str, ...]) -> str:
    """The key that a request carries; `x-api-key` wins over the Bearer form."""
    bearer = header(headers, "authorization") or ""
    key = (header(headers, "x-api-key") or "").strip()
    source = "x-api-key"
    if not key and bearer.lower().startswith("bearer "):
        key, source = bearer[7:].strip(), "bearer token"
    if not key:
        raise Refusal("x-api-key header is required", status=401)
    if keys and key not in keys:
        raise Refusal(f"invalid {source}", status=401)
    return key


def read_version(headers: Headers) -> str:
    """`anthropic-version`, which must be there and known."""
    version = header(headers, "anthropic-version")
    if not version:
        raise Refusal("anthropic-version: header is required")
    if version not in VERSIONS:
        raise Refusal(f'anthropic-version: "{version}" is not a valid version')
    return version


def too_large(limit: int, decoded: bool = False) -> Refusal:
    """The 413 of a body over the limit."""
    details = {"error_code": "request_body_too_large_after_decoding"} if decoded else None
    return Refusal(
        f"Request exceeds the maximum size of {limit} bytes", status=413, details=details
    )


def window_bits(body: bytes, encoding: str) -> int:
    """zlib's window argument; `deflate` comes with or without the zlib header."""
    if encoding != "deflate":
        return 31
    wrapped = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return 15 if wrapped else -15


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo one content encoding, never beyond the limit."""
    engine = zlib.decompressobj(window_bits(body, encoding))
    try:
        data = engine.decompress(body, limit + 1)
    except zlib.error as error:
        data, reason = b"", str(error)
    else:
        if len(data) > limit:
            raise too_large(limit, decoded=True)
        reason = "" if engine.eof else "the data ends early"
    if reason:
        raise Refusal(
            f"The request body is not valid {encoding} data: {reason}",
            details={"error_code": "request_body_encoding_invalid"},
        )
    return data


def decode_body(headers: Headers, body: bytes, limit: int) -> bytes:
    """The body without its content encodings."""
    named = header(headers, "content-encoding") or ""
    for encoding in reversed([part.strip().lower() for part in named.split(",") if part.strip()]):
        if encoding == "identity":
            continue
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise Refusal(
                f"Unsupported content encoding: {encoding}. Supported encodings: gzip, deflate.",
                details={"error_code": "request_body_encoding_unsupported"},
            )
        body = inflate(body, encoding, limit)
    return body


def check_charset(headers: Headers) -> None:
    """JSON is UTF-8; another charset is refused."""
    for part in (header(headers, "content-type") or "").lower().split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name == "charset" and value.strip('" ') not in ("utf-8", "utf8", "us-ascii", ""):
            raise Refusal(
                f"Unsupported charset: {value}. The request body must be UTF-8.",
                details={"error_code": "unsupported_charset"},
            )


def parse_json_value(body: bytes) -> Any:
    """A JSON value, strictly: no NaN, no invalid UTF-8, no lone surrogates, no trailing text."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"The request body is not valid JSON: {error}") from None


def check_depth(value: Any) -> None:
    """Refuse what is nested more deeply than anything that walks it may go."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [child for items in inner for child in items if isinstance(child, (dict, list))]
        if not level:
            return
    raise Refusal("The request body is nested too deeply.")


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object."""
    value = parse_json_value(body)
    if not isinstance(value, dict):
        raise Refusal("Input should be an object")
    check_depth(value)
    return value


def read_request(headers: Headers, body: bytes, counting: bool, retired: bool) -> Request:
    """The request of a decoded body: right in shape, of a known model; the rules come after."""
    caller = Caller(parse_betas(headers), read_version(headers))
    value = parse_json(body)
    check(value, COUNT_TOKENS if counting else MESSAGES, (), caller)
    model = find_model(value["model"], retired)
    return Request(value, model, caller, split_turns(value["messages"]), counting)
