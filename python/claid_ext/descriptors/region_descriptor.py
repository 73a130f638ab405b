"""`RegionDescriptor`: images and their regions in, one unit vector per region out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from claid_ext.backbones import BACKBONES, Backbone, load_backbone
from claid_ext.descriptors.maps import photo_maps, region_vectors
from claid_ext.descriptors.networks import ConvNetwork, timm_network
from claid_ext.descriptors.pooling import POOLINGS, FeatureMap, pool_regions
from claid_ext.descriptors.shipped import shipped_basis
from claid_ext.descriptors.token_network import TokenNetwork, token_map
from claid_ext.images import as_image
from claid_ext.regions import Regions

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["RegionDescriptor"]

_TOKENS = "tokens:"  # before a backbone's name
_GPU_BATCH = 8
_PROBE_SIZE = (64, 64)  # of an image by which a network's dimensions are found out


class RegionDescriptor:
    """The descriptor of the paper's section IV: regions pooled from a network's feature map.

    The whole image goes through the network once, however many regions it has.

    Attributes
    ----------
    dim : length of a vector.
    """

    def __init__(
        self,
        backbone: str | Backbone | nn.Module = "resnet50",
        *,
        weights: str | Path | None = None,
        pooling: str = "whitened",
        layer: str | Sequence[str] | None = None,
        octaves: int | None = None,
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        runtime: str = "auto",
        precision: str = "auto",
    ) -> None:
        """Load the network.

        Parameters
        ----------
        backbone : "resnet50" (the paper's), "resnet101", "vgg16", "efficientnet_lite0" (its weights
            come with the extra `[offline]`); the name of any timm model; a backbone of
            `claid_ext.backbones`, by name or loaded (give a detector's own, and one forward serves
            both), or "tokens:NAME" for any ViT of timm; or a torch module from normalised
            (B, 3, H, W) to maps (B, C, h, w).
        weights : None for the usual source; "hub"; "torchvision"; or a file, .pth or .safetensors,
            with torchvision's or timm's names, bare or in a training checkpoint (SwAV, MoCo).
        pooling : "whitened" (the default): the mean of the map's cells over the box, each whitened
            by a basis (arXiv 1511.05879 and Jégou and Chum, ECCV 2012); with it an index also keeps
            the maps themselves, and finds the box on them. The others give one vector per region
            and nothing else: "mean", "max", "gem" (p = 3) over the box; "mask": the mean over the
            region's own patches (over the box where a region has no mask, as a query's); "cells":
            the means over 3 x 3 cells of the box, each normalised; of several layers, the last one
            gives its mean instead.
        layer : one of timm's stages, such as "layer3", or several: each is pooled and normalised,
            then they are joined. None for the network's default.
        octaves : of a pyramid of the image, each twice as large as the one before, which all go
            through the network; smaller regions are pooled on larger octaves
            (`ConvNetwork.octave_of`). None for 1; not for "whitened".
        device : where the network runs; None for CUDA if there is a GPU, else the CPU.
        batch_size : how many images of one size go through it together; None for 8 on a GPU and 1
            on the CPU, where more take longer per image.
        runtime, precision : as `Detector`; of a Backbone, its own.

        Raises
        ------
        ValueError : an unknown name, pooling or layer; weights that do not fit.
        WeightsUnavailableError : the weights cannot be had here; lists the alternatives.
        """
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        if octaves is not None and (isinstance(octaves, bool) or octaves not in range(1, 5)):
            raise ValueError(f"octaves must be from 1 to 4 or None, got {octaves!r}")
        if pooling == "whitened" and octaves not in {None, 1}:
            raise ValueError(f'octaves is not for pooling="whitened", got {octaves}')
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        layers = (layer,) if isinstance(layer, str) else layer
        self.network = _network(
            backbone, weights, layers, device, octaves, running=(runtime, precision)
        )
        self.pooling = pooling
        self.batch_size = batch_size or (_GPU_BATCH if _on_gpu(self.network) else 1)
        self._source = backbone if isinstance(backbone, str) else None
        self._weights = _lasting(weights)
        self._dim: int | None = None
        self._checksum: str | None = None

    @property
    def two_stages(self) -> bool:
        """Whether an index keeps maps beside the vectors, and finds boxes on them."""
        return self.pooling == "whitened"

    @property
    def workers(self) -> int:
        """How many calls at once make the best of the machine."""
        return self.network.runner.workers

    @property
    def weights(self) -> str:
        """SHA-256 of the network's weights, hexadecimal."""
        if self._checksum is None:
            self._checksum = self.network.fingerprint
        return self._checksum

    @property
    def dim(self) -> int:
        """Length of a vector."""
        if self._dim is None:
            self._dim = self([_probe()], [Regions.whole(_PROBE_SIZE)])[0].shape[1]
        return self._dim

    @property
    def channels(self) -> int:
        """Channels of all layers: the length of a vector that no basis has shortened."""
        (maps,) = self.maps([_probe()], [Regions.whole(_PROBE_SIZE)])
        return sum(len(one.values) for one in maps)

    def __call__(
        self, images: Sequence[Any], regions: Sequence[Regions]
    ) -> list[NDArray[np.float32]]:
        """Describe the regions of images.

        Parameters
        ----------
        images : paths, PIL images or uint8 arrays (height, width, 3).
        regions : of each image, as `region_source` gives them.

        Returns
        -------
        One float32 (R, dim) per image, each row of length 1 (a region whose features are all zero
        stays zero). "whitened" uses the basis shipped for the network, if there is one, and
        otherwise leaves cells unwhitened; an index has its own.

        Raises
        ------
        UnreadableImageError : a path that is no readable image.
        ValueError : not one `Regions` per image, or made for another image size.
        """
        if self.two_stages:
            basis = shipped_basis(self.weights)
            made = zip(self.maps(images, regions), regions, strict=True)
            return [region_vectors(maps, its.boxes, basis) for maps, its in made]
        self._check(images, regions)
        vectors: list[NDArray[np.float32] | None] = [None] * len(images)
        shared = [i for i, its in enumerate(regions) if self._reuses_tokens(its)]
        for i in shared:
            tokens = regions[i].tokens
            assert tokens is not None
            every = np.arange(len(regions[i]))
            vectors[i] = self._pool([token_map(*tokens)], regions[i], every)
        others = [i for i, vector in enumerate(vectors) if vector is None]
        pictures = [as_image(images[i]) for i in others]
        for i, picture in zip(others, pictures, strict=True):
            _check_size(picture, regions[i])
        octave_of = [
            self.network.octave_of(regions[i].boxes, regions[i].image_size) for i in others
        ]
        # A photo without regions goes through the network too, for the length of a vector.
        wanted = [set(octaves.tolist()) or {0} for octaves in octave_of]
        for number, octave, maps in self.network.maps(pictures, wanted, self.batch_size):
            i, rows = others[number], np.flatnonzero(octave_of[number] == octave)
            pooled, into = self._pool(maps, regions[i], rows), vectors[i]
            if into is None:
                into = vectors[i] = np.empty((len(regions[i]), pooled.shape[1]), np.float32)
            into[rows] = pooled
        return [vector for vector in vectors if vector is not None]

    def maps(self, images: Sequence[Any], regions: Sequence[Regions]) -> list[list[FeatureMap]]:
        """Return the feature maps of images at the size at which an index keeps them.

        Arguments and errors are those of a call. The detector's tokens, if the regions have them,
        are used instead of another forward.
        """
        self._check(images, regions)
        pictures = [as_image(image) for image in images]
        for picture, its in zip(pictures, regions, strict=True):
            _check_size(picture, its)
        fresh = [i for i, its in enumerate(regions) if not self._reuses_tokens(its)]
        made = photo_maps(self.network, [pictures[i] for i in fresh], self.batch_size)
        by_image = dict(zip(fresh, made, strict=True))
        for i, its in enumerate(regions):
            if i not in by_image and its.tokens is not None:
                by_image[i] = [token_map(*its.tokens)]
        return [by_image[i] for i in range(len(images))]

    def calibrate(self, photos: Sequence[Any]) -> None:
        """Calibrate a network of int8 on 24 of some photos, as `Detector.calibrate`."""
        self.network.calibrate(photos)

    def _check(self, images: Sequence[Any], regions: Sequence[Regions]) -> None:
        if len(images) != len(regions):
            raise ValueError(f"{len(images)} images, but regions of {len(regions)}")

    def manifest(self) -> dict[str, Any]:
        """Return what must match for a query to be described in the same way, as JSON values."""
        return {
            "name": self.network.name,
            "layers": list(self.network.layers),
            "octaves": self.network.octaves,
            "pooling": self.pooling,
            "dim": self.dim,
            "weights": self.weights,
            **self.network.runner.manifest(),
        }

    def recipe(self) -> dict[str, Any] | None:
        """Return how to make this descriptor again; None for one made of a module."""
        if isinstance(self.network, TokenNetwork):
            backbone = self.network.backbone.recipe()
            return backbone and {
                "recipe": "tokens",
                "version": 1,
                "backbone": backbone,
                "pooling": self.pooling,
                **self.network.runner.choice._asdict(),
            }
        if self._source is None:
            return None
        return {
            "recipe": "network",
            "version": 1,
            "name": self._source,
            "weights": self._weights,
            "layers": list(self.network.layers),
            "octaves": self.network.octaves,
            "pooling": self.pooling,
            **self.network.runner.choice._asdict(),
        }

    def _reuses_tokens(self, regions: Regions) -> bool:
        return isinstance(self.network, TokenNetwork) and regions.tokens is not None

    @torch.inference_mode()
    def _pool(
        self, maps: list[FeatureMap], regions: Regions, some: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Pool some regions, int64 (n,), on one octave; float32 (n, dim)."""
        masks = None if regions.masks is None else regions.masks[some]
        pooled = []
        for number, one in enumerate(maps, start=1):
            # The last of several layers says what a thing is, the others where its parts are.
            whole = self.pooling == "cells" and number == len(maps) > 1
            pooling = "mean" if whole else self.pooling
            vectors = pool_regions(one, regions.boxes[some], masks, regions.covered, pooling)
            pooled.append(nn.functional.normalize(vectors))
        joined: NDArray[np.float32] = nn.functional.normalize(torch.cat(pooled, 1)).cpu().numpy()
        return joined


def _network(
    backbone: str | Backbone | nn.Module,
    weights: str | Path | None,
    layers: Sequence[str] | None,
    device: str | torch.device | None,
    octaves: int | None,
    *,
    running: tuple[str, str],
) -> ConvNetwork | TokenNetwork:
    if isinstance(backbone, str) and backbone == "tokens":
        raise ValueError(
            'descriptor "tokens" needs the detector\'s network: RegionDescriptor(detector.backbone)'
        )
    tokens = isinstance(backbone, str) and (backbone in BACKBONES or backbone.startswith(_TOKENS))
    if isinstance(backbone, str) and not tokens:
        return timm_network(backbone, weights, layers, device, octaves, running=running)
    if layers is not None:
        raise ValueError(f"layer is for networks with names in timm, got {layers!r}")
    if weights is not None and not tokens:
        raise ValueError("weights are for a network given by name, this one has its own")
    if isinstance(backbone, nn.Module):
        name = f"module:{type(backbone).__name__}"
        return ConvNetwork(
            backbone, name=name, octaves=octaves or 1, device=device, running=running
        )
    if octaves not in (None, 1):
        raise ValueError(f"octaves is not for the tokens of a backbone, got {octaves}")
    if isinstance(backbone, str):
        name = backbone.removeprefix(_TOKENS)
        runtime, precision = running
        return TokenNetwork(
            load_backbone(name, weights, device, runtime=runtime, precision=precision)
        )
    if isinstance(backbone, Backbone):
        return TokenNetwork(load_backbone(backbone, runtime=running[0], precision=running[1]))
    raise TypeError(
        f"descriptor must be a name, a Backbone or a torch module, got {type(backbone).__name__}"
    )


def _on_gpu(network: ConvNetwork | TokenNetwork) -> bool:
    where = network.backbone.device if isinstance(network, TokenNetwork) else network.device
    return str(where).startswith("cuda")


def _lasting(weights: str | Path | None) -> str | None:
    """Name weights so that they are found again from another folder."""
    if weights is None or weights in {"hub", "torchvision"}:
        return None if weights is None else str(weights)
    return str(Path(weights).absolute())


def _probe() -> Image.Image:
    from PIL import Image as Pillow

    height, width = _PROBE_SIZE
    return Pillow.new("RGB", (width, height))


def _check_size(picture: Image.Image, regions: Regions) -> None:
    size = (picture.height, picture.width)
    if size != tuple(regions.image_size):
        raise ValueError(f"regions were made for an image of {regions.image_size}, not of {size}")
