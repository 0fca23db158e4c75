"""What is kept for the hosts that are served is nothing that another one gets, also where the application is not asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from codyverse import create_app
from codyverse.operations import components
from codyverse.server.front import NAME
from codyverse.server.hits import Answer, Hits
from tests.conftest import make_settings

PATH = "/static/app.css"
PEER = ("192.0.2.1", 1)
TIMES = 4  # a file is kept from the second time on


@pytest.fixture(params=[0, 1])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    allowed = {"trusted_proxies": request.param, "allowed_hosts": ("learn.example.org", ".school.example")}
    app = create_app(make_settings(tmp_path, f"sqlite:///{tmp_path}/test.sqlite3", **allowed))
    yield app
    components.of(app).close()


def sent(app: Flask, host: str) -> dict[str, str]:
    """Return the headers that name a host: the proxy's own is another one."""
    trusted = app.config["CODYVERSE"].trusted_proxies
    return {"Host": "10.0.0.7", "X-Forwarded-Host": host, "X-Forwarded-Proto": "http"} if trusted else {"Host": host}


def statuses(app: Flask, host: str) -> list[int]:
    found = []
    for _ in range(TIMES):
        with app.test_client().get(PATH, headers=sent(app, host)) as answer:
            found.append(answer.status_code)
    return found


def is_hit(app: Flask, host: str) -> bool:
    """Say whether the event loop would answer."""
    hits: Hits = app.extensions[NAME].hits
    fields = "".join(f"{name}: {value}\r\n" for name, value in sent(app, host).items())
    found = hits.answer(f"GET {PATH} HTTP/1.1\r\n{fields}\r\n".encode(), PEER)
    assert found is None or isinstance(found, Answer)
    return found is not None


@pytest.mark.parametrize("host", ["learn.example.org", "LEARN.example.org:8000", "a.school.example"])
def test_it_works(app: Flask, host: str) -> None:
    assert not is_hit(app, host)
    assert statuses(app, host) == [200] * TIMES
    assert is_hit(app, host)


@pytest.mark.parametrize("host", ["evil.example", "x.learn.example.org", "school.example.evil.example", "10.0.0.7"])
def test_another_host_gets_nothing_that_is_kept(app: Flask, host: str) -> None:
    assert statuses(app, "learn.example.org") == [200] * TIMES
    assert is_hit(app, "learn.example.org")
    assert statuses(app, host) == [400] * TIMES
    assert not is_hit(app, host)
    assert is_hit(app, "learn.example.org")
