"""The same figures given to our evaluator and to Prometheus' rules, and the states that both are in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from codyverse.operations.alerts import promql
from codyverse.operations.alerts.expressions import JOB, Reading, sums
from codyverse.operations.alerts.readings import Readings
from codyverse.operations.alerts.rules import LONGEST_S, Rule
from codyverse.operations.alerts.states import INACTIVE, Standing, step
from codyverse.operations.gauges import Sample
from tests.promtool import promtool

TICK_S = 15
HOST = {"job": JOB, "instance": "one"}

Key = tuple[str, frozenset[tuple[str, str]]]
Series = Mapping[Key, Sequence[float | None]]  # a value a tick, None while it is not there


def key(name: str, labels: Mapping[str, str]) -> Key:
    return name, frozenset(labels.items())


def ours(rules: Sequence[Rule], series: Series) -> list[dict[str, str]]:
    """Return the state of every alert at every tick, as our evaluator reckons."""
    ticks = len(next(iter(series.values())))
    readings = Readings(LONGEST_S)
    standings = {rule.name: Standing(INACTIVE, 0) for rule in rules}
    found = []
    for tick in range(ticks):
        now = tick * TICK_S
        there = ((*each, values[tick]) for each, values in series.items())
        samples = [Sample(name, dict(labels), value) for name, labels, value in there if value is not None]
        readings.add(now, sums([counter for rule in rules for counter in rule.expression.counters], samples))
        reading = Reading(now, samples, readings)
        standings = {rule.name: step(rule, standings[rule.name], rule.expression.value(reading), now) for rule in rules}
        found.append({name: standing.state for name, standing in standings.items()})
    return found


def assert_prometheus_agrees(rules: Sequence[Rule], series: Series, states: list[dict[str, str]], folder: Path) -> None:
    """Fail unless Prometheus, given the rules written for it and these figures, has every alert in these states at every tick."""
    (folder / "rules.yml").write_text(promql.render(rules), "utf-8")
    severities = {rule.name: rule.severity for rule in rules}
    up = {"series": _series("up", HOST), "values": f"1x{len(states)}"}
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{TICK_S}s",
        "tests": [
            {
                "interval": f"{TICK_S}s",
                "input_series": [
                    up,
                    *({"series": _series(n, {**dict(ls), **HOST}), "values": _values(v)} for (n, ls), v in series.items()),
                ],
                "promql_expr_test": [
                    {"expr": "ALERTS", "eval_time": f"{tick * TICK_S}s", "exp_samples": _alerts(found, severities)}
                    for tick, found in enumerate(states)
                ],
            }
        ],
    }
    (folder / "test.yml").write_text(json.dumps(test), "utf-8")
    promtool("test", "rules", folder / "test.yml")


def _alerts(states: Mapping[str, str], severities: Mapping[str, str]) -> list[dict[str, object]]:
    return [
        {
            "labels": _series("ALERTS", {"alertname": name, "alertstate": state, "severity": severities[name], **HOST}),
            "value": 1,
        }
        for name, state in states.items()
        if state != INACTIVE
    ]


def _series(name: str, labels: Mapping[str, str]) -> str:
    terms = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{terms}}}"


def _values(values: Sequence[float | None]) -> str:
    """Return the values as the tool reads them; what is there no more has to be said, or it would be believed for minutes."""
    return " ".join("stale" if value is None else repr(value) for value in values)
