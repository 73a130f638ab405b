"""An index of every version that was ever written: it opens, or says how to make it anew."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")

from claid_ext import InstanceIndex
from claid_ext.cli import main
from claid_ext.errors import InvalidIndexError
from claid_ext.index import manifest

INDEXES = Path(__file__).parent / "indexes"
sys.path.insert(0, str(INDEXES))

import make  # noqa: E402


@pytest.fixture
def old(tmp_path):
    """A copy of the index of a version."""

    def copy(version):
        return Path(shutil.copytree(INDEXES / f"v{version}", tmp_path / f"v{version}"))

    return copy


def test_there_is_an_index_of_every_version():
    kept = sorted(path.name for path in INDEXES.glob("v*"))
    assert kept == [f"v{version}" for version in range(1, manifest._VERSION + 1)]


@pytest.mark.parametrize("version", [1, 2])
def test_old_versions_name_the_command_that_makes_them_anew(old, version, capsys):
    folder = old(version)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    command = (
        "claid index PHOTOS -o NEW --regions grid --descriptor efficientnet_lite0 "
        "--factory IVF16,Flat"
    )
    with pytest.raises(InvalidIndexError, match=f"has version {version}") as raised:
        InstanceIndex.open(folder)
    assert command in str(raised.value)
    assert main(["search", str(folder), "photo.jpg"]) == 1
    assert command in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_version_3_opens_and_answers_as_when_it_was_made(old):
    with InstanceIndex.open(old(3)) as index:
        assert index.images == [f"/photos/{i}.jpg" for i in range(make.IMAGES)]
        for image in range(make.IMAGES):
            hits = index.search_vectors([(make.vectors(image)[1:], False)], make.IMAGES)[0]
            assert hits[0].image == f"/photos/{image}.jpg"
            assert hits[0].box == (8, 8, 64, 48)
            assert hits[0].level == 2
            assert hits[0].score == pytest.approx(1, abs=1e-6)
        with index.store.reading() as view:
            stored = dict(view.records(view.table.ids))
            maps = dict(view.maps(view.table.ids))
        assert index.store.file_states()["/photos/2.jpg"] == (12, 22)
    for (number, its), made in zip(
        stored.items(), map(make.record, range(make.IMAGES)), strict=True
    ):
        np.testing.assert_array_equal(its.vectors, made.vectors)
        np.testing.assert_array_equal(its.regions.boxes, made.regions.boxes)
        for one, other in zip(maps[number], made.maps, strict=True):
            assert (one.layer, one.cell) == (other.layer, other.cell)
            np.testing.assert_array_equal(one.values, other.values)
