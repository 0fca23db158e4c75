"""The configuration of HAProxy for a set of servers, from the template in deploy/haproxy/."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
import limits

from codyverse.errors import PROBLEM_TYPE, TooManyRequests, Unavailable
from codyverse.operations.commands import CommandError
from codyverse.operations.deploy.addresses import Address
from codyverse.operations.deploy.canary import KEY, MAP_NAME
from codyverse.operations.deploy.request_times import ADDRESS
from config.base import ROOT

FOLDER = ROOT / "deploy/haproxy"
TEMPLATE = "haproxy.cfg.j2"
# Where Debian and those who build it themselves put it; an account that is not root may not have these in its PATH.
PLACES = "/usr/sbin:/usr/local/sbin"

BALANCE = {"roundrobin": "roundrobin", "leastconn": "leastconn", "weighted": "roundrobin"}
WEIGHTS = range(1, 257)
SHIELD_FACTOR = 2
LONGEST_PERIOD_S = 24 * 60 * 60  # HAProxy counts over 24 days at the most
SLOW_US = 5_000_000  # twice what the application allows a statement

_TYPES = {429: PROBLEM_TYPE + TooManyRequests.type, 503: PROBLEM_TYPE + Unavailable.type}
_PROBLEMS = (
    (400, "Bad Request", None),
    (408, "Request Timeout", None),
    (413, "Content Too Large", None),
    (500, "Internal Server Error", 2),
    (502, "Bad Gateway", 2),
    (503, "Service Unavailable", 2),
    (504, "Gateway Timeout", 2),
)
_PATH = re.compile(r"/[A-Za-z0-9._/@+-]+")  # nothing that the configuration would read as more than a word
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}|")


@dataclass(frozen=True, slots=True)
class Server:
    """An application server; without a weight it has HAProxy's, which is 1."""

    name: str
    address: Address
    weight: int | None = None


@dataclass(frozen=True, slots=True)
class Shield:
    """So many requests of an address in a period are too many."""

    amount: int
    period_s: int
    factor: int = SHIELD_FACTOR
    retry_after_s: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a configuration is made of."""

    servers: tuple[Server, ...]
    canaries: tuple[Server, ...]
    strategy: str
    bind: str
    plain: str
    certificate: str
    socket: str
    folder: str
    metrics_port: int
    concurrency: int
    user: str
    host: str
    dns: bool
    shield: Shield | None
    times_address: str = ADDRESS  # where `flask deploy canary watch` listens


def server(name: str, text: str) -> Server:
    """Return the server of `HOST:PORT` or `HOST:PORT,weight=N`. Raises CommandError."""
    address, *options = text.split(",")
    weight = None
    for option in options:
        key, _, value = option.partition("=")
        if key != "weight" or weight is not None:
            raise CommandError(f"{text!r}: behind HOST:PORT may stand one weight=N.")
        weight = number(f"The weight of {address}", value, WEIGHTS)
    return Server(name, Address.of(address), weight)


def number(what: str, text: str, valid: range) -> int:
    """Return a whole number. Raises CommandError."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) in valid):
        raise CommandError(f"{what} is {text!r}; it must be a number from {valid[0]} to {valid[-1]}.")
    return int(text)


def path(what: str, text: str) -> str:
    """Return an absolute path of ordinary characters. Raises CommandError."""
    if not _PATH.fullmatch(text):
        raise CommandError(f"{what} is {text!r}; it must be an absolute path of letters, digits and ._/@+-.")
    return text.rstrip("/")


def check(plan: Plan) -> None:
    """Raise CommandError for parts that do not fit each other."""
    if plan.strategy not in BALANCE:
        raise CommandError(f"There is no strategy {plan.strategy!r}, only {', '.join(BALANCE)}.")
    if not plan.servers:
        raise CommandError("No server is named: --server HOST:PORT.")
    everyone = (*plan.servers, *plan.canaries)
    seen: set[str] = set()
    for one in everyone:
        if str(one.address) in seen:
            raise CommandError(f"The server {one.address} is named twice.")
        seen.add(str(one.address))
    if plan.strategy == "roundrobin" and any(one.weight for one in everyone):
        raise CommandError("With --strategy roundrobin all servers have the same weight; use weighted.")
    if plan.metrics_port in {int(bound.rpartition(":")[2]) for bound in (plan.bind, plan.plain) if bound}:
        raise CommandError(f"Port {plan.metrics_port} cannot be that of visitors and that of the metrics.")
    if not _USER.fullmatch(plan.user):
        raise CommandError(f"The account is {plan.user!r}, which cannot be one.")


def shield(limit: str) -> Shield:
    """Return what is well above a limit of the application, such as `30000 per 15 minutes`."""
    allowed = limits.parse(limit)
    return Shield(SHIELD_FACTOR * allowed.amount, min(allowed.get_expiry(), LONGEST_PERIOD_S))


def render(plan: Plan) -> str:
    """Return the text of haproxy.cfg."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  (no HTML; what comes from outside was checked word by word)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    parts = {name: getattr(plan, name) for name in Plan.__slots__}
    return templates.get_template(TEMPLATE).render(
        **parts,
        balance=BALANCE[plan.strategy],
        slow_us=SLOW_US,
        problems=_PROBLEMS,
        types={status: _TYPES.get(status, "about:blank") for status in (429, *(status for status, *_ in _PROBLEMS))},
    )


def find() -> str | None:
    """Return the path of the installed HAProxy, None when there is none."""
    return shutil.which("haproxy") or shutil.which("haproxy", path=PLACES)


def verify(haproxy: str, plan: Plan) -> None:
    """Have HAProxy read a configuration of this plan. Raises CommandError with its first complaint.

    It is given a folder that has the map: the real one may be on another machine.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, MAP_NAME).write_text(initial_map(), "ascii")
        file = Path(folder, "haproxy.cfg")
        file.write_text(render(replace(plan, folder=folder)), "utf-8")
        asked = subprocess.run(  # noqa: S603  (a program of the system, with a file of ours)
            [haproxy, "-c", "-f", str(file)], capture_output=True, text=True, check=False, timeout=60
        )
    if asked.returncode != 0:
        complaints = re.findall(r"^\[ALERT\].*?config : (.*)", asked.stderr, re.M) or [asked.stderr]
        raise CommandError(f"HAProxy refuses the configuration: {complaints[0]}")


def initial_map() -> str:
    """Return a canary.map with which nobody goes to the canary."""
    return f"{KEY} 0\n"
