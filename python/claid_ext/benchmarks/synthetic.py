"""Synthetic features with the structure of a photo's, at any grid and dimension, from NumPy alone.

For timing where no photo's features of that size are at hand: k-sums' sweeps and the number of cuts
depend on the features, so white noise would time the wrong thing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["scene_features"]

_WITHIN_COSINE = 0.6  # of two patches of one object, as ViT tokens have it
_AREAS = (0.005, 0.12)  # of an object, as a share of the image: few large ones, many small


def scene_features(
    grid: tuple[int, int], dim: int, *, objects: int = 24, seed: int = 0
) -> NDArray[np.float32]:
    """Return the features of a synthetic scene, float32 (H * W, dim), rows not normalised.

    Ellipses of random place and size, each with a direction of its own in feature space and half of
    them with a part that shares the whole's direction, lie over each other on a ground of smooth
    random fields; white noise brings the cosine of two patches of one object to about 0.6. The
    same arguments give the same features.
    """
    rng = np.random.default_rng(seed)
    height, width = grid
    y, x = np.mgrid[:height, :width]
    scene = _ground(rng, grid, dim)
    energy = np.full(grid, 0.8)
    for _ in range(objects):
        area = np.exp(rng.uniform(*np.log(_AREAS))) * height * width
        stretch = np.exp(rng.uniform(-0.7, 0.7))
        radii = np.sqrt(area / np.pi) * np.array([stretch, 1 / stretch])
        centre = rng.uniform([0, 0], grid)
        inside = _ellipse(y, x, centre, radii)
        whole = _direction(rng, dim)
        scene[inside] = whole
        energy[inside] = rng.uniform(0.8, 1.6)
        if rng.random() < 0.5:
            part = inside & _ellipse(y, x, centre + radii * rng.uniform(-0.5, 0.5, 2), radii / 2)
            scene[part] = np.sqrt(0.4) * whole + np.sqrt(0.6) * _direction(rng, dim)
    noise = np.sqrt((1 / _WITHIN_COSINE - 1) / dim)
    scene += noise * rng.standard_normal(scene.shape, dtype=np.float32)
    scene *= energy[..., None].astype(np.float32)
    return scene.reshape(-1, dim)


def _direction(rng: np.random.Generator, dim: int) -> NDArray[np.float32]:
    direction = rng.standard_normal(dim, dtype=np.float32)
    direction /= np.float32(np.linalg.norm(direction))
    return direction


def _ellipse(
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
) -> NDArray[np.bool_]:
    inside = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1
    return np.asarray(inside)


def _ground(rng: np.random.Generator, grid: tuple[int, int], dim: int) -> NDArray[np.float32]:
    """Unit vectors that turn smoothly over the image: float32 (H, W, dim)."""
    fields = 12
    frequency = np.hypot(
        np.fft.fftfreq(grid[0])[:, None] * grid[0], np.fft.rfftfreq(grid[1])[None] * grid[1]
    )
    spectrum = np.fft.rfft2(rng.standard_normal((fields, *grid)))
    weight = np.fft.irfft2(spectrum * np.exp(-(frequency**2) / 8), s=grid)
    ground = np.einsum("fhw,fd->hwd", weight, rng.standard_normal((fields, dim)))
    ground /= np.linalg.norm(ground, axis=2, keepdims=True)
    return np.asarray(ground, np.float32)
