"""Threads that each have the index open, and a bounded queue of work for them.

SQLite's connections belong to the thread that opened them, and torch's networks are run by one
thread at a time: so work goes to a thread that has what it needs, and nothing is shared.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from claid_ext.serve.errors import BusyError, StoppedError
from claid_ext.serve.reader import Reader

__all__ = ["Stop", "Workers"]

T = TypeVar("T")
CLOSE_SECONDS = 5.0  # for work under way when the server stops


class Stop:
    """Whether anybody still waits for the result."""

    def __init__(self) -> None:
        """Start with somebody waiting."""
        self._event = threading.Event()

    def set(self) -> None:
        """Say that nobody does."""
        self._event.set()

    def check(self) -> None:
        """Raise StoppedError if nobody does."""
        if self._event.is_set():
            raise StoppedError


class _Job:
    def __init__(self, work: Callable[[Reader, Stop], Any]) -> None:
        self.work = work
        self.stop = Stop()
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()

    def settle(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Workers:
    """Some threads with a reader each."""

    def __init__(self, name: str, make: Callable[[], Reader], threads: int, waiting: int) -> None:
        """Start them.

        Parameters
        ----------
        name : of the threads, for whoever debugs.
        make : opens the index; called in each thread when it gets its first work.
        threads : how many.
        waiting : how many jobs may wait beside those that run.
        """
        self._make = make
        self._most = threads + waiting
        self._pending = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"claid-{name}-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[Reader, Stop], T]) -> T:
        """Have a thread do work, and wait for its result.

        When this is cancelled, work that has not begun is not done, and work that has may notice
        by its `Stop`.

        Raises
        ------
        BusyError : as much as is allowed is waiting already.
        """
        if self._pending >= self._most:
            raise BusyError
        job = _Job(work)
        self._pending += 1
        self._jobs.put(job)
        try:
            result: T = await job.future
        except asyncio.CancelledError:
            job.stop.set()
            raise
        return result

    def close(self) -> None:
        """Let the threads finish what they do, and end."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        reader = None
        try:
            while (job := self._jobs.get()) is not None:
                result, error = None, None
                try:
                    job.stop.check()
                    reader = reader or self._make()
                    result = job.work(reader, job.stop)
                except Exception as raised:  # whatever it is, it is the asker's
                    error = raised
                self._tell(job, result, error)
                del job, result, error  # nothing is kept until the next one comes
        finally:
            if reader is not None:
                reader.close()

    def _tell(self, job: _Job, result: Any, error: BaseException | None) -> None:
        def settle() -> None:
            self._pending -= 1
            job.settle(result, error)

        try:
            job.loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop has been closed: nobody is there any more
            self._pending -= 1
