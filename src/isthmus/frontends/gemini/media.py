"""Images and documents of Gemini's clients as blocks: inline, and behind public addresses."""

from __future__ import annotations

import binascii
from base64 import b64decode
from urllib.parse import urlsplit

from isthmus import wire
from isthmus.errors import refuse
from isthmus.frontends.gemini.fields import Fields
from isthmus.messages import Block
from isthmus.request import Notes, expect

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_ALIASES = {"image/jpg": "image/jpeg", "application/x-pdf": "application/pdf"}
_ENDINGS = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".pdf": "application/pdf",
}
_TEXTS = (
    "application/json",
    "application/xml",
    "application/javascript",
    "application/x-javascript",
)
_TAKEN = f"{', '.join(IMAGES)}, application/pdf or text"


def media(part: Fields, kind: str, notes: Notes) -> Block:
    """The image or document block of an ``inlineData`` or ``fileData`` member.

    Raises GatewayError (400) for media that Claude does not take and for data that is not base64.
    """
    known = ("mimeType", "displayName", "data" if kind == "inlineData" else "fileUri")
    fields = Fields(part.get(kind), part.path(kind), known, notes)
    declared = (fields.string("mimeType") or "").partition(";")[0].strip().lower()
    block = _inline(fields, declared) if kind == "inlineData" else _linked(fields, declared)
    title = fields.string("displayName")
    if title and block["type"] == "document":
        block["title"] = title
    return block


def _inline(fields: Fields, declared: str) -> Block:
    kind = _ALIASES.get(declared, declared)
    data = wire.standard_base64(expect(fields.get("data"), str, fields.path("data"), "base64 text"))
    try:
        content = b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise refuse(fields.path("data"), "expected base64 text") from None
    if kind in IMAGES:
        return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}
    if kind == "application/pdf":
        return {"type": "document", "source": {"type": "base64", "media_type": kind, "data": data}}
    if kind.startswith("text/") or kind in _TEXTS:
        return {"type": "document", "source": _plain(content, fields.path("data"))}
    raise refuse(fields.path("mimeType"), f"{declared!r} is not carried; Claude takes {_TAKEN}")


def _plain(content: bytes, path: str) -> dict[str, str]:
    try:
        text = content.decode()
    except UnicodeDecodeError as wrong:
        raise refuse(path, f"text must be UTF-8, and byte {wrong.start} is not") from None
    if not text.strip():
        raise refuse(path, "the document holds no visible character")
    return {"type": "text", "media_type": "text/plain", "data": text}


def _linked(fields: Fields, declared: str) -> Block:
    uri = expect(fields.get("fileUri"), str, fields.path("fileUri"), "a https URI")
    scheme, host, file = _split(uri)
    if scheme != "https" or host == "generativelanguage.googleapis.com":
        raise refuse(
            fields.path("fileUri"),
            "out of Claude's reach; send a public https URI or inlineData",
        )
    ending = "." + file.rpartition(".")[2].lower()
    kind = _ALIASES.get(declared, declared) or _ENDINGS.get(ending, "")
    if kind in IMAGES or kind == "image/*":
        return {"type": "image", "source": {"type": "url", "url": uri}}
    if kind == "application/pdf":
        return {"type": "document", "source": {"type": "url", "url": uri}}
    raise refuse(
        fields.path("mimeType"),
        f"{declared!r} behind a URI is not carried; Claude takes {', '.join(IMAGES)} or application/pdf",
    )


def _split(uri: str) -> tuple[str, str, str]:
    """Scheme, host and path of a URI, all empty where it is none."""
    try:
        parts = urlsplit(uri)
        return parts.scheme.lower(), (parts.hostname or "").lower(), parts.path
    except ValueError:
        return "", "", ""
