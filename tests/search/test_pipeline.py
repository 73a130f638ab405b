"""Photos are described by several threads, and stored as if they had come one after another."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("PIL")

from claid_ext.record import ImageRecord
from claid_ext.regions import Regions
from claid_ext.search.adding import AddReport, describe_images, read_files

PATIENCE = 30.0  # seconds until a test that would hang fails


class Describer:
    """Makes records of one vector; the first photo waits for the second, if two may run at once."""

    def __init__(self, workers: int, bad: str = "none") -> None:
        self.workers = workers
        self.bad = bad
        self.groups: list[list[str]] = []
        self._second = threading.Event()

    def __call__(self, images):
        names = [photo.path for photo in images]
        self.groups.append(names)
        if self.workers > 1:
            if names[0].endswith("bild 0 ü.png"):
                assert self._second.wait(PATIENCE)
            self._second.set()
        if any(self.bad in name for name in names):
            raise ValueError(f"no {self.bad}")
        return [
            ImageRecord(Regions.whole(photo.size), np.ones((1, 1), np.float32)) for photo in images
        ]


def _added(describer, paths, batch_size):
    report = AddReport()
    read = read_files(paths, 2, progress=False)
    found = list(describe_images(describer, read, report, batch_size=batch_size))
    return [[entry.path for entry in entries] for entries in found], report


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_entries_keep_the_order_and_the_size_of_batches(photos, workers) -> None:
    paths = [str(path) for path in photos]
    describer = Describer(workers)
    found, report = _added(describer, paths, 4)
    assert found == [paths[:4], paths[4:]]
    assert report.added == 6
    sizes = [len(group) for group in describer.groups]
    assert sizes == ([4, 2] if workers == 1 else [1] * 6)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_is_told_in_the_order_of_the_photos(photos, tmp_path, workers) -> None:
    broken = tmp_path / "photos" / "bild 1b.png"
    broken.write_bytes(b"no image")
    paths = [str(path) for path in (*photos[:2], broken, *photos[2:])]
    found, report = _added(Describer(workers, bad="bild 4"), paths, 3)
    bad = [paths[2], paths[5]]
    stored = [path for entries in found for path in entries]
    assert stored == [path for path in paths if path not in bad]
    assert [path for path, _ in report.failed] == bad
    assert report.failed[1][1] == "no bild 4"
    assert report.added == 5


def test_another_error_comes_out_after_what_was_described_before(photos) -> None:
    class Broken(Describer):
        def __call__(self, images):
            if images[0].path.endswith("bild 4 ü.png"):
                raise OSError("disk")
            return super().__call__(images)

    paths = [str(path) for path in photos]
    report = AddReport()
    read = read_files(paths, 2, progress=False)
    entries = describe_images(Broken(2), read, report, batch_size=2)
    assert [entry.path for entry in next(entries)] == paths[:2]
    assert [entry.path for entry in next(entries)] == paths[2:4]
    with pytest.raises(OSError, match="disk"):
        next(entries)
    assert report.added == 4


def test_claid_index_says_where_the_time_went(claid, picture, tmp_path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("faiss")
    (tmp_path / "photos").mkdir()
    picture(0).save(tmp_path / "photos" / "0.png")
    status, _, err = claid("index", "photos", "-v")
    assert status == 0
    rows = [line.rsplit(maxsplit=2)[0] for line in err.splitlines()[1:]]
    assert {"read", "resize", "backbone", "detect", "descriptor", "code", "store"} <= set(rows)
    assert rows[-1] == "by the clock"
