"""Small random networks of timm, which both runtimes run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from claid_ext.backbones.runtimes import choosing

FLAGS = choosing.cpu_flags()  # before the fixture of all tests hides them


@pytest.fixture(autouse=True)
def _this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks run as they do on this machine."""
    monkeypatch.setattr(choosing, "cpu_flags", lambda: FLAGS)


@pytest.fixture(scope="session")
def network() -> Callable[..., Any]:
    """Make a network of timm with random weights, none of them at its trivial start."""
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm")

    def make(name: str, **options: Any) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = timm.create_model(name, num_classes=0, **options).eval()
            with torch.no_grad():
                for weight in made.parameters():
                    weight.add_(0.02 * torch.randn_like(weight))
        return made

    return make


@pytest.fixture(scope="session")
def vit(network: Callable[..., Any]) -> Callable[..., Any]:
    """Make a ViT of 2 blocks, 48 channels and patches of 16 pixels."""

    def make(name: str = "vit_small_patch16_224") -> Any:
        return network(name, dynamic_img_size=True, embed_dim=48, depth=2, num_heads=2)

    return make


@pytest.fixture(scope="session")
def pictures() -> list[Any]:
    """Pictures of blobs, of two sizes."""
    pil = pytest.importorskip("PIL.Image")
    made = []
    for seed in range(26):
        small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        size = (96, 64) if seed % 2 else (64, 80)
        made.append(pil.fromarray(small).resize(size, pil.Resampling.BICUBIC))
    return made


@pytest.fixture
def no_cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty cache folder."""
    monkeypatch.setenv("CLAID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
