"""The fixtures of these tests, gathered here so that one PostgreSQL serves all of them."""

from __future__ import annotations

from tests.operations.doctor.deployments import (  # noqa: F401
    case,
    filled_file,
    filled_server,
    good_settings,
    in_memory,
    machine,
    on_postgresql,
    on_sqlite,
)
from tests.redis import redis_server  # noqa: F401
