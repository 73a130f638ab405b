"""CPU against CUDA on the same features; the answers must be equal. Skips without a GPU.

And the arithmetic of gpu_timing.py, which needs none.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import claid_ext
import numpy as np
import pytest
from claid_ext import _core

GRID = (45, 60)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("batch", [1, 16])
def test_detect(benchmark: Any, device: str, batch: int) -> None:
    available, reason = _core.cuda_available()
    if not available:
        pytest.skip(f"no GPU to compare with: {reason}")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch, GRID[0] * GRID[1], 768), dtype=np.float32)
    X += np.repeat(rng.standard_normal((batch, 27, 768), dtype=np.float32), 100, axis=1)
    wanted = claid_ext.detect(X, GRID)
    features = torch.from_numpy(X).to(device)
    assert benchmark(claid_ext.detect, features, GRID) == wanted


@pytest.fixture
def gpu_timing() -> Any:
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location(
        "gpu_timing", Path(__file__).with_name("gpu_timing.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_work_and_floors(gpu_timing: Any) -> None:
    rng = np.random.default_rng(1)
    tree = claid_ext.detect(rng.standard_normal((260, 40)), (13, 20))
    work = gpu_timing.count_work([tree, tree], 40, 2, products=1000)
    # 260 patches are 3 tiles across, of which 6 are computed; 40 columns are 64.
    assert work["affinity"].operations == 2 * 4 * 2 * 6 * 128**2 * 64
    assert work["quantise"].bytes == 2 * (260 * 40 * 2 + 384 * 64 * 2)
    assert work["k-sums"].bytes == 4000
    cut = tree.connectivity < 0.97
    rows = 260 + tree.size[cut].sum()
    assert work["rest of the tree"].bytes == 2 * ((260 + tree.size.sum()) * 384 / 8 + rows * 64 * 4)
    ceilings = gpu_timing.Ceilings(int8=1e15, bandwidth=1e12, kernel=1e-6)
    assert gpu_timing.Work(5e9, 1e12).floor(ceilings) == 5.0
    assert gpu_timing.Work(1e9, 7e12).floor(ceilings) == 7.0
    assert gpu_timing.Work(0, kernels=9).floor(ceilings) == pytest.approx(0.009)


def test_report(gpu_timing: Any) -> None:
    steps = {
        "quantise": 1.0,
        "affinity": 2.0,
        "tree": 4.0,
        "busy": 40.0,
        "sweeps": 30.0,
        "rounds": 6000,
        "moves": 5000,
    }
    assert gpu_timing.part_times(steps) == {
        "quantise": 1.0,
        "affinity": 2.0,
        "k-sums": 3.0,
        "rest of the tree": 1.0,
    }
    work = {part: gpu_timing.Work(1e9) for part in gpu_timing.part_times(steps)}
    ceilings = gpu_timing.Ceilings(int8=1e15, bandwidth=1e12, kernel=1e-6)
    text = gpu_timing.report(10.0, steps, work, ceilings, images=2)
    rows = {line[:18].strip(): line[18:].split() for line in text.splitlines()[1:-1]}
    assert rows["k-sums"] == ["1.5000", "30%", "0.5000", "3.0"]
    assert rows["host, copies"] == ["1.5000", "30%"]
    assert "2500 moves an image, 5.00 us a round; 10.0 blocks at work" in text
