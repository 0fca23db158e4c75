"""`flask deploy canary watch` beside a real HAProxy, a load, and canaries of every kind."""

from __future__ import annotations

import re

import pytest

from codyverse.operations.deploy import watching
from codyverse.operations.deploy.canary import CANARY, STABLE, Canary, Track
from codyverse.operations.deploy.judgement import Tolerance
from codyverse.operations.deploy.request_times import RequestTimes
from codyverse.operations.deploy.watching import Watch
from tests.deploy.two_tracks import two_tracks, visitors
from tests.server import wait_until

FIGURES = r"canary .*% errors of \d+, p95 \w+( ms)?; stable .*% errors of \d+, p95 \w+( ms)?\."


@pytest.fixture
def tracks(tmp_path):
    with two_tracks(tmp_path, percent=10) as running:
        yield running


def watch(tracks, *options, seconds=10):
    with visitors(tracks.haproxy.port) as seen:
        result = tracks.run("canary", "watch", "--for", str(seconds), "--log", tracks.log, *options)
    assert len(seen) > 100
    return result


def test_a_canary_that_answers_500_is_rolled_back_within_10_s(tracks):
    """HAProxy takes such a server out itself, and would try it again for ever."""
    tracks.canary[0].status = 500
    result = watch(tracks, seconds=10)
    assert result.exit_code == 1
    assert re.fullmatch(
        rf"The canary was rolled back, (it answers more errors|none of its servers is up): {FIGURES}\n", result.output
    )
    assert tracks.done("canary", "status").startswith("0 %")
    assert tracks.map_path.read_text() == "pct 0\n"
    assert tracks.visit(CANARY)[1] == STABLE


def test_a_canary_that_fails_now_and_then_is_rolled_back(tracks):
    tracks.canary[0].fails_every = 4
    result = watch(tracks)
    assert result.exit_code == 1
    assert re.fullmatch(rf"The canary was rolled back, it answers more errors: {FIGURES}\n", result.output)
    assert tracks.map_path.read_text() == "pct 0\n"
    assert tracks.recorded() == [{"by_watch": True, "percent": 0}]


def test_a_slow_canary_is_rolled_back(tracks):
    tracks.canary[0].takes_s = 0.15
    result = watch(tracks)
    assert result.exit_code == 1
    assert re.fullmatch(rf"The canary was rolled back, it is slower: {FIGURES}\n", result.output)
    assert tracks.map_path.read_text() == "pct 0\n"


@pytest.mark.parametrize("takes_s", [0, 0.1])
def test_a_canary_like_stable_is_left_alone(tracks, takes_s):
    """Healthy, and slow together with stable."""
    tracks.canary[0].takes_s = tracks.stable[0].takes_s = takes_s
    result = watch(tracks, seconds=4)
    assert result.exit_code == 0, result.output
    assert re.fullmatch(rf"The canary is well: {FIGURES}\n", result.output)
    assert tracks.map_path.read_text() == "pct 10\n"


def test_errors_are_seen_without_log_lines(tracks):
    tracks.canary[0].fails_every = 4
    result = watch(tracks, "--log", "127.0.0.1:0")
    assert result.exit_code == 1
    assert "p95 unknown" in result.output


def test_a_canary_that_dies_is_rolled_back(tracks):
    tracks.canary[0].is_ready = False
    result = watch(tracks)
    assert result.exit_code == 1
    assert result.output.startswith("The canary was rolled back, none of its servers is up: ")


def test_a_rollback_needs_somewhere_to_go(tracks):
    tracks.canary[0].fails_every, tracks.stable[0].is_ready = 4, False
    wait_until(lambda: not Canary(tracks.runtime).tracks()[STABLE].up)
    result = watch(tracks)
    assert result.exit_code == 1
    assert result.output.startswith("The canary was left its visitors, since no stable server is up, though it answers more ")
    assert tracks.map_path.read_text() == "pct 10\n"


def test_too_few_requests_are_not_called_well(tracks):
    result = tracks.run("canary", "watch", "--for", "1", "--log", tracks.log)
    assert result.exit_code == 2
    assert result.stderr == "codyverse: The canary had 0 requests; nothing can be said of fewer than 20.\n"


def test_only_one_watches(tracks):
    with RequestTimes(tracks.log):
        result = tracks.run("canary", "watch", "--log", tracks.log)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"codyverse: Log lines cannot be received at {tracks.log}: ")


def test_a_watch_ends_when_the_canary_is_taken_back_by_hand(tracks):
    tracks.done("canary", "rollback")
    result = tracks.run("canary", "watch", "--log", tracks.log)
    assert (result.exit_code, result.output) == (1, "The canary gets 0 %: there is nothing to watch.\n")


class Killed(Canary):
    """A canary whose HAProxy is killed behind the first look."""

    def __init__(self, tracks):
        super().__init__(tracks.runtime)
        self._process = tracks.haproxy.process

    def tracks(self):
        found = super().tracks()
        self._process.kill()
        self._process.wait(10)
        return found


@pytest.mark.parametrize(("has_file", "line"), [(True, "Its next start sends nobody there."), (False, "cannot be written")])
def test_without_haproxy_the_next_start_has_no_canary(tracks, monkeypatch, has_file, line):
    monkeypatch.setattr(watching, "AWAY_S", 0.1)
    if not has_file:
        tracks.map_path.unlink()
    with RequestTimes(tracks.log) as times:
        outcome = Watch(Killed(tracks), times, 60, Tolerance()).run(30)
    assert not outcome.is_well
    assert outcome.line.startswith(f"HAProxy does not answer at {tracks.haproxy.socket_path}: ")
    assert line in outcome.line
    assert not has_file or tracks.map_path.read_text() == "pct 0\n"


class Counted(Canary):
    """A canary whose HAProxy has these counts of requests and errors of the canary's, look by look."""

    def __init__(self, *looks):
        self._looks = list(looks)
        self.was = 10

    def percent(self):
        return self.was

    def set_percent(self, percent):
        self.was = percent

    def tracks(self):
        requests, errors = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        return {CANARY: Track(1, 1, requests, errors, 0), STABLE: Track(1, 1, 10 * requests, 0, 0)}


@pytest.mark.parametrize(
    ("looks", "is_well", "figures"),
    [
        ([(5000, 2000), (5100, 2000)], True, "canary 0.0% errors of 100, "),  # what was before the watch is not its own
        (
            [(5000, 0), (5030, 0), (10, 0), (40, 0)],
            True,
            "canary 0.0% errors of 30, ",
        ),  # a reload, behind which HAProxy counts anew
        ([(5000, 0), (5030, 0), (10, 0), (40, 25)], False, "canary 83.3% errors of 30, "),
    ],
)
def test_counts_are_those_of_the_window(monkeypatch, looks, is_well, figures):
    monkeypatch.setattr(watching, "LOOK_S", 0.05)
    canary = Counted(*looks)
    with RequestTimes("127.0.0.1:0") as times:
        outcome = Watch(canary, times, 60, Tolerance()).run(0.5)
    assert (outcome.is_well, canary.was) == (is_well, 10 if is_well else 0)
    assert figures in outcome.line
