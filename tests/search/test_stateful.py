"""Any sequence of what can happen to an index, beside a plain model of it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("faiss")
from claid_ext.errors import IndexLockedError, UnreadableImageError
from claid_ext.search import InstanceIndex
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from killed import LEAST, add_and_be_killed, with_few_photos
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")

PHOTOS = 9
numbers = st.integers(0, PHOTOS - 1)
several = st.lists(numbers, min_size=1, max_size=5)


class IndexMachine(RuleBasedStateMachine):
    """An index, and the photo that the model says is stored under each path."""

    descriptor = None  # of two stages; set by the test
    context = None

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        with_few_photos(self.patch)
        self.folder = Path(tempfile.mkdtemp())
        self.clock = 10**18  # of modification times: two states of a file never share one

    @initialize()
    def create(self) -> None:
        self.paths = [str(self.folder / f"{i}.png") for i in range(PHOTOS)]
        self.on_disk: dict[str, int] = {}  # path -> what its picture is made of
        self.stored: dict[str, int] = {}  # the same, of the state that is in the index
        for number, path in enumerate(self.paths):
            self.write(path, number)
        self.index = InstanceIndex.create(
            self.folder / "index", descriptor=self.descriptor, regions="grid"
        )

    def write(self, path: str, seed: int) -> None:
        small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((48, 32), Image.Resampling.BICUBIC).save(path)
        self.clock += 1
        os.utime(path, ns=(self.clock, self.clock))
        self.on_disk[path] = seed

    def named(self, chosen: list[int]) -> list[str]:
        return [self.paths[number] for number in chosen]

    def is_current(self, path: str) -> bool:
        return self.stored.get(path) == self.on_disk.get(path, -1)

    @rule(chosen=several, batch=st.integers(1, 3), workers=st.integers(1, 2))
    def add(self, chosen: list[int], batch: int, workers: int) -> None:
        asked = list(dict.fromkeys(self.named(chosen)))
        current = [path for path in asked if self.is_current(path)]
        gone = [path for path in asked if path not in self.on_disk]
        report = self.index.add(self.named(chosen), batch_size=batch, workers=workers)
        assert (report.present, report.added) == (
            len(current),
            len(asked) - len(current) - len(gone),
        )
        assert sorted(path for path, _ in report.failed) == sorted(gone)
        self.stored.update({path: self.on_disk[path] for path in asked if path in self.on_disk})
        assert self.index.basis is not None or len(self.stored) < LEAST  # also after a kill

    @rule(number=numbers, seed=st.integers(100, 10**6))
    def change_a_photo(self, number: int, seed: int) -> None:
        self.write(self.paths[number], seed)

    @rule(number=numbers)
    def delete_a_photo(self, number: int) -> None:
        if self.on_disk.pop(self.paths[number], None) is not None:
            Path(self.paths[number]).unlink()

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        path = self.paths[number]
        if self.stored.pop(path, None) is None:
            with pytest.raises(KeyError, match="is not in the index"):
                self.index.remove(path)
        else:
            self.index.remove(path)

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def refit(self) -> None:
        """All or nothing: it needs each photo as it was when it was added."""
        before = self.state()
        if len(self.stored) < LEAST:
            wrong, why = ValueError, "a basis needs"
        elif any(path not in self.on_disk for path in self.stored):
            wrong, why = (UnreadableImageError, ValueError), "no such file|changed since"
        elif not all(map(self.is_current, self.stored)):
            wrong, why = ValueError, "has changed since it was added"
        else:
            assert self.index.refit() == min(len(self.stored), 6)
            assert self.index.basis is not None
            return
        with pytest.raises(wrong, match=why):
            self.index.refit()
        assert self.state() == before

    def state(self) -> tuple[object, ...]:
        with self.index.store.reading() as view:
            records = {image: its.vectors.tobytes() for image, its in view.records(view.table.ids)}
            return view.table.paths, records, self.index.store.get("basis fingerprint")

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = InstanceIndex.open(self.folder / "index", descriptor=self.descriptor)

    @rule(chosen=several)
    def another_writes(self, chosen: list[int]) -> None:
        """A second writer is refused and changes nothing, and a reader does not mind."""
        with InstanceIndex.open(self.folder / "index", descriptor=self.descriptor) as other:
            with other.store.writing():
                for write in (
                    lambda: self.index.add(self.named(chosen)),
                    lambda: self.index.remove(self.paths[chosen[0]]),
                    self.index.compact,
                ):
                    with pytest.raises((IndexLockedError, KeyError)):
                        write()
                assert set(self.index.images) == set(self.stored)
            assert set(other.images) == set(self.stored)

    @rule(chosen=several, writes=st.integers(0, 12))
    def killed_while_adding(self, chosen: list[int], writes: int) -> None:
        """Each photo is then as it was or as it is, and the next run goes on from there."""
        paths = self.named(chosen)
        child = self.context.Process(
            target=add_and_be_killed, args=(self.folder / "index", paths, writes)
        )
        child.start()
        child.join()
        kept = self.index.store.file_states()
        for path in paths:
            if path in self.on_disk and path in kept:
                status = Path(path).stat()
                if kept[path] == (status.st_size, status.st_mtime_ns):
                    self.stored[path] = self.on_disk[path]

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def search(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.stored)))
        if not self.is_current(path):
            return
        k = data.draw(st.integers(1, PHOTOS + 2))
        (hits,) = self.index.search(path, k)
        assert len(hits) == min(k, len(self.stored))
        assert len({hit.image for hit in hits}) == len(hits)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert hits[0].image == path

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        assert sorted(self.index.images) == sorted(self.stored)
        assert len(self.index) == len(self.stored)

    @invariant()
    def every_record_is_that_of_its_photo(self) -> None:
        """Coded by the basis the index has, or by none: never half of the one and the other."""
        basis = self.index.basis
        fresh = self.index._networks.describer(basis)
        with self.index.store.reading() as view:
            records = dict(view.records(view.table.ids))
            maps = dict(view.maps(view.table.ids))
            names = dict(zip(view.table.ids.tolist(), view.table.paths, strict=True))
        for image, record in records.items():
            kind = np.float32 if basis is None else np.int8
            assert record.vectors.dtype == kind
            assert len(maps[image]) == 2
            if not self.is_current(names[image]):
                continue
            (wanted,) = fresh([names[image]])
            rows, others = record.unit_vectors, wanted.unit_vectors
            assert (rows * others).sum(axis=1).min() > 0.998

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
        self.patch.undo()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def forkserver():
    """Processes that have what a writer needs already imported: each is there in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed", "torch", "torchvision", "faiss", "PIL.Image"])
    return context


def test_any_sequence_of_events_leaves_what_a_model_says(two_stage, forkserver):
    IndexMachine.descriptor, IndexMachine.context = two_stage, forkserver
    # Long runs: what matters comes after an index has got its basis.
    IndexMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=25)
    IndexMachine.TestCase("runTest").debug()
