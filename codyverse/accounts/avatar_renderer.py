"""A program that turns the image on its standard input into an avatar on its standard output, and may fail in any way.

Image decoders are large programs in C that read what a stranger sent, and a small file can ask for much time and memory: a flat
PNG of 24 million pixels, a JPEG of a thousand scans. So they run here, in a process of their own that the kernel stops at its
limits, and the server neither grows nor hangs. The exit code says why there is no avatar.

It is started by `codyverse.accounts.avatars` with `-I`, so it imports nothing of ours.
"""

from __future__ import annotations

import resource
import sys
import warnings
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO

from PIL import Image, ImageOps

SIDE = 256  # pixels
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 24_000_000  # phones take 12 million
MAX_SCANS = 50  # of a JPEG; encoders make about ten, and each one more goes through all pixels again
QUALITY = 85  # at which nothing is seen of the compression in a picture of this size

CPU_S = 3  # 24 million pixels took 0.6 s
ADDRESS_SPACE_BYTES = 768 * 1024 * 1024  # a WebP of 24 million pixels took 400 MB

DAMAGED, TOO_MANY_PIXELS, TOO_MUCH_WORK = 3, 4, 5  # exit codes; a signal of the kernel means too much work as well


class TooManyPixels(Exception):
    """The header announces more than MAX_PIXELS."""


class TooMuchWork(Exception):
    """Decoding would take out of all proportion long."""


def render(content: bytes) -> bytes:
    """Return a WebP of SIDE x SIDE pixels: the middle of the image, upright, without metadata, of an animation the first frame.

    Raises TooManyPixels or TooMuchWork before anything is decoded, and whatever Pillow raises for a damaged image.
    """
    Image.MAX_IMAGE_PIXELS = None  # the check below is stricter and comes as early
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise TooManyPixels
        if image.format == "JPEG" and content.count(b"\xff\xda") > MAX_SCANS:  # the marker with which a scan begins
            raise TooMuchWork
        image.draft("RGB", (2 * SIDE, 2 * SIDE))  # lets a JPEG be decoded at an eighth of its size
        square = ImageOps.fit(_plain(image), (SIDE, SIDE))
        # Turning the small square instead of the large image gives the same picture.
        square.info = {"exif": image.info.get("exif", b"")}
    with suppress(Exception):  # unreadable metadata is no reason to refuse the picture
        square = ImageOps.exif_transpose(square)
    square.info = {}  # Pillow would write colour profile and XMP, with what they say about people, into the new file
    avatar = BytesIO()
    square.save(avatar, "WEBP", quality=QUALITY)
    return avatar.getvalue()


def _plain(image: Image.Image) -> Image.Image:
    """Return the decoded image as RGB, or as RGBA where it is transparent."""
    if image.mode.startswith("I"):  # 16 bits of grey; convert() would cut the upper half off instead of scaling
        return image.convert("I").point(lambda grey: grey * (1 / 256)).convert("L").convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def main(source: BinaryIO, target: BinaryIO) -> int:
    """Render under the limits; returns the exit code."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not leave a child's photo on the disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # nor may anything else be written
    warnings.simplefilter("ignore")
    try:
        avatar = render(source.read())
    except TooManyPixels:
        return TOO_MANY_PIXELS
    except (MemoryError, TooMuchWork):
        return TOO_MUCH_WORK
    except Exception:  # Pillow raises a dozen kinds for what is damaged
        return DAMAGED
    target.write(avatar)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.stdin.buffer, sys.stdout.buffer))
