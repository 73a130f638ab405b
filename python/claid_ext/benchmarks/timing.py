"""Clocks: several things timed in turn in one process, so that noise affects all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ratio", "Timings", "interleave"]


@dataclass(frozen=True)
class Ratio:
    """Median, smallest and largest of the ratios of one round each."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the median with its range."""
        return f"{self.median:.3g} ({self.low:.3g}..{self.high:.3g})"


@dataclass(frozen=True)
class Timings:
    """Seconds of each task in each round; round r of every task was timed side by side."""

    seconds: dict[str, NDArray[np.float64]]

    def median(self, task: str) -> float:
        """Return the median seconds of a task."""
        return float(np.median(self.seconds[task]))

    def ratio(self, task: str, to: str) -> Ratio:
        """Return how many times the seconds of `to` the task took, round by round."""
        ratios = self.seconds[task] / self.seconds[to]
        return Ratio(float(np.median(ratios)), float(ratios.min()), float(ratios.max()))


def interleave(
    tasks: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmup: int = 1,
    watch: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Timings:
    """Time the tasks in turn, A B C A B C ..., `rounds` times after `warmup` rounds untimed.

    `watch` wraps the rounds, for a progress bar. Every second round runs backwards, so that no
    task is always the one after a slow neighbour that emptied the caches.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    for _ in range(warmup):
        for task in tasks.values():
            task()
    names = list(tasks)
    seconds = {name: np.empty(rounds) for name in names}
    for r in watch(range(rounds)):
        for name in names if r % 2 == 0 else reversed(names):
            start = time.perf_counter()
            tasks[name]()
            seconds[name][r] = time.perf_counter() - start
    return Timings(seconds)
