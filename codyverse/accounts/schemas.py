"""The shapes of accounts in requests and answers."""

from __future__ import annotations

import unicodedata
from importlib import resources
from typing import Any

import marshmallow as ma
from flask import url_for

from codyverse.accounts import passwords
from codyverse.accounts.models import ROLES, SCOPES
from codyverse.http.schemas import Instant, Schema, WholeNumber

# The zones of the package tzdata, which zoneinfo finds on every machine, whatever the system has.
TIMEZONES = tuple(sorted(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()))
LOCALE = r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$"
# An address as people have one. The quoted names that the validator allows besides can hold control characters.
EMAIL = r'^[^\x00-\x20\x7f"]+@[^\x00-\x20\x7f"]+$'

UNSEEN_CATEGORIES = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
UNSEEN_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters, marks and symbols that show nothing


class Whole(ma.validate.Regexp):
    """The whole text fits the pattern; Regexp lets a line break follow it."""

    def __call__(self, value: Any) -> Any:
        """Return the value; raises ValidationError."""
        if not self.regex.fullmatch(value):
            raise ma.ValidationError(self._format_error(value))
        return value


class Email(ma.fields.Email):
    """An e-mail address, in lower case from here on."""

    def __init__(self, **kwargs: Any) -> None:
        valid = [ma.validate.Length(max=254), Whole(EMAIL, error="Not a valid email address.")]
        super().__init__(validate=valid, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return super()._deserialize(value, attr, data, **kwargs).lower()


class Name(ma.fields.String):
    """A line of text that people read: trimmed, of 1 to `longest` characters, none of them a control or an invisible one."""

    def __init__(self, longest: int, **kwargs: Any) -> None:
        super().__init__(validate=[ma.validate.Length(min=1, max=longest), _visible], **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return super()._deserialize(value, attr, data, **kwargs).strip()


def _visible(text: str) -> None:
    if any(unicodedata.category(c) in UNSEEN_CATEGORIES or c in UNSEEN_LETTERS for c in text):
        raise ma.ValidationError("Contains a control character or an invisible one.")
    if text and not any(unicodedata.category(c)[0] in "LNPS" for c in text):
        raise ma.ValidationError("Contains nothing that can be seen.")


def _display_name(**kwargs: Any) -> Name:
    return Name(40, metadata={"description": "What others see."}, **kwargs)


def _birth_date(**kwargs: Any) -> ma.fields.Date:
    return ma.fields.Date(metadata={"description": "In the past, not before 1900."}, **kwargs)


def _locale(**kwargs: Any) -> ma.fields.String:
    valid = Whole(LOCALE, error="Must be a language tag such as en, pt-BR or zh-Hant.")
    return ma.fields.String(validate=valid, metadata={"description": "Language tag, BCP 47."}, **kwargs)


def _timezone(**kwargs: Any) -> ma.fields.String:
    valid = ma.validate.OneOf(TIMEZONES, error="Must be an IANA time zone such as Europe/Paris.")
    return ma.fields.String(validate=valid, metadata={"description": "IANA time zone."}, **kwargs)


class RegistrationSchema(Schema):
    """Who registers."""

    email = Email(required=True)
    password = ma.fields.String(
        required=True,
        load_only=True,
        validate=ma.validate.Length(min=passwords.SHORTEST, max=passwords.LONGEST),
        metadata={"format": "password", "description": "One that is easily guessed is refused with the reason."},
    )
    display_name = _display_name(required=True)
    birth_date = _birth_date(required=True)
    locale = _locale(load_default="en")
    timezone = _timezone(load_default="UTC")


class LoginSchema(Schema):
    """Who signs in."""

    email = ma.fields.String(required=True, validate=ma.validate.Length(min=1, max=254))
    password = ma.fields.String(
        required=True,
        load_only=True,
        validate=ma.validate.Length(min=1, max=passwords.LONGEST),
        metadata={"format": "password"},
    )


class ProfileChangeSchema(Schema):
    """What changes in a profile; what is left out stays."""

    display_name = _display_name()
    birth_date = _birth_date()
    locale = _locale()
    timezone = _timezone()


class AvatarUrl(ma.fields.String):
    """The address of the avatar of this name; another one with every image, so that pages show a new one at once."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else url_for("accounts.read_avatar", v=value[:8])


class AvatarQuery(Schema):
    """What makes the address of an avatar another one."""

    v = ma.fields.String(validate=ma.validate.Length(max=32), metadata={"description": "As in `avatar_url`; not looked at."})


class ProfileSchema(Schema):
    """An account as its owner sees it."""

    id = ma.fields.Integer(required=True)
    email = ma.fields.String(required=True)
    display_name = ma.fields.String(required=True)
    birth_date = ma.fields.String(required=True, metadata={"format": "date"})
    age_band = ma.fields.String(
        required=True,
        validate=ma.validate.OneOf(["child", "teen", "adult"]),
        metadata={"description": "child: under 13. teen: under 18. By the date where the learner is."},
    )
    locale = ma.fields.String(required=True)
    timezone = ma.fields.String(required=True)
    role = ma.fields.String(required=True, validate=ma.validate.OneOf(ROLES))
    avatar_url = AvatarUrl(
        attribute="avatar_name",
        required=True,
        allow_none=True,
        metadata={"description": "For `GET`, by the learner alone; null without an avatar."},
    )
    created_at = Instant(required=True)


class SessionSchema(Schema):
    """A browser in which the account is signed in."""

    id = ma.fields.Integer(required=True)
    current = ma.fields.Boolean(required=True, metadata={"description": "Whether this request came from it."})
    user_agent = ma.fields.String(required=True)
    created_at = Instant(required=True)
    last_seen_at = Instant(required=True, metadata={"description": "To 10 minutes."})
    expires_at = Instant(required=True)


class SessionPageSchema(Schema):
    """Sessions, newest first."""

    items = ma.fields.List(ma.fields.Nested(SessionSchema), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class TokenRequestSchema(Schema):
    """A token that is wanted."""

    name = Name(80, required=True, metadata={"description": "What it is for."})
    scopes = ma.fields.List(
        ma.fields.String(validate=ma.validate.OneOf(SCOPES)), required=True, validate=ma.validate.Length(1, 20)
    )
    expires_in_days = WholeNumber(
        load_default=None,
        validate=ma.validate.Range(min=1, max=3650),
        metadata={"description": "Without it the token does not expire."},
    )


class TokenSchema(Schema):
    """An API token without its secret."""

    id = ma.fields.Integer(required=True)
    name = ma.fields.String(required=True)
    scopes = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf(SCOPES)), required=True)
    created_at = Instant(required=True)
    last_used_at = Instant(required=True, allow_none=True, metadata={"description": "To 10 minutes; null while unused."})
    expires_at = Instant(required=True, allow_none=True)


class NewTokenSchema(TokenSchema):
    """An API token with its secret, which is shown this once."""

    token = ma.fields.String(required=True)


class TokenPageSchema(Schema):
    """Tokens, newest first."""

    items = ma.fields.List(ma.fields.Nested(TokenSchema), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)
