"""Threads that take turns: few at work, those that wait elsewhere do not count, nothing is lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import wait

import pytest

from core_service.turns import Turns, elsewhere

PATIENCE = 20


@pytest.fixture
def turns() -> Iterator[Turns]:
    made = Turns(threads=6, at_work=2, name="test")
    yield made
    made.shutdown()


def test_no_more_are_at_work_than_may_be_and_all_come_to_their_turn(turns: Turns) -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        threading.Event().wait(0.001)
        with lock:
            at_work -= 1
        return number

    futures = [turns.submit(work, number) for number in range(200)]
    assert [future.result(PATIENCE) for future in futures] == list(range(200))
    assert most == 2


def test_who_waits_elsewhere_lets_others_work(turns: Turns) -> None:
    go = threading.Event()

    def ask() -> bool:
        with elsewhere():
            return go.wait(PATIENCE)

    asking = [turns.submit(ask) for _ in range(5)]
    assert turns.submit(lambda: "done").result(PATIENCE) == "done"
    go.set()
    assert all(future.result(PATIENCE) for future in asking)


def test_who_comes_back_waits_for_a_turn_and_has_it_before_a_task_that_has_not_begun() -> None:
    turns = Turns(threads=6, at_work=1, name="test")
    order: list[str] = []
    went, go, has_begun, end = (threading.Event() for _ in range(4))

    def ask() -> None:
        with elsewhere():
            went.set()
            go.wait(PATIENCE)
        order.append("back")

    def work() -> None:
        has_begun.set()
        end.wait(PATIENCE)
        order.append("worked")

    asking = turns.submit(ask)
    assert went.wait(PATIENCE)
    working = turns.submit(work)
    assert has_begun.wait(PATIENCE)
    late = turns.submit(order.append, "late")
    go.set()
    assert wait([asking, late], timeout=0.2).done == set()
    end.set()
    assert wait([asking, working, late], timeout=PATIENCE).not_done == set()
    assert order == ["worked", "back", "late"]
    turns.shutdown()


def test_every_thread_may_be_elsewhere_and_the_next_waits_for_one(turns: Turns) -> None:
    go = threading.Event()

    def ask() -> bool:
        with elsewhere():
            return go.wait(PATIENCE)

    asking = [turns.submit(ask) for _ in range(6)]
    late = turns.submit(lambda: "done")
    assert wait([late], timeout=0.2).not_done == {late}
    go.set()
    assert late.result(PATIENCE) == "done"
    assert all(future.result(PATIENCE) for future in asking)


def test_a_failure_is_the_futures_and_the_turn_goes_on(turns: Turns) -> None:
    def fail() -> None:
        raise ValueError("as told")

    failing = [turns.submit(fail) for _ in range(10)]
    for future in failing:
        with pytest.raises(ValueError, match="as told"):
            future.result(PATIENCE)
    assert turns.submit(lambda: 1).result(PATIENCE) == 1


def test_shutdown_lets_what_was_submitted_end() -> None:
    turns = Turns(threads=3, at_work=1, name="test")
    futures = [turns.submit(lambda number=number: number) for number in range(50)]  # type: ignore[misc]
    turns.shutdown(wait=True)
    assert [future.result(0) for future in futures] == list(range(50))
    with pytest.raises(RuntimeError):
        turns.submit(lambda: None)


def test_outside_a_turn_elsewhere_does_nothing() -> None:
    with elsewhere():
        pass
