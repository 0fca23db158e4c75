"""Keyset pagination: a cursor says after which row the next page begins, signed so that nobody can make one up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import current_app
from itsdangerous import BadSignature, URLSafeSerializer

from codyverse.errors import InvalidInput


def _signer(list_name: str) -> URLSafeSerializer:
    return URLSafeSerializer(current_app.secret_key or "", salt=f"cursor:{list_name}")


def after(list_name: str, cursor: str | None) -> list[Any] | None:
    """Return the sort values that the cursor stands for, None without one. Raises InvalidInput for one of another list."""
    if cursor is None:
        return None
    try:
        values: list[Any] = _signer(list_name).loads(cursor)
    except BadSignature:
        raise InvalidInput("The cursor was not given out for this list.", {"cursor": ["Not a cursor of this list."]}) from None
    return values


def page(
    list_name: str, rows: Sequence[dict[str, Any]], limit: int, sort_values: Callable[[dict[str, Any]], list[Any]]
) -> dict[str, Any]:
    """Return `{"items", "next_cursor"}` from up to limit + 1 rows: the one too many tells that there is another page."""
    items = list(rows[:limit])
    more = len(rows) > limit
    return {"items": items, "next_cursor": _signer(list_name).dumps(sort_values(items[-1])) if more else None}
