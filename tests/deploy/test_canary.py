"""The canary's share of visitors, through a real HAProxy."""

from __future__ import annotations

import json
import stat

import pytest

from codyverse.operations.deploy.canary import CANARY, STABLE
from tests.deploy.two_tracks import ask, command, connection, two_tracks
from tests.haproxy import Haproxy
from tests.server import free_port, wait_until

VISITORS = 600


@pytest.fixture
def tracks(tmp_path):
    with two_tracks(tmp_path) as running:
        yield running


def seen(tracks, visits):
    return {tracks.visit(track)[1] for track in visits}


def test_ten_percent_of_600_visitors_for_good(tracks):
    assert tracks.done("canary", "10") == "10 % of visitors go to the canary.\n"
    canaries = 0
    with connection(tracks.haproxy.port) as asked:  # one connection: what a visitor gets must not depend on it
        for _ in range(VISITORS):
            _, body, number = ask(asked)
            assert [ask(asked, number)[1] for _ in range(3)] == [body] * 3
            canaries += body == CANARY
    assert 0.07 * VISITORS <= canaries <= 0.13 * VISITORS


def test_promote_and_rollback_take_everybody_along(tracks):
    tracks.done("canary", "50")
    assert (seen(tracks, [STABLE] * 5), seen(tracks, [CANARY] * 5)) == ({STABLE}, {CANARY})
    assert tracks.done("canary", "promote") == "Everybody goes to the canary.\n"
    assert seen(tracks, [STABLE, CANARY, None] * 5) == {CANARY}
    assert tracks.done("canary", "rollback") == "Everybody goes to stable.\n"
    assert seen(tracks, [STABLE, CANARY, None] * 5) == {STABLE}
    assert tracks.recorded() == [{"percent": 50}, {"percent": 100}, {"percent": 0}]


def test_the_file_says_the_same_for_the_next_start(tracks):
    tracks.map_path.chmod(0o640)
    before = tracks.map_path.stat()
    tracks.done("canary", "35")
    after = tracks.map_path.stat()
    assert tracks.map_path.read_text() == "pct 35\n"
    assert after.st_ino != before.st_ino  # never half written: another file took its place
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert [path.name for path in tracks.map_path.parent.glob(".canary*")] == []


def test_a_file_that_cannot_be_written_is_told_and_visitors_go_all_the_same(tracks):
    tracks.map_path.unlink()
    result = tracks.run("canary", "rollback")
    assert (result.exit_code, result.stderr) == (
        2,
        f"codyverse: {tracks.map_path} cannot be written (No such file or directory): its next start will not know of 0 %.\n",
    )
    assert seen(tracks, [CANARY]) == {STABLE}
    assert tracks.recorded() == [{"percent": 0}]
    assert [path.name for path in tracks.map_path.parent.glob(".canary*")] == []


def test_status(tracks):
    tracks.stable[0].status = 500
    for track in (STABLE, STABLE, CANARY):
        tracks.visit(track)
    lines = [line.split() for line in tracks.done("canary", "status").splitlines()]
    assert lines[0] == ["10", "%", "of", "visitors", "go", "to", "the", "canary"]
    assert lines[2][:4] == ["stable", "1/1", "2", "100.00%"]
    assert lines[3][:4] == ["canary", "1/1", "1", "0.00%"]
    figures = json.loads(tracks.done("canary", "status", "--json"))
    assert figures["percent"] == 10
    assert (figures["stable"]["errors"], figures["canary"]["errors"]) == (2, 0)


def test_nobody_is_sent_to_a_canary_that_is_down(tracks):
    tracks.canary[0].is_ready = False
    wait_until(lambda: tracks.done("canary", "status").splitlines()[3].split()[1] == "0/1")
    for asked in ("10", "promote"):
        result = tracks.run("canary", asked)
        assert (result.exit_code, result.stderr) == (2, "codyverse: No server of the canary is up.\n")
    assert tracks.map_path.read_text() == "pct 10\n"
    assert tracks.recorded() == []
    tracks.done("canary", "rollback")


@pytest.mark.parametrize("asked", ["101", "1000", "99999999999999999999"])
def test_what_is_no_percentage(asked):
    result = command("canary", asked)
    assert (result.exit_code, result.stderr) == (2, f"codyverse: {asked} is no percentage.\n")


@pytest.mark.parametrize("asked", ["-1", "ten", "1.5", "²"])
def test_what_is_no_command(asked):
    assert command("canary", asked).exit_code == 2


def test_a_configuration_without_canary(tmp_path):
    haproxy = Haproxy(tmp_path)
    text = f"""
global
    stats socket {haproxy.socket_path} level admin
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend fe
    bind 127.0.0.1:{haproxy.port}
    default_backend stable
backend stable
    server s1 127.0.0.1:{free_port()}
"""
    with haproxy(text):
        result = command("canary", "50", "--socket", str(haproxy.socket_path))
    assert (result.exit_code, result.stderr) == (2, "codyverse: HAProxy reads no canary.map: its configuration has no canary.\n")


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_the_application_has_the_commands(app):
    shown = app.test_cli_runner().invoke(args=["deploy", "canary", "--help"])
    assert "0..100|COMMAND" in shown.output
    assert {"drain", "undrain", "servers", "canary"} <= set(app.cli.commands["deploy"].commands)
