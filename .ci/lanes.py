"""Runs commands a few at a time, in order, each with a log of its own; some wait for one of them.

Processor time tells what a command costs, however many run beside it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

NOT_RUN = -1
LIMIT = 40 * 60  # seconds, after which a command hangs and is ended with all that it started


class Result(NamedTuple):
    """How a command ended, and the seconds that it took, of the clock and of processors."""

    code: int
    took: float
    used: float


class Lanes:
    """Commands by name; those of `dependents` begin when `first` has passed."""

    def __init__(
        self,
        names: Iterable[str],
        command: Callable[[str], list[str]],
        *,
        first: str,
        dependents: Callable[[str], bool],
        logs: Path,
        env: Mapping[str, str],
    ) -> None:
        """Take everything, run nothing."""
        self.waiting, self.command, self.logs, self.env = list(names), command, logs, env
        self.first, self.dependents = first, dependents
        if any(map(dependents, self.waiting)) and first not in self.waiting:
            self.waiting.insert(0, first)
        self.results: dict[str, Result] = {}
        self.groups: set[int] = set()  # of processes, one for each command that runs
        self.turn = threading.Condition()
        logs.mkdir(parents=True, exist_ok=True)

    def run(self, lanes: int) -> dict[str, Result]:
        """Run all, `lanes` at a time; a log is printed when its command ends."""
        threads = [threading.Thread(target=self._lane) for _ in range(lanes)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self.waiting.clear()
            for group in self.groups:
                os.killpg(group, signal.SIGINT)
            raise
        return self.results

    def _lane(self) -> None:
        while True:
            with self.turn:
                name = self._next()
                if name is None:
                    return
                print(f"== {name} begins", flush=True)
            log = self.logs / f"{name}.log"
            result = self._one(name, log)
            with self.turn:
                self.results[name] = result
                said = "passed" if result.code == 0 else "FAILED"
                print(log.read_text(errors="replace"))
                print(f"== {name} {said} in {result.took:.0f} s", flush=True)
                self.turn.notify_all()

    def _next(self) -> str | None:
        """The next that can begin, or None if there is no more; waits for `first` in between."""
        while self.waiting:
            made = self.results.get(self.first)
            if made is not None and made.code != 0:
                for name in filter(self.dependents, self.waiting):
                    self.results[name] = Result(NOT_RUN, 0, 0)
                self.waiting = [name for name in self.waiting if not self.dependents(name)]
            for name in self.waiting:
                if made is not None or not self.dependents(name):
                    self.waiting.remove(name)
                    return name
            if self.waiting:
                self.turn.wait()
        return None

    def _one(self, name: str, log: Path) -> Result:
        start = time.monotonic()
        with log.open("w") as file:
            child = subprocess.Popen(
                self.command(name), env=self.env, stdout=file, stderr=file, start_new_session=True
            )
            self.groups.add(child.pid)
            limit = threading.Timer(LIMIT, os.killpg, (child.pid, signal.SIGKILL))
            limit.start()
            _, status, used = os.wait4(child.pid, 0)
            limit.cancel()
            self.groups.discard(child.pid)
        code = os.waitstatus_to_exitcode(status)
        return Result(code, time.monotonic() - start, used.ru_utime + used.ru_stime)


def table(results: Mapping[str, Result]) -> str:
    """A line for each, and one for their sum."""
    words = {0: "passed", NOT_RUN: "not run"}
    rows = [(name, words.get(r.code, "FAILED"), r.took, r.used) for name, r in results.items()]
    rows.append(("sum", "", sum(r.took for r in results.values()), sum(row[3] for row in rows)))
    lines = [f"{name:<20} {word:<8} {took:8.0f} {used:10.0f}" for name, word, took, used in rows]
    return "\n".join([f"{'session':<29} {'seconds':>8} {'processor':>10}", *lines])
