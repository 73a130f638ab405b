"""From an image, or a part of it, to a network's input of a given size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["padded_pixels"]

Box = tuple[float, float, float, float]


def padded_pixels(
    image: Image.Image,
    size: tuple[int, int],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    multiple: int,
    box: Box | None = None,
) -> Tensor:
    """Resize (bicubic, antialiased), normalise and pad an RGB image.

    Parameters
    ----------
    image : of 8 bits.
    size : (height, width) that it is brought to.
    mean, std : of the input, three numbers each, for pixels 0 to 1.
    multiple : what both sides are padded to multiples of, below and at the right, by zeros: the
        mean.
    box : the part of it that is taken, (x0, y0, x1, y1) in its pixels; None for all of it.

    Returns
    -------
    float32 (3, H, W).
    """
    from PIL import Image as Pillow

    height, width = size
    whole = (0, 0, *image.size)
    box = whole if box is None else box
    if (width, height) != image.size or box != whole:
        image = image.resize((width, height), Pillow.Resampling.BICUBIC, box=box)
    pixels = torch.from_numpy(np.array(image, np.uint8)).permute(2, 0, 1).float() / 255
    centre, spread = (torch.tensor(three)[:, None, None] for three in (mean, std))
    pad = (0, -width % multiple, 0, -height % multiple)
    return nn.functional.pad((pixels - centre) / spread, pad)
