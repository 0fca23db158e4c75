"""How much a client may ask for: flask-limiter over counters of our own (see `tiers`).

A request is counted against its address before anything is known of it, then, once it is known who sends it, against the client
and the operation. `/livez`, `/readyz` and `/health` are free; static files, addresses where nothing is, and CORS preflights count
against the address only, since nobody has to be looked up for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from flask import Flask, Response, current_app, g, request
from flask_limiter import ApplicationLimit, Limit, Limiter, RequestLimit

from codyverse.errors import TooManyRequests
from codyverse.operations.limits import headers, tiers
from codyverse.operations.limits.addresses import address
from codyverse.operations.limits.sign_in import Exceeded, SignInLimits

View = TypeVar("View", bound=Callable[..., Any])

FREE = frozenset({"/livez", "/readyz", "/health"})
SIGN_IN = ("/api/v1/auth/login", "/api/v1/auth/register")  # counted by sign_in.py
API = "/api/"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an application."""

    tiers: tiers.Tiers
    limiters: tuple[Limiter, Limiter]
    sign_in: SignInLimits


def of(app: Flask) -> Limits | None:
    """Return the application's limits, None where they are switched off."""
    found: Limits | None = app.extensions.get("codyverse.limits")
    return found


def uploads(view: View) -> View:
    """Count the requests of a view as uploads, too."""
    view.is_upload = True  # type: ignore[attr-defined]
    return view


@contextmanager
def attempt_to_sign_in(email: str) -> Iterator[None]:
    """Count the block if it raises WrongCredentials. Raises TooManyRequests instead of beginning it."""
    limits = of(current_app)
    if limits is None:
        yield
        return
    try:
        with limits.sign_in.attempt(email):
            yield
    except Exceeded as error:
        _refuse(error.standing, "Too many attempts to sign in.")


def count_registration() -> None:
    """Count a registration. Raises TooManyRequests."""
    limits = of(current_app)
    if limits is not None:
        try:
            limits.sign_in.registration()
        except Exceeded as error:
            _refuse(error.standing, "Too many registrations and attempts to sign in.")


def _refuse(told: headers.Standing, why: str) -> NoReturn:
    g.refused = told
    raise TooManyRequests(f"{why} Try again in {told.wait_s} {'second' if told.wait_s == 1 else 'seconds'}.") from None


def _is_free() -> bool:
    return request.url_rule is not None and request.url_rule.rule in FREE


def _has_no_client() -> bool:
    rule = request.url_rule.rule if request.url_rule else None
    # Signing in has limits of its own: a reader without an account must not use up what a class behind his address signs in with.
    return _is_free() or rule in (None, *SIGN_IN) or request.endpoint == "static" or request.method == "OPTIONS"


def _is_no_operation() -> bool:
    return not request.path.startswith(API)


def _is_no_upload() -> bool:
    return not getattr(current_app.view_functions[request.endpoint or ""], "is_upload", False)


def _operation() -> str:
    rule = request.url_rule.rule if request.url_rule else "-"
    return f"{'GET' if request.method == 'HEAD' else request.method} {rule}"


def _standing(counted: RequestLimit, storage: tiers.Tiers) -> headers.Standing:
    scope = counted.request_args[-1]
    policy = scope if scope in headers.POLICIES else "endpoint"
    window = storage.get_sliding_window(counted.key, counted.limit.get_expiry())
    return headers.standing(policy, counted.limit, window)


def _tell(response: Response) -> Response:
    """Send the headers: with every answer of the API, and with every refusal."""
    limits = of(current_app)
    told: headers.Standing | None = g.get("refused")
    if told is None and limits is not None and request.path.startswith(API):
        counted = [each for limiter in limits.limiters for each in limiter.current_limits]
        told = min((_standing(each, limits.tiers) for each in counted), key=lambda standing: standing.remaining, default=None)
    if told is not None:
        headers.send(response, told)
    return response


def init_app(app: Flask, client: Callable[[], str]) -> None:
    """Count every request; `client` returns who sends the present one. Comes before what looks at a request."""
    settings = app.config["CODYVERSE"]
    if not settings.feature_rate_limit:
        return
    storage = tiers.of(settings)

    def limiter(name: str, key: Callable[[], str], **limits: Any) -> Limiter:
        def refuse(exceeded: RequestLimit) -> NoReturn:
            _refuse(_standing(exceeded, storage), "Too many requests.")

        return Limiter(
            key,
            app=app,
            strategy="sliding-window-counter",
            storage_uri="tiers://",
            storage_options={"tiers": storage.tiers},  # type: ignore[dict-item]
            key_prefix=name,
            request_identifier=_operation,
            headers_enabled=False,
            on_breach=refuse,
            **limits,
        )

    by_address = limiter(
        "address", address, application_limits=[ApplicationLimit(limit_provider=settings.limit_address, scope="address")]
    )
    by_address.request_filter(_is_free)
    by_client = limiter(
        "client",
        client,
        application_limits=[ApplicationLimit(limit_provider=settings.limit_client, scope="client")],
        default_limits=[
            Limit(settings.limit_endpoint, exempt_when=_is_no_operation),
            Limit(settings.limit_upload, scope="upload", shared=True, exempt_when=_is_no_upload),
        ],
    )
    by_client.request_filter(_has_no_client)
    app.extensions["codyverse.limits"] = Limits(storage, (by_address, by_client), SignInLimits(settings, storage, address))
    app.after_request(_tell)
