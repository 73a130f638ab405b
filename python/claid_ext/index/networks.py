"""What gives an index its regions and vectors; made, when first asked for, from the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.errors import IndexMismatchError
from claid_ext.index.manifest import check_same
from claid_ext.regions import RegionSource, region_source

if TYPE_CHECKING:
    import torch

    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.detector import Detector

__all__ = ["Networks", "index_source"]


def index_source(
    regions: str, detector: Detector | None, scales: Sequence[float] | None
) -> RegionSource:
    """Make the source of regions of a new index: `region_source`, with an index's default scales.

    They are a detector's own, where that is not 1, and else those that suit its backbone.
    """
    if scales is None and detector is not None and detector.scale == 1:
        scales = detector.backbone.scales
    return region_source(regions, detector, scales)


class Networks:
    """The source of regions and the descriptor of an index; searching with vectors needs none."""

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        *,
        source: RegionSource | None = None,
        descriptor: RegionDescriptor | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        """Keep those given; None is made later, on `device`."""
        self._folder = folder
        self._manifest = manifest
        self._source = source
        self._descriptor = descriptor
        self._device = device

    @classmethod
    def given(
        cls,
        folder: Path,
        manifest: dict[str, Any],
        *,
        detector: Detector | None,
        scales: Sequence[float] | None,
        descriptor: RegionDescriptor | None,
        device: str | torch.device | None,
    ) -> Networks:
        """Check what is given against the manifest.

        Raises
        ------
        IndexMismatchError : the index was made with another descriptor, detector or other scales.
        """
        networks = cls(folder, manifest, descriptor=descriptor, device=device)
        if descriptor is not None:
            networks._check_descriptor(descriptor)
        stored = networks._scales()
        if scales is not None and sorted(scales) != stored:
            check_same(folder, stored, sorted(scales), "scales")
        if detector is not None:
            networks._source = region_source("detect", detector, stored or None)
            networks._check_source(networks._source)
        return networks

    @property
    def descriptor(self) -> RegionDescriptor:
        """What describes regions."""
        if self._descriptor is None:
            from claid_ext.descriptors import RegionDescriptor

            descriptor = RegionDescriptor(**self._recipe("descriptor"), device=self._device)
            self._check_descriptor(descriptor)
            self._descriptor = descriptor
        return self._descriptor

    @property
    def source(self) -> RegionSource:
        """What finds regions in images."""
        if self._source is None:
            detector = None
            if self._manifest["regions"] == "detect":
                from claid_ext.detector import Detector

                detector = Detector(**self._recipe("detector"), device=self._device)
            source = region_source(self._manifest["regions"], detector, self._scales() or None)
            self._check_source(source)
            self._source = source
        return self._source

    def _scales(self) -> list[float]:
        """Return the scales of the detector in the manifest, from small to large."""
        return sorted(map(float, self._manifest.get("detector", {}).get("scales", ())))

    def _check_descriptor(self, descriptor: RegionDescriptor) -> None:
        check_same(self._folder, self._manifest["descriptor"], descriptor.manifest(), "descriptor")

    def _check_source(self, source: RegionSource) -> None:
        made = source.manifest()
        stored = {key: self._manifest.get(key) for key in {"regions", *made}}
        check_same(self._folder, stored, made, "regions")

    def _recipe(self, of: str) -> dict[str, Any]:
        recipe: dict[str, Any] | None = self._manifest["recipes"][of]
        if recipe is None:
            raise IndexMismatchError(
                f"{self._folder} was made with a {of} of your own: give it to InstanceIndex.open"
            )
        return recipe
