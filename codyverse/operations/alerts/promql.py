"""The same rules for Prometheus: `deploy/prometheus/rules.yml`, in which every expression means what the evaluator measures."""

from __future__ import annotations

import json
from collections.abc import Iterable

from codyverse.operations.alerts.expressions import JOB, Expression, Level, Rise, Selector, Share
from codyverse.operations.alerts.rules import COMPARISONS, Rule

NOTICE = "# Written from config/alerts.yaml by `flask alerts rules`.\n"
EVERY_S = 15

_HOST = "(job, instance)"


def render(rules: Iterable[Rule]) -> str:
    """Return the file of rules."""
    return f"{NOTICE}groups:\n  - name: codyverse\n    interval: {EVERY_S}s\n    rules:\n" + "".join(map(_alert, rules))


def _alert(rule: Rule) -> str:
    condition = f"{promql(rule.expression)} {COMPARISONS[rule.comparison][0]} {_number(rule.threshold)}"
    lines = [
        f"      - alert: {rule.name}",
        f"        expr: {condition}",
        f"        for: {_duration(rule.for_s)}",
        *([f"        keep_firing_for: {_duration(rule.clear_s)}"] if rule.clear_s else []),
        "        labels:",
        f"          severity: {rule.severity}",
        "        annotations:",
        f"          summary: {json.dumps(rule.summary, ensure_ascii=False)}",
        f"          runbook: {rule.runbook}",
    ]
    return "\n".join(lines) + "\n"


def promql(expression: Expression) -> str:
    """Return an expression as Prometheus writes it; it has one value for each host."""
    match expression:
        case Level():
            return _level(expression)
        case Rise():
            return _rise(expression)
        case Share():
            return f"{_rise(expression.part)} / ({_rise(expression.whole)} >= {_number(expression.at_least)})"


def _level(level: Level) -> str:
    taken = f"{level.gauge} / ({level.divided_by} > 0)" if level.divided_by else str(level.gauge)
    found = f"{level.take} by {_HOST} ({taken})"
    # A host that does not answer has none of anything.
    return f'({found} or 0 * up{{job="{JOB}"}})' if level.take == "count" else found


def _rise(rise: Rise) -> str:
    now, before = _sum(rise.counter, ""), _sum(rise.counter, f" offset {_duration(rise.over_s)}")
    return f"(({now} - {before}) >= 0 or ({now} and {before}))"


def _sum(selector: Selector, offset: str) -> str:
    """Return a sum that is zero where the host was asked and had no such counter."""
    return f'(sum by {_HOST} ({selector}{offset}) or 0 * (up{{job="{JOB}"}}{offset} == 1))'


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds % 1 else f"{round(seconds)}s"


def _number(number: float) -> str:
    return repr(number) if number % 1 else str(round(number))
