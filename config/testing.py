"""The test suite."""

from typing import Any

DIFFERENT: dict[str, Any] = {
    "secret_key": "a key that only the tests may use, long enough",
    "session_cookie_secure": False,
    "https": False,
}
