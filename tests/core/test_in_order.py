"""Threads whose results keep their order, and the time that is added up over them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from claid_ext.in_order import in_order
from claid_ext.stage_times import StageTimes, collecting, stage

PATIENCE = 30.0  # seconds until a test that would hang fails


def test_results_keep_the_order_of_items_that_end_in_another() -> None:
    later_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert later_done.wait(PATIENCE)
        if item == 1:
            later_done.set()
        return item * 10

    assert list(in_order(range(4), work, workers=2)) == [0, 10, 20, 30]


@pytest.mark.parametrize(("workers", "ahead"), [(1, 0), (2, 0), (2, 3)])
def test_no_more_is_taken_than_there_is_room_for(workers: int, ahead: int) -> None:
    taken = itertools.count()
    results = in_order((next(taken) for _ in itertools.count()), str, workers=workers, ahead=ahead)
    assert next(results) == "0"
    assert next(taken) <= workers + ahead + 1
    assert next(results) == "1"
    results.close()


def test_without_threads_the_callers_own_works() -> None:
    threads = set(in_order(range(3), lambda _: threading.get_ident(), workers=0))
    assert threads == {threading.get_ident()}


def test_an_error_comes_at_its_place() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = in_order(itertools.count(), work, workers=3, ahead=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_an_error_of_the_source_comes_after_what_it_gave() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise OSError("the source")

    results = in_order(source(), lambda item: item, workers=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the source"):
        next(results)


def test_who_stops_early_waits_only_for_what_has_begun() -> None:
    begun: list[int] = []
    at_second, go_on = threading.Event(), threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item:
            at_second.set()
            assert go_on.wait(PATIENCE)
        return item

    results = in_order(range(100), work, workers=1, ahead=5)
    assert next(results) == 0
    assert at_second.wait(PATIENCE)
    threading.Timer(0.05, go_on.set).start()
    results.close()
    assert len(begun) <= 2
    assert go_on.is_set()


def test_stages_of_all_threads_are_added_up() -> None:
    times = StageTimes()
    both = threading.Barrier(2)

    def work(item: int) -> int:
        with stage("a"):
            both.wait(PATIENCE)
        with stage("b"), stage("c"):
            return item

    with collecting(times):
        results = in_order(range(4), work, workers=2)
        assert list(results) == [0, 1, 2, 3]
    assert set(times.seconds) == {"a", "b", "c"}
    assert all(seconds > 0 for seconds in times.seconds.values())
    assert times.seconds["b"] >= times.seconds["c"]


def test_stages_cost_nothing_where_nobody_collects() -> None:
    times = StageTimes()
    with stage("a"):
        pass
    with collecting(times), collecting(None), stage("a"):
        pass
    assert times.seconds == {}


def test_a_stage_that_fails_is_counted() -> None:
    times = StageTimes()

    def fail() -> Any:
        with times.stage("a"):
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert list(times.seconds) == ["a"]
