"""Where a request comes from and goes to: address, scheme and host, behind as many proxies as the settings name.

Every proxy appends what it saw to X-Forwarded-For, -Proto and -Host, so of n proxies the nth value from the right is the one that
the outermost of them wrote. What stands left of it anybody may have sent, and it is thrown away before anything can read it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from flask import Flask, request

from codyverse.errors import MalformedInput

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(
    rf"(?P<name>{_LABEL}(\.{_LABEL})*\.?|\[(?P<v6>[0-9a-f]*:[0-9a-f.:]+)\])(:(?P<port>[1-9][0-9]{{0,4}}))?", re.ASCII | re.I
)

PROBED = frozenset({"/livez", "/readyz"})  # by balancers, which know servers by their addresses
LONGEST_ADDRESS = 45  # an IPv6 address that ends with one of IPv4
_FORWARDED = "codyverse.forwarded"  # in the environment of a request that a proxy says to have handed on


def is_host(text: str) -> bool:
    """Say whether a Host header can be one: a name or an address, and perhaps a port (RFC 9110, 7.2)."""
    found = _HOST.fullmatch(text)
    if found is None or len(found["name"]) > 253 or int(found["port"] or 1) > 65535:
        return False
    return found["v6"] is None or _address(found["v6"]) is not None


def host_name(host: str) -> str:
    """Return the host without its port."""
    found = _HOST.fullmatch(host)
    return found["name"] if found else host


def is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Say whether a Host header names one of these hosts, or one below those that begin with a dot; of none: all do."""
    name = host_name(host).lower().removesuffix(".")
    return not allowed or any(name == each.removeprefix(".") or (each[0] == "." and name.endswith(each)) for each in allowed)


def _address(text: str) -> str | None:
    """Return an IP address in its one usual spelling, None for what is none."""
    if len(text) > LONGEST_ADDRESS:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id:  # means something only on the machine that wrote it, and may hold any text
            return None
        return str(address.ipv4_mapped or address)
    return str(address)


def _scheme(text: str) -> str | None:
    return text.lower() if text.lower() in ("http", "https") else None


def _host(text: str) -> str | None:
    return text if is_host(text) else None


_READERS: dict[str, Callable[[str], str | None]] = {
    "HTTP_X_FORWARDED_FOR": _address,
    "HTTP_X_FORWARDED_PROTO": _scheme,
    "HTTP_X_FORWARDED_HOST": _host,
}


class _Believed:
    """WSGI: leaves of each forwarded header the one value that is believed, or nothing.

    ProxyFix alone is not enough. It reads the headers as lists with quotes, so one quotation mark that a client sends hides the
    commas of the proxies behind it; and it takes any text for an address or a scheme.
    """

    def __init__(self, app: WSGIApplication, trusted: int) -> None:
        self._app = app
        self._trusted = trusted
        self._told = lru_cache(4096)(self._read)  # a proxy's clients come again

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        for name in _READERS:
            if name not in environ:
                continue
            environ[_FORWARDED] = True
            believed, text = self._told(name, environ.pop(name))
            if believed is not None:
                environ[name] = believed
                _apply(environ, name, believed)
            elif name == "HTTP_X_FORWARDED_HOST" and text:
                environ["HTTP_HOST"] = text  # the client's own Host header, handed on: refused as if it had come directly
        return self._app(environ, start_response)

    def _read(self, name: str, told: str) -> tuple[str | None, str]:
        """Return what is believed of a header, and what the outermost of the trusted proxies wrote."""
        values = told.split(",")
        if not 0 < self._trusted <= len(values):
            return None, ""
        text = values[-self._trusted].strip()
        return _READERS[name](text), text


def believing(app: WSGIApplication, trusted: int) -> WSGIApplication:
    """Return an application that is asked with the address, scheme and host that so many trusted proxies tell."""
    return _Believed(app, trusted)


def _apply(environ: WSGIEnvironment, name: str, value: str) -> None:
    """Put what is believed where WSGI has it, as Werkzeug's ProxyFix does."""
    if name == "HTTP_X_FORWARDED_FOR":
        environ["REMOTE_ADDR"] = value
    elif name == "HTTP_X_FORWARDED_PROTO":
        environ["wsgi.url_scheme"] = value
    else:
        environ["HTTP_HOST"] = environ["SERVER_NAME"] = value
        if ":" in value and not value.endswith("]"):
            environ["SERVER_NAME"], environ["SERVER_PORT"] = value.rsplit(":", 1)


def came_directly() -> bool:
    """Say whether the present request has nothing that proxies write, as when its sender is the one who speaks to us."""
    told = ("HTTP_X_FORWARDED", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")
    return _FORWARDED not in request.environ and not any(name.startswith(told) for name in request.environ)


def _refuse_bad_host(allowed: tuple[str, ...]) -> None:
    host = request.environ.get("HTTP_HOST")
    if host is None and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":  # a balancer's probe
        return
    if host is None or not is_host(host):
        raise MalformedInput("The Host header is missing or names no host.", {"Host": ["Not the name of a host."]})
    if not is_allowed(host, allowed) and request.path not in PROBED:
        raise MalformedInput("The Host header names a host that is not served here.", {"Host": ["Not a host of this service."]})


def init_app(app: Flask) -> None:
    """Believe the proxies that the settings name, nobody else, and refuse what is addressed to no possible, or no allowed, host.

    With X-Forwarded-Prefix nobody could agree on the paths of the service, so it is never believed.
    """
    settings = app.config["CODYVERSE"]
    app.wsgi_app = believing(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign, assignment]
    # Werkzeug would answer `//lessons/1` with a redirect to an absolute address, made from the Host header.
    app.url_map.merge_slashes = False
    app.before_request(partial(_refuse_bad_host, settings.allowed_hosts))  # before anything that sends somebody to it
