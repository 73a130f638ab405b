"""CPU against CUDA on the same features; the answers must be equal. Skips without a GPU."""

from __future__ import annotations

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
