"""Who is told when tags change: this host's generations, and the cluster.

What the cluster could not be told is owed to it, for all processes of the host: whoever next finds Redis answering has everything
outdated there before anybody uses what lies in it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import NamedTuple

from codyverse.operations.cache.cluster import Cluster
from codyverse.operations.cache.generations import Generations, NullGenerations


class Changed(NamedTuple):
    """The numbers of a change, on the host and in the cluster; what is kept as of them is outdated by every later one."""

    as_of: int
    cluster_as_of: int | None


class Changes:
    """What the database tells of its transactions; see codyverse.database.Changes."""

    def __init__(self, generations: Generations | NullGenerations, cluster: Cluster) -> None:
        self._generations = generations
        self._cluster = cluster
        self._thread = threading.local()

    def begin(self, tags: Collection[str]) -> None:
        """Hear that tags are about to change."""
        self._generations.begin(tags)
        self._thread.told = self._cluster.begin(tags)
        if not self._thread.told:
            self._generations.owe()  # before the commit: should this process be killed, others know

    def end(self, tags: Collection[str]) -> None:
        """Hear that they have changed."""
        self._ended(tags)

    def change(self, tags: Collection[str]) -> Changed:
        """Outdate what was read under these tags; returns the numbers of the change."""
        self.begin(tags)
        return self._ended(tags)

    def outdate_all(self) -> None:
        """Outdate everything, on every host."""
        self._generations.outdate_all()
        if not self._cluster.outdate_all():
            self._generations.owe()

    def close(self) -> None:
        """Close connections."""
        self._cluster.close()

    def settled(self) -> bool:
        """Say whether the cluster knows of every change of this host, and tell it if it does not."""
        owed = self._generations.owed()
        if not owed:
            return True
        told = self._cluster.outdate_all()
        if told:
            self._generations.paid(owed)
        return told

    def _ended(self, tags: Collection[str]) -> Changed:
        # The cluster first: between the two nobody on this host keeps anything under these tags.
        number = self._cluster.end(tags) if getattr(self._thread, "told", False) else None
        if number is None:
            # Again, and after the commit: what was owed since before it may have been paid too early.
            self._generations.owe()
        changed = Changed(self._generations.end(tags), number)
        self.settled()
        return changed
