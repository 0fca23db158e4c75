"""Loading anew behind an answer that was given with what is late."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from codyverse.operations.cache.reading import reading

log = logging.getLogger("codyverse.cache")

THREADS = 2
LONGEST_QUEUE = 100  # what does not fit is asked for again by the next reader


class Background:
    """A few threads, begun in the process that first needs them; each key is worked on once at a time."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0
        self._keys: set[str] = set()
        self._guard = threading.Lock()

    def do(self, key: str, job: Callable[[], object]) -> None:
        """Have the job done, unless one for the key is being done."""
        with self._guard:
            if self._pid != os.getpid():
                self._pid, self._keys = os.getpid(), set()
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="cache")
            if self._pool is None or key in self._keys or len(self._keys) >= LONGEST_QUEUE:
                return
            self._keys.add(key)
            # The loader may ask for the application that is current where it was made.
            self._pool.submit(contextvars.copy_context().run, self._run, key, job)

    def close(self) -> None:
        """Finish what is being done, and do nothing any more."""
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, key: str, job: Callable[[], object]) -> None:
        try:
            with reading():  # what is read here is no part of the answer
                job()
        except Exception as error:
            log.warning("what is late could not be loaded anew: %s", type(error).__name__)
        finally:
            with self._guard:
                self._keys.discard(key)
