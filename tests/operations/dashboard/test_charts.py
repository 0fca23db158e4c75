from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codyverse.operations import history
from codyverse.operations.dashboard import charts
from codyverse.operations.dashboard.charts import CHARTS, HEIGHT, MOST_POINTS, WIDTH
from codyverse.operations.dashboard.targets import TARGETS, Points

BY_KEY = {chart.key: chart for chart in CHARTS}
NOW = 1_700_000_000.0
STEP_S = 60.0


def minutes(*values: float | None) -> Points:
    return [(NOW - STEP_S * (len(values) - number), value) for number, value in enumerate(values)]


def draw(key: str, *values: float | None) -> charts.Drawing:
    chart = BY_KEY[key]
    return charts.draw(chart, {chart.lines[0].series: minutes(*values)}, NOW - 86_400, NOW, STEP_S)


def test_every_series_of_charts_and_targets_is_kept() -> None:
    assert set(charts.SERIES) | {target.series for target in TARGETS} == set(history.SERIES)


def test_a_chart_says_what_is_and_what_was_worst() -> None:
    line = draw("requests", 3.0, 45.0, 12.5).lines[0]
    assert (line.now, line.highest, line.lowest) == ("12.5/s", "45/s", "3/s")


def test_without_figures_it_is_empty() -> None:
    for drawing in (draw("requests"), draw("requests", None, None)):
        assert drawing.is_empty
        assert drawing.lines[0].path == ""
        assert drawing.lines[0].now == "–"


def test_what_is_old_does_not_stand_for_now() -> None:
    chart = BY_KEY["requests"]
    old = {"requests_per_s": [(NOW - 600, 7.0)]}
    assert charts.draw(chart, old, NOW - 86_400, NOW, STEP_S).lines[0].now == "–"


@pytest.mark.parametrize(("values", "parts"), [((1.0, 2.0, 3.0), 1), ((1.0, None, 3.0), 2), ((None, 1.0, None), 1)])
def test_a_line_is_interrupted_where_nothing_is_known(values: tuple[float | None, ...], parts: int) -> None:
    assert draw("requests", *values).lines[0].path.count("M") == parts


@pytest.mark.parametrize(("key", "expected"), [("requests", 99.0), ("cache", 1.0)])
def test_thinning_keeps_the_worst(key: str, expected: float) -> None:
    values = [50.0] * 1440
    values[777] = expected
    thinned = charts.thinned(minutes(*values), BY_KEY[key].lowest)
    assert len(thinned) <= MOST_POINTS
    assert expected in [value for _, value in thinned]


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=1500))
def test_a_line_stays_in_its_drawing(values: list[float | None]) -> None:
    for key in ("requests", "cache", "times"):
        drawing = draw(key, *values)
        for x, y in re.findall(r"[ML](\S+) ([0-9.]+)", drawing.lines[0].path):
            assert -0.1 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT


def test_columns_have_a_value_or_none_at_every_time() -> None:
    found = charts.columns({"a": [(60.0, 1.0), (120.0, 2.0)], "b": [(120.0, 5.0), (180.0, 6.0)]})
    assert found == {"times": [60.0, 120.0, 180.0], "series": {"a": [1.0, 2.0, None], "b": [None, 5.0, 6.0]}}


def test_the_table_has_the_newest_hour_first() -> None:
    rows = charts.table({"requests_per_s": [(0.0, 1.0), (3600.0, 2.0)], "errors_percent": [(3600.0, 0.5)]})
    assert [(at, values[0], values[3]) for at, values in rows] == [(3600.0, "2/s", "0.5 %"), (0.0, "1/s", "–")]
