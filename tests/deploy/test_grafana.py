"""The Grafana dashboard asks for nothing that the application does not export."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from prometheus_client.metrics_core import Metric

from codyverse.operations import metrics
from codyverse.operations.dashboard.targets import TARGETS
from tests.conftest import Learner
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.promtool import promtool

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
BOARD: dict[str, Any] = json.loads((FOLDER / "codyverse.json").read_text("utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
OF_SCRAPES = {"job", "instance"}  # labels that Prometheus adds
MADE = {"class"}  # by label_replace


def exported(app: Flask, make_learner: Callable[..., Learner]) -> dict[str, set[str]]:
    """Return every name that can be asked for, with its labels, as far as a sample shows them."""
    make_learner().client.get("/api/v1/me")
    app.extensions["codyverse.gauges"].serves = True
    found = metrics.of(app)
    assert found is not None
    names = {"up": set[str]()}
    for family in found.registry.collect():
        for suffix in SUFFIXES[family.type]:
            names[f"{family.name}{suffix}"] = labels(family) | ({"le"} if suffix == "_bucket" else set())
    return names


def labels(family: Metric) -> set[str]:
    declared = getattr(family, "_labelnames", ())
    return set(declared)


def test_every_query_asks_for_what_is_exported(app: Flask, make_learner: Callable[..., Learner]) -> None:
    names = exported(app, make_learner)
    for title, query in QUERIES:
        asked = re.findall(r"([a-z_]+)\{([^}]*)\}", query)
        assert asked, title
        assert not re.findall(r"\b(?:codyverse|http)_\w+\b(?!\{)", query), f"{title} asks for every host, or for no selector"
        for name, selector in asked:
            assert name in names, f"{title}: nothing exports {name}"
            wanted = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selector))
            assert wanted <= names[name] | OF_SCRAPES, f"{title}: {name} has no labels {wanted - names[name] - OF_SCRAPES}"
        grouped = {label for found in re.findall(r"\bby \(([^)]*)\)", query) for label in re.split(r", *", found)}
        known = set().union(*(names[name] for name, _ in asked)) | OF_SCRAPES | MADE
        assert grouped <= known, f"{title}: {grouped - known}"


def test_a_name_that_is_not_exported_would_be_noticed(app: Flask, make_learner: Callable[..., Learner]) -> None:
    names = exported(app, make_learner)
    assert "codyverse_cache_total" in names
    assert "codyverse_cache" not in names
    assert names["codyverse_cache_total"] == {"event", "tier"}
    assert names["http_request_duration_seconds_bucket"] == {"method", "rule", "le"}


def test_legends_name_labels_that_their_query_keeps() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert re.search(rf"\bby \([^)]*\b{label}\b", target["expr"]), (panel["title"], label)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.key)
def test_the_targets_are_those_of_the_page(target: Any) -> None:
    panel = next(panel for panel in PANELS if panel["title"] == target.title)
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert panel["type"] == "stat"
    assert [step["color"] for step in steps] == (["red", "green"] if target.is_floor else ["green", "red"])
    assert steps[1]["value"] == target.limit


def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for number, (_, query) in enumerate(QUERIES)
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), "utf-8")
    assert f"{len(QUERIES)} rules found" in promtool("check", "rules", path)


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_provisioning_files_lead_to_it() -> None:
    sources = yaml.safe_load((FOLDER / "provisioning/datasources/codyverse.yaml").read_text("utf-8"))
    boards = yaml.safe_load((FOLDER / "provisioning/dashboards/codyverse.yaml").read_text("utf-8"))
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    assert [provider["type"] for provider in boards["providers"]] == ["file"]
    variable = next(one for one in BOARD["templating"]["list"] if one["name"] == "datasource")
    assert variable["query"] == "prometheus"
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in PANELS for target in panel["targets"])
