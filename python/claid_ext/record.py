"""`ImageRecord`: all that is kept of a photo, and the seam between pictures and arrays.

Left of it are photos and networks; right of it arrays alone. A worker on any machine turns photos
into records, a store holds them, a search reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.blocks import pack, unpack
from claid_ext.errors import DamagedRecordError
from claid_ext.regions.value import Regions
from claid_ext.vectors import decode_vectors

__all__ = [
    "CellMap",
    "ImageRecord",
    "check_record",
    "check_vectors",
    "maps_from_bytes",
    "maps_to_bytes",
]

_RECORD, _MAPS = b"CREC", b"CMAP"
_VERSION = 1
_READABLE = range(1, _VERSION + 1)
_MAP = "map "  # before a layer's name
_CELL = "cell "
_UNIT_LENGTH = 0.01  # by what a vector's length may differ from 1; float16 needs a part of it
_COLUMNS = {
    "boxes": np.float32,
    "level": np.int32,
    "size": np.float32,
    "connectivity": np.float32,
    "dominance": np.float32,
}


_VECTORS = (np.dtype(np.float32), np.dtype(np.int8))


@dataclass(frozen=True, eq=False)
class CellMap:
    """One layer of a descriptor network over a whole image.

    Attributes
    ----------
    layer : its name.
    values : (h, w, C), a vector for each cell: uint8 codes of a product quantiser, or float16.
    cell : (height, width) of a cell in the image's pixels; the first begins at the top left corner.
    """

    layer: str
    values: NDArray[Any]
    cell: tuple[float, float]


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """An image as it is stored and searched. R is the number of its regions.

    Attributes
    ----------
    regions : without masks and tokens.
    vectors : (R, D), a vector for each region: float32 of length 1 (or 0 where there is no
        feature), or int8 codes of such.
    maps : what the second stage searches for the box; none where there is no second stage.
    """

    regions: Regions
    vectors: NDArray[Any]
    maps: tuple[CellMap, ...] = ()

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.regions)

    @property
    def unit_vectors(self) -> NDArray[np.float32]:
        """The vectors as float32 (R, D) of length 1, or 0 where there is no feature."""
        if self.vectors.dtype == np.float32:
            return self.vectors
        return decode_vectors(self.vectors)

    def without_maps(self) -> ImageRecord:
        """Return the same without maps."""
        return replace(self, maps=())

    def to_bytes(self) -> bytes:
        """Return the record, its maps included, as bytes that are the same on every machine.

        Raises
        ------
        ValueError : parts that do not fit each other, as `check_record`.
        """
        regions = check_record(self).regions
        columns = {name: getattr(regions, name).astype(d) for name, d in _COLUMNS.items()}
        return pack(
            _RECORD,
            _VERSION,
            {
                "image_size": np.array(regions.image_size, np.int64),
                **columns,
                "vectors": self.vectors,
                **_map_blocks(self.maps),
            },
        )

    @classmethod
    def from_bytes(cls, content: bytes, what: str = "the record") -> ImageRecord:
        """Read what `to_bytes` wrote.

        Raises
        ------
        DamagedRecordError : it is no record, cut short, changed, or of a version not known here.
        """
        blocks = unpack(_RECORD, _READABLE, content, what)
        try:
            height, width = blocks["image_size"].tolist()
            columns: dict[str, Any] = {name: blocks[name] for name in _COLUMNS}
            for name, wanted in [("image_size", np.int64), *_COLUMNS.items()]:
                if (got := blocks[name].dtype) != wanted:
                    raise ValueError(f"{name} must be {np.dtype(wanted)}, got {got}")
            regions = Regions((height, width), **columns)
            return check_record(cls(regions, blocks["vectors"], _maps_of(blocks)), what)
        except (KeyError, ValueError, TypeError) as error:
            raise DamagedRecordError(f"{what} is damaged: {error}") from None


def maps_to_bytes(maps: tuple[CellMap, ...]) -> bytes:
    """Return maps alone as bytes: a store keeps them apart, since ranking reads no maps."""
    return pack(_MAPS, _VERSION, _map_blocks(maps))


def maps_from_bytes(content: bytes, what: str = "the maps") -> tuple[CellMap, ...]:
    """Read what `maps_to_bytes` wrote. Raises DamagedRecordError, as `ImageRecord.from_bytes`."""
    blocks = unpack(_MAPS, _READABLE, content, what)
    try:
        return _maps_of(blocks)
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedRecordError(f"{what} is damaged: {error}") from None


def check_record(record: ImageRecord, what: str = "the record") -> ImageRecord:
    """Return a record whose parts fit each other.

    Raises
    ------
    ValueError : columns or vectors of another shape than there are boxes, vectors of another dtype;
        an image without pixels.
    """
    regions, count = record.regions, len(record.regions)
    if min(regions.image_size) < 1:
        raise ValueError(f"{what}: the image must have pixels, got a size of {regions.image_size}")
    if regions.boxes.shape != (count, 4):
        raise ValueError(f"{what}: boxes must be (R, 4), got {regions.boxes.shape}")
    for name in _COLUMNS:
        column = getattr(regions, name)
        if len(column) != count:
            raise ValueError(f"{what}: {name} has {len(column)} of {count} regions")
        if name != "boxes" and column.ndim != 1:
            raise ValueError(f"{what}: {name} must be ({count},), got {column.shape}")
    if record.vectors.ndim != 2 or len(record.vectors) != count:
        raise ValueError(
            f"{what}: vectors must be ({count}, D), one per region, got {record.vectors.shape}"
        )
    if record.vectors.dtype.newbyteorder("=") not in _VECTORS:
        raise ValueError(f"{what}: vectors must be float32 or int8, got {record.vectors.dtype}")
    return record


def check_vectors(name: str, vectors: Any, rows: int | None, dim: int) -> NDArray[np.float32]:
    """Return vectors as float32 (rows, dim); None for any number of rows, at least one.

    Raises
    ------
    TypeError : they are not floats.
    ValueError : another shape, values that are not finite, lengths other than 1 or 0.
    """
    given = np.asarray(vectors)
    if given.dtype.kind != "f":
        raise TypeError(f"{name} must be floats, got {given.dtype}")
    if given.ndim == 1 and rows is None:
        given = given[None]
    wanted = (rows if rows is not None else max(1, given.shape[0]), dim)
    if given.shape != wanted:
        asked = f"({'B' if rows is None else rows}, {dim})"
        raise ValueError(f"{name} must be {asked}, one per region, got {given.shape}")
    ready: NDArray[np.float32] = given.astype(np.float32, copy=False)
    length = np.sqrt(np.einsum("rd,rd->r", ready, ready))
    if not np.isfinite(length).all():
        raise ValueError(f"{name} must be finite, got {ready[~np.isfinite(length)][0]}")
    # A region without any feature has no direction, and is described by zeros.
    if (wrong := (np.abs(length - 1) > _UNIT_LENGTH) & (length > 0)).any():
        raise ValueError(f"{name} must be of length 1, got {length[wrong][0]:g}")
    return ready


def _map_blocks(maps: tuple[CellMap, ...]) -> dict[str, NDArray[Any]]:
    blocks: dict[str, NDArray[Any]] = {}
    for one in maps:
        blocks[_MAP + one.layer] = one.values
        blocks[_CELL + one.layer] = np.array(one.cell, np.float64)
    return blocks


def _maps_of(blocks: dict[str, NDArray[Any]]) -> tuple[CellMap, ...]:
    maps = []
    for name, values in blocks.items():
        if name.startswith(_MAP):
            if values.ndim != 3:
                raise ValueError(f"{name} must be (h, w, C), got {values.shape}")
            layer = name.removeprefix(_MAP)
            height, width = blocks[_CELL + layer].tolist()
            maps.append(CellMap(layer, values, (height, width)))
    return tuple(maps)
