"""`detect` in several Python threads at once, and in a child after the parent used it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from claid_ext import detect, reference

GRID = (20, 24)


@pytest.fixture(scope="module")
def images(make_features: Callable[..., Any]) -> Any:
    return np.stack([make_features("blobs", seed, *GRID, 48) for seed in range(8)])


@pytest.fixture(scope="module")
def wanted(images: Any) -> Any:
    return reference.detect(images, GRID)


@pytest.mark.parametrize("threads", [1, 2, None])
def test_several_callers_at_once(images: Any, wanted: Any, threads: int | None) -> None:
    callers = 4
    together = threading.Barrier(callers)

    def call(_: int) -> Any:
        together.wait()
        batches = [detect(images, GRID, threads=threads) for _ in range(5)]
        single = [detect(X, GRID, threads=threads) for X in images]
        return [*batches, single]

    with ThreadPoolExecutor(callers) as pool:
        for answers in pool.map(call, range(callers)):
            assert all(trees == wanted for trees in answers)


def test_other_python_threads_run_meanwhile(images: Any) -> None:
    """The GIL is released: this thread goes on while another is inside one call."""
    many = np.concatenate([images] * 40)
    inside, done = threading.Event(), threading.Event()

    def work() -> None:
        inside.set()
        detect(many, GRID, threads=1)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    inside.wait()
    steps = 0
    while not done.wait(0.001):
        steps += 1
    worker.join()
    assert steps >= 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_in_a_pool_of_processes(images: Any, wanted: Any, start: str) -> None:
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on this system")
    work = partial(detect, grid=GRID, threads=2)
    with ProcessPoolExecutor(2, multiprocessing.get_context(start)) as pool:
        assert list(pool.map(work, images)) == wanted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_in_a_forked_child(images: Any, wanted: Any, threads: int) -> None:
    assert detect(images, GRID, threads=threads) == wanted
    child = os.fork()
    if child == 0:
        status = 2
        try:
            signal.alarm(30)  # a child that hangs ends here, as a failure
            again = detect(images, GRID, threads=threads)
            single = [detect(X, GRID, threads=threads) for X in images]
            status = 0 if again == wanted == single else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert detect(images, GRID, threads=threads) == wanted
