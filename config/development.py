"""A developer's or a newcomer's own machine, reached without HTTPS."""

from typing import Any

DIFFERENT: dict[str, Any] = {
    "log_level": "DEBUG",
    "log_format": "console",
    "log_exception_texts": True,
    "access_log": "off",
    "session_cookie_secure": False,  # also a phone in the same network may sign in, over plain HTTP
    "https": False,
    "static_max_age_s": 3600,
}
