from __future__ import annotations

import threading
from datetime import date

import pytest

from codyverse.accounts.models import users
from codyverse.accounts.service import update_profile
from codyverse.accounts.service.profiles import age_band

URL = "/api/v1/me"


def test_it_works(learner, clock, rows):
    before = learner.client.get(URL)
    created_at = clock.now
    clock.advance(hours=1)
    changes = {"display_name": " Grace ", "locale": "zh-Hant", "timezone": "Asia/Taipei", "birth_date": "2012-02-29"}
    response = learner.client.patch(URL, json=changes)

    assert response.status_code == 200
    assert response.json == {**before.json, **changes, "display_name": "Grace", "age_band": "teen"}
    assert learner.client.get(URL).json == response.json
    [user] = rows(users)
    assert (user["display_name"], user["birth_date"], user["locale"]) == ("Grace", date(2012, 2, 29), "zh-Hant")
    assert (user["created_at"], user["updated_at"]) == (created_at, clock.now)


def test_an_empty_change_changes_nothing(learner, clock, rows):
    before = rows(users)
    clock.advance(hours=1)
    response = learner.client.patch(URL, json={})

    assert response.status_code == 200
    assert response.json == learner.client.get(URL).json
    assert rows(users) == before


def test_what_is_left_out_stays(learner, rows):
    learner.client.patch(URL, json={"locale": "fr"})
    learner.client.patch(URL, json={"display_name": "Grace"})

    assert [(user["locale"], user["display_name"]) for user in rows(users)] == [("fr", "Grace")]


def test_others_stay_as_they_are(learner, make_learner):
    other = make_learner(display_name="Other")
    learner.client.patch(URL, json={"display_name": "Grace"})

    assert other.client.get(URL).json["display_name"] == "Other"


def test_what_cannot_be_used_is_named_and_nothing_is_written(learner, rows):
    before = rows(users)
    refused = [
        ("display_name", ""),
        ("display_name", None),
        ("birth_date", "2026-11-24"),
        ("birth_date", None),
        ("locale", "EN"),
        ("timezone", "Nowhere"),
        ("email", "other@example.org"),
        ("role", "admin"),
    ]
    for field, value in refused:
        response = learner.client.patch(URL, json={"display_name": "Grace", field: value})
        assert (response.status_code, list(response.json["errors"])) == (422, [field]), value
    assert rows(users) == before


def test_a_change_to_what_was_read_is_refused_when_it_has_changed_since(learner, rows):
    tag = learner.client.get(URL).headers["ETag"]
    first = learner.client.patch(URL, json={"display_name": "First"}, headers={"If-Match": tag})
    second = learner.client.patch(URL, json={"display_name": "Second"}, headers={"If-Match": tag})

    assert (first.status_code, second.status_code) == (200, 412)
    assert second.json["type"] == "urn:codyverse:problem:precondition-failed"
    assert [user["display_name"] for user in rows(users)] == ["First"]
    third = learner.client.patch(URL, json={"display_name": "Third"}, headers={"If-Match": first.headers["ETag"]})
    assert third.status_code == 200
    assert third.headers["ETag"] == learner.client.get(URL).headers["ETag"] != first.headers["ETag"]


def test_if_match(learner):
    tag = learner.client.get(URL).headers["ETag"]

    for condition in ("*", tag, f'"other", {tag}', f"W/{tag}"):
        assert learner.client.patch(URL, json={}, headers={"If-Match": condition}).status_code == 200, condition
    for condition in ('"other"', "other", ""):
        assert learner.client.patch(URL, json={}, headers={"If-Match": condition}).status_code == 412, condition


def test_of_two_tabs_at_once_one_is_told(app, database, learner, rows):
    tag = learner.client.get(URL).headers["ETag"]
    statuses = []
    other = learner.again().client

    def change() -> None:
        response = other.patch(URL, json={"display_name": "Other"}, headers={"If-Match": tag})
        statuses.append(response.status_code)

    tab = threading.Thread(target=change)

    def let_the_other_try(version: str) -> bool:
        tab.start()
        tab.join(
            timeout=0.5
        )  # runs out, since the other has to wait for this change; without the lock it would be through by now
        return True

    update_profile(database, learner.id, {"display_name": "Mine"}, let_the_other_try)
    tab.join(timeout=60)

    assert statuses == [412]
    assert [user["display_name"] for user in rows(users)] == ["Mine"]


def test_a_profile_that_is_known_is_not_sent_again(learner):
    tag = learner.client.get(URL).headers["ETag"]

    assert learner.client.get(URL, headers={"If-None-Match": tag}).status_code == 304
    learner.client.patch(URL, json={"locale": "fr"})
    assert learner.client.get(URL, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("born", "today", "band"),
    [
        (date(2013, 11, 25), date(2026, 11, 24), "child"),
        (date(2013, 11, 24), date(2026, 11, 24), "teen"),
        (date(2008, 11, 25), date(2026, 11, 24), "teen"),
        (date(2008, 11, 24), date(2026, 11, 24), "adult"),
        (date(2008, 2, 29), date(2026, 2, 28), "teen"),
        (date(2008, 2, 29), date(2026, 3, 1), "adult"),
    ],
)
def test_age_bands(born, today, band):
    assert age_band(born, today) == band


def test_a_birthday_begins_where_the_learner_is(make_learner, clock):
    clock.advance(hours=11)  # 23:00 on the 24th in London
    tokyo = make_learner(birth_date="2013-11-25", timezone="Asia/Tokyo")
    lima = make_learner(birth_date="2013-11-25", timezone="America/Lima")

    assert tokyo.client.get(URL).json["age_band"] == "teen"
    assert lima.client.get(URL).json["age_band"] == "child"


@pytest.mark.parametrize("tag", ['""', 'W/""', "W/", ",", '"', "x", '"\xe9"'])
def test_an_odd_tag_is_no_version(learner, tag):
    refused = learner.client.patch(URL, json={"display_name": "B"}, headers={"If-Match": tag})
    assert refused.status_code == 412
