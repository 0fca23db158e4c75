import pytest

from codyverse import create_app
from tests.conftest import make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

EXACT = "https://app.example.org"
PATH = "/api/v1/courses"


@pytest.fixture
def make_client(database_url, tmp_path):
    apps = []

    def make(**chosen):
        apps.append(create_app(make_settings(tmp_path, database_url, **chosen)))
        return apps[-1].test_client()

    yield make
    for app in apps:
        app.extensions["codyverse.database"].close()


@pytest.fixture
def client(make_client):
    return make_client(cors_origins=(EXACT, "http://localhost:5173", "https://*.replit.app", "https://*.replit.dev"))


def preflight(client, origin, method="POST", headers="content-type, x-csrf-token", path=PATH):
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return client.options(path, headers=asked)


def test_it_works(client):
    answer = client.get(PATH, headers={"Origin": EXACT})
    assert answer.headers["Access-Control-Allow-Origin"] == EXACT
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in answer.vary
    assert {"ETag", "RateLimit", "Retry-After"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))


def test_a_preflight_is_answered_for_24_hours(client):
    answer = preflight(client, EXACT)
    assert answer.headers["Access-Control-Max-Age"] == "86400"
    assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
    assert set(answer.headers["Access-Control-Allow-Headers"].split(", ")) == {"content-type", "x-csrf-token"}
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/auth/login", "/api/v1/lessons/1/completions"])
def test_a_preflight_needs_no_sign_in(client, path):
    assert preflight(client, EXACT, path=path).headers["Access-Control-Allow-Origin"] == EXACT


def test_a_header_that_nobody_needs_is_not_allowed(client):
    assert "x-evil" not in preflight(client, EXACT, headers="content-type, x-evil").headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PURGE"])
def test_other_methods_are_not_allowed(client, method):
    assert "Access-Control-Allow-Methods" not in preflight(client, EXACT, method=method).headers


@pytest.mark.parametrize("origin", ["https://x.replit.app", "https://a-b.c.replit.dev", "https://x--1.id.replit.app"])
def test_a_wildcard_admits_without_credentials(client, origin):
    answer = client.get(PATH, headers={"Origin": origin})
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Access-Control-Allow-Credentials" not in preflight(client, origin).headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://x.replit.app.evil.example",
        "https://replit.app",
        "https://.replit.app",
        "https://evilreplit.app",
        "https://xreplit.app",
        "http://x.replit.app",
        "https://x.replit.app:8443",
        "https://x.replit.app/",
        "https://x.replit.app\t",
        "https://x.replit.appx",
        "https://x.replit,app",
        "https://x_y.replit.app",
        "https://-x.replit.app",
        "https://x.replit.app@evil.example",
        "https://evil.example/.replit.app",
        "https://evil.example#.replit.app",
        "https://evil.example?.replit.app",
        "https://evil.example\\.replit.app",
        "https://app.example.org.evil.example",
        "https://appXexample.org",
        "https://sub.app.example.org",
        "http://app.example.org",
        "https://app.example.org:443",
        "https://evil.example https://app.example.org",
        "HTTPS://APP.EXAMPLE.ORG",
        "http://localhost:5174",
        "http://localhost",
        "null",
        "",
        "*",
        "file://",
        "https://xn--replit-.app",
    ],
)
def test_nobody_else_is_admitted(client, origin):
    for answer in (client.get(PATH, headers={"Origin": origin}), preflight(client, origin)):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control-")]


def test_answers_vary_by_origin_also_without_one(client, make_client):
    assert "Origin" in client.get(PATH).vary
    assert "Origin" in make_client().get(PATH).vary
    assert "Access-Control-Allow-Origin" not in client.get(PATH).headers


def test_errors_can_be_read_too(client):
    for path, status in (("/api/v1/me", 401), ("/api/v1/nothing", 404), ("/api/v1/courses?limit=x", 422)):
        answer = client.get(path, headers={"Origin": EXACT})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, EXACT)


def test_pages_are_not_for_other_origins(client):
    assert "Access-Control-Allow-Origin" not in client.get("/", headers={"Origin": EXACT}).headers


def test_credentials_with_a_wildcard_only_by_name_and_with_a_warning(make_client, caplog):
    client = make_client(cors_origins=("https://*.replit.app",), cors_credentials_with_wildcard=True)
    answer = client.get(PATH, headers={"Origin": "https://x.replit.app"})
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "any origin that the wildcards" in caplog.text


def test_credentials_can_be_switched_off(make_client):
    client = make_client(cors_origins=(EXACT,), cors_credentials=False)
    answer = client.get(PATH, headers={"Origin": EXACT})
    assert answer.headers["Access-Control-Allow-Origin"] == EXACT
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_without_origins_there_is_no_cors(make_client):
    answer = preflight(make_client(), EXACT)
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control-")]


def test_two_applications_do_not_share_origins(make_client):
    first, second = make_client(cors_origins=(EXACT,)), make_client(cors_origins=("https://other.example.org",))
    assert first.get(PATH, headers={"Origin": EXACT}).headers["Access-Control-Allow-Origin"] == EXACT
    assert "Access-Control-Allow-Origin" not in second.get(PATH, headers={"Origin": EXACT}).headers
