"""Why a backup is not made, not trusted or not restored. Each message is one sentence or two for the operator."""

from __future__ import annotations


class Refused(Exception):
    """What was asked for cannot be done with what is there; nothing was changed."""


class Failed(Exception):
    """It was begun and did not succeed; what was there before is whole."""


class Damaged(Failed):
    """An archive is not what was written, or was not written by this command."""
