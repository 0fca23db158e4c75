"""The plans that PostgreSQL makes for the statements the service really sends, with their real parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from benchmarks.recording import Statement

LARGE_ROWS = 10_000  # reading the whole of a smaller table is what a good planner does
_SIZES = sa.text("SELECT relname, reltuples FROM pg_class WHERE relkind = 'r'")


@dataclass(frozen=True)
class Plan:
    """What the statements of a call use: indexes, and large tables read as a whole, which there should be none of."""

    indexes: frozenset[str]
    large_scans: frozenset[str]


def explain(connection: sa.Connection, statements: list[Statement]) -> Plan:
    """Return the plan of all statements together. Nothing is executed."""
    sizes = {row.relname: row.reltuples for row in connection.execute(_SIZES)}
    indexes, scanned = set(), set()
    for statement in statements:
        if not statement.sql.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
            continue
        parameters = statement.parameters[0] if statement.many else statement.parameters
        found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement.sql}", parameters).scalar_one()
        for node in _nodes(found[0]["Plan"]):
            if "Index Name" in node:
                indexes.add(node["Index Name"])
            if node["Node Type"] == "Seq Scan" and sizes.get(node["Relation Name"], 0) >= LARGE_ROWS:
                scanned.add(node["Relation Name"])
            # An insert uses the index that decides about conflicts without a node of its own.
            indexes.update(node.get("Conflict Arbiter Indexes", ()))
    return Plan(frozenset(indexes), frozenset(scanned))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)
