"""The unbound Flask extensions, nothing else."""

from __future__ import annotations

from typing import cast

from flask import current_app
from werkzeug.local import LocalProxy

from codyverse.database import Database
from codyverse.http.api import Api
from codyverse.operations.cache import Cache
from codyverse.operations.cache.flask_caching import FlaskCache

api = Api()
database = cast(Database, LocalProxy(lambda: current_app.extensions["codyverse.database"]))
cache = cast(Cache, LocalProxy(lambda: current_app.extensions["codyverse.cache"]))
flask_cache = FlaskCache(with_jinja2_ext=False)
