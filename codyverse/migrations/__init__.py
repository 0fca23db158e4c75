"""The schema's history: Alembic, configured in code, since there is nothing for an operator to configure."""

from __future__ import annotations

import functools
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

FOLDER = Path(__file__).resolve().parent


def configuration(connection: sa.Connection | None = None) -> Config:
    """Return Alembic's configuration, with the connection that its commands shall use."""
    configured = Config()
    configured.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    configured.set_main_option("path_separator", "os")
    configured.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    configured.attributes["connection"] = connection
    return configured


@functools.cache
def head() -> str | None:
    """Return the newest revision that this code knows: `0001`, `0002` … in order."""
    return ScriptDirectory.from_config(configuration()).get_current_head()


@functools.cache
def known() -> frozenset[str]:
    """Return the revisions that this code knows."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions())


def current(connection: sa.Connection) -> str | None:
    """Return the revision that the database is at, None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()
