"""The generated configuration's canary: who goes there, and stays there."""

from __future__ import annotations

from collections.abc import Callable

import requests

from tests.deploy.conftest import Balanced
from tests.server import wait_until

Balance = Callable[..., Balanced]


def start(balance: Balance, tiny, percent: int) -> Balanced:
    balanced = balance([tiny[0].address], canaries=[tiny[2].address])
    wait_until(lambda: balanced.haproxy.state("canary", "c1") == "UP")
    send(balanced, percent)
    return balanced


def send(balanced: Balanced, percent: int) -> None:
    balanced.haproxy.tell(f"set map {balanced.haproxy.folder}/canary.map pct {percent}")


def visit(balanced: Balanced, number: str | None = None, path: str = "/") -> requests.Response:
    cookies = {"cv_track": number} if number else None
    return requests.get(balanced.haproxy.url + path, cookies=cookies, timeout=10)


def by_canary(answer: requests.Response) -> bool:
    served: str = answer.json()["server"]
    return served == "s3"


def test_visitors_are_split_and_stay(balance: Balance, tiny) -> None:
    balanced = start(balance, tiny, 50)
    first = [visit(balanced) for _ in range(200)]
    assert 70 <= sum(map(by_canary, first)) <= 130  # four standard deviations
    numbers = [answer.cookies["cv_track"] for answer in first]
    for number, answer in zip(numbers, first, strict=True):
        again = visit(balanced, number)
        assert by_canary(again) == by_canary(answer)
        assert "Set-Cookie" not in again.headers


def test_a_higher_percentage_takes_nobody_back(balance: Balance, tiny) -> None:
    balanced = start(balance, tiny, 10)
    numbers = [str(number) for number in range(1, 100, 7)]

    def at(percent: int) -> set[str]:
        send(balanced, percent)
        return {number for number in numbers if by_canary(visit(balanced, number))}

    assert at(0) == set() < at(10) == {"1", "8"} < at(50) < at(99) < at(100) == set(numbers)


def test_nobody_goes_to_a_canary_that_is_down(balance: Balance, tiny) -> None:
    balanced = start(balance, tiny, 100)
    assert by_canary(visit(balanced))
    tiny[2].be(ready=False)
    wait_until(lambda: balanced.haproxy.state("canary", "c1") == "DOWN")
    assert not by_canary(visit(balanced))


def test_a_canary_that_fails_loses_its_visitors_by_itself(balance: Balance, tiny) -> None:
    balanced = start(balance, tiny, 50)
    tiny[2].be(status=500)
    wait_until(lambda: visit(balanced, "0").status_code == 200 and not by_canary(visit(balanced, "0")))
    assert balanced.haproxy.state("canary", "c1") == "DOWN"
    assert visit(balanced, "99").ok


def test_a_number_that_is_none_is_drawn_anew(balance: Balance, tiny) -> None:
    balanced = start(balance, tiny, 50)
    for number in ("canary", "-1", "100", "1 or 1"):
        assert visit(balanced, number).cookies["cv_track"].isdigit()


def test_a_client_with_a_token_stays_without_a_cookie(balance: Balance, tiny) -> None:
    balanced = start(balance, tiny, 50)
    tracks = {}
    for client in range(40):
        answers = [balanced.ask(headers={"Authorization": f"Bearer {client}"}) for _ in range(2)]
        assert by_canary(answers[0]) == by_canary(answers[1])
        assert not any("Set-Cookie" in answer.headers for answer in answers)
        tracks[client] = by_canary(answers[0])
    assert set(tracks.values()) == {True, False}


def test_the_cookie_is_no_caches_to_hand_on(balance: Balance, tiny) -> None:
    balanced = start(balance, tiny, 50)
    for server in tiny:
        server.be(headers={"Cache-Control": "public, no-cache"})
    assert visit(balanced).headers["Cache-Control"] == "private, no-cache"
    assert visit(balanced, "5").headers["Cache-Control"] == "public, no-cache"
    files = visit(balanced, path="/static/app.css")
    assert files.headers["Cache-Control"] == "public, no-cache"
    assert "Set-Cookie" not in files.headers
