import pytest

from codyverse import create_app
from codyverse.accounts.models import api_tokens
from tests.conftest import make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

TOKENS = "/api/v1/auth/tokens"
BODY = {"name": "t", "scopes": ["profile:read"]}
OWN = "http://localhost"


@pytest.fixture
def browser(learner):
    """A signed-in browser whose page sends no CSRF token by itself."""
    client = learner.again().client
    del client.environ_base["HTTP_X_CSRF_TOKEN"]
    return client


@pytest.fixture
def token(browser):
    return browser.get_cookie("codyverse-csrf").value


def test_it_works(browser, token, rows):
    assert browser.post(TOKENS, json=BODY, headers={"X-CSRF-Token": token}).status_code == 201
    assert len(rows(api_tokens)) == 1


def test_signing_in_tells_the_token_in_a_header_and_a_cookie(client, learner):
    answer = client.post("/api/v1/auth/login", json={"email": learner.email, "password": learner.password})
    assert answer.headers["X-CSRF-Token"] == client.get_cookie("codyverse-csrf").value
    [cookie] = [one for one in answer.headers.getlist("Set-Cookie") if one.startswith("codyverse-csrf")]
    assert "HttpOnly" not in cookie and "SameSite=Lax" in cookie
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("sent", [None, "", "x", "ü", "A" * 43])
def test_without_the_token_nothing_is_done(browser, rows, sent):
    headers = {} if sent is None else {"X-CSRF-Token": sent.encode().decode("latin-1")}
    refused = browser.post(TOKENS, json=BODY, headers=headers)
    assert refused.status_code == 403
    assert "X-CSRF-Token" in refused.json["errors"]
    assert rows(api_tokens) == []


def test_another_session_s_token_is_none(browser, make_learner, rows):
    other = make_learner().client.get_cookie("codyverse-csrf").value
    assert browser.post(TOKENS, json=BODY, headers={"X-CSRF-Token": other}).status_code == 403
    assert rows(api_tokens) == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_every_unsafe_method_needs_it(browser, method):
    path = {"PUT": "/api/v1/attempts/1/answers/x", "PATCH": "/api/v1/me", "DELETE": f"{TOKENS}/1", "POST": TOKENS}[method]
    assert browser.open(path, method=method, json={}).status_code == 403


def test_reading_needs_none(browser):
    assert browser.get("/api/v1/me").status_code == 200


def test_a_bearer_needs_none(browser, token, client):
    bearer = browser.post(TOKENS, json=BODY | {"scopes": ["profile:write"]}, headers={"X-CSRF-Token": token}).json["token"]
    headers = {"Authorization": f"Bearer {bearer}", "Origin": "https://evil.example"}
    assert client.patch("/api/v1/me", json={"display_name": "B"}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": OWN}, 201),
        ({"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Origin": "https://localhost"}, 403),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "anything"}, 403),
    ],
)
def test_the_page_must_be_ours(browser, token, headers, status, rows):
    answer = browser.post(TOKENS, json=BODY, headers={"X-CSRF-Token": token, **headers})
    assert answer.status_code == status
    assert len(rows(api_tokens)) == (status == 201)


def test_nobody_is_signed_in_by_another_site(client, learner):
    body = {"email": learner.email, "password": learner.password}
    refused = client.post("/api/v1/auth/login", json=body, headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert "Set-Cookie" not in refused.headers


def test_an_exact_cors_origin_may_with_the_token(database_url, tmp_path, learner, token, rows):
    app = create_app(make_settings(tmp_path, database_url, cors_origins=("https://app.example.org", "https://*.replit.app")))
    client = app.test_client()
    client.set_cookie("codyverse", learner.client.get_cookie("codyverse").value)
    for origin, status in (("https://app.example.org", 201), ("https://x.replit.app", 403)):
        assert client.post(TOKENS, json=BODY, headers={"Origin": origin, "X-CSRF-Token": token}).status_code == status
    assert client.post(TOKENS, json=BODY, headers={"Origin": "https://app.example.org"}).status_code == 403
    app.extensions["codyverse.database"].close()


def test_switched_off_it_asks_for_nothing(database_url, tmp_path, learner, clock):
    app = create_app(make_settings(tmp_path, database_url, feature_security=False))
    app.extensions["codyverse.database"].clock = clock
    client = app.test_client()
    client.set_cookie("codyverse", learner.client.get_cookie("codyverse").value)
    assert client.post(TOKENS, json=BODY, headers={"Origin": "https://evil.example"}).status_code == 201
    app.extensions["codyverse.database"].close()
