"""Results as a table for people and as JSON for programs, under benchmarks/results/."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

FOLDER = Path(__file__).parent / "results"
YES, NO, NEITHER = "✓", "✗", ""


class Table(NamedTuple):
    """A table of results; the keys of the first row are its columns."""

    title: str
    rows: Sequence[dict[str, Any]]
    note: str = ""


def mark(met: bool | None) -> str:
    """Return how a table shows whether a floor is met; None where there is none."""
    return NEITHER if met is None else YES if met else NO


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
    }


def markdown(title: str, facts: dict[str, Any], tables: Sequence[Table]) -> str:
    """Return the document."""
    lines = [f"# {title}", "", ", ".join(f"{name} {value}" for name, value in facts.items())]
    for table in tables:
        lines += ["", f"## {table.title}", ""]
        if table.note:
            lines += [table.note, ""]
        if table.rows:
            names = list(table.rows[0])
            lines += [
                _line(names),
                _line(["---"] * len(names)),
                *(_line([row.get(name) for name in names]) for row in table.rows),
            ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def write(kind: str, title: str, facts: dict[str, Any], tables: Sequence[Table], into: Path | None = None) -> Path:
    """Write both files and return the path of the table; `kind` is empty for those of `make bench`."""
    folder = into or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC).date()}{kind and '-'}{kind}.md"
    path.write_text(markdown(title, facts, tables), "utf-8")
    told = {"title": title, "facts": facts, "tables": {table.title: list(table.rows) for table in tables}}
    path.with_suffix(".json").write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
    return path
