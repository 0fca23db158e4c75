"""What is learned, and how far each learner is.

The catalogue (courses, modules, lessons and their versions, images) comes from content files. A lesson's row stays for ever, so
that what learners did keeps its meaning; its text and questions are those of a version, and an attempt keeps the version it began
with.
"""

from __future__ import annotations

import sqlalchemy as sa

from codyverse.database import Id, Json, UtcDateTime, metadata, primary_key

LESSON_KINDS = ("theory", "interactive", "lab", "quiz")
DIFFICULTIES = ("beginner", "intermediate", "advanced")
EVENT_KINDS = ("lesson_viewed", "time_spent")

courses = sa.Table(
    "courses",
    metadata,
    primary_key(),
    sa.Column("slug", sa.String(64), nullable=False, unique=True),
    sa.Column("title", sa.String(80), nullable=False),
    sa.Column("summary", sa.String(200), nullable=False),
    sa.Column("description_html", sa.Text, nullable=False),
    sa.Column("difficulty", sa.String(20), nullable=False),
    sa.Column("locale", sa.String(35), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("search_text", sa.Text, nullable=False),  # case folded: title, summary, titles of the lessons
    sa.Column("source", sa.Text, nullable=False),  # course.yaml as it was written
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("retired_at", UtcDateTime),
    sa.CheckConstraint(sa.column("difficulty").in_(DIFFICULTIES), name="difficulty"),
)

modules = sa.Table(
    "modules",
    metadata,
    primary_key(),
    sa.Column("course_id", Id, sa.ForeignKey("courses.id"), nullable=False),
    sa.Column("slug", sa.String(64), nullable=False),
    sa.Column("title", sa.String(80), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("retired_at", UtcDateTime),
    sa.UniqueConstraint("course_id", "slug"),
)

lessons = sa.Table(
    "lessons",
    metadata,
    primary_key(),
    sa.Column("course_id", Id, sa.ForeignKey("courses.id"), nullable=False),
    sa.Column("module_id", Id, sa.ForeignKey("modules.id"), nullable=False, index=True),
    sa.Column("slug", sa.String(64), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),  # within the course
    sa.Column("version", sa.Integer, nullable=False),  # the number of the version that is shown
    sa.Column("retired_at", UtcDateTime),
    sa.UniqueConstraint("course_id", "slug"),
)

lesson_versions = sa.Table(
    "lesson_versions",
    metadata,
    sa.Column("lesson_id", Id, sa.ForeignKey("lessons.id"), primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 …
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("title", sa.String(80), nullable=False),
    sa.Column("summary", sa.String(200), nullable=False),
    sa.Column("minutes", sa.Integer, nullable=False),
    sa.Column("xp", sa.Integer, nullable=False),
    sa.Column("body_html", sa.Text, nullable=False),
    sa.Column("key_concepts", Json, nullable=False),  # [{"term", "meaning"}]
    sa.Column("questions", Json, nullable=False),  # see questions.py; with the answers, so never sent as it is
    sa.Column("pass_score", sa.Integer),  # per cent; quizzes only
    sa.Column("max_attempts", sa.Integer),  # NULL: as many as one likes
    sa.Column("time_limit_s", sa.Integer),  # NULL: no limit
    sa.Column("source", sa.Text, nullable=False),  # the file as it was written
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint(sa.column("kind").in_(LESSON_KINDS), name="kind"),
)

course_images = sa.Table(
    "course_images",
    metadata,
    sa.Column("course_id", Id, sa.ForeignKey("courses.id"), primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(80), primary_key=True),
    sa.Column("digest", sa.String(16), primary_key=True),  # of the content: an old version of a lesson keeps its own image
    sa.Column("media_type", sa.String(40), nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("retired_at", UtcDateTime),
)

enrolments = sa.Table(
    "enrolments",
    metadata,
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), primary_key=True, autoincrement=False),
    sa.Column("course_id", Id, sa.ForeignKey("courses.id"), primary_key=True, autoincrement=False),
    sa.Column("enrolled_at", UtcDateTime, nullable=False),
    sa.Column("left_at", UtcDateTime),  # progress stays; coming back clears it
)

attempts = sa.Table(
    "attempts",
    metadata,
    primary_key(),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("lesson_id", Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),  # the version it began with, and keeps
    sa.Column("number", sa.Integer, nullable=False),  # 1, 2, 3 … of this learner and lesson
    sa.Column("layout", Json, nullable=False),  # {question id: positions of its options as shown}
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("submitted_at", UtcDateTime),
    sa.Column("points", sa.Integer),
    sa.Column("points_possible", sa.Integer),
    sa.Column("passed", sa.Boolean),
    sa.ForeignKeyConstraint(["lesson_id", "version"], ["lesson_versions.lesson_id", "lesson_versions.number"]),
    sa.UniqueConstraint("user_id", "lesson_id", "number"),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), primary_key=True, autoincrement=False),
    sa.Column("question_id", sa.String(64), primary_key=True),
    sa.Column("answer", Json, nullable=False),
    sa.Column("answered_at", UtcDateTime, nullable=False),
)

completions = sa.Table(
    "completions",
    metadata,
    primary_key(),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("lesson_id", Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id")),  # of a quiz: the one that counted
    sa.Column("time_spent_s", sa.Integer),
    sa.Column("xp_awarded", sa.Integer, nullable=False),
    sa.Column("coins_awarded", sa.Integer, nullable=False),
    sa.Column("completed_at", UtcDateTime, nullable=False),
    sa.ForeignKeyConstraint(["lesson_id", "version"], ["lesson_versions.lesson_id", "lesson_versions.number"]),
    sa.UniqueConstraint("user_id", "lesson_id"),
)

learning_events = sa.Table(
    "learning_events",
    metadata,
    primary_key(),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("lesson_id", Id, sa.ForeignKey("lessons.id"), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("seconds", sa.Integer),
    sa.Column("occurred_at", UtcDateTime, nullable=False),  # as the client tells
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.CheckConstraint(sa.column("kind").in_(EVENT_KINDS), name="kind"),
    sa.Index("ix_learning_events_user_id_occurred_at", "user_id", "occurred_at"),
)
