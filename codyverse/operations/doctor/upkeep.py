"""Checks of what is needed on a bad day: backups, logs, alerts, the audit trail."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from codyverse.operations import alerts, metrics
from codyverse.operations.alerts import rules
from codyverse.operations.audit import verification
from codyverse.operations.audit.chain import audit_head
from codyverse.operations.backup import newest, shelf
from codyverse.operations.doctor.check import Finding, Group, fault, ok, skipped, warning
from codyverse.operations.doctor.database import CURRENT
from codyverse.operations.doctor.deployment import Deployment

HOUR_S, DAY_S = 3600, 86_400
BACKUP_WARNING_S, BACKUP_FAULT_S = 26 * HOUR_S, 3 * DAY_S  # one a night, which takes a while
MOST_ENTRIES = 100_000  # that are verified within the time of a check
NO_FILES = ("-", "off")
LOST = "codyverse_log_lines_lost_total"

backups = Group("backups")
logs = Group("logs")
alerting = Group("alerts")
trail = Group("audit")

GROUPS = (backups, logs, alerting, trail)


@backups.check(
    "backup-age",
    "There is a backup of last night",
    why="What learners did since the last one is lost with the disk, or with one wrong statement.",
    mend="systemctl enable --now codyverse-backup.timer, and read why it failed: journalctl -u codyverse-backup.",
)
def backup_age(it: Deployment) -> Finding:
    """Look at when the newest one was made."""
    made_at = newest(it.settings)
    if made_at is None:
        return fault("There is none.")
    age_s = it.machine.now() - made_at
    told = f"The newest is {age_s / HOUR_S:.0f} hours old."
    if age_s > BACKUP_FAULT_S:
        return fault(told)
    return warning(told) if age_s > BACKUP_WARNING_S else ok(told)


@backups.check(
    "backup-place",
    "Backups lie on another disk than the data",
    why="What takes the one takes the other.",
    mend="CODYVERSE_BACKUP_PATH on another disk, and copies of it on another machine (docs/operations/backup.md).",
)
def backup_place(it: Deployment) -> Finding:
    """Compare the disk of the folder of backups with the instance folder's."""
    folder = shelf.folder(it.settings)
    if not folder.is_dir():
        return skipped("There is no folder of backups yet.")
    same = it.machine.device(folder) == it.machine.device(it.settings.instance_path)
    return warning(f"{folder} is on the disk of the instance folder.") if same else ok()


@logs.check(
    "log-folder",
    "The log's files can be written",
    why="Without them nobody can tell afterwards what happened.",
    mend="Make the folder for the service's account: install -d -o codyverse -m 0750.",
)
def log_folder(it: Deployment) -> Finding:
    """Look at the folders of CODYVERSE_LOG_PATH and CODYVERSE_ACCESS_LOG."""
    folders = [Path(it.settings.log_path)] if it.settings.log_path else []
    if it.settings.access_log not in NO_FILES:
        folders.append(Path(it.settings.access_log).absolute().parent)
    closed = [str(folder) for folder in folders if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK))]
    if not folders:
        return skipped("Lines go to standard output, where the system keeps them.")
    return fault(f"{' and '.join(closed)} cannot be written.") if closed else ok()


@logs.check(
    "log-lines",
    "No line of the log was lost",
    why="What happened while the disk was full, or too slow, is not known.",
    mend="Room on the disk of CODYVERSE_LOG_PATH, or a faster reader of standard output. The count begins anew with the machine.",
)
def log_lines(it: Deployment) -> Finding:
    """Look at what the processes of this host counted."""
    lost = sum(sample.value for sample in metrics.samples(it.app) if sample.name == LOST)
    return warning(f"{lost:.0f} were.") if lost else ok()


@alerting.check(
    "alerts-told",
    "Somebody is told when an alert is raised",
    why="Otherwise learners are the first to know.",
    mend="CODYVERSE_ALERTS_WEBHOOK_URL, or CODYVERSE_ALERTS_EMAIL_TO and CODYVERSE_SMTP_URL, or Prometheus (deploy/prometheus).",
)
def alerts_told(it: Deployment) -> Finding:
    """Look at where messages go."""
    if it.settings.alerts_email_to and not it.settings.smtp_url:
        return fault("There is nobody to mail by: CODYVERSE_SMTP_URL.")
    return ok() if it.settings.alerts_webhook_url or it.settings.alerts_email_to else warning("Alerts go to the log only.")


@alerting.check(
    "alerts-signed",
    "Messages about alerts are signed, and travel over HTTPS",
    why="Whoever is on the way could read them, and raise alerts or silence.",
    mend="CODYVERSE_ALERTS_WEBHOOK_SECRET, known to the receiver, and an https:// address.",
)
def alerts_signed(it: Deployment) -> Finding:
    """Look at the webhook."""
    url = it.settings.alerts_webhook_url
    if not url:
        return skipped("There is no webhook: CODYVERSE_ALERTS_WEBHOOK_URL.")
    lacking = [] if it.settings.alerts_webhook_secret else ["no secret"]
    lacking += [] if url.startswith("https://") else ["no HTTPS"]
    return warning(f"There is {' and '.join(lacking)}.") if lacking else ok()


@alerting.check(
    "alerts-rules",
    "The rules of alerts can be read",
    why="gunicorn does not start with others, and a worker that is born later raises no alert.",
    mend="`flask alerts rules` names the line; config/alerts.yaml is the one that came with this version.",
)
def alerts_rules(it: Deployment) -> Finding:
    """Read them."""
    try:
        return ok(f"{len(rules.read(it.settings.alerts_path))} rules")
    except rules.BadRules as error:
        return fault(f"{str(error).rstrip('.')}.")


@alerting.check(
    "alerts-quiet",
    "No alert is raised",
    why="Something is wrong already: a deployment would hide what it was, or make it worse.",
    mend="docs/operations/alerts.md has a section for each; `flask alerts list`.",
)
def alerts_quiet(it: Deployment) -> Finding:
    """Ask where the alerts of this host stand."""
    raised = [each.name for each in alerts.states(it.app) if each.state == "firing"]
    return warning(f"{', '.join(raised)}.") if raised else ok()


@trail.check(
    "audit-chain",
    "The audit trail is whole",
    why="Somebody has changed what was to prove who did what.",
    mend="`flask audit verify` names the entry; compare it with a backup, and find who may write to the database.",
    needs=CURRENT,
    within_s=60.0,
)
def audit_chain(it: Deployment) -> Finding:
    """Compute its hashes anew."""
    with it.database.read() as reader:
        entries = reader.execute(sa.select(audit_head.c.last_id)).scalar() or 0
    if entries > MOST_ENTRIES:
        return skipped(f"It has {entries} entries: `flask audit verify` at a quiet hour.")
    found = verification.verify(it.database)
    return ok() if found.broken is None else fault(f"Entry {found.broken.id} {found.broken.why}.")
