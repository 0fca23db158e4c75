"""The API's own documentation: the OpenAPI document, and Swagger UI to try it in.

Swagger UI is served from here and not from a CDN: the page works without the internet and tells nobody who reads it. Its files
come from npm (`frontend/package.json` says which) and lie unchanged in `static/swagger-ui/`.
"""

from __future__ import annotations

from flask import Flask, Response, render_template

from codyverse import extensions
from codyverse.http.api import PREFIX
from codyverse.http.auth import public
from codyverse.operations import security_headers


def init_app(app: Flask) -> None:
    """Serve `/api/v1/openapi.json` and `/api/docs`."""
    spec = extensions.api.spec  # this application's: the next one that is created puts another in its place
    written: list[str] = []

    @public
    def openapi() -> Response:
        """Return the OpenAPI document; written at the first call, when every blueprint is registered."""
        if not written:
            written.append(app.json.dumps(spec.to_dict()))
        return Response(written[0], mimetype="application/json")

    @public
    def docs() -> Response:
        """Return the page with Swagger UI."""
        security_headers.also_allow("img-src", "data:")  # Swagger UI's style sheet holds its icons
        return Response(render_template("docs.html"), mimetype="text/html")

    app.add_url_rule(f"{PREFIX}/openapi.json", "openapi", openapi)
    app.add_url_rule("/api/docs", "docs", docs)
