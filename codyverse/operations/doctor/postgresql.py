"""Checks of a PostgreSQL server."""

from __future__ import annotations

import ipaddress
from typing import Any

import sqlalchemy as sa

from codyverse.operations.doctor import clocks
from codyverse.operations.doctor.check import Finding, Group, fault, ok, warning
from codyverse.operations.doctor.database import CURRENT, REACHABLE
from codyverse.operations.doctor.deployment import Deployment

OLDEST = 15  # that its makers maintain
DEAD_ROWS, DEAD_SHARE = 10_000, 0.2  # of a table; vacuuming begins by itself at 20 %
LONG_S = 300.0
XIDS_WARNING, XIDS_FAULT = 600_000_000, 1_500_000_000  # of two thousand millions; vacuuming begins by itself at 200


def _not_here(it: Deployment) -> str:
    return "" if it.database.dialect == "postgresql" else "The database is a file of SQLite."


group = Group("database", _not_here)
time_of_server = Group("clocks", _not_here)

GROUPS = (group, time_of_server)


@group.check(
    "server-version",
    "The server's version is maintained",
    why="Older ones get no corrections, and lack what statements of ours use.",
    mend="pg_upgradecluster, or a dump and a restore.",
    needs=REACHABLE,
)
def server_version(it: Deployment) -> Finding:
    """Ask for it."""
    found = _settings(it, "server_version", "server_version_num")
    told = found["server_version"]
    return ok(told) if int(found["server_version_num"]) >= OLDEST * 10_000 else fault(f"It is {told}; {OLDEST} is the oldest.")


@group.check(
    "durability",
    "A commit survives a loss of power",
    why="What a learner was told to have earned would be gone, or the whole database beyond repair.",
    mend="fsync = on, full_page_writes = on, synchronous_commit = on in postgresql.conf.",
    needs=REACHABLE,
)
def durability(it: Deployment) -> Finding:
    """Look at the three settings that decide about it."""
    found = _settings(it, "fsync", "full_page_writes", "synchronous_commit")
    off = sorted(name for name, value in found.items() if value == "off")
    return fault(f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off.") if off else ok()


@group.check(
    "timeouts",
    "The server keeps to our timeouts",
    why="A statement that nobody ends holds its locks, and in the end every connection.",
    mend="Behind PgBouncer set them with ALTER ROLE: it ignores those of a connection (docs/operations/scaling.md).",
    needs=REACHABLE,
)
def timeouts(it: Deployment) -> Finding:
    """Compare what our own session is told with what the settings say."""
    wanted = {
        "statement_timeout": it.settings.database_statement_timeout_s,
        "lock_timeout": it.settings.database_lock_timeout_s,
        "idle_in_transaction_session_timeout": it.settings.database_idle_in_transaction_timeout_s,
    }
    found = _settings(it, *wanted)
    wrong = sorted(f"{name} is {int(found[name]) / 1000:g} s" for name, s in wanted.items() if int(found[name]) != int(s * 1000))
    return fault(f"{', '.join(wrong)}.") if wrong else ok()


@group.check(
    "vacuum",
    "Tables are vacuumed by themselves",
    why="Otherwise they grow with every change, and after two thousand million transactions the server stops.",
    mend="autovacuum = on and track_counts = on in postgresql.conf.",
    needs=REACHABLE,
)
def vacuum(it: Deployment) -> Finding:
    """Look at the two settings that it depends on."""
    off = sorted(name for name, value in _settings(it, "autovacuum", "track_counts").items() if value == "off")
    return fault(f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off.") if off else ok()


@group.check(
    "dead-rows",
    "Tables hold few dead rows",
    why="Every read of such a table passes them, and the memory that holds it holds them too.",
    mend="VACUUM (ANALYZE) the table, and find the long transaction that kept autovacuum from it.",
    needs=REACHABLE,
)
def dead_rows(it: Deployment) -> Finding:
    """Look at what the server counted."""
    found = _rows(it, _DEAD, least=DEAD_ROWS, share=DEAD_SHARE)
    return warning("; ".join(f"{row.relname} has {row.dead} beside {row.live}" for row in found) + ".") if found else ok()


@group.check(
    "transaction-ids",
    "Old rows are frozen in time",
    why="The server stops to accept writes when it runs out of numbers for transactions.",
    mend="VACUUM (FREEZE) as a superuser, and find what keeps autovacuum from it.",
    needs=REACHABLE,
)
def transaction_ids(it: Deployment) -> Finding:
    """Look at the age of the oldest number in use."""
    age = _rows(it, "SELECT age(datfrozenxid) AS age FROM pg_database WHERE datname = current_database()")[0].age
    if age > XIDS_FAULT:
        return fault(f"The oldest is {age:,} transactions old.")
    return warning(f"The oldest is {age:,} transactions old.") if age > XIDS_WARNING else ok()


@group.check(
    "transactions",
    "No transaction is open for minutes",
    why="It holds its locks, and keeps every dead row in every table.",
    mend="pg_terminate_backend of its pid, or ROLLBACK PREPARED; then find who leaves it open.",
    needs=REACHABLE,
)
def transactions(it: Deployment) -> Finding:
    """Look for old ones, prepared ones included."""
    found = [f"{row.what} for {row.seconds:.0f} s" for row in _rows(it, _LONG, seconds=LONG_S)]
    return warning(f"{', '.join(found)}.") if found else ok()


@group.check(
    "valid-indexes",
    "Every index is valid",
    why="One that was not finished costs every write and serves no read; a rule of uniqueness is none.",
    mend="DROP INDEX and CREATE INDEX CONCURRENTLY again, or REINDEX.",
    needs=REACHABLE,
)
def valid_indexes(it: Deployment) -> Finding:
    """Look for those that are not."""
    found = [row.name for row in _rows(it, _INVALID)]
    return fault(f"{', '.join(found)} {'is' if len(found) == 1 else 'are'} not.") if found else ok()


@group.check(
    "triggers",
    "What guards append-only tables is awake",
    why="A ledger that can be changed proves nothing.",
    mend="ALTER TABLE … ENABLE TRIGGER ALL, then `flask ledger verify`.",
    needs=CURRENT,
)
def triggers(it: Deployment) -> Finding:
    """Look for triggers that were put to sleep."""
    found = [f"{row.tgname} of {row.name}" for row in _rows(it, _ASLEEP)]
    return fault(f"Asleep: {', '.join(found)}.") if found else ok()


@group.check(
    "encoding",
    "Texts are kept in UTF-8",
    why="Names and answers in other alphabets are refused otherwise.",
    mend="createdb --encoding UTF8 --template template0, and a restore into it.",
    needs=REACHABLE,
)
def encoding(it: Deployment) -> Finding:
    """Ask for it."""
    found = _settings(it, "server_encoding")["server_encoding"]
    return ok() if found == "UTF8" else fault(f"They are kept in {found}.")


@group.check(
    "role",
    "The service's role is an ordinary one",
    why="A superuser reads files and runs programs: with it, one injected statement is the whole machine.",
    mend="createuser codyverse, and make it the owner of the database.",
    needs=REACHABLE,
)
def role(it: Deployment) -> Finding:
    """Ask what the role may."""
    is_super = _rows(it, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0].rolsuper
    return warning("It is a superuser.") if is_super else ok()


@group.check(
    "encryption",
    "The way to the server is encrypted, or stays on the machine",
    why="Passwords' hashes, sessions and names of learners travel on it.",
    mend="?sslmode=verify-full in CODYVERSE_DATABASE_URL, and a certificate at the server.",
    needs=REACHABLE,
)
def encryption(it: Deployment) -> Finding:
    """Ask the server where it is, and whether this connection is encrypted."""
    found = _rows(it, "SELECT ssl, host(inet_server_addr()) AS address FROM pg_stat_ssl WHERE pid = pg_backend_pid()")[0]
    is_near = found.ssl or found.address is None or is_here(found.address)
    return ok() if is_near else warning(f"It leads to {found.address} unencrypted.")


@time_of_server.check(
    "database-clock", "This machine's clock and the database's agree", why=clocks.WHY, mend=clocks.MEND, needs=REACHABLE
)
def database_clock(it: Deployment) -> Finding:
    """Compare the two."""
    return clocks.compare(lambda: float(_rows(it, "SELECT extract(epoch FROM clock_timestamp()) AS s")[0].s), it.machine.now)


def is_here(address: str) -> bool:
    """Say whether an address is this machine's own."""
    return ipaddress.ip_address(address).is_loopback


def _rows(it: Deployment, statement: str, **parameters: Any) -> list[Any]:
    with it.database.read() as reader:
        return list(reader.execute(sa.text(statement), parameters))


def _settings(it: Deployment, *names: str) -> dict[str, str]:
    return {row.name: row.setting for row in _rows(it, _SETTINGS, names=list(names))}


_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(:names)"

_DEAD = """
SELECT relname, n_dead_tup AS dead, n_live_tup AS live FROM pg_stat_user_tables
WHERE n_dead_tup > :least AND n_dead_tup > :share * (n_live_tup + n_dead_tup) ORDER BY n_dead_tup DESC LIMIT 5
"""

_LONG = """
SELECT 'pid ' || pid AS what, extract(epoch FROM clock_timestamp() - xact_start) AS seconds FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - :seconds * interval '1 s'
UNION ALL
SELECT 'prepared ' || gid, extract(epoch FROM clock_timestamp() - prepared) FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - :seconds * interval '1 s'
ORDER BY seconds DESC LIMIT 5
"""

_INVALID = """
SELECT indexrelid::regclass::text AS name FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace
"""

_ASLEEP = """
SELECT tgname, relname AS name FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE tgenabled = 'D' AND NOT tgisinternal AND relnamespace = current_schema()::regnamespace
"""
