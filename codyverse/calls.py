"""What a use of the database learns about it, and who is told: the breaker, and the retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from codyverse.connections import Fault, StaleConnection, fault_of
from codyverse.operations.breaker import Breaker
from codyverse.operations.retry import Retries


class Call:
    """What a block learns about the database, told to the breaker once."""

    def __init__(self, breaker: Breaker, retries: Retries) -> None:
        self._breaker = breaker
        self._retries = retries
        self._period = breaker.allow()
        self._tried_anew = False

    def answered(self) -> None:
        """Hear that the database is well."""
        self._breaker.succeeded(self._period)

    def ended(self, fault: Fault | None) -> None:
        """Hear what ended the block."""
        if fault is Fault.SILENT:  # it has held a thread for as long as five refusals never do, and counts twice
            self._breaker.failed(self._period)
            self._breaker.failed(self._period)
        elif fault is Fault.GONE or (fault is Fault.EXHAUSTED and self._breaker.troubled):
            self._breaker.failed(self._period)
        else:
            self._breaker.unused(self._period)

    def may_try_anew(self) -> bool:
        """Say whether a read may be sent again: once a block, and within the budget."""
        if self._tried_anew or not self._retries.afford():
            return False
        self._tried_anew = True
        self._retries.tell("lost")
        return True


def worth_another_attempt(error: BaseException) -> str | None:
    """Return in a word why a transaction that raised this may run again, None when it may not."""
    if isinstance(error, StaleConnection):
        return "lost"
    return "conflict" if fault_of(error) is Fault.CONFLICT else None


def kind_of(error: BaseException, fault: Fault | None) -> str | None:
    """Return in a word what kind of error this is to who watches the database, None for what is no fault of it.

    That a row is there already is an answer, and who lost against another transaction is counted when it tries again.
    """
    if fault is Fault.GONE:
        return "connection"
    if fault in (Fault.SILENT, Fault.EXHAUSTED):
        return "timeout"
    is_no_fault = fault is Fault.CONFLICT or not isinstance(error, sa.exc.DBAPIError) or isinstance(error, sa.exc.IntegrityError)
    return None if is_no_fault else "other"


@contextmanager
def stale_at_first(begun: Callable[[], bool]) -> Iterator[None]:
    """Raise StaleConnection for a connection that was lost before anything was done with it."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if begun() or fault_of(error) is not Fault.GONE:
            raise
        cause = error.orig or error
        raise StaleConnection(error.statement, None, cause, hide_parameters=True, connection_invalidated=True) from error
