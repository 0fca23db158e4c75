"""The headers that tell browsers what our answers may do, and the way from HTTP to HTTPS (report row R13), on flask-talisman.

Flask-Talisman 1.1 is kept to the headers it is good at. The redirect to HTTPS and the Content-Security-Policy are ours: its own
redirect believes any X-Forwarded-Proto, and its policy overwrites one that a view has set. Its decorators are not used, since
they keep their options on the view, which several applications of a process share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flask import Flask, Response, g, redirect, request
from flask_talisman import Talisman  # type: ignore[import-untyped]
from werkzeug.wrappers import Response as AnyResponse

from codyverse.http.api import PREFIX
from codyverse.operations import proxies
from config import Settings

REPORTS = f"{PREFIX}/csp-reports"
REPORTS_NAME = "csp"

NOT_REDIRECTED = frozenset({"/livez", "/readyz", "/health"})  # balancers and monitors ask from inside, without TLS

# What is not a page needs nothing, even if a browser were talked into showing it as one.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"

# Everything that a browser might offer to a page and ours do not use.
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        *("accelerometer", "autoplay", "browsing-topics", "camera", "display-capture", "encrypted-media", "fullscreen"),
        *("geolocation", "gyroscope", "magnetometer", "microphone", "midi", "payment", "publickey-credentials-get"),
        *("screen-wake-lock", "usb", "xr-spatial-tracking"),
    )
)

Directives = Mapping[str, Iterable[str]]


def page_directives(settings: Settings) -> Directives:
    """Return what a page may load: its own origin's files, nothing written into the page, and what the settings add.

    There are no nonces, so that a page which was kept by a cache is as good as a new one.
    """
    own = "'self'"
    return {
        "default-src": (own,),
        "script-src": (own,),
        "style-src": (own,),
        "img-src": (own,),
        "connect-src": (own, *settings.csp_connect),
        "font-src": (own, *settings.csp_font),
        "object-src": ("'none'",),
        "base-uri": ("'none'",),
        "form-action": (own,),
        "frame-ancestors": ("'none'",),
        "report-uri": (REPORTS,),  # Firefox and Safari
        "report-to": (REPORTS_NAME,),  # Chromium, which then leaves report-uri alone
    }


def also_allow(directive: str, source: str) -> None:
    """Let the page that this request makes load one more kind of source, such as `data:` for `img-src`."""
    g.setdefault("csp_sources", {}).setdefault(directive, []).append(source)


def _written(directives: Directives, more: Directives) -> str:
    return "; ".join(" ".join((name, *sources, *more.get(name, ()))) for name, sources in directives.items())


def _redirect_to_https() -> AnyResponse | None:
    if request.is_secure or request.path in NOT_REDIRECTED:
        return None
    # A port that speaks HTTP does not speak HTTPS. `request.url` is quoted anew, so its path cannot reach into the host.
    rest = request.url.removeprefix(request.host_url)
    response = redirect(f"https://{proxies.host_name(request.host)}/{rest}", 308)
    # The name is the one that this client asked for; another must not be sent there by a cache.
    response.headers["Cache-Control"] = "no-store"
    return response


def init_app(app: Flask) -> None:
    """Send the headers with every answer, errors included. Comes early: what is added to a response first is added last."""
    settings: Settings = app.config["CODYVERSE"]
    if not settings.feature_security:
        return
    directives = page_directives(settings)
    page_policy = _written(directives, {})

    always = {secure: _said_by_talisman(settings, secure) for secure in (True, False)}
    page_headers = [("Reporting-Endpoints", f'{REPORTS_NAME}="{REPORTS}"')]

    @app.after_request
    def add_headers(response: Response) -> Response:
        is_page = response.mimetype == "text/html"
        policy = DATA_POLICY
        if is_page:
            more = g.get("csp_sources")
            policy = _written(directives, more) if more else page_policy
        # Set by a view, such a header stays; looked for one by one they took 30 µs.
        told = {name.lower() for name, _ in response.headers}
        wanted = [("Content-Security-Policy", policy), *always[request.is_secure], *(page_headers if is_page else ())]
        response.headers.extend([pair for pair in wanted if pair[0].lower() not in told])
        return response

    if settings.https:
        app.before_request(_redirect_to_https)


def _said_by_talisman(settings: Settings, secure: bool) -> list[tuple[str, str]]:
    """Return what Flask-Talisman adds to an answer, and what it does not know.

    It is the same for every answer, so it is asked once, by way of an application of its own: asked every time, it took 40 µs.
    """
    asked = Flask("talisman")
    Talisman(
        asked,
        force_https=False,
        content_security_policy=None,
        frame_options="DENY",
        permissions_policy=PERMISSIONS_POLICY,
        # Where a learner comes from is nobody else's business.
        referrer_policy="same-origin",
        strict_transport_security=settings.https,
        strict_transport_security_max_age=settings.hsts_seconds,
        # What else runs below the name of a school or a family is not ours to decide about.
        strict_transport_security_include_subdomains=False,
    )
    with asked.test_request_context(base_url="https://localhost" if secure else "http://localhost"):
        asked.preprocess_request()
        answer = asked.process_response(Response())
    own = {"content-type", "content-length"}
    return [
        *((name, value) for name, value in answer.headers if name.lower() not in own),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        # Also where CORS lets others in: browsers ask this header only about what a foreign page embeds without CORS
        # (an <img>, a <script>), never about a fetch that CORS has admitted.
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
