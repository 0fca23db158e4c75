"""Servers that take turns under the same load, and how many requests a second one answers for each of another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks import wrk
from benchmarks.cases import GTHREAD, WORKER, Case, Duel, Ground
from benchmarks.place import Service
from benchmarks.results import mark
from tests.server import Server

COUNTED_AT = 16  # connections: the floors' figure
LARGEST_SPREAD = 6.0  # p99 / p50 of cached reads at 16 connections
LATENCIES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")
Row = dict[str, Any]
Round = Mapping[str, wrk.Run]  # one run of each server


@dataclass(frozen=True)
class Size:
    """How long it takes."""

    connections: tuple[int, ...] = (1, 16, 100)
    rounds: int = 3
    seconds: int = 5
    learners: int = 40_000
    minutes: float = 2.0
    everything: bool = True  # with Redis as well, on SQLite, with each flag off


def compare(ground: Ground, servers: Mapping[str, Server], size: Size, label: str) -> list[Row]:
    """Return a row for each case, number of connections and duel of two of the servers."""
    rows = []
    for case in ground.cases():
        duels = [duel for duel in case.duels if {duel.ours, duel.other} <= servers.keys()]
        names = dict.fromkeys(name for duel in duels for name in (duel.ours, duel.other))
        for connections, rounds in _take_turns(ground, case, {name: servers[name] for name in names}, size):
            rows += [duel_row(case, duel, label, connections, rounds) for duel in duels]
            told = ", ".join(f"{name} {median(each[name].per_second for each in rounds):,.0f}/s" for name in names)
            print(f"  {case.name}{label and ', '}{label} at {connections}: {told}", flush=True)
    return rows


def alone(ground: Ground, service: Server, size: Size, label: str) -> list[Row]:
    """Return a row for each case and number of connections, of one server without another."""
    return [
        {"case": case.name, "with": label, "connections": connections, **_figures([each[WORKER] for each in rounds])}
        for case in ground.cases()
        for connections, rounds in _take_turns(ground, case, {WORKER: service}, size)
    ]


def _take_turns(ground: Ground, case: Case, servers: Mapping[str, Server], size: Size) -> list[tuple[int, list[Round]]]:
    for server in servers.values():
        run(ground, case, server, COUNTED_AT, 1)  # warm
    return [
        (
            connections,
            [
                {name: run(ground, case, server, connections, size.seconds) for name, server in servers.items()}
                for _ in range(size.rounds)
            ],
        )
        for connections in size.connections
    ]


def run(ground: Ground, case: Case, server: Server, connections: int, seconds: int) -> wrk.Run:
    """Load one address of one server. Raises SystemExit when the service wrote no access log meanwhile."""
    done = wrk.run(server, case.path, connections, seconds, *ground.arguments(case))
    if case.kind == "finish":
        ground.used += done.sent + 2 * connections  # the last ones may have been done without being counted
    if isinstance(server, Service) and not server.forget_access_log():
        raise SystemExit("the access log is empty: what was measured is not what is served in production")
    return done


def duel_row(case: Case, duel: Duel, label: str, connections: int, rounds: Sequence[Round]) -> Row:
    """Return the row of one server against another; the ratio is the median of the rounds' ratios."""
    ours, others = ([each[name] for each in rounds] for name in (duel.ours, duel.other))
    ratio = round(median(own.per_second / other.per_second for own, other in zip(ours, others, strict=True)), 3)
    floor = (duel.floor or None) if connections == COUNTED_AT else None
    errors = sum(each.errors for each in (*ours, *others))
    figures = _figures(ours)
    return {
        "case": case.name,
        "with": label,
        "connections": connections,
        "server": duel.ours,
        "requests/s": figures.pop("requests/s"),
        "other": duel.other,
        "other/s": median(each.per_second for each in others),
        "ratio": ratio,
        "floor": floor,
        **figures,
        **{f"other {name}": round(median(getattr(each, name) for each in others), 2) for name in ("p50_ms", "p99_ms", "cpu_us")},
        "errors": errors,
        "met": mark(errors == 0 and (floor is None or ratio >= floor)),
    }


def _figures(runs: Sequence[wrk.Run]) -> Row:
    middle = {name: round(median(getattr(each, name) for each in runs), 2) for name in (*LATENCIES, "cpu_us")}
    return {"requests/s": median(each.per_second for each in runs), **middle, "errors": sum(each.errors for each in runs)}


def spreads(rows: Sequence[Row], cached: set[str]) -> list[Row]:
    """Return p99 / p50 of the cached cases, by server; those of others than the service are for information."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        if row["connections"] == COUNTED_AT and row["case"] in cached:
            for server, prefix in ((row["server"], ""), (row["other"], "other ")):
                spread = round(row[f"{prefix}p99_ms"] / max(row[f"{prefix}p50_ms"], 0.001), 2)
                counts = server in (WORKER, GTHREAD)
                found[row["case"], row["with"], server] = {
                    "case": row["case"],
                    "with": row["with"],
                    "server": server,
                    "p99 / p50": spread,
                    "at most": LARGEST_SPREAD if counts else None,
                    "met": mark(spread <= LARGEST_SPREAD if counts else None),
                }
    return list(found.values())
