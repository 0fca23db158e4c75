"""The secrets of sessions and API tokens.

A secret is derived from the application's secret key and a random nonce. What a repeated request must be answered with can so be
stored as the nonce alone, which without the key is worth nothing; the secret itself is stored nowhere, only its SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Literal

PREFIX = "cv_"  # lets scanners for leaked secrets recognise one


def new_nonce() -> str:
    """Return 32 random bytes as hexadecimal text."""
    return secrets.token_hex(32)


def derive(secret_key: str, purpose: Literal["session", "token"], nonce: str) -> str:
    """Return the secret of a nonce, 43 URL-safe characters: HMAC-SHA256 under the application's secret key."""
    digest = hmac.digest(secret_key.encode(), f"{purpose}:{nonce}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def fingerprint(secret: str) -> bytes:
    """Return what is stored of a secret. It has 256 random bits, so a plain hash cannot be searched backwards."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
