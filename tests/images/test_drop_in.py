"""Inside what people already have: torch's DataLoader, and compiled backbones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL.Image")

import claid_ext  # noqa: E402
from claid_ext import Detector  # noqa: E402

GRID = (12, 16)
OPTIONS = {"tau": 0.9, "min_patches": 2}
# A module of its own: processes that are spawned import it.
DATASETS = '''
import claid_ext
from claid_ext import Detector

def tokens(batch):
    """Mean and spread of each channel of each patch of 8 x 8."""
    import torch
    patches = batch.unfold(2, 8, 8).unfold(3, 8, 8)
    both = torch.cat([patches.mean((-1, -2)), patches.std((-1, -2))], dim=1)
    return both.flatten(2).transpose(1, 2)

class Trees:
    """Features in, trees out: in the worker."""
    def __init__(self, features, grid):
        self.features, self.grid = features, grid
    def __len__(self):
        return len(self.features)
    def __getitem__(self, i):
        return claid_ext.detect(self.features[i], self.grid, min_patches=3)

class Photos:
    """Photos in, trees out, by a detector that came from the parent."""
    def __init__(self, paths, detector):
        self.paths, self.detector = paths, detector
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, i):
        return self.detector(self.paths[i])[0].tree
'''


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "drop_in_datasets.py").write_text(DATASETS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "drop_in_datasets", raising=False)
    return __import__("drop_in_datasets")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("batch", [None, 3])
def test_detect_in_the_workers_of_a_data_loader(
    start: str, batch: int | None, datasets: Any
) -> None:
    if start not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on this system")
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(7, GRID[0] * GRID[1] // 8, 24)), 8, axis=1)
    features = (features + 0.3 * rng.normal(size=features.shape)).astype(np.float32)
    wanted = claid_ext.detect(features, GRID, min_patches=3)  # the parent has used it before
    assert max(map(len, wanted)) > 3
    loader = torch.utils.data.DataLoader(
        datasets.Trees(torch.from_numpy(features), GRID),
        batch_size=batch,
        num_workers=2,
        multiprocessing_context=start,
        collate_fn=None if batch is None else list,
    )
    found = list(loader) if batch is None else [tree for trees in loader for tree in trees]
    assert found == wanted


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_detector_in_the_workers_of_a_data_loader(
    start: str, datasets: Any, tmp_path: Path, photo: Callable[..., Any]
) -> None:
    if start not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on this system")
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        photo(seed=i).save(path)
    detector = Detector(datasets.tokens, patch_size=8, **OPTIONS)
    wanted = [found.tree for found in detector(paths)]
    assert max(map(len, wanted)) > 3
    loader = torch.utils.data.DataLoader(
        datasets.Photos(paths, detector),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=start,
    )
    assert list(loader) == wanted


class Patches(torch.nn.Module):
    """A convolution of patches and a layer: (B, 3, h, w) to (B, N, 16)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Conv2d(3, 16, 8, 8)
        self.layer = torch.nn.Linear(16, 16)

    def forward(self, batch: Any) -> Any:
        tokens = self.embed(batch).flatten(2).transpose(1, 2)
        return tokens + torch.nn.functional.gelu(self.layer(tokens))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_backbone(backend: str, photo: Callable[..., Any]) -> None:
    """Sizes change from photo to photo: each shape is compiled, or taken as dynamic.

    By the backends that compute what the network does, bit for bit; inductor needs half a minute.
    """
    network = Patches().eval()
    photos = [photo(seed=1), photo(height=64, width=120, seed=2), photo(seed=3)]
    plain = Detector(network, patch_size=8, **OPTIONS)(photos)
    torch.compiler.reset()
    compiled = torch.compile(network, backend=backend)
    found = Detector(compiled, patch_size=8, **OPTIONS)(photos)
    assert min(len(one.tree) for one in plain) > 1
    assert [one.tree for one in found] == [one.tree for one in plain]
