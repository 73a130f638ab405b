"""Every peer's own work on one image, with each of its eigensolvers; each asserts its answer."""

from __future__ import annotations

import numpy as np
import pytest
from claid_ext.baselines import BASELINES
from claid_ext.baselines.ncut import SOLVERS

CASES = [
    pytest.param(name, solver, id=f"{name}-{solver}" if solver else name)
    for name, baseline in BASELINES.items()
    for solver in (SOLVERS if "solver" in baseline.options else [None])
    if not (name == "deep_spectral" and solver == "generalized")
]


@pytest.mark.parametrize("shape", [(25, 36, 384)], ids=["25x36x384"])
@pytest.mark.parametrize(("name", "solver"), CASES)
def test_peer(benchmark, shape, features, name, solver):
    if name == "ncut_pytorch":
        pytest.importorskip("ncut_pytorch")
    benchmark.group = "peers 25x36x384, 1 thread"
    baseline = BASELINES[name]
    options = {"solver": solver} if solver else {}
    work = baseline.segment or baseline.detect
    found = benchmark.pedantic(work, (features, shape[:2]), options, rounds=3, warmup_rounds=1)
    tree = baseline.detect(features, shape[:2])
    masks = found.masks() if baseline.segment is None else found.masks
    assert found.cuts == tree.cuts
    # Another solver gives the same cut: the eigenvector is the same but for rounding.
    assert np.mean(masks == tree.masks()) > 0.999
    assert masks.any(axis=(1, 2)).all()
