from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import codyverse
from codyverse.operations.retry import ATTEMPTS, CREDIT, LONGEST_WAIT_S, SHORTEST_WAIT_S, Budget, Retries, repeatable

ROOT = Path(codyverse.__file__).parent


class Lost(Exception):
    pass


class Work:
    """Work that fails so many times, and then returns how often it was tried."""

    def __init__(self, failures: int, error: type[Exception] = Lost) -> None:
        self.failures = failures
        self.error = error
        self.tried = 0

    def __call__(self) -> int:
        self.tried += 1
        if self.tried <= self.failures:
            raise self.error
        return self.tried


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def retries(waits: list[float]) -> Retries:
    return Retries(lambda error: "conflict" if isinstance(error, Lost) else None, sleep=waits.append)


def test_it_works(retries: Retries, waits: list[float]) -> None:
    assert retries.run(Work(0)) == 1
    assert waits == []
    assert retries.run(Work(2)) == ATTEMPTS
    assert len(waits) == 2


def test_after_three_attempts_it_fails_as_it_did(retries: Retries) -> None:
    work = Work(10)
    with pytest.raises(Lost):
        retries.run(work)
    assert work.tried == ATTEMPTS


def test_what_will_fail_again_is_not_tried_again(retries: Retries) -> None:
    work = Work(1, ValueError)
    with pytest.raises(ValueError):
        retries.run(work)
    assert work.tried == 1


def test_waits_are_of_chance_and_grow(retries: Retries, waits: list[float]) -> None:
    for _ in range(100):
        for _ in range(20):
            retries.budget.earn()
        retries.run(Work(2))
    first, second = waits[::2], waits[1::2]
    assert len(set(waits)) == len(waits)
    assert max(first) <= SHORTEST_WAIT_S < max(second) <= min(LONGEST_WAIT_S, 2 * SHORTEST_WAIT_S)
    assert min(first) < SHORTEST_WAIT_S / 4 and min(second) < SHORTEST_WAIT_S / 2  # full jitter


def test_what_is_done_within_an_attempt_earns_nothing_of_its_own(retries: Retries) -> None:
    for _ in range(1000):
        retries.budget.spend()

    def work() -> None:
        for _ in range(5):
            retries.earn()
            retries.run(lambda: None)

    for _ in range(11):
        retries.run(work)
    assert [retries.budget.spend() for _ in range(2)] == [True, False]


def test_however_much_fails_there_is_one_retry_for_ten_attempts(retries: Retries) -> None:
    heard: list[str] = []
    retries.listener = heard.append
    works = [Work(10) for _ in range(1000)]
    for work in works:
        with pytest.raises(Lost):
            retries.run(work)
    more = sum(work.tried - 1 for work in works)
    assert 100 - 1 <= more <= 100 + CREDIT
    assert (heard.count("conflict"), heard.count("budget")) == (more, len(heard) - more)


def test_a_budget_does_not_save_up_for_a_storm() -> None:
    budget = Budget()
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == 10


def test_threads_do_not_spend_more_than_there_is() -> None:
    budget = Budget()
    spent: list[bool] = []

    def spend() -> None:
        spent.extend(budget.spend() for _ in range(100))

    threads = [threading.Thread(target=spend) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(spent) == CREDIT


def test_a_repeatable_use_case_runs_again_as_a_whole(retries: Retries) -> None:
    class Part:
        def __init__(self, retries: Retries) -> None:
            self.retries = retries

    work = Work(1)

    @repeatable
    def use_case(part: Part, more: int, *, most: int) -> tuple[int, int, int]:
        return work(), more, most

    assert use_case(Part(retries), 2, most=3) == (2, 2, 3)
    assert use_case.__name__ == "use_case"


def _functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]


def test_every_use_case_that_opens_a_transaction_is_repeatable() -> None:
    opens: Callable[[str], object] = re.compile(r"\.(claimed_)?transaction\(").search
    services = [*ROOT.glob("*/service/**/*.py"), *ROOT.glob("*/service.py"), ROOT / "operations/idempotency.py"]
    found = 0
    for path in services:
        for function in _functions(path):
            if opens(ast.unparse(function)):
                found += 1
                assert [ast.unparse(each) for each in function.decorator_list] == ["repeatable"], f"{path}: {function.name}"
    assert found > 10
