"""How much a client may ask for, counted by `leases` over counters of our own (see `tiers`).

A request is counted against its address before anything is known of it, then, once it is known who sends it, against the client
and the operation. `/livez`, `/readyz` and `/health` are free; static files, addresses where nothing is, and CORS preflights count
against the address only, since nobody has to be looked up for them. Uploads, which are few and dear, are counted one by one by
flask-limiter; what every request meets would cost four times as much with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn, TypeVar, cast

import limits as counting
from flask import Flask, Response, current_app, g, request
from flask_limiter import ApplicationLimit, Limiter, RequestLimit

from codyverse.errors import TooManyRequests
from codyverse.operations import components, tallies
from codyverse.operations.limits import addresses, headers, tiers
from codyverse.operations.limits.addresses import address
from codyverse.operations.limits.leases import Charge, Count, Exceeded, Leases
from codyverse.operations.limits.sign_in import SignInLimits
from config import Settings

View = TypeVar("View", bound=Callable[..., Any])

FREE = frozenset({"/livez", "/readyz", "/health"})
SIGN_IN = ("/api/v1/auth/login", "/api/v1/auth/register", "/login")  # counted by sign_in.py
API = "/api/"


class Meter:
    """The limits that every request meets."""

    def __init__(self, settings: Settings, storage: tiers.Tiers, count: Count) -> None:
        self.leases = Leases(storage, count=count)
        self._is_local = not settings.redis_url
        self._address = counting.parse(settings.limit_address)
        self._client = counting.parse(settings.limit_client)
        self._endpoint = counting.parse(settings.limit_endpoint)
        self._charge = lru_cache(4096)(lambda policy, item, *parts: Charge(policy, item, item.key_for(*parts)))
        self._all_charges = lru_cache(4096)(self._of_all)

    def address(self, address: str) -> headers.Standing:
        """Count a request against its address; returns how that stands. Raises Exceeded."""
        return self.leases.spend(self._of_address(address))

    def client(self, client: str, operation: str | None) -> headers.Standing:
        """Count a request against its client and, of the API, the operation; returns how the tighter stands. Raises Exceeded."""
        return self.leases.spend(*self._of_client(client, operation))

    def all(self, address: str, client: str, operation: str | None) -> headers.Standing:
        """Count a request against its address and, when the client is known, against all that is his. Raises Exceeded."""
        return self.leases.spend(*self._all_charges(address, client, operation))

    def all_at_once(self, address: str, client: str, operation: str | None) -> headers.Standing | None:
        """Count like `all`, for who must not wait: returns None, and counts nothing, where Redis would have to be asked."""
        count = self.leases.spend if self._is_local else self.leases.spend_at_hand
        return count(*self._all_charges(address, client, operation))

    def _of_all(self, address: str, client: str, operation: str | None) -> tuple[Charge, ...]:
        return (self._of_address(address), *(self._of_client(client, operation) if client else ()))

    def _of_address(self, address: str) -> Charge:
        charge: Charge = self._charge("address", self._address, "address", address, "address")
        return charge

    def _of_client(self, client: str, operation: str | None) -> list[Charge]:
        charges = [self._charge("client", self._client, "client", client, "client")]
        if operation is not None:
            charges.append(self._charge("endpoint", self._endpoint, "client", client, operation))
        return charges


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an application."""

    tiers: tiers.Tiers
    meter: Meter
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
        refuse(error.standing, "Too many attempts to sign in.")


def count_registration() -> None:
    """Count a registration. Raises TooManyRequests."""
    limits = of(current_app)
    if limits is not None:
        try:
            limits.sign_in.registration()
        except Exceeded as error:
            refuse(error.standing, "Too many registrations and attempts to sign in.")


def refuse(told: headers.Standing, why: str = "Too many requests.") -> NoReturn:
    """Refuse the present request, and tell how the client stands. Raises TooManyRequests."""
    g.limits_told = [told]
    raise TooManyRequests(f"{why} Try again in {told.wait_s} {'second' if told.wait_s == 1 else 'seconds'}.") from None


def _has_client(rule: str | None, endpoint: str | None, method: str) -> bool:
    # Signing in has limits of its own: a reader without an account must not use up what a class behind his address signs in with.
    return rule is not None and rule not in SIGN_IN and endpoint != "static" and method != "OPTIONS"


def _is_upload() -> bool:
    return getattr(current_app.view_functions.get(request.endpoint or ""), "is_upload", False)


def operation(method: str, rule: str) -> str:
    """Return the name of an operation, as the keys of its counters have it."""
    return f"{'GET' if method == 'HEAD' else method} {rule}"


def _tell(response: Response) -> Response:
    """Send the headers: with every answer of the API, and with every refusal."""
    told: list[headers.Standing] = g.get("limits_told", [])
    if told and (request.path.startswith(API) or response.status_code == 429):
        headers.send(response, min(told, key=lambda standing: standing.remaining))
    return response


class _UploadLimiter(Limiter):
    def _check_request_limit(self, callable_name: str | None = None, in_middleware: bool = True) -> None:
        # Finding out that there is nothing to count would cost every other request 35 µs.
        if _is_upload():
            super()._check_request_limit(callable_name, in_middleware)


def _count_uploads(app: Flask, settings: Settings, storage: tiers.Tiers, client: Callable[[], str], count: Count) -> None:
    def standing(counted: RequestLimit) -> headers.Standing:
        window = storage.get_sliding_window(counted.key, counted.limit.get_expiry())
        return headers.standing("upload", counted.limit, window)

    def refuse_upload(exceeded: RequestLimit) -> NoReturn:
        count("limit:upload:refused", 1)
        refuse(standing(exceeded))

    limiter = _UploadLimiter(
        client,
        app=app,
        strategy="sliding-window-counter",
        storage_uri="tiers://",
        storage_options={"tiers": storage.tiers},  # type: ignore[dict-item]
        key_prefix="client",
        headers_enabled=False,
        application_limits=[ApplicationLimit(limit_provider=settings.limit_upload, scope="upload")],
        on_breach=refuse_upload,
    )

    @app.before_request
    def tell_of_upload() -> None:
        if _is_upload():
            count("limit:upload:allowed", 1)
            g.limits_told += [standing(counted) for counted in limiter.current_limits]


def init_app(app: Flask, client: Callable[[], str]) -> None:
    """Count every request; `client` returns who sends the present one. Comes before what looks at a request."""
    settings = app.config["CODYVERSE"]
    if not settings.feature_rate_limit:
        return
    storage = tiers.of(settings)
    counted = tallies.of(app).count
    meter = Meter(settings, storage, counted)

    @app.before_request
    def count() -> None:
        asked = cast(Any, request)._get_current_object()  # each look-up of the present request costs a microsecond
        if asked.path in FREE:
            return
        rule = asked.url_rule.rule if asked.url_rule else None
        try:
            told = g.limits_told = [meter.address(addresses.counted(asked.remote_addr or ""))]
            if rule is not None and _has_client(rule, asked.endpoint, asked.method):
                told.append(meter.client(client(), operation(asked.method, rule) if asked.path.startswith(API) else None))
        except Exceeded as error:
            refuse(error.standing)

    _count_uploads(app, settings, storage, client, counted)
    app.after_request(_tell)
    app.extensions["codyverse.limits"] = Limits(storage, meter, SignInLimits(settings, storage, address, counted))
    components.of(app).add("limits", meter.leases.close)
