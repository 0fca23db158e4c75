"""What holds the house together and no linter knows."""

import ast
import re
from pathlib import Path

import pytest

import codyverse
from codyverse import errors

ROOT = Path(codyverse.__file__).parent
# What processes of one host share lies in files in memory, which are no database of ours.
FILES_OF_THEIR_OWN = (
    "database.py",
    "connections.py",
    "operations/limits/storage.py",
    "operations/sqlite_files.py",
    "operations/tallies.py",
    "operations/journal.py",
    "operations/cache/host.py",
    "operations/backup/client_programs.py",
    "operations/backup/engines.py",
    "operations/backup/postgresql.py",
    "operations/backup/sqlite.py",
    "operations/doctor/postgresql.py",
    "operations/doctor/registry.py",
    "operations/doctor/sqlite.py",
)
SOURCES = sorted(path for path in ROOT.rglob("*.py") if "versions" not in path.parts)


def test_every_api_operation_says_who_may_use_it(app):
    """`signed_in` and `public` leave a mark; a new route without one fails here."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1/") and not rule.endpoint.endswith("openapi"):
            assert hasattr(app.view_functions[rule.endpoint], "requires"), rule


def test_only_services_open_transactions():
    for path in SOURCES:
        if ".transaction()" in path.read_text("utf-8"):
            at = str(path.relative_to(ROOT))
            allowed = r"^\w+/service(/|\.py)|^database\.py|^operations/idempotency\.py|^operations/audit/|^migrations/cli\.py"
            assert re.search(allowed, at), at


def test_only_create_app_imports_inside_a_function():
    for path in SOURCES:
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef) and function.name != "create_app":
                inner = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
                assert not inner, f"{path.relative_to(ROOT)}: {function.name}"


def test_only_the_database_knows_the_engines():
    for path in SOURCES:
        code = re.sub(r'""".*?"""|#.*', "", path.read_text("utf-8"), flags=re.S)
        if str(path.relative_to(ROOT)) not in FILES_OF_THEIR_OWN and "migrations" not in path.parts:
            assert not re.search(r"sqlite|postgres|psycopg|dialect ==", code), path.relative_to(ROOT)


def test_names_say_something():
    for path in SOURCES:
        assert not {"utils", "util", "helpers", "helper", "common", "misc", "core", "manager"} & {path.stem, *path.parts[-3:]}


def _errors(kind=errors.CodyverseError):
    for below in kind.__subclasses__():
        yield below
        yield from _errors(below)


@pytest.mark.parametrize("kind", list(_errors()), ids=lambda kind: kind.__name__)
def test_the_drawing_of_the_errors_is_true(kind):
    drawn = re.search(rf"── {kind.__name__}\b *(\d\d\d)?", errors.__doc__)
    assert drawn, f"{kind.__name__} is not in the tree that errors.py draws"
    assert drawn[1] in (None, str(kind.status))


def test_error_types_are_unique():
    types = [kind.type for kind in _errors()]
    assert len(types) == len(set(types))
