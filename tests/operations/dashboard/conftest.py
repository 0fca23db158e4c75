from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from flask import Flask

from codyverse.accounts.service import change_role
from codyverse.database import Database
from codyverse.operations import journal
from tests.conftest import Learner

Keep = Callable[..., None]


@pytest.fixture
def operator(make_learner: Callable[..., Learner], database: Database) -> Learner:
    operator = make_learner()
    change_role(database, operator.email, "admin")
    return operator


@pytest.fixture
def keep(app: Flask) -> Keep:
    """Write into the history what the evaluator would have: `keep(errors_percent=[0.0, 0.5])`, the last minute last."""

    def keep(ago_s: float = 60, step: str = "minute", **series: list[float | None]) -> None:
        step_s = 60 if step == "minute" else 3600
        last = (time.time() - ago_s) // step_s * step_s
        points = [
            (name, step, int(last) - step_s * (len(values) - 1 - number), value)
            for name, values in series.items()
            for number, value in enumerate(values)
        ]
        journal.of(app).write(lambda file: file.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", points))

    return keep
