import brotli
import pytest
from flask_compress.compat import compression

from codyverse import create_app
from tests.conftest import make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

DECODE = {"zstd": compression.zstd.decompress, "br": brotli.decompress, "gzip": compression.gzip.decompress}


@pytest.fixture
def path(catalogue):
    return f"/api/v1/lessons/{catalogue.lesson('machines/what-is-a-guess')}"


def test_it_works(client, path):
    plain = client.get(path)
    for accepted, chosen in (("gzip, deflate, br, zstd", "zstd"), ("gzip, br", "br"), ("gzip", "gzip")):
        answer = client.get(path, headers={"Accept-Encoding": accepted})
        assert answer.headers["Content-Encoding"] == chosen
        assert DECODE[chosen](answer.data) == plain.data
        assert len(answer.data) < len(plain.data) / 2
        assert "Accept-Encoding" in answer.vary


@pytest.mark.parametrize(
    "accepted", ["", "identity", "deflate", "br;q=0", "br;q=0,*", "gzip;q=0, *;q=0.5", "nonsense;;;q=x", "compress"]
)
def test_nobody_gets_what_they_did_not_accept(client, path, accepted):
    assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": accepted}).headers


def test_a_part_of_a_file_is_sent_as_it_is(client):
    with client.get("/static/app.css", headers={"Accept-Encoding": "br", "Range": "bytes=0-999"}) as part:
        assert part.status_code == 206
        assert "Content-Encoding" not in part.headers
        assert len(part.data) == 1000


def test_each_encoding_has_its_etag_and_304(client, path):
    tags = set()
    for accepted in ("zstd", "br", "gzip", "identity"):
        tag = client.get(path, headers={"Accept-Encoding": accepted}).headers["ETag"]
        again = client.get(path, headers={"Accept-Encoding": accepted, "If-None-Match": tag})
        assert (again.status_code, again.data) == (304, b"")
        tags.add(tag)
    assert len(tags) == 4


def test_what_is_small_stays_as_it_is(client):
    assert "Content-Encoding" not in client.get("/livez", headers={"Accept-Encoding": "br"}).headers


def test_a_secret_is_never_compressed_beside_what_was_sent(learner):
    body = {
        "name": "reflected " * 8,
        "scopes": ["profile:read", "profile:write", "learning:read", "learning:write", "rewards:read"],
    }
    learner.client.application.config["COMPRESS_MIN_SIZE"] = 1
    for _ in range(6):  # the list is long enough to be compressed, the answer with the secret would be too
        answer = learner.client.post("/api/v1/auth/tokens", json=body, headers={"Accept-Encoding": "br"})
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Content-Encoding" not in answer.headers
    assert learner.client.get("/api/v1/auth/tokens", headers={"Accept-Encoding": "br"}).headers["Content-Encoding"] == "br"


def test_a_profile_can_be_changed_by_the_tag_of_any_encoding(learner):
    for encoding in ("br", "identity"):
        tag = learner.client.get("/api/v1/me", headers={"Accept-Encoding": encoding}).headers["ETag"]
        for sent in (tag, tag.replace('"', "", 1).replace('"', ':br"').join(['"', ""]), f"W/{tag}"):
            changed = learner.client.patch("/api/v1/me", json={}, headers={"If-Match": sent})
            assert changed.status_code == 200, sent


def test_pages_and_style_sheets_are_compressed(client, catalogue):
    for path in ("/", "/static/app.css"):
        answer = client.get(path, headers={"Accept-Encoding": "br"})
        assert answer.headers["Content-Encoding"] == "br"
        answer.close()


def test_switched_off_nothing_is_compressed(database_url, tmp_path, catalogue, path):
    app = create_app(make_settings(tmp_path, database_url, feature_compression=False))
    answer = app.test_client().get(path, headers={"Accept-Encoding": "br"})
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers
    app.extensions["codyverse.database"].close()
