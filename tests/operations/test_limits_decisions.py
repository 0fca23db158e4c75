"""How many requests limits allowed and refused: counted without a step more for those that are allowed."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import limits
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from codyverse.operations import limits as our_limits
from codyverse.operations import metrics
from codyverse.operations.limits import leases as leasing
from codyverse.operations.limits.leases import Charge, Exceeded, Leases
from codyverse.operations.limits.storage import HostStorage
from codyverse.operations.limits.tiers import Tier, Tiers
from tests.operations.limited import choose, chosen, settings

__all__ = ["chosen", "settings"]

POLICIES = {"address": "500 per minute", "client": "200 per minute", "endpoint": "90 per minute"}


class Clock:
    now = 1_795_521_600.0

    def __call__(self) -> float:
        return self.now


class Counts(Counter[str]):
    """Takes counts for tallies."""

    def count(self, name: str, amount: float = 1) -> None:
        self[name] += amount  # type: ignore[assignment]


def leases_of(path: Path, clock: Clock, counts: Counts, is_far: bool) -> Leases:
    tier = Tier("the host", HostStorage(f"host://{path}", clock=clock))
    tier.is_far = is_far
    return Leases(Tiers(tiers=[tier]), clock, counts.count)


def charges(client: str) -> list[Charge]:
    return [Charge(policy, limits.parse(text), f"{policy}/{client}") for policy, text in POLICIES.items()]


@given(
    is_far=st.booleans(),
    steps=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 40), st.sampled_from([0.0, 0.3, 0.9, 1.1, 30.0])), max_size=20
    ),
)
def test_every_decision_is_counted_once(is_far: bool, steps: list[tuple[str, int, float]]) -> None:
    clock, counts, expected = Clock(), Counts(), Counts()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(leasing, "TICK_S", 3600.0)  # the test does what the thread would do
        leases = leases_of(Path(folder) / "limits.sqlite3", clock, counts, is_far)
        for client, requests, seconds in steps:
            for _ in range(requests):
                for charge in charges(client):
                    try:
                        leases.spend(charge)
                    except Exceeded:
                        expected.count(f"limit:{charge.policy}:refused")
                        break
                    expected.count(f"limit:{charge.policy}:allowed")
            clock.now += seconds
            leases._fill(about_to_end=seconds > 0.5)
            leases.give_back(all_of_them=False)
        leases.close()
    assert counts == expected


@pytest.mark.parametrize("is_far", [False, True])
def test_threads_at_once(tmp_path: Path, is_far: bool) -> None:
    clock, counts = Clock(), Counts()
    leases = leases_of(tmp_path / "limits.sqlite3", clock, counts, is_far)
    one = Charge("client", limits.parse("3000 per minute"), "client/a")

    def ask(number: int) -> int:
        try:
            leases.spend(one)
        except Exceeded:
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        allowed = sum(threads.map(ask, range(4000)))
    leases.close()
    assert allowed == 3000
    assert counts == {"limit:client:allowed": 3000, "limit:client:refused": 1000}


def decisions(app: Flask) -> dict[tuple[str, str], float]:
    """Return those that there were, once what is spent of leases is counted."""
    found = our_limits.of(app)
    assert found is not None
    found.meter.leases.give_back()
    return {
        (sample.labels["policy"], sample.labels["decision"]): sample.value
        for sample in metrics.samples(app)
        if sample.name == "codyverse_limits_decisions_total" and sample.value
    }


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
@choose(endpoint="7 per minute", feature_optimization=False)
def test_requests(app: Flask, client: FlaskClient) -> None:
    statuses = [client.get("/api/v1/courses").status_code for _ in range(10)]
    assert statuses == [200] * 7 + [429] * 3
    assert decisions(app) == {
        ("address", "allowed"): 10,
        ("client", "allowed"): 10,
        ("endpoint", "allowed"): 7,
        ("endpoint", "refused"): 3,
    }


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
@choose(sign_in="2 per hour")
def test_attempts_to_sign_in(app: Flask, client: FlaskClient) -> None:
    attempt = {"email": "ada@example.org", "password": "seven quiet otters"}
    assert [client.post("/api/v1/auth/login", json=attempt).status_code for _ in range(3)] == [401, 401, 429]
    found = decisions(app)
    assert {name: number for name, number in found.items() if name[0].startswith("sign-in")} == {
        ("sign-in", "allowed"): 2,
        ("sign-in", "refused"): 1,
        ("sign-in-account", "allowed"): 2,
        ("sign-in-address", "allowed"): 2,
    }


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
@choose(upload="2 per minute")
def test_uploads(app: Flask) -> None:
    app.add_url_rule("/upload", "upload", our_limits.uploads(lambda: "kept"), methods=["PUT"])
    client = app.test_client()
    assert [client.put("/upload").status_code for _ in range(3)] == [200, 200, 429]
    found = decisions(app)
    assert {name: number for name, number in found.items() if name[0] == "upload"} == {
        ("upload", "allowed"): 2,
        ("upload", "refused"): 1,
    }
