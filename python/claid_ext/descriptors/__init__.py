"""From regions to vectors: networks, their weights, pooling (paper, section IV)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claid_ext.descriptors.networks import NETWORKS
    from claid_ext.descriptors.pooling import POOLINGS
    from claid_ext.descriptors.region_descriptor import RegionDescriptor

__all__ = ["NETWORKS", "POOLINGS", "RegionDescriptor"]

# Looked up when first asked for: a basis is arrays alone, and must not pull torch.
_MODULES = {
    "NETWORKS": "networks",
    "POOLINGS": "pooling",
    "RegionDescriptor": "region_descriptor",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first used."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
