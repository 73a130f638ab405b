"""What workers of engines do in tests; importable where the engine starts them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Square:
    """Squares numbers. Begins once per worker, and may fail, or kill its worker, at one of them.

    folder: where it notes each beginning and each try. fails_at: raises. kills_at: the worker
    dies at this number, the first `times` times.
    """

    folder: str
    fails_at: int | None = None
    kills_at: int | None = None
    times: int = 1
    seconds: float = 0.0

    def __call__(self):
        note(self.folder, f"begin {os.getpid()}")
        return self.one

    def one(self, number: int) -> tuple[int, int]:
        note(self.folder, f"try {number} {time.monotonic_ns()}")
        time.sleep(self.seconds)
        if number == self.fails_at:
            raise OSError(28, "No space left on device", "somewhere")
        if number == self.kills_at and len(noted(self.folder, f"try {number} ")) <= self.times:
            os.kill(os.getpid(), 9)
        return number, number * number


def note(folder: str, what: str) -> None:
    (Path(folder) / what).touch()


def noted(folder: str, start: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir() if path.name.startswith(start)]
