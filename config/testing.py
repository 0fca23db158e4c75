"""The test suite."""

from typing import Any

DIFFERENT: dict[str, Any] = {
    "secret_key": "a key that only the tests may use, long enough",
    "session_cookie_secure": False,
    "https": False,
    "memory_path": "",  # every test has an instance folder of its own, and that is cleared away
    "access_log": "off",
    "operations_stream_s": 0.0,  # one event, and it ends
    "readyz_database_s": 0.0,  # tests see the database as it is
    "health_every_s": 0.0,
    # Tests are not to meet limits that they do not test.
    "limit_client": "1000000 per minute",
    "limit_endpoint": "1000000 per minute",
    "limit_upload": "1000000 per minute",
    "limit_address": "1000000 per minute",
    "limit_sign_in": "1000000 per minute",
    "limit_sign_in_account": "1000000 per minute",
    "limit_sign_in_address": "1000000 per minute",
}
