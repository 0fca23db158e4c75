"""The unbound Flask extensions, nothing else."""

from __future__ import annotations

from typing import cast

from flask import current_app
from werkzeug.local import LocalProxy

from codyverse.database import Database
from codyverse.http.api import Api

api = Api()
database = cast(Database, LocalProxy(lambda: current_app.extensions["codyverse.database"]))
