"""The catalogue as pages that need neither an account nor a script."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, render_template, request

from codyverse.errors import NotFound
from codyverse.extensions import cache, database
from codyverse.http import pagination
from codyverse.http.auth import public
from codyverse.learning.service import courses

blueprint = Blueprint("pages", __name__)

COURSES_A_PAGE = 30
IMAGE_MAX_AGE_S = 31_536_000  # an address holds the digest of its image, which therefore never changes

# An SVG that is opened on its own is a document: it gets no origin, no script and nothing from outside.
IMAGE_SECURITY_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'"

KIND_NAMES = {"theory": "Theory", "interactive": "Interactive", "lab": "Lab", "quiz": "Quiz"}


@blueprint.get("/")
@public
def home() -> str:
    """Show what this is, and the courses."""
    after = pagination.after("courses", request.args.get("cursor"))
    found = courses.list_courses(database, cache, limit=COURSES_A_PAGE, after=after)
    return render_template("learning/home.html", page=pagination.page("courses", found, COURSES_A_PAGE, courses.sort_values))


@blueprint.get("/courses/<slug:slug>")
@public
def course(slug: str) -> str:
    """Show a course with its lessons."""
    return render_template("learning/course.html", course=courses.course(database, cache, slug))


@blueprint.get("/lessons/<id:lesson_id>")
@public
def lesson(lesson_id: int) -> str:
    """Show a lesson; of a quiz, what awaits."""
    return render_template("learning/lesson.html", lesson=courses.lesson(database, cache, lesson_id))


@blueprint.get("/media/<slug:course_slug>/<slug:digest>/<name>")
@public
def image(course_slug: str, digest: str, name: str) -> Response:
    """Send an image of a course."""
    if "\0" in name:  # PostgreSQL cannot compare with it
        raise NotFound("There is no such image.")
    media_type, content = courses.image(database, course_slug, digest, name)
    response = Response(content, content_type=media_type)
    response.headers["Content-Security-Policy"] = IMAGE_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.cache_control.public = True
    response.cache_control.max_age = IMAGE_MAX_AGE_S
    response.cache_control.immutable = True
    return response


def _duration(minutes: int) -> str:
    """Return `45 min`, `1 h`, `1 h 20 min`."""
    hours, rest = divmod(minutes, 60)
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{rest} min" if rest or not hours else "") if part)


def _count(number: int, noun: str) -> str:
    """Return `1 lesson`, `7 lessons`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def init_app(app: Flask) -> None:
    """Register the pages and what their templates use."""
    app.jinja_env.filters.update(duration=_duration, count_of=_count)
    app.jinja_env.globals["kind_names"] = KIND_NAMES
    app.register_blueprint(blueprint)
