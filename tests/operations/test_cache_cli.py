from __future__ import annotations

import json

from codyverse.operations import cache
from tests.operations.cache.made import Source


def run(app, *arguments):
    result = app.test_cli_runner().invoke(args=["cache", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_it_works(app):
    made = cache.of(app)
    source = Source("four")
    for _ in range(4):
        made.cached("k", source, ["t"])
    figures = json.loads(run(app, "stats", "--json"))
    assert figures["loaded"] == 1
    assert figures["tiers"]["l1"] == {
        "hits": 3,
        "misses": 1,
        "hit_rate": 0.75,
        "evictions": 0,
        "failures": 0,
        "entries": 1,
        "bytes": 6,
    }
    assert figures["tiers"]["l2"]["misses"] == 1
    assert figures["tiers"]["l3"]["hit_rate"] is None
    table = run(app, "stats").splitlines()
    assert table[1].split() == ["L1", "process", "3", "1", "75.0%", "0", "1", "6"]


def test_invalidate_outdates_what_running_processes_keep(app):
    made = cache.of(app)
    source = Source(1)
    made.cached("k", source, ["course:a"])
    source.value = 2
    assert run(app, "invalidate", "course:b") == "Outdated: course:b\n"
    assert made.cached("k", source, ["course:a"]) == 1
    assert run(app, "invalidate", "course:b", "course:a") == "Outdated: course:b, course:a\n"
    assert made.cached("k", source, ["course:a"]) == 2


def test_clear(app):
    made = cache.of(app)
    source = Source(1)
    made.cached("k", source, ["t"])
    source.value = 2
    run(app, "clear")
    assert made.cached("k", source, ["t"]) == 2
