"""Which regions of an image get a vector: CLAID's, and rivals behind the same protocol."""

from claid_ext.regions.from_file import FileRegions
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
    "FileRegions",
    "RegionSource",
    "Regions",
    "region_source",
]
