"""A freshly installed wheel, where nothing but NumPy is: does it do its work?

Run by the session `core` and, on every platform, by cibuildwheel:  python -P .ci/smoke.py
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import claid_ext
import numpy as np

GRID, DIMS = (24, 30), 64
COLD = (
    "import numpy as np, claid_ext; X = np.random.default_rng(0).normal(size=(2700, 384)); "
    "print(len(claid_ext.detect(X.astype('f4'), (45, 60))))"
)


def made_features(seed: int) -> np.ndarray:
    """Patches of a few kinds in blocks, and noise, so that there is something to cut."""
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(7, DIMS))
    rows, columns = np.divmod(np.arange(GRID[0] * GRID[1]), GRID[1])
    features = kinds[(rows // 6 + 3 * (columns // 8)) % 7] + 0.4 * rng.normal(
        size=(GRID[0] * GRID[1], DIMS)
    )
    return features.astype(np.float32)


def main() -> None:
    """Raises where something is wrong."""
    here = Path(claid_ext.__file__)
    assert "site-packages" in here.parts, f"{here} is not an installed package"
    for name in ("torch", "PIL", "faiss"):
        assert importlib.util.find_spec(name) is None, f"{name} is installed"
    assert importlib.metadata.version("claid_ext") == claid_ext.__version__

    batch = np.stack([made_features(seed) for seed in range(3)])
    options = {"min_patches": 4, "tau": 0.3}
    trees = claid_ext.detect(batch, GRID, **options)
    assert trees == claid_ext.reference.detect(batch, GRID, **options)
    assert all(len(tree) > 3 for tree in trees)
    with tempfile.TemporaryDirectory() as folder:
        trees[0].save(Path(folder) / "tree.npz")
        assert claid_ext.RegionTree.load(Path(folder) / "tree.npz") == trees[0]

    doctor = subprocess.run(
        [sys.executable, "-P", "-m", "claid_ext", "doctor"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "torch" in doctor.stdout, doctor
    start = time.monotonic()
    regions = subprocess.run([sys.executable, "-P", "-c", COLD], capture_output=True, check=True)
    took = time.monotonic() - start
    info = claid_ext.build_info()
    print(f"claid_ext {claid_ext.__version__} on Python {sys.version.split()[0]}: {info}")
    print(
        f"from cold, detect on random features takes {took:.2f} s ({regions.stdout.decode()[:-1]})"
    )


if __name__ == "__main__":
    main()
