"""Synthetic vectors of regions, clustered like whitened descriptors, by the million, in chunks.

A region shows either a thing that recurs in several images, or clutter. Both lie near the centre of
a category, so that clutter is not easy to tell from a thing; two views of a thing differ by noise.
All dimensions weigh alike, as whitening makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["MadeRegions"]

REGIONS = (20, 40)  # of an image, from and to
THINGS = 0.1  # share of regions that show a thing, not clutter
VIEWS = 20  # images of a thing, on average
MEMBERS = 500  # vectors of a category, on average
IN_CATEGORY = 0.36  # cosine of two members of a category
OF_A_THING = 0.64  # cosine of two views of a thing
IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class MadeRegions:
    """`count` unit vectors of `dim` dimensions in images of about 30; a seed gives the same ones.

    M is the number of images, T that of things.
    """

    count: int
    dim: int = 208
    seed: int = 0

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many regions each image has, int64 (M,); their sum is `count`."""
        rng = np.random.default_rng([self.seed, 0])
        drawn = rng.integers(REGIONS[0], REGIONS[1] + 1, self.count // REGIONS[0] + 1)
        ends = np.minimum(np.cumsum(drawn), self.count)
        counts = np.diff(ends, prepend=0)
        return counts[counts > 0]

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """The thing that each vector shows, int64 (count,); -1 for clutter."""
        rng = np.random.default_rng([self.seed, 1])
        things = rng.integers(0, self.things, self.count)
        things[rng.random(self.count) >= THINGS] = -1
        return things

    @property
    def things(self) -> int:
        """T."""
        return max(2, round(self.count * THINGS / VIEWS))

    def images_of(self, thing: int) -> NDArray[np.int64]:
        """Return the numbers of the images that show a thing, ascending."""
        image = np.repeat(np.arange(len(self.counts)), self.counts)
        return np.unique(image[self.shown == thing])

    def chunks(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
        """Yield all vectors: the first image's number, int64 (m,) counts, float32 (n, dim)."""
        ends = np.cumsum(self.counts)
        for start in range(0, len(ends), IMAGES_AT_ONCE):
            its = self.counts[start : start + IMAGES_AT_ONCE]
            first = int(ends[start] - its[0])
            shown = self.shown[first : first + int(its.sum())]
            yield start, its, self._vectors(shown, np.random.default_rng([self.seed, 2, start]))

    def queries(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return things, int64 (count,), and a view of each that is in no image, (count, dim)."""
        rng = np.random.default_rng([self.seed, 3])
        things = rng.choice(np.unique(self.shown[self.shown >= 0]), count)
        return things, self._vectors(things, rng)

    def _vectors(self, shown: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        """Make a vector for each thing of (n,); for -1 clutter."""
        vectors = self._clutter(len(shown), rng)
        things = shown >= 0
        noise = self._directions(int(things.sum()), rng)
        vectors[things] = _mix(self._things[shown[things]], noise, OF_A_THING)
        return vectors

    def _clutter(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Make vectors near any category."""
        centres = self._centres[rng.integers(0, len(self._centres), count)]
        return _mix(centres, self._directions(count, rng), IN_CATEGORY)

    @cached_property
    def _centres(self) -> NDArray[np.float32]:
        rng = np.random.default_rng([self.seed, 4])
        return self._directions(max(2, self.count // MEMBERS), rng)

    @cached_property
    def _things(self) -> NDArray[np.float32]:
        rng = np.random.default_rng([self.seed, 5])
        return self._clutter(self.things, rng)

    def _directions(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        return _unit(rng.standard_normal((count, self.dim), dtype=np.float32))


def _mix(
    base: NDArray[np.float32], noise: NDArray[np.float32], cosine: float
) -> NDArray[np.float32]:
    """Return unit vectors, any two of one base having about this cosine."""
    return _unit(np.sqrt(np.float32(cosine)) * base + np.sqrt(np.float32(1 - cosine)) * noise)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / length
    return unit
