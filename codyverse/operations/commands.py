"""`flask` commands that fail with one line and exit code 2, never with a stack trace."""

from __future__ import annotations

from typing import IO, Any

import click
import sqlalchemy.exc
from flask.cli import AppGroup

from codyverse.errors import CodyverseError


class CommandError(click.ClickException):
    """What the caller of a command did wrong, in one line."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line on standard error."""
        click.echo(f"codyverse: {' '.join(self.message.split())}", err=True, file=file)


class Group(AppGroup):
    """A group of commands whose foreseen errors end in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; raises CommandError for what the application or the database refuses."""
        try:
            return super().invoke(ctx)
        except CodyverseError as error:
            raise CommandError(error.detail or error.title) from None
        except OSError as error:
            raise CommandError(f"{error.filename or 'The output'}: {error.strerror}.") from None
        except sqlalchemy.exc.DBAPIError as error:
            raise CommandError(f"The database cannot be used: {error.orig}") from None
