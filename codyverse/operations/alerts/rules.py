"""The rules by which alerts are raised, read from one file (`config/alerts.yaml`) that says everything about them."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from operator import ge, gt, lt
from pathlib import Path
from typing import Any

import yaml
from marshmallow import Schema, ValidationError, fields, validate

from codyverse.operations.alerts.expressions import TAKES, Expression, Level, Rise, Selector, Share
from config import PREFIX, SettingsError

RUNBOOKS = "docs/operations/alerts.md"
SEVERITIES = ("critical", "warning")
CATEGORIES = ("startup", "performance", "security", "database", "memory", "cache")  # of logs
COMPARISONS = {"above": (">", gt), "reaches": (">=", ge), "below": ("<", lt)}
LONGEST_S = 3600
MOST_BYTES = 1_000_000

_NAME = validate.Regexp(re.compile(r"[A-Z][A-Za-z]{2,49}\Z"), error="is no name such as ErrorsMany.")
_METRIC = validate.Regexp(re.compile(r"[a-z_]{3,100}\Z"), error="is no name of a metric.")
_LABEL = validate.Regexp(re.compile(r"[a-z_]{1,50}\Z"), error="is no name of a label.")
_PATTERN = validate.Regexp(re.compile(r"[A-Za-z0-9_/<>:.|-]{1,200}\Z"), error="has letters that patterns do not.")
_ANCHOR = validate.Regexp(re.compile(r"[a-z0-9-]{1,50}\Z"), error="is no anchor such as errors-many.")
_TEXT = validate.Regexp(re.compile(r"[^\x00-\x1f\x7f{}]{1,200}\Z"), error="must be one line without braces.")


class BadRules(SettingsError):
    """The file of rules cannot be used. The message is one line and says where."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{PREFIX}ALERTS_PATH: {path}: {' '.join(reason.split())}")


@dataclass(frozen=True)
class Rule:
    """One alert: it fires when the comparison has held for `for_s`, and clears when it has not held for `clear_s`."""

    name: str
    severity: str
    category: str
    summary: str
    anchor: str
    expression: Expression
    comparison: str
    threshold: float
    for_s: float
    clear_s: float

    @property
    def runbook(self) -> str:
        """Return where its runbook stands."""
        return f"{RUNBOOKS}#{self.anchor}"

    def holds(self, value: float | None) -> bool:
        """Say whether the comparison holds; nothing holds of what is unknown."""
        return value is not None and COMPARISONS[self.comparison][1](value, self.threshold)


class _SelectorSchema(Schema):
    labels = fields.Dict(keys=fields.Str(validate=_LABEL), values=fields.Str(validate=_PATTERN), load_default=dict)
    except_labels = fields.Dict(
        keys=fields.Str(validate=_LABEL), values=fields.Str(validate=_PATTERN), load_default=dict, data_key="except"
    )


class _CounterSchema(_SelectorSchema):
    counter = fields.Str(required=True, validate=_METRIC)


class _GaugeSchema(_SelectorSchema):
    gauge = fields.Str(required=True, validate=_METRIC)


def _seconds(least: float, **more: Any) -> fields.Float:
    return fields.Float(validate=validate.Range(min=least, max=LONGEST_S), **more)


class _LevelSchema(_GaugeSchema):
    take = fields.Str(required=True, validate=validate.OneOf(TAKES))
    divided_by = fields.Nested(_GaugeSchema)


class _RiseSchema(_CounterSchema):
    over_s = _seconds(1, required=True)


class _ShareSchema(Schema):
    part = fields.Nested(_CounterSchema, required=True)
    whole = fields.Nested(_CounterSchema, required=True)
    over_s = _seconds(1, required=True)
    at_least = fields.Float(required=True, validate=validate.Range(min=1))


class _RuleSchema(Schema):
    name = fields.Str(required=True, validate=_NAME)
    severity = fields.Str(required=True, validate=validate.OneOf(SEVERITIES))
    category = fields.Str(load_default="performance", validate=validate.OneOf(CATEGORIES))
    summary = fields.Str(required=True, validate=_TEXT)
    runbook = fields.Str(required=True, validate=_ANCHOR)
    level = fields.Nested(_LevelSchema)
    rise = fields.Nested(_RiseSchema)
    share = fields.Nested(_ShareSchema)
    above = fields.Float()
    reaches = fields.Float()
    below = fields.Float()
    for_s = _seconds(0, load_default=0.0)
    clear_s = _seconds(0, load_default=0.0)


class _FileSchema(Schema):
    rules = fields.List(fields.Nested(_RuleSchema), required=True, validate=validate.Length(min=1, max=200))


def read(path: Path) -> tuple[Rule, ...]:
    """Return the rules of a file. Raises BadRules."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadRules(path, f"larger than {MOST_BYTES} bytes.")
        found = yaml.load(path.read_text("utf-8"), Loader=_Loader)  # noqa: S506  (a SafeLoader)
        return _rules(_FileSchema().load(found))
    except OSError as error:
        raise BadRules(path, f"{error.strerror}.") from None
    except ValidationError as error:
        raise BadRules(path, _first(error.messages)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or a date that is none
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise BadRules(path, f"not YAML{where}: {getattr(error, 'problem', None) or 'unreadable'}.") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML's own loader takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return mapping


def _rules(found: dict[str, Any]) -> tuple[Rule, ...]:
    rules = tuple(_rule(number, fields) for number, fields in enumerate(found["rules"]))
    names = [rule.name for rule in rules]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValidationError({"rules": {number: {"name": [f"{name} stands twice."]}}})
    return rules


def _rule(number: int, found: dict[str, Any]) -> Rule:
    def only(*names: str) -> str:
        given = [name for name in names if name in found]
        if len(given) != 1:
            raise ValidationError({"rules": {number: {found["name"]: [f"needs one of {', '.join(names)}."]}}})
        return given[0]

    kind, comparison = only("level", "rise", "share"), only(*COMPARISONS)
    return Rule(
        name=found["name"],
        severity=found["severity"],
        category=found["category"],
        summary=found["summary"],
        anchor=found["runbook"],
        expression=_EXPRESSIONS[kind](found[kind]),
        comparison=comparison,
        threshold=found[comparison],
        for_s=found["for_s"],
        clear_s=found["clear_s"],
    )


def _selector(found: dict[str, Any]) -> Selector:
    return Selector(found.get("counter") or found["gauge"], found["labels"], found["except_labels"])


def _level(found: dict[str, Any]) -> Level:
    return Level(_selector(found), found["take"], _selector(found["divided_by"]) if "divided_by" in found else None)


def _share(found: dict[str, Any]) -> Share:
    part, whole = (Rise(_selector(found[name]), found["over_s"]) for name in ("part", "whole"))
    return Share(part, whole, found["at_least"])


_EXPRESSIONS: dict[str, Any] = {
    "level": _level,
    "rise": lambda found: Rise(_selector(found), found["over_s"]),
    "share": _share,
}


def _first(messages: Any, where: str = "") -> str:
    """Return the first of marshmallow's messages, and where in the file it belongs."""
    if isinstance(messages, dict):
        key, inner = next(iter(messages.items()))
        return _first(inner, f"{where}.{key}" if where else str(key))
    return f"{where}: {messages[0]}"
