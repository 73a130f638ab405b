"""Where the time goes: seconds by stage, added up over threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["StageTimes", "collecting", "stage"]


class StageTimes:
    """Seconds that each stage took, summed over what went through it.

    Stages that run at the same time add up to more than the clock shows.

    Attributes
    ----------
    seconds : by the name of the stage, in the order in which they first ended.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + taken


_collected: ContextVar[StageTimes | None] = ContextVar("claid_stage_times", default=None)


@contextmanager
def collecting(times: StageTimes | None) -> Iterator[None]:
    """Let `stage` add to `times` within the block, also in the threads of `in_order`."""
    before = _collected.set(times)
    try:
        yield
    finally:
        _collected.reset(before)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time that the block takes to a stage of what is being collected, if anything is."""
    times = _collected.get()
    if times is None:
        yield
        return
    with times.stage(name):
        yield
