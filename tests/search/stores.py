"""Every kind of store, and made images to put into them; what tests of stores share."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from claid_ext.index import EmbeddedStore, Entry, Store
from claid_ext.index import base as faiss_base
from claid_ext.record import CellMap, ImageRecord
from claid_ext.regions.value import Regions
from made import MadeDescriber
from servers import milvus_uri

DIM = 8
NEVER = 10**9


@dataclass(frozen=True)
class Kind:
    """A kind of store.

    Attributes
    ----------
    make, open : make one at a place, or open what is there.
    exact : whether its candidates are surely the nearest once it has settled.
    in_files : whether it is files below its place, which a limit on files stops as a full disk.
    grows : whether it is a GrowingStore.
    examples : of random operations that are tried on it.
    least_base, rows_a_centroid : faiss_base's numbers of these names while it is used.
    """

    make: Callable[[Path], Store]
    open: Callable[[Path], Store]
    exact: bool
    in_files: bool = True
    grows: bool = True
    examples: int = 12
    least_base: int = NEVER
    rows_a_centroid: int = 1

    @contextmanager
    def in_use(self) -> Iterator[Kind]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(faiss_base, "LEAST_BASE", self.least_base)
            patch.setattr(faiss_base, "ROWS_A_CENTROID", self.rows_a_centroid)
            patch.setattr(faiss_base, "PQ_CENTROIDS", 1)
            yield self


def embedded(factory: str, *, exact: bool, least_base: int) -> Kind:
    def make(folder: Path) -> Store:
        folder.mkdir(exist_ok=True)
        return EmbeddedStore(folder, dim=DIM, factory=factory, probes=1)

    def reopen(folder: Path) -> Store:
        return EmbeddedStore(folder, factory=factory, probes=1)

    return Kind(make, reopen, exact, least_base=least_base)


def milvus(index: str, *, exact: bool) -> Kind:
    """A collection of the shared server, and a data set at its place."""

    def make(folder: Path) -> Store:
        from claid_ext.scale import DataSet, create

        # A server takes seconds to make a collection: all stores of a run have one after another.
        made = create(str(folder), MadeDescriber())
        run = os.environ.setdefault("CLAID_TEST_RUN", uuid.uuid4().hex)
        manifest = json.dumps({**made.manifest, "id": f"{run}_{index}"})
        made.files.write("manifest.json", manifest.encode())
        store = opened(DataSet(str(folder)), create=True)
        store.clear()
        return store

    def reopen(folder: Path) -> Store:
        from claid_ext.scale import DataSet

        return opened(DataSet(str(folder)))

    def opened(dataset, **more) -> Store:
        from claid_ext.scale.stores.milvus import MilvusStore

        return MilvusStore(milvus_uri(), dataset, index=index, **more)

    return MilvusKind(make, reopen, exact, in_files=False, grows=False, examples=4)


class MilvusKind(Kind):
    """Skips where there is no server."""

    @contextmanager
    def in_use(self) -> Iterator[Kind]:
        if find_spec("pyarrow") is None:
            pytest.skip("pyarrow is not installed")
        milvus_uri()
        yield self


# A store of another kind takes its place here, and in no other line of the tests.
KINDS = {
    "flat": embedded("Flat", exact=True, least_base=NEVER),
    "flat with a base": embedded("Flat", exact=True, least_base=1),
    "cells, too few rows": embedded("IVF8,SQ8", exact=True, least_base=NEVER),
    "cells": embedded("IVF8,SQ8", exact=False, least_base=40),
    "milvus": milvus("FLAT", exact=True),
    "milvus cells": milvus("IVF_SQ8", exact=False),
}


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def record(seed: object, rows: int = 5, dim: int = DIM, *, codes: bool = False) -> ImageRecord:
    """A record of `rows` regions that follows from a seed; every third one has maps."""
    rng = np.random.default_rng([*str(seed).encode(), rows, dim])
    low = rng.uniform(0, 50, (rows, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 49, (rows, 2))], axis=1)
    regions = Regions.of_boxes((99, 99), boxes, rng.integers(0, 5, rows))
    vectors = unit(rng.normal(size=(rows, dim)))
    if codes:
        vectors = np.rint(127 * vectors).astype(np.int8)
    cells = CellMap("e16", rng.integers(0, 256, (3, 2, 4), dtype=np.uint8), (16.0, 16.5))
    return ImageRecord(regions, vectors, (cells,) if rng.integers(3) == 0 else ())


def entry(name: object, seed: object = None, rows: int = 5, **more: bool) -> Entry:
    number = hash(name) if isinstance(name, int) else len(str(name))
    made = record(name if seed is None else seed, rows, **more)
    return Entry(f"/i/{name}", made, (1000 + number, 10**18 + number))


def asked(seed: int, count: int = 1, dim: int = DIM) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))
