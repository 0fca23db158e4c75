"""Each flag off and on is tested beside its part; here, that `/health` tells the truth about all of them."""

from dataclasses import fields

import pytest

from codyverse import create_app
from config import Settings
from tests.conftest import make_settings

FLAGS = [field.name for field in fields(Settings) if field.name.startswith("feature_")]


def test_it_works(client):
    assert client.get("/health").json["features"] == dict.fromkeys(
        ["security", "rateLimit", "compression", "caching", "circuitBreaker", "optimization", "monitoring"], True
    )


@pytest.mark.parametrize("flag", FLAGS)
def test_each_one_is_shown_off_and_the_service_works(flag, database_url, tmp_path):
    app = create_app(make_settings(tmp_path, database_url, **{flag: False}))
    client = app.test_client()
    assert list(client.get("/health").json["features"].values()).count(False) == 1
    assert client.get("/api/v1/courses").status_code == 200
    assert client.get("/").status_code == 200
    app.extensions["codyverse.database"].close()
