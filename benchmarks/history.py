"""Many learners with a history, made by a few statements over sets.

Nothing is bypassed: every constraint, trigger and index of the schema stands while the rows come. The rows of each step are
written for all learners before those of the next, so that one learner's rows lie scattered, as they do when many learn at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from codyverse.accounts import passwords
from codyverse.accounts.models import SCOPES
from codyverse.database import Database, Transaction, UtcDateTime
from codyverse.learning import questions
from codyverse.learning.models import courses, lesson_versions, lessons
from codyverse.rewards import rules

PASSWORD = "seven quiet otters"  # noqa: S105  (of people who do not exist)
TABLES = (
    *("users", "sessions", "api_tokens", "enrolments", "attempts", "answers", "completions"),
    *("ledger_entries", "wallets", "idempotency_records"),
)


def token(user_id: int) -> str:
    """Return the secret of the API token that a learner was given."""
    return f"cv_learner{user_id}"


def email(user_id: int) -> str:
    """Return the address that a learner signs in with, by PASSWORD."""
    return f"learner{user_id}@example.org"


@dataclass(frozen=True)
class Step:
    """A lesson that is completed; a quiz by one attempt that gets everything right."""

    lesson_id: int
    version: int
    reward: rules.Reward
    questions: tuple[dict[str, Any], ...] = ()

    @property
    def points(self) -> int:
        """Return the points of the quiz."""
        return sum(question["points"] for question in self.questions)

    def layout(self, question: dict[str, Any]) -> list[int]:
        """Return the order in which the attempt showed the question's options."""
        return list(range(len(question.get("items") or question.get("options") or ())))


@dataclass(frozen=True)
class Path:
    """What a learner did: the courses joined, the lessons completed, in this order."""

    course_ids: tuple[int, ...]
    steps: tuple[Step, ...]


def paths(database: Database, lessons_each: int, joined: int) -> list[Path]:
    """Return a path for each course of the catalogue: its quiz and as many lessons before it, and the courses joined."""
    query = (
        sa.select(lessons.c.course_id, lessons.c.id, lesson_versions)
        .join(
            lesson_versions, sa.and_(lesson_versions.c.lesson_id == lessons.c.id, lesson_versions.c.number == lessons.c.version)
        )
        .where(lessons.c.retired_at.is_(None))
        .order_by(lessons.c.course_id, lessons.c.position)
    )
    with database.read() as reader:
        course_ids = list(reader.execute(sa.select(courses.c.id).order_by(courses.c.position, courses.c.id)).scalars())
        rows = list(reader.execute(query))
    found = []
    for number, course_id in enumerate(course_ids):
        mine = [row for row in rows if row.course_id == course_id]
        read = [_read(row) for row in mine if row.kind != "quiz"][:lessons_each]
        quizzes = [_quiz(row) for row in mine if row.kind == "quiz"][:1]
        found.append(Path(tuple((course_ids[number:] + course_ids[:number])[:joined]), (*read, *quizzes)))
    return found


def _read(row: sa.Row[Any]) -> Step:
    return Step(row.lesson_id, row.number, rules.reward_for_lesson(row.xp))


def _quiz(row: sa.Row[Any]) -> Step:
    points = sum(question["points"] for question in row.questions)
    return Step(row.lesson_id, row.number, rules.reward_for_quiz(row.xp, points, points), tuple(row.questions))


def fill(database: Database, first: int, last: int, chosen: list[Path]) -> None:
    """Make the learners with these ids; the one with id i took `chosen[i % len(chosen)]`."""
    now = database.clock()
    password_hash = passwords.hash_password(PASSWORD)
    common = {"first": first, "last": last, "paths": len(chosen), "password_hash": password_hash, "scopes": " ".join(SCOPES)}
    for statement, values in _statements(now, chosen):
        with database.transaction() as tx:
            _prepare(database, tx)
            tx.execute(_typed(statement), common | values)


def analyze(database: Database) -> None:
    """Have the planner look at what is there now, and number new rows behind it."""
    with database.transaction() as tx:
        database.take_time(tx)
        if database.dialect == "postgresql":
            tx.execute(sa.text("SELECT setval(pg_get_serial_sequence('users', 'id'), (SELECT max(id) FROM users))"))
        tx.execute(sa.text("ANALYZE"))


def _prepare(database: Database, tx: Transaction) -> None:
    database.take_time(tx)
    if database.dialect == "sqlite":  # which lacks these two
        connection: Any = tx.connection.connection.driver_connection
        connection.create_function("convert_to", 2, lambda text, encoding: str(text).encode(), deterministic=True)
        connection.create_function("sha256", 1, lambda data: hashlib.sha256(data).digest(), deterministic=True)


def _typed(statement: str) -> sa.TextClause:
    text = sa.text(statement)
    types = {"moment": UtcDateTime, "seen": UtcDateTime, "until": UtcDateTime, "birth": sa.Date, "passed": sa.Boolean}
    return text.bindparams(*(sa.bindparam(name, type_=kind) for name, kind in types.items() if f":{name}" in statement))


def _statements(now: datetime, chosen: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    moment = now - timedelta(days=90)
    # Seen in the future: else the first request of each learner would note that they were seen, and no other would.
    account = {"moment": moment, "seen": now + timedelta(days=2), "until": now + timedelta(days=90), "birth": date(1990, 12, 10)}
    yield _USERS, {"moment": moment, "birth": account["birth"]}
    yield _SESSIONS, account
    yield _TOKENS, account
    balances = [rules.Reward(0, 0) for _ in chosen]
    for place in range(max(len(path.course_ids) for path in chosen)):
        for number, path in enumerate(chosen):
            if place < len(path.course_ids):
                yield _ENROLMENTS, {"path": number, "course_id": path.course_ids[place], "moment": moment}
    for place in range(max(len(path.steps) for path in chosen)):
        moment += timedelta(days=1)
        for number, path in enumerate(chosen):
            if place < len(path.steps):
                step, before = path.steps[place], balances[number]
                balances[number] = rules.Reward(before.xp + step.reward.xp, before.coins + step.reward.coins)
                yield from _step(number, step, balances[number], moment)
    for number, balance in enumerate(balances):
        yield _WALLETS, {"path": number, "xp": balance.xp, "coins": balance.coins}
    answer = orjson.dumps({"course_slug": "ai-basics", "lesson_id": 1, "completed_at": now, "xp_awarded": 20, "created": True})
    yield _RECORDS, {"answer": answer, "moment": now - timedelta(hours=1)}


def _step(path: int, step: Step, balance: rules.Reward, moment: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    common = {"path": path, "lesson_id": step.lesson_id, "version": step.version, "moment": moment}
    if step.questions:
        layouts = {question["id"]: step.layout(question) for question in step.questions}
        yield _ATTEMPTS, common | {"layout": orjson.dumps(layouts).decode(), "points": step.points, "passed": True}
        for question in step.questions:
            answer = orjson.dumps(questions.right_answer(question, step.layout(question))).decode()
            of_attempts = {name: value for name, value in common.items() if name != "version"}
            yield _ANSWERS, of_attempts | {"question_id": question["id"], "answer": answer}
    yield _COMPLETIONS, common | {"xp": step.reward.xp, "coins": step.reward.coins}
    earned = {"xp": step.reward.xp, "coins": step.reward.coins, "xp_after": balance.xp, "coins_after": balance.coins}
    yield _ENTRIES, {"path": path, "lesson_id": step.lesson_id, "moment": moment} | earned


_mine = "BETWEEN :first AND :last AND {0} % :paths = :path ORDER BY {0}"
_USERS = """
INSERT INTO users (id, email, password_hash, display_name, birth_date, locale, timezone, role, created_at, updated_at)
WITH RECURSIVE numbers (id) AS (SELECT :first UNION ALL SELECT id + 1 FROM numbers WHERE id < :last)
SELECT id, 'learner' || id || '@example.org', :password_hash, 'Ada', :birth, 'en', 'UTC', 'learner', :moment, :moment
FROM numbers
"""
_SESSIONS = """
INSERT INTO sessions (user_id, token_hash, user_agent, created_at, last_seen_at, expires_at)
SELECT id, sha256(convert_to('session' || id, 'UTF8')), 'a browser', :moment, :seen, :until
FROM users WHERE id BETWEEN :first AND :last
"""
_TOKENS = """
INSERT INTO api_tokens (user_id, name, token_hash, scopes, created_at, last_used_at, expires_at)
SELECT id, 'a program', sha256(convert_to('cv_learner' || id, 'UTF8')), :scopes, :moment, :seen, :until
FROM users WHERE id BETWEEN :first AND :last
"""
_ENROLMENTS = f"""
INSERT INTO enrolments (user_id, course_id, enrolled_at)
SELECT id, :course_id, :moment FROM users WHERE id {_mine.format("id")}
"""
_ATTEMPTS = f"""
INSERT INTO attempts (user_id, lesson_id, version, number, layout, started_at, submitted_at, points, points_possible, passed)
SELECT id, :lesson_id, :version, 1, :layout, :moment, :moment, :points, :points, :passed FROM users WHERE id {_mine.format("id")}
"""
_ANSWERS = f"""
INSERT INTO answers (attempt_id, question_id, answer, answered_at)
SELECT id, :question_id, :answer, :moment FROM attempts WHERE lesson_id = :lesson_id AND user_id {_mine.format("user_id")}
"""
_COMPLETIONS = f"""
INSERT INTO completions (
    user_id, lesson_id, version, attempt_id, time_spent_s, xp_awarded, coins_awarded, completed_at
)
SELECT id, :lesson_id, :version,
    (SELECT attempts.id FROM attempts WHERE user_id = users.id AND lesson_id = :lesson_id AND number = 1),
    60 + id % 600, :xp, :coins, :moment
FROM users WHERE users.id {_mine.format("users.id")}
"""
_ENTRIES = f"""
INSERT INTO ledger_entries (user_id, currency, amount, balance_after, source, created_at)
SELECT user_id, currency, amount, balance, 'completion:' || id, :moment
FROM completions CROSS JOIN (
    SELECT 'xp' AS currency, :xp AS amount, :xp_after AS balance UNION ALL SELECT 'coins', :coins, :coins_after
) AS earned
WHERE lesson_id = :lesson_id AND user_id {_mine.format("user_id")}
"""
_WALLETS = f"INSERT INTO wallets (user_id, xp, coins) SELECT id, :xp, :coins FROM users WHERE id {_mine.format('id')}"
_RECORDS = """
INSERT INTO idempotency_records (owner_id, key_hash, request_hash, answer, created_at)
SELECT id, sha256(convert_to('key' || id, 'UTF8')), sha256(convert_to('request' || id, 'UTF8')), :answer, :moment
FROM users WHERE id BETWEEN :first AND :last
"""
