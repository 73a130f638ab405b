"""Values out of the bytes of a fuzzer: the same values from the same bytes, everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

# What arithmetic goes wrong at.
HARD = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, 1e-40, 3.4e38, 1e300, 0.5, 255.0]


class Bits:
    """Takes values off the front of some bytes; where these end, everything is 0."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high."""
        span = high - low + 1
        size = max(1, ((span - 1).bit_length() + 7) // 8)
        return low + int.from_bytes(self._take(size), "little") % span

    def choice(self, values: Sequence[T]) -> T:
        """One of some values."""
        return values[self.integer(0, len(values) - 1)]

    def often(self, usual: T, others: Sequence[T]) -> T:
        """The usual value, or one time in 32 another."""
        return self.choice(others) if self.integer(0, 31) == 31 else usual

    def number(self) -> float:
        """A number, often one of HARD."""
        if self.integer(0, 2) == 0:
            return self.choice(HARD)
        return float(np.frombuffer(self._take(8), np.float64)[0])

    def array(self, shape: Sequence[int], dtype: Any = np.float32) -> NDArray[Any]:
        """An array of a few distinct values: ties and equal rows are what is hard."""
        kind = self.integer(0, 3)
        count = int(np.prod(shape))
        rng = np.random.default_rng(self.integer(0, 2**16 - 1))
        if kind == 0:
            values = rng.normal(size=count)
        elif kind == 1:
            values = rng.integers(-2, 3, count).astype(np.float64)
        elif kind == 2:
            values = np.full(count, self.number())
        else:
            values = rng.normal(size=count)
            for _ in range(self.integer(0, 4) if count else 0):
                values[self.integer(0, count - 1)] = self.number()
        with np.errstate(all="ignore"):
            made = values.reshape(shape).astype(dtype)
        layout = self.integer(0, 7)
        if layout == 0:
            return np.asfortranarray(made)
        if layout == 1 and made.ndim and made.shape[0]:
            return made[::-1]
        return made

    def _take(self, count: int) -> bytes:
        taken = self._content[self._at : self._at + count]
        self._at += count
        return taken.ljust(count, b"\0")
