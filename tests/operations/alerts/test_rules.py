"""The file of rules: what is read, and what is refused in one line."""

from __future__ import annotations

import re

import pytest

from codyverse.operations.alerts.expressions import Level, Rise, Selector, Share
from codyverse.operations.alerts.rules import BadRules, read
from config import ROOT

RULES = read(ROOT / "config/alerts.yaml")
RUNBOOKS = (ROOT / "docs/operations/alerts.md").read_text("utf-8")
GOOD = """
rules:
  - name: QueueLong
    severity: warning
    summary: Many wait.
    runbook: queue-long
    level: {gauge: codyverse_worker_requests_waiting, take: sum}
    above: 5
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "alerts.yaml"


def test_it_works(file):
    file.write_text(GOOD)
    (rule,) = read(file)
    assert rule.expression == Level(Selector("codyverse_worker_requests_waiting"), "sum")
    assert (rule.name, rule.severity, rule.category, rule.summary) == ("QueueLong", "warning", "performance", "Many wait.")
    assert (rule.comparison, rule.threshold, rule.for_s, rule.clear_s) == ("above", 5, 0, 0)
    assert rule.runbook == "docs/operations/alerts.md#queue-long"


def test_rises_and_shares_are_read(file):
    selector = "counter: c_total, labels: {a: x|y}, except: {b: z}"
    file.write_text(
        GOOD.replace("level: {gauge: codyverse_worker_requests_waiting, take: sum}", f"rise: {{{selector}, over_s: 60}}")
    )
    rise = Rise(Selector("c_total", {"a": "x|y"}, {"b": "z"}), 60)
    assert read(file)[0].expression == rise
    share = f"share: {{part: {{{selector}}}, whole: {{counter: c_total}}, over_s: 60, at_least: 7}}"
    file.write_text(GOOD.replace("level: {gauge: codyverse_worker_requests_waiting, take: sum}", share))
    assert read(file)[0].expression == Share(rise, Rise(Selector("c_total"), 60), 7)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("rules:", "rulez:", "rules: Missing data for required field."),
        ("    above: 5", "    above: 5\n    above: 6", "not YAML in line 3: a key stands twice."),
        ("above: 5", "over: 5", "rules.0.over: Unknown field."),
        ("above: 5", "above: 2026-13-45", "not YAML: unreadable."),
        ("above: 5", "above: many", "rules.0.above: Not a valid number."),
        ("above: 5", "above: .nan", "rules.0.above: Special numeric values (nan or infinity) are not permitted."),
        ("    above: 5", "    above: 5\n    below: 6", "rules.0.QueueLong: needs one of above, reaches, below."),
        ("    above: 5\n", "", "rules.0.QueueLong: needs one of above, reaches, below."),
        ("severity: warning", "severity: bad", "rules.0.severity: Must be one of: critical, warning."),
        ("name: QueueLong", "name: queue long", "rules.0.name: is no name such as ErrorsMany."),
        ("take: sum", "take: all", "rules.0.level.take: Must be one of: max, min, sum, count."),
        ("take: sum", "take: sum, labels: {a: '(x'}", "rules.0.level.labels.a.value: has letters that patterns do not."),
        (
            "take: sum",
            "take: sum, labels: {a: 'x\"} or vector(1)'}",
            "rules.0.level.labels.a.value: has letters that patterns do not.",
        ),
        ("Many wait.", "'{{ $value }}'", "rules.0.summary: must be one line without braces."),
        (
            "    above: 5",
            "    above: 5\n    for_s: -1",
            "rules.0.for_s: Must be greater than or equal to 0 and less than or equal to 3600.",
        ),
        ("level:", "rise: {counter: c_total, over_s: 5}\n    level:", "rules.0.QueueLong: needs one of level, rise, share."),
        (GOOD, "[", "not YAML in line 1: expected the node content, but found '<stream end>'."),
        (GOOD, "- 1", "_schema: Invalid input type."),
        (GOOD, "", "_schema: Invalid input type."),
        (GOOD, "rules: []", "rules: Length must be between 1 and 200."),
        (GOOD, GOOD + GOOD.replace("rules:\n", ""), "rules.1.name: QueueLong stands twice."),
        (GOOD, "[" * 5000, "not YAML: unreadable."),
        (GOOD, "!!python/object/apply:os.getpid []", "not YAML in line 1: could not determine a constructor for the tag"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(file, old, new, reason):
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(BadRules) as error:
        read(file)
    text = str(error.value)
    assert text.startswith(f"CODYVERSE_ALERTS_PATH: {file}: {reason}"), text
    assert "\n" not in text


def test_what_cannot_be_read_is_said_too(file):
    with pytest.raises(BadRules, match="No such file"):
        read(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRules, match="unreadable"):
        read(file)
    file.write_text(GOOD + "#" * 1_000_000)
    with pytest.raises(BadRules, match="larger than"):
        read(file)


def test_the_reports_four_rules_are_there():
    """R28."""
    by_name = {rule.name: rule for rule in RULES}
    memory = by_name["MemoryHigh"]
    assert (memory.comparison, memory.threshold, memory.for_s) == ("above", 0.85, 300)
    slow = by_name["RequestsSlow"]
    assert (slow.comparison, slow.threshold) == ("reaches", 10)
    errors = by_name["ErrorsMany"]
    assert (errors.comparison, errors.threshold, errors.for_s) == ("above", 0.01, 300)
    database = by_name["DatabaseErrors"]
    assert isinstance(database.expression, Rise)
    assert (database.comparison, database.threshold, database.expression.over_s) == ("above", 5, 60)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_alert_has_its_runbook(rule):
    """What it means, what to look at, what to do; found by the anchor that a heading has on a page."""
    sections = {title.lower().replace(" ", "-"): body for title, body in re.findall(r"^## (.+)\n([^#]*)", RUNBOOKS, re.M)}
    body = sections[rule.anchor]
    assert rule.summary.rstrip(".") in body.replace("\n", " ")
    for part in ("**Means**", "**Look at**", "**Do**"):
        assert part in body, f"{rule.name}: {part}"
