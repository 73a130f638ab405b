"""The load and the soak of `claid serve`, shortened: no error but 503, and flat memory."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
pytest.importorskip("skimage")

import serve_load

SOAK_SECONDS = 12


def test_many_searches_at_once_and_a_soak(tmp_path):
    serve_load.make_index(tmp_path / "index", 60)
    with serve_load.served(tmp_path / "index") as (url, pid):
        serve_load.describe_queries(url)
        seen = serve_load.load(url, 50, each=2)
        assert len(seen.seconds) == 100
        assert set(seen.statuses) <= {200, 503}
        assert seen.statuses[200] >= 66  # as many as may run and wait
        seen, memory = serve_load.soak(url, pid, SOAK_SECONDS)
        assert set(seen.statuses) == {200}
        assert serve_load.growth(memory) < serve_load.MOST_GROWTH
