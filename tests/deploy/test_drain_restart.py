"""deploy/rolling-restart: every server is made anew while visitors ask, and none of them notices."""

from __future__ import annotations

import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from codyverse.operations.deploy import drain
from tests.deploy.two_tracks import Tracks, Version, command, two_tracks, visitors
from tests.server import ROOT, wait_until

SCRIPT = ROOT / "deploy/rolling-restart"
# Asks the test for a restart, by the name of a file, and waits for it.
COMMAND = """touch "$FILES/$NAME $HOST:$PORT"
until [ -e "$FILES/done $NAME" ]; do sleep 0.05; done
! [ -s "$FILES/done $NAME" ]"""
# Starting flask takes seconds, so for most tests the test itself does what the script tells it to.
QUICK_FLASK = """#!{python} -IS
import socket, sys
with socket.create_connection(("127.0.0.1", {port})) as test:
    test.sendall("\\0".join(sys.argv[2:]).encode())
    test.shutdown(socket.SHUT_WR)
    code, out, err = test.makefile().read().split("\\0")
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(int(code))
"""


@pytest.fixture
def tracks(tmp_path):
    with two_tracks(tmp_path, stable=2, percent=0) as running:
        yield running


class _Commands(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        result = command(*self.rfile.read().decode().split("\0"))
        self.wfile.write("\0".join((str(result.exit_code), result.stdout, result.stderr)).encode())


@pytest.fixture(scope="session")
def quick_flask(tmp_path_factory):
    path = tmp_path_factory.mktemp("flask") / "flask"
    with socketserver.TCPServer(("127.0.0.1", 0), _Commands) as server:
        path.write_text(QUICK_FLASK.format(python=sys.executable, port=server.server_address[1]))
        path.chmod(0o700)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield path
        server.shutdown()
        thread.join(10)


def rolling_restart(tracks: Tracks, flask: Path, *arguments: str, files: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "FLASK": str(flask),
        "FLASK_APP": "wsgi.py",
        "FILES": str(files),
        "CODYVERSE_ENV": "testing",
        "CODYVERSE_INSTANCE_PATH": str(tracks.map_path.parent),
    }
    called = [str(SCRIPT), "--socket", str(tracks.haproxy.socket_path), *arguments]
    return subprocess.run(called, env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def restarted(tracks: Tracks, files: Path, restart: Callable[[Version], bool]) -> Iterator[list[str]]:
    """Do what COMMAND asks for; lend the names of whom it asked to restart."""
    ended, asked = threading.Event(), list[str]()
    versions = {version.address: version for version in (*tracks.stable, *tracks.canary)}

    def serve() -> None:
        while not ended.wait(0.02):
            for file in files.glob("[sc]? *"):
                name, address = file.name.split()
                asked.append(name)
                file.unlink()
                fails = "" if restart(versions[address]) else "it failed"
                (files / f"new {name}").write_text(fails)
                (files / f"new {name}").rename(files / f"done {name}")

    thread = threading.Thread(target=serve)
    thread.start()
    yield asked
    ended.set()
    thread.join(10)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def state(tracks: Tracks, name: str) -> str:
    return next(row.status.split()[0] for row in drain.servers(tracks.runtime) if row.name == name)


def test_nobody_notices(tracks, files, quick_flask):
    before = {version.address: version.answered for version in tracks.stable}

    def restart(version: Version) -> bool:
        assert sum(state(tracks, name) == "UP" for name in ("s1", "s2")) == 1
        version.stop()
        version.answered = before[version.address] = 0
        version.start()
        return True

    with restarted(tracks, files, restart) as asked, visitors(tracks.haproxy.port, count=4) as seen:
        result = rolling_restart(tracks, quick_flask, COMMAND, files=files)
        wait_until(lambda: all(version.answered for version in tracks.stable))
    assert (result.returncode, result.stderr) == (0, "")
    assert asked == ["s1", "s2"]
    first, second = (version.address for version in tracks.stable)
    assert result.stdout == "".join(f"{one} is drained.\n{one} is up.\n" for one in (first, second))
    assert set(seen) == {200}
    assert {state(tracks, name) for name in ("s1", "s2")} == {"UP"}


def test_it_stops_at_the_first_that_does_not_come_back(tracks, files, quick_flask):
    def restart(version: Version) -> bool:
        version.is_ready = False
        return True

    with restarted(tracks, files, restart) as asked, visitors(tracks.haproxy.port, count=2) as seen:
        result = rolling_restart(tracks, quick_flask, "--wait", "2", COMMAND, files=files)
    first = tracks.stable[0].address
    assert result.returncode == 1
    assert result.stderr == (
        f"codyverse: {first} is not ready after 2 s. It gets requests as soon as it is.\n"
        f"codyverse: stopped at {first}: it does not come back.\n"
    )
    assert asked == ["s1"]
    assert (state(tracks, "s1"), state(tracks, "s2")) == ("DOWN", "UP")
    assert set(seen) == {200}


def test_it_stops_when_a_restart_fails(tracks, files, quick_flask):
    with restarted(tracks, files, lambda version: False) as asked:
        result = rolling_restart(tracks, quick_flask, COMMAND, files=files)
    first = tracks.stable[0].address
    assert (result.returncode, result.stderr) == (1, f"codyverse: stopped at {first}: it was not restarted, and is drained.\n")
    assert asked == ["s1"]
    assert (state(tracks, "s1"), state(tracks, "s2")) == ("DRAIN", "UP")


def test_with_the_commands_themselves(tracks, files):
    with restarted(tracks, files, lambda version: True) as asked:
        flask = Path(sys.executable).with_name("flask")
        assert rolling_restart(tracks, flask, "--backend", "canary", COMMAND, files=files).returncode == 0
    assert asked == ["c1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quickly"], "There is no option --quickly."),
        (["--wait"], "--wait needs a value."),
        (["systemctl", "restart"], "COMMAND is one argument: put it in quotes."),
        (["--socket", "/no/such/socket"], "HAProxy does not answer at /no/such/socket: [Errno 2] No such file or directory"),
        (["--backend", "other"], "HAProxy has no server in other."),
    ],
)
def test_bad_input_ends_in_one_line(unsteered, quick_flask, arguments, said):
    result = rolling_restart(unsteered, quick_flask, *arguments)
    assert (result.returncode, result.stderr) == (2, f"codyverse: {said}\n")


@pytest.fixture(scope="module")
def unsteered(tmp_path_factory):
    with two_tracks(tmp_path_factory.mktemp("haproxy"), percent=0) as running:
        yield running
