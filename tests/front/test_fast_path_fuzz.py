"""Whatever the fast path answers equals what gunicorn and the application without it answer, and it answers nothing doubtful.

Heads are made by a grammar with mutations (`head_grammar`). Short form in `make test`; `make faults` runs 100,000.
"""

from __future__ import annotations

import inspect
import random
import re
import shutil
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies

import config
from codyverse import create_app
from codyverse.accounts import service as accounts
from codyverse.learning import content
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import components
from codyverse.server import heads
from codyverse.server.hits import Answer
from codyverse.server.shell import Refused
from tests.conftest import IMAGE_DIGEST, make_settings
from tests.faults.completions import FULL, make_learners
from tests.front.both_ways import BothWays, Outcome, message
from tests.front.head_grammar import FRIEND, HOST, Grammar, Words

HEADS = 100_000 if FULL else 5_000
SEED = 5
START = 1_795_521_600.0  # time stands still, so that dates and limits are equal too
PEERS: list[Any] = [("127.0.0.1", 40_000), ("192.0.2.1", 1), ("2001:db8::1", 40_000, 0, 0), ""]

CHOSEN: dict[str, dict[str, Any]] = {
    "alone": {},
    "behind one proxy": {"trusted_proxies": 1, "https": True, "cors_origins": ["https://*.replit.example"]},
    "behind two, little else": {"trusted_proxies": 2, "feature_compression": False, "feature_security": False},
    "refused now and then": {"limit_endpoint": "40 per minute", "limit_client": "400 per minute"},
}


class Fuzz:
    """Both ways to answer, and what was seen of them."""

    def __init__(self, folder: Path, template: Path, **chosen: Any) -> None:
        shutil.copy(template, folder / "test.sqlite3")
        self._apps = [
            create_app(self._settings(folder, str(optimized), feature_optimization=optimized, **chosen)) for optimized in (True, False)
        ]
        self.words = self._words(chosen.get("trusted_proxies", 0) > 0)
        self.both = BothWays(*self._apps)
        self.seen: Counter[str] = Counter()
        self._fill()

    @staticmethod
    def _settings(folder: Path, name: str, **chosen: Any) -> config.Settings:
        own = folder / name  # of limits, so that both count for themselves
        own.mkdir()
        return make_settings(own, f"sqlite:///{folder}/test.sqlite3", **{"cors_origins": [FRIEND]} | chosen)
