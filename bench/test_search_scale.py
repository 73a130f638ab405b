"""The measurement of the index at scale, small: what it builds is right."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("faiss")

from made_regions import MadeRegions
from search_stages import Setting, measure, to_markdown


def test_made_regions_are_the_same_again_and_things_are_alike():
    made = MadeRegions(3000, 64, seed=3)
    vectors = np.concatenate([vectors for _, _, vectors in made.chunks()])
    again = np.concatenate([vectors for _, _, vectors in MadeRegions(3000, 64, seed=3).chunks()])
    np.testing.assert_array_equal(vectors, again)
    assert vectors.shape == (made.counts.sum(), 64) == (3000, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    thing = int(np.bincount(made.shown[made.shown >= 0]).argmax())
    views = vectors[made.shown == thing]
    within = (views @ views.T)[~np.eye(len(views), dtype=bool)].mean()
    among = (views @ vectors[made.shown < 0].T).mean()
    assert within > 0.5 > among


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("factory", ["Flat", "IVF16,SQ8"])
def test_an_index_of_thousands_is_right_in_every_stage(tmp_path, factory):
    setting = Setting(str(tmp_path / "i"), factory, vectors=24_000, dim=64, queries=5)
    result = measure(setting)
    assert result["build"]["images"] == len(setting.made.counts)
    assert ("base" in result["build"]["files"]) == (factory != "Flat")
    assert result["build"]["files"]["records.sqlite"] > 24_000 * 64
    for k in ("10", "100"):
        judged = result["compare"][k]
        assert judged["distinct"]
        assert judged["true_scores"]
        assert judged["exact"] or factory != "Flat"
        assert judged["recall"] > 0.8
    assert "| k = 100: k distinct images | yes |" in to_markdown([result])
