"""`Writer`: how an index grows, and when it gets a basis of its own photos."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.describing import map_descriptor
from claid_ext.errors import UnreadableImageError
from claid_ext.index.paths import absolute, file_state
from claid_ext.index.store import Entry, FileState, GrowingStore
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
from claid_ext.stage_times import stage
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
            first, rest = self._before_basis(new, report)
            moving = _Moving(self._store, new, first)
            for some in (first, rest):
                if some:  # networks take seconds to load: re-running with nothing new does not
                    read = read_files(some, workers, progress=progress)
                    for entries in self._described(read, report, batch_size):
                        with stage("store"):
                            self._store.upsert(entries if some is first else moving.merged(entries))
                if some or self._interrupted():
                    self._settle_basis()
            if last := moving.remaining():
                self._store.upsert(last)
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
                if count := self._before_basis_count(None, report):
                    self._store_all(islice(read, count), report, batch_size)
                    self._settle_basis()
                self._store_all(read, report, batch_size)
            if new is not None or self._interrupted():
                self._settle_basis()
            self._store.settle()
        return report

    def _described(
        self, read: Iterable[ReadImage], report: AddReport, batch_size: int
    ) -> Iterator[list[Entry]]:
        describer = self._networks.describer(self.frozen.basis)
        return describe_images(describer, read, report, batch_size=batch_size)

    def _store_all(self, read: Iterable[ReadImage], report: AddReport, batch_size: int) -> None:
        for entries in self._described(read, report, batch_size):
            with stage("store"):
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
        network = map_descriptor(self._networks.descriptor)
        if network is None:
            raise ValueError(f"{self._path} keeps no maps, and so has no basis")
        with self._store.writing():
            photos = fitting.refit(self._store, network, self._dims, progress=progress)
            self._store.settle(whole=True)
        return photos

    def _before_basis(self, new: list[str], report: AddReport) -> tuple[list[str], list[str]]:
        """Choose the files whose records are to hold whole cells, to fit a basis on them."""
        sample = fitting.spread(new, self._before_basis_count(len(new), report))
        chosen = set(sample)
        return sample, [path for path in new if path not in chosen]

    def _before_basis_count(self, new: int | None, report: AddReport) -> int:
        """Return how many of `new` images are to hold whole cells; None for any number of them.

        None of them if the index has its own basis, keeps no maps, or stays too small for one. The
        older records of a small index are made to hold whole cells too.
        """
        held = self._held()
        small = new is not None and held + new < fitting.LEAST_PHOTOS
        if small or new == 0 or self.frozen.photos:
            return 0
        network = map_descriptor(self._networks.descriptor)
        if network is None:
            return 0
        if self.frozen.basis is not None:
            try:
                fitting.to_raw(self._store, network)
            except (UnreadableImageError, ValueError) as error:
                report.no_own_basis = str(error)
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
        if held >= fitting.LEAST_PHOTOS:
            with stage("basis"):
                fitting.fit(self._store, network, self._dims)
        elif (basis := fitting.start_basis(network, self._dims)) is not None:
            fitting.code(self._store, network, basis, 0)
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

    def _held(self) -> int:
        with self._store.reading() as view:
            return len(view.table.ids)


class _Moving:
    """Stores the files on which a basis was fitted again, each before the next one in order.

    They are spread over all new files, but stored before the others; images are to have the order
    in which they were given.
    """

    def __init__(self, store: GrowingStore, new: Sequence[str], first: Sequence[str]) -> None:
        self._store = store
        self._place = {path: place for place, path in enumerate(new)}
        chosen = set(first)
        ahead = next((n for n, path in enumerate(new) if path not in chosen), len(new))
        self._moved = [path for path in first if self._place[path] > ahead]
        self._waiting = deque(self._moved)

    def merged(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return entries with those that belong before and between them."""
        earlier = []
        while self._waiting and self._place[self._waiting[0]] < self._place[entries[-1].path]:
            earlier.append(self._waiting.popleft())
        return sorted([*self._read(earlier), *entries], key=lambda its: self._place[its.path])

    def remaining(self) -> list[Entry]:
        """Return those that belong behind all others."""
        entries = self._read(list(self._waiting))
        self._waiting.clear()
        return entries

    @cached_property
    def _stored(self) -> dict[str, tuple[int, FileState]]:
        """Their ids and file states as they were fitted on; files that could not be used lack."""
        wanted, files = set(self._moved), self._store.file_states()
        with self._store.reading() as view:
            named = zip(view.table.ids.tolist(), view.table.paths, strict=True)
            return {path: (image, files[path]) for image, path in named if path in wanted}

    def _read(self, paths: Sequence[str]) -> list[Entry]:
        """Read entries back, in the order of `paths`."""
        if not paths:
            return []
        stored = {path: self._stored[path] for path in paths if path in self._stored}
        ids = np.array([image for image, _ in stored.values()], np.int64)
        with self._store.reading() as view:
            records, maps = dict(view.records(ids)), dict(view.maps(ids))
        return [
            Entry(path, replace(records[image], maps=maps.get(image, ())), file)
            for path, (image, file) in stored.items()
        ]
