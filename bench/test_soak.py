"""The soak of detecting, adding and searching, shortened: flat memory, and the right answers."""

from __future__ import annotations

import pytest

pytest.importorskip("httpx")
pytest.importorskip("skimage")
pytest.importorskip("faiss")

import serve_load
import soak

SECONDS = 12


def test_a_soak(tmp_path):
    done, memory = soak.soak(tmp_path, SECONDS, photos=30)
    assert done["search"] >= 1
    assert done["detect"] == 2 * done["search"]
    if len(memory) >= 8:  # enough of them for quarters
        assert serve_load.growth(memory) < serve_load.MOST_GROWTH
