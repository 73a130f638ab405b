"""`Reader`: one thread's open index, and its photos by id, path and folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import numpy as np

from claid_ext.index.paths import matching
from claid_ext.index.store import ImageTable, StoreView
from claid_ext.regions import Regions
from claid_ext.search.searcher import Searcher
from claid_ext.serve.errors import NotFoundError

__all__ = ["Catalogue", "Reader", "Scope", "file_name", "folder_of"]


def folder_of(image: str) -> str:
    """Return the folder of an image by its path, or by its name such as data://cifar10/17."""
    return image.rpartition(os.sep)[0]


def file_name(image: str) -> str:
    """Return what is behind the folder."""
    return image.rpartition(os.sep)[2]


class Scope(NamedTuple):
    """Which photos are meant.

    Attributes
    ----------
    folder : those in this folder and below it; None for all.
    name : those whose file name contains this, whatever its case.
    without : but for this one.
    """

    folder: str | None = None
    name: str = ""
    without: int | None = None


class Catalogue:
    """The photos of one state of an index."""

    def __init__(self, table: ImageTable) -> None:
        """Keep the table; what is derived from it is made when it is asked for."""
        self.table = table

    @cached_property
    def ids(self) -> dict[str, int]:
        """Each photo's id by its path."""
        return dict(zip(self.table.paths, self.table.ids.tolist(), strict=True))

    @cached_property
    def folders(self) -> dict[str, int]:
        """How many photos are in each folder itself, by its path."""
        return dict(sorted(Counter(map(folder_of, self.table.paths)).items()))

    @cached_property
    def common(self) -> str:
        """The folder that all photos are in or below; empty where there is none."""
        try:
            return os.path.commonpath(self.folders)
        except ValueError:  # no photos, or several drives
            return ""

    def path(self, photo: int) -> str:
        """Return the path of a photo. Raises NotFoundError for an id that is none."""
        row = int(np.searchsorted(self.table.ids, photo))
        if row == len(self.table.ids) or self.table.ids[row] != photo:
            raise NotFoundError(f"there is no photo {photo} in the index")
        return self.table.paths[row]

    def selected(self, scope: Scope) -> Callable[[str], bool] | None:
        """Return whether a path is in a scope, as a function; None where all are."""
        tests: list[Callable[[str], bool]] = []
        if scope.folder is not None:
            folder = scope.folder.rstrip(os.sep)
            inside = folder + os.sep
            tests.append(lambda path: path.startswith(inside))
        if scope.name:
            part = scope.name.casefold()
            tests.append(lambda path: part in file_name(path).casefold())
        if scope.without is not None:
            own = self.path(scope.without)
            tests.append(lambda path: path != own)
        if not tests:
            return None
        return lambda path: all(test(path) for test in tests)

    def listed(self, scope: Scope, after: int, count: int) -> tuple[list[int], int]:
        """Return the rows of up to `count` photos whose ids come after one, and how many in all."""
        rows = np.flatnonzero(matching(self.table.paths, self.selected(scope)))
        first = int(np.searchsorted(self.table.ids[rows], after, side="right"))
        return rows[first : first + count].tolist(), len(rows)


class Reader:
    """An open index, for one thread."""

    def __init__(self, index: Searcher) -> None:
        """Take it; `close` closes it."""
        self.index = index
        self._catalogue: Catalogue | None = None

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    @contextmanager
    def reading(self) -> Iterator[tuple[StoreView, Catalogue]]:
        """Hold one state of the index still: searches inside see it too."""
        with self.index.store.reading() as view:
            if self._catalogue is None or self._catalogue.table is not view.table:
                self._catalogue = Catalogue(view.table)
            yield view, self._catalogue

    def regions(self, photo: int) -> Regions:
        """Return a photo's stored regions. Raises NotFoundError for an id that is none."""
        with self.reading() as (view, catalogue):
            catalogue.path(photo)
            ((_, record),) = view.records(np.array([photo], np.int64))
            return record.regions
