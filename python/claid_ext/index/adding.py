"""Adding image files: read ahead, detect, describe, commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.errors import ClaidError
from claid_ext.images import load_image
from claid_ext.index.query import AddReport
from claid_ext.index.vectors import TRAINING_ROWS, sample_rows
from claid_ext.index.whitening import LEAST_ROWS_A_DIM, Whitening
from claid_ext.progress import progress as show_progress

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.index.instance_index import InstanceIndex
    from claid_ext.index.store import Store

__all__ = ["add_images", "file_state", "fit_whitening"]


def file_state(path: str) -> tuple[int, int]:
    """Return a file's (bytes, time of change in ns), to know a changed one by; else zeros."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def add_images(
    index: InstanceIndex, paths: Sequence[str], workers: int, batch_size: int, progress: bool
) -> AddReport:
    """Add files to an index whose writer's lock is held; see `InstanceIndex.add`."""
    report = AddReport()
    known = index.file_states()
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
        vectors = index.descriptor(images, regions)
    except (ClaidError, ValueError) as error:
        if len(batch) > 1:
            for one in batch:
                _add_batch(index, [one], report)
        else:
            report.failed.append((batch[0][0], str(error)))
        return
    paths = [path for path, _ in batch]
    index.put(list(zip(paths, regions, vectors, strict=True)))
    report.added += len(batch)


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
    whitening = Whitening.fit(sample_rows(store, table, dim, TRAINING_ROWS), kept)
    with store.transaction():
        for image, vectors in store.vectors(table.ids, dim):
            store.set_vectors(image, whitening(vectors))
        store.set("whitening", whitening.to_bytes())
    return True


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()
