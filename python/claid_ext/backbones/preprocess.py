"""From a photo to a network's input: its size, its crop, its normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from PIL import Image

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "input_size", "to_tensor"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# docs/contract.md, section 6: to a shorter side of 360, a longer one of at most 800, where the
# shorter side is over 355.
_SHORTER = 360
_LONGER = 800
_KEEPS_ITS_SIZE = 355
_MOST_PIXELS = 2 * _SHORTER * _LONGER
_MOST_PATCHES = 65535


def input_size(
    image_size: tuple[int, int], patch_size: int, scale: float = 1.0
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Choose the size that an image is brought to, and the grid of whole patches in it.

    Where the shorter side is over 355 pixels, it is brought to 360, or to less so that the longer
    is at most 800. A smaller image keeps its size, unless it is so long that it has more pixels
    than two of 360 x 800: it is brought down to that many. `scale` multiplies what comes of this. A
    side shorter than one patch is stretched to one patch.

    Parameters
    ----------
    image_size : (height, width) in pixels.
    patch_size : side of a patch in pixels.
    scale : 1 for the paper's size; more, to find smaller things.

    Returns
    -------
    resized : (height, width) that the whole image is resized to.
    grid : (H, W) whole patches, from the top left corner; the rest is cropped.

    Raises
    ------
    ValueError : so elongated that the grid would have more than 65535 patches.
    """
    shorter, longer = min(image_size), max(image_size)
    if shorter > _KEEPS_ITS_SIZE:
        resize = min(_SHORTER / shorter, _LONGER / longer)
    else:
        resize = min(1.0, (_MOST_PIXELS / (shorter * longer)) ** 0.5)
    height, width = (max(patch_size, round(side * resize * scale)) for side in image_size)
    grid = height // patch_size, width // patch_size
    if grid[0] * grid[1] > _MOST_PATCHES:
        raise ValueError(
            f"an image of {image_size[0]} x {image_size[1]} pixels (height x width) is too "
            f"elongated: a grid of {grid[0]} x {grid[1]} patches is over {_MOST_PATCHES}"
        )
    return (height, width), grid


def to_tensor(
    image: Image.Image,
    patch_size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    scale: float = 1.0,
) -> tuple[torch.Tensor, tuple[float, float]]:
    """Resize (bicubic, antialiased) to `input_size`, crop and normalise an RGB image.

    Returns
    -------
    pixels : float32 (3, h, w), h and w whole patches.
    covered : (height, width) in pixels of the given image, from its top left corner, that these
        patches cover; fractions of a pixel matter.
    """
    import torch
    from PIL import Image as Pillow

    (height, width), (rows, columns) = input_size((image.height, image.width), patch_size, scale)
    h, w = rows * patch_size, columns * patch_size
    covered = (h * image.height / height, w * image.width / width)
    if (width, height) != image.size:
        image = image.resize((width, height), Pillow.Resampling.BICUBIC)
    pixels = np.asarray(image, np.float32)[:h, :w] / np.float32(255)
    normalised: NDArray[np.float32] = pixels - np.array(mean, np.float32)
    normalised /= np.array(std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1))), covered
