"""CodyVerse: a platform on which people learn about AI."""

from __future__ import annotations

from flask import Flask

import config
from codyverse import errors, extensions
from codyverse.accounts import api as accounts_api
from codyverse.accounts import cli as accounts_cli
from codyverse.database import Database
from codyverse.http import api as http_api
from codyverse.http import auth, clients, conditional, csp_reports, csrf, docs, json, request_limits
from codyverse.learning import api as learning_api
from codyverse.learning import cli as learning_cli
from codyverse.learning import pages as learning_pages
from codyverse.migrations import cli as migrations_cli
from codyverse.operations import (
    components,
    compression,
    cors,
    health,
    limits,
    limits_cli,
    logging,
    proxies,
    security_headers,
    tallies,
)
from codyverse.rewards import api as rewards_api
from codyverse.rewards import cli as rewards_cli


def create_app(settings: config.Settings | None = None) -> Flask:
    """Return the application. Raises config.SettingsError when the environment's settings cannot be used."""
    settings = settings or config.load()
    app = Flask(__name__, instance_path=str(settings.instance_path))
    app.config.from_mapping(
        CODYVERSE=settings,
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
    )

    logging.init_app(app)
    components.init_app(app)
    tallies.init_app(app)
    app.extensions["codyverse.database"] = Database(settings)
    components.of(app).add("database", app.extensions["codyverse.database"].close)

    errors.init_app(app)
    json.init_app(app)
    proxies.init_app(app)
    security_headers.init_app(app)
    limits.init_app(app, clients.client)
    request_limits.init_app(app)
    cors.init_app(app)
    compression.init_app(app)
    conditional.init_app(app)
    csrf.init_app(app)
    http_api.init_app(app, extensions.api)
    auth.init_app(app)
    csp_reports.init_app(app)
    docs.init_app(app)
    health.init_app(app)

    accounts_api.init_app(app)
    learning_api.init_app(app)
    learning_pages.init_app(app)
    rewards_api.init_app(app)

    migrations_cli.init_app(app)
    accounts_cli.init_app(app)
    learning_cli.init_app(app)
    rewards_cli.init_app(app)
    limits_cli.init_app(app)
    return app
