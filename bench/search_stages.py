"""An index of many synthetic vectors: time, space and memory by stage, and whether it is right.

Every stage is a process of its own, so that the peaks of memory are its own: building, searching,
and comparing what was found with all inner products in NumPy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from claid_ext.benchmarks.memory import status_bytes
from claid_ext.benchmarks.output import markdown_table
from claid_ext.regions import Regions
from made_regions import MadeRegions
from numpy.typing import NDArray

__all__ = ["Setting", "measure", "to_markdown"]

LARGEST_K = 100
WIDTH = 64  # pixels of a synthetic image: one per region
ROUNDING = 1e-5  # by what two ways of adding up a dot product may differ
_BUILD_STAGES = (
    "making the vectors",
    "adding",
    "training",
    "filling the faiss index",
    "writing the faiss index",
)


@dataclass(frozen=True)
class Setting:
    """What is measured; `folder` must not exist yet."""

    folder: str
    factory: str
    vectors: int = 1_000_000
    dim: int = 208
    queries: int = 200
    seed: int = 0

    @property
    def made(self) -> MadeRegions:
        """The vectors."""
        return MadeRegions(self.vectors, self.dim, self.seed)


class MadeDescriptor:
    """The descriptor of an index whose vectors are made: it has options, and describes nothing."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __call__(self, images: Sequence[Any], regions: Sequence[Regions]) -> list[Any]:
        raise NotImplementedError("made vectors come with their regions: use add_described")

    def manifest(self) -> dict[str, Any]:
        return {"name": "made", "layers": [], "pooling": "none", "dim": self.dim, "weights": ""}

    def recipe(self) -> None:
        return None


def measure(setting: Setting, threads: int = 1) -> dict[str, Any]:
    """Build, search, compare, each in a fresh process, and return what each of them found.

    Raises
    ------
    RuntimeError : a process failed; with what it wrote on stderr.
    """
    return {
        "setting": {k: v for k, v in asdict(setting).items() if k != "folder"},
        "threads": threads,
        **{stage: _in_fresh_process(stage, setting, threads) for stage in _STAGES},
    }


def _in_fresh_process(stage: str, setting: Setting, threads: int) -> dict[str, Any]:
    limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run(
        [sys.executable, __file__, stage, json.dumps(asdict(setting))],
        env={**os.environ, **limits},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"stage {stage} of {setting.factory} failed: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class _Clock:
    """Seconds by stage; `watch` adds up what a module's function takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, stage: str, start: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def watch(self, stage: str, module: ModuleType, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(stage, start)

        setattr(module, name, timed)


def _described(made: MadeRegions, clock: _Clock) -> Iterator[tuple[str, Regions, Any]]:
    """The images as `add_described` takes them; region i has the box [i, 0, i + 1, 1)."""
    start = time.perf_counter()
    for number, counts, vectors in made.chunks():
        ends = np.cumsum(counts)
        clock.add(_BUILD_STAGES[0], start)
        for image, (end, count) in enumerate(zip(ends, counts, strict=True), number):
            left = np.arange(count)
            boxes = np.stack([left, 0 * left, left + 1, 0 * left + 1], axis=1)
            regions = Regions.of_boxes((1, WIDTH), boxes)
            yield f"/made/{image}.jpg", regions, vectors[end - count : end]
        start = time.perf_counter()


def _build(setting: Setting) -> dict[str, Any]:
    from claid_ext.index import base as faiss_base
    from claid_ext.search import InstanceIndex

    clock = _Clock()
    training, filling, writing = _BUILD_STAGES[2:]
    clock.watch(training, faiss_base, "_new_base")
    clock.watch(filling, faiss_base, "_add_rows")
    clock.watch(writing, faiss_base, "_write_base")
    at_start = status_bytes("VmRSS")
    start = time.perf_counter()
    with InstanceIndex.create(
        setting.folder,
        descriptor=MadeDescriptor(setting.dim),
        regions="full",
        factory=setting.factory,
    ) as index:
        _have_int8(index, setting.dim)
        added = index.add_described(_described(setting.made, clock))
        whole = time.perf_counter() - start
    clock.seconds[_BUILD_STAGES[1]] = whole - sum(clock.seconds.values())
    return {
        "images": added,
        "seconds": clock.seconds,
        "start_bytes": at_start,
        "peak_bytes": status_bytes("VmHWM"),
        "files": {p.name.partition("-")[0]: p.stat().st_size for p in _files(setting.folder)},
    }


def _have_int8(index: Any, dim: int) -> None:
    """Give an empty index a basis, as that of a network has: from then on it keeps int8 vectors.

    Which basis does not matter to vectors that are made.
    """
    from claid_ext.descriptors.basis import Basis
    from claid_ext.search.fitting import Frozen

    cells = np.random.default_rng(0).standard_normal((2 * dim, dim), dtype=np.float32)
    index.store.recode(iter(()), Frozen(Basis.fit([cells], dims=[dim]), 0).state())


def _files(folder: str) -> list[Path]:
    return [path for path in Path(folder).iterdir() if path.is_file()]


def _search(setting: Setting) -> dict[str, Any]:
    from claid_ext.index.base import import_faiss
    from claid_ext.search import InstanceIndex

    import_faiss()
    queries = [(its[None], False) for its in setting.made.queries(setting.queries)[1]]
    at_start = status_bytes("VmRSS")
    opened = {}
    for name in ("cold", "warm"):
        if name == "cold":
            _forget(setting.folder)
        start = time.perf_counter()
        with InstanceIndex.open(setting.folder) as index:
            open_seconds = time.perf_counter() - start
            index.search_vectors(queries[:1], 10)
            opened[name] = [open_seconds, time.perf_counter() - start]
    seconds: dict[str, Any] = {}
    with InstanceIndex.open(setting.folder) as index:
        index.search_vectors(queries[:1], LARGEST_K)
        memory = {"opened": _memory()}
        for k in (10, LARGEST_K):
            each, found = [], []
            for query in queries:
                start = time.perf_counter()
                found += index.search_vectors([query], k)
                each.append(time.perf_counter() - start)
            seconds[str(k)] = [float(np.median(each)), float(np.quantile(each, 0.9))]
            _save_hits(setting, k, found)
        memory["searched"] = _memory()
    return {"start_bytes": at_start, "open": opened, "seconds": seconds, "memory": memory}


def _forget(folder: str) -> None:
    """Have the system drop what it holds of the files, where it can."""
    if hasattr(os, "posix_fadvise"):
        for path in _files(folder):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _memory() -> dict[str, int]:
    """Peak of the resident set; how much of it now is the process's own, the rest being files."""
    return {"peak": status_bytes("VmHWM"), "own": status_bytes("RssAnon")}


def _hits_file(setting: Setting, k: int) -> Path:
    return Path(f"{setting.folder}.hits{k}.npz")


def _save_hits(setting: Setting, k: int, found: list[list[Any]]) -> None:
    """Keep the hits' images, regions and scores, (queries, k) each."""
    images = [[int(Path(hit.image).stem) for hit in hits] for hits in found]
    regions = [[int(hit.box[0]) for hit in hits] for hits in found]
    scores = [[hit.score for hit in hits] for hits in found]
    np.savez(
        _hits_file(setting, k),
        images=np.array(images),
        regions=np.array(regions),
        scores=np.array(scores, np.float32),
    )


def _compare(setting: Setting) -> dict[str, Any]:
    things, queries = setting.made.queries(setting.queries)
    start = time.perf_counter()
    scores, regions = _brute_force(setting, queries)
    seconds = time.perf_counter() - start
    shown = [setting.made.images_of(int(thing)) for thing in things]
    return {
        "seconds": seconds,
        **{str(k): _judge(setting, k, scores, regions, shown) for k in (10, LARGEST_K)},
    }


def _brute_force(
    setting: Setting, queries: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Each image's best score and region for each query, (Q, M) each: all inner products.

    The vectors are made again, and coded and decoded as the store does.
    """
    from claid_ext.vectors import decode_vectors, encode_vectors

    made = setting.made
    scores = np.empty((len(queries), len(made.counts)), np.float32)
    regions = np.empty(scores.shape, np.int64)
    for number, counts, vectors in made.chunks():
        similar = queries @ decode_vectors(encode_vectors(vectors)).T
        ends = np.cumsum(counts)
        for image, (end, count) in enumerate(zip(ends, counts, strict=True), number):
            its = similar[:, end - count : end]
            regions[:, image] = its.argmax(axis=1)
            scores[:, image] = its.max(axis=1)
    return scores, regions


def _judge(
    setting: Setting,
    k: int,
    scores: NDArray[np.float32],
    regions: NDArray[np.int64],
    shown: list[NDArray[np.int64]],
) -> dict[str, Any]:
    """Compare hits with the truth.

    `distinct`: each query got k different images; `true_scores`: each hit's score and region are
    those of brute force; `exact`: its images are the best k, but for ties; `recall`: share of the
    best k; `things`: share of the images that show the query's thing, of those k can hold, and
    that of brute force.
    """
    with np.load(_hits_file(setting, k)) as hits:
        images, found_regions, found_scores = hits["images"], hits["regions"], hits["scores"]
    k = min(k, scores.shape[1])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    last = np.take_along_axis(scores, best[:, -1:], axis=1)
    true = np.take_along_axis(scores, images, axis=1)
    exact = bool((true >= last - ROUNDING).all())
    for row, its, limit in zip(scores, images, last, strict=True):
        exact &= bool(np.isin(np.flatnonzero(row > limit + ROUNDING), its).all())
    same_region = np.take_along_axis(regions, images, axis=1) == found_regions
    return {
        "distinct": all(len(set(its.tolist())) == k for its in images) and images.shape[1] == k,
        "true_scores": bool(np.allclose(found_scores, true, rtol=0, atol=ROUNDING)),
        "same_region": float(same_region.mean()),
        "exact": exact,
        "recall": float(
            np.mean([np.isin(b, its).mean() for b, its in zip(best, images, strict=True)])
        ),
        "things": _share(shown, images, k),
        "things_brute_force": _share(shown, best, k),
    }


def _share(shown: list[NDArray[np.int64]], images: NDArray[np.int64], k: int) -> float:
    found = [
        np.isin(its, row).sum() / min(k, len(its)) for its, row in zip(shown, images, strict=True)
    ]
    return float(np.mean(found))


_STAGES = {"build": _build, "search": _search, "compare": _compare}


def to_markdown(results: list[dict[str, Any]]) -> str:
    """Return one table, one column per factory."""
    columns = [_column(result) for result in results]
    rows = [[name, *[column[name] for column in columns]] for name in columns[0]]
    return markdown_table(["", *[f"`{result['setting']['factory']}`" for result in results]], rows)


def _column(result: dict[str, Any]) -> dict[str, str]:
    build, search, compare = result["build"], result["search"], result["compare"]
    column = {f"{stage}, s": f"{build['seconds'].get(stage, 0):.1f}" for stage in _BUILD_STAGES}
    column["building, peak memory"] = _mb(build["peak_bytes"])
    for file in ("records.sqlite", "base"):
        column[f"`{file}`"] = _mb(build["files"].get(file, 0))
    column["all files"] = _mb(sum(build["files"].values()))
    for name, seconds in search["open"].items():
        milliseconds = " + ".join(f"{1e3 * s:.0f}" for s in seconds)
        column[f"open + first search, {name}, ms"] = milliseconds
    for k, seconds in search["seconds"].items():
        median, slow = (1e3 * s for s in seconds)
        column[f"k = {k}, median (90 %), ms"] = f"{median:.1f} ({slow:.1f})"
    for when, memory in search["memory"].items():
        column[f"memory, {when}: peak (own)"] = f"{_mb(memory['peak'])} ({_mb(memory['own'])})"
    for k in search["seconds"]:
        judged = compare[k]
        column[f"k = {k}: k distinct images"] = _yes(judged["distinct"])
        column[f"k = {k}: true scores"] = _yes(judged["true_scores"])
        column[f"k = {k}: brute force's images"] = _yes(judged["exact"])
        column[f"k = {k}: recall of brute force's"] = f"{judged['recall']:.4f}"
        things = f"{judged['things']:.4f} ({judged['things_brute_force']:.4f})"
        column[f"k = {k}: images of the thing (brute force)"] = things
    return column


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    print(json.dumps(_STAGES[sys.argv[1]](Setting(**json.loads(sys.argv[2])))))
