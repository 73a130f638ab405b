"""Names and defaults of options, where a command line reads them without loading torch or NumPy."""

from __future__ import annotations

__all__ = [
    "EXPAND",
    "MAX_REGIONS",
    "POOLINGS",
    "PRECISIONS",
    "REFINE",
    "REGION_SOURCES",
    "RUNTIMES",
]

REGION_SOURCES = ("detect", "grid", "full", "rmac", "file")
"""Where regions come from: `claid_ext.regions.region_source`."""

POOLINGS = ("whitened", "mean", "max", "gem", "mask", "cells")
"""How a region's features become one vector: `claid_ext.descriptors.RegionDescriptor`."""

RUNTIMES = ("auto", "torch", "openvino")
"""What runs networks: `claid_ext.backbones.runtimes`."""

PRECISIONS = ("auto", "float32", "bfloat16", "int8")
"""In which numbers they are run, there."""

MAX_REGIONS = 36
"""How many regions of an image an index keeps by default; the paper has about 30."""

REFINE = 30
"""How many photos get stage 2: 10 lose .02 of mAP@IoU0.5, 100 gain .004 (docs/search.md)."""

EXPAND = 3
"""By how many of the best photos a query is expanded."""
