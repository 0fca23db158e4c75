"""Fields that several schemas share."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Where what was made can be read."}}
SLUG = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")


class Schema(ma.Schema):
    """A schema that keeps the order of its fields and refuses unknown ones."""

    class Meta:
        unknown = ma.RAISE

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Return the fields of a row that the schema has.

        Rows are plain data already, and the JSON writer knows moments. Marshmallow would look every value up in several ways and
        convert it to what it is, which took longer than reading it from the database.
        """
        return _picked(self, obj, self.many if many is None else many)


class NothingSchema(Schema):
    """An empty object, or no body: what an operation takes that needs nothing told."""


class Instant(ma.fields.Field[Any]):
    """A moment in UTC, `2026-11-24T10:41:48.123456Z`; passes one on that is text already."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("metadata", {}).update({"type": "string", "format": "date-time"})
        super().__init__(dump_only=True, **kwargs)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return value  # type: ignore[no-any-return]


class WholeNumber(ma.fields.Integer):
    """A whole number as JSON has it: 3 and 3.0 are the same, "3" and true are none."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or value != int(value):
            raise ma.ValidationError("Must be a whole number.")
        return int(value)


class QueryNumber(ma.fields.Integer):
    """A whole number in a query: the digits 0 to 9 only, of which Python would take more."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not (isinstance(value, str) and value.isascii() and value.isdigit()):
            raise ma.ValidationError("Must be a whole number.")
        return int(value[:20])


class PageQuery(Schema):
    """`?limit=&cursor=` of every list."""

    limit = QueryNumber(load_default=20, validate=ma.validate.Range(min=1, max=100))
    cursor = ma.fields.String(load_default=None, validate=ma.validate.Length(max=500))


# Whose values the JSON writer writes as they are.
_PLAIN = (ma.fields.String, ma.fields.Integer, ma.fields.Float, ma.fields.Boolean, ma.fields.Raw, ma.fields.Dict, Instant)


def _picked(schema: ma.Schema, row: Any, many: bool | None) -> Any:
    if many:
        return [_picked(schema, each, False) for each in row]
    picked = {}
    for name, field in schema.dump_fields.items():
        if type(field) in _PLAIN:
            if name in row:
                picked[name] = row[name]
        elif isinstance(field, ma.fields.Nested | ma.fields.List):
            if name in row:
                picked[name] = _value(field, row[name])
        elif (value := field.serialize(name, row)) is not ma.missing:
            picked[name] = value
    return picked


def _value(field: ma.fields.Field[Any], value: Any) -> Any:
    if isinstance(field, ma.fields.Nested):
        return None if value is None else _picked(field.schema, value, field.many)
    if isinstance(field, ma.fields.List) and isinstance(field.inner, ma.fields.Nested | ma.fields.List):
        return [_value(field.inner, each) for each in value]
    return value
