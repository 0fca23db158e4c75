"""Every setting: its name, type, default and one line of help.

A setting `database_url` is read from the environment variable `CODYVERSE_DATABASE_URL`. What one environment does differently
stands in the file of its name beside this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import limits
from marshmallow import ValidationError, validate
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parent.parent

DATABASES = ("sqlite", "postgres", "postgresql", "postgresql+psycopg2")
LIMIT = re.compile(r"[1-9][0-9]{0,8} per ([1-9][0-9]{0,5} )?(second|minute|hour|day)s?")
A_YEAR_S = 366 * 24 * 60 * 60
HOST_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST = re.compile(rf"\.?{HOST_LABEL}(?:\.{HOST_LABEL})*|\[[0-9a-f:.]+\]")
ORIGIN = re.compile(rf"(https?://)(\*\.)?({HOST_LABEL}(?:\.{HOST_LABEL})*)(:[0-9]{{1,5}})?\Z")  # as a browser writes it
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
ADDRESSES_LOGGED = ("full", "masked", "none")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS = ("json", "console")


def usable_database_url(text: str) -> None:
    """Raise ValidationError for what is no address of a database that we support."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is not None and url.drivername == "sqlite" and url.query:
        raise ValidationError("must be sqlite:///file, with nothing behind it.")
    if url is None or url.drivername not in DATABASES or not url.database or url.database.startswith((":memory:", "file:")):
        raise ValidationError("must be sqlite:///file or postgresql://user:password@host/name.")


def usable_origins(origins: tuple[str, ...]) -> None:
    """Raise ValidationError for what is no origin, or has its wildcard so high that it admits a whole top-level domain."""
    for origin in origins:
        found = ORIGIN.match(origin)
        if found is None or (found[2] and "." not in found[3]) or not _is_written_port(found[1], found[4]):
            raise ValidationError(f"{origin} is no origin such as https://app.example.org or https://*.example.org.")


def _is_written_port(scheme: str, port: str | None) -> bool:
    """Say whether a browser would write this port behind an origin: never the scheme's own."""
    return port is None or (0 < int(port[1:]) < 65536 and port != {"http://": ":80", "https://": ":443"}[scheme])


def usable_hosts(hosts: tuple[str, ...]) -> None:
    """Raise ValidationError for what is no name or address of a host, perhaps with a dot before it."""
    for host in hosts:
        if not HOST.fullmatch(host):
            raise ValidationError(f"{host} is no host such as learn.example.org, .example.org or [2001:db8::1], in lower case.")


def usable_redis_url(text: str) -> None:
    """Raise ValidationError for what is no address of a Redis server."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("redis", "rediss") and bool(url.hostname) and url.port != 0  # reading the port checks it
        usable = usable and not url.query and not url.fragment and re.fullmatch(r"(/[0-9]{0,3})?", url.path) is not None
    except ValueError:
        usable = False
    if not usable:
        raise ValidationError("must be redis://host:port/0.")


def usable_webhook_url(text: str) -> None:
    """Raise ValidationError for what is no address of a web server, or has a password in it."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and url.username is None
        usable = usable and text.isascii() and text.isprintable() and " " not in text and not url.fragment
    except ValueError:
        usable = False
    if not usable:
        raise ValidationError("must be https://host/path, without a password.")


def usable_smtp_url(text: str) -> None:
    """Raise ValidationError for what is no address of a mail server."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("smtp", "smtps") and bool(url.hostname) and url.port != 0
        usable = usable and url.path in ("", "/") and not url.query and not url.fragment
    except ValueError:
        usable = False
    if not usable:
        raise ValidationError("must be smtp://user:password@host:port, or smtps:// for TLS from the beginning.")


def usable_emails(texts: tuple[str, ...]) -> None:
    """Raise ValidationError for what is no address of e-mail."""
    for text in texts:
        if not EMAIL.fullmatch(text):
            raise ValidationError(f"{text} is no address such as operators@example.org.")


def usable_limit(text: str) -> None:
    """Raise ValidationError for what is no limit such as `100 per minute`."""
    if not LIMIT.fullmatch(text) or limits.parse(text).get_expiry() > A_YEAR_S:
        raise ValidationError("must be one limit such as 100 per minute or 1000 per 15 minutes, over a year at the most.")


def setting(default: Any, help: str, valid: Callable[[Any], Any] | None = None, secret: bool = False) -> Any:
    """Declare a setting with its default, one line of help, what makes a value valid, and whether it must never be shown."""
    return field(default=default, metadata={"help": help, "valid": valid, "secret": secret})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the application was started with; made by `config.load` and never changed afterwards."""

    environment: str
    instance_path: Path = setting(ROOT / "instance", "Folder of what this installation writes: database and secret key.")
    secret_key: str = setting(
        "",
        "Key of every signature. Without it the file secret_key in the instance folder is read, and outside production made.",
        secret=True,
    )
    database_url: str = setting(
        "",
        "sqlite:///file or postgresql://user:password@host/name. Without it codyverse.sqlite3 in the instance folder.",
        usable_database_url,
        secret=True,
    )
    database_pool_kept: int = setting(
        2, "Connections to the database that a process keeps while it has nothing to do.", validate.Range(min=1, max=100)
    )
    database_pool_size: int = setting(
        20, "Connections to the database that a process has at the most.", validate.Range(min=1, max=100)
    )
    database_pool_wait_s: float = setting(
        2.0, "Seconds to wait for a connection when all are in use.", validate.Range(min=0.01, max=60)
    )
    database_pool_recycle_s: int = setting(
        1800, "Seconds after which a connection is replaced by a new one.", validate.Range(min=10, max=86_400)
    )
    database_connect_timeout_s: int = setting(
        2, "Seconds to wait for PostgreSQL to accept a connection.", validate.Range(min=1, max=60)
    )
    database_statement_timeout_s: float = setting(
        2.5, "Seconds that a statement may take on PostgreSQL.", validate.Range(min=0.1, max=600)
    )
    database_lock_timeout_s: float = setting(
        2.0, "Seconds that a statement may wait for a lock of another one.", validate.Range(min=0.1, max=600)
    )
    database_idle_in_transaction_timeout_s: float = setting(
        10.0, "Seconds after which PostgreSQL ends a transaction in which nothing happens.", validate.Range(min=0.1, max=600)
    )
    slow_request_ms: float = setting(
        1000.0, "Milliseconds from which a request is counted and logged as slow.", validate.Range(min=1, max=600_000)
    )
    slow_statement_ms: float = setting(
        100.0, "Milliseconds from which a statement is logged as slow.", validate.Range(min=0, max=600_000)
    )
    breaker_database: str = setting(
        "5 per 30 seconds", "Failures of the database after which it is left alone for a while.", usable_limit
    )
    breaker_database_open_s: float = setting(
        2.0, "Seconds for which it is left alone before one request tries again.", validate.Range(min=0.1, max=600)
    )
    breaker_redis: str = setting("10 per 5 seconds", "The same for Redis.", usable_limit)
    breaker_redis_open_s: float = setting(1.0, "The same for Redis.", validate.Range(min=0.1, max=600))
    database_busy_timeout_s: float = setting(
        1.5, "Seconds to wait for another writer of the SQLite file, up to three times.", validate.Range(min=0.1, max=60)
    )
    content_path: Path = setting(ROOT / "content", "Folder of the catalogue that `flask content` reads when none is named.")
    max_body_bytes: int = setting(
        256 * 1024, "Longest request body that is accepted.", validate.Range(min=1024, max=64 * 1024 * 1024)
    )
    head_deadline_s: float = setting(
        5.0, "Seconds within which the head of a request must arrive.", validate.Range(min=0.1, max=600)
    )
    body_deadline_s: float = setting(
        10.0, "Seconds within which its body must, and one more for every 20 kB.", validate.Range(min=0.1, max=600)
    )
    answer_deadline_s: float = setting(
        10.0,
        "Seconds within which a client must read its answer, and one more for every 20 kB.",
        validate.Range(min=0.1, max=600),
    )
    drain_s: float = setting(
        2.0,
        "Seconds for which a worker that was told to stop still accepts, while /readyz tells balancers to go elsewhere.",
        validate.Range(min=0, max=60),
    )
    session_days: int = setting(30, "Days until a browser has to sign in again.", validate.Range(min=1, max=365))
    session_cookie_secure: bool = setting(
        True, "Send the session cookie over HTTPS (or to localhost) only, under a __Host- name."
    )
    log_level: str = setting("WARNING", "Least severe log line that is written.", validate.OneOf(LOG_LEVELS))
    log_format: str = setting("json", "json: one object a line; console: for people to read.", validate.OneOf(LOG_FORMATS))
    log_path: str = setting(
        "",
        "Folder for codyverse.log, and for access.log in place of standard output: 20 MB each, and four before it. Empty: none.",
    )
    log_exception_texts: bool = setting(
        False, "Log the texts of exceptions, which may hold what learners sent, and not only their kinds and places."
    )
    trusted_proxies: int = setting(
        0,
        "How many proxies stand before the server and set X-Forwarded-For, -Proto and -Host. With 0 these are ignored.",
        validate.Range(min=0, max=10),
    )
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "Hosts that requests may be addressed to, without a port; .example.org: this one and all below it. Empty: any.",
        usable_hosts,
    )
    https: bool = setting(True, "Send browsers that come over plain HTTP to HTTPS, and tell them to stay there (HSTS).")
    hsts_seconds: int = setting(
        31_536_000, "How long a browser stays on HTTPS, in seconds.", validate.Range(min=0, max=63_072_000)
    )
    csp_connect: tuple[str, ...] = setting(
        (), "Origins besides our own that scripts on pages may talk to, such as https://api.openai.com.", usable_origins
    )
    csp_font: tuple[str, ...] = setting((), "Origins besides our own that pages may load fonts from.", usable_origins)
    cors_origins: tuple[str, ...] = setting(
        (),
        "Origins whose scripts may call the API: exact (https://app.example.org) or with one wildcard (https://*.replit.app).",
        usable_origins,
    )
    cors_credentials: bool = setting(True, "Let exact CORS origins send the session cookie.")
    cors_credentials_with_wildcard: bool = setting(
        False, "Let origins that a wildcard admits send the session cookie too. Anybody may own such an origin."
    )
    redis_url: str = setting(
        "",
        "redis://host:port/0, shared by several hosts. Without it one host counts for itself.",
        usable_redis_url,
        secret=True,
    )
    memory_path: str = setting(
        "/dev/shm",  # noqa: S108  (what we find there is checked before it is used)
        "Folder in memory that processes of a host share, for counters and what outdates the cache; empty: the instance folder.",
    )
    backup_path: str = setting("", "Folder of backups; empty: the folder backups in the instance folder.")
    cache_process_entries: int = setting(100, "Entries that a process keeps (L1).", validate.Range(min=1, max=1_000_000))
    cache_process_s: int = setting(300, "Seconds for which it uses them (L1).", validate.Range(min=1, max=86_400))
    cache_host_entries: int = setting(
        500, "Entries that the processes of a host share (L2).", validate.Range(min=1, max=1_000_000)
    )
    cache_host_s: int = setting(1800, "Seconds for which they use them (L2).", validate.Range(min=1, max=604_800))
    cache_cluster_entries: int = setting(
        1000, "Entries that the hosts share through Redis (L3).", validate.Range(min=1, max=10_000_000)
    )
    cache_cluster_s: int = setting(3600, "Seconds for which they use them (L3).", validate.Range(min=1, max=604_800))
    responses_mb: int = setting(32, "Megabytes of finished answers that a process keeps.", validate.Range(min=1, max=16_384))
    static_max_age_s: int = setting(
        604_800,
        "Seconds for which browsers keep the files of pages, whose addresses change with them.",
        validate.Range(min=0, max=31_536_000),
    )
    memory_worker_mb: int = setting(
        0,
        "Megabytes that a worker may hold; 0 for its part of memory_share.",
        validate.Range(min=0, max=1_048_576),
    )
    memory_share: float = setting(
        0.7,
        "Share of the memory of the container, or of the machine without one, that all workers may hold together.",
        validate.Range(min=0.01, max=1),
    )
    memory_warn_percent: float = setting(
        75.0, "Part of its memory from which a worker warns and halves what it keeps.", validate.Range(min=1, max=100)
    )
    memory_collect_percent: float = setting(
        85.0,
        "Part from which it empties what it keeps, collects garbage and gives memory back to the system.",
        validate.Range(min=1, max=100),
    )
    memory_retire_percent: float = setting(
        95.0, "Part from which it is replaced by a new worker.", validate.Range(min=1, max=100)
    )
    memory_relief_percent: float = setting(
        5.0, "How far it has to fall below one of these before that may act again.", validate.Range(min=0, max=50)
    )
    memory_window_requests: int = setting(
        3000, "Last requests of a worker from which it is told whether its memory grows.", validate.Range(min=30, max=10_000_000)
    )
    memory_forecast_s: float = setting(
        600.0,
        "Seconds within which a worker that grows steadily would have to be replaced: it is at a quiet moment then; 0: never.",
        validate.Range(min=0, max=86_400),
    )
    memory_quiet_requests: int = setting(
        1, "Requests that a worker may have in hand at a quiet moment.", validate.Range(min=0, max=1000)
    )
    memory_replacement_s: float = setting(
        5.0,
        "Seconds that a new worker may need to start: one that was warned, and grows too fast for that, is replaced at once.",
        validate.Range(min=0, max=600),
    )
    memory_emergency_s: float = setting(
        10.0,
        "Seconds for which a worker that holds more than its memory waits for a new one before it ends.",
        validate.Range(min=0, max=600),
    )
    memory_trace: bool = setting(
        False, "Once a worker's memory grows, note where what is allocated comes from (tracemalloc: requests take longer)."
    )
    request_deadline_s: float = setting(
        30.0,
        "Seconds after which the worker of a request that is still being answered is replaced.",
        validate.Range(min=0.1, max=3600),
    )
    events_queue: int = setting(
        10_000,
        "Events of little weight (views, time spent) that wait to be written; more are dropped and counted.",
        validate.Range(min=1, max=1_000_000),
    )
    access_log: str = setting(
        "-", "File of one JSON line a request, reopened on SIGUSR1; -: standard output (see log_path); off: none."
    )
    access_log_addresses: str = setting(
        "masked",
        "Clients' addresses in it: full, masked (the last number of IPv4, all beyond /48 of IPv6), none.",
        validate.OneOf(ADDRESSES_LOGGED),
    )
    readyz_database_s: float = setting(
        1.0, "Seconds for which /readyz and /health tell what a look at the database found.", validate.Range(min=0, max=60)
    )
    health_every_s: float = setting(
        5.0, "Seconds between two looks of a process at what /health tells of.", validate.Range(min=0, max=600)
    )
    health_deadline_s: float = setting(
        2.0, "Seconds after which what does not answer such a look is unavailable.", validate.Range(min=0.05, max=60)
    )
    health_latency_ms: float = setting(
        250.0, "Milliseconds from which database, cache and limiter are degraded.", validate.Range(min=0.1, max=60_000)
    )
    health_disk_free_mb: float = setting(
        500.0, "Megabytes free for the instance folder below which the disk is degraded.", validate.Range(min=0, max=10_000_000)
    )
    health_silent_s: float = setting(
        10.0, "Seconds after which a worker that says nothing of itself is silent.", validate.Range(min=3, max=600)
    )
    readyz_errors_share: float = setting(
        0.5,
        "Share of a process's answers that may be errors (500) before it calls itself not ready.",
        validate.Range(min=0, max=1),
    )
    readyz_errors_least: int = setting(20, "Answers without which that share says nothing.", validate.Range(min=1, max=1_000_000))
    readyz_errors_s: float = setting(10.0, "Seconds of which the answers are counted.", validate.Range(min=1, max=600))
    alerts_path: Path = setting(ROOT / "config/alerts.yaml", "File of the rules by which alerts are raised.")
    alerts_every_s: float = setting(
        15.0, "Seconds between two looks at the figures that alerts are raised by.", validate.Range(min=0.1, max=60)
    )
    alerts_webhook_url: str = setting(
        "", "Address that a message is posted to when an alert fires or clears; empty: none.", usable_webhook_url, secret=True
    )
    alerts_webhook_secret: str = setting(
        "", "Key of the signature (HMAC-SHA256) of what is posted there; empty: unsigned.", validate.Length(min=16), secret=True
    )
    alerts_email_to: tuple[str, ...] = setting((), "Addresses that the same messages are mailed to.", usable_emails)
    smtp_url: str = setting(
        "",
        "smtp://user:password@host:port (TLS where the server offers it) or smtps://, the server that takes mail; empty: none.",
        usable_smtp_url,
        secret=True,
    )
    admission_queue: int = setting(
        1000, "Requests of a worker that wait for a thread; more are refused.", validate.Range(min=1, max=100_000)
    )
    admission_wait_s: float = setting(
        2.0,
        "Seconds for which a page or a read of the API may wait for a thread: files half, submissions three times, sign-in four.",
        validate.Range(min=0.05, max=60),
    )
    admission_stream_threads: int = setting(
        2,
        "Threads of a worker that answers which stream may hold; two are left for others where there are more than two.",
        validate.Range(min=1, max=1000),
    )
    operations_stream_s: float = setting(
        60.0,
        "Seconds after which a live page of /operations has to connect again, so that it holds no thread for ever.",
        validate.Range(min=0, max=600),
    )
    haproxy_socket: str = setting(
        "", "HAProxy's runtime socket, a path or HOST:PORT, for the canary on /operations. Empty: none is shown."
    )
    limit_client: str = setting("1000 per 15 minutes", "Requests of one client: an account, else an address.", usable_limit)
    limit_endpoint: str = setting("100 per minute", "Requests of one client to one operation of the API.", usable_limit)
    limit_upload: str = setting("10 per minute", "Uploads of one client.", usable_limit)
    limit_address: str = setting(
        "30000 per 15 minutes",
        "Requests from one address, all its accounts together: room for a school, not for a flood.",
        usable_limit,
    )
    limit_sign_in: str = setting("5 per 15 minutes", "Failed attempts to sign in to one account from one address.", usable_limit)
    limit_sign_in_account: str = setting("30 per hour", "Failed attempts to sign in to one account from anywhere.", usable_limit)
    limit_sign_in_address: str = setting("100 per 15 minutes", "Failed attempts to sign in from one address.", usable_limit)
    feature_security: bool = setting(True, "Send security headers, redirect to HTTPS, demand CSRF tokens.")
    feature_rate_limit: bool = setting(True, "Count requests and refuse what is too much.")
    feature_compression: bool = setting(True, "Compress answers.")
    feature_caching: bool = setting(True, "Keep what was read from the database (L1, L2, and with Redis L3).")
    feature_circuit_breaker: bool = setting(True, "Leave the database and Redis alone for a while after they have failed.")
    feature_optimization: bool = setting(
        True, "Keep finished answers to public reads, complete with headers, and write events in batches."
    )
    feature_monitoring: bool = setting(True, "Count requests and their times, and show the figures at /metrics.")
    feature_load_balancing: bool = setting(True, "Have every worker hold an even share of the connections.")
