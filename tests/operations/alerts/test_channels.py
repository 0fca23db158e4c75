"""Webhook and e-mail, against servers that listen."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from email import message_from_string

import pytest

from codyverse.operations.alerts import channels
from codyverse.operations.alerts.channels import Mail, Refused, Undelivered, Webhook
from codyverse.operations.alerts.messages import Message, Sender
from codyverse.operations.alerts.rules import read
from config import ROOT
from tests.conftest import make_settings
from tests.receivers import Post, Web
from tests.server import free_port

NOW = 1_800_000_000.5
RULE = read(ROOT / "config/alerts.yaml")[0]
SECRET = "sixteen letters or more"


@pytest.fixture
def message() -> Message:
    return Sender("one.example.org", "production").message("a-key", NOW, RULE.name, "firing", 0.91, RULE)


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture
def post() -> Iterator[Post]:
    with Post() as post:
        yield post


def test_a_webhook_is_posted_what_happened(web, message):
    Webhook(web.url, SECRET).send(message, NOW)
    (posted,) = web.posted
    assert posted.path == "/hook?for=us"
    assert posted.json == {
        "key": "a-key",
        "at": "2027-01-15T08:00:00Z",
        "alert": "MemoryHigh",
        "state": "firing",
        "severity": "warning",
        "summary": RULE.summary,
        "runbook": "docs/operations/alerts.md#memoryhigh",
        "value": 0.91,
        "threshold": 0.85,
        "host": "one.example.org",
        "environment": "production",
    }
    assert posted.headers["Idempotency-Key"] == "a-key"
    assert posted.headers["Content-Type"] == "application/json"


def test_its_signature_can_be_checked(web, message):
    Webhook(web.url, SECRET).send(message, NOW)
    (posted,) = web.posted
    found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", posted.headers["X-CodyVerse-Signature"])
    assert found and found[1] == "1800000000"
    digest = hmac.new(SECRET.encode(), f"{found[1]}.".encode() + posted.body, hashlib.sha256).hexdigest()
    assert found[2] == digest


def test_without_a_secret_there_is_no_signature(web, message):
    Webhook(web.url, "").send(message, NOW)
    assert "X-CodyVerse-Signature" not in web.posted[0].headers


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_webhook_may_refuse(web, message, status):
    web.statuses = [status]
    with pytest.raises(Refused, match=f"answered {status}"):
        Webhook(web.url, "").send(message, NOW)


@pytest.mark.parametrize("status", [302, 307, 408, 429, 500, 503])
def test_what_a_webhook_does_not_take_now_is_for_later(web, message, status):
    """A redirect would have the signed message sent to somebody whom no setting names."""
    web.statuses = [status]
    with pytest.raises(Undelivered, match=f"answered {status}") as error:
        Webhook(web.url, "").send(message, NOW)
    assert not isinstance(error.value, Refused)
    assert len(web.posted) == 1


def test_a_webhook_that_is_away_is_for_later(message):
    with pytest.raises(Undelivered, match="ConnectionRefusedError"):
        Webhook(f"http://127.0.0.1:{free_port()}/", "").send(message, NOW)


def test_a_mail_says_what_happened(post, message):
    Mail(f"smtp://cody:p%40ss@127.0.0.1:{post.port}", ("a@example.org", "b@example.org")).send(message, NOW)
    mail = message_from_string(post.mails[0])
    assert mail["Subject"] == "[firing] MemoryHigh at one.example.org"
    assert mail["To"] == "a@example.org, b@example.org"
    assert mail["Message-ID"] == "<a-key@one.example.org>"
    assert "runbook: docs/operations/alerts.md#memoryhigh" in mail.get_payload()
    assert post.logins == ["AUTH PLAIN AGNvZHkAcEBzcw=="]


def test_a_mail_may_be_refused_or_put_off(post, message):
    mail = Mail(f"smtp://127.0.0.1:{post.port}", ("a@example.org",))
    post.refuses = [550, 451]
    with pytest.raises(Refused):
        mail.send(message, NOW)
    with pytest.raises(Undelivered) as error:
        mail.send(message, NOW)
    assert not isinstance(error.value, Refused)
    assert post.mails == []


def test_a_mail_server_that_is_away_is_for_later(message):
    with pytest.raises(Undelivered, match="ConnectionRefusedError"):
        Mail(f"smtp://127.0.0.1:{free_port()}", ("a@example.org",)).send(message, NOW)


def test_a_password_does_not_go_to_another_machine_without_tls(post, message, monkeypatch):
    monkeypatch.setattr(channels, "_is_here", lambda host: False)
    with pytest.raises(Undelivered, match="no TLS"):
        Mail(f"smtp://cody:secret@127.0.0.1:{post.port}", ("a@example.org",)).send(message, NOW)
    assert post.logins == [] and post.mails == []


def test_secrets_are_not_shown(message):
    shown = repr((Webhook("https://hooks.example.org/T0KEN", SECRET), Mail("smtp://u:pa55@example.org", ("a@example.org",))))
    assert not re.search(f"T0KEN|{SECRET}|pa55", shown)


def test_the_channels_are_those_that_are_set_up(tmp_path):
    def names(**chosen: object) -> list[str]:
        settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/none", **chosen)
        return [channel.name for channel in channels.of_settings(settings)]

    assert names() == []
    assert names(alerts_webhook_url="https://hooks.example.org/") == ["webhook"]
    assert names(smtp_url="smtp://example.org") == []
    mail = {"smtp_url": "smtp://example.org", "alerts_email_to": ("a@example.org",)}
    assert names(alerts_webhook_url="https://hooks.example.org/", **mail) == ["webhook", "email"]
