"""CodyVerse: a platform on which people learn about AI."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask

import config
from codyverse import errors, extensions
from codyverse.accounts import api as accounts_api
from codyverse.accounts import checks as accounts_checks
from codyverse.accounts import cli as accounts_cli
from codyverse.accounts import pages as accounts_pages
from codyverse.database import Database
from codyverse.http import api as http_api
from codyverse.http import (
    audit_trail,
    auth,
    batch,
    clients,
    conditional,
    csp_reports,
    csrf,
    docs,
    finishing,
    front,
    json,
    operators,
    request_limits,
)
from codyverse.learning import api as learning_api
from codyverse.learning import checks as learning_checks
from codyverse.learning import cli as learning_cli
from codyverse.learning import pages as learning_pages
from codyverse.learning.api import events as learning_events_api
from codyverse.migrations import cli as migrations_cli
from codyverse.operations import (
    alerts,
    alerts_cli,
    audit_cli,
    cache,
    cache_cli,
    components,
    compression,
    cors,
    dashboard,
    database_faults,
    gauges,
    health,
    limits,
    limits_cli,
    logging,
    metrics,
    proxies,
    request_ids,
    security_headers,
    slow_requests,
    statements,
    statements_cli,
    tallies,
)
from codyverse.operations.backup import cli as backup_cli
from codyverse.operations.cache import flask_caching
from codyverse.operations.deploy import canary_cli, drain_cli
from codyverse.operations.deploy import cli as deploy_cli
from codyverse.operations.doctor import cli as doctor_cli
from codyverse.rewards import api as rewards_api
from codyverse.rewards import checks as rewards_checks
from codyverse.rewards import cli as rewards_cli
from codyverse.rewards import verification

COMMANDS: tuple[Any, ...] = (
    migrations_cli,
    statements_cli,
    accounts_cli,
    learning_cli,
    rewards_cli,
    limits_cli,
    cache_cli,
    alerts_cli,
    audit_cli,
    deploy_cli,
    canary_cli,
    drain_cli,
)


class Application(Flask):
    """Flask, for functions that are not coroutines, of which there are none here: asking each of them costs 40 µs a request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function."""
        return func


def create_app(settings: config.Settings | None = None) -> Flask:
    """Return the application. Raises config.SettingsError when the environment's settings cannot be used."""
    settings = settings or config.load()
    app = Application(__name__, instance_path=str(settings.instance_path))
    app.config.from_mapping(
        CODYVERSE=settings,
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
    )

    components.init_app(app)
    logging.init_app(app)
    tallies.init_app(app)
    gauges.init_app(app)
    cache.init_app(app)
    flask_caching.init_app(app, extensions.flask_cache)
    app.extensions["codyverse.database"] = Database(settings, changes=cache.changes(app))
    components.of(app).add("database", app.extensions["codyverse.database"].close)
    database_faults.init_app(app, app.extensions["codyverse.database"])
    statements.init_app(app)

    errors.init_app(app)
    json.init_app(app)
    slow_requests.init_app(app)
    metrics.init_app(app, auth.operator)
    finishing.init_app(app, app.extensions.get("codyverse.generations"))
    proxies.init_app(app)
    request_ids.init_app(app)
    security_headers.init_app(app)
    limits.init_app(app, clients.client)
    front.init_app(app)
    request_limits.init_app(app)
    cors.init_app(app)
    compression.init_app(app)
    conditional.init_app(app)
    csrf.init_app(app)
    http_api.init_app(app, extensions.api)
    auth.init_app(app)
    csp_reports.init_app(app)
    batch.init_app(app)
    operators.init_app(app)
    audit_trail.init_app(app)
    docs.init_app(app)
    health.init_app(app, auth.operator)
    alerts.init_app(app, partial(metrics.samples, app))
    metrics.show_alerts(app, alerts.states)
    dashboard.init_app(app, auth.operator)

    accounts_api.init_app(app)
    accounts_pages.init_app(app)
    learning_api.init_app(app)
    learning_events_api.init_app(app)
    learning_pages.init_app(app)
    rewards_api.init_app(app)

    for commands in COMMANDS:
        commands.init_app(app)
    backup_cli.init_app(app, verification.compare, folders=("avatars",))
    doctor_cli.init_app(app, (learning_checks.group, rewards_checks.group, accounts_checks.group))
    return app
