"""What is measured: every family of figures, with its labels, and where its values come from.

Counters come from `tallies`, which the processes of a host add up; gauges from what each process tells (`gauges`), and from the
host itself. Reading them asks neither the database nor Redis. Labels come from routes, names of ours and slots of workers, never
from what a client sends.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate, product
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from codyverse.errors import Unavailable
from codyverse.operations.gauges import Gauges, Process
from codyverse.operations.limits.headers import POLICIES
from codyverse.operations.tallies import Tallies, Unreadable
from codyverse.version import VERSION

log = logging.getLogger("codyverse.performance")

NO_ROUTE = "-"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Tallies: `http\tGET\t/courses\t200`, `http-seconds\tGET\t/courses\t4` (a bucket's number), `http-seconds-sum\tGET\t/courses`.
_REQUESTS, _BUCKET, _SUM = "http", "http-seconds", "http-seconds-sum"
_BORDERS = (*map(str, BUCKETS_S), "+Inf")


class Counted(NamedTuple):
    """A family of counters that other parts count as `prefix:label:label`; those of `known` labels are there from the start."""

    prefix: str
    name: str
    help: str
    labels: tuple[str, ...]
    known: tuple[tuple[str, ...], ...] = ()


def _each(*values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


COUNTED = (
    Counted("cache", "codyverse_cache", "What look-ups of the cache met, by tier.", ("event", "tier")),
    Counted("responses", "codyverse_responses", "Requests that a finished response answered.", ("event",), _each("hit")),
    Counted("events", "codyverse_events", "Events of little weight.", ("outcome",)),
    Counted("breaker", "codyverse_breaker_transitions", "Times that a breaker changed into a state.", ("breaker", "state")),
    Counted("admission", "codyverse_admission", "Requests for threads, by what became of them.", ("class", "outcome")),
    Counted("admission-waits", "codyverse_admission_waits", "Requests that threads took, by their wait.", ("class", "within")),
    Counted("access-log", "codyverse_access_log", "Lines of the access log.", ("outcome",)),
    Counted("memory", "codyverse_memory", "Levels of memory that workers reached, and leaks that were foreseen.", ("event",)),
    Counted("memory-leak", "codyverse_memory_leak", "Bytes by which workers grew, and the requests meanwhile.", ("unit",)),
    Counted("worker", "codyverse_workers", "Workers that asked to be replaced, and what became of it.", ("event",)),
    Counted("retry", "codyverse_retries", "Tries after the first one.", ("reason",)),
    Counted(
        "database-error",
        "codyverse_database_errors",
        "Uses of the database that failed: it was away, it (or a connection) did not come in time, or it said no.",
        ("kind",),
        _each("connection", "timeout", "other"),
    ),
    Counted("slow-request", "codyverse_slow_requests", "Requests that took CODYVERSE_SLOW_REQUEST_MS or longer.", (), ((),)),
    Counted(
        "limit",
        "codyverse_limits_decisions",
        "Requests that a limit allowed or refused; those that are allowed are told a second or two later.",
        ("policy", "decision"),
        tuple(product(POLICIES, ("allowed", "refused"))),
    ),
    Counted("alerts", "codyverse_alert_messages", "Messages about alerts, each time one was sent.", ("channel", "outcome")),
    Counted("log-lines-lost", "codyverse_log_lines_lost", "Lines that no log has, because it was full or slow.", (), ((),)),
    Counted(
        "happened",
        "codyverse_domain_events",
        "Registrations, sign-ins, completions, ledger entries and attempts that were committed.",
        ("event",),
        _each("registration", "sign_in", "completion", "ledger_entry", "attempt"),
    ),
)


class Told(NamedTuple):
    """A family of gauges that processes tell: one of each `worker`, or by labels, one of all, merged."""

    name: str
    help: str
    labels: tuple[str, ...]
    merge: Callable[[Iterable[float]], float] = sum


WORKER = ("worker",)
TOLD = (
    Told("codyverse_worker_memory_bytes", "Memory that a worker holds (RSS).", WORKER),
    Told("codyverse_worker_memory_budget_bytes", "Memory that a worker may hold.", WORKER),
    Told("codyverse_worker_requests", "Requests that a worker has answered.", WORKER),
    Told("codyverse_worker_requests_in_flight", "Requests that the threads of a worker are answering.", WORKER),
    Told("codyverse_worker_requests_waiting", "Requests that wait for a thread of a worker.", WORKER),
    Told("codyverse_database_pool_connections", "Connections that are lent or idle, and threads that wait for one.", ("state",)),
    Told("codyverse_breaker_open", "Whether a breaker of any process lets no call through, or only a probe.", ("breaker",), max),
    Told("codyverse_component_unavailable", "Whether a process finds a part of `/health` unavailable.", ("component",), max),
    Told("codyverse_alerts_undelivered", "Messages about alerts that could not be sent yet.", (), max),
    Told("codyverse_cache_entries", "Entries that a tier of the cache keeps.", ("tier",)),
)
SHARED = frozenset({("codyverse_cache_entries", ("l2",)), ("codyverse_cache_entries", ("l3",))})  # all tell the same of it

ALERT_STATES = ("inactive", "pending", "firing")


@lru_cache(4096)
def names(method: str, rule: str | None, status: int, bucket: int) -> tuple[str, str, str]:
    """Return the tallies of a request: its own, that of its bucket, and the sum of seconds."""
    name = f"\t{method if method in METHODS else 'other'}\t{rule or NO_ROUTE}"
    return f"{_REQUESTS}{name}\t{status}", f"{_BUCKET}{name}\t{bucket}", f"{_SUM}{name}"


class FromTallies(Collector):
    """What is counted."""

    def __init__(self, counts: Tallies) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield every family of counters. Raises Unavailable when they cannot be read: a failed scrape is no counter at 0."""
        try:
            totals = self._counts.added_up()
        except Unreadable:
            raise Unavailable("The counters of this host cannot be read now.") from None
        by_prefix: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        for name, amount in totals.items():
            prefix, *labels = name.split(":")
            by_prefix[prefix][tuple(labels)] = amount
        yield from _requests(totals)
        yield from _of_statements(by_prefix["statement"])
        for family in COUNTED:
            metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
            for values, amount in sorted((dict.fromkeys(family.known, 0.0) | by_prefix[family.prefix]).items()):
                if len(values) == len(family.labels):
                    metric.add_metric(values, amount)
            yield metric


class FromProcesses(Collector):
    """What processes tell."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield every family of gauges. Of two workers in one slot, one of which is about to end, the younger one counts."""
        processes = self._gauges.processes()
        workers = {process.worker: process for process in processes}  # in the order of their beginning
        ages = GaugeMetricFamily("codyverse_worker_age_seconds", "Time since a worker began.", labels=WORKER)
        for worker, process in workers.items():
            ages.add_metric([worker], max(0.0, time.time() - process.started_at))
        yield ages
        for family in TOLD:
            metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            found = _of_workers(family, workers.values()) if family.labels == WORKER else _merged(family, processes)
            for labels, value in sorted(found.items()):
                metric.add_metric(labels, value)
            yield metric


class FromHost(Collector):
    """What is the same for every process: the disk, and this release."""

    def __init__(self, instance: Path) -> None:
        self._instance = instance

    def collect(self) -> Iterator[Metric]:
        """Yield the families; what the system does not tell is missing."""
        free = GaugeMetricFamily("codyverse_disk_free_bytes", "What is free for the instance folder.", labels=("path",))
        whole = GaugeMetricFamily("codyverse_disk_bytes", "What the disk under the instance folder has.", labels=("path",))
        with suppress(OSError):
            usage = shutil.disk_usage(self._instance)
            free.add_metric(["instance"], usage.free)
            whole.add_metric(["instance"], usage.total)
        build = GaugeMetricFamily("codyverse_build_info", "The release that runs.", labels=("version",))
        build.add_metric([VERSION], 1)
        yield from (free, whole, build)


class FromAlerts(Collector):
    """How alerts are."""

    def __init__(self, states: Callable[[], Iterable[Any]]) -> None:
        """`states` returns objects with a `name` and a `state`, one of ALERT_STATES."""
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """Yield the family."""
        metric = GaugeMetricFamily("codyverse_alert_state", "0 inactive, 1 pending, 2 firing.", labels=("alert",))
        try:
            for alert in self._states():
                metric.add_metric([alert.name], ALERT_STATES.index(alert.state))
        except Exception as error:  # a full disk: every other figure is all the more wanted
            log.warning("alerts cannot be told: %s", type(error).__name__)
        yield metric


def _requests(totals: dict[str, float]) -> Iterator[Metric]:
    requests = CounterMetricFamily("http_requests", "Requests that were answered.", labels=("method", "rule", "status"))
    times = HistogramMetricFamily("http_request_duration_seconds", "Time until the answer was made.", labels=("method", "rule"))
    buckets: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * len(_BORDERS))
    for name, amount in sorted(totals.items()):
        kind, *labels = name.split("\t")
        if kind == _REQUESTS:
            requests.add_metric(labels, amount)
        elif kind == _BUCKET:
            buckets[labels[0], labels[1]][int(labels[2])] += amount
    for (method, rule), amounts in buckets.items():
        total = totals.get(f"{_SUM}\t{method}\t{rule}", 0.0)
        times.add_metric([method, rule], list(zip(_BORDERS, accumulate(amounts), strict=True)), sum_value=total)
    yield requests
    yield times


def _of_statements(figures: dict[tuple[str, ...], float]) -> Iterator[Metric]:
    """Yield what `statements` counts by fingerprint, of which there may be hundreds, as one figure for all."""
    runs = CounterMetricFamily("codyverse_statements", "Statements that the database has run.")
    seconds = CounterMetricFamily("codyverse_statement_seconds", "Time that the database's statements took.")
    runs.add_metric((), sum(amount for (_, figure), amount in figures.items() if figure.isdigit()))
    seconds.add_metric((), sum(amount for (_, figure), amount in figures.items() if figure == "ms") / 1000)
    yield from (runs, seconds)


def _of_workers(family: Told, workers: Iterable[Process]) -> dict[tuple[str, ...], float]:
    return {(process.worker,): sample.value for process in workers for sample in process.values if sample.name == family.name}


def _merged(family: Told, processes: Iterable[Process]) -> dict[tuple[str, ...], float]:
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for process in processes:
        for sample in process.values:
            if sample.name == family.name:
                values[tuple(sample.labels.get(label, "") for label in family.labels)].append(sample.value)
    return {labels: max(all) if (family.name, labels) in SHARED else family.merge(all) for labels, all in values.items()}
