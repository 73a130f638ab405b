"""`Describer`: photos in, records out. The only way from a picture to what an index holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from claid_ext.images import read_photo
from claid_ext.record import ImageRecord, check_vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from claid_ext.regions import Regions, RegionSource

__all__ = ["Describer", "Descriptor", "RegionDescriber"]


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
        """Return what has to match for the same vectors to come out, ready for JSON; its `dim`."""

    def recipe(self) -> dict[str, Any] | None:
        """Return how to make it again, named and versioned; None where it cannot be told."""


class Describer(Protocol):
    """Turns photos into records by itself: a pure function, on whatever machine it runs."""

    def __call__(self, images: Sequence[Any]) -> list[ImageRecord]:
        """Return the record of each image.

        Parameters
        ----------
        images : paths, PIL images, uint8 arrays (height, width, 3), or `claid_ext.images.Photo`s;
            each is decoded once.

        Raises
        ------
        UnreadableImageError : a path that is no readable image.
        ValueError : an image too elongated for the detector; wrong vectors of a descriptor.
        """

    def manifest(self) -> dict[str, Any]:
        """Return what has to match for the same records to come out, ready for JSON."""

    def recipe(self) -> dict[str, Any]:
        """Return how to make it again; parts of it are None where that cannot be told."""


class RegionDescriber:
    """Regions by a `RegionSource`, their vectors by a `Descriptor`.

    Attributes
    ----------
    source, descriptor : the two.
    """

    def __init__(self, source: RegionSource, descriptor: Descriptor) -> None:
        """Put the two together."""
        self.source = source
        self.descriptor = descriptor

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.descriptor.manifest()["dim"])

    def __call__(self, images: Sequence[Any]) -> list[ImageRecord]:
        """Return the record of each image, as `Describer`."""
        photos = [read_photo(image) for image in images]
        regions = self.source(photos)
        vectors = self.descriptor(photos, regions)
        return [
            ImageRecord(
                its.without_pixels(),
                check_vectors(
                    f"the vectors of {photo.path or 'an image'}", rows, len(its), self.dim
                ),
            )
            for photo, its, rows in zip(photos, regions, vectors, strict=True)
        ]

    def manifest(self) -> dict[str, Any]:
        """Return those of both."""
        return {"regions": self.source.manifest(), "descriptor": self.descriptor.manifest()}

    def recipe(self) -> dict[str, Any]:
        """Return those of both."""
        return {"regions": self.source.recipe(), "descriptor": self.descriptor.recipe()}
