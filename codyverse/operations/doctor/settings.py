"""Checks of what the settings say, each on its own and together."""

from __future__ import annotations

import limits

from codyverse.operations.doctor.check import Finding, Group, fault, ok, warning
from codyverse.operations.doctor.deployment import Deployment

HALF_A_YEAR_S = 15_552_000  # 180 days; what lists of HSTS ask for at least is twice that
GUESSES_AN_HOUR = 100  # at one account, from anywhere
LOCAL = ("127.0.0.1", "localhost", "[::1]", "unix:", "fd://")

group = Group("settings")
cors = Group("cors", lambda it: "" if it.settings.cors_origins else "No other origin may call the API: CODYVERSE_CORS_ORIGINS.")

GROUPS = (group, cors)


@group.check(
    "environment",
    "The environment is production, or a rehearsal of it",
    why="Development and testing switch off what protects people: HTTPS, secure cookies, limits.",
    mend="CODYVERSE_ENV=production",
)
def environment(it: Deployment) -> Finding:
    """Look at CODYVERSE_ENV."""
    name = it.settings.environment
    return ok() if name in ("production", "staging") else fault(f"It is {name}.")


@group.check(
    "debugger",
    "The debugger is off",
    why="Whoever meets an error could run code on this machine.",
    mend="Leave out --debug, and remove FLASK_DEBUG from the environment.",
)
def debugger(it: Deployment) -> Finding:
    """Look at Flask's own switch."""
    return fault("Flask runs with its debugger.") if it.app.debug else ok()


@group.check(
    "https",
    "Browsers are sent to HTTPS",
    why="Passwords and sessions could be read and taken on the way.",
    mend="CODYVERSE_HTTPS=1, and a proxy with a certificate (docs/operations/install.md).",
)
def https(it: Deployment) -> Finding:
    """Look at CODYVERSE_HTTPS."""
    return ok() if it.settings.https else fault("CODYVERSE_HTTPS is off.")


@group.check(
    "hsts",
    "Browsers stay on HTTPS for half a year",
    why="With every visit over plain HTTP somebody on the way has another chance to keep a browser there.",
    mend="CODYVERSE_HSTS_SECONDS=31536000, once HTTPS works for good.",
    needs="https",
)
def hsts(it: Deployment) -> Finding:
    """Look at CODYVERSE_HSTS_SECONDS."""
    seconds = it.settings.hsts_seconds
    return ok() if seconds >= HALF_A_YEAR_S else warning(f"They stay for {seconds} s.")


@group.check(
    "cookies",
    "The session cookie travels over HTTPS only",
    why="One request over plain HTTP shows it to everybody on the way, and it is all that a session is.",
    mend="CODYVERSE_SESSION_COOKIE_SECURE=1",
)
def cookies(it: Deployment) -> Finding:
    """Look at CODYVERSE_SESSION_COOKIE_SECURE."""
    return ok() if it.settings.session_cookie_secure else fault("CODYVERSE_SESSION_COOKIE_SECURE is off.")


@group.check(
    "features",
    "Security headers, CSRF tokens and limits are on",
    why="Other sites' pages could act for whoever is signed in, and passwords be tried without end.",
    mend="CODYVERSE_FEATURE_SECURITY=1 and CODYVERSE_FEATURE_RATE_LIMIT=1",
)
def features(it: Deployment) -> Finding:
    """Look at the two flags that protect."""
    off = [name for name in ("feature_security", "feature_rate_limit") if not getattr(it.settings, name)]
    return fault(f"{_variables(off)} off.") if off else ok()


@group.check(
    "comforts",
    "Breakers and monitoring are on",
    why="Without them a dead database takes every thread, and nobody hears of it.",
    mend="CODYVERSE_FEATURE_CIRCUIT_BREAKER=1 and CODYVERSE_FEATURE_MONITORING=1",
)
def comforts(it: Deployment) -> Finding:
    """Look at the two flags that keep it going."""
    off = [name for name in ("feature_circuit_breaker", "feature_monitoring") if not getattr(it.settings, name)]
    return warning(f"{_variables(off)} off.") if off else ok()


@group.check(
    "guesses",
    "Guessing a password is slow",
    why="Few passwords withstand somebody who may try thousands.",
    mend="CODYVERSE_LIMIT_SIGN_IN_ACCOUNT=30 per hour",
)
def guesses(it: Deployment) -> Finding:
    """Look at how often one account's password may be tried from anywhere."""
    limit = limits.parse(it.settings.limit_sign_in_account)
    an_hour = limit.amount * 3600 / limit.get_expiry()
    return ok() if an_hour <= GUESSES_AN_HOUR else fault(f"One account's may be tried {an_hour:.0f} times an hour.")


@group.check(
    "hosts",
    "The hosts that are served are named",
    why="A request for a foreign host gets links and redirects to that host, which a cache may hand on to others.",
    mend="CODYVERSE_ALLOWED_HOSTS=learn.example.org",
)
def hosts(it: Deployment) -> Finding:
    """Look at CODYVERSE_ALLOWED_HOSTS."""
    return ok() if it.settings.allowed_hosts else warning("Any host is served.")


@group.check(
    "proxies",
    "What proxies tell is believed where there are proxies, and only there",
    why="Believed from nobody, every request seems to come over HTTP and is redirected for ever; believed from everybody, an "
    "address is what its sender likes, and limits are none.",
    mend="CODYVERSE_TRUSTED_PROXIES is the number of proxies, and nobody else reaches gunicorn (--bind 127.0.0.1:8000).",
)
def proxies(it: Deployment) -> Finding:
    """Compare the number of proxies with HTTPS and with where gunicorn listens."""
    trusted = it.settings.trusted_proxies
    if it.settings.https and not trusted:
        return fault("HTTPS is demanded and no proxy is trusted to say that it was used.")
    open_to_all = [address for address in it.plan.bind if not address.startswith(LOCAL)]
    if trusted and open_to_all and not it.machine.is_container():
        return warning(f"gunicorn believes proxies and listens at {', '.join(open_to_all)}: only they may reach it.")
    return ok()


@group.check(
    "policy",
    "Pages talk to named origins over HTTPS",
    why="A script that was smuggled into a page could send what it finds to any origin that the policy admits.",
    mend="Exact https:// origins in CODYVERSE_CSP_CONNECT and CODYVERSE_CSP_FONT.",
)
def policy(it: Deployment) -> Finding:
    """Look for wildcards and plain HTTP in what pages may load."""
    wide = [each for each in (*it.settings.csp_connect, *it.settings.csp_font) if "*" in each or each.startswith("http:")]
    return warning(f"Pages may talk to {', '.join(wide)}.") if wide else ok()


@group.check(
    "deadlines",
    "A statement ends before its request does",
    why="A request that waits for the database beyond its deadline has its worker replaced, with all that others have in it.",
    mend="CODYVERSE_DATABASE_POOL_WAIT_S + CODYVERSE_DATABASE_STATEMENT_TIMEOUT_S well below CODYVERSE_REQUEST_DEADLINE_S.",
)
def deadlines(it: Deployment) -> Finding:
    """Compare what a request may wait for with what it may take."""
    waits = it.settings.database_pool_wait_s + max(it.settings.database_statement_timeout_s, it.settings.database_lock_timeout_s)
    deadline = it.settings.request_deadline_s
    return ok() if waits < deadline else fault(f"One statement may take {waits:g} s, a request {deadline:g} s.")


@group.check(
    "memory-steps",
    "A worker warns, then collects, then is replaced",
    why="In another order the cheaper measures come too late to spare the dearer one.",
    mend="CODYVERSE_MEMORY_WARN_PERCENT < CODYVERSE_MEMORY_COLLECT_PERCENT < CODYVERSE_MEMORY_RETIRE_PERCENT",
)
def memory_steps(it: Deployment) -> Finding:
    """Look at the order of the three."""
    steps = (it.settings.memory_warn_percent, it.settings.memory_collect_percent, it.settings.memory_retire_percent)
    return ok() if steps == tuple(sorted(set(steps))) else fault(f"They are at {', '.join(f'{step:g} %' for step in steps)}.")


@group.check(
    "log-level",
    "The log tells what matters",
    why="Lines of debugging fill disks and hide the others.",
    mend="CODYVERSE_LOG_LEVEL=INFO, or WARNING.",
)
def log_level(it: Deployment) -> Finding:
    """Look at CODYVERSE_LOG_LEVEL."""
    return warning("Every line of debugging is written.") if it.settings.log_level == "DEBUG" else ok()


@cors.check(
    "wildcard",
    "No origin that anybody may own sends the session cookie",
    why="Whoever publishes a page there can read and do what the learner who visits it can.",
    mend="CODYVERSE_CORS_CREDENTIALS_WITH_WILDCARD=0, and exact origins for what has to be signed in.",
)
def wildcard(it: Deployment) -> Finding:
    """Look for credentials with a wildcard."""
    wide = [origin for origin in it.settings.cors_origins if "*" in origin]
    if wide and it.settings.cors_credentials and it.settings.cors_credentials_with_wildcard:
        return fault(f"{', '.join(wide)} may.")
    return ok()


@cors.check(
    "plain-origins",
    "Other origins that call the API use HTTPS",
    why="Anybody on the way can change a page that came over plain HTTP, and have it call the API for whoever opened it.",
    mend="https:// origins in CODYVERSE_CORS_ORIGINS.",
)
def plain_origins(it: Deployment) -> Finding:
    """Look for http:// among them."""
    plain = [origin for origin in it.settings.cors_origins if origin.startswith("http:")]
    return fault(f"{', '.join(plain)} may call it.") if plain and it.settings.cors_credentials else ok()


def _variables(names: list[str]) -> str:
    told = " and ".join(f"CODYVERSE_{name.upper()}" for name in names)
    return f"{told} {'is' if len(names) == 1 else 'are'}"
