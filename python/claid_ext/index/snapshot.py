"""An index as it is at one commit: its images at once, its vectors when a search needs them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from claid_ext.index.store import ImageTable, Store
from claid_ext.index.vectors import Vectors

__all__ = ["Snapshot"]


class Snapshot:
    """One state of the store. Made anew when the store has changed; read inside `Store.reading`.

    Attributes
    ----------
    table : the images.
    dim : of the vectors as they are stored.
    """

    def __init__(self, folder: Path, store: Store, dim: int, probes: int) -> None:
        """Read the table of images."""
        self._folder = folder
        self._store = store
        self._probes = probes
        self.dim = dim
        self.table: ImageTable = store.images()

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """The place in the table of each row's image, int64 (rows,); -1 for removed ones."""
        table = self.table
        owner = np.full(table.rows, -1, np.int64)
        images = np.repeat(np.arange(len(table.ids)), table.counts)
        start = np.cumsum(table.counts) - table.counts
        inside = np.arange(len(images)) - np.repeat(start, table.counts)
        owner[np.repeat(table.first, table.counts) + inside] = images
        return owner

    @cached_property
    def vectors(self) -> Vectors:
        """All vectors, ready to be searched."""
        return Vectors(self._folder, self._store, self.table, self.dim, self._probes)
