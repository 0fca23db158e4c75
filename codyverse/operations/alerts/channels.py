"""Where messages go: a webhook, and e-mail. Each sends one message, or says why not."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Protocol
from urllib.parse import unquote, urlsplit

import orjson

from codyverse.operations.alerts.messages import Message
from codyverse.version import VERSION
from config import Settings

WITHIN_S = 5.0  # for each step of a conversation; a message may be sent again
SIGNATURE = "X-CodyVerse-Signature"
NOT_NOW = (408, 425, 429)  # of the 4xx, those that say to come again
DEFAULT_PORT = {"smtp": 25, "smtps": 465}


class Undelivered(Exception):
    """A message that may be sent again. The text is for logs and has no secret in it."""


class Refused(Undelivered):
    """A message that its receiver will not take."""


class Channel(Protocol):
    """A way to somebody."""

    @property
    def name(self) -> str:
        """Return the channel's name in logs and in the outbox."""

    def send(self, message: Message, now: float) -> None:
        """Send a message. Raises Undelivered."""


@dataclass(frozen=True)
class Webhook:
    """A POST of JSON to an address of the settings, which is not left for another: redirects are refused."""

    url: str = field(repr=False)
    secret: str = field(repr=False)
    name: str = "webhook"

    def send(self, message: Message, now: float) -> None:
        """Send a message. Raises Undelivered."""
        url = urlsplit(self.url)
        body = orjson.dumps(message.fields())
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        make: Callable[..., HTTPConnection] = HTTPSConnection if url.scheme == "https" else HTTPConnection
        connection = make(url.hostname, url.port, timeout=WITHIN_S)
        try:
            connection.request("POST", target, body, self._headers(message.key, body, int(now)))
            status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            raise Undelivered(type(error).__name__) from None
        finally:
            connection.close()
        if 400 <= status < 500 and status not in NOT_NOW:
            raise Refused(f"answered {status}")
        if not 200 <= status < 300:
            raise Undelivered(f"answered {status}")

    def _headers(self, key: str, body: bytes, now: int) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": f"CodyVerse/{VERSION}", "Idempotency-Key": key}
        return headers | {SIGNATURE: signature(self.secret, body, now)} if self.secret else headers


def signature(secret: str, body: bytes, now: int) -> str:
    """Return the value of the header by which a receiver knows who sent a body, and when: `t=…,v1=…`.

    `v1` is HMAC-SHA256, in hexadecimal digits, of the time, a dot and the body.
    """
    digest = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


@dataclass(frozen=True)
class Mail:
    """A plain e-mail. Passwords go over TLS only, or to this machine."""

    url: str = field(repr=False)
    to: tuple[str, ...]
    name: str = "email"

    def send(self, message: Message, now: float) -> None:
        """Send a message. Raises Undelivered."""
        try:
            self._send(message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise (Refused if min(codes) >= 500 else Undelivered)("the server takes no recipient") from None
        except smtplib.SMTPResponseException as error:
            raise Undelivered(f"answered {error.smtp_code}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise Undelivered(type(error).__name__) from None

    def _send(self, message: Message) -> None:
        url = urlsplit(self.url)
        host, port = url.hostname or "", url.port or DEFAULT_PORT[url.scheme]
        context = ssl.create_default_context()
        if url.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=WITHIN_S, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=WITHIN_S)
        with server:
            server.ehlo()
            safe = url.scheme == "smtps" or _is_here(host)
            if url.scheme == "smtp" and server.has_extn("starttls"):
                server.starttls(context=context)
                safe = True
            if url.username:
                if not safe:
                    raise Undelivered("the server offers no TLS for the password")
                server.login(unquote(url.username), unquote(url.password or ""))
            server.send_message(self._mail(message, unquote(url.username or "")))

    def _mail(self, message: Message, user: str) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = user if "@" in user else self.to[0]
        mail["To"] = ", ".join(self.to)
        mail["Subject"] = f"[{message.state}] {message.alert} at {message.host}"
        mail["Message-ID"] = f"<{message.key}@{message.host}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content("".join(f"{name}: {value}\n" for name, value in message.fields().items() if value not in (None, "")))
        return mail


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def of_settings(settings: Settings) -> tuple[Channel, ...]:
    """Return the channels that are set up."""
    channels: list[Channel] = []
    if settings.alerts_webhook_url:
        channels.append(Webhook(settings.alerts_webhook_url, settings.alerts_webhook_secret))
    if settings.smtp_url and settings.alerts_email_to:
        channels.append(Mail(settings.smtp_url, settings.alerts_email_to))
    return tuple(channels)
