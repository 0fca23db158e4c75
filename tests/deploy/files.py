"""What the tests of deployment read: environment files, and the commands that documents and containers name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from flask import Flask

ROOT = Path(__file__).parent.parent.parent


def settings_in(path: Path, commented: bool = False) -> dict[str, str]:
    """Return the variables of an environment file, or those that stand in its comments as an offer."""
    mark = "#" if commented else ""
    return dict(re.findall(rf"^{mark}([A-Z_]+)=(.*)$", path.read_text("utf-8"), re.MULTILINE))


def flask_commands(text: str) -> Iterator[list[str]]:
    """Yield the words behind `flask` of every command in a script, lines that go on taken together."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.search(r"(?:^|\s|/)flask ([a-z].*)", line)
        if found:
            yield shlex.split(found[1], comments=True)


def assert_is_a_command(app: Flask, words: list[str]) -> None:
    """Fail for a command, or an option of one, that there is not."""
    context = app.cli.make_context("flask", list(words), resilient_parsing=True)
    command, left = app.cli, list(words)
    while hasattr(command, "get_command") and left:
        found = command.get_command(context, left.pop(0))
        assert found is not None, f"there is no `flask {' '.join(words)}`"
        command = found
    known = {option for parameter in command.params for option in parameter.opts}
    for word in left:
        assert not word.startswith("--") or word.split("=")[0] in known, f"`flask {' '.join(words)}` has no {word}"
