"""Patch features of photos, computed once for all the methods that are compared on them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.errors import UnreadableImageError
from claid_ext.files import write_whole
from claid_ext.progress import progress

if TYPE_CHECKING:
    from claid_ext.backbones.runtimes import Choice
    from claid_ext.detector import Detector

__all__ = ["Photo", "photo_features"]


@dataclass(frozen=True, eq=False)
class Photo:
    """One image as the detectors see it.

    Attributes
    ----------
    name : file name.
    features : float32 (N, D).
    grid : (H, W), in patches.
    covered : (height, width) in pixels of the original image, from its top left, that the grid
        covers.
    """

    name: str
    features: NDArray[np.float32]
    grid: tuple[int, int]
    covered: tuple[float, float]


def photo_features(
    paths: Sequence[Path],
    backbone: str,
    *,
    weights: str | None = None,
    device: Any = None,
    runtime: str = "auto",
    precision: str = "auto",
    keep: Path | None = None,
    on_error: Callable[[Path, Exception], object] | None = None,
) -> list[Photo]:
    """Return the features of photos, by one backbone.

    Parameters
    ----------
    paths : image files.
    backbone, weights, device, runtime, precision : as `claid_ext.Detector`. One of int8 is
        calibrated on the photos.
    keep : a folder to keep features in, and to take them from where they are there already for the
        same file content (size and time of change), backbone, weights, runtime and
        precision.
    on_error : called with a photo that cannot be used and what is wrong with it; the photo is
        left out. None: the error is raised.

    Raises
    ------
    UnreadableImageError, WeightsUnavailableError, ImportError, ValueError : as `Detector`.
    """
    from claid_ext.backbones import running_of

    detector: Detector | None = None
    running = running_of(backbone, runtime, precision, device)
    photos = []
    for path in progress(paths, total=len(paths), description=f"features ({backbone})"):
        stored = None
        if keep and path.is_file():
            stored = keep / f"{_key(path, backbone, weights, running)}.npz"
        if stored and stored.exists():
            photos.append(_load(path.name, stored))
            continue
        if detector is None:  # outside the try: a wrong backbone is no fault of a photo
            from claid_ext.detector import Detector

            detector = Detector(
                backbone,
                weights=weights,
                device=device,
                keep_features=True,
                **running._asdict(),
            )
            detector.calibrate(paths)
        try:
            photo = _photo(path, detector)
        except (UnreadableImageError, ValueError) as error:
            if on_error is None:
                raise
            on_error(path, error)
            continue
        if stored:
            write_whole(stored, partial(_save, photo))
        photos.append(photo)
    return photos


def _photo(path: Path, detector: Detector) -> Photo:
    found = detector(path)[0]
    assert found.features is not None  # keep_features
    features = found.features.float().cpu().numpy()
    return Photo(path.name, features, found.tree.grid, found.covered)


def _key(path: Path, backbone: str, weights: str | None, running: Choice) -> str:
    files = [path, Path(weights)] if weights else [path]
    state = [
        (os.fspath(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files
    ]
    return (
        f"{path.stem}-{hashlib.sha256(repr((backbone, *running, state)).encode()).hexdigest()[:16]}"
    )


def _save(photo: Photo, path: Path) -> None:
    with path.open("wb") as file:  # given a path, NumPy would put .npz behind it
        np.savez(file, features=photo.features, grid=photo.grid, covered=photo.covered)


def _load(name: str, file: Path) -> Photo:
    with np.load(file) as content:
        height, width = content["grid"].tolist()
        down, across = content["covered"].tolist()
        return Photo(name, content["features"], (height, width), (down, across))
