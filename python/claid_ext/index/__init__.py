"""An index of regions in a folder, and the search in it."""

from claid_ext.index.instance_index import InstanceIndex
from claid_ext.index.query import AddReport, Hit, Query

__all__ = ["AddReport", "Hit", "InstanceIndex", "Query"]
