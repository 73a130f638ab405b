"""Photos to maps, and regions to vectors: what an index of two stages keeps of a photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from claid_ext.descriptors.basis import Basis
from claid_ext.descriptors.inputs import padded_pixels
from claid_ext.descriptors.pooling import FeatureMap, pool_regions
from claid_ext.record import CellMap
from claid_ext.vectors import unit

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.descriptors.networks import ConvNetwork
    from claid_ext.descriptors.token_network import TokenNetwork

__all__ = [
    "View",
    "cell_maps",
    "photo_maps",
    "projected_cells",
    "region_vectors",
    "view_maps",
]


class View(NamedTuple):
    """A part of an RGB image, and the size at which a network is to see it.

    `box` is (x0, y0, x1, y1) in the image's pixels, `size` the (height, width) in the network's.
    """

    image: Image.Image
    box: tuple[float, float, float, float]
    size: tuple[int, int]


def view_maps(
    network: ConvNetwork | TokenNetwork, views: Sequence[View], batch_size: int = 1
) -> list[list[FeatureMap]]:
    """Make the feature maps of views; views of one size go through the network together.

    Cells that are only padding, to the network's multiple, are dropped; those that contain a part
    of the view are kept.

    Returns
    -------
    For each view, one map per layer; extents are in pixels of the image, from the box's corner.
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for number, view in enumerate(views):
        alike.setdefault(view.size, []).append(number)
    made: dict[int, list[FeatureMap]] = {}
    for size, same in alike.items():
        for start in range(0, len(same), batch_size):
            batch = same[start : start + batch_size]
            pixels = torch.stack([_pixels(network, views[number]) for number in batch])
            for values in network.forward(pixels):
                # Pixels of the network's input that a cell stands for.
                stride = (pixels.shape[2] / values.shape[2], pixels.shape[3] / values.shape[3])
                rows, columns = (
                    int(np.ceil(side / step)) for side, step in zip(size, stride, strict=True)
                )
                for row, number in enumerate(batch):
                    x0, y0, x1, y1 = views[number].box
                    extent = (
                        rows * stride[0] * (y1 - y0) / size[0],
                        columns * stride[1] * (x1 - x0) / size[1],
                    )
                    kept = values[row, :, :rows, :columns]
                    made.setdefault(number, []).append(FeatureMap(kept, extent))
    return [made[number] for number in range(len(views))]


def photo_maps(
    network: ConvNetwork | TokenNetwork, images: Sequence[Image.Image], batch_size: int = 1
) -> list[list[FeatureMap]]:
    """Make the feature maps of whole photos at the size at which they are kept, one per layer.

    That is the photo's own size, but at most 380,000 pixels; for tokens the backbone's input size.
    """
    views = [
        View(image, (0, 0, *image.size), network.map_size((image.height, image.width)))
        for image in images
    ]
    return view_maps(network, views, batch_size)


def region_vectors(
    maps: Sequence[FeatureMap], boxes: ArrayLike, basis: Basis | None = None
) -> NDArray[np.float32]:
    """Describe boxes on a photo's maps: the vectors of the first stage.

    Cells are whitened (without a basis only brought to length 1), averaged over the box by
    RoI-align, brought to length 1, joined over the layers, and brought to length 1 again.

    Parameters
    ----------
    maps : of each layer, as `photo_maps` or `view_maps` gives them.
    boxes : (R, 4), [x0, y0, x1, y1) in the pixels that the maps' extents are in.
    basis : of the network; None for none.

    Returns
    -------
    float32 (R, D), on the CPU.

    Raises
    ------
    ValueError : the basis is for another number of layers or channels.
    """
    _check_layers(maps, basis)
    given = np.asarray(boxes, np.float32).reshape(-1, 4)
    parts = []
    for number, one in enumerate(maps):
        cells = _cells(one)
        made = unit(cells) if basis is None else basis[number].whiten(cells)
        values = torch.from_numpy(made).permute(2, 0, 1)
        pooled = pool_regions(FeatureMap(values, one.extent), given, None, None, "mean")
        parts.append(nn.functional.normalize(pooled).numpy())
    return unit(np.concatenate(parts, axis=1))


def cell_maps(
    maps: Sequence[FeatureMap], layers: Sequence[str], basis: Basis | None = None
) -> tuple[CellMap, ...]:
    """Bring a photo's maps to the form in which a record keeps them.

    With a basis these are its codes, uint8 (h, w, 16); without one the cells themselves, float16
    (h, w, C), each of length 1. The last row and column of cells may reach beyond the photo.

    Parameters
    ----------
    maps : of each layer, as `photo_maps` gives them.
    layers : their names, all different.
    basis : of the network; None for none.

    Raises
    ------
    ValueError : not one name per map, or the basis is for other numbers of layers or channels.
    """
    _check_layers(maps, basis)
    if len(layers) != len(maps) or len(set(layers)) != len(maps):
        raise ValueError(f"layers must be {len(maps)} different names, got {list(layers)}")
    kept = []
    for number, (name, one) in enumerate(zip(layers, maps, strict=True)):
        cells = _cells(one)
        values = unit(cells).astype(np.float16) if basis is None else basis[number].encode(cells)
        cell = (one.extent[0] / cells.shape[0], one.extent[1] / cells.shape[1])
        kept.append(CellMap(name, values, cell))
    return tuple(kept)


def projected_cells(
    maps: Sequence[FeatureMap], basis: Basis | None = None
) -> list[NDArray[np.float32]]:
    """Bring maps to the form that a kept map decodes to, without coding: (h, w, d) per layer.

    d is 64 with a basis, and the layer's channels without one; each cell of length 1.
    """
    _check_layers(maps, basis)
    return [
        unit(_cells(one)) if basis is None else basis[number].project(_cells(one))
        for number, one in enumerate(maps)
    ]


def _pixels(network: ConvNetwork | TokenNetwork, view: View) -> torch.Tensor:
    return padded_pixels(
        view.image,
        view.size,
        mean=network.mean,
        std=network.std,
        multiple=network.multiple,
        box=view.box,
    )


def _cells(one: FeatureMap) -> NDArray[np.float32]:
    cells: NDArray[np.float32] = one.values.permute(1, 2, 0).float().cpu().numpy()
    return cells


def _check_layers(maps: Sequence[FeatureMap], basis: Basis | None) -> None:
    if basis is None:
        return
    wanted = [layer.channels for layer in basis.layers]
    got = [one.values.shape[0] for one in maps]
    if wanted != got:
        raise ValueError(f"the basis is for maps of {wanted} channels, got maps of {got}")
