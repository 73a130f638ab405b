"""`load`: the records of a data set into a store, shard by shard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.descriptors.basis import Basis
from claid_ext.errors import IndexMismatchError
from claid_ext.index import manifest
from claid_ext.index.embedded import EmbeddedStore
from claid_ext.index.ranking import is_among
from claid_ext.index.store import Entry
from claid_ext.progress import counting
from claid_ext.record import ImageRecord, maps_from_bytes
from claid_ext.scale.dataset import POSITION_BITS, DataSet, ImageRow
from claid_ext.scale.stores.catalog import from_ranges, to_ranges
from claid_ext.scale.stores.milvus import INDEXES, MilvusStore
from claid_ext.search.addresses import milvus_uri
from claid_ext.search.fitting import Frozen
from claid_ext.search.opening import make_empty

__all__ = ["LoadReport", "load"]

_STATE = "data set"  # entry of a folder's state: which data set's shards and removals it has
_PROBES = 32  # of an index folder, the default of `claid index`


@dataclass
class LoadReport:
    """What a load did: shards brought in or put right, shards that were there, and seconds."""

    shards: int = 0
    present: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class _Dead:
    """Images that do not count, int64 (n,), ascending: removed ones and replaced ones."""

    removed: NDArray[np.int64]
    replaced: NDArray[np.int64]
    removals: int

    @classmethod
    def of(cls, dataset: DataSet, done: Sequence[int]) -> _Dead:
        removals = len(dataset.files.numbers("removed"))
        replaced = [np.empty(0, np.int64)]
        for shard in done:
            table = dataset.images(shard, ["replaces", "error"])
            good = table.filter(table["error"].is_null())["replaces"].combine_chunks()
            if len(found := good.flatten().to_numpy()):
                replaced.append(found)
        all_replaced = np.unique(np.concatenate(replaced))
        return cls(dataset.removed(0, removals), all_replaced, removals)

    @property
    def all(self) -> NDArray[np.int64]:
        return np.union1d(self.removed, self.replaced)


def load(
    dataset: DataSet, store: str, *, index: str | None = None, progress: bool = False
) -> LoadReport:
    """Bring a store to have every record of a data set's finished shards, each once.

    Killed at any moment, the next run does what is missing. Memory does not grow with the number
    of records, but by what is removed or replaced; a folder's vectors are in memory at the end,
    when its base is made.

    Parameters
    ----------
    dataset : whose records.
    store : milvus:URI, as milvus:http://127.0.0.1:19530, or a folder, which becomes an index as
        `claid index` makes it.
    index : how a new store finds near vectors: one of "IVF_SQ8" (the default) and "FLAT" for
        Milvus, faiss's description of an index for a folder, "Flat" by default.
    progress : whether to show a bar on stderr, where that is a terminal.

    Raises
    ------
    StoreUnavailableError : the server does not answer.
    IndexLockedError : another process is writing to the store.
    IndexMismatchError : the store has other records.
    OSError : the disk is full.
    """
    report, start = LoadReport(), time.perf_counter()
    done = dataset.done()
    dead = _Dead.of(dataset, done)
    uri = milvus_uri(store)
    with counting(len(done), "loading", "shard", None if progress else True) as step:

        def did(changed: bool) -> None:
            report.shards += changed
            report.present += not changed
            step(1, f"{report.shards} new")

        if uri is None:
            _into_folder(dataset, Path(store), index or "Flat", done, dead, did)
        else:
            _into_milvus(dataset, uri, index or INDEXES[0], done, dead, did)
    report.seconds = time.perf_counter() - start
    return report


def _into_milvus(  # noqa: PLR0917 (called in one place)
    dataset: DataSet,
    uri: str,
    index: str,
    done: Sequence[int],
    dead: _Dead,
    did: Callable[[bool], None],
) -> None:
    store = MilvusStore(uri, dataset, create=True, index=index)
    try:
        with store.writing():
            held = store.catalog().shards
            # What replaces images is there before these go; then all counts are compared.
            changed = 0
            for shard in sorted(set(done) - held):
                did(store.take(shard, dead.all))
                changed += 1
            store.follow_removals(dead.all.tolist(), dead.removals)
            for shard in sorted(held & set(done)):
                wrong = store.take(shard, dead.all)
                did(wrong)
                changed += wrong
            if changed:
                store.settle(whole=True)
    finally:
        store.close()


def _into_folder(  # noqa: PLR0917 (called in one place)
    dataset: DataSet,
    folder: Path,
    factory: str,
    done: Sequence[int],
    dead: _Dead,
    did: Callable[[bool], None],
) -> None:
    store = _open_folder(dataset, folder, factory)
    try:
        with store.writing():
            has = json.loads(store.get(_STATE) or '{"shards": [], "removals": 0}')
            loaded = from_ranges(has["shards"])
            for shard in done:
                new = shard not in loaded
                if new:
                    loaded.add(shard)
                    has |= {"id": dataset.manifest["id"], "shards": to_ranges(loaded)}
                    store.upsert(_entries(dataset, shard, dead.all), {_STATE: json.dumps(has)})
                did(new)
            gone = np.setdiff1d(dataset.removed(has["removals"], dead.removals), dead.replaced)
            store.delete_images(_paths(dataset, gone))
            if dead.removals > has["removals"]:
                has["removals"] = dead.removals
                store.upsert([], {_STATE: json.dumps(has)})
            store.settle()
    finally:
        store.close()


def _open_folder(dataset: DataSet, folder: Path, factory: str) -> EmbeddedStore:
    """Open the index in a folder, which must be of the same networks and basis, or make it."""
    its = dataset.manifest
    options: dict[str, Any] = {name: its[name] for name in ("regions", "descriptor", "pca")}
    if not manifest.has_manifest(folder):
        content = dataset.basis_bytes()
        basis = None if content is None else Basis.from_bytes(content)
        frozen = Frozen(basis, int(its["basis photos"]))
        rest = {"recipes": its["recipes"], "factory": factory, "probes": _PROBES}
        make_empty(folder, {**options, **rest}, dataset.dim, frozen)
    stored = manifest.read_manifest(folder)
    manifest.check_same(folder, {name: stored[name] for name in options}, options, "")
    store = EmbeddedStore(folder, factory=stored["factory"], probes=stored["probes"])
    try:
        held = json.loads(store.get(_STATE) or "{}").get("id", its["id"])
        if store.get("basis fingerprint") != its["basis"] or held != its["id"]:
            raise IndexMismatchError(
                f"{folder} has records of another data set or basis than {dataset.files.shown()}"
            )
    except BaseException:
        store.close()
        raise
    return store


def _entries(dataset: DataSet, shard: int, dead: NDArray[np.int64]) -> list[Entry]:
    rows = [ImageRow(**row) for row in dataset.images(shard).to_pylist()]
    content = dataset.files.read(f"records/part-{shard}.bin")
    alive = ~is_among(np.array([row.image for row in rows], np.int64), dead)
    entries = []
    for row, lives in zip(rows, alive.tolist(), strict=True):
        if row.error is None and lives:
            what = f"the record of {row.uri}"
            middle = row.offset + row.length
            record = ImageRecord.from_bytes(content[row.offset : middle], what)
            if row.maps_length:
                maps = maps_from_bytes(content[middle : middle + row.maps_length], what)
                record = ImageRecord(record.regions, record.vectors, maps)
            entries.append(Entry(row.uri, record, (row.bytes, row.modified)))
    return entries


def _paths(dataset: DataSet, images: NDArray[np.int64]) -> list[str]:
    paths = []
    for shard in np.unique(images >> POSITION_BITS).tolist():
        listing = dataset.listing(shard)
        positions = images[images >> POSITION_BITS == shard] - (shard << POSITION_BITS)
        paths += [listing[position].uri for position in positions.tolist()]
    return paths
