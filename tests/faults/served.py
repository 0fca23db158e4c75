"""The platform as it is run, alone or behind the balancer that `flask deploy haproxy` describes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.haproxy import Haproxy, config_text
from tests.server import Server, wait_until

APP = "tests.faults.sleeping_app:app"
ALONE, BALANCED = "alone", "behind HAProxy"
PLENTY = {f"limit_{name}": "1000000 per minute" for name in ("client", "endpoint", "address")}


@contextmanager
def platform(folder: Path, database: str | Path, way: str, *arguments: str, **settings: str) -> Iterator[tuple[Server, str]]:
    """Serve on a database's address, or on a copy of an SQLite file, and lend the server and the address to ask."""
    if isinstance(database, Path):
        shutil.copy(database, folder / "test.sqlite3")
        database = f"sqlite:///{folder}/test.sqlite3"
    proxies = "1" if way == BALANCED else "0"
    with ExitStack() as stack:
        made = Server(folder, database, *arguments, APP, **{**PLENTY, "trusted_proxies": proxies, **settings})
        server = stack.enter_context(made)
        if way == ALONE:
            yield server, server.url
            return
        haproxy = Haproxy(folder)
        stack.enter_context(haproxy(config_text(haproxy, [f"127.0.0.1:{server.port}"])))
        wait_until(lambda: haproxy.state("stable", "s1") == "UP")
        yield server, haproxy.url
