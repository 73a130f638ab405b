"""`Writer`: how an index grows, and when it gets a basis of its own photos."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.describing import map_descriptor
from claid_ext.index.paths import absolute, file_state
from claid_ext.index.store import Entry, GrowingStore
from claid_ext.record import ImageRecord, check_vectors
from claid_ext.regions import Regions
from claid_ext.search import fitting
from claid_ext.search.adding import (
    AddReport,
    ReadImage,
    describe_images,
    new_files,
    read_files,
    read_named,
)
from claid_ext.search.recipes import Networks
from claid_ext.vectors import encode_vectors

__all__ = ["Writer"]

ROWS_A_COMMIT = 4096  # of vectors that are known already; 32 MiB of 2048 dimensions


class Writer:
    """Puts photos into the store of an index; its methods are those of `InstanceIndex`."""

    def __init__(
        self, path: Path, store: GrowingStore, networks: Networks, dims: int | None
    ) -> None:
        """Take the parts of an index; `dims` is the length of whitened vectors, None for 208."""
        self._path = path
        self._store = store
        self._networks = networks
        self._dims = dims
        self._frozen: fitting.Frozen | None = None

    @property
    def frozen(self) -> fitting.Frozen:
        """The basis that records are coded with now."""
        self._frozen = fitting.frozen_basis(self._store, self._frozen)
        return self._frozen

    def add(self, paths: list[str], *, workers: int, batch_size: int, progress: bool) -> AddReport:
        """Add image files by their absolute paths."""
        report = AddReport()
        with self._store.writing():
            new = new_files(paths, self._store.file_states(), report)
            first, rest = self._before_basis(new)
            for some in (first, rest):
                if some:  # networks take seconds to load: re-running with nothing new does not
                    read = read_files(some, workers, progress=progress)
                    self._store_all(read, report, batch_size)
                if some or self._interrupted():
                    self._settle_basis()
            self._store.settle()
        return report

    def add_named(
        self,
        images: Iterable[tuple[str, Any]],
        *,
        workers: int,
        batch_size: int,
        progress: bool,
    ) -> AddReport:
        """Add images that are no files by their names; how many there are need not be known."""
        report = AddReport()
        with self._store.writing():
            known = self._store.file_states()
            read = read_named(images, known, report, workers, progress=progress)
            new = next(read, None)
            if new is not None:
                read = chain([new], read)
                if count := self._before_basis_count(None):
                    self._store_all(islice(read, count), report, batch_size)
                    self._settle_basis()
                self._store_all(read, report, batch_size)
            if new is not None or self._interrupted():
                self._settle_basis()
            self._store.settle()
        return report

    def _store_all(self, read: Iterable[ReadImage], report: AddReport, batch_size: int) -> None:
        describer = self._networks.describer(self.frozen.basis)
        for entries in describe_images(describer, read, report, batch_size=batch_size):
            self._store.upsert(entries)

    def add_described(
        self, images: Iterable[tuple[str | os.PathLike[str], Regions, NDArray[np.floating[Any]]]]
    ) -> int:
        """Add images whose vectors are already known."""
        added, batch, waiting = 0, list[Entry](), 0
        with self._store.writing():
            dim, coded = self._store.get("dim"), self.frozen.basis is not None
            for image, regions, vectors in images:
                path = absolute(image)
                rows = check_vectors(f"the vectors of {path}", vectors, len(regions), dim)
                stored = encode_vectors(rows) if coded else rows
                record = ImageRecord(regions.without_pixels(), stored)
                batch.append(Entry(path, record, file_state(path)))
                added, waiting = added + 1, waiting + len(regions)
                if waiting >= ROWS_A_COMMIT:
                    self._store.upsert(batch)
                    batch, waiting = [], 0
            self._store.upsert(batch)
            self._store.settle()
        return added

    def refit(self, *, progress: bool) -> int:
        """Fit the basis to the photos as they are now, and code all of them with it."""
        if map_descriptor(self._networks.descriptor) is None:
            raise ValueError(f"{self._path} keeps no maps, and so has no basis")
        with self._store.writing():
            describer = self._networks.describer(None)
            photos = fitting.refit(self._store, describer, self._dims, progress=progress)
            self._store.settle(whole=True)
        return photos

    def _before_basis(self, new: list[str]) -> tuple[list[str], list[str]]:
        """Choose the files whose records are to hold whole cells, to fit a basis on them."""
        sample = fitting.spread(new, self._before_basis_count(len(new)))
        chosen = set(sample)
        return sample, [path for path in new if path not in chosen]

    def _before_basis_count(self, new: int | None) -> int:
        """Return how many of `new` images are to hold whole cells; None for any number of them.

        None of them if the index has its own basis, keeps no maps, or stays too small for one. The
        older records of a small index are made to hold whole cells too.
        """
        held = self._held()
        small = new is not None and held + new < fitting.LEAST_PHOTOS
        if small or new == 0 or self.frozen.photos or not self._keeps_maps():
            return 0
        if self.frozen.basis is not None and not fitting.to_raw(
            self._store, self._networks.describer(None)
        ):
            return 0
        return max(0, fitting.BASIS_PHOTOS - held)

    def _settle_basis(self) -> None:
        """Code records that hold whole cells: with a basis of their own, if there are enough."""
        network = map_descriptor(self._networks.descriptor)
        held = self._held()
        if network is None or self.frozen.basis is not None or held == 0:
            return
        if not fitting.all_have_maps(self._store):
            return  # vectors that were given cannot be coded: the index stays as it is
        describer = self._networks.describer(None)
        if held >= fitting.LEAST_PHOTOS:
            fitting.fit(self._store, describer, self._dims)
        elif (basis := fitting.start_basis(network, self._dims)) is not None:
            fitting.code(self._store, describer, basis, 0)
        else:
            return
        self._store.settle(whole=True)

    def _interrupted(self) -> bool:
        """Whether a run was killed when there were photos enough for a basis, and before it."""
        return (
            self.frozen.basis is None
            and self._held() >= fitting.LEAST_PHOTOS
            and fitting.all_have_maps(self._store)
        )

    def _keeps_maps(self) -> bool:
        return map_descriptor(self._networks.descriptor) is not None

    def _held(self) -> int:
        with self._store.reading() as view:
            return len(view.table.ids)
