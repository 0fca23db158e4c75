"""Checks of what nobody else may know: keys, passwords, and the files that hold personal data."""

from __future__ import annotations

import math
import stat
from collections import Counter
from dataclasses import fields
from pathlib import Path
from urllib.parse import unquote, urlsplit

from codyverse.operations.doctor.check import Finding, Group, fault, ok, skipped, warning
from codyverse.operations.doctor.deployment import Deployment
from config import Settings

LEAST_BITS = 96  # of a key, by the frequency of its characters; 32 hexadecimal digits have about 115
SHORTEST_PASSWORD = 12
READ_OFF_A_PAGE = ("change", "secret", "example", "password", "default", "insecure", "codyverse", "only the tests", "12345")
FOR_OTHERS = stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH
ENTERED_BY_OTHERS = stat.S_IXGRP | stat.S_IXOTH

group = Group("secrets")

GROUPS = (group,)


@group.check(
    "key",
    "The secret key was made by chance",
    why="Every signature is made with it: whoever guesses it can be anybody.",
    mend="CODYVERSE_SECRET_KEY=$(python3 -c 'import secrets; print(secrets.token_urlsafe(48))'). Everybody signs in again.",
)
def key(it: Deployment) -> Finding:
    """Look for words and for too few different characters; its length was looked at when the settings were read."""
    text = it.settings.secret_key
    words = [word for word in READ_OFF_A_PAGE if word in text.lower()]
    if words:
        return fault(f"It holds {words[0]!r}, as keys that somebody copied do.")
    bits = _bits(text)
    return ok() if bits >= LEAST_BITS else fault(f"It has the chance of {bits:.0f} coins; {LEAST_BITS} are the least.")


@group.check(
    "reused",
    "No secret is used twice",
    why="What leaks in one place opens the other.",
    mend="A new one for each: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'.",
)
def reused(it: Deployment) -> Finding:
    """Compare the settings that are secret, and the passwords in addresses."""
    owners: dict[str, list[str]] = {}
    for name, text in _secrets(it.settings):
        owners.setdefault(text, []).append(name)
    shared = [" and ".join(names) for names in owners.values() if len(names) > 1]
    return fault(f"The same in {'; '.join(shared)}.") if shared else ok()


@group.check(
    "passwords",
    "Passwords of servers are long",
    why="Servers in a network are tried by machines, all day, with lists of what people choose.",
    mend="A long one made by chance, at the server and in the address, percent-encoded.",
)
def passwords(it: Deployment) -> Finding:
    """Look at the passwords in addresses."""
    found = [(name, text) for name, text in _secrets(it.settings) if name.endswith("_URL")]
    weak = [name for name, text in found if len(text) < SHORTEST_PASSWORD or text.lower() in READ_OFF_A_PAGE]
    if not found:
        return skipped("No address holds one.")
    return warning(f"That in {' and '.join(weak)} is shorter than {SHORTEST_PASSWORD} characters, or a word.") if weak else ok()


@group.check(
    "files",
    "Only the service's account can read its files",
    why="The secret key and the personal data of learners lie in them.",
    mend="chmod -R go= on the instance folder, and the service's account as its owner.",
)
def files(it: Deployment) -> Finding:
    """Look at the permissions of the instance folder and of what lies in it."""
    folder = it.settings.instance_path
    if not folder.is_dir():
        return fault("There is no instance folder.")
    if folder.stat().st_mode & stat.S_IWOTH:
        return fault("Everybody may write into the instance folder.")
    kept = (folder / "secret_key", Path(it.database.url.database or ""))  # of a server it is a name, and no file
    found = [path.name for path in kept if path.is_file() and _is_open(path)]
    return fault(f"Others can read {' and '.join(found)}.") if found else ok()


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & FOR_OTHERS and path.absolute().parent.stat().st_mode & ENTERED_BY_OTHERS)


def _bits(text: str) -> float:
    """Return Shannon's entropy of a text's characters, times their number."""
    counts = Counter(text)
    return -sum(count * math.log2(count / len(text)) for count in counts.values())


def _secrets(settings: Settings) -> list[tuple[str, str]]:
    """Return the secrets by the names of their variables: whole settings, and passwords within addresses."""
    found = []
    for field in fields(settings):
        text = str(getattr(settings, field.name))
        if field.metadata.get("secret") and text:
            is_address = field.name.endswith("_url")
            found.append((f"CODYVERSE_{field.name.upper()}", unquote(urlsplit(text).password or "") if is_address else text))
    return [(name, text) for name, text in found if text]
