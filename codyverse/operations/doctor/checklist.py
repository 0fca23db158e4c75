"""The checks as a document: the list to go through before a deployment (report row R26)."""

from __future__ import annotations

from collections.abc import Sequence

from codyverse.operations.doctor.check import Check


def document(checks: Sequence[Check]) -> str:
    """Return docs/operations/checklist.md without its notice."""
    lines = []
    for group in groups(checks):
        lines += [f"## {group}", "", "| | how it should be | why | how to mend it |", "|---|---|---|---|"]
        of_group = [check for check in checks if check.group == group]
        lines += [f"| `{one.name}` | {one.title} | {_cell(one.why)} | {_cell(one.mend)} |" for one in of_group]
        lines.append("")
    return "\n".join(lines)


def groups(checks: Sequence[Check]) -> list[str]:
    """Return the names of the groups, in order."""
    return list(dict.fromkeys(check.group for check in checks))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
