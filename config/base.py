"""Every setting: its name, type, default and one line of help.

A setting `database_url` is read from the environment variable `CODYVERSE_DATABASE_URL`. What one environment does differently
stands in the file of its name beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, validate
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parent.parent

DATABASES = ("sqlite", "postgres", "postgresql", "postgresql+psycopg2")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def usable_database_url(text: str) -> None:
    """Raise ValidationError for what is no address of a database that we support."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is not None and url.drivername == "sqlite" and url.query:
        raise ValidationError("must be sqlite:///file, with nothing behind it.")
    if url is None or url.drivername not in DATABASES or not url.database or url.database.startswith((":memory:", "file:")):
        raise ValidationError("must be sqlite:///file or postgresql://user:password@host/name.")


def setting(default: Any, help: str, valid: Callable[[Any], Any] | None = None, secret: bool = False) -> Any:
    """Declare a setting with its default, one line of help, what makes a value valid, and whether it must never be shown."""
    return field(default=default, metadata={"help": help, "valid": valid, "secret": secret})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the application was started with; made by `config.load` and never changed afterwards."""

    environment: str
    instance_path: Path = setting(ROOT / "instance", "Folder of what this installation writes: database and secret key.")
    secret_key: str = setting(
        "",
        "Key of every signature. Without it the file secret_key in the instance folder is read, and outside production made.",
        secret=True,
    )
    database_url: str = setting(
        "",
        "sqlite:///file or postgresql://user:password@host/name. Without it codyverse.sqlite3 in the instance folder.",
        usable_database_url,
        secret=True,
    )
    database_pool_size: int = setting(5, "Connections that one process keeps at the most.", validate.Range(min=1, max=100))
    database_connect_timeout_s: int = setting(
        3, "Seconds to wait for PostgreSQL to accept a connection.", validate.Range(min=1, max=60)
    )
    database_statement_timeout_s: float = setting(
        10.0, "Seconds after which PostgreSQL ends a statement.", validate.Range(min=0.1, max=600)
    )
    database_busy_timeout_s: float = setting(
        5.0, "Seconds to wait for another writer of the SQLite file.", validate.Range(min=0.1, max=60)
    )
    content_path: Path = setting(ROOT / "content", "Folder of the catalogue that `flask content` reads when none is named.")
    max_body_bytes: int = setting(
        256 * 1024, "Longest request body that is accepted.", validate.Range(min=1024, max=64 * 1024 * 1024)
    )
    session_days: int = setting(30, "Days until a browser has to sign in again.", validate.Range(min=1, max=365))
    session_cookie_secure: bool = setting(
        True, "Send the session cookie over HTTPS (or to localhost) only, under a __Host- name."
    )
    log_level: str = setting("WARNING", "Least severe log line that is written.", validate.OneOf(LOG_LEVELS))
