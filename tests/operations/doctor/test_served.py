"""The site as visitors meet it: a small one over TLS that tells what a test wants, and the real one behind HAProxy."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from codyverse.operations.doctor import served
from codyverse.operations.doctor.check import FAULT, OK, SKIPPED, WARNING
from codyverse.operations.doctor.site import Site
from tests.haproxy import Haproxy, config_text
from tests.operations.doctor.deployments import Case
from tests.server import Server, free_port

HEADERS = {
    "Strict-Transport-Security": "max-age=31536000",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass
class Answer:
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


Told = Callable[[str, Any], Answer | None]


class SmallSite:
    """A site over TLS and a plain one beside it; `told` is asked first, with path and headers."""

    def __init__(self, certificate: Path) -> None:
        self.told: Told = lambda path, headers: None
        self.plain: Told = lambda path, headers: Answer(308, [("Location", "https://localhost/")])
        self._secure = _server(lambda path, headers: self.told(path, headers) or _good(path, headers))
        self._plain = _server(lambda path, headers: self.plain(path, headers) or Answer())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._secure.socket = context.wrap_socket(self._secure.socket, server_side=True)
        self._threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in (self._secure, self._plain)]
        self.url = f"https://localhost:{self._secure.server_port}"
        self.plain_port = self._plain.server_port

    def __enter__(self) -> SmallSite:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._secure, self._plain):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


def _good(path: str, headers: Any) -> Answer:
    if headers["Host"].split(":")[0] != "localhost":
        return Answer(400)
    if path == "/metrics":
        return Answer(401)
    squeezed = [("Content-Encoding", "br")] if "br" in headers.get("Accept-Encoding", "") else []
    return Answer(200, [*HEADERS.items(), *squeezed], b"x" * 3000)


def _server(told: Callable[[str, Any], Answer]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            answer = told(self.path, self.headers)
            self.send_response_only(answer.status)
            if "Date" not in dict(answer.headers):
                self.send_header("Date", formatdate(usegmt=True))
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def make_certificate(folder: Path, name: str = "localhost", days: int = 60) -> Path:
    """Return a file with a certificate for a name that signs itself, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    key, chain, both = folder / f"{name}.key", folder / f"{name}.chain", folder / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days),
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(chain)],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_text(chain.read_text("ascii") + key.read_text("ascii"), "ascii")
    return both


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


@dataclass
class SiteCase:
    case: Case
    site: SmallSite

    def findings(self) -> Any:
        deployment = replace(self.case.deployment, url=self.site.url)
        deployment.site = Site(self.site.url, self.site.plain_port)
        self.case.deployment = deployment
        return self.case.findings("site")


@pytest.fixture
def small(on_sqlite: Case, trusted: Path) -> Iterator[SiteCase]:
    with SmallSite(trusted) as site:
        yield SiteCase(on_sqlite, site)


def tell(condition: Callable[[str, Any], bool] = lambda path, headers: path == "/", **answer: Any) -> Callable[[SmallSite], None]:
    """Have the site tell this when the condition holds."""

    def set_up(site: SmallSite) -> None:
        site.told = lambda path, headers: Answer(**answer) if condition(path, headers) else None

    return set_up


def _without(*names: str, **others: str) -> list[tuple[str, str]]:
    changed = {name.replace("_", "-"): value for name, value in others.items()}
    return [(name, value) for name, value in {**HEADERS, **changed}.items() if name not in names]


def plain_tells(**answer: Any) -> Callable[[SmallSite], None]:
    def set_up(site: SmallSite) -> None:
        site.plain = lambda path, headers: Answer(**answer)

    return set_up


def _is_from_elsewhere(path: str, headers: Any) -> bool:
    return "Origin" in headers


BODY = b"x" * 3000
STRANGER = served.STRANGER
COURSES = [("Access-Control-Allow-Origin", f"https://{STRANGER}"), ("Access-Control-Allow-Credentials", "true")]
BREAKS: dict[str, list[tuple[str, Callable[[SmallSite], None]]]] = {
    "site-reachable": [(FAULT, tell(lambda path, headers: path == "/readyz", status=503))],
    "home-page": [(FAULT, tell(status=308, headers=[("Location", "https://localhost/")])), (FAULT, tell(status=500))],
    "redirect": [
        (FAULT, plain_tells(status=200)),
        (FAULT, plain_tells(status=302, headers=[("Location", "https://other.example.org/")])),
    ],
    "site-hsts": [
        (FAULT, tell(headers=_without("Strict-Transport-Security"), body=BODY)),
        (WARNING, tell(headers=_without(Strict_Transport_Security="max-age=60"), body=BODY)),
    ],
    "site-policy": [
        (FAULT, tell(headers=_without("Content-Security-Policy"))),
        (FAULT, tell(headers=_without(Content_Security_Policy="default-src 'self' 'unsafe-inline'; frame-ancestors 'none'"))),
    ],
    "site-headers": [
        (FAULT, tell(headers=_without("X-Frame-Options"))),
        (WARNING, tell(headers=[*_without(), ("X-Frame-Options", "DENY")])),
    ],
    "site-cookies": [(FAULT, tell(headers=[*_without(), ("Set-Cookie", "balancer=1; Path=/")]))],
    "site-compression": [(WARNING, tell(headers=_without(), body=BODY))],
    "foreign-host": [
        (WARNING, tell(lambda path, headers: headers["Host"] == STRANGER)),
        (
            FAULT,
            tell(lambda path, headers: headers["Host"] == STRANGER, status=302, headers=[("Location", f"https://{STRANGER}/")]),
        ),
    ],
    "forwarded": [(FAULT, tell(lambda path, headers: "X-Forwarded-Host" in headers, status=308))],
    "site-cors": [
        (FAULT, tell(_is_from_elsewhere, headers=COURSES)),
        (WARNING, tell(_is_from_elsewhere, headers=COURSES[:1])),
    ],
    "operators-only": [(FAULT, tell(lambda path, headers: path == "/metrics", body=b"http_requests_total 1"))],
    "site-clock": [
        (FAULT, tell(lambda path, headers: path == "/livez", headers=[("Date", "Tue, 24 Nov 2020 12:00:00 GMT")])),
    ],
    "certificate": [],  # below
}


def test_it_works(small: SiteCase) -> None:
    assert {name: found for name, found in small.findings().items() if found.status != OK} == {}


@pytest.mark.parametrize(
    ("name", "status", "set_up"),
    [pytest.param(name, *one, id=f"{name}-{number}") for name, ways in BREAKS.items() for number, one in enumerate(ways)],
)
def test_a_check_finds_what_it_is_for(name: str, status: str, set_up: Callable[[SmallSite], None], small: SiteCase) -> None:
    set_up(small.site)
    found = small.findings()[name]
    assert found.status == status, found
    assert found.what.endswith(".")


def test_nobody_there(on_sqlite: Case) -> None:
    on_sqlite.deployment = replace(on_sqlite.deployment, url=f"https://localhost:{free_port()}")
    findings = on_sqlite.findings("site")
    assert findings["site-reachable"].status == FAULT
    assert {found.status for name, found in findings.items() if name != "site-reachable"} == {SKIPPED}


def test_a_certificate_that_nobody_trusts_hides_nothing_else(on_sqlite: Case, certificate: Path) -> None:
    with SmallSite(certificate) as site:
        findings = SiteCase(on_sqlite, site).findings()
    assert {name for name, found in findings.items() if found.status != OK} == {"certificate"}
    assert "self" in findings["certificate"].what


def test_a_certificate_of_another_name(on_sqlite: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_certificate(tmp_path, "other.example.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    with SmallSite(other) as site:
        found = SiteCase(on_sqlite, site).findings()["certificate"]
    assert found.status == FAULT
    assert "localhost" in found.what


@pytest.mark.parametrize(("days", "status"), [(5, FAULT), (14, WARNING), (30, OK)])
def test_a_certificate_that_ends(
    days: int, status: str, on_sqlite: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = make_certificate(tmp_path, days=days)
    monkeypatch.setenv("SSL_CERT_FILE", str(soon))
    with SmallSite(soon) as site:
        assert SiteCase(on_sqlite, site).findings()["certificate"].status == status


def test_plain_http_that_nobody_listens_to_is_well(small: SiteCase) -> None:
    small.site.plain_port = free_port()
    assert small.findings()["redirect"].status == OK


@pytest.fixture
def real(on_sqlite: Case, trusted: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """The real server behind a HAProxy that speaks TLS, with settings of a test's choice."""
    with ExitStack() as running:

        def start(**settings: str) -> Any:
            chosen = {"https": "1", "session_cookie_secure": "1", "trusted_proxies": "1", "allowed_hosts": "localhost"}
            database = on_sqlite.deployment.settings.database_url
            server = running.enter_context(Server(on_sqlite.instance, database, **{**chosen, **settings}))
            haproxy, plain = Haproxy(tmp_path), free_port()
            text = config_text(haproxy, [f"127.0.0.1:{server.port}"], certificate=str(trusted), plain=f"127.0.0.1:{plain}")
            running.enter_context(haproxy(text))
            url = f"https://localhost:{haproxy.port}"
            on_sqlite.deployment = replace(on_sqlite.deployment, url=url)
            on_sqlite.deployment.site = Site(url, plain)
            return on_sqlite.findings("site")

        yield start


def test_the_real_site_is_well(real: Callable[..., Any]) -> None:
    assert {name: found for name, found in real().items() if found.status != OK} == {}


def test_the_real_site_without_its_settings(real: Callable[..., Any]) -> None:
    found = real(feature_security="0", feature_compression="0", allowed_hosts="", cors_origins=f"https://{STRANGER}")
    names = {name for name, finding in found.items() if finding.status in (FAULT, WARNING)}
    assert names == {"redirect", "site-hsts", "site-policy", "site-headers", "site-compression", "foreign-host", "site-cors"}


@pytest.mark.parametrize("trusted_proxies", ["0", "2"])
def test_the_real_site_with_a_wrong_number_of_proxies(trusted_proxies: str, real: Callable[..., Any]) -> None:
    found = real(trusted_proxies=trusted_proxies)
    assert {name for name, finding in found.items() if finding.status == FAULT} == {"home-page"}
    assert found["home-page"].what == "It answers 308, to https://localhost/."
