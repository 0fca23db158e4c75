"""How gunicorn serves CodyVerse. GUNICORN_CMD_ARGS and the command line win over what stands here."""

import os
import sys
from pathlib import Path

from codyverse.operations import logging
from codyverse.operations.alerts.rules import read as read_alert_rules
from codyverse.server import access_log, lifecycle, replacement, startup
from config import SettingsError, load  # the name `config` would be a setting of gunicorn's

try:
    settings = load()  # before anything starts: a worker that cannot start would be started again for ever
    read_alert_rules(settings.alerts_path)  # one that finds them broken later serves without alerts
except SettingsError as error:
    print(f"codyverse: {error}", file=sys.stderr)
    raise SystemExit(2) from None

logging.begin_serving(settings)

port = os.environ.get("PORT") or "8000"
if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
    print(f"codyverse: PORT is {port!r}; it must be a number from 1 to 65535.", file=sys.stderr)
    raise SystemExit(2)

wsgi_app = "wsgi:app"
bind = f"127.0.0.1:{port}"  # what faces the network is a proxy's business

workers = 2
threads = 4
worker_class = "codyverse.server.worker.Worker"  # `gthread` serves the same, slower, and lets slow clients hold threads
if os.environ.get("SCRIPT_NAME"):  # gunicorn takes it off every path, of which our worker knows nothing
    worker_class = "gthread"
worker_connections = 2000  # of a worker; each costs a descriptor and little memory while it waits
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  (memory: a heartbeat must not wait for a busy disk)

backlog = 2048  # connections that wait to be accepted; Linux allows no more than net.core.somaxconn
max_requests = 500_000  # what leaks too little to be noticed is gone with its worker, which is replaced first
max_requests_jitter = 50_000  # not all of them at once

timeout = 30  # an event loop that is silent for so long has its worker aborted
graceful_timeout = 30  # requests in flight have this long to finish after SIGTERM
keepalive = 5  # what waits for its next request costs a descriptor; a browser asks for what a page needs within these seconds

# Whom to believe about scheme, path and address is decided in codyverse/operations/proxies.py alone. Gunicorn would believe these
# headers from 127.0.0.1, and through a Unix socket from everybody.
secure_scheme_headers = {}
forwarder_headers = ""

# What a head may hold; more is answered 414 or 431. Browsers send 20 fields, proxies add some, and a cookie has up to 4 kB.
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190

# Two instances of one user would share the control socket in the user's folder.
control_socket_disable = True

logger_class = access_log.Logger  # writes the access log; what else gunicorn logs stays as it is
loglevel = "info" if settings.log_level == "INFO" else "warning"  # at debug it prints every setting and connection


def on_starting(server):
    """Refuse to start with more connections than the database has."""
    startup.check_connections(settings, server.cfg.workers, server.cfg.threads)


def when_ready(server):
    """Tell where the platform is, once it answers."""
    where = " and ".join(str(listener) for listener in server.LISTENERS)
    if settings.log_format == "console":
        print(f"CodyVerse is at {where} (stop it with Ctrl-C)", flush=True)
    else:
        logging.log.info("ready", extra={"at": where})
    replacement.attend(server)


def pre_fork(server, worker):
    """Give the worker its slot in what the workers share."""
    lifecycle.before_fork(worker)


def post_fork(server, worker):
    """Let the worker be told to stop."""
    lifecycle.forked()


def worker_exit(server, worker):
    """Close what the worker has open."""
    lifecycle.ended(worker)


def post_worker_init(worker):
    """Begin what the worker has of its own."""
    lifecycle.begun(worker)
