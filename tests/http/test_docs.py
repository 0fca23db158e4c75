from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from codyverse import create_app

STATIC = Path(__file__).parents[2] / "codyverse" / "static"


def test_the_document_is_valid_openapi_3_1(client: FlaskClient) -> None:
    response = client.get("/api/v1/openapi.json")

    assert response.status_code == 200
    assert response.mimetype == "application/json"
    assert response.json is not None
    assert response.json["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(response.json).validate()


def test_the_document_names_every_route_of_the_api(app: Flask, client: FlaskClient) -> None:
    paths = client.get("/api/v1/openapi.json").json["paths"]  # type: ignore[index]

    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and rule.endpoint != "openapi"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    documented = {(path, method) for path, methods in paths.items() for method in methods if method != "parameters"}
    assert documented == served


def test_every_application_of_a_process_has_its_own_document(app: Flask, client: FlaskClient) -> None:
    other = create_app(dataclasses.replace(app.config["CODYVERSE"], session_cookie_secure=True))

    def cookie(client: FlaskClient) -> str:
        name: str = client.get("/api/v1/openapi.json").json["components"]["securitySchemes"]["session"]["name"]  # type: ignore[index]
        return name

    assert cookie(client) == "codyverse"
    assert cookie(other.test_client()) == "__Host-codyverse"


def test_the_document_is_not_sent_twice(client: FlaskClient) -> None:
    etag = client.get("/api/v1/openapi.json").headers["ETag"]

    response = client.get("/api/v1/openapi.json", headers={"If-None-Match": etag})

    assert (response.status_code, response.data) == (304, b"")


def test_swagger_ui_needs_nothing_inline_and_nothing_from_outside(client: FlaskClient) -> None:
    response = client.get("/api/docs")
    page = response.text

    assert response.status_code == 200
    policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", page)
    addresses = re.findall(r'(?:src|href|data-openapi)="([^"]+)"', page)
    assert addresses
    for address in addresses:
        assert address.startswith("/")
        with client.get(address) as file:
            assert file.status_code == 200, address


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"])
def test_the_licences_of_swagger_ui_lie_beside_it(name: str) -> None:
    assert (STATIC / "swagger-ui" / name).stat().st_size
