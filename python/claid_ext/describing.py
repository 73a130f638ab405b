"""`Describer`: photos in, records out. The only way from a picture to what an index keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from claid_ext.images import Photo, read_photo
from claid_ext.record import ImageRecord, check_vectors
from claid_ext.stage_times import stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.descriptors.basis import Basis
    from claid_ext.descriptors.pooling import FeatureMap
    from claid_ext.regions import Regions, RegionSource

__all__ = [
    "Describer",
    "Descriptor",
    "RegionDescriber",
    "map_descriptor",
    "map_records",
    "record_of",
]


class Descriptor(Protocol):
    """Gives a vector for each region of an image; `claid_ext.RegionDescriptor` is one."""

    def __call__(
        self, images: Sequence[Any], regions: Sequence[Regions]
    ) -> list[NDArray[np.float32]]:
        """Return float32 (R, D) per image, rows of length 1 (0 where there is no feature).

        Parameters
        ----------
        images : paths, PIL images, uint8 arrays (height, width, 3), or `claid_ext.images.Photo`s.
        regions : of each image.
        """

    def manifest(self) -> dict[str, Any]:
        """Return what must match for the same vectors to come out, as JSON values; with `dim`."""

    def recipe(self) -> dict[str, Any] | None:
        """Return how to make it again, named and versioned; None if that cannot be written down."""


class Describer(Protocol):
    """Turns photos into records: a pure function, whatever machine it runs on."""

    def __call__(self, images: Sequence[Any]) -> list[ImageRecord]:
        """Return the record of each image.

        Parameters
        ----------
        images : paths, PIL images, uint8 arrays (height, width, 3), or `claid_ext.images.Photo`s;
            each is decoded once.

        Raises
        ------
        UnreadableImageError : a path that is not a readable image.
        ValueError : an image too elongated for the detector; wrong vectors from a descriptor.
        """

    def manifest(self) -> dict[str, Any]:
        """Return what must match for the same records to come out, as JSON values."""

    def recipe(self) -> dict[str, Any]:
        """Return how to make it again; parts of it are None if they cannot be written down."""


class RegionDescriber:
    """Regions by a `RegionSource`, their vectors by a `Descriptor`.

    With a `RegionDescriptor` whose pooling is "whitened", records hold what both stages of a search
    need: int8 vectors and coded maps by the basis, or float32 vectors and float16 maps without one.
    With any other descriptor they hold its float32 vectors and no maps.

    Attributes
    ----------
    source, descriptor : the two.
    basis : the index's, None for none.
    """

    def __init__(
        self, source: RegionSource, descriptor: Descriptor, basis: Basis | None = None
    ) -> None:
        """Put them together."""
        self.source = source
        self.descriptor = descriptor
        self.basis = basis

    @property
    def workers(self) -> int:
        """How many calls at once make the best of the machine."""
        return min(getattr(part, "workers", 1) for part in (self.source, self.descriptor))

    def __call__(self, images: Sequence[Any]) -> list[ImageRecord]:
        """Return the record of each image, as `Describer`."""
        photos = [read_photo(image) for image in images]
        return self.describe(photos, self.source(photos))

    def describe(self, photos: Sequence[Photo], regions: Sequence[Regions]) -> list[ImageRecord]:
        """Return the record of each photo, whose regions are already known."""
        if network := map_descriptor(self.descriptor):
            return map_records(network, photos, regions, self.basis)
        dim = self.descriptor.manifest()["dim"]
        records = []
        with stage("descriptor"):
            vectors = self.descriptor(photos, regions)
        for photo, its, rows in zip(photos, regions, vectors, strict=True):
            what = f"the vectors of {photo.path or 'an image'}"
            checked = check_vectors(what, rows, len(its), dim)
            records.append(ImageRecord(its.without_pixels(), checked))
        return records

    def manifest(self) -> dict[str, Any]:
        """Return those of both, and which basis."""
        return {
            "regions": self.source.manifest(),
            "descriptor": self.descriptor.manifest(),
            "basis": None if self.basis is None else self.basis.fingerprint,
        }

    def recipe(self) -> dict[str, Any]:
        """Return those of both."""
        return {"regions": self.source.recipe(), "descriptor": self.descriptor.recipe()}


def map_descriptor(descriptor: Descriptor) -> RegionDescriptor | None:
    """Return a descriptor that gives maps as such, None if it gives only vectors."""
    return (
        cast("RegionDescriptor", descriptor) if getattr(descriptor, "two_stages", False) else None
    )


def map_records(
    descriptor: RegionDescriptor,
    photos: Sequence[Photo],
    regions: Sequence[Regions],
    basis: Basis | None,
) -> list[ImageRecord]:
    """Make the records of photos whose regions are known, with the maps; `basis` as `record_of`."""
    with stage("descriptor"):
        maps = descriptor.maps(photos, regions)
    with stage("code"):
        return [
            record_of(its, one, descriptor.network.layers, basis)
            for its, one in zip(regions, maps, strict=True)
        ]


def record_of(
    regions: Regions, maps: Sequence[FeatureMap], layers: Sequence[str], basis: Basis | None
) -> ImageRecord:
    """Make a record of a photo's regions and its feature maps.

    Parameters
    ----------
    regions : of the photo.
    maps : one per layer, at the size at which they are kept.
    layers : what the layers are called; numbers, where that is not known.
    basis : what vectors and maps are coded by; None for float32 vectors and float16 maps.
    """
    from claid_ext.descriptors.maps import cell_maps, region_vectors
    from claid_ext.vectors import encode_vectors

    names = layers if len(layers) == len(maps) else [str(number) for number in range(len(maps))]
    vectors = region_vectors(maps, regions.boxes, basis)
    return ImageRecord(
        regions.without_pixels(),
        vectors if basis is None else encode_vectors(vectors),
        cell_maps(maps, names, basis),
    )
