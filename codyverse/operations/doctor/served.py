"""Checks of a site as visitors meet it, for `--url`: its certificate, its headers, and what a stranger can talk it into."""

from __future__ import annotations

import re
import ssl
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from codyverse.operations.doctor import clocks
from codyverse.operations.doctor.check import Finding, Group, fault, ok, skipped, warning
from codyverse.operations.doctor.deployment import Deployment
from codyverse.operations.doctor.settings import HALF_A_YEAR_S
from codyverse.operations.doctor.site import HTTPS_PORT

DAY_S = 86_400
DAYS_WARNING, DAYS_FAULT = 21, 7
SMALLEST_COMPRESSED = 2_000  # bytes
STRANGER = "doctor.invalid"  # a name that never belongs to anybody (RFC 2606)
OPERATORS_ONLY = ("/metrics",)
WANTED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "",
    "Referrer-Policy": "",
    "Permissions-Policy": "",
    "Cross-Origin-Opener-Policy": "same-origin",
}

group = Group("site", lambda it: "" if it.url else "No address was given: --url https://…")

GROUPS = (group,)

REACHABLE = "site-reachable"


@group.check(
    REACHABLE,
    "The site is ready",
    why="Visitors meet an error, or nothing.",
    mend="/health on the machine itself, or `journalctl -u codyverse`, says why; then the proxy's log.",
)
def reachable(it: Deployment) -> Finding:
    """Ask /readyz as a balancer does."""
    try:
        status = it.site.get("/readyz").status
    except OSError as error:
        return fault(f"It does not answer: {error.strerror or type(error).__name__}.")
    return ok() if status == 200 else fault(f"/readyz answers {status}.")


@group.check(
    "certificate",
    "The certificate is good for weeks",
    why="Browsers refuse the site from one second to the next, and HSTS leaves visitors no way around that.",
    mend="Renew it, give the proxy the whole chain, and see why it was not renewed by itself.",
    needs=REACHABLE,
)
def certificate(it: Deployment) -> Finding:
    """Check it as a browser does."""
    try:
        ends = ssl.cert_time_to_seconds(it.site.certificate()["notAfter"])
    except ssl.SSLCertVerificationError as error:
        return fault(f"Browsers refuse it: {error.verify_message}.")
    days = (ends - it.machine.now()) / DAY_S
    if days < DAYS_FAULT:
        return fault(f"It ends in {days:.0f} days.")
    return warning(f"It ends in {days:.0f} days.") if days < DAYS_WARNING else ok(f"{days:.0f} days")


@group.check(
    "home-page",
    "The home page is shown",
    why="It is the first that anybody sees.",
    mend="A redirect to itself: CODYVERSE_TRUSTED_PROXIES is the number of proxies. 400: CODYVERSE_ALLOWED_HOSTS. 5xx: the log.",
    needs=REACHABLE,
)
def home_page(it: Deployment) -> Finding:
    """Ask for it."""
    answer = it.site.get("/")
    to = answer.header("Location")
    return ok() if answer.status == 200 else fault(f"It answers {answer.status}{f', to {to}' if to else ''}.")


@group.check(
    "redirect",
    "Plain HTTP leads to HTTPS",
    why="Who types the name without https:// stays readable and changeable on the way.",
    mend="A listener at port 80 that hands on to the service, which redirects (flask deploy haproxy --certificate …).",
    needs=REACHABLE,
)
def redirect(it: Deployment) -> Finding:
    """Ask for the home page over HTTP."""
    if it.site.port != HTTPS_PORT and it.site.plain_port == 80:
        return skipped("The address has a port of its own, so nobody types it.")
    try:
        answer = it.site.get_plain("/")
    except OSError:
        return ok("nothing answers there")
    to = urlsplit(answer.header("Location"))
    if answer.status in (301, 302, 307, 308) and to.scheme == "https" and to.hostname == it.site.host:
        return ok()
    return fault(f"It answers {answer.status}{f' and leads to {to.geturl()}' if to.geturl() else ''}.")


@group.check(
    "site-hsts",
    "Browsers are told to stay on HTTPS",
    why="With every visit over plain HTTP somebody on the way has another chance to keep a browser there.",
    mend="CODYVERSE_HTTPS=1, and a proxy that says X-Forwarded-Proto and leaves Strict-Transport-Security alone.",
    needs="home-page",
)
def site_hsts(it: Deployment) -> Finding:
    """Look at Strict-Transport-Security."""
    told = it.site.get("/").header("Strict-Transport-Security")
    seconds = re.search(r"max-age=\"?(\d+)", told)
    if not seconds:
        return fault("There is no Strict-Transport-Security.")
    return ok() if int(seconds[1]) >= HALF_A_YEAR_S else warning(f"They are to stay for {seconds[1]} s.")


@group.check(
    "site-policy",
    "Pages say what they may load",
    why="A script that was smuggled into a page would run.",
    mend="CODYVERSE_FEATURE_SECURITY=1, and a proxy that leaves Content-Security-Policy alone.",
    needs="home-page",
)
def site_policy(it: Deployment) -> Finding:
    """Look at Content-Security-Policy."""
    told = it.site.get("/").header("Content-Security-Policy")
    if "default-src" not in told or "frame-ancestors" not in told:
        return fault("There is no Content-Security-Policy with default-src and frame-ancestors.")
    wide = [word for word in ("'unsafe-inline'", "'unsafe-eval'", " *") if word in told]
    return fault(f"It admits {', '.join(word.strip() for word in wide)}.") if wide else ok()


@group.check(
    "site-headers",
    "The other headers that protect are there, once",
    why="Browsers guess types, show the site within others', and tell others where a learner comes from.",
    mend="CODYVERSE_FEATURE_SECURITY=1, and a proxy that neither removes nor adds them.",
    needs="home-page",
)
def site_headers(it: Deployment) -> Finding:
    """Look for each of them."""
    answer = it.site.get("/")
    missing = [name for name, part in WANTED.items() if not answer.all(name) or part not in answer.header(name)]
    if missing:
        return fault(f"Missing or otherwise: {', '.join(missing)}.")
    twice = [name for name in (*WANTED, "Strict-Transport-Security") if len(answer.all(name)) > 1]
    return warning(f"Twice: {', '.join(twice)}.") if twice else ok()


@group.check(
    "site-cookies",
    "Cookies travel over HTTPS, and not from other sites",
    why="One that does not can be read on the way, or used by pages of others.",
    mend="CODYVERSE_SESSION_COOKIE_SECURE=1; a cookie of the proxy's own needs Secure and SameSite, too.",
    needs="home-page",
)
def site_cookies(it: Deployment) -> Finding:
    """Look at the cookies that a stranger gets."""
    weak = [each for each in it.site.get("/").all("Set-Cookie") if "secure" not in each.lower() or "samesite" not in each.lower()]
    return fault(f"{', '.join(each.split('=')[0] for each in weak)} without Secure and SameSite.") if weak else ok()


@group.check(
    "site-compression",
    "Pages are compressed",
    why="They take three to five times as long on a telephone.",
    mend="CODYVERSE_FEATURE_COMPRESSION=1, and a proxy that hands Accept-Encoding on.",
    needs="home-page",
)
def site_compression(it: Deployment) -> Finding:
    """Ask for the home page as browsers do."""
    if len(it.site.get("/").body) < SMALLEST_COMPRESSED:
        return skipped("The home page is too short to gain by it.")
    told = it.site.get("/", {"Accept-Encoding": "gzip, br, zstd"}).header("Content-Encoding")
    return ok(told) if told else warning("The home page is not.")


@group.check(
    "foreign-host",
    "A foreign host is refused",
    why="Links and redirects would lead to that host, and a cache hand them on to others.",
    mend="CODYVERSE_ALLOWED_HOSTS=learn.example.org, or a proxy that knows its hosts.",
    needs="home-page",
)
def foreign_host(it: Deployment) -> Finding:
    """Ask for the home page of a host that does not exist."""
    answer = it.site.get("/", {"Host": STRANGER})
    if STRANGER in answer.header("Location") or STRANGER.encode() in answer.body:
        return fault(f"It answers {answer.status} and repeats the name.") if answer.status < 400 else ok()
    return warning(f"It answers {answer.status}.") if answer.status < 400 else ok()


@group.check(
    "forwarded",
    "What a visitor says of proxies is not believed",
    why="Addresses would be what their senders like, limits none, and links lead where they like.",
    mend="CODYVERSE_TRUSTED_PROXIES is the number of proxies, each of which appends to X-Forwarded-For, -Proto and -Host.",
    needs="home-page",
)
def forwarded(it: Deployment) -> Finding:
    """Say to have come over HTTP to another host, and see whether that changes the answer."""
    lies = {"X-Forwarded-Proto": "http", "X-Forwarded-Host": STRANGER, "X-Forwarded-For": "192.0.2.1"}
    plain, lied = it.site.get("/"), it.site.get("/", lies)
    return ok() if plain.status == lied.status else fault(f"It answers {lied.status} instead of {plain.status}.")


@group.check(
    "site-cors",
    "A foreign origin may not use a session",
    why="Any page that a learner visits could read and do what the learner can.",
    mend="Exact origins in CODYVERSE_CORS_ORIGINS, and a proxy that adds no Access-Control headers.",
    needs="home-page",
)
def site_cors(it: Deployment) -> Finding:
    """Ask the API as a page of another origin would."""
    answer = it.site.get("/api/v1/courses", {"Origin": f"https://{STRANGER}"})
    admits = answer.header("Access-Control-Allow-Origin")
    if admits and answer.header("Access-Control-Allow-Credentials") == "true":
        return fault(f"{admits} is admitted, with credentials.")
    return warning(f"{admits} is admitted.") if STRANGER in admits else ok()


@group.check(
    "operators-only",
    "Figures are for operators",
    why="They tell how busy the site is, which version runs, and what fails.",
    mend="Leave /metrics to the guard of the service, and to scrapers with a token of their own.",
    needs="home-page",
)
def operators_only(it: Deployment) -> Finding:
    """Ask for them as a stranger."""
    shown = [path for path in OPERATORS_ONLY if it.site.get(path).status == 200]
    return fault(f"Everybody can read {', '.join(shown)}.") if shown else ok()


@group.check("site-clock", "The site's clock is right", why=clocks.WHY, mend=clocks.MEND, needs=REACHABLE)
def site_clock(it: Deployment) -> Finding:
    """Compare the Date of an answer that was made just now."""
    date = it.site.get("/livez").header("Date")
    if not date:
        return skipped("It tells no Date.")
    return clocks.compare(lambda: parsedate_to_datetime(date).timestamp() + 0.5, it.machine.now)  # it has no parts of seconds
