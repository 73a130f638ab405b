"""Measures extraction by each engine, search on a Milvus server, and loading (docs/scale.md).

    python bench/more_machines.py extract [--photos 2000]
    python bench/more_machines.py milvus URI [--vectors 300000]
    python bench/more_machines.py load STORE [--records 1000000]

Each prints its figures as JSON; `bench/sizing.py` computes sizes from them. STORE is as of
`claid load`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from claid_ext.describing import RegionDescriber
from claid_ext.index.ranking import Scope, VectorQuery, rank_images
from claid_ext.record import ImageRecord
from claid_ext.regions.value import Regions
from claid_ext.scale import DataSet, create, extract, load, plan
from claid_ext.scale.dataset import Listed
from claid_ext.scale.engines import ENGINES, Options, engine_named
from claid_ext.scale.planning import listed
from claid_ext.vectors import encode_vectors, unit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "scale"))
os.environ["PYTHONPATH"] = sys.path[0]

from made import MadeDescriber, made_photos
from work import Square

DIM, REGIONS = 208, 36  # of a photo with both stages
COPIES, BURST = 8, 30  # images of near-copies, and copies in each
NOTHINGS = 200  # items that cost nothing, to time an engine itself


class Wide(MadeDescriber):
    """Only its manifest is used: records of 208 dimensions are made here."""

    def __init__(self, dim: int) -> None:
        self._dim = dim

    def manifest(self):
        made = super().manifest()
        return {**made, "descriptor": {**made["descriptor"], "dim": self._dim}}


def measure_extract(folder: Path, count: int) -> dict[str, object]:
    """Extract made photos by both engines, with a small network whose weights are random."""
    import timm
    import torch
    from claid_ext import RegionDescriptor
    from claid_ext.regions import region_source

    torch.manual_seed(0)
    weights = folder / "weights.pth"
    torch.save(timm.create_model("test_efficientnet", num_classes=0).state_dict(), weights)
    descriptor = RegionDescriptor("test_efficientnet", weights=str(weights))
    describer = RegionDescriber(region_source("grid"), descriptor)
    photos = made_photos(folder / "photos", count, size=48)
    figures: dict[str, object] = {"photos": count}
    contents = {}
    for name in ENGINES:
        dataset = create(str(folder / name), describer, photos, shard_photos=64)
        plan(dataset, listed(photos))
        report = extract(dataset, engine=name, options=Options(workers=2))
        figures[f"{name} seconds"] = round(report.seconds, 1)
        parts = sorted(
            p for p in Path(dataset.address).rglob("part-*") if p.parent.name != "stores"
        )
        contents[name] = [(p.name, p.parent.name, p.read_bytes()) for p in parts]
        notes = folder / f"notes {name}"
        notes.mkdir()
        start, first = time.perf_counter(), 0.0
        work = Square(str(notes))
        for done, _ in enumerate(engine_named(name)(work, range(NOTHINGS), Options(workers=2))):
            first = first or time.perf_counter()
            last = done
        figures[f"{name} start seconds"] = round(first - start, 1)
        figures[f"{name} ms per shard"] = round(1e3 * (time.perf_counter() - first) / last, 2)
    assert contents["local"] == contents["ray"]
    figures["equal bytes"] = sum(len(content) for *_, content in contents["ray"])
    figures["shards"] = len(dataset.done())
    return figures


def made_records(dataset: DataSet, images: int, records: list[ImageRecord]) -> None:
    """Write so many images, by shards, whose records come from a list over and over."""
    size = int(dataset.manifest["shard photos"])
    for shard, start in enumerate(range(0, images, size)):
        numbers = range(start, min(start + size, images))
        photos = [Listed(f"/made/{number:09}.jpg", (1, 1)) for number in numbers]
        dataset.add_listing(shard, photos, [[]] * len(photos))
        chosen = [records[number % len(records)] for number in numbers]
        dataset.write_shard(shard, dataset.listing(shard), chosen)


def record(vectors: np.ndarray) -> ImageRecord:
    boxes = [[0, 0, 1 + i, 9] for i in range(len(vectors))]
    return ImageRecord(Regions.of_boxes((99, 99), boxes), encode_vectors(vectors))


def measure_milvus(folder: Path, uri: str, count: int) -> dict[str, object]:
    """Load vectors with bursts of near-copies, and compare every answer with brute force."""
    from claid_ext.scale.stores.milvus import MilvusStore

    rng = np.random.default_rng(0)
    images = count // REGIONS
    centres = unit(rng.normal(size=(2000, DIM)))  # regions of things that come again and again
    rows = unit(centres[rng.integers(len(centres), size=(images, REGIONS))]
                + 0.05 * rng.normal(size=(images, REGIONS, DIM)))  # fmt: skip
    queries = unit(centres[:10] + 0.02 * rng.normal(size=(10, DIM)))
    for burst in range(COPIES):
        rows[burst, :BURST] = unit(queries[0] + 0.01 * rng.normal(size=(BURST, DIM)))
    records = [record(its) for its in rows]
    truth = np.stack([one.unit_vectors for one in records]).reshape(-1, DIM) @ queries.T
    best = truth.reshape(images, REGIONS, -1).max(axis=1)  # (images, queries)
    figures: dict[str, object] = {"vectors": images * REGIONS, "images": images}
    for index in ("IVF_SQ8", "FLAT"):
        dataset = create(str(folder / index), Wide(DIM))
        made_records(dataset, images, records)
        start = time.perf_counter()
        load(dataset, f"milvus:{uri}", index=index)
        figures[f"{index} load seconds"] = round(time.perf_counter() - start, 1)
        store = MilvusStore(uri, dataset)
        assert store.rows() == images * REGIONS
        for k in (10, 100):
            times, right = [], 0
            for number, query in enumerate(queries):
                asked = [VectorQuery(query[None])]
                start = time.perf_counter()
                with store.reading() as view:
                    scope = Scope(np.ones(images, bool))
                    (found,) = rank_images(asked, k, view, scope)
                times.append(time.perf_counter() - start)
                scores = np.array([one.score for one in found])
                at = np.searchsorted(view.table.ids, [one.image for one in found])
                assert len(np.unique(at)) == k
                np.testing.assert_allclose(scores, best[at, number], atol=1e-5)
                right += int((scores > np.sort(best[:, number])[-k] - 1e-5).sum())
            figures[f"{index} k={k} recall"] = right / (k * len(queries))
            figures[f"{index} k={k} ms"] = round(1e3 * float(np.median(times[1:])), 1)
        files = [path for path in Path(dataset.address).rglob("part-*") if path.is_file()]
        figures["bytes of data set"] = sum(path.stat().st_size for path in files)
        for name in ("regions", "images", "listing", "records"):
            figures[f"bytes of {name}"] = sum(
                path.stat().st_size for path in files if path.parent.name == name
            )
        store.drop()
    assert figures["FLAT k=10 recall"] == figures["FLAT k=100 recall"] == 1
    return figures


def measure_load(folder: Path, store: str, count: int) -> dict[str, object]:
    """Load many small records, and note this process's memory as it goes."""
    rng = np.random.default_rng(0)
    records = [record(unit(rng.normal(size=(2, 8)))) for _ in range(64)]
    dataset = create(str(folder / "data"), Wide(8))
    made_records(dataset, count, records)
    peaks = []
    report = load(_Noting(dataset.address, peaks), store)  # type: ignore[arg-type]
    at = [round(peaks[min(len(peaks) - 1, len(peaks) * share // 100)]) for share in (1, 25, 50, 99)]
    return {
        "records": count,
        "seconds": round(report.seconds),
        "shards": report.shards,
        "peak MiB at 1, 25, 50, 99 %": at,
        "peak MiB at the end": round(_peak()),
    }


class _Noting(DataSet):
    """Notes the peak of memory at each shard that is read for the store."""

    def __init__(self, address: str, peaks: list[float]) -> None:
        super().__init__(address)
        self._peaks = peaks

    def images(self, shard, columns=None):
        if columns is None or "regions" in columns:
            self._peaks.append(_peak())
        return super().images(shard, columns)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("extract").add_argument("--photos", type=int, default=2000)
    milvus = kinds.add_parser("milvus")
    milvus.add_argument("uri")
    milvus.add_argument("--vectors", type=int, default=300_000)
    loading = kinds.add_parser("load")
    loading.add_argument("store", help="milvus:URI, or a new folder")
    loading.add_argument("--records", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if args.kind == "extract":
            figures = measure_extract(place, args.photos)
        elif args.kind == "milvus":
            figures = measure_milvus(place, args.uri, args.vectors)
        else:
            figures = measure_load(place, args.store, args.records)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
