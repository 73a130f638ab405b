"""The options of a new index, checked, as its manifest holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from claid_ext.describing import map_descriptor
from claid_ext.index.base import check_factory
from claid_ext.regions import RegionSource, region_source
from claid_ext.search.fitting import final_dim

if TYPE_CHECKING:
    from claid_ext.describing import Descriptor
    from claid_ext.detector import Detector

__all__ = ["new_options", "source_of"]


def source_of(
    regions: str | RegionSource, detector: Detector | None, scales: Sequence[float] | None
) -> RegionSource:
    """Return the source of regions that the arguments of `InstanceIndex.create` describe."""
    if isinstance(regions, str):
        return region_source(regions, detector, scales)
    if detector is not None or scales is not None:
        raise ValueError("regions is a source already: it takes no detector and no scales")
    return regions


def new_options(
    source: RegionSource, descriptor: Descriptor, factory: str, pca: int | None, probes: int
) -> dict[str, Any]:
    """Check the options of `InstanceIndex.create`, and return what the manifest says of them.

    Raises
    ------
    ValueError : pca, probes or factory.
    """
    described = descriptor.manifest()
    dim = described["dim"]
    network = map_descriptor(descriptor)
    if pca is not None and network is None:
        raise ValueError(f'pca is for a descriptor with pooling="whitened", got pca={pca}')
    if pca is not None and pca < 1:
        raise ValueError(f"pca must be at least 1, got {pca}")
    if probes < 1:
        raise ValueError(f"probes must be at least 1, got {probes}")
    check_factory(factory, dim if network is None else final_dim(network, pca))
    return {
        "regions": source.manifest(),
        "descriptor": described,
        "recipes": {"regions": source.recipe(), "descriptor": descriptor.recipe()},
        "factory": factory,
        "pca": pca,
        "probes": probes,
    }
