"""`Store`: keeps the records of images, and finds those near a vector.

A store proposes images and returns records; `claid_ext.index.ranking` decides by the records
which images are best. So a store may be approximate while answers are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from claid_ext.record import CellMap, ImageRecord

__all__ = [
    "Candidates",
    "Entry",
    "FileState",
    "GrowingStore",
    "ImageTable",
    "Store",
    "StoreView",
]

FileState = tuple[int, int]
"""A file's length in bytes and modification time in ns, to notice changes; zeros for no file."""


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
    paths : (M,) absolute paths, or URIs.
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    paths: list[str]

    def path(self, image: int) -> str:
        """Return the path of an image that is there."""
        return self.paths[int(np.searchsorted(self.ids, image))]


class Candidates(NamedTuple):
    """The images of the vectors nearest to a query's, best first.

    Attributes
    ----------
    images : int64 (n,), the id of each vector's image; an image may come several times, and -1
        stands for one that has been removed.
    scores : float32 (n,), inner products; they may be approximate.
    exhausted : whether these are all that there are at this effort.
    """

    images: NDArray[np.int64]
    scores: NDArray[np.float32]
    exhausted: bool


class StoreView(Protocol):
    """A snapshot of a store, which no writer changes while it is read."""

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

    @property
    def most_candidates(self) -> int | None:
        """How many candidates a query can have, however many are asked for; None: any number."""

    def candidates(
        self,
        queries: NDArray[np.float32],
        count: int,
        effort: int,
        where: NDArray[np.int64] | None = None,
    ) -> list[Candidates]:
        """Find the vectors of highest inner product.

        Parameters
        ----------
        queries : float32 (Q, D).
        count : how many vectors per query, at most.
        effort : by how much to multiply the work that an approximate search does by default.
        where : int64 (n,), ascending: the ids of the only images that are wanted, None for all. A
            store may propose others as well.
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
    """Keeps the records of images. One process writes at a time while any number read.

    Every method that writes raises IndexLockedError while another process is writing, and OSError
    where the disk is full. Whatever happens, an image is stored wholly or not at all.
    """

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Store images, in place of older ones of their paths; all of them or none."""

    def delete_images(self, paths: Sequence[str]) -> int:
        """Remove images, and return how many of them were there."""

    def writing(self) -> AbstractContextManager[None]:
        """Hold the writer's lock over several changes; otherwise each change takes it by itself."""

    def reading(self) -> AbstractContextManager[StoreView]:
        """Give a snapshot of the store for as long as it is read."""

    def file_states(self) -> dict[str, FileState]:
        """Return the state that each image's file had when it was stored, by path."""

    def record_bytes(self) -> NDArray[np.int64]:
        """Return how many bytes the record of each image takes, maps included, int64 (M,)."""

    def holds(self, path: str) -> bool:
        """Whether there is an image of this path."""

    def get(self, name: str) -> Any:
        """Return an entry of the state (an int, str or bytes), None where there is none."""

    def settle(self, *, whole: bool = False) -> None:
        """Update what speeds up `candidates`, where that is due; `whole` rebuilds it."""

    def close(self) -> None:
        """Close the files or connections."""


class GrowingStore(Store, Protocol):
    """A store whose basis is fitted while it grows: its records can be coded anew."""

    def recode(self, records: Iterator[tuple[int, ImageRecord]], state: dict[str, Any]) -> None:
        """Replace the records of stored images, by id, and set entries of the state; all or none.

        The vectors may have other dimensions afterwards: `records` then covers every image, or, of
        an empty store, `state` has the new "dim".
        """
