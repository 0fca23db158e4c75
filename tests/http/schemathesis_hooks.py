"""What schemathesis cannot know from the OpenAPI document."""

import uuid
from typing import Any

import schemathesis

HEADER = "Idempotency-Key"
LONGEST = 255
# The catalogue of tests/content has six lessons, the fuzzed learner begins attempts from number 1 on.
KNOWN = {
    "lesson_id": range(1, 7),
    "attempt_id": range(1, 4),
    "question_id": ("narrow", "learns", "always-right", "steps", "tokens"),
}


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any]) -> dict[str, Any]:
    """Let every other made-up number be that of something that exists, so that more than "not found" is tried."""
    for name, known in KNOWN.items():
        value = (path_parameters or {}).get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value % 2:
            path_parameters[name] = known[value // 2 % len(known)]
        if isinstance(value, str) and name == "question_id" and len(value) % 2:
            path_parameters[name] = known[len(value) // 2 % len(known)]
    return path_parameters


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Make a usable key a fresh one: sent with another body it would be refused, rightly, whatever the document says."""
    key = (case.headers or {}).get(HEADER)
    if isinstance(key, str) and 0 < len(key) <= LONGEST and all("!" <= character <= "~" for character in key):
        case.headers[HEADER] = key[: LONGEST - 32] + uuid.uuid4().hex
