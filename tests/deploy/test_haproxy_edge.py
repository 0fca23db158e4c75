"""What HAProxy does with requests before and after a server has them: order, refusals, headers, retries."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import pytest
import requests

from codyverse.operations.deploy.haproxy import Shield
from tests.deploy.conftest import Balanced, problem
from tests.server import free_port, wait_until

Balance = Callable[..., Balanced]


def waiting(balanced: Balanced) -> int:
    return int(balanced.haproxy.rows("stable")["BACKEND"]["qcur"])


def ask_raw(stack: ExitStack, balanced: Balanced, path: str) -> socket.socket:
    """Send a request and do not wait for its answer."""
    asking = stack.enter_context(socket.create_connection((balanced.haproxy.host, balanced.haproxy.port), 30))
    asking.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return asking


def read(asking: socket.socket) -> bytes:
    with asking.makefile("rb") as answer:
        return answer.read()


def test_the_queue_is_served_by_class(balance: Balance, tiny) -> None:
    balanced = balance([tiny[0].address], concurrency=1)
    tiny[0].be(delay_s=0.3)
    worst_first = ["/static/a.css", "/media/b.svg", "/courses", "/%61pi/v1/courses", "/api/v1/%61uth/login", "/readyz"]
    with ExitStack() as stack:
        asking = [ask_raw(stack, balanced, "/first")]
        wait_until(lambda: len(tiny[0].seen()) == 1)
        for number, path in enumerate(worst_first, 1):
            asking.append(ask_raw(stack, balanced, path))
            wait_until(lambda number=number: waiting(balanced) == number)
        assert all(b" 200 " in read(one) for one in asking)
    order = [asked["path"] for asked in tiny[0].seen()]
    assert order == [
        "/first", "/readyz", "/api/v1/%61uth/login", "/%61pi/v1/courses", "/courses", "/static/a.css", "/media/b.svg",
    ]  # fmt: skip


def test_a_full_queue_sends_away_who_matters_least(balance: Balance, tiny) -> None:
    balanced = balance([tiny[0].address], concurrency=1)
    tiny[0].be(delay_s=5.0)
    with ExitStack() as stack:
        stack.enter_context(closing(ask_raw(stack, balanced, "/first")))
        wait_until(lambda: len(tiny[0].seen()) == 1)
        steps = ((250, "/static/a.css"), (500, "/courses"), (900, "/api/v1/courses"), (1000, "/api/v1/auth/login"))
        for most, path in steps:
            for _ in range(most - waiting(balanced)):
                ask_raw(stack, balanced, "/api/v1/auth/login")
            wait_until(lambda most=most: waiting(balanced) == most, 1.5)
            refused = balanced.ask(path)
            assert refused.status_code == 503
            assert problem(refused)["title"] == "Too many requests are waiting"
            assert refused.headers["Retry-After"] == "2"
        ask_raw(stack, balanced, "/readyz")
        wait_until(lambda: waiting(balanced) == 1001, 1.5)
        refused = balanced.ask("/api/v1/auth/login")
        assert refused.status_code == 503
    assert int(balanced.haproxy.rows("stable")["BACKEND"]["qmax"]) == 1001  # 1000, and health


def test_who_waits_too_long_is_told_when_to_come_again(balance: Balance, tiny) -> None:
    balanced = balance([tiny[0].address], concurrency=1)
    tiny[0].be(delay_s=3.0)
    with ExitStack() as stack:
        ask_raw(stack, balanced, "/first")
        wait_until(lambda: len(tiny[0].seen()) == 1)
        late = balanced.ask()
    assert late.status_code == 503
    assert problem(late)["type"] == "urn:codyverse:problem:unavailable"
    assert late.headers["Retry-After"] == "2"


def test_the_shield_refuses_a_flood_and_never_a_probe(balance: Balance) -> None:
    balanced = balance(shield=Shield(5, 60))
    assert [balanced.ask().status_code for _ in range(7)] == [200] * 5 + [429] * 2
    refused = balanced.ask("/static/a.css")
    assert problem(refused)["type"] == "urn:codyverse:problem:too-many-requests"
    assert refused.headers["Retry-After"] == "60"
    assert balanced.ask("/readyz").status_code == 200
    with ExitStack() as stack:
        assert b" 429 " in read(
            ask_raw(stack, balanced, "/read%79z")
        )  # what the limits of the application do not let pass either


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
def test_the_shield_counts_a_whole_network_of_ipv6(balance: Balance) -> None:
    port = free_port()
    balanced = balance(shield=Shield(5, 60), bind=f"[::1]:{port}")
    assert requests.get(f"http://[::1]:{port}/", timeout=5).ok
    assert "key=:: " in balanced.haproxy.tell("show table addresses")


def test_a_breaker_opens_for_its_class_only_and_closes(balance: Balance, tiny) -> None:
    balanced = balance()
    for server in tiny:
        server.be(status=500)
    wait_until(lambda: balanced.ask("/api/v1/courses").status_code == 503)
    refused = balanced.ask("/api/v1/lessons/1")
    assert problem(refused)["title"] == "Left alone for a moment after failures"
    assert refused.headers["Retry-After"] == "3"
    assert balanced.ask("/api/v1/auth/sessions").status_code == 500
    assert balanced.ask("/courses").status_code == 500
    for server in tiny:
        server.be()
    assert balanced.ask("/api/v1/courses").status_code == 503  # for as long as the failures count
    wait_until(lambda: balanced.ask("/api/v1/courses").status_code == 200)


def test_no_breaker_opens_because_the_application_sheds(balance: Balance, tiny) -> None:
    balanced = balance()
    for server in tiny:
        server.be(status=503, headers={"Retry-After": "1"})
    assert all("server" in balanced.ask("/courses").json() for _ in range(60))


def test_a_breaker_opens_because_of_503s_that_do_not_say_when_to_come_again(balance: Balance, tiny) -> None:
    balanced = balance()
    for server in tiny:
        server.be(status=503)
    wait_until(lambda: "server" not in balanced.ask("/courses").json())


def test_a_breaker_opens_when_servers_do_not_answer(balance: Balance, tiny) -> None:
    balanced = balance()
    for server in tiny:
        server.be(hangs_up=True)
    # Each on a new connection: one that has served before is closed without an answer, for the client to repeat.
    first = requests.post(f"{balanced.haproxy.url}/courses", timeout=5)
    assert (first.status_code, problem(first)["title"]) == (502, "Bad Gateway")
    assert first.headers["Retry-After"] == "2"
    wait_until(lambda: requests.post(f"{balanced.haproxy.url}/courses", timeout=5).status_code == 503)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("GET", {}, 200), ("HEAD", {}, 200), ("POST", {}, 502), ("PUT", {}, 502), ("POST", {"Idempotency-Key": "k1"}, 200)],
)
def test_what_a_server_received_is_asked_again_only_when_that_changes_nothing(
    balance: Balance, tiny, method: str, headers: dict[str, str], status: int
) -> None:
    balanced = balance()
    tiny[0].be(hangs_up=True)
    answers = [balanced.ask("/", method, headers=headers).status_code for _ in range(3)]  # round robin: one meets the bad server
    assert sorted(answers) == [200, 200, status]
    assert len(tiny[1].seen()) + len(tiny[2].seen()) == answers.count(200)


def test_what_no_server_received_goes_to_another_one(balance: Balance, tiny) -> None:
    balanced = balance(None)
    tiny[0].kill()
    try:
        assert all(balanced.ask("/", "POST", data=b"x").ok for _ in range(6))
    finally:
        tiny[0].start()


def test_where_no_server_answers_everybody_is_told_so(balance: Balance) -> None:
    balanced = balance([f"127.0.0.1:{free_port()}"], is_well=False)
    refused = balanced.ask()
    assert (refused.status_code, problem(refused)["title"]) == (503, "Service Unavailable")
    assert refused.headers["Retry-After"] == "2"


def test_no_client_tells_the_application_where_it_comes_from(balance: Balance, tiny) -> None:
    balanced = balance([tiny[0].address])
    began_us = time.time_ns() // 1000
    spoofed = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "1",
        "X-Forwarded-Prefix": "/evil",
        "X_Forwarded_For": "203.0.113.8",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.10",
        "X-Request-Start": "t=1",
        "X-Request-ID": "mine",
        "X-Other": "kept",
    }
    with closing(http.client.HTTPConnection(balanced.haproxy.host, balanced.haproxy.port, timeout=5)) as asking:
        asking.putrequest("GET", "/", skip_host=True)
        for name, value in [("Host", "learn.example"), *spoofed.items(), ("X-Forwarded-For", "203.0.113.11")]:
            asking.putheader(name, value)
        asking.endheaders()
        asking.getresponse().read()
    asked = [(name.lower(), value) for name, value in tiny[0].seen()[0]["headers"]]
    told = {name: value for name, value in asked if name.startswith(("x-", "forwarded", "host")) or "_" in name}
    assert len(told) == len([name for name, _ in asked if name in told])  # each once
    began = re.fullmatch(r"t=([0-9]{16})", told.pop("x-request-start"))
    assert began
    # HAProxy reckons the time from another clock and corrects it now and then.
    assert began_us - 1_000_000 <= int(began[1]) <= time.time_ns() // 1000 + 1_000_000
    assert re.fullmatch(r"[0-9a-f-]{36}", told.pop("x-request-id"))
    assert told == {
        "host": "learn.example",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "learn.example",
        "x-other": "kept",
    }


@pytest.mark.parametrize("head", [b"Host: a\r\nHost: b\r\n", b"X: " + b"x" * 20_000 + b"\r\n", b"no header\r\n"])
def test_a_head_that_cannot_be_read_reaches_no_server(balance: Balance, tiny, head: bytes) -> None:
    balanced = balance([tiny[0].address])
    with socket.create_connection((balanced.haproxy.host, balanced.haproxy.port), 5) as asking:
        asking.sendall(b"GET / HTTP/1.1\r\n" + head + b"\r\n")
        assert read(asking).startswith(b"HTTP/1.1 400 ")  # with HAProxy's own page: no setting reaches its parser in 2.6
    assert tiny[0].seen() == []


def test_figures_are_there_for_this_machine(balance: Balance) -> None:
    balanced = balance()
    at = f"http://127.0.0.1:{balanced.haproxy.metrics_port}"
    assert 'haproxy_server_status{proxy="stable",server="s1"' in requests.get(f"{at}/metrics", timeout=5).text
    assert requests.get(f"{at}/other", timeout=5).status_code == 404


def test_slow_clients_hold_no_server(balance: Balance, tiny) -> None:
    balanced = balance([tiny[0].address], concurrency=1)
    with ExitStack() as stack:
        for _ in range(50):
            slow = stack.enter_context(socket.create_connection((balanced.haproxy.host, balanced.haproxy.port), 5))
            slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        assert balanced.served_by() == "s1"
        assert [asked["method"] for asked in tiny[0].seen()] == ["GET"]
