from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from codyverse import create_app
from codyverse.accounts.service import change_role
from codyverse.database import Database
from codyverse.operations import alerts, components, dashboard, journal, metrics
from codyverse.operations.alerts.states import Standing
from codyverse.operations.alerts.store import AlertEvent, Change, Store
from codyverse.operations.dashboard import handbook
from tests.conftest import Learner, make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.operations.dashboard.conftest import Keep

BROWSER = {"Accept": "text/html"}
PAGES = ("/operations", "/operations/docs/alerts.md")
ALL = (*PAGES, "/operations/history", "/operations/live")


class Page(HTMLParser):
    """The texts of a page by section and by tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.words = " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<(?:style|script).*?</", "", html, flags=re.S)).split())
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]


def show(learner: Learner, path: str = "/operations") -> Page:
    # What was read is kept for some seconds, which no test can wait for.
    app = learner.client.application
    app.extensions[dashboard.NAME] = dashboard._Dashboard(app)
    response = learner.client.get(path, headers=BROWSER)
    assert response.status_code == 200, response.text
    return Page(response.text)


def events(text: str) -> list[tuple[str, dict[str, str]]]:
    found = re.findall(r"^event: (\w+)\ndata: (.*)$", text, re.M)
    return [(kind, json.loads(data)) for kind, data in found]


def fire(app: Flask, name: str, state: str = "firing", value: float = 0.93) -> None:
    now = 1_700_000_000.0
    change = Change({name: Standing(state, now, value)}, now, {}, now, [AlertEvent(now, name, "firing", value)])  # type: ignore[arg-type]
    Store(journal.of(app)).save(change)


def test_it_works(operator: Learner) -> None:
    page = show(operator)
    assert "Nothing measured yet" in page.words
    assert f"{socket.gethostname()} · CodyVerse" in page.words
    for title in ("Availability", "Mean response time", "Memory", "Errors", "Cache hits"):
        assert f"{title} – no figures yet" in page.words
    assert "rateLimit on" in page.words


def test_only_operators_see_it(
    client: FlaskClient, learner: Learner, make_learner: Callable[..., Learner], database: Database
) -> None:
    teacher = make_learner()
    change_role(database, teacher.email, "teacher")
    for path in ALL:
        assert client.get(path, headers=BROWSER).status_code == 401, path
        for somebody in (learner, teacher):
            assert somebody.client.get(path, headers=BROWSER).status_code == 403, path


def test_who_is_not_signed_in_is_shown_the_way(client: FlaskClient) -> None:
    page = client.get("/operations?span=week", headers=BROWSER).text
    assert 'href="/login?next=/operations?span%3Dweek"' in page


def test_nobody_else_may_keep_it(operator: Learner) -> None:
    for path in PAGES:
        assert operator.client.get(path).headers["Cache-Control"] == "no-store"
    assert "private" in operator.client.get("/operations/history").headers["Cache-Control"]
    with operator.client.get("/operations/live") as response:
        assert response.headers["Cache-Control"] == "no-store"


def test_targets_are_judged_by_the_history(operator: Learner, keep: Keep) -> None:
    keep(
        requests_per_s=[10.0, 30.0],
        availability_percent=[100.0, 99.8],
        errors_percent=[0.0, 0.2],
        mean_ms=[20.0, 40.0],
        cache_hit_percent=[95.0, 95.0],
    )
    page = show(operator)
    assert "Availability 99.85 % missed at least 99.9 %" in page.words
    assert "Errors 0.15 % missed below 0.1 %" in page.words
    assert "Mean response time 35 ms met below 100 ms" in page.words
    assert "Cache hits 95 % met above 90 %" in page.words
    assert "No alert, 2 targets missed" in page.words


def test_all_is_well_only_when_something_was_measured(operator: Learner, keep: Keep) -> None:
    keep(requests_per_s=[10.0], availability_percent=[100.0], errors_percent=[0.0], mean_ms=[5.0], cache_hit_percent=[99.0])
    assert "All is well" in show(operator).words


def test_figures_that_nobody_renews_are_called_out_of_date(operator: Learner, keep: Keep) -> None:
    keep(ago_s=900, requests_per_s=[10.0], availability_percent=[100.0], errors_percent=[0.0], mean_ms=[5.0])
    page = show(operator)
    assert "These figures are out of date" in page.words
    assert "requests – now, at the most 10/s" in page.words


def test_an_alert_that_fires_is_the_headline_and_leads_to_its_runbook(app: Flask, operator: Learner) -> None:
    fire(app, "MemoryHigh")
    page = show(operator)
    assert "1 alert is firing" in page.words
    assert "MemoryHigh firing warning, for" in page.words
    assert "Measured 0.93, threshold 0.85" in page.words
    assert "14 Nov, 22:13:20 UTC MemoryHigh firing at 0.93" in page.words
    assert 'href="/operations/docs/alerts.md#memoryhigh"' in page.html


def test_an_alert_that_may_fire_soon_is_no_alarm(app: Flask, operator: Learner) -> None:
    fire(app, "BreakerOpen", "pending", 1)
    page = show(operator)
    assert "BreakerOpen may fire soon" in page.words
    assert "BreakerOpen pending critical" in page.words


def test_every_rule_has_its_runbook(app: Flask, operator: Learner) -> None:
    page = show(operator, "/operations/docs/alerts.md")
    for alert in alerts.states(app):
        assert alert.runbook.rpartition("#")[2] in page.ids, alert.name


@pytest.mark.parametrize("path", sorted(handbook.FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_documents_lead_to_each_other(operator: Learner, path: Path) -> None:
    page = show(operator, f"/operations/docs/{path.name}")
    for address in re.findall(r'<a href="([^"]+)"', page.html):
        assert not address.startswith("..")
        assert address.startswith(("/", "#", "https:")) or (handbook.FOLDER / address.partition("#")[0]).is_file()
    assert "<img" not in page.html.partition("<article")[2].partition("</article>")[0]


@pytest.mark.parametrize("name", ["none", "..%2Freference%2Fsettings", "%00"])
def test_there_are_no_other_documents(operator: Learner, name: str) -> None:
    assert operator.client.get(f"/operations/docs/{name}.md", headers=BROWSER).status_code == 404


def test_what_cannot_be_read_is_missing_and_the_rest_is_there(
    operator: Learner, monkeypatch: pytest.MonkeyPatch, keep: Keep
) -> None:
    keep(requests_per_s=[10.0], mean_ms=[20.0])

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(alerts, "states", fail)
    monkeypatch.setattr(metrics, "samples", fail)
    page = show(operator)
    assert "The alerts cannot be told" in page.words
    assert "The alerts cannot be read just now" in page.words
    assert "Mean response time 20 ms met" in page.words


def test_spans(operator: Learner, keep: Keep) -> None:
    keep(step="hour", requests_per_s=[7.0] * 48)
    week = show(operator, "/operations?span=week")
    assert "The last 7 days" in week.words
    assert "at the most 7/s" in week.words
    assert "no figures yet" in show(operator, "/operations?span=%00").words  # the day: there are no minutes
    found = operator.client.get("/operations/history?span=week").json
    assert len(found["times"]) == 48  # type: ignore[index,arg-type]
    assert found["span_s"] == 7 * 86_400  # type: ignore[index]


def test_the_table_has_the_hours_of_the_last_day(operator: Learner, keep: Keep) -> None:
    keep(step="hour", requests_per_s=[float(number) for number in range(1, 31)])
    rows = re.search(r'id="by-hour".*?</details>', show(operator).html, re.S)
    assert rows is not None
    assert 23 <= rows[0].count('<th scope="row">') <= 24
    assert rows[0].index("30/s") < rows[0].index("29/s")


def test_live_sends_every_part_of_the_page_that_changes(operator: Learner) -> None:
    places = set(re.findall(r'data-section="(\w+)"', show(operator).html))
    with operator.client.get("/operations/live", headers={"Accept": "text/event-stream"}) as response:
        assert response.mimetype == "text/event-stream"
        ((kind, sections),) = events(response.text)
    assert kind == "sections"
    assert set(sections) == places == set(dashboard.SECTIONS)
    assert "<h1>" in sections["headline"]


def test_live_holds_nothing_for_who_only_wants_the_head(operator: Learner) -> None:
    for _ in range(5):
        with operator.client.head("/operations/live") as response:
            assert (response.status_code, response.data) == (200, b"")
    with operator.client.get("/operations/live") as response:
        assert events(response.text)[0][0] == "sections"


def test_nothing_personal_is_in_what_all_operators_share(operator: Learner) -> None:
    with operator.client.get("/operations/live") as response:
        for secret in (operator.email, "Ada", operator.client.get_cookie("codyverse").value):  # type: ignore[union-attr]
            assert secret not in response.text


def test_it_needs_nothing_inline_and_nothing_from_outside(app: Flask, operator: Learner, keep: Keep) -> None:
    fire(app, "MemoryHigh")
    keep(requests_per_s=[1.0, None, 3.0])
    for path in PAGES:
        response = operator.client.get(path, headers=BROWSER)
        policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "style-src 'self';" in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", response.text)
        for address in re.findall(r'(?:src|href)="([^"#]+)', response.text):
            assert address.startswith("/") or re.fullmatch(r"[a-z]+\.md", address), address
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', operator.client.get("/operations").text):
        with operator.client.get(address) as file:
            assert file.status_code == 200, address


def test_ids_are_there_once(app: Flask, operator: Learner) -> None:
    fire(app, "MemoryHigh")
    ids = show(operator).ids
    assert len(ids) == len(set(ids))


def test_without_monitoring_it_says_so(database_url: str, tmp_path: Path, operator: Learner) -> None:
    app = create_app(make_settings(tmp_path, database_url, feature_monitoring=False))
    client = app.test_client()
    client.set_cookie("codyverse", operator.client.get_cookie("codyverse").value)  # type: ignore[union-attr]
    response = client.get("/operations", headers=BROWSER)
    components.of(app).close()
    assert response.status_code == 200
    assert "Monitoring is switched off" in response.text


def test_the_canary_is_asked_for_where_haproxy_is_named(database_url: str, tmp_path: Path, operator: Learner) -> None:
    app = create_app(make_settings(tmp_path, database_url, haproxy_socket=str(tmp_path / "none.sock")))
    client = app.test_client()
    client.set_cookie("codyverse", operator.client.get_cookie("codyverse").value)  # type: ignore[union-attr]
    response = client.get("/operations", headers=BROWSER)
    components.of(app).close()
    assert "none.sock" in response.text
    assert "No HAProxy is named" in show(operator).words


@pytest.mark.parametrize("name", ["LICENSE", "uPlot.iife.min.js", "uPlot.min.css"])
def test_the_licence_of_uplot_lies_beside_it(name: str) -> None:
    assert (Path(dashboard.__file__).parents[2] / "static" / "uplot" / name).stat().st_size
