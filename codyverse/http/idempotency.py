"""The `Idempotency-Key` header."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from flask import current_app, request

from codyverse.errors import MalformedInput
from codyverse.operations.idempotency import Key

HEADER = "Idempotency-Key"
LONGEST = 255

PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Chosen by the client, one for each thing to do. Sent again with the same body within 24 hours, "
    "it gives the first answer and does nothing twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[\\x21-\\x7e]+$"},
}


def key(owner_id: int) -> Key | None:
    """Return the request's key, None without the header. Raises MalformedInput."""
    text = request.headers.get(HEADER)
    if text is None:
        return None
    if not 0 < len(text) <= LONGEST or not all("!" <= c <= "~" for c in text):
        raise MalformedInput(
            f"{HEADER} must be 1 to {LONGEST} visible ASCII characters without spaces.", {HEADER: ["Not a usable key."]}
        )
    what = b"\n".join([request.method.encode(), request.full_path.encode(), request.get_data(cache=True)])
    return Key(owner_id, _keyed_hash(text.encode()), _keyed_hash(what))


def _keyed_hash(data: bytes) -> bytes:
    secret = current_app.secret_key
    assert secret
    return hmac.digest(secret.encode() if isinstance(secret, str) else secret, data, hashlib.sha256)
