"""Which regions of an image get a vector: the tree's, and its rivals behind the same protocol."""

from claid_ext.regions.sources import (
    REGION_SOURCES,
    BoxRegions,
    DetectedRegions,
    RegionSource,
    region_source,
)
from claid_ext.regions.value import Regions

__all__ = [
    "REGION_SOURCES",
    "BoxRegions",
    "DetectedRegions",
    "RegionSource",
    "Regions",
    "region_source",
]
