"""Images and documents of clients as blocks: from data URLs, from addresses, from base64.

Source: Anthropic's pages on vision and PDF support, for the media types that Claude reads.
"""

from __future__ import annotations

import binascii
import re

from isthmus import wire
from isthmus.errors import refuse
from isthmus.messages import Block

IMAGES = {
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
"""The media types of images that Claude reads, by the names that clients give them."""

_TEXTS = ("application/json", "application/xml", "application/x-yaml", "application/javascript")
_BY_SUFFIX = {
    "pdf": "application/pdf",
    "json": "application/json",
    "xml": "application/xml",
    **{suffix: f"image/{suffix}" for suffix in ("png", "jpg", "jpeg", "gif", "webp")},
    **dict.fromkeys(("txt", "md", "csv", "html", "yaml", "yml", "log"), "text/plain"),
}
_PDF = "application/pdf"
_NO_TYPE = ("", "application/octet-stream")
_PDF_START = "JVBERi0"
"""What base64 makes of ``%PDF-``."""
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_PDF_ADDRESS = re.compile(r"[^?#]*\.pdf(?:[?#].*)?", re.IGNORECASE | re.DOTALL)

_READABLE = "an image (png, jpeg, gif, webp), a PDF or plain text"


def from_address(address: str, path: str) -> Block:
    """The block of an image, or of a PDF, given as a data URL or as the address of one.

    Raises GatewayError (400) for any other address and for what Claude cannot read.
    """
    if address[:5].lower() == "data:":
        return from_bytes(*_from_url(address, path), path)
    if not address.lower().startswith(("https://", "http://")):
        raise refuse(path, "expected an https URL or a base64 data URL")
    kind = "document" if _PDF_ADDRESS.fullmatch(address) else "image"
    return {"type": kind, "source": {"type": "url", "url": address}}


def from_file(data: str, name: str, path: str) -> Block:
    """The block of a file given as a data URL or as bare base64; a document is titled by its name."""
    linked = data[:5].lower() == "data:"
    media, data = _from_url(data, path) if linked else ("", wire.standard_base64(data))
    if media in _NO_TYPE:
        media = _guessed(data, name)
    block = from_bytes(media, data, path)
    if name and block["type"] == "document":
        block["title"] = name
    return block


def _guessed(data: str, name: str) -> str:
    """The media type of base64 that came without one; "" if neither its start nor its name tells."""
    suffix = name.rpartition(".")[2].lower()
    return _PDF if data.startswith(_PDF_START) else _BY_SUFFIX.get(suffix, "")


def _from_url(address: str, path: str) -> tuple[str, str]:
    found = wire.data_url(address)
    if found is None:
        raise refuse(path, "expected a data URL such as data:image/png;base64,...")
    return found


def from_bytes(media: str, data: str, path: str) -> Block:
    """The block that carries a file, given as base64; its text where it is a text."""
    if not _BASE64.fullmatch(data) or len(data) % 4:
        raise refuse(path, "the data is empty or not base64")
    if media in IMAGES:
        source = {"type": "base64", "media_type": IMAGES[media], "data": data}
        return {"type": "image", "source": source}
    if media == _PDF:
        source = {"type": "base64", "media_type": media, "data": data}
    elif media.startswith("text/") or media in _TEXTS:
        source = {"type": "text", "media_type": "text/plain", "data": _decoded(data, path)}
    else:
        raise refuse(path, f"cannot send {media or 'an unknown media type'}: expected {_READABLE}")
    return {"type": "document", "source": source}


def _decoded(data: str, path: str) -> str:
    try:
        return binascii.a2b_base64(data).decode()
    except ValueError:
        raise refuse(path, "a text file must be UTF-8") from None
