"""Work on many things at once, in threads, and get the results in the things' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

__all__ = ["in_order"]

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    items: Iterable[T], work: Callable[[T], R], *, workers: int, ahead: int = 0
) -> Iterator[R]:
    """Yield `work(item)` of each item, in their order, while threads are at the next ones.

    What is yielded is passed on as soon as it and all before it are done. `items` is taken from by
    the thread that asks for results, and only as far as there are threads for it. An error comes at
    its item's place, after the results before it; what was begun then ends first.

    Parameters
    ----------
    items : any number of things.
    work : what is done with each, by any thread; it sees the caller's context variables.
    workers : threads; 0 to work in the caller's own.
    ahead : how many more results may wait to be asked for.
    """
    if workers == 0:
        yield from map(work, items)
        return
    source = iter(items)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="claid") as pool:
        try:
            failed: Exception | None = None
            while True:
                while failed is None and len(waiting) <= workers + ahead:
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                    except Exception as error:  # the items before it come first
                        failed = error
                        break
                    waiting.append(pool.submit(copy_context().run, work, item))
                if not waiting:
                    break
                yield waiting.popleft().result()
            if failed is not None:
                raise failed
        finally:
            for future in waiting:
                future.cancel()
