"""Descriptors and detectors without a hub: a fake one, small random ones, the real offline ones."""

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


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """Options of the command line for timm's smallest networks, weights random, from local files.

    Of "tokens" the detector's own features are the descriptor; of "conv" another network's.
    """
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in ("test_vit", "test_efficientnet"):
        torch.save(timm.create_model(name, num_classes=0).state_dict(), folder / f"{name}.pth")
    detector = ["--backbone", "test_vit", "--weights", str(folder / "test_vit.pth")]
    detector += ["--tau", "0.5", "--min-patches", "2"]
    conv = ["test_efficientnet", "--descriptor-weights", str(folder / "test_efficientnet.pth")]

    def options(descriptor="tokens"):
        return [*detector, "--descriptor", *(conv if descriptor == "conv" else ["tokens"])]

    return options
