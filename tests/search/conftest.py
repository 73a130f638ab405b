"""A fake descriptor, so that tests of the index need no network, and made regions."""

from __future__ import annotations

import numpy as np
import pytest

DIM = 8


class FakeDescriptor:
    """Each region's vector follows from its image's mean colour and its box."""

    def __init__(self, pooling: str = "mean") -> None:
        self.pooling = pooling

    def manifest(self):
        return {"name": "fake", "layers": [], "pooling": self.pooling, "dim": DIM, "weights": "0"}

    def recipe(self):
        return None

    def __call__(self, images, regions):
        vectors = []
        for image, its in zip(images, regions, strict=True):
            seed = int(np.asarray(image, np.int64).sum() % 2**31)
            rows = np.random.default_rng(seed).normal(size=(len(its), DIM)).astype(np.float32)
            vectors.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        return vectors


@pytest.fixture
def fake():
    return FakeDescriptor


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    paths = []
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        paths.append(folder / f"bild {i} ü.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths
