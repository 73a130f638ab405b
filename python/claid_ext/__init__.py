"""CLAID: class-agnostic instance regions from ViT patch features, exact and fast.

`detect` takes patch features and returns a `RegionTree`; `Detector` takes images;
`RegionDescriptor` and `InstanceIndex` find a thing again. NumPy alone is needed for `detect`;
everything with images needs the extra `[torch]`, and is imported when first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from claid_ext import errors, reference
from claid_ext._detect import build_info, detect
from claid_ext._version import __version__
from claid_ext.tree import RegionTree

if TYPE_CHECKING:
    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.detector import Detection, Detector
    from claid_ext.inputs import named_images
    from claid_ext.search import Hit, InstanceIndex, Query, Searcher, open_index

__all__ = [
    "Detection",
    "Detector",
    "Hit",
    "InstanceIndex",
    "Query",
    "RegionDescriptor",
    "RegionTree",
    "Searcher",
    "__version__",
    "build_info",
    "detect",
    "errors",
    "named_images",
    "open_index",
    "reference",
]

# Name -> the module that has it, imported when it is first asked for.
_LAZY = {
    "Detection": "detector",
    "Detector": "detector",
    "Hit": "search",
    "InstanceIndex": "search",
    "Query": "search",
    "RegionDescriptor": "descriptors",
    "named_images": "inputs",
    "Searcher": "search",
    "open_index": "search",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"claid_ext.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'claid_ext' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
