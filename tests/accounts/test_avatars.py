from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from codyverse.accounts import avatar_renderer, avatars
from codyverse.accounts.models import users
from codyverse.accounts.service import replace_avatar
from codyverse.accounts.storage import Storage
from tests.http.test_auth import token
from tests.server import ROOT

URL = "/api/v1/me/avatar"
RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 180, 20), (20, 20, 220), (255, 255, 255)
ORIENTATION, ARTIST, GPS = 0x0112, 0x013B, 0x8825


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(width: int = 400, height: int = 300) -> Image.Image:
    """Red at the left quarter, green in the middle, blue at the right quarter."""
    image = Image.new("RGB", (width, height), GREEN)
    image.paste(RED, (0, 0, width // 4, height))
    image.paste(BLUE, (width - width // 4, 0, width, height))
    return image


def opened(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


def like(pixel, colour) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(pixel, colour, strict=False))


def put(learner, content: bytes, content_type: str = "image/png", **options):
    return learner.client.put(URL, data=content, content_type=content_type, **options)


@pytest.fixture
def files(settings):
    """List the files of avatars."""
    folder = settings.instance_path / "avatars"
    return lambda: sorted(path for path in folder.rglob("*") if path.is_file())


def test_it_works(learner, clock, rows, files):
    assert learner.client.get("/api/v1/me").json["avatar_url"] is None
    clock.advance(hours=1)
    answer = put(learner, encoded(picture()))

    assert answer.status_code == 200
    profile = learner.client.get("/api/v1/me")
    assert (profile.json, profile.headers["ETag"]) == (answer.json, answer.headers["ETag"])
    [user], [file] = rows(users), files()
    assert file.relative_to(file.parents[1]) == Path(user["avatar_name"][:2], user["avatar_name"])
    assert user["updated_at"] == clock.now
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    avatar = learner.client.get(answer.json["avatar_url"])
    assert avatar.status_code == 200
    assert avatar.data == file.read_bytes()
    image = opened(avatar.data)
    assert (image.format, image.size) == ("WEBP", (256, 256))
    assert (
        like(image.getpixel((2, 128)), RED) and like(image.getpixel((128, 2)), GREEN) and like(image.getpixel((253, 128)), BLUE)
    )


def test_what_comes_with_an_avatar(learner, client):
    tag = put(learner, encoded(picture())) and learner.client.get(URL).headers["ETag"]
    answer = learner.client.get(URL)

    assert answer.content_type == "image/webp"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == "inline"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert {"Cookie", "Authorization"} <= set(answer.vary)
    assert learner.client.get(URL, headers={"If-None-Match": tag}).status_code == 304
    put(learner, encoded(picture()))
    assert learner.client.get(URL, headers={"If-None-Match": tag}).status_code == 200


def test_nobody_sees_the_avatar_of_another(learner, make_learner, client):
    address = put(learner, encoded(picture())).json["avatar_url"]

    assert make_learner().client.get(address).status_code == 404
    assert client.get(address).status_code == 401
    assert client.put(URL, data=b"x" * 5_000_000, content_type="image/png").status_code == 401  # before the body is read


def test_a_token_needs_the_scope(learner, client, files):
    read, write = token(learner, "profile:read"), token(learner, "profile:write")
    sent = {"data": encoded(picture()), "content_type": "image/png"}

    assert client.put(URL, headers=read, **sent).status_code == 403
    assert client.put(URL, headers=write, **sent).status_code == 200
    assert client.get(URL, headers=write).status_code == 403
    assert client.get(URL, headers=read).status_code == 200
    assert client.delete(URL, headers=read).status_code == 403
    assert client.delete(URL, headers=write).status_code == 204
    assert files() == []


def test_a_new_one_takes_the_place_of_the_old(learner, rows, files):
    first = put(learner, encoded(picture())).json["avatar_url"]
    second = put(learner, encoded(Image.new("RGB", (9, 9), WHITE))).json["avatar_url"]

    assert first != second
    assert [file.name for file in files()] == [rows(users)[0]["avatar_name"]]
    assert like(opened(learner.client.get(URL).data).getpixel((2, 128)), WHITE)


def test_it_is_removed(learner, make_learner, rows, files):
    other = make_learner()
    put(other, encoded(picture()))
    put(learner, encoded(picture()))
    for _ in range(2):
        answer = learner.client.delete(URL)
        assert (answer.status_code, answer.data) == (204, b"")

    assert learner.client.get(URL).status_code == 404
    assert learner.client.get("/api/v1/me").json["avatar_url"] is None
    assert [file.name for file in files()] == [user["avatar_name"] for user in rows(users) if user["id"] == other.id]


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(mode, "PNG") for mode in MODES if mode != "CMYK"]
    + [("L", "JPEG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGB", "WEBP"), ("RGBA", "WEBP")],
)
def test_every_kind_of_pixel(mode, kind):
    white = Image.new("I;16", (40, 30), 65535) if mode == "I;16" else Image.new("RGB", (40, 30), WHITE).convert(mode)
    image = opened(avatar_renderer.render(encoded(white, kind)))

    assert (image.format, image.size) == ("WEBP", (256, 256))
    assert like(image.convert("RGB").getpixel((128, 128)), WHITE)


def test_what_is_transparent_stays_so():
    image = Image.new("RGBA", (40, 40), (*RED, 0))
    image.paste((*RED, 255), (0, 0, 20, 40))
    avatar = opened(avatar_renderer.render(encoded(image)))

    assert avatar.getpixel((250, 128))[3] == 0
    assert like(avatar.getpixel((10, 128)), (*RED, 255))


@pytest.mark.parametrize("kind", avatar_renderer.FORMATS)
def test_it_stands_upright_and_says_nothing_about_people(learner, kind):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # taken with the camera turned: the left of the file is the top of the picture
    exif[ARTIST] = "Ada Example"
    exif.get_ifd(GPS)[1] = "N"
    more = {"icc_profile": b"profile of Ada", "xmp": b"<x>Ada</x>"} if kind != "PNG" else {}
    sent = encoded(picture(300, 300), kind, exif=exif.tobytes(), **more)
    assert b"Ada" in sent
    assert put(learner, sent, f"image/{kind.lower()}").status_code == 200
    content = learner.client.get(URL).data

    assert not any(word in content for word in (b"Ada", b"EXIF", b"ICCP", b"XMP"))
    image = opened(content)
    assert like(image.getpixel((128, 5)), RED) and like(image.getpixel((128, 250)), BLUE)


def test_unreadable_metadata_does_not_matter(learner):
    sent = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")

    assert put(learner, sent, "image/jpeg").status_code == 200


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_stays(learner, kind):
    frames = [Image.new("RGB", (64, 64), colour) for colour in (RED, GREEN, BLUE)]
    sent = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert put(learner, sent, f"image/{kind.lower()}").status_code == 200
    image = opened(learner.client.get(URL).data)

    assert getattr(image, "n_frames", 1) == 1
    assert like(image.getpixel((128, 128)), RED)


def test_the_content_decides_what_a_file_is(learner):
    assert put(learner, encoded(picture(), "JPEG"), "image/png").status_code == 200
    assert put(learner, encoded(picture(), "WEBP"), "image/jpeg; name=x").status_code == 200


def test_what_hangs_on_behind_is_cut_off(learner):
    assert put(learner, encoded(picture()) + b"<script>alert(1)</script>" * 100).status_code == 200
    content = learner.client.get(URL).data

    assert b"script" not in content
    assert len(content) == int.from_bytes(content[4:8], "little") + 8


def png_header(width: int, height: int) -> bytes:
    """A PNG that is nothing but the announcement of its size, and a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND", b"")


def scans(number: int) -> bytes:
    """A progressive JPEG of 16 million pixels, with its last scan over and over: each goes through all of them again."""
    whole = encoded(Image.new("RGB", (4000, 4000), RED), "JPEG", progressive=True, quality=30)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * number + b"\xff\xd9"


GIF = encoded(Image.new("RGB", (30, 30), RED), "GIF")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
GOOD = encoded(picture())
REFUSED = [
    ("nothing", b"", "image/png", 422, "body"),
    ("a GIF", GIF, "image/gif", 415, "Content-Type"),
    ("a GIF that is called a PNG", GIF, "image/png", 415, "body"),
    ("an SVG", SVG, "image/svg+xml", 415, "Content-Type"),
    ("an SVG that is called a PNG", SVG, "image/png", 415, "body"),
    ("a page", b"<!doctype html><script>alert(1)</script>", "image/jpeg", 415, "body"),
    ("rubbish", bytes(range(256)), "image/webp", 415, "body"),
    ("no content type", GOOD, "", 415, "Content-Type"),
    ("a form", GOOD, "multipart/form-data; boundary=x", 415, "Content-Type"),
    ("too many bytes", GOOD + bytes(2 * 1024 * 1024), "image/png", 413, "body"),
    ("too many pixels", png_header(20_000, 20_000), "image/png", 422, "body"),
    ("the most pixels", png_header(2**31 - 1, 2**31 - 1), "image/png", 422, "body"),
    ("a pixel too many", png_header(avatar_renderer.MAX_PIXELS + 1, 1), "image/png", 422, "body"),
    ("no pixels", png_header(0, 0), "image/png", 422, "body"),
    ("a PNG that ends early", GOOD[:-30], "image/png", 422, "body"),
    ("a JPEG that ends early", encoded(picture(), "JPEG")[:-200], "image/jpeg", 422, "body"),
    ("a WebP that ends early", encoded(picture(), "WEBP")[:-50], "image/webp", 422, "body"),
    ("a PNG's signature", GOOD[:8], "image/png", 422, "body"),
    ("a JPEG's signature", b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(50), "image/jpeg", 422, "body"),
    ("a WebP's signature", b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(50), "image/webp", 422, "body"),
    ("a JPEG of 1,000 scans", scans(1000), "image/jpeg", 422, "body"),
    ("a damaged PNG", GOOD[:60] + b"\xff" * 20 + GOOD[80:], "image/png", 422, "body"),
]


@pytest.mark.parametrize("refused", REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_used_is_named_and_changes_nothing(learner, rows, files, refused):
    _, content, content_type, status, field = refused
    put(learner, encoded(picture()))
    before = rows(users), files()
    answer = put(learner, content, content_type)

    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert list(answer.json["errors"]) == [field]
    assert (rows(users), files()) == before


WITHOUT_THE_CHECK = """
import sys
from codyverse.accounts import avatar_renderer as renderer
renderer.MAX_SCANS, renderer.CPU_S, renderer.ADDRESS_SPACE_BYTES = 10**9, int(sys.argv[1]), int(sys.argv[2])
raise SystemExit(renderer.main(sys.stdin.buffer, sys.stdout.buffer))
"""


@pytest.mark.parametrize(
    ("cpu_s", "memory_bytes", "code"), [(1, 2**30, -signal.SIGKILL), (60, 2**27, avatar_renderer.TOO_MUCH_WORK)]
)
def test_the_kernel_ends_what_takes_too_much(cpu_s, memory_bytes, code):
    image = scans(25_000) if cpu_s == 1 else encoded(Image.new("RGB", (5000, 4000), RED))
    command = [sys.executable, "-c", WITHOUT_THE_CHECK, str(cpu_s), str(memory_bytes)]
    ended = subprocess.run(command, input=image, capture_output=True, cwd=ROOT, timeout=300, check=False)

    assert (ended.returncode, ended.stdout) == (code, b"")


def test_who_would_wait_too_long_is_told_to_come_again(learner, rows, files, monkeypatch):
    monkeypatch.setattr(avatars, "WAIT_S", 0.01)
    with avatars._turn:  # another image is being worked on
        answer = put(learner, encoded(picture()))

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert (rows(users)[0]["avatar_name"], files()) == (None, [])


def test_a_machine_that_cannot_start_the_renderer_is_503(learner, rows, files, monkeypatch):
    monkeypatch.setattr(avatars, "_COMMAND", ("/nothing/is/here",))

    assert put(learner, encoded(picture())).status_code == 503
    assert (rows(users)[0]["avatar_name"], files()) == (None, [])


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_cannot_write_changes_nothing(learner, rows, files, monkeypatch, reason):
    put(learner, encoded(picture()))
    before = rows(users), files()

    def fail(descriptor: int) -> None:
        raise OSError(reason, "the disk's answer")

    monkeypatch.setattr(os, "fsync", fail)
    answer = put(learner, encoded(picture()))

    assert answer.status_code == 503
    assert answer.json["type"] == "urn:codyverse:problem:unavailable"
    assert (rows(users), files()) == before


def test_a_file_in_the_place_of_the_folder_is_503(learner, settings, rows):
    (settings.instance_path / "avatars").write_bytes(b"")

    assert put(learner, encoded(picture())).status_code == 503
    assert rows(users)[0]["avatar_name"] is None


def test_a_lost_file_is_404_and_can_be_replaced(learner, files):
    put(learner, encoded(picture()))
    for file in files():
        file.unlink()

    assert learner.client.get(URL).status_code == 404
    assert put(learner, encoded(picture())).status_code == 200
    assert learner.client.get(URL).status_code == 200


def test_of_many_at_once_one_file_stays(app, database, learner, settings, rows, files):
    storage = Storage(settings.instance_path / "avatars")
    images = [encoded(Image.new("RGB", (20, 20), (i * 20, 0, 0))) for i in range(4)]
    failures = []

    def replace(image: bytes) -> None:
        try:
            replace_avatar(database, storage, learner.id, image)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=replace, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [file.name for file in files()] == [rows(users)[0]["avatar_name"]]


def test_a_sweep_removes_what_a_crash_left(app, learner, settings, clock, rows, files):
    put(learner, encoded(picture()))
    storage = Storage(settings.instance_path / "avatars")
    left, young = storage.put(b"left"), storage.put(b"young")
    unfinished = settings.instance_path / "avatars" / left[:2] / f"{left}-unfinished"
    unfinished.write_bytes(b"half")
    day_ago = clock.now.timestamp() - 24 * 60 * 60 - 1
    for file in files():
        age = clock.now.timestamp() if file.name == young else day_ago
        os.utime(file, (age, age))
    runner = app.test_cli_runner()

    assert runner.invoke(args=["avatars", "sweep"]).output == "2 files removed, 1 in use\n"
    assert {file.name for file in files()} == {young, rows(users)[0]["avatar_name"]}
    assert learner.client.get(URL).status_code == 200
    clock.advance(days=2)
    assert runner.invoke(args=["avatars", "sweep"]).output == "1 file removed, 1 in use\n"
    assert runner.invoke(args=["avatars", "sweep"]).output == "0 files removed, 1 in use\n"


def test_the_document_says_how_to_send_it(client):
    operation = client.get("/api/v1/openapi.json").json["paths"][URL]["put"]

    binary = {"schema": {"type": "string", "format": "binary"}}
    assert operation["requestBody"]["content"] == dict.fromkeys(("image/png", "image/jpeg", "image/webp"), binary)
    assert operation["requestBody"]["required"] is True
