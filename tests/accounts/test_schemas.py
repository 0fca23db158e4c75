from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pytest

from codyverse.accounts.models import users
from codyverse.accounts.schemas import LOCALE, TIMEZONES


def test_every_zone_exists_and_fits_its_column():
    for name in TIMEZONES:
        ZoneInfo(name)
        assert len(name) <= users.c.timezone.type.length
    assert {"UTC", "Europe/Paris", "America/Argentina/Buenos_Aires"} <= set(TIMEZONES)


@pytest.mark.parametrize("tag", ["en", "pt-BR", "zh-Hant", "zh-Hant-TW", "es-419", "fil"])
def test_locales(tag):
    assert re.fullmatch(LOCALE, tag)
