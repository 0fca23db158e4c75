"""Figures as people read them: with their unit, and never better or worse than they are. What is not known is `–`."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "–"
_KIB = 1024
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def percent(value: float | None) -> str:
    """Return `99.95 %`. What is not quite none is `< 0.01 %`, what is not quite all `> 99.99 %`."""
    if value is None:
        return UNKNOWN
    if 0 < value < 0.01:
        return "< 0.01 %"
    if 99.99 < value < 100:
        return "> 99.99 %"
    return f"{value:.2f}".rstrip("0").rstrip(".") + " %"


def milliseconds(value: float | None) -> str:
    """Return `0.42 ms`, `12 ms`, `1.2 s`."""
    if value is None:
        return UNKNOWN
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{_short(value)} ms"


def number(value: float | None) -> str:
    """Return `12,345` or `0.25`."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 100 or value == int(value) else _short(value)


def rate(value: float | None) -> str:
    """Return `12.3/s`."""
    return UNKNOWN if value is None else f"{number(value)}/s"


def size(bytes_: float | None) -> str:
    """Return `312 MiB` or `1.4 GiB`."""
    if bytes_ is None:
        return UNKNOWN
    amount, unit = bytes_ / _KIB, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if amount < _KIB:
            break
        amount, unit = amount / _KIB, larger
    return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """Return `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds is None:
        return UNKNOWN
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def moment(at: float) -> str:
    """Return `24 Nov, 13:05:09 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b, %H:%M:%S UTC")


def hour(at: float) -> str:
    """Return `24 Nov, 13:00`."""
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b, %H:%M")


def machine_time(at: float) -> str:
    """Return a time for `<time datetime>`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _short(value: float) -> str:
    """Return up to two digits behind the point; what is not quite nothing does not become it."""
    if 0 < abs(value) < 0.01:
        return "< 0.01"
    return f"{value:.2f}".rstrip("0").rstrip(".")
