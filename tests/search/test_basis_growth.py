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
from claid_ext.errors import BasisChangedError, DamagedRecordError, UnreadableImageError
from claid_ext.regions import Regions
from claid_ext.search import InstanceIndex, Query, fitting
from claid_ext.search.recipes import Networks
from claid_ext.vectors import decode_vectors
from PIL import Image

CHANNELS = (40, 48)
DIM = sum(CHANNELS)
LEAST, MOST = 6, 8  # photos for a basis, instead of 50 and 256


@pytest.fixture
def few(monkeypatch):
    """A basis from 6 photos on, of 8 at most."""
    monkeypatch.setattr(fitting, "LEAST_PHOTOS", LEAST)
    monkeypatch.setattr(fitting, "BASIS_PHOTOS", MOST)
    # A default of the function, taken when it was defined.
    monkeypatch.setattr(fitting.spread, "__defaults__", (MOST,))


@pytest.fixture
def index(tmp_path, two_stage):
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as made:
        yield made


def state(index):
    return index.store.get("basis fingerprint"), index.store.get("basis photos")


def content(index, stored):
    """All that is stored of an index, to compare two by."""
    return {
        Path(path).name: (
            record.vectors.dtype.str, record.vectors.tobytes(), record.regions.boxes.tobytes(),
            [(one.layer, one.values.dtype.str, one.values.tobytes(), one.cell) for one in maps],
        )
        for path, (record, maps) in stored(index).items()
    }  # fmt: skip


def check_plain(index, stored):
    assert index.basis is None
    assert state(index) == (None, 0)
    assert index.dim == DIM
    for record, maps in stored(index).values():
        assert record.vectors.dtype == np.float32
        assert record.vectors.shape == (len(record), DIM)
        for one, channels in zip(maps, CHANNELS, strict=True):
            assert (one.values.dtype, one.values.shape[2]) == (np.float16, channels)


def check_coded(index, stored, photos, dim=DIM, images=None):
    """Every photo is coded by the basis that the index names, as describing it afresh has it."""
    assert state(index) == (index.basis.fingerprint, photos)
    assert index.dim == index.basis.vector_dim == dim
    kept = stored(index)
    assert images is None or sorted(kept) == sorted(images)
    fresh = index._networks.describer(index.basis)
    for path, (record, maps) in kept.items():
        assert record.vectors.dtype == np.int8
        assert record.vectors.shape == (len(record), dim)
        (wanted,) = fresh([path])
        # Cells went through float16 where they were stored whole.
        cosines = (decode_vectors(record.vectors) * decode_vectors(wanted.vectors)).sum(axis=1)
        assert cosines.min() > 0.999
        for one, other in zip(maps, wanted.maps, strict=True):
            assert one.values.dtype == np.uint8
            assert one.values.shape == (*other.values.shape[:2], 16)
            assert one.cell == other.cell
            assert (one.values == other.values).mean() > 0.98


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
def test_removed_and_unreadable_photos_do_not_count(tmp_path, index, album, stored):
    paths = album(tmp_path / "photos", 9)
    for broken in paths[1:3]:
        Path(broken).write_bytes(b"\x89PNG")
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


@pytest.fixture
def shipped(monkeypatch, two_stage, tmp_path, album):
    """A basis that comes with the package for the small network, fitted on other photos."""
    with InstanceIndex.create(tmp_path / "of", descriptor=two_stage, regions="full") as other:
        with monkeypatch.context() as patch:
            patch.setattr(fitting, "LEAST_PHOTOS", 3)
            other.add(album(tmp_path / "others", 3, first=90))
        basis = other.basis
    monkeypatch.setattr(fitting, "shipped_basis", lambda network: basis)
    return basis


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


def gone(path):
    Path(path).unlink()


def changed(path):
    """Another photo of the same size in its place."""
    with Image.open(path) as image:
        flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.save(path)
    os.utime(path, ns=(1, 1))


def larger(path):
    Image.new("RGB", (100, 100)).save(path)


def broken(path):
    Path(path).write_bytes(b"\x89PNG")


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
        assert index.add(paths[5:]).added == 2
        assert state(index) == (shipped.fingerprint, 0)
        after = content(index, stored)
        assert sorted(index.images) == paths
        assert {name: after[name] for name in before} == before
        assert index.search(paths[6], 1)[0][0].image == paths[6]


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
        index.add(paths)
        check_coded(index, stored, 8, images=paths)


@pytest.mark.usefixtures("few")
def test_refit_changes_the_basis_and_all_records(tmp_path, index, album, stored):
    paths = album(tmp_path / "photos", 14)
    index.add(paths[:6])
    index.add(paths)
    index.remove(paths[0])
    first, before = index.basis.fingerprint, content(index, stored)
    reader = InstanceIndex.open(index.path, descriptor=index.descriptor)
    box = (10, 10, 60, 50)
    (old,) = reader.prepare([Query(paths[9], box)])
    assert reader.search(old, 1)[0][0].image == paths[9]
    assert index.refit() == MOST
    assert index.basis.fingerprint != first
    check_coded(index, stored, MOST, images=paths[1:])
    after = content(index, stored)
    for name, its in after.items():
        assert its[1] != before[name][1]
        assert its[2] == before[name][2], "the regions stay"
        assert all(new[2] != was[2] for new, was in zip(its[3], before[name][3], strict=True))
    # Whoever had it open sees the new basis, and no answer comes of half the old one.
    with reader:
        with pytest.raises(BasisChangedError, match="basis has changed since the query was"):
            reader.search(old)
        assert reader.basis.fingerprint == index.basis.fingerprint
        query = Query(paths[9], box)
        assert reader.search(query, 5) == index.search(query, 5)
        assert reader.search(query, 1)[0][0].image == paths[9]
    assert index.refit() == MOST
    assert content(index, stored) == after, "the same photos give the same basis"


@pytest.mark.usefixtures("few")
def test_a_refit_while_a_query_is_prepared(tmp_path, index, album, monkeypatch):
    paths = album(tmp_path / "photos", 14)
    index.add(paths)
    query = Query(paths[9], (10, 10, 60, 50))
    with InstanceIndex.open(index.path, descriptor=index.descriptor) as reader:
        prepare, tries = reader.prepare, []

        def refitted_meanwhile(*given):
            prepared = prepare(*given)
            if not tries:
                index.remove(paths[0])
                index.refit()
            tries.append(given)
            return prepared

        monkeypatch.setattr(reader, "prepare", refitted_meanwhile)
        found = reader.search(query, 5)
        assert len(tries) == 2
    assert found == index.search(query, 5)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("harm", "error", "why"),
    [
        (gone, UnreadableImageError, "there is no such file"),
        (broken, UnreadableImageError, "004.png"),
        (changed, ValueError, "004.png has changed since it was added: add it again"),
        (larger, ValueError, "004.png has changed since it was added: add it again"),
    ],
)
@pytest.mark.parametrize("place", [4])
def test_refit_with_a_photo_not_as_it_was_changes_nothing(  # noqa: PLR0917 (pytest gives them by name)
    tmp_path, index, album, stored, harm, error, why, place
):
    paths = album(tmp_path / "photos", 12)
    index.add(paths)
    before = state(index), content(index, stored)
    harm(paths[place])
    with pytest.raises(error, match=why):
        index.refit()
    assert (state(index), content(index, stored)) == before
    assert index.search(paths[7], 1)[0][0].image == paths[7]
    index.remove(paths[place])
    assert index.refit() == MOST
    check_coded(index, stored, MOST, images=[*paths[:4], *paths[5:]])


@pytest.mark.usefixtures("few")
def test_pca_is_the_length_of_vectors(tmp_path, two_stage, album, stored):
    paths = album(tmp_path / "photos", 6)
    for pca in (2, 33, 75):
        options = {"descriptor": two_stage, "regions": "grid", "pca": pca}
        with InstanceIndex.create(tmp_path / f"i{pca}", **options) as index:
            index.add(paths)
            check_coded(index, stored, 6, dim=pca, images=paths)
            # Shared out over the layers as all of them would be.
            assert index.basis[0].vector_dim == round(pca * 40 / 88)
            assert index.search(paths[2], 1)[0][0].image == paths[2]
            assert index.refit() == 6
            check_coded(index, stored, 6, dim=pca, images=paths)


@pytest.mark.usefixtures("few")
def test_pca_shortens_the_shipped_basis(tmp_path, two_stage, shipped, album, stored):
    paths = album(tmp_path / "photos", 3)
    options = {"descriptor": two_stage, "regions": "grid", "pca": 20}
    with InstanceIndex.create(tmp_path / "i", **options) as index:
        index.add(paths)
        check_coded(index, stored, 0, dim=20, images=paths)
        assert index.basis[0].centroids.tobytes() == shipped[0].centroids.tobytes()


@pytest.mark.parametrize(
    ("pca", "why"),
    [
        (0, "pca must be at least 1, got 0"),
        (1, r"pca must suit layers of \[40, 48\] channels, got 1"),
        (89, r"pca must suit layers of \[40, 48\] channels, got 89"),
        (9999, r"pca must suit layers of \[40, 48\] channels, got 9999"),
    ],
)
def test_a_length_that_no_basis_can_have_is_told_at_once(tmp_path, two_stage, pca, why):
    with pytest.raises(ValueError, match=why):
        InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="full", pca=pca)


def test_a_factory_must_suit_the_vectors_that_there_will_be(tmp_path, two_stage):
    """Of 88 dimensions before and after; of 60 with pca."""
    options = {"descriptor": two_stage, "regions": "full"}
    with InstanceIndex.create(tmp_path / "a", factory="PQ15", pca=60, **options) as index:
        assert index.dim == DIM
    with pytest.raises(ValueError, match="factory 'PQ11' for 60 dimensions"):
        InstanceIndex.create(tmp_path / "b", factory="PQ11", pca=60, **options)
    with InstanceIndex.create(tmp_path / "c", factory="PQ11", **options) as index:
        assert index.dim == DIM


def test_a_damaged_basis_is_named(tmp_path, index, album, monkeypatch):
    monkeypatch.setattr(fitting, "LEAST_PHOTOS", 3)
    paths = album(tmp_path / "photos", 3)
    index.add(paths)
    content = bytearray(index.store.get("basis"))
    content[len(content) // 2] ^= 1
    file = index.store._file
    with file.transaction():
        file.set("basis", bytes(content))
    with (
        InstanceIndex.open(index.path, descriptor=index.descriptor) as again,
        pytest.raises(DamagedRecordError, match="the index's basis"),
    ):
        again.search(paths[0])


def test_the_real_networks_shipped_basis_codes_a_small_index(
    tmp_path, real_descriptor, album, stored
):
    paths = album(tmp_path / "photos", 2, size=(160, 120))
    made = InstanceIndex.create(tmp_path / "i", descriptor=real_descriptor, regions="grid")
    with made as index:
        index.add(paths)
        assert index.basis.network == real_descriptor.weights
        check_coded(index, stored, 0, dim=208, images=paths)
        assert index.search(paths[1], 1)[0][0].image == paths[1]
