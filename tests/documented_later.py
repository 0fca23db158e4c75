"""The OpenAPI document, described when a test asks for it.

Describing it takes more than half of the time in which an application is made, and few of the thousands that the tests make are
asked for it. Every part is described in the order in which it would have been.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import wraps
from typing import Any

from apispec import APISpec
from flask_smorest import Blueprint

from codyverse.http.api import Api


def install() -> None:
    """Have applications describe themselves later, in this process."""
    Api._register_responses = _later(Api._register_responses, lambda api: api.spec)
    Blueprint.register_views_in_doc = _later(Blueprint.register_views_in_doc, lambda blueprint, api, app, spec, **named: spec)
    APISpec.to_dict = _described(APISpec.to_dict)


def _later(describe: Callable[..., None], spec_of: Callable[..., APISpec]) -> Callable[..., None]:
    @wraps(describe)
    def note(*arguments: Any, **named: Any) -> None:
        spec = spec_of(*arguments, **named)
        # The next application that is made puts its own document in place of this one.
        arguments = tuple(copy(one) if isinstance(one, Api) else one for one in arguments)
        spec.__dict__.setdefault("to_be_described", []).append((describe, arguments, named))

    return note


def _described(to_dict: Callable[[APISpec], dict[str, Any]]) -> Callable[[APISpec], dict[str, Any]]:
    @wraps(to_dict)
    def describe_first(spec: APISpec) -> dict[str, Any]:
        for describe, arguments, named in spec.__dict__.pop("to_be_described", ()):
            describe(*arguments, **named)
        return to_dict(spec)

    return describe_first
