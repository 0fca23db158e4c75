"""Uploads: a file is the whole body of a request, as `fetch(address, {method: "PUT", body: file})` sends it.

What a file is decides its content. The header is the client's claim; it only has to be one of the kinds that are accepted.
"""

from __future__ import annotations

from typing import Any

import puremagic
from flask import Request

from codyverse.errors import InvalidInput, UnsupportedMedia
from codyverse.http import request_limits

IMAGES = ("image/png", "image/jpeg", "image/webp")

IMAGE_BODY: dict[str, Any] = {
    "required": True,
    "description": "The file itself, without a form around it.",
    "content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in IMAGES},
}


def image(request: Request) -> bytes:
    """Return the body, which begins like an image of one of IMAGES. Raises UnsupportedMedia, and InvalidInput without a body."""
    if request.mimetype not in IMAGES:
        raise UnsupportedMedia("The body must be an image.", {"Content-Type": [f"Must be one of {', '.join(IMAGES)}."]})
    content = request_limits.body(request)
    if not content:
        raise InvalidInput("There is no image.", {"body": ["Must not be empty."]})
    if _kind(content) not in IMAGES:
        raise UnsupportedMedia("The body is not a PNG, JPEG or WebP image.", {"body": ["Not a PNG, JPEG or WebP image."]})
    return content


def _kind(content: bytes) -> str:
    try:
        return puremagic.from_string(content, mime=True)
    except puremagic.PureError:
        return ""
