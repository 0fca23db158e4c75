"""The rules for Prometheus: current, valid, and the same as ours, on the same figures.

promtool reckons, which is Prometheus itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import groupby

import pytest

from codyverse.operations import metrics
from codyverse.operations.alerts import promql
from codyverse.operations.alerts.expressions import Level, Rise, Selector, Share
from codyverse.operations.alerts.rules import Rule, read
from config import ROOT
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.operations.alerts.both import TICK_S, Key, assert_prometheus_agrees, key, ours
from tests.promtool import promtool

RULES = read(ROOT / "config/alerts.yaml")
WRITTEN = ROOT / "deploy/prometheus/rules.yml"
CALM, BAD = 20, 100  # ticks
# What is counted beside what a share is of.
OTHERS = {
    "http_requests_total": {"status": "200", "rule": "/courses"},
    "codyverse_admission_total": {"outcome": "admitted", "class": "api"},
    "codyverse_cache_total": {"event": "miss", "tier": "l1"},
}
EACH_TICK = 1000


def test_what_is_written_is_current_and_valid():
    assert WRITTEN.read_text("utf-8") == promql.render(RULES), "run `flask alerts rules --output deploy/prometheus/rules.yml`"
    assert f"{len(RULES)} rules found" in promtool("check", "rules", WRITTEN)


def test_the_configuration_is_valid(tmp_path):
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8")
    (tmp_path / "prometheus.yml").write_text(text, "utf-8")
    (tmp_path / "token").write_text("a token", "utf-8")
    (tmp_path / "rules.yml").write_text(WRITTEN.read_text("utf-8"), "utf-8")
    assert "SUCCESS: 1 rule files found" in promtool("check", "config", tmp_path / "prometheus.yml")
    assert "job_name: codyverse" in text


def labels_of(selector: Selector) -> dict[str, str]:
    """Return labels that a selector matches."""
    return {name: pattern.split("|")[0].replace(".", "0") for name, pattern in selector.labels.items()}


def constant(selector: Selector, values: list[float]) -> dict[Key, list[float | None]]:
    return {key(selector.name, labels_of(selector)): list(values)}


def level(rule: Rule, amount: float, calm: float) -> dict[Key, list[float | None]]:
    assert isinstance(rule.expression, Level)
    shape = [calm] * CALM + [amount] * BAD + [calm] * BAD
    if rule.expression.take == "count":
        return {key(rule.expression.gauge.name, {"worker": "0"}): [1.0 if each >= 1 else None for each in shape]}
    found = constant(rule.expression.gauge, [each * 1000 for each in shape])
    if rule.expression.divided_by is None:
        return found
    return found | constant(rule.expression.divided_by, [1000.0] * len(shape))


def rise(rule: Rule, amount: float, calm: float) -> dict[Key, list[float | None]]:
    assert isinstance(rule.expression, Rise)
    before = int(rule.expression.over_s / TICK_S) + CALM
    return constant(rule.expression.counter, [3.0] * before + [3.0 + amount] * (before + BAD))


def share(rule: Rule, amount: float, calm: float) -> dict[Key, list[float | None]]:
    assert isinstance(rule.expression, Share)
    window = int(rule.expression.whole.over_s / TICK_S)
    shares = [calm] * (window + CALM) + [amount] * (window + BAD) + [calm] * (window + BAD)
    part = [round(each * EACH_TICK) for each in shares]
    name = rule.expression.part.counter.name
    others = running([EACH_TICK - each for each in part])
    return {key(name, labels_of_part(rule.expression)): list(running(part)), key(name, OTHERS[name]): list(others)}


def labels_of_part(expression: Share) -> dict[str, str]:
    return labels_of(expression.whole.counter) | labels_of(expression.part.counter)


def running(amounts: list[int]) -> list[float]:
    total, found = 0, []
    for amount in amounts:
        total += amount
        found.append(float(total))
    return found


SHAPES: dict[type, Callable[[Rule, float, float], dict[Key, list[float | None]]]] = {Level: level, Rise: rise, Share: share}
ONE_STEP = {Level: 0.001, Rise: 1.0, Share: 0.001}


def scenario(rule: Rule, beyond: bool) -> dict[Key, list[float | None]]:
    """Return figures that go as far as an alert needs, or stay one step short of it, for a while."""
    a_step = ONE_STEP[type(rule.expression)] if getattr(rule.expression, "take", "") != "count" else 1.0
    away = -a_step if rule.comparison == "below" else a_step
    amount = rule.threshold + (away if beyond else 0.0) - (away if rule.comparison == "reaches" else 0.0)
    calm = rule.threshold + a_step if rule.comparison == "below" else 0.0
    return SHAPES[type(rule.expression)](rule, amount, calm)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_fires_once_and_clears_once_and_is_silent_one_step_below(rule, tmp_path):
    bad = scenario(rule, beyond=True)
    states = ours([rule], bad)
    spans = [state for state, _ in groupby(each[rule.name] for each in states)]
    assert [span for span in spans if span != "pending"] == ["inactive", "firing", "inactive"]
    assert (spans[1] == "pending") == (rule.for_s > 0)
    assert_prometheus_agrees([rule], bad, states, tmp_path)

    short = scenario(rule, beyond=False)
    silent = ours([rule], short)
    assert {each[rule.name] for each in silent} == {"inactive"}
    assert_prometheus_agrees([rule], short, silent, tmp_path)


def drifting(seed: int, ticks: int) -> dict[Key, list[float | None]]:
    """Return figures of every kind that rules ask for: calm, then bad, beginning late, begun anew, gone for a while."""
    chance = random.Random(seed)
    selectors: dict[Key, bool] = {}
    for rule in RULES:
        for selector in selectors_of(rule):
            labels = labels_of(selector) | ({"worker": "0"} if "_worker_" in selector.name else {})
            selectors[key(selector.name, labels)] = selector.name.endswith("_total")
        if isinstance(rule.expression, Share):
            selectors[key(rule.expression.part.counter.name, labels_of_part(rule.expression))] = True
    for name, labels in OTHERS.items():
        selectors[key(name, labels)] = True
    found = {}
    for each, counts in sorted(selectors.items(), key=lambda pair: (pair[0][0], sorted(pair[0][1]))):
        found[each] = counter(chance, ticks) if counts else gauge(chance, ticks)
    return found


def selectors_of(rule: Rule) -> list[Selector]:
    expression = rule.expression
    if isinstance(expression, Level):
        return [expression.gauge, *([expression.divided_by] if expression.divided_by else [])]
    return list(expression.counters)


def counter(chance: random.Random, ticks: int) -> list[float | None]:
    total, values, rate = float(chance.randrange(50)), [], 0
    begins = chance.choice([0, 0, chance.randrange(ticks)])
    for tick in range(ticks):
        if chance.random() < 0.05:
            rate = chance.choice([0, 0, 1, 4, 30, 300])
        if chance.random() < 0.01:
            total = 0.0
        total += chance.randint(0, rate)
        values.append(total if tick >= begins else None)
    return values


def gauge(chance: random.Random, ticks: int) -> list[float | None]:
    values: list[float | None] = []
    value: float | None = 0.0
    for _ in range(ticks):
        if chance.random() < 0.04:
            value = chance.choice([None, 0.0, 1.0, 84.0, 85.0, 86.0, 99.0, 100.0])
        values.append(value)
    return values


@pytest.mark.parametrize("seed", range(3))
def test_our_evaluator_and_prometheus_are_always_in_the_same_state(seed, tmp_path):
    series = drifting(seed, ticks=400)
    states = ours(RULES, series)
    seen = {state for each in states for state in each.items()}
    firing = [name for name, state in seen if state == "firing"]
    assert len(firing) >= len(RULES) // 2, "too little happens to show anything"
    assert_prometheus_agrees(RULES, series, states, tmp_path)


def test_another_state_than_prometheus_has_is_noticed(tmp_path):
    """The tests above can fail."""
    rule = next(rule for rule in RULES if rule.name == "BreakerOpen")
    series = scenario(rule, beyond=True)
    states = ours([rule], series)
    states[CALM + 10] = {rule.name: "inactive"}
    with pytest.raises(AssertionError, match="BreakerOpen"):
        assert_prometheus_agrees([rule], series, states, tmp_path)


def test_every_name_is_one_that_we_export(app):
    """But for `up`, which Prometheus adds by itself."""
    collected = metrics.of(app)
    assert collected is not None
    kinds = {family.name: family.type for family in collected.registry.collect()}
    for rule in RULES:
        kind = "gauge" if isinstance(rule.expression, Level) else "counter"
        for selector in selectors_of(rule):
            assert kinds[selector.name.removesuffix("_total")] == kind, selector.name
