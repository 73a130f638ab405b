"""The names that options take, for the command line and the code alike; imports nothing."""

from __future__ import annotations

__all__ = ["POOLINGS", "REGION_SOURCES"]

REGION_SOURCES = ("detect", "grid", "full", "rmac")
"""What `claid_ext.regions.region_source` makes."""

POOLINGS = ("mean", "max", "gem", "mask", "cells")
"""How `claid_ext.descriptors.pooling` brings a region to one vector."""
