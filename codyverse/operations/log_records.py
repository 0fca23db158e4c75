"""What a log line holds: time, level, category, event, the id of the request, what was given as `extra`, and an exception.

Whoever logs names the category by the logger's name, `codyverse.<category>`. In the event stands what happened; values are given
as `extra={"route": …}`, and are fields of the line.
"""

from __future__ import annotations

import logging
import os
import re
import select
import time
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from codyverse.operations import log_exceptions, log_redaction, request_ids

CATEGORIES = ("startup", "performance", "security", "database", "memory", "cache", "access", "tutor", "audit", "errors", "other")
NO_REQUEST = "-"
LONGEST_BYTES = select.PIPE_BUF  # so much a pipe takes as a whole: lines of several processes never mix
SHORTENED, SHORTEST = " … ", 60  # characters

_EXTRA = structlog.stdlib.ExtraAdder()
_NOT_EXTRA = dict.fromkeys(("_record", "message", "asctime"))  # the latter are left behind by formatters of others
# Loggers, ours and others', whose lines are of a category of another name.
_CATEGORY = {"faults": "database", "pool": "database", "limits": "security"}
_OTHERS_CATEGORY = {"gunicorn": "startup", "alembic": "database", "sqlalchemy": "database"}
# Gunicorn quotes what it could not parse: a header, or the address with its query.
_QUOTING = re.compile(r"(Invalid request|Error handling request) .*", re.DOTALL)


def formatter(*, console: bool, exception_texts: bool) -> logging.Formatter:
    """Return what makes a line of a record: JSON, or for a console something to read."""
    render: Processor = _one_line
    if console:
        render = structlog.dev.ConsoleRenderer(colors=False, sort_keys=False, timestamp_key="time")
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_describe(exception_texts)],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    )


def category(logger: str) -> str:
    """Return the category of a logger's lines."""
    first, _, rest = logger.partition(".")
    if first != "codyverse":
        return _OTHERS_CATEGORY.get(first, "other")
    name = rest.partition(".")[0]
    name = _CATEGORY.get(name, name)
    return name if name in CATEGORIES else "other"


def _describe(exception_texts: bool) -> Processor:
    def describe(logger: WrappedLogger, method: str, given: EventDict) -> EventDict:
        """Return the fields of a record, in their order."""
        record: logging.LogRecord = given["_record"]
        fields: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "category": category(record.name),
            "event": log_redaction.text(_unquoted(record.name, str(given["event"]))),
            "request_id": request_ids.current() or NO_REQUEST,
        }
        extra = _EXTRA(logger, method, {"_record": record})
        fields |= {name: value for name, value in log_redaction.fields(extra).items() if name not in fields | _NOT_EXTRA}
        fields["pid"] = os.getpid()
        if "stack_info" in given:
            fields["stack"] = log_redaction.text(str(given["stack_info"]))
        error = (given.get("exc_info") or (None, None, None))[1]
        if error is not None:
            fields["exception"] = log_exceptions.told(error, exception_texts)
        return {**fields, "_record": record, "_from_structlog": given["_from_structlog"]}

    return describe


def _unquoted(logger: str, event: str) -> str:
    return _QUOTING.sub(r"\1", event) if logger.startswith("gunicorn") else event


def _one_line(logger: WrappedLogger, method: str, fields: EventDict) -> str:
    """Return the fields as JSON; the longest texts are shortened in the middle until the line fits into LONGEST_BYTES."""
    while len(made := _json(fields)) + 1 >= LONGEST_BYTES:  # with the line break, and one that may end a torn line
        name = max(fields, key=lambda name: len(_json(fields[name])))
        value = fields.pop(name)
        text = value if isinstance(value, str) else _json(value).decode()
        if len(text) > SHORTEST:  # else there are a great many, and this one goes
            keep = len(text) // 3
            fields[name] = f"{text[:keep]}{SHORTENED}{text[-keep:]}"
    return made.decode()


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # half a character, or a number of more than 64 bits
        return orjson.dumps(_encodable(value), option=orjson.OPT_NON_STR_KEYS)


def _encodable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_encodable(name): _encodable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_encodable(inner) for inner in value]
    return str(value).encode("utf-8", "replace").decode() if isinstance(value, str | int) else value
