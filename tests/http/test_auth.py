from __future__ import annotations

import re

import pytest

from codyverse import create_app, extensions
from codyverse.accounts.models import OPERATIONS_READ, SCOPES, sessions
from codyverse.http import auth
from codyverse.http.api import PREFIX
from tests.conftest import make_settings

ME = "/api/v1/me"


def api_views(app):
    """Return what is called at each address of the API that is an operation of the OpenAPI document."""
    documented = {
        (path, method.upper()): operation
        for path, item in extensions.api.spec.to_dict()["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }
    views = []
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(PREFIX + "/") and not rule.rule.endswith("/openapi.json"):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            for method in rule.methods - {"OPTIONS", "HEAD"}:
                views.append((app.view_functions[rule.endpoint], documented[path, method], f"{method} {rule.rule}"))
    return views


def test_every_operation_has_a_rule_and_documents_it(app):
    views = api_views(app)

    assert len(views) >= 11
    for view, operation, name in views:
        requires = getattr(view, "requires", None)
        assert requires in (auth.PUBLIC, auth.SESSION, auth.OPERATOR, *SCOPES), (
            f"{name} needs @public or @signed_in directly below its route"
        )
        scope = OPERATIONS_READ if requires == auth.OPERATOR else requires
        expected = {auth.PUBLIC: [], auth.SESSION: [{"session": []}]}
        if name.endswith("/batch"):  # anybody may send one, and each of its operations asks for its own
            expected[auth.PUBLIC] = [{}, {"session": []}, {"bearer": []}]
        assert operation["security"] == expected.get(requires, [{"session": []}, {"bearer": [scope]}]), name
        if requires != auth.PUBLIC:
            assert {"401", "403"} <= set(operation["responses"]), name


def test_every_operation_documents_its_errors_as_problems(app):
    document = extensions.api.spec.to_dict()

    for response in document["components"]["responses"].values():
        assert list(response["content"]) == ["application/problem+json"]
    for _, operation, name in api_views(app):
        assert "503" in operation["responses"], name
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= set(operation["responses"]), name


def test_nobody_gets_past_a_rule(app):
    client = app.test_client()

    for view, _, name in api_views(app):
        if view.requires != auth.PUBLIC:
            method, _, rule = name.partition(" ")
            address = "/".join("1" if part.startswith("<") else part for part in rule.split("/"))
            response = client.open(address, method=method, data="{", content_type="application/json")
            assert response.status_code == 401, name  # before the body is read
            assert response.headers["WWW-Authenticate"].startswith("Bearer ")


def token(learner, *scopes: str, **wanted) -> dict[str, str]:
    response = learner.client.post("/api/v1/auth/tokens", json={"name": "t", "scopes": scopes, **wanted})
    return {"Authorization": f"Bearer {response.json['token']}"}


def test_a_token_needs_the_scope(client, learner):
    read, write = token(learner, "profile:read"), token(learner, "profile:write")

    assert client.get(ME, headers=read).status_code == 200
    assert client.patch(ME, json={}, headers=write).status_code == 200
    for refused in (client.patch(ME, json={"locale": "fr"}, headers=read), client.get(ME, headers=write)):
        assert refused.status_code == 403
        assert refused.json["type"] == "urn:codyverse:problem:forbidden"
    assert learner.client.get(ME).json["locale"] == "en"


def test_sessions_and_tokens_are_managed_in_a_browser_only(client, learner, rows):
    headers = token(learner, *SCOPES)

    for method, path in [
        ("GET", "sessions"),
        ("DELETE", "sessions/1"),
        ("GET", "tokens"),
        ("POST", "tokens"),
        ("DELETE", "tokens/1"),
        ("POST", "logout"),
    ]:
        response = client.open(f"/api/v1/auth/{path}", method=method, headers=headers)
        assert response.status_code == 403, path
    assert rows(sessions)[0]["revoked_at"] is None


def test_the_bearer_counts_where_there_is_a_cookie_too(learner, make_learner):
    other = make_learner()

    assert learner.client.get(ME, headers=token(other, "profile:read")).json["id"] == other.id
    assert learner.client.get(ME, headers={"Authorization": "Bearer cv_unknown"}).status_code == 401


def test_a_bearer_that_is_none_is_refused(client):
    for value in ("Bearer", "Bearer ", "bearer x y", "Bearer a=b", "Bearer \xe9\xff", "Bearer " + "x" * 5000):
        response = client.get(ME, headers={"Authorization": value})
        assert response.status_code == 401, value
        assert response.json["type"] == "urn:codyverse:problem:not-signed-in"


def test_other_kinds_of_authorization_are_not_ours(learner, client):
    for value in ("Basic YTpi", "Basic !!", "Digest x=1", ""):
        assert learner.client.get(ME, headers={"Authorization": value}).status_code == 200, value
        assert client.get(ME, headers={"Authorization": value}).status_code == 401, value


def test_a_cookie_that_is_none_is_refused(client):
    for value in ("", "x", "\xe9", "a" * 3000, "%00", '"\\000"'):
        assert client.get(ME, headers={"Cookie": f"codyverse={value}"}).status_code == 401, value


def test_the_scheme_is_read_in_any_case(client, learner):
    headers = {"Authorization": token(learner, "profile:read")["Authorization"].replace("Bearer", "bEARER")}

    assert client.get(ME, headers=headers).status_code == 200


def test_a_scope_that_does_not_exist_is_a_mistake():
    with pytest.raises(ValueError, match="learning:raed"):
        auth.signed_in("learning:raed")


def test_what_is_personal_stays_out_of_shared_caches(client, learner):
    for response in (learner.client.get(ME), client.get(ME), learner.client.get("/api/v1/auth/sessions")):
        assert response.headers["Cache-Control"] in ("private, no-cache", "no-store")
        assert {"Cookie", "Authorization"} <= set(response.vary)


def test_over_https_the_cookie_belongs_to_the_host_alone(database_url, tmp_path, clock):
    app = create_app(make_settings(tmp_path, database_url, session_cookie_secure=True))
    app.extensions["codyverse.database"].clock = clock
    client = app.test_client()
    details = {"email": "a@example.org", "password": "seven quiet otters", "display_name": "A", "birth_date": "1990-12-10"}
    cookie = client.post("/api/v1/auth/register", json=details, base_url="https://localhost").headers["Set-Cookie"]

    assert cookie.startswith("__Host-codyverse=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie
    assert client.get(ME, base_url="https://localhost").status_code == 200
    csrf = client.get_cookie("__Host-codyverse-csrf").value
    response = client.post("/api/v1/auth/logout", base_url="https://localhost", headers={"X-CSRF-Token": csrf})
    assert response.headers["Set-Cookie"].startswith("__Host-codyverse=; ")
    assert "Secure" in response.headers["Set-Cookie"]
    schemes = extensions.api.spec.to_dict()["components"]["securitySchemes"]
    assert schemes["session"]["name"] == "__Host-codyverse"
    app.extensions["codyverse.database"].close()
