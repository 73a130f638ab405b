"""The engine of one machine: a pool of processes, spawned, so that CUDA and threads are safe."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_sentinels
from typing import Any

from claid_ext.errors import WorkerLostError
from claid_ext.scale.engines import MOST_DEATHS, Options, Work

__all__ = ["run"]


def run(work: Work, items: Sequence[int], options: Options) -> Iterator[Any]:
    """Yield the result of each item, as `claid_ext.scale.engines` says.

    A worker that dies takes its pool with it; what was not finished is begun again in a new one.

    Raises
    ------
    ValueError : fewer than one worker.
    WorkerLostError : workers died again and again at an item.
    """
    workers = (os.cpu_count() or 1) if options.workers is None else options.workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if options.address is not None or options.gpus_per_worker:
        raise ValueError("address and gpus_per_worker are for the engine ray")
    left, deaths = list(items), Counter[int]()
    while left:
        running: dict[Future[Any], int] = {}
        try:
            for item, result in _in_one_pool(work, tuple(left), min(workers, len(left)), running):
                left.remove(item)
                yield result
        except BrokenProcessPool:
            deaths.update(item for item in running.values() if item in left)
            worst = max(deaths, key=deaths.__getitem__, default=None)
            if worst is not None and deaths[worst] >= MOST_DEATHS:
                raise WorkerLostError(
                    f"{deaths[worst]} workers died at shard {worst} or beside it: too little "
                    "memory for a photo of it, or killed by hand"
                ) from None


def _in_one_pool(
    work: Work, items: Sequence[int], workers: int, running: dict[Future[Any], int]
) -> Iterator[tuple[int, Any]]:
    """Yield (item, result) until all are done or a worker dies; `running` is what is handed out."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        for item in items:
            running[pool.submit(_do, work, item)] = item
            if len(running) > workers:  # one more, so that no worker waits for us
                yield from _finished(running)
        while running:
            yield from _finished(running)
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(running: dict[Future[Any], int]) -> Iterator[tuple[int, Any]]:
    """Wait until something is finished, and yield it."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    # Results first: a broken pool fails all others at once.
    for future in sorted(done, key=lambda its: its.exception() is not None):
        result = future.result()
        yield running.pop(future), result


_begun: list[Callable[[int], Any]] = []  # of this worker, once it has made its networks


def _do(work: Work, item: int) -> Any:
    if not _begun:
        _begun.append(work())
    return _begun[0](item)


def _end_with_parent() -> None:
    """End this worker when the process that started it does, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait_for_sentinels([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="claid-parent", daemon=True).start()
