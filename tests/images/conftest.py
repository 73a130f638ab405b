"""Small random networks, and pictures made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from PIL import Image


@pytest.fixture(scope="session")
def patch_means() -> Callable[[Any], Any]:
    """A backbone of patch size 8 without weights: mean and spread of each patch's channels."""

    def tokens(batch: Any) -> Any:
        import torch

        patches = batch.unfold(2, 8, 8).unfold(3, 8, 8)
        mean, spread = patches.mean((-1, -2)), patches.std((-1, -2))
        return torch.cat([mean, spread], dim=1).flatten(2).transpose(1, 2)

    return tokens


@pytest.fixture
def photo() -> Callable[..., Image.Image]:
    """Make an RGB picture: bright discs on noise, so that there are regions to find."""

    pil = pytest.importorskip("PIL.Image")

    def make(height: int = 96, width: int = 128, seed: int = 0) -> Image.Image:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width]
        pixels = rng.integers(0, 60, (height, width, 3))
        for _ in range(3):
            inside = (y - rng.integers(height)) ** 2 + (x - rng.integers(width)) ** 2 < 500
            pixels[inside] = rng.integers(100, 255, 3)
        return pil.fromarray(pixels.astype(np.uint8))

    return make


@pytest.fixture
def photos(tmp_path: Path, photo: Callable[..., Image.Image]) -> Path:
    """A folder: a.jpg, sub/a.jpg, sub/ü 1.png, one broken file and one that is no image."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    photo(seed=1).save(folder / "a.jpg")
    photo(seed=2).save(folder / "sub" / "a.jpg")
    photo(seed=3).save(folder / "sub" / "ü 1.png")
    (folder / "notes.txt").write_text("no image")
    (folder / "truncated.jpg").write_bytes((folder / "a.jpg").read_bytes()[:2000])
    return folder
