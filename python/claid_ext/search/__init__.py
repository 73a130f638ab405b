"""Finding a thing again: the index of photos that people use, and what it is asked."""

from claid_ext.search.adding import AddReport
from claid_ext.search.instance_index import InstanceIndex
from claid_ext.search.query import Hit, Query

__all__ = ["AddReport", "Hit", "InstanceIndex", "Query"]
