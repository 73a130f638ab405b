"""What goes wrong around an index: full disks, folders without permission, moves, bad vectors."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")

from claid_ext.index import base as faiss_base
from claid_ext.regions import Regions
from claid_ext.search import InstanceIndex

DIM = 8
POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX limits and users")


def described(first, count, rows=5):
    boxes = [[0, 0, 1 + i, 1 + i] for i in range(rows)]
    for number in range(first, first + count):
        its = np.random.default_rng(number).normal(size=(rows, DIM)).astype(np.float32)
        its /= np.linalg.norm(its, axis=1, keepdims=True)
        yield f"/i/{number}", Regions.of_boxes((9, 9), boxes), its


def brute_force(content, query, k):
    scores = {path: float((its @ query).max()) for path, _, its in content}
    return sorted(scores, key=scores.get, reverse=True)[:k]


def found(index, query, k, **options):
    return [hit.image for hit in index.search_vectors([(query[None], False)], k, **options)[0]]


def in_child(code, *arguments):
    """Run code in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


_FULL = """
    import resource, sys
    import numpy as np
    from claid_ext.search import InstanceIndex
    from claid_ext.regions import Regions
    rng = np.random.default_rng(0)

    def described():
        for number in range(100, 100_000):
            its = rng.normal(size=(500, 8)).astype(np.float32)
            its /= np.linalg.norm(its, axis=1, keepdims=True)
            yield f"/full/{number}", Regions.of_boxes((9, 9), [[0, 0, 1, 1]] * 500), its

    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
    with InstanceIndex.open(sys.argv[1]) as index:
        try:
            index.add_described(described())
        except OSError as error:
            print(error)
        print(len(index))
"""


@POSIX
def test_a_full_disk_is_named_and_what_was_added_before_is_kept(tmp_path, fake):
    """A limit on the size of files, as a small disk would have it, needs no mount."""
    folder = tmp_path / "i"
    before = list(described(0, 10))
    with InstanceIndex.create(folder, descriptor=fake(), regions="full") as index:
        index.add_described(before)
    error, held = in_child(_FULL, folder).splitlines()
    assert str(folder) in error
    assert "images added before are kept" in error
    with InstanceIndex.open(folder) as index:
        assert len(index) == int(held) >= 10
        query = before[3][2][0]
        mine = found(index, query, 10, images="/i/*")
        assert mine == brute_force(before, query, 10)
        assert index.add_described(described(10, 5)) == 5


_READ_ONLY = """
    import os, sys
    import faiss, numpy as np, claid_ext.images, claid_ext.regions
    from claid_ext.index import base, ranking
    from claid_ext.search import InstanceIndex, adding, finding
    os.setuid(65534)  # who may not enter the folders that modules are in
    with InstanceIndex.open(sys.argv[1]) as index:
        query = np.eye(8, dtype=np.float32)[:1]
        print(*[hit.image for hit in index.search_vectors([(query, False)], 3)[0]])
        try:
            index.remove("/i/0")
        except PermissionError as error:
            print(error)
"""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)
@pytest.mark.parametrize("log_left", [False, True])
def test_another_users_folder_is_searched_but_not_written_to(fake, log_left):
    import shutil
    import tempfile
    from pathlib import Path

    content = list(described(0, 8))
    work = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        work.chmod(0o755)
        with InstanceIndex.create(work / "i", descriptor=fake(), regions="full") as index:
            index.add_described(content)
            if log_left:  # as after a kill: what was added is in the write-ahead log alone
                shutil.copytree(work / "i", work / "copy")
        folder = work / ("copy" if log_left else "i")
        names, error = in_child(_READ_ONLY, folder).splitlines()
        query = np.eye(DIM, dtype=np.float32)[0]
        assert names.split() == brute_force(content, query, 3)
        assert str(folder) in error
    finally:
        shutil.rmtree(work)


def test_a_moved_index_is_found_whole(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(faiss_base, "LEAST_BASE", 1)
    content = list(described(0, 12))
    query = content[5][2][2]
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="full") as index:
        index.add_described(content)
    (tmp_path / "i").rename(tmp_path / "elsewhere")
    with InstanceIndex.open(tmp_path / "elsewhere") as index:
        assert found(index, query, 12) == brute_force(content, query, 12)
        index.add_described(described(12, 1))
        assert len(index) == 13


def test_an_unwritable_parent_is_named(tmp_path, fake):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        InstanceIndex.create(tmp_path / "file" / "i", descriptor=fake(), regions="full")


def test_empty_indexes_no_queries_and_large_k(tmp_path, fake):
    query = np.eye(DIM, dtype=np.float32)[0]
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="full") as index:
        assert found(index, query, 5) == []
        assert index.search([]) == []
        assert index.search_vectors([], 5) == []
        index.compact()
        content = list(described(0, 4))
        index.add_described(content)
        assert found(index, query, 10**6) == brute_force(content, query, 4)


def test_bad_vectors_are_refused_by_name(tmp_path, fake):
    (path, regions, good), *_ = described(0, 1)
    nan = np.where(np.arange(DIM) == 3, np.nan, good).astype(np.float32)
    cases = [
        (nan, ValueError, "the vectors of /i/0 must be finite"),
        (2 * good, ValueError, "length 1"),
        ((100 * good).astype(np.int64), TypeError, "must be floats, got int64"),
        (good[:, :4], ValueError, r"must be \(5, 8\), one per region, got \(5, 4\)"),
        (good[:2], ValueError, r"must be \(5, 8\)"),
    ]
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="full") as index:
        for wrong, kind, why in cases:
            with pytest.raises(kind, match=why):
                index.add_described([(path, regions, wrong)])
        for wrong, kind, why in [(nan, ValueError, "finite"), (good[:, :4], ValueError, "got")]:
            with pytest.raises(kind, match=why):
                index.search_vectors([(wrong, False)])
        assert len(index) == 0
        index.add_described([(path, regions, good.astype(np.float64))])
        assert found(index, good[0], 1) == [path]


def test_readers_see_what_another_process_adds(tmp_path, fake):
    content = list(described(0, 6))
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="full") as reader:
        assert len(reader) == 0
        code = f"""
            import sys
            sys.path[:0] = [{os.path.dirname(__file__)!r}]
            from claid_ext.search import InstanceIndex
            from test_index_traps import described
            with InstanceIndex.open(sys.argv[1]) as index:
                print(index.add_described(described(0, 6)))
        """  # noqa: PTH120
        assert in_child(code, tmp_path / "i") == "6"
        query = content[2][2][1]
        assert found(reader, query, 6) == brute_force(content, query, 6)


def test_filters_with_cells_give_k_images_and_compact_changes_no_answer(
    tmp_path, fake, monkeypatch
):
    monkeypatch.setattr(faiss_base, "LEAST_BASE", 1)
    monkeypatch.setattr(faiss_base, "ROWS_A_CENTROID", 1)
    content = list(described(0, 120))
    options = {"factory": "IVF8,SQ8", "probes": 1}
    with InstanceIndex.create(
        tmp_path / "i", descriptor=fake(), regions="full", **options
    ) as index:
        index.add_described(content)
        query = content[7][2][4]
        few = found(index, query, 15, images="/i/*[05]", min_size=9)
        assert len(few) == len(set(few)) == 15
        assert all(path[-1] in "05" for path in few)
        for number in range(0, 40, 3):
            index.remove(f"/i/{number}")
        index.add_described(content[3:10])
        gone = {f"/i/{n}" for n in range(0, 40, 3)} - {path for path, _, _ in content[3:10]}
        left = [one for one in content if one[0] not in gone]
        for _ in range(2):
            assert found(index, query, 10**6) == brute_force(left, query, 10**6)
            index.compact()
