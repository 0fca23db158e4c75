"""PostgreSQL's own programs for dumps. Both speak to us through a pipe, so that they end when we are killed.

No password stands on a command line, where every account of the machine could read it: it is in a file of ours.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg2.extensions

from codyverse.operations.backup.faults import Failed, Refused

LOCK_WAIT_S = 30  # for a migration that is under way
CHUNK = 1024 * 1024
_DEBIAN = Path("/usr/lib/postgresql")


def find(name: str, major: int) -> str:
    """Return a program that can speak with a server of a version: of that version if there is one. Raises Failed."""
    beside = _DEBIAN / str(major) / "bin" / name
    program = str(beside) if beside.is_file() else shutil.which(name)
    advice = f"Install PostgreSQL's client programs of version {major} (Debian: postgresql-client-{major})."
    if program is None:
        raise Failed(f"There is no {name}. {advice}")
    found = re.search(r" (\d+)[.\w]*", _run_for_text([program, "--version"]))
    if found is None or int(found[1]) < major:
        raise Failed(f"{name} is of version {found[1] if found else 'unknown'}, and the server of version {major}. {advice}")
    return program


def address(arguments: dict[str, Any], place: Path) -> str:
    """Return the server's address for a command line, after the password was written into a file in a private folder.

    Raises Refused for secrets that PostgreSQL's programs read from nowhere else, and OSError.
    """
    known = {name: value for name, value in arguments.items() if name not in ("password", "options")}
    if "sslpassword" in known:
        raise Refused("A database URL with sslpassword cannot be backed up: the password would stand on a command line.")
    if arguments.get("password"):
        passwords = place / "passwords"
        escaped = re.sub(r"([\\:])", r"\\\1", str(arguments["password"]))
        passwords.touch(mode=0o600)
        passwords.write_text(f"*:*:*:*:{escaped}\n", "utf-8")
        known["passfile"] = str(passwords)
    dsn: str = psycopg2.extensions.make_dsn(**known)
    return dsn


def dump(program: str, server: str, schema: str, snapshot: str, into: Path) -> None:
    """Write what a snapshot shows of a schema into a new file, in pg_dump's custom format. Raises Failed and OSError."""
    # The archive is compressed as a whole.
    how = ["--format=custom", "--compress=0", "--no-owner", "--no-privileges", f"--lock-wait-timeout={LOCK_WAIT_S * 1000}"]
    what = [f'--schema="{schema}"', f"--snapshot={snapshot}", f"--dbname={server}"]
    with into.open("xb") as file, _running([program, *how, *what]) as output:
        shutil.copyfileobj(output, file, CHUNK)


@contextmanager
def script(program: str, file: Path, schema: str) -> Iterator[IO[bytes]]:
    """Lend the statements, and the rows between them, that make what a dump has in a schema, which is there. Raises Failed."""
    what = ["--no-owner", "--no-privileges", f"--schema={schema}", "--file=-", str(file)]
    with _running([program, *what]) as output:
        yield output


@contextmanager
def _running(command: list[str]) -> Iterator[IO[bytes]]:
    """Lend what a program writes; raises Failed with its last complaint if it fails. It does not outlive the block."""
    with subprocess.Popen(  # noqa: S603  (a program of the system, with arguments of ours)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            yield process.stdout
            complaint = process.stderr.read().decode("utf-8", "replace")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise Failed(f"{Path(command[0]).name} failed: {_shortly(complaint)}")


def _shortly(complaint: str) -> str:
    """Return the line that tells why, without what stands before each."""
    lines = [line.split("error: ")[-1] for line in complaint.splitlines() if "error: " in line]
    return (lines or complaint.splitlines() or ["it does not say why"])[0]


def _run_for_text(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout  # noqa: S603  (as above)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]} cannot be run: {error}.") from None
