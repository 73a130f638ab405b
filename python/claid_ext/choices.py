"""Names that options take, where a command line can read them without loading torch or NumPy."""

from __future__ import annotations

__all__ = ["MAX_REGIONS", "POOLINGS", "REGION_SOURCES"]

REGION_SOURCES = ("detect", "grid", "full", "rmac")
"""Where regions come from: `claid_ext.regions.region_source`."""

POOLINGS = ("whitened", "mean", "max", "gem", "mask", "cells")
"""How a region's features become one vector: `claid_ext.descriptors.RegionDescriptor`."""

MAX_REGIONS = 36
"""How many regions of an image an index keeps by default; the paper has about 30."""
