"""Settings from the environment: `load()` is called once a process, and nothing else reads environment variables."""

from __future__ import annotations

import difflib
import importlib
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from environs import Env, EnvError
from marshmallow import ValidationError
from sqlalchemy.engine import URL

from config import secret_key
from config.base import ROOT, Settings

__all__ = ["ENVIRONMENTS", "PREFIX", "ROOT", "Settings", "SettingsError", "load"]

PREFIX = "CODYVERSE_"
ENVIRONMENTS = ("development", "staging", "production", "testing")
SHORTEST_SECRET = 32  # characters; `secrets.token_urlsafe(24)` and longer pass


class SettingsError(Exception):
    """A setting that cannot be used. The message is one line and names it."""


def load(**chosen: Any) -> Settings:
    """Return the settings of the environment that `CODYVERSE_ENV` names, development when it names none.

    A value chosen by the caller wins over the variable, the variable over the environment's file, that over the default. Raises
    SettingsError for an unknown or malformed variable, and in production for a missing secret.
    """
    environment = chosen.pop("environment", None) or os.environ.get(f"{PREFIX}ENV") or "development"
    if environment not in ENVIRONMENTS:
        raise SettingsError(f"{PREFIX}ENV is {environment!r}; it must be one of {', '.join(ENVIRONMENTS)}.")
    _refuse_unknown_names()
    different = importlib.import_module(f"config.{environment}").DIFFERENT
    values = {
        f.name: chosen[f.name] if f.name in chosen else _value(f, different) for f in fields(Settings) if f.name != "environment"
    }
    instance = values["instance_path"] = _absolute("instance_path", values["instance_path"])
    values["content_path"] = _absolute("content_path", values["content_path"])
    values["secret_key"] = values["secret_key"] or _secret_of_the_instance(environment, instance)
    if len(values["secret_key"]) < SHORTEST_SECRET:
        raise SettingsError(f"{PREFIX}SECRET_KEY is shorter than {SHORTEST_SECRET} characters.")
    values["database_url"] = values["database_url"] or sqlite_url(instance / "codyverse.sqlite3")
    return Settings(environment=environment, **values)


def sqlite_url(file: Path) -> str:
    """Return the URL of a SQLite file, whatever characters stand in its path."""
    return URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)


def _absolute(name: str, path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise SettingsError(f"{PREFIX}{name.upper()}: there is no home folder for {path.parts[0]}.") from None


def _refuse_unknown_names() -> None:
    known = {f"{PREFIX}{f.name.upper()}" for f in fields(Settings)} - {f"{PREFIX}ENVIRONMENT"} | {f"{PREFIX}ENV"}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise SettingsError(f"{name} is not a setting.{hint}")


def _value(field: Any, different: dict[str, Any]) -> Any:
    default = different.get(field.name, field.default)
    name = f"{PREFIX}{field.name.upper()}"
    if not os.environ.get(name, "").strip():
        return default
    env = Env()
    parse: Any = {
        "str": env.str,
        "int": env.int,
        "float": env.float,
        "bool": env.bool,
        "Path": env.path,
        "tuple[str, ...]": _texts(env),
    }[field.type]
    valid = field.metadata["valid"]
    try:
        return parse(name, validate=[valid] if valid else None)
    except EnvError as error:
        reason = " ".join(str(error).split())
        raise SettingsError(reason if name in reason else f"{name}: {reason}") from None


def _texts(env: Env) -> Any:
    """Return a parser of texts with commas or white space between them."""

    def parse(name: str, validate: Any = None) -> tuple[str, ...]:
        texts = tuple(env.str(name).replace(",", " ").split())
        for valid in validate or ():
            try:
                valid(texts)
            except ValidationError as error:
                raise EnvError(f"{name}: {' '.join(error.messages)}") from None
        return texts

    return parse


def _secret_of_the_instance(environment: str, instance: Path) -> str:
    path = instance / "secret_key"
    try:
        key = secret_key.read(path) if environment == "production" else secret_key.read_or_make(path)
    except OSError as error:
        raise SettingsError(f"The secret key cannot be kept in {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"The secret key in {path} is no text.") from None
    if not key and environment == "production":
        raise SettingsError(f"{PREFIX}SECRET_KEY is missing: production does not start without a secret key.")
    return key
