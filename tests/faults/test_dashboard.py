"""The database is away: who watches goes on watching, is told what is wrong within 15 s, and when it is over."""

from __future__ import annotations

import re
from pathlib import Path

import requests

from codyverse.database import Database
from tests.faults.host import Host
from tests.postgresql_cluster import Cluster
from tests.server import wait_until

OPERATOR = {"email": "operator@example.org", "password": "seven quiet otters"}
TOLD_WITHIN_S = 15.0
BROWSER = {"Accept": "text/html"}


def test_an_operator_sees_what_is_wrong_and_that_it_is_over(cluster: Cluster, survivor: Database, tmp_path: Path) -> None:
    with Host(tmp_path, cluster.url, workers=2, alerts_every_s="0.5") as host, requests.Session() as session:
        details = {**OPERATOR, "display_name": "Ada", "birth_date": "1990-12-10"}
        assert session.post(f"{host.url}/api/v1/auth/register", json=details, timeout=10).status_code == 201
        host.flask("accounts", "role", OPERATOR["email"], "admin")

        def seen() -> str:
            """Return the words of the page, from whichever worker."""
            with session.get(f"{host.url}/operations", headers=BROWSER | {"Connection": "close"}, timeout=10) as answer:
                assert answer.status_code == 200, answer.text
                return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())

        def ask() -> None:
            with requests.get(f"{host.url}/api/v1/courses?q=never-asked", timeout=10):
                pass

        wait_until(lambda: "Breaker database closed" in seen(), TOLD_WITHIN_S)

        cluster.stop()

        def is_told() -> bool:
            ask()
            words = seen()
            return "Breaker database open" in words and "BreakerOpen pending critical" in words

        wait_until(is_told, TOLD_WITHIN_S)
        with requests.get(f"{host.url}/operations", headers=BROWSER, timeout=10) as answer:  # nobody else sees it meanwhile
            assert answer.status_code in (401, 503)

        cluster.start()

        def is_over() -> bool:
            ask()
            words = seen()
            return "Breaker database closed" in words and "BreakerOpen pending" not in words

        wait_until(is_over, TOLD_WITHIN_S)
