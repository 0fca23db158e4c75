"""Which server gets a request: by strategy, and only while it is well. Three servers on hosts of their own (issue 5, Shows 4)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import requests

from codyverse.operations.deploy import haproxy as generation
from tests.deploy.conftest import Balanced
from tests.server import wait_until

Balance = Callable[..., Balanced]


def shares(balanced: Balanced, count: int) -> Counter[str]:
    return Counter(balanced.served_by() for _ in range(count))


def test_round_robin_is_equal(balance: Balance) -> None:
    assert shares(balance(), 60) == {"s1": 20, "s2": 20, "s3": 20}


def test_weights_are_in_proportion(balance: Balance, tiny) -> None:
    weighted = [f"{server.address},weight={weight}" for server, weight in zip(tiny, (1, 2, 3), strict=True)]
    assert shares(balance(weighted, strategy="weighted"), 60) == {"s1": 10, "s2": 20, "s3": 30}


def test_least_connections_avoids_the_slow_one(balance: Balance, tiny) -> None:
    balanced = balance(strategy="leastconn")
    tiny[0].be(delay_s=0.3)
    served: Counter[str] = Counter()

    def client() -> None:
        with requests.Session() as session:
            for _ in range(20):
                served[session.get(balanced.haproxy.url, timeout=30).json()["server"]] += 1

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served.total() == 120
    assert served["s1"] < 20 < min(served["s2"], served["s3"])  # round robin would give it 40


def test_a_dead_server_leaves_and_returns(balance: Balance, tiny) -> None:
    balanced = balance()
    tiny[1].kill()
    assert shares(balanced, 30)["s2"] == 0  # not one request fails, before the checks have noticed too
    balanced.wait_for("s2", is_up=False)
    tiny[1].start()
    balanced.wait_for("s2", is_up=True)
    wait_until(lambda: balanced.served_by() == "s2")


def test_a_server_that_is_slow_to_say_it_is_ready_leaves_and_returns(balance: Balance, tiny) -> None:
    balanced = balance()
    tiny[0].be(ready_delay_s=1.5)
    balanced.wait_for("s1", is_up=False)
    assert set(shares(balanced, 12)) == {"s2", "s3"}
    tiny[0].be()
    balanced.wait_for("s1", is_up=True)
    wait_until(lambda: balanced.served_by() == "s1")


def test_a_ready_server_that_is_slow_to_answer_leaves_and_returns(balance: Balance, tiny, monkeypatch) -> None:
    monkeypatch.setattr(generation, "SLOW_US", 500_000)
    balanced = balance()
    tiny[2].be(delay_s=0.6)
    balanced.ask_at_once(45)
    balanced.wait_for("s3", is_up=False)
    assert set(shares(balanced, 12)) == {"s1", "s2"}
    tiny[2].be()
    balanced.wait_for("s3", is_up=True)


def test_a_ready_server_that_answers_500_leaves_and_returns(balance: Balance, tiny) -> None:
    balanced = balance()
    tiny[1].be(status=500)
    answers: Counter[int] = Counter()

    def is_out() -> bool:
        answers[balanced.ask().status_code] += 1
        return not balanced.is_up("s2")

    wait_until(is_out)
    assert 10 < answers[500] < answers[200]
    assert set(shares(balanced, 12)) == {"s1", "s3"}
    tiny[1].be()
    balanced.wait_for("s2", is_up=True)
    wait_until(lambda: balanced.served_by() == "s2")


def test_a_server_that_sheds_stays(balance: Balance, tiny) -> None:
    balanced = balance()
    tiny[0].be(status=503, headers={"Retry-After": "1"})
    assert Counter(balanced.ask().status_code for _ in range(90)) == {200: 60, 503: 30}
    checks = tiny[0].checks()
    wait_until(lambda: tiny[0].checks() >= checks + 3)
    assert balanced.is_up("s1")


def test_servers_are_asked_although_none_is_ready(balance: Balance, tiny) -> None:
    balanced = balance()
    for server in tiny:
        server.be(ready=False)
    for server in tiny:
        balanced.wait_for(server.name, is_up=False)
    assert shares(balanced, 30) == {"s1": 10, "s2": 10, "s3": 10}
    tiny[0].be()
    balanced.wait_for("s1", is_up=True)
    assert set(shares(balanced, 6)) == {"s1"}


def test_servers_are_asked_although_all_answer_500(balance: Balance, tiny) -> None:
    balanced = balance()
    for server in tiny:
        server.be(status=500)
    answered: Counter[int] = Counter()

    def all_are_out() -> bool:
        answered[balanced.ask("/static/app.css").status_code] += 1  # no breaker has these
        return not any(balanced.is_up(server.name) for server in tiny)

    wait_until(all_are_out)
    assert set(answered) == {500}
    for server in tiny:
        server.be()
    assert shares(balanced, 9).total() == 9
    balanced.wait_for("s1", is_up=True)


def test_a_drained_server_gets_nothing_new_and_ends_what_it_has(balance: Balance, tiny) -> None:
    balanced = balance()
    for server in tiny:
        server.be(delay_s=1.0)
    answers: list[requests.Response] = []
    asking = threading.Thread(target=lambda: answers.extend(balanced.ask_at_once(6)))
    asking.start()
    wait_until(lambda: all(len(server.seen()) == 2 for server in tiny))
    for server in tiny:
        server.be()
    balanced.haproxy.tell("set server stable/s1 state drain")
    assert set(shares(balanced, 12)) == {"s2", "s3"}
    asking.join()
    assert Counter(answer.json()["server"] for answer in answers) == {"s1": 2, "s2": 2, "s3": 2}
