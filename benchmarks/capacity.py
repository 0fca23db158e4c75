"""`python -m benchmarks.capacity --learners 10000000`: what so many learners need, and what it costs.

Every figure of the service is read from the newest results: of `make bench` the processor time of a request at 16 connections, of
`make scale` the time of the statements at the largest size, of `benchmarks.footprint` bytes, memory and passwords. What people do
and what a vendor asks are arguments: nobody has measured them. The formulas stand in docs/operations/scaling.md.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import orjson

from benchmarks.results import FOLDER

DAY_S = 86_400
COUNTED_S = 1800  # a counter of the limit over 15 minutes is kept for two of them
GB, MIB = 1e9, 2**20
CONNECTIONS = 16
KINDS = {  # of requests: a case of `make bench` and a call of `make scale`
    "cached": ("lesson", None),
    "read": ("progress, always another learner", "progress"),
    "write": ("completion, 100 learners", "completion"),
    "sign_in": ("completion, 100 learners", "sign-in without argon2"),  # two round trips and a row, as a completion
}
OF_LESSONS = ("ledger_entries", "answers", "completions", "attempts")
LESSONS = 4  # that the learners of `benchmarks.footprint` have completed
OF_WRITES = "idempotency_records"  # of the last 24 hours


class Unusable(Exception):
    """Figures that cannot be reckoned with, in one line."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What people do."""

    learners: int
    active: float  # share of them that comes on a day
    requests: float  # of one who comes, a day
    peak: float  # the busiest second in proportion to the mean one
    lessons: float  # completed by a learner, in all
    read: float  # shares of the requests; what is left is cached
    write: float
    sign_in: float

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of each kind of request. Raises Unusable."""
        cached = 1 - self.read - self.write - self.sign_in
        if cached < 0:
            raise Unusable("--read, --write and --sign-in are more than 1 together.")
        return {"cached": cached, "read": self.read, "write": self.write, "sign_in": self.sign_in}

    @property
    def requests_a_day(self) -> float:
        """Return the requests of all who come on a day."""
        return self.learners * self.active * self.requests

    @property
    def a_second(self) -> float:
        """Return the requests of the busiest second."""
        return self.requests_a_day / DAY_S * self.peak


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What is bought, and how full it may be."""

    cores: int  # of a machine of the service, with a worker on each
    threads: int  # of a worker
    use: float  # of a processor at the peak
    spare: int  # machines of the service that may be away at the peak
    copies: int  # of the database


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What a vendor asks for a month, in any currency."""

    app: float  # a machine of the service
    database_core: float
    storage_gb: float
    redis_gb: float
    other: float  # balancers, traffic, backups: whatever is not reckoned here


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of the service."""

    cpu_us: dict[str, float]  # of a worker, a request
    statements_ms: dict[str, float]  # of the database, a request, the way to it included
    learner_bytes: float
    lesson_bytes: float
    record_bytes: float
    worker_mib: float
    master_mib: float
    counter_bytes: float
    counters: float  # of a client
    cache_bytes: float
    sources: tuple[str, ...] = ()


def measured(folder: Path = FOLDER) -> Measured:
    """Return the newest figures. Raises Unusable where one is missing."""
    names, tables = zip(*(_newest(folder, kind) for kind in ("", "-scale", "-footprint")), strict=True)
    bench, scale, footprint = tables
    loaded = {row["case"]: row for row in bench["Against the twin"] if row["connections"] == CONNECTIONS and not row["with"]}
    loaded |= {
        row["case"]: row for row in bench["Against the twin"] if row["connections"] == CONNECTIONS and row["with"] == "Redis"
    }
    called = {row["call"]: row for row in scale["Times"]}
    size = max(
        int(name.rpartition(", ")[2].replace(",", "")) for name in scale["Times"][0] if re.fullmatch(r"statements, [\d,]+", name)
    )
    try:
        cpu_us = {kind: float(loaded[case]["cpu_us"]) for kind, (case, _) in KINDS.items()}
        cpu_us["sign_in"] += footprint["Passwords"][0]["cpu_us"]
        statements = {kind: float(called[call][f"statements, {size:,}"]) if call else 0.0 for kind, (_, call) in KINDS.items()}
        return Measured(cpu_us=cpu_us, statements_ms=statements, sources=names, **_footprint(footprint))
    except KeyError as error:
        raise Unusable(f"{', '.join(names)}: there is no {error}.") from None


def _newest(folder: Path, kind: str) -> tuple[str, dict[str, Any]]:
    found = sorted(path for path in folder.glob("*.json") if re.fullmatch(rf"\d{{4}}-\d\d-\d\d{kind}\.json", path.name))
    if not found:
        raise Unusable(f"{folder} has no <date>{kind}.json: run the benchmark first.")
    tables: dict[str, Any] = orjson.loads(found[-1].read_bytes())["tables"]
    return found[-1].name, tables


def _footprint(tables: dict[str, Any]) -> dict[str, float]:
    each = {row["table"]: row["bytes a learner"] for row in tables["Database"]}
    workers = [row["Pss MiB"] for row in tables["Processes"] if row["process"] == "worker"]
    (master,) = (row["Pss MiB"] for row in tables["Processes"] if row["process"] == "master")
    counters, entries = tables["Redis"]
    of_lessons = sum(each[name] for name in OF_LESSONS)
    return {
        "learner_bytes": each["all"] - of_lessons - each[OF_WRITES],
        "lesson_bytes": of_lessons / LESSONS,
        "record_bytes": each[OF_WRITES],
        "worker_mib": max(workers),
        "master_mib": master,
        "counter_bytes": counters["bytes each"],
        "counters": counters["count"] / counters["clients"],
        "cache_bytes": entries["bytes each"] * 1000,  # CODYVERSE_CACHE_CLUSTER_ENTRIES
    }


def reckon(demand: Demand, machines: Machines, figures: Measured) -> dict[str, float]:
    """Return what is needed. Raises Unusable."""
    rates = {kind: share * demand.a_second for kind, share in demand.shares.items()}
    app_cores = sum(rates[kind] * figures.cpu_us[kind] / 1e6 for kind in rates) / machines.use
    busy = sum(rates[kind] * figures.statements_ms[kind] / 1e3 for kind in rates)
    app = math.ceil(app_cores / machines.cores) + machines.spare
    stored = demand.learners * (figures.learner_bytes + demand.lessons * figures.lesson_bytes)
    records = demand.requests_a_day * demand.write * figures.record_bytes
    clients = min(demand.learners * demand.active, demand.learners * demand.active * demand.peak * COUNTED_S / DAY_S)
    workers = app * machines.cores
    return {
        "requests a day": demand.requests_a_day,
        "requests/s at the peak": demand.a_second,
        **{f"of these {kind}/s": rate for kind, rate in rates.items()},
        "cores of the service": app_cores,
        "machines of the service": app,
        "memory of each, MiB": figures.master_mib + machines.cores * figures.worker_mib,
        "cores of the database": busy / machines.use,
        "connections busy": busy,
        "connections of all threads": workers * machines.threads,
        "database, GB": (stored + records) / GB,
        "Redis, MB": (clients * figures.counters * figures.counter_bytes + figures.cache_bytes) / 1e6,
    }


def price(needed: dict[str, float], machines: Machines, prices: Prices) -> dict[str, float]:
    """Return what that costs a month."""
    rows = {
        "service": needed["machines of the service"] * prices.app,
        "database": machines.copies * math.ceil(needed["cores of the database"]) * prices.database_core,
        "storage": machines.copies * needed["database, GB"] * prices.storage_gb,
        "Redis": needed["Redis, MB"] / 1e3 * prices.redis_gb,
        "other": prices.other,
    }
    return rows | {"a month": sum(rows.values())}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Reckon what so many learners need, from what was measured.")
    people = parser.add_argument_group("what people do")
    people.add_argument("--learners", type=int, default=10_000_000)
    people.add_argument("--active", type=float, default=0.05, help="share that comes on a day")
    people.add_argument("--requests", type=float, default=60, help="of one who comes, a day")
    people.add_argument("--peak", type=float, default=4, help="busiest second : mean second")
    people.add_argument("--lessons", type=float, default=12, help="completed by a learner, in all")
    people.add_argument("--read", type=float, default=0.3, help="share of requests that read the database")
    people.add_argument("--write", type=float, default=0.15, help="share that writes")
    people.add_argument("--sign-in", type=float, default=0.01, help="share that signs in; what is left is cached")
    bought = parser.add_argument_group("what is bought")
    bought.add_argument("--cores", type=int, default=4, help="of a machine of the service: a worker on each")
    bought.add_argument("--threads", type=int, default=4, help="of a worker")
    bought.add_argument("--use", type=float, default=0.6, help="how busy a processor may be at the peak")
    bought.add_argument("--spare", type=int, default=1, help="machines of the service that may be away at the peak")
    bought.add_argument("--copies", type=int, default=2, help="of the database")
    asked = parser.add_argument_group("what a vendor asks a month")
    for name, help in (
        ("app", "a machine of the service"),
        ("database-core", "a core of the database, memory included"),
        ("storage-gb", "a GB of the database"),
        ("redis-gb", "a GB of Redis"),
        ("other", "balancers, traffic, backups"),
    ):
        asked.add_argument(f"--price-{name}", type=float, default=0.0, help=help)
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of what was measured")
    return parser


def _checked(chosen: argparse.Namespace) -> None:
    values = {name: value for name, value in vars(chosen).items() if name != "results"}
    for name, value in values.items():
        least = 0 if name in ("spare", "read", "write", "sign_in") or name.startswith("price") else 1e-9
        most = 1 if name in ("active", "read", "write", "sign_in", "use") else 1e12
        if not least <= value <= most:
            raise Unusable(f"--{name.replace('_', '-')} is {value}, which is too {'small' if value < least else 'large'}.")


def _of(kind: Any, chosen: argparse.Namespace, prefix: str = "") -> Any:
    return kind(**{field.name: getattr(chosen, f"{prefix}{field.name}") for field in fields(kind)})


def _print(rows: dict[str, float], digits: int) -> None:
    for name, value in rows.items():
        is_whole = value >= 100 or float(value).is_integer()
        print(f"  {name:28}{value:>16,.{digits if is_whole else 2}f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is needed and, with prices, what it costs; exit 2 with one line for what cannot be reckoned with."""
    chosen = _parser().parse_args(arguments)
    try:
        _checked(chosen)
        figures = measured(chosen.results)
        demand, machines = _of(Demand, chosen), _of(Machines, chosen)
        needed = reckon(demand, machines, figures)
    except Unusable as error:
        print(f"capacity: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"Measured, {', '.join(figures.sources)}:")
    print(f"  {'':12}{'µs of a core':>14}{'a second, a core':>18}{'ms of statements':>18}")
    for kind, cpu_us in figures.cpu_us.items():
        print(f"  {kind:12}{cpu_us:>14,.0f}{1e6 / cpu_us:>18,.0f}{figures.statements_ms[kind]:>18.2f}")
    print("Needed:")
    _print(needed, 0)
    costs = price(needed, machines, _of(Prices, chosen, "price_"))
    if costs["a month"]:
        print("A month, in the currency of the prices:")
        _print(costs, 2)
        print(f"  {'a learner, a year':28}{costs['a month'] * 12 / demand.learners:>16,.4f}")


if __name__ == "__main__":
    main()
