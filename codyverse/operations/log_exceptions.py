"""Exceptions as one text: their kinds and where they were raised, without values.

The text of an exception may hold whatever a learner sent: that of a database's error quotes the row. It is told only where the
settings want it. What a system call or a database gives as its reason is always told: it is one of a fixed list.
"""

from __future__ import annotations

import traceback
from types import TracebackType

from codyverse.operations import log_redaction
from config import ROOT

MOST_FRAMES = 40  # of one exception; of a recursion the first and the last ones
MOST_CAUSES = 5
_INSTALLED = "/site-packages/"
_HERE = f"{ROOT}/"

Raised = tuple[type[BaseException], BaseException, TracebackType | None]


def told(raised: BaseException, texts: bool = False) -> str:
    """Return an exception with its causes, the first one first, and `texts` too."""
    chain: list[str] = []
    error: BaseException | None = raised
    while error is not None and len(chain) < MOST_CAUSES:
        chain.append("\n".join([_title(error, texts), *_frames(error.__traceback__)]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nthen ".join(reversed(chain))


def _title(error: BaseException, texts: bool) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    reason = _reason(error)
    if texts:
        return f"{name}: {log_redaction.text(str(error))}"
    return f"{name}: {reason}" if reason else name


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror if isinstance(error.strerror, str) else ""
    code = getattr(error, "pgcode", None)
    return code if isinstance(code, str) else ""


def _frames(trace: TracebackType | None) -> list[str]:
    summary = traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False)
    lines = [f"  {_place(frame.filename)}:{frame.lineno} {frame.name}" for frame in summary]
    if len(lines) > MOST_FRAMES:
        half = MOST_FRAMES // 2
        lines[half:-half] = [f"  … {len(lines) - 2 * half} more"]
    return lines


def _place(file: str) -> str:
    """Return where a file is, without where the service is installed."""
    return file.partition(_INSTALLED)[2] or file.removeprefix(_HERE)
