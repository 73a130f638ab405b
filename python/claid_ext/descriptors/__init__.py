"""From regions to vectors: networks, their weights, pooling (paper, section IV)."""

from claid_ext.descriptors.networks import NETWORKS, default_pooling
from claid_ext.descriptors.pooling import POOLINGS
from claid_ext.descriptors.region_descriptor import RegionDescriptor

__all__ = ["NETWORKS", "POOLINGS", "RegionDescriptor", "default_pooling"]
