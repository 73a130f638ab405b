"""How images are named in an index, and which of them a pattern, list or function selects."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageFilter", "absolute", "file_state", "image_name", "is_name", "matching"]

ImageFilter = Callable[[str], bool] | str | Iterable[str | os.PathLike[str]]


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_name(image: str) -> bool:
    """Whether an index knows an image by a name such as data://cifar10/17, not as a file."""
    return _NAME.match(image) is not None


def image_name(name: str) -> str:
    """Return the name by which an index knows an image that is no file."""
    return name if is_name(name) else f"data://{name.lstrip('/')}"


def absolute(image: str | os.PathLike[str]) -> str:
    """Return the name by which an index knows an image file, or one that has such a name."""
    if is_name(os.fspath(image)):
        return os.fspath(image)
    return os.path.abspath(os.fspath(image))  # noqa: PTH100 (links are kept as they are)


def file_state(path: str) -> tuple[int, int]:
    """Return a file's (bytes, modification time in ns), to notice changes; zeros for no file."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def matching(paths: list[str], images: ImageFilter | None) -> NDArray[np.bool_]:
    """Return which of M paths are selected, bool (M,); None selects all."""
    if images is None:
        return np.ones(len(paths), bool)
    if callable(images):
        return np.array([bool(images(path)) for path in paths], bool)
    if isinstance(images, str):
        return np.array([fnmatch.fnmatch(path, images) for path in paths], bool)
    wanted = {absolute(image) for image in images}
    return np.array([path in wanted for path in paths], bool)
