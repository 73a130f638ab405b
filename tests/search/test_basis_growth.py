"""How an index gets the basis of its own photos, whatever happens on the way, and keeps it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("faiss")
from bases import DIM, MOST, broken, changed, check_coded, check_plain, content, gone, larger, state
from claid_ext.cli import main
from claid_ext.regions import Regions
from claid_ext.search import InstanceIndex, fitting
from claid_ext.search.recipes import Networks


def test_a_small_index_of_a_network_without_a_basis_has_none(tmp_path, index, album, stored):
    paths = album(tmp_path / "photos", 5)
    assert index.add(paths).added == 5
    check_plain(index, stored)
    with pytest.raises(ValueError, match="a basis needs 50 photos, the index has 5"):
        index.refit()
    for path in paths:
        assert index.search(path, 1)[0][0].image == path
    check_plain(index, stored)


def test_the_fiftieth_photo_brings_a_basis_of_the_indexs_own(tmp_path, index, album, stored):
    """The numbers as they are: 49 are too few, 50 are enough."""
    paths = album(tmp_path / "photos", 51, size=(48, 32))
    assert index.add(paths[:49]).added == 49
    check_plain(index, stored)
    assert index.add(paths[:50]).added == 1
    check_coded(index, stored, 50, images=paths[:50])
    before = content(index, stored)
    assert index.add(paths).added == 1
    check_coded(index, stored, 50, images=paths)
    after = content(index, stored)
    assert {name: after[name] for name in before} == before  # frozen
    assert fitting.BASIS_PHOTOS == 256


@pytest.mark.usefixtures("few")
def test_one_run_or_several_give_the_same(tmp_path, two_stage, album, stored):
    paths = album(tmp_path / "photos", 7)
    made = []
    for name, steps in (("one", [7]), ("two", [5, 7]), ("many", range(1, 8))):
        with InstanceIndex.create(tmp_path / name, descriptor=two_stage, regions="grid") as index:
            for count in steps:
                index.add(paths[:count])
            made.append((index.basis.fingerprint, content(index, stored)))
            check_coded(index, stored, 6 if name == "many" else 7, images=paths)
    assert made[0] == made[1]
    assert made[0][0] != made[2][0]  # it was frozen at six


@pytest.mark.usefixtures("few")
def test_a_basis_is_fitted_on_some_of_many_photos(tmp_path, index, album, stored, monkeypatch):
    """On eight evenly spread ones; the others never hold whole cells."""
    paths = album(tmp_path / "photos", 15)
    fitted, plain = [], []
    real_fit, real_upsert = fitting.fit, index.store.upsert

    def fit(store, *given):
        with store.reading() as view:
            fitted.extend(view.table.paths)
        return real_fit(store, *given)

    def upsert(entries):
        plain.extend(its.path for its in entries if its.record.vectors.dtype == np.float32)
        return real_upsert(entries)

    monkeypatch.setattr(fitting, "fit", fit)
    monkeypatch.setattr(index.store, "upsert", upsert)
    assert index.add(paths).added == 15
    assert fitted == plain == [paths[i] for i in range(0, 15, 2)]
    check_coded(index, stored, MOST, images=paths)
    assert index.search(paths[11], 1)[0][0].image == paths[11]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("first", [0, 3])
def test_images_are_in_the_order_in_which_they_were_given(tmp_path, index, album, stored, first):
    """Also those a basis was fitted on, which are stored before all others."""
    paths = album(tmp_path / "photos", 23)
    broken(paths[5])
    broken(paths[20])
    given = [paths[place] for place in np.random.default_rng(0).permutation(23)]
    index.add(given[:first])
    index.add(given, batch_size=4)
    wanted = [path for path in given if path not in {paths[5], paths[20]}]
    assert index.images == wanted
    # One of the sample may be a file that could not be read.
    check_coded(index, stored, state(index)[1], images=wanted)
    assert MOST - 2 <= state(index)[1] <= MOST
    assert index.add(given).added == 0
    assert index.images == wanted
    for path in wanted[::5]:
        assert index.search(path, 1)[0][0].image == path


@pytest.mark.usefixtures("few")
def test_removed_and_unreadable_photos_do_not_count(tmp_path, index, album, stored):
    paths = album(tmp_path / "photos", 9)
    for path in paths[1:3]:
        broken(path)
    report = index.add(paths[:7])
    assert (report.added, [path for path, _ in report.failed]) == (5, paths[1:3])
    check_plain(index, stored)
    index.remove(paths[0])
    assert index.add([paths[7]]).added == 1
    check_plain(index, stored)
    assert index.add([paths[8]]).added == 1
    check_coded(index, stored, 6, images=paths[3:])
    for path in paths[3:]:
        index.remove(path)
    index.add(album(tmp_path / "photos", 2, first=20))
    assert state(index)[1] == 6, "frozen, whatever is removed"


@pytest.mark.usefixtures("few")
def test_a_photo_described_elsewhere_has_no_maps_and_the_index_goes_on(
    tmp_path, index, album, stored
):
    """Without maps it cannot be coded: the index stays without a basis, and loses nothing."""
    rows = np.eye(2, DIM, dtype=np.float32)
    index.add_described([("/none/given.png", Regions.of_boxes((9, 9), [[0, 0, 5, 5]] * 2), rows)])
    paths = album(tmp_path / "photos", 7)
    assert index.add(paths[:6]).failed == []
    assert index.add(paths).added == 1
    check_plain(index, lambda of: {p: its for p, its in stored(of).items() if its[1]})
    assert sorted(index.images) == sorted([*paths, "/none/given.png"])
    assert index.search(paths[3], 1)[0][0].image == paths[3]
    index.remove("/none/given.png")
    assert index.add(paths).present == 7
    check_coded(index, stored, 7, images=paths)


KILLED = """
    import os, pathlib, signal, sys
    sys.path.insert(0, sys.argv[1])
    from small_network import small_descriptor
    from claid_ext.search import InstanceIndex, fitting
    fitting.LEAST_PHOTOS, fitting.spread.__defaults__ = 6, (8,)
    fitting.BASIS_PHOTOS = 8
    paths = sorted(map(str, pathlib.Path(sys.argv[3]).iterdir()))
    with InstanceIndex.open(sys.argv[2], descriptor=small_descriptor()) as index:
        die = lambda: os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[4] == "adding":
            upsert, left = index.store.upsert, [5]

            def upsert_some(entries):
                upsert(entries)
                left[0] -= len(entries)
                if left[0] <= 0:
                    die()

            index.store.upsert = upsert_some
        elif sys.argv[4] == "before fitting":
            fitting.fit = lambda *given: die()
        else:
            set_record, left = index.store._file.set_record, [3]

            def set_some(image, record):
                set_record(image, record)
                if record.vectors.dtype == "int8":
                    left[0] -= 1
                    if not left[0]:
                        die()

            index.store._file.set_record = set_some
        index.add(paths, batch_size=1)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("moment", "left"), [("adding", 5), ("before fitting", 7), ("while coding", 7)]
)
def test_a_run_that_was_killed_is_gone_on_with(  # noqa: PLR0917 (pytest gives them by name)
    tmp_path, two_stage, album, stored, moment, left
):
    paths = album(tmp_path / "photos", 7)
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        arguments = (Path(__file__).parent, index.path, tmp_path / "photos", moment)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert len(index) == left
        check_plain(index, stored)
        assert index.search(paths[0], 1)[0][0].image == paths[0]
        # Also when all photos are there already, and only the basis is missing.
        assert index.add(paths, batch_size=1).present == left
        check_coded(index, stored, 7, images=paths)
        after = content(index, stored)
    with InstanceIndex.create(tmp_path / "whole", descriptor=two_stage, regions="grid") as index:
        index.add(paths, batch_size=1)  # several at once differ by roundings
        assert content(index, stored) == after


@pytest.mark.usefixtures("few")
def test_more_whole_photos_than_a_basis_takes(tmp_path, index, album, stored, monkeypatch):
    """Killed before the fit, with the sample complete: no more photos are stored whole."""
    paths = album(tmp_path / "photos", 12)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            index.add(paths)
    assert len(index) == MOST
    check_plain(index, stored)
    real_upsert = index.store.upsert

    def upsert(entries):
        assert all(its.record.vectors.dtype == np.int8 for its in entries)
        return real_upsert(entries)

    monkeypatch.setattr(index.store, "upsert", upsert)
    assert index.add(paths).added == 4
    check_coded(index, stored, MOST, images=paths)


@pytest.mark.usefixtures("few")
def test_nothing_new_loads_no_network(tmp_path, index, album, monkeypatch):
    paths = album(tmp_path / "photos", 6)
    index.add(paths)
    monkeypatch.setattr(Networks, "describer", None)
    assert index.add(paths).present == 6


@pytest.mark.usefixtures("few")
def test_a_small_index_has_the_shipped_basis_until_it_has_its_own(
    tmp_path, two_stage, shipped, album, stored
):
    paths = album(tmp_path / "photos", 7)
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        assert index.basis.fingerprint == shipped.fingerprint
        index.add(paths[:5])
        assert index.basis.fingerprint == shipped.fingerprint
        check_coded(index, stored, 0, images=paths[:5])
        index.add(paths)
        assert index.basis.fingerprint != shipped.fingerprint
        check_coded(index, stored, 7, images=paths)
        grown = content(index, stored)
    with InstanceIndex.create(tmp_path / "at once", descriptor=two_stage, regions="grid") as index:
        index.add(paths)
        assert content(index, stored) == grown


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("harm", [gone, changed, larger, broken])
def test_a_photo_that_is_not_as_it_was_leaves_the_shipped_basis(  # noqa: PLR0917 (pytest gives them by name)
    tmp_path, two_stage, shipped, album, stored, harm
):
    paths = album(tmp_path / "photos", 7)
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        index.add(paths[:5])
        before = content(index, stored)
        harm(paths[2])
        report = index.add(paths[5:])
        assert (report.added, report.failed) == (2, [])
        assert paths[2] in report.no_own_basis
        assert state(index) == (shipped.fingerprint, 0)
        after = content(index, stored)
        assert sorted(index.images) == paths
        assert {name: after[name] for name in before} == before
        assert index.search(paths[6], 1)[0][0].image == paths[6]


@pytest.mark.usefixtures("few", "shipped")
def test_the_command_says_why_an_index_keeps_the_shipped_basis(
    tmp_path, index, album, monkeypatch, capsys
):
    paths = album(tmp_path / "photos", 7)
    index.add(paths[:5])
    gone(paths[2])
    monkeypatch.setattr(
        "claid_ext.cli.index._open",
        lambda *_: InstanceIndex.open(index.path, descriptor=index.descriptor),
    )
    assert main(["index", *paths[5:], "-o", str(index.path)]) == 0
    printed = capsys.readouterr()
    assert "2 added" in printed.out
    assert f"keeps the basis shipped for its network: {paths[2]}" in printed.err
    index.remove(paths[2])
    assert main(["index", *paths[5:], "-o", str(index.path), "--refit"]) == 0
    assert state(index)[1] == 6


@pytest.mark.usefixtures("few")
def test_photos_that_can_all_be_read_again_are_fitted_later(
    tmp_path, two_stage, shipped, album, stored
):
    paths = album(tmp_path / "photos", 8)
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        index.add(paths[:5])
        changed(paths[2])
        index.add(paths[5:7])
        assert state(index) == (shipped.fingerprint, 0)
        index.add([paths[2]])  # as it is now; all of them are known as they are
        assert not index.add(paths).no_own_basis
        check_coded(index, stored, 8, images=paths)
