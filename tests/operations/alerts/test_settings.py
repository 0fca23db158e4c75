"""What the settings of alerts may be."""

from __future__ import annotations

import pytest

import config
from config import ROOT, SettingsError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERTS_WEBHOOK_URL", "https://hooks.example.org:8443/a/b?c=d"),
        ("ALERTS_WEBHOOK_URL", "http://[2001:db8::1]/hook"),
        ("ALERTS_EMAIL_TO", "a@example.org, o'neill+ops@example.org"),
        ("SMTP_URL", "smtp://user%40example.org:pa%2Fss@mail.example.org:587"),
        ("SMTP_URL", "smtps://mail.example.org"),
    ],
)
def test_what_can_be_used(monkeypatch, tmp_path, name, value):
    monkeypatch.setenv(f"CODYVERSE_{name}", value)
    found = getattr(config.load(instance_path=tmp_path), name.lower())
    assert found == (("a@example.org", "o'neill+ops@example.org") if name == "ALERTS_EMAIL_TO" else value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERTS_WEBHOOK_URL", "file:///etc/passwd"),
        ("ALERTS_WEBHOOK_URL", "ftp://example.org/"),
        ("ALERTS_WEBHOOK_URL", "https:///path"),
        ("ALERTS_WEBHOOK_URL", "https://user:password@example.org/"),
        ("ALERTS_WEBHOOK_URL", "https://example.org:0/"),
        ("ALERTS_WEBHOOK_URL", "https://example.org:x/"),
        ("ALERTS_WEBHOOK_URL", "https://example.org/a b"),
        ("ALERTS_WEBHOOK_URL", "https://example.org/#part"),
        ("ALERTS_WEBHOOK_SECRET", "short"),
        ("ALERTS_EMAIL_TO", "a@example.org, nobody"),
        ("ALERTS_EMAIL_TO", "a@example.org\nBcc:x@example.org,b"),
        ("SMTP_URL", "http://example.org"),
        ("SMTP_URL", "smtp://"),
        ("SMTP_URL", "smtp://example.org/path"),
        ("ALERTS_EVERY_S", "0"),
        ("ALERTS_EVERY_S", "61"),
    ],
)
def test_what_cannot(monkeypatch, tmp_path, name, value):
    monkeypatch.setenv(f"CODYVERSE_{name}", value)
    with pytest.raises(SettingsError, match=f"CODYVERSE_{name}") as error:
        config.load(instance_path=tmp_path)
    assert "\n" not in str(error.value)


def test_the_rules_that_come_with_the_platform(tmp_path):
    assert config.load(instance_path=tmp_path).alerts_path == ROOT / "config/alerts.yaml"
