"""Avatars from the images that learners send."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from codyverse.accounts import avatar_renderer
from codyverse.accounts.storage import Storage
from codyverse.errors import InvalidInput, Unavailable

MEDIA_TYPE = "image/webp"
MAX_BYTES = 2 * 1024 * 1024  # of the image that is sent
WAIT_S = 10.0  # for the images of others, and then for the renderer; it has less of the processor's time than this

_COMMAND = (sys.executable, "-I", avatar_renderer.__file__)
_FAULTS = {
    avatar_renderer.DAMAGED: "The image is damaged.",
    avatar_renderer.TOO_MANY_PIXELS: f"The image has more than {avatar_renderer.MAX_PIXELS // 1_000_000} million pixels.",
}
_TOO_MUCH_WORK = "The image takes too much time or memory to decode."

# One image at a time in a process: each can take hundreds of megabytes while it is decoded.
_turn = threading.Lock()


def storage(instance_path: Path) -> Storage:
    """Return where this installation keeps its avatars."""
    return Storage(instance_path / "avatars")


def render(image: bytes) -> bytes:
    """Return the avatar as WebP. Takes a tenth of a second and more: never call it inside a transaction.

    Raises InvalidInput for an image that cannot or must not be decoded, Unavailable when the machine is too busy to do it.
    """
    if not _turn.acquire(timeout=WAIT_S):
        raise Unavailable("Too many images are being worked on. Try again.")
    try:
        # Without the environment: secrets in it are none of the renderer's business.
        ended = subprocess.run(_COMMAND, input=image, capture_output=True, env={}, timeout=WAIT_S, check=False)  # noqa: S603  (nothing of the command comes from outside)
    except (OSError, subprocess.TimeoutExpired):
        raise Unavailable("The image cannot be worked on now. Try again.") from None
    finally:
        _turn.release()
    if ended.returncode != 0:
        fault = _FAULTS.get(ended.returncode, _TOO_MUCH_WORK)
        raise InvalidInput("The image cannot be used.", {"body": [fault]})
    return ended.stdout
