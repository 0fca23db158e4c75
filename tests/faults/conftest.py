"""A database on a cluster of the test's own, migrated, with lessons and learners who are going to complete them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from codyverse import create_app
from codyverse.database import Database
from codyverse.operations import components
from tests.conftest import make_settings, migrate
from tests.postgresql_cluster import Cluster, cluster

__all__ = ["cluster"]


@pytest.fixture
def survivor(cluster: Cluster, tmp_path: Path) -> Iterator[Database]:
    """The cluster's database, seen directly: past proxies, and by a process that no fault reaches."""
    folder = tmp_path / "beside"
    folder.mkdir()
    migrate(make_settings(folder, cluster.url))
    app = create_app(make_settings(folder, cluster.url))
    database: Database = app.extensions["codyverse.database"]
    yield database
    components.of(app).close()
