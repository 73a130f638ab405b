"""How an index is fitted a new basis, and how long its vectors are then."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("faiss")
from bases import DIM, MOST, broken, changed, check_coded, content, gone, larger, state
from claid_ext.errors import BasisChangedError, DamagedRecordError, UnreadableImageError
from claid_ext.search import InstanceIndex, Query, fitting
from claid_ext.search.recipes import Networks


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
def test_refit_needs_no_detector(tmp_path, index, album, stored, monkeypatch):
    """Regions are stored; the detector's weights may be gone, and take seconds to load."""
    paths = album(tmp_path / "photos", 7)
    index.add(paths)
    with InstanceIndex.open(index.path, descriptor=index.descriptor) as again:
        monkeypatch.setattr(Networks, "source", property(lambda _: pytest.fail("made")))
        assert again.refit() == 7
    monkeypatch.undo()
    check_coded(index, stored, 7, images=paths)


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
