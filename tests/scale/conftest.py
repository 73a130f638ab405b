"""What tests of scale share: data sets of made photos, and what they hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import MadeDescriber, made_photos


@pytest.fixture(scope="session")
def fifty(tmp_path_factory):
    """Fifty photos and a bad one, the last."""
    folder = tmp_path_factory.mktemp("photos")
    paths = made_photos(folder, 50)
    bad = folder / "bad.png"
    bad.write_bytes(b"no photo")
    return [*paths, str(bad)]


@pytest.fixture
def make(tmp_path):
    """Make a data set of made photos, in shards of 8, and list some in it."""
    from claid_ext.scale import create, plan
    from claid_ext.scale.planning import listed

    def made(photos, name="data", shard_photos=8):
        dataset = create(str(tmp_path / name), MadeDescriber(), shard_photos=shard_photos)
        plan(dataset, listed(photos))
        return dataset

    return made


def files_of(dataset) -> dict[str, bytes]:
    """The content of every part of the records of a data set, by name."""
    root = Path(dataset.address)
    folders = ("records", "regions", "images")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in folders
        for path in sorted((root / folder).glob("part-*"))
    }


@pytest.fixture
def content():
    return files_of
