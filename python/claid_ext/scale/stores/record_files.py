"""The records of a data set as a store reads them: a table in memory, records by byte range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claid_ext.errors import DamagedRecordError
from claid_ext.index.ranking import is_among
from claid_ext.index.store import FileState, ImageTable
from claid_ext.record import CellMap, ImageRecord, maps_from_bytes
from claid_ext.scale.dataset import POSITION_BITS, DataSet

__all__ = ["RecordFiles", "RecordView", "live_images"]

READERS = 16  # threads that read ranges of files of an object store at a time
_NUMBERS = ("image", "bytes", "modified", "regions", "offset", "length", "maps_length")


class _Part(NamedTuple):
    """The images of a shard that have records: int64 (n, 7) `_NUMBERS`, and their paths."""

    numbers: NDArray[np.int64]
    paths: list[str]
    replaced: NDArray[np.int64]


def live_images(
    dataset: DataSet, shard: int, dead: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the images of a finished shard that count, and how many regions they have in all.

    Parameters
    ----------
    dataset, shard : whose.
    dead : int64 (n,), ascending: the numbers of removed and replaced images.

    Returns
    -------
    images, counts : int64 (m,), their numbers and their regions.
    """
    table = dataset.images(shard, ["image", "regions", "error"])
    good = table.filter(table["error"].is_null())
    images, counts = good["image"].to_numpy(), good["regions"].to_numpy()
    alive = ~is_among(images, dead)
    return images[alive], counts[alive]


class RecordFiles:
    """Reads the table of images part by part, and each part once."""

    def __init__(self, dataset: DataSet) -> None:
        """Read nothing yet."""
        self._dataset = dataset
        self._parts: dict[int, _Part] = {}

    def view(self, shards: Iterable[int], removals: int) -> RecordView:
        """Return the images of some shards, without those of the first `removals` removals."""
        parts = [self._part(shard) for shard in sorted(shards)]
        dead = [self._dataset.removed(0, removals), *(part.replaced for part in parts)]
        return RecordView(self._dataset, parts, np.unique(np.concatenate(dead)))

    def _part(self, shard: int) -> _Part:
        if shard not in self._parts:
            table = self._dataset.images(shard, [*_NUMBERS, "uri", "replaces", "error"])
            good = table.filter(table["error"].is_null())
            numbers = np.stack([good[name].to_numpy() for name in _NUMBERS], axis=1)
            replaced = good["replaces"].combine_chunks().flatten().to_numpy()
            self._parts[shard] = _Part(numbers, good["uri"].to_pylist(), replaced)
        return self._parts[shard]


class RecordView:
    """A state of the images of a data set, and their records.

    Attributes
    ----------
    table : the images.
    """

    def __init__(self, dataset: DataSet, parts: Sequence[_Part], dead: NDArray[np.int64]) -> None:
        """Join parts, without the images whose numbers are in `dead`."""
        self._files = dataset.files
        empty = np.empty((0, len(_NUMBERS)), np.int64)
        numbers = np.concatenate([empty, *(part.numbers for part in parts)])
        alive = ~is_among(numbers[:, 0], dead)
        self._numbers = numbers[alive]
        paths = (path for part in parts for path in part.paths)
        kept = [path for path, lives in zip(paths, alive.tolist(), strict=True) if lives]
        ids, counts = self._numbers[:, 0].copy(), self._numbers[:, 3].copy()
        self.table = ImageTable(ids, counts, kept)

    def file_states(self) -> dict[str, FileState]:
        """Return the state that each image's file had when it was listed, by path."""
        sizes = self._numbers[:, 1].tolist()
        times = self._numbers[:, 2].tolist()
        return dict(zip(self.table.paths, zip(sizes, times, strict=True), strict=True))

    def record_bytes(self) -> NDArray[np.int64]:
        """Return how many bytes the record of each image takes, maps included, int64 (M,)."""
        sizes: NDArray[np.int64] = self._numbers[:, 5] + self._numbers[:, 6]
        return sizes

    def records(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, ImageRecord]]:
        """Yield (id, record without maps) of images, in no order; unknown ids are left out."""
        for image, count, what, content in self._contents(ids, maps=False):
            record = ImageRecord.from_bytes(content, what)
            if len(record) != count:
                raise DamagedRecordError(f"{what} is damaged: it is another image's")
            yield image, record

    def maps(self, ids: NDArray[np.int64]) -> Iterator[tuple[int, tuple[CellMap, ...]]]:
        """Yield (id, maps) of images that have maps, as `records`."""
        for image, _, what, content in self._contents(ids, maps=True):
            if content:
                yield image, maps_from_bytes(content, f"the maps of {what}")

    def _contents(
        self, ids: NDArray[np.int64], *, maps: bool
    ) -> Iterator[tuple[int, int, str, bytes]]:
        """Yield (image, regions, what to call it, bytes), a part after the other."""
        known = np.unique(ids[is_among(ids, self.table.ids)])
        rows = self._numbers[np.searchsorted(self.table.ids, known)]
        shards = rows[:, 0] >> POSITION_BITS
        groups = [rows[shards == shard] for shard in np.unique(shards).tolist()]
        if self._files.local is not None:
            for group in groups:
                yield from self._read(group, maps)
            return
        with ThreadPoolExecutor(READERS, thread_name_prefix="claid-records") as readers:
            for found in readers.map(lambda group: list(self._read(group, maps)), groups):
                yield from found

    def _read(self, rows: NDArray[np.int64], maps: bool) -> Iterator[tuple[int, int, str, bytes]]:
        name = f"records/part-{int(rows[0, 0]) >> POSITION_BITS}.bin"
        _, _, _, counts, offsets, lengths, of_maps = rows.T.tolist()
        starts = [at + length for at, length in zip(offsets, lengths, strict=True)]
        ranges = zip(starts, of_maps, strict=True) if maps else zip(offsets, lengths, strict=True)
        contents = self._files.read_ranges(name, list(ranges))
        for image, count, content in zip(rows[:, 0].tolist(), counts, contents, strict=True):
            yield image, count, f"{self._files.shown(name)}: the record of image {image}", content
