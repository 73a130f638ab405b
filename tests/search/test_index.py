"""The index: exact, whole images only, one writer, clear errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")

from claid_ext.errors import IndexLockedError, IndexMismatchError, InvalidIndexError
from claid_ext.index import base as faiss_base
from claid_ext.index.lock import writer_lock
from claid_ext.regions import Regions
from claid_ext.search import InstanceIndex, Query
from hypothesis import given, settings
from hypothesis import strategies as st

DIM = 8


def unit(rng, count, dim=DIM):
    rows = rng.normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(folder, fake, content, **options):
    """An index of made images: name -> (R, DIM) vectors."""
    index = InstanceIndex.create(folder, descriptor=fake(), regions="full", **options)
    described = []
    for name, rows in content.items():
        side = np.arange(1, len(rows) + 1)
        boxes = np.stack([0 * side, 0 * side, side, side], axis=1)
        described.append((str(name), Regions.of_boxes((99, 99), boxes), rows))
    assert index.add_described(described) == len(content)
    return index


def snapshot(index):
    with index.store.reading() as view:
        view.base  # noqa: B018 (read while the state is held)
        return view


def brute_force(content, boxes, all_of):
    scores = {}
    for name, rows in content.items():
        if len(rows):
            best = (rows.astype(np.float64) @ boxes.T.astype(np.float64)).max(axis=0)
            scores[name] = best.sum() if all_of else best.max()
    return scores


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**20),
    images=st.integers(0, 60),
    k=st.integers(1, 12),
    boxes=st.integers(1, 3),
    all_of=st.booleans(),
    alike=st.booleans(),
    base=st.booleans(),
)
def test_flat_equals_brute_force(  # noqa: PLR0917 (hypothesis gives them by name)
    tmp_path_factory, fake_class, seed, images, k, boxes, all_of, alike, base
):
    rng = np.random.default_rng(seed)
    # Many regions of one image near the query: the first rows are far from k distinct images.
    content = {f"/i/{i}": unit(rng, rng.integers(1, 40)) for i in range(images)}
    if alike and images:
        content["/i/0"] = unit(rng, 1).repeat(300, axis=0)
    query = unit(rng, boxes) if not (alike and images) else content["/i/0"][:boxes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss_base, "LEAST_BASE", 1 if base else 10**9)
        with filled(tmp_path_factory.mktemp("x") / "i", fake_class, content) as index:
            index.compact()
            hits = index.search_vectors([(query, all_of)], k)[0]
            assert (snapshot(index).base is not None) == (base and images > 0)
    truth = brute_force(content, query, all_of)
    assert len({hit.image for hit in hits}) == len(hits) == min(k, images)
    best = sorted(truth.values(), reverse=True)[:k]
    np.testing.assert_allclose([hit.score for hit in hits], best, atol=2e-6)
    for hit in hits:
        assert hit.score == pytest.approx(truth[hit.image], abs=2e-6)
        assert len(hit.parts) == (len(query) if all_of else 0)


@pytest.fixture(scope="module")
def fake_class():
    class Fake:
        def manifest(self):
            return {"name": "f", "layers": [], "pooling": "mean", "dim": DIM, "weights": "0"}

        def recipe(self):
            return None

    return Fake


def test_removed_images_are_not_found_and_compact_keeps_the_rest(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(faiss_base, "LEAST_BASE", 1)
    rng = np.random.default_rng(0)
    content = {f"/i/{i}": unit(rng, 5) for i in range(20)}
    with filled(tmp_path / "i", fake, content) as index:
        index.compact()
        index.remove("/i/3")
        with pytest.raises(KeyError, match="/i/3"):
            index.remove("/i/3")
        query = [(content["/i/3"][:1], False)]
        before = index.search_vectors(query, 100)[0]
        assert {hit.image for hit in before} == set(content) - {"/i/3"}
        index.compact()
        assert index.search_vectors(query, 100)[0] == before
        regions = Regions.of_boxes((9, 9), [[0, 0, 1, 1]] * 5)
        index.add_described([("/i/3", regions, content["/i/3"])])
        assert index.search_vectors(query, 1)[0][0].image == "/i/3"
        assert len(list((tmp_path / "i").glob("base-*"))) == 1


def test_min_size_and_image_filters(tmp_path, fake):
    rng = np.random.default_rng(1)
    content = {f"/i/{i}": unit(rng, 6) for i in range(10)}
    with filled(tmp_path / "i", fake, content) as index:
        query = [(content["/i/4"][:1], False)]
        assert index.search_vectors(query, 1)[0][0].box == (0, 0, 1, 1)
        large = index.search_vectors(query, 10, min_size=16)[0]
        assert {hit.box[2] for hit in large} <= {4.0, 5.0, 6.0}
        assert index.search_vectors(query, 10, min_size=1000) == [[]]
        for images in ("*/[12]", ["/i/1", "/i/2"], lambda path: path[-1] in "12"):
            hits = index.search_vectors(query, 10, images=images)[0]
            assert {hit.image for hit in hits} == {"/i/1", "/i/2"}
        with pytest.raises(ValueError, match="k must be at least 1"):
            index.search_vectors(query, 0)


def test_quantised_index_finds_k_distinct_images_with_true_scores(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(faiss_base, "LEAST_BASE", 1)
    monkeypatch.setattr(faiss_base, "ROWS_A_CENTROID", 1)
    rng = np.random.default_rng(2)
    content = {f"/i/{i}": unit(rng, 10) for i in range(200)}
    with filled(tmp_path / "i", fake, content, factory="IVF16,SQ8", probes=1) as index:
        index.compact()
        assert snapshot(index).base is not None
        assert not snapshot(index).exact
        query = content["/i/7"][:1]
        hits = index.search_vectors([(query, False)], 50)[0]
    truth = brute_force(content, query, False)
    assert hits[0].image == "/i/7"
    assert len({hit.image for hit in hits}) == 50
    assert [h.score for h in hits] == pytest.approx([truth[h.image] for h in hits], abs=2e-6)


def test_add_resumes_replaces_changed_files_and_reports_bad_ones(tmp_path, fake, photos):
    from PIL import Image

    truncated = photos[0].with_name("truncated.png")
    truncated.write_bytes(photos[0].read_bytes()[:300])
    empty = photos[0].with_name("empty.png")
    empty.touch()
    Image.new("L", (1, 1)).save(tiny := photos[0].with_name("tiny.png"))
    given = [*photos, truncated, empty, tmp_path / "missing.png", tiny]
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="grid") as index:
        assert index.search((photos[0], None), 5) == [[]]
        report = index.add(given, batch_size=2)
        assert (report.added, report.present) == (7, 0)
        assert [Path(path).name for path, _ in report.failed] == [
            "truncated.png", "empty.png", "missing.png"
        ]  # fmt: skip
        assert index.add(given).present == 7
        Image.new("RGB", (30, 30), "red").save(photos[0])
        again = index.add(given)
        assert (again.added, again.present, len(index)) == (1, 6, 7)
        assert photos[0] in index


def test_boxes_are_checked(tmp_path, fake, photos):
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="full") as index:
        for box, why in [
            ((500, 0, 600, 10), "outside the image of 64 x 48"),
            ((5, 5, 5, 9), "is empty"),
            ((0, 0, 1), "must be"),
            ((0, 0, np.nan, 1), "finite"),
        ]:
            with pytest.raises(ValueError, match=why):
                index.search(Query(photos[0], box))


def test_opening_with_other_options_is_an_error(tmp_path, fake):
    InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="full").close()
    with pytest.raises(IndexMismatchError, match="pooling: the index has 'mean', got 'max'"):
        InstanceIndex.open(tmp_path / "i", descriptor=fake("max"))
    with pytest.raises(InvalidIndexError, match=r"no manifest\.json"):
        InstanceIndex.open(tmp_path)
    with pytest.raises(FileExistsError, match="not empty"):
        InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="full")
    manifest = tmp_path / "i" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 3', '"version": 99'))
    with pytest.raises(InvalidIndexError, match="version 99"):
        InstanceIndex.open(tmp_path / "i")


def test_second_writer_is_refused_and_readers_go_on(tmp_path, fake, photos):
    with (
        InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="full") as first,
        InstanceIndex.open(tmp_path / "i", descriptor=fake()) as second,
    ):
        with writer_lock(first.path):
            with pytest.raises(IndexLockedError, match=f"process {os.getpid()}"):
                second.add(photos)
            assert second.search((photos[0], None), 3) == [[]]
        first.add(photos)
        assert len(second) == 6  # another connection's commits are seen


_WRITER = """
    import sys
    sys.path[:0] = [{tests!r}]
    from fake_descriptor import FakeDescriptor
    from claid_ext.index import base as faiss_base
    from claid_ext.search import InstanceIndex
    faiss_base.LEAST_BASE = 200
    index = InstanceIndex.open({index!r}, descriptor=FakeDescriptor())
    task, most, *paths = sys.argv[1:]
    put, left = index.store.upsert, int(most)

    def put_and_tell(entries):
        global left
        if not left:
            sys.stdin.read()  # wait for the end: however slow the killer, work is left for later
        left -= 1
        print(task, flush=True)
        put(entries)

    index.store.upsert = put_and_tell
    while task == "compact":
        print(task, flush=True)
        index.compact()
    index.add(paths, batch_size=2)
"""


def kill_midway(code, task, most, *, paths=(), lines, delay):
    """Kill a writer that has begun its `lines`-th step, `delay` seconds after it said so."""
    command = [sys.executable, "-W", "ignore", "-c", code, task, str(most), *paths]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        watchdog = threading.Timer(120, writer.kill)  # ends the reading below, should it hang
        watchdog.start()
        try:
            said = [writer.stdout.readline() for _ in range(lines)]
            time.sleep(delay)
        finally:
            watchdog.cancel()
            writer.kill()
    assert said == [f"{task}\n".encode()] * lines
    assert writer.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_at_any_moment_holds_whole_images_and_resumes(tmp_path, fake, monkeypatch):
    from PIL import Image

    rng = np.random.default_rng(5)
    paths = []
    for i in range(80):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(paths[-1])
    folder = tmp_path / "i"
    InstanceIndex.create(folder, descriptor=fake(), regions="grid").close()
    code = textwrap.dedent(_WRITER).format(tests=str(Path(__file__).parent), index=str(folder))
    held = []
    for lines in (2, 1, 7, 4, 5):  # batches of 2 images, at most 7 a round: 70 at the most
        kill_midway(code, "put", 7, paths=paths, lines=lines, delay=rng.uniform(0, 0.01))
        with InstanceIndex.open(folder, descriptor=fake()) as index:
            assert_whole(index)
            held.append(len(index))
    assert held == sorted(held)
    assert held[0] >= 2
    assert held[-1] <= 70
    with InstanceIndex.open(folder, descriptor=fake()) as index:
        report = index.add(paths)
        assert (report.present, report.added) == (held[-1], 80 - held[-1])
        query = (paths[3], None)
        found = index.search(query, 100)[0]
        assert {hit.image for hit in found} == set(paths)
    monkeypatch.setattr(faiss_base, "LEAST_BASE", 200)
    for lines in (1, 2, 3):
        kill_midway(code, "compact", 0, lines=lines, delay=rng.uniform(0, 0.03))
        with InstanceIndex.open(folder, descriptor=fake()) as index:
            assert_whole(index)
            again = index.search(query, 100)[0]
            assert {hit.image for hit in again} == set(paths)
            assert [hit.score for hit in again] == pytest.approx([hit.score for hit in found])
    with InstanceIndex.open(folder, descriptor=fake()) as index:
        index.compact()
        assert snapshot(index).base.ntotal == 80 * 30
    assert len(list(folder.glob("base-*"))) == 1


def assert_whole(index):
    """Each image of an index has the regions and vectors of the regions "grid"."""
    with index.store.reading() as view:
        records = dict(view.records(view.table.ids))
        assert sorted(records) == view.table.ids.tolist()
    for record in records.values():
        assert len(record) == 30
        assert record.vectors.shape == (30, DIM)
