"""`make run`, as a newcomer types it: a new folder, then the whole way from an account to a reward, then Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest
import requests

from tests.server import ROOT, free_port, wait_until

ADA = {"email": "ada@example.org", "password": "seven quiet otters", "display_name": "Ada", "birth_date": "2010-12-10"}


@pytest.fixture
def environment(tmp_path):
    return {
        "PATH": os.environ["PATH"],
        "PORT": str(free_port()),
        "CODYVERSE_INSTANCE_PATH": str(tmp_path / "instance"),
        "CODYVERSE_MEMORY_PATH": str(tmp_path),
        "GUNICORN_CMD_ARGS": "--threads 2",
    }


@pytest.fixture
def site(environment, tmp_path):
    log = tmp_path / "log"
    # The environment that runs this test has what is needed; its folder is passed so that nothing is installed again.
    command = ["make", f"VENV={sys.prefix}", "--assume-old", f"{sys.prefix}/installed", "run"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True)

    address = f"http://127.0.0.1:{environment['PORT']}"
    try:
        wait_until(lambda: f"CodyVerse is at {address}" in log.read_text() or process.poll() is not None, within_s=60)
        assert process.poll() is None, log.read_text()
        yield address
    finally:
        os.killpg(process.pid, signal.SIGINT)  # what a terminal sends on Ctrl-C: to make and to gunicorn
        ended = process.wait(40)
    assert ended in (0, 130, -signal.SIGINT), log.read_text()
    wait_until(lambda: not alive(process.pid))
    assert "Traceback" not in log.read_text()


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_newcomer_learns_something(site, environment):
    api, browser = f"{site}/api/v1", requests.Session()
    assert requests.get(site, timeout=30).status_code == 200
    assert browser.post(f"{api}/auth/register", json=ADA, timeout=30).status_code == 201
    browser.headers["X-CSRF-Token"] = browser.cookies["codyverse-csrf"]
    courses = browser.get(f"{api}/courses", timeout=30).json()["items"]
    assert [course["slug"] for course in courses][:2] == ["ai-basics", "prompt-engineering"]
    lessons = browser.get(f"{api}/courses/ai-basics/lessons", timeout=30).json()["items"]
    lesson = browser.get(f"{api}/lessons/{lessons[0]['id']}", timeout=30).json()
    assert len(lesson["body_html"]) > 2000
    twice = [browser.post(f"{api}/lessons/{lesson['id']}/completions", json={}, timeout=30) for _ in range(2)]
    assert [answer.status_code for answer in twice] == [201, 200]
    assert twice[0].json() == twice[1].json()

    quiz = next(lesson for lesson in lessons if lesson["kind"] == "quiz")
    known: dict = {}
    results = [take(browser, api, quiz["id"], known) for _ in range(2)]  # the first tells what is right
    assert [result["passed"] for result in results] == [False, True]
    completed = browser.post(f"{api}/lessons/{quiz['id']}/completions", timeout=30)
    assert completed.status_code == 201
    assert browser.get(f"{api}/me/wallet", timeout=30).json()["xp"] == lesson["xp"] + completed.json()["xp_awarded"]
    assert browser.get(f"{api}/me/progress", timeout=30).json()["items"][0]["lessons_completed"] == 2

    verified = subprocess.run(
        [sys.executable, "-m", "flask", "ledger", "verify"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert verified.stdout == "difference 0 (4 entries, 1 wallets)\n"


def take(browser: requests.Session, api: str, quiz_id: int, known: dict) -> dict:
    """Attempt the quiz with what earlier attempts taught, submit it, and add what this one teaches."""
    attempt = browser.post(f"{api}/lessons/{quiz_id}/attempts", timeout=30).json()
    for question in attempt["questions"]:
        html = {option["html"]: option["id"] for option in question.get("options", [])}
        if question["id"] in known:
            right = known[question["id"]]
            answer = [html[one] for one in right] if isinstance(right, list) else html.get(right, right)
            put = browser.put(f"{api}/attempts/{attempt['id']}/answers/{question['id']}", json={"answer": answer}, timeout=30)
            assert put.status_code == 200
    result = browser.post(f"{api}/attempts/{attempt['id']}/submission", timeout=30).json()
    for question in result["questions"]:
        names = {option["id"]: option["html"] for option in question.get("options", [])}
        right = question["right_answer"]
        known[question["id"]] = [names[one] for one in right] if isinstance(right, list) else names.get(right, right)
    return result
