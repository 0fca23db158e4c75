"""What somebody is told about an alert."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from codyverse.operations.alerts.rules import Rule


@dataclass(frozen=True, slots=True)
class Message:
    """One alert that fired or cleared. The key stays the same however often a message is sent, so that it can be known again."""

    key: str
    at: str
    alert: str
    state: str
    severity: str
    summary: str
    runbook: str
    value: float | None
    threshold: float | None
    host: str
    environment: str

    @classmethod
    def of(cls, data: dict[str, Any]) -> Message:
        """Return the message that `fields` gave."""
        return cls(**data)

    def fields(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sender:
    """Who tells: the host, and which environment it belongs to."""

    host: str
    environment: str

    def message(self, key: str, at: float, name: str, state: str, value: float | None, rule: Rule | None) -> Message:
        """Return a message; an alert whose rule is gone has little to say."""
        return Message(
            key=key,
            at=datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            alert=name,
            state=state,
            severity=rule.severity if rule else "warning",
            summary=rule.summary if rule else "There is no such rule any more.",
            runbook=rule.runbook if rule else "",
            value=value,
            threshold=rule.threshold if rule else None,
            host=self.host,
            environment=self.environment,
        )
