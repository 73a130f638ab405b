"""`TokenNetwork`: the patch tokens of a ViT backbone as a descriptor's feature map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from claid_ext.backbones.preprocess import input_size
from claid_ext.descriptors.pooling import FeatureMap

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.backbones import Backbone
    from claid_ext.backbones.runtimes import Runner

__all__ = ["TokenNetwork", "token_map"]


class TokenNetwork:
    """A ViT backbone's patch tokens as a feature map; may share the detector's own forward."""

    layers: tuple[str, ...] = ("tokens",)
    octaves = 1

    @property
    def multiple(self) -> int:
        """Side of a patch in pixels."""
        return self.backbone.patch_size

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the input, for pixels 0 to 1."""
        return self.backbone.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Likewise."""
        return self.backbone.std

    def __init__(self, backbone: Backbone) -> None:
        """Wrap a backbone, possibly a detector's own."""
        self.backbone = backbone
        self.name = f"tokens:{backbone.name}"

    @property
    def fingerprint(self) -> str:
        """The backbone's own."""
        return self.backbone.fingerprint

    @property
    def runner(self) -> Runner:
        """The backbone's own."""
        return self.backbone.runner

    def calibrate(self, photos: Sequence[Any]) -> None:
        """Calibrate the backbone."""
        self.backbone.calibrate(photos)

    def map_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) to which the backbone resizes an image of (height, width)."""
        return input_size(image_size, self.backbone.patch_size)[0]

    def forward(self, batch: Tensor) -> list[Tensor]:
        """Return the tokens of a batch (B, 3, H, W) as a map, float32 (B, D, h, w), in a list."""
        patch = self.backbone.patch_size
        grid = (batch.shape[2] // patch, batch.shape[3] // patch)
        tokens = self.backbone.features(batch)
        return [tokens.float().transpose(1, 2).reshape(len(batch), -1, *grid)]

    def octave_of(self, boxes: NDArray[np.float32], _: tuple[int, int]) -> NDArray[np.int64]:
        """Return the one octave there is, 0, for boxes (R, 4)."""
        return np.zeros(len(boxes), np.int64)

    def maps(
        self, images: Sequence[Image.Image], octaves: Sequence[set[int]], batch_size: int
    ) -> Iterator[tuple[int, int, list[FeatureMap]]]:
        """Yield each image's number, the octave 0, and its map in a list; by size and batch."""
        del octaves
        inputs = [self.backbone.preprocess(image) for image in images]
        shapes = [tuple(pixels.shape) for pixels, _ in inputs]
        patch = self.backbone.patch_size
        for shape in sorted(set(shapes)):
            alike = [i for i, other in enumerate(shapes) if other == shape]
            for start in range(0, len(alike), batch_size):
                batch = alike[start : start + batch_size]
                tokens = self.backbone.features(torch.stack([inputs[i][0] for i in batch]))
                grid = (shape[1] // patch, shape[2] // patch)
                for row, i in enumerate(batch):
                    yield i, 0, [token_map(tokens[row].reshape(*grid, -1), inputs[i][1])]


def token_map(tokens: Tensor, covered: tuple[float, float]) -> FeatureMap:
    """Make a feature map of tokens (h, w, D) that cover (height, width) pixels of the image."""
    return FeatureMap(tokens.permute(2, 0, 1).float(), covered)
