"""Passwords: how they are judged, hashed and compared."""

from __future__ import annotations

import base64
import re
import threading
import unicodedata
from collections.abc import Iterable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from codyverse.errors import WeakPassword

SHORTEST, LONGEST = 8, 128  # characters
LOWEST_SCORE = 2  # of zxcvbn's 0 to 4: more than a million guesses (Wheeler, USENIX Security 2016)
# Characters that are judged. zxcvbn's time grows with the length and with the number of characters that it takes for disguised
# letters: 72 hostile ones took 1.4 s, 32 took 0.25 s, and ordinary ones take a few milliseconds.
JUDGED = 32

SITE = "codyverse"  # the first thing that somebody guesses here

# OWASP Password Storage Cheat Sheet, Argon2id: 2 passes over 19 MiB in one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def _hash_of_nothing() -> str:
    """Return a hash that costs as much to compare as a real one and that no password fits."""
    salt, digest = (base64.b64encode(bytes(length)).rstrip(b"=").decode() for length in (_HASHER.salt_len, _HASHER.hash_len))
    return f"$argon2id$v=19$m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}${salt}${digest}"


_NOBODY = _hash_of_nothing()
_judging = threading.Lock()  # zxcvbn keeps the user's inputs in a dictionary of its module


def check_strength(password: str, personal: Iterable[str]) -> None:
    """Raise WeakPassword, with the reasons, for a password that is easily guessed by who knows the personal texts."""
    known = [SITE, *(part for text in personal for part in (text, *re.split(r"[\W_]+", text)) if len(part) > 2)]
    with _judging:
        verdict = zxcvbn(password[:JUDGED], user_inputs=known)
    if verdict["score"] < LOWEST_SCORE:
        feedback = verdict["feedback"]
        reasons = [reason for reason in (feedback["warning"], *feedback["suggestions"]) if reason]
        raise WeakPassword("The password is easily guessed.", {"password": reasons or ["It is easily guessed."]})


def hash_password(password: str) -> str:
    """Return the password's hash with its parameters and salt. Takes tens of milliseconds: never call it inside a transaction."""
    return _HASHER.hash(_normal(password))


def matches(password: str, password_hash: str | None) -> bool:
    """Return whether the password has this hash; with None (there is no such account) False, after the same time."""
    try:
        return _HASHER.verify(password_hash or _NOBODY, _normal(password))
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(password_hash: str) -> bool:
    """Return whether the hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(password_hash)


def _normal(password: str) -> str:
    """Return one form for what keyboards send in several, such as é (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
