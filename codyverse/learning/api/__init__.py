"""The API of learning: one module a resource, each with its blueprint and schemas."""

from __future__ import annotations

from flask import Flask

from codyverse import extensions
from codyverse.http.api import PREFIX
from codyverse.learning.api import attempts, courses, progress

BLUEPRINTS = (courses.blueprint, attempts.blueprint, progress.blueprint)


def init_app(app: Flask) -> None:
    """Register the blueprints."""
    for blueprint in BLUEPRINTS:
        extensions.api.register_blueprint(blueprint, url_prefix=PREFIX)
