"""Adding image files: read ahead, detect, describe, commit."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from claid_ext.errors import ClaidError
from claid_ext.images import load_image
from claid_ext.index.paths import absolute, file_state
from claid_ext.index.query import AddReport
from claid_ext.index.vectors import check_vectors, sample_rows
from claid_ext.index.whitening import LEAST_ROWS_A_DIM, WHITENING_ROWS, Whitening
from claid_ext.progress import progress as show_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from claid_ext.index.instance_index import InstanceIndex
    from claid_ext.index.store import Store
    from claid_ext.regions import Regions

    Described = tuple[str, Regions, NDArray[np.float32]]

__all__ = ["add_images", "fit_whitening", "in_batches"]

ROWS_A_COMMIT = 4096  # of vectors that are known already; 32 MiB of 2048 dimensions


def add_images(
    index: InstanceIndex,
    paths: Sequence[str],
    known: dict[str, tuple[int, int]],
    *,
    workers: int,
    batch_size: int,
    progress: bool,
) -> AddReport:
    """Add files to an index whose writer's lock is held; see `InstanceIndex.add`.

    `known` are the states of the files that it holds.
    """
    report = AddReport()
    new = []
    for path in dict.fromkeys(paths):
        if not _is_text(path):
            report.failed.append((_printable(path), "its name is no valid text (Unicode)"))
        elif path in known and known[path] == file_state(path):
            report.present += 1
        else:
            new.append(path)
    batch: list[tuple[str, Image.Image]] = []
    done = show_progress(
        _read_ahead(new, workers), len(new), "indexing", disable=None if progress else True
    )
    for path, image in done:
        if isinstance(image, str):
            report.failed.append((path, image))
            continue
        batch.append((path, image))
        if len(batch) == batch_size:
            _add_batch(index, batch, report)
            batch = []
    _add_batch(index, batch, report)
    return report


def _add_batch(
    index: InstanceIndex, batch: list[tuple[str, Image.Image]], report: AddReport
) -> None:
    if not batch:
        return
    images = [image for _, image in batch]
    try:
        regions = index.source(images)
        described = zip(
            [path for path, _ in batch], regions, index.descriptor(images, regions), strict=True
        )
        ready = [_checked(*one, index.manifest["descriptor"]["dim"]) for one in described]
    except (ClaidError, ValueError) as error:
        if len(batch) > 1:
            for one in batch:
                _add_batch(index, [one], report)
        else:
            report.failed.append((batch[0][0], str(error)))
        return
    index.put(ready)
    report.added += len(batch)


def in_batches(
    images: Iterable[tuple[str | os.PathLike[str], Regions, Any]], dim: int
) -> Iterator[list[Described]]:
    """Check described images and yield them in batches to commit; see `add_described`."""
    batch: list[Described] = []
    rows = 0
    for path, regions, vectors in images:
        batch.append(_checked(absolute(path), regions, vectors, dim))
        rows += len(regions)
        if rows >= ROWS_A_COMMIT:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _checked(path: str, regions: Regions, vectors: Any, dim: int) -> Described:
    return path, regions, check_vectors(f"the vectors of {path}", vectors, len(regions), dim)


def _read_ahead(paths: Sequence[str], workers: int) -> Iterator[tuple[str, Image.Image | str]]:
    """Yield each path with its image, or with why it cannot be read; `workers` threads read."""
    waiting: deque[tuple[str, Future[Any]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="claid-read") as readers:
        for path in paths:
            waiting.append((path, readers.submit(load_image, path)))
            if len(waiting) > 2 * workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _result(path: str, future: Future[Any]) -> tuple[str, Image.Image | str]:
    try:
        return path, future.result()
    except (ClaidError, OSError) as error:
        return path, str(error)


def fit_whitening(store: Store, dim: int, kept: int) -> bool:
    """Fit the whitening and apply it to all vectors, if there are enough; says whether it did."""
    table = store.images()
    if table.counts.sum() < LEAST_ROWS_A_DIM * kept:
        return False
    whitening = Whitening.fit(sample_rows(store, table, dim, WHITENING_ROWS), kept)
    with store.transaction():
        for image, vectors in store.vectors(table.ids, dim):
            store.set_vectors(image, whitening(vectors))
        store.set("whitening", whitening.to_bytes())
        store.set("base", None)  # of the vectors as they were
    return True


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()
