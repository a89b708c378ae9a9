"""Rules of images and PDFs: real base64 of the declared type, within the limits of size and number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .conversation import Request
from .errors import Refusal
from .media import MAX_IMAGE_BASE64, MAX_SIDE, decode_base64, pixel_size, sniff

LARGE_WINDOW = 1_000_000
IMAGES = {True: 600, False: 100}
PDF_PAGES = {True: 600, False: 100}
MANY_IMAGES = 20
MANY_IMAGES_SIDE = 2000
PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
URL = re.compile(r"https?://[^\s/]+", re.IGNORECASE)

Media = tuple[str, dict[str, Any]]


def media_blocks(path: str, block: dict[str, Any]) -> Iterator[Media]:
    """The images and documents of a block, those inside tool results and documents included."""
    kind = block["type"]
    if kind in ("image", "document"):
        yield f"{path}.{kind}", block
    inner = block.get("content") if kind == "tool_result" else None
    if kind == "document" and block["source"]["type"] == "content":
        inner = block["source"]["content"]
        path, kind = f"{path}.document.source", "content"
    if isinstance(inner, list):
        for index, part in enumerate(inner):
            step = "content" if kind != "tool_result" else "tool_result.content"
            yield from media_blocks(f"{path}.{step}.{index}", part)


def check_media(request: Request) -> None:
    """Every image and document of the request."""
    found: list[Media] = []
    for turn in request.turns:
        for item in turn.blocks:
            found.extend(media_blocks(item.path, item.block))
    images = [media for media in found if media[1]["type"] == "image"]
    large = request.model.context_window >= LARGE_WINDOW
    if len(images) > IMAGES[large]:
        raise Refusal(f"messages: too many images: {len(images)} > {IMAGES[large]} maximum")
    too_wide: list[str] = []
    side = MANY_IMAGES_SIDE if len(images) > MANY_IMAGES else MAX_SIDE
    for path, block in found:
        source = block["source"]
        if source["type"] == "url" and not URL.match(source["url"]):
            raise Refusal(
                f"{path}.source.url.url: Invalid URL: only HTTP and HTTPS URLs are supported"
            )
        if source["type"] == "base64" and block["type"] == "image":
            too_wide.extend(check_image(path, block, side))
        elif source["type"] == "base64":
            check_pdf(path, source, PDF_PAGES[large])
    if too_wide:
        raise Refusal(
            f"{too_wide[0]}: image dimensions exceed max allowed size"
            f"{' for many-image requests' if side == MANY_IMAGES_SIDE else ''}: {side} pixels",
            details={
                "error_code": "image_dimensions_too_large",
                "max_side_length_pixels": side,
                "paths": too_wide,
            },
        )


def check_image(path: str, block: dict[str, Any], side: int) -> list[str]:
    """One image; the result is its path when it is too wide or too high."""
    source = block["source"]
    where = f"{path}.source.base64"
    if len(source["data"]) > MAX_IMAGE_BASE64:
        raise Refusal(
            f"{where}: image exceeds 10 MB maximum: {len(source['data'])} bytes > {MAX_IMAGE_BASE64} bytes"
        )
    raw = decode_base64(source["data"], f"{where}.data")
    kind = sniff(raw)
    declared = source["media_type"]
    if kind is None or not kind.startswith("image/"):
        raise Refusal("Could not process image")
    if kind != declared:
        raise Refusal(
            f"{where}: The image was specified using the {declared} media type, but the image appears to be a "
            f"{kind} image"
        )
    size = pixel_size(raw)
    if size is None or 0 in size:
        raise Refusal("Could not process image")
    return [path] if max(size) > side else []


def check_pdf(path: str, source: dict[str, Any], pages: int) -> None:
    """One PDF: its leading bytes and, where they can be seen, the number of its pages."""
    raw = decode_base64(source["data"], f"{path}.source.base64.data")
    if sniff(raw) != "application/pdf":
        raise Refusal(f"{path}.source.base64.data: The PDF specified was not valid.")
    count = len(PAGE.findall(raw))
    if count > pages:
        raise Refusal(f"{path}: A maximum of {pages} PDF pages may be provided. Found {count}.")
