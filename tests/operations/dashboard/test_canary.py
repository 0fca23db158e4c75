"""What the page shows of a canary, through a real HAProxy."""

from __future__ import annotations

import re
from pathlib import Path

from codyverse import create_app
from codyverse.operations import components
from codyverse.operations.dashboard import canary
from codyverse.operations.deploy.canary import Track
from tests.conftest import Learner, make_settings
from tests.deploy.two_tracks import two_tracks
from tests.one_engine import cheapest  # noqa: F401  (a fixture)


def test_it_works(database_url: str, tmp_path: Path, operator: Learner) -> None:
    (tmp_path / "haproxy").mkdir()
    with two_tracks(tmp_path / "haproxy", stable=2) as tracks:
        tracks.done("canary", "10")
        tracks.visit("stable")
        app = create_app(make_settings(tmp_path, database_url, haproxy_socket=tracks.runtime.address))
        client = app.test_client()
        client.set_cookie("codyverse", operator.client.get_cookie("codyverse").value)  # type: ignore[union-attr]
        page = client.get("/operations", headers={"Accept": "text/html"}).text
        components.of(app).close()
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "10 % of visitors go to the canary." in words
    assert re.search(r"stable 2 of 2 1 0 % \d", words)
    assert "canary 1 of 1 0 – –" in words


def test_without_an_address_there_is_nothing_to_tell() -> None:
    assert canary.read("") is None


def test_an_haproxy_that_does_not_answer_is_told(tmp_path: Path) -> None:
    found = canary.read(str(tmp_path / "none.sock"))
    assert found is not None
    assert "none.sock" in found.fault
    assert found.tracks == {}


def test_the_share_of_errors() -> None:
    assert canary.error_percent(Track(up=1, servers=1, requests=0, errors=0, mean_ms=0)) is None
    assert canary.error_percent(Track(up=1, servers=1, requests=8, errors=1, mean_ms=0)) == 12.5
