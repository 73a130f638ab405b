"""The recipe of docs/integrations.md for FiftyOne, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("timm")
from claid_ext import InstanceIndex

DOCS = Path(__file__).parents[2] / "docs" / "integrations.md"


def recipe():
    (code,) = re.findall(r"```python fiftyone\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    return code


def test_the_recipe_is_python():
    compile(recipe(), str(DOCS), "exec")


def fiftyone():
    """FiftyOne, if it is installed with a database that it can start."""
    found = pytest.importorskip("fiftyone", reason="FiftyOne is not installed")
    try:
        found.list_datasets()
    except Exception as error:  # whatever starting a server runs into
        pytest.skip(f"FiftyOne has no database: its package downloads MongoDB ({error})")
    return found


@pytest.mark.filterwarnings("ignore")  # FiftyOne's own
def test_samples_with_regions_and_their_vectors(fake, photos, tmp_path):
    fo = fiftyone()
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="grid") as index:
        index.add(photos)
        exec(recipe(), {"index": index})
        dataset = fo.load_dataset("things")
        try:
            assert sorted(dataset.values("filepath")) == sorted(index.images)
            with index.store.reading() as view:
                ((_, record),) = view.records(view.table.ids[:1])
            its = dataset[index.images[0]]["regions"].detections
            assert len(its) == len(record)
            for one, vector in zip(its, record.unit_vectors, strict=True):
                np.testing.assert_allclose(one["vector"], vector, rtol=1e-6)
        finally:
            dataset.delete()
