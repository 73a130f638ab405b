"""`Store`: where the records of images are kept, and which of them are near to a vector.

A store proposes images and hands out records; which images are best, `claid_ext.index.ranking`
decides by the records themselves. So a store may be approximate, and answers are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from claid_ext.record import CellMap, ImageRecord

__all__ = ["Candidates", "Entry", "FileState", "ImageTable", "Store", "StoreView"]

FileState = tuple[int, int]
"""A file's length in bytes and time of change in ns, to know a changed one by; zeros for none."""


class Entry(NamedTuple):
    """An image to be stored: its absolute path, its record, and the state of its file."""

    path: str
    record: ImageRecord
    file: FileState


class ImageTable(NamedTuple):
    """The images of a store, in the order they were added. M is their number.

    Attributes
    ----------
    ids : int64 (M,), ascending; the number of a removed image is never used again.
    counts : int64 (M,), regions of each.
    paths : (M,) absolute paths.
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    paths: list[str]


class Candidates(NamedTuple):
    """The images of the vectors nearest to a query's, best first.

    Attributes
    ----------
    images : int64 (n,), the id of each vector's image; an image may come several times, and -1
        stands for one that has been removed.
    scores : float32 (n,), inner products; they may be approximate.
    exhausted : whether there are no more to be had with this effort.
    """

    images: NDArray[np.int64]
    scores: NDArray[np.float32]
    exhausted: bool


class StoreView(Protocol):
    """One state of a store, which no writer changes while it is read."""

    @property
    def table(self) -> ImageTable:
        """All images."""

    @property
    def exact(self) -> bool:
        """Whether `candidates` are the nearest by their scores, which `score_error` bounds."""

    @property
    def score_error(self) -> float:
        """How far the score of any vector, found or not, may be from that of its record.

        For a query of length 1, and in proportion to it; 0 but for rounding where candidates are
        scored by the vectors that records stand for. Only to be read where `exact`.
        """

    def candidates(self, queries: NDArray[np.float32], count: int, effort: int) -> list[Candidates]:
        """Find the vectors of highest inner product.

        Parameters
        ----------
        queries : float32 (Q, D).
        count : how many vectors per query, at most.
        effort : by how much to multiply the work that an approximate search does by default.
        """

    def records(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, ImageRecord]]:
        """Yield (id, record without maps) of images, in no order; unknown ids are left out.

        Raises
        ------
        DamagedRecordError : a record that has been changed since it was stored.
        """

    def maps(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, tuple[CellMap, ...]]]:
        """Yield (id, maps) of images, in no order. Raises DamagedRecordError, as `records`."""


class Store(Protocol):
    """Keeps the records of images. One process writes at a time; any number read meanwhile.

    Every method that writes raises IndexLockedError while another process is writing, and OSError
    where the disk is full. Whatever happens, an image is stored wholly or not at all.
    """

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store images, in place of older ones of their paths; all of them or none."""

    def delete_images(self, paths: Sequence[str]) -> int:
        """Remove images, and return how many of them were there."""

    def recode(self, records: Iterator[tuple[int, ImageRecord]], state: dict[str, Any]) -> None:
        """Replace the records of stored images, by id, and set entries of the state; all or none.

        The vectors may have other dimensions afterwards: `records` then covers every image, or, of
        an empty store, `state` has the new "dim".
        """

    def writing(self) -> AbstractContextManager[None]:
        """Hold the writer's lock over several changes; every change takes it by itself else."""

    def reading(self) -> AbstractContextManager[StoreView]:
        """Hold one state of the store still while it is read."""

    def file_states(self) -> dict[str, FileState]:
        """Return the state that each image's file had when it was stored, by path."""

    def holds(self, path: str) -> bool:
        """Whether there is an image of this path."""

    def get(self, name: str) -> Any:
        """Return an entry of the state (an int, str or bytes), None where there is none."""

    def settle(self, *, whole: bool = False) -> None:
        """Bring what speeds up `candidates` up to date, where it is time; `whole` makes it anew."""

    def close(self) -> None:
        """Close the files or connections."""
