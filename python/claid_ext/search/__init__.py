"""Finding a thing again: the index of photos, its queries and its hits."""

from claid_ext.search.adding import AddReport
from claid_ext.search.addresses import open_index
from claid_ext.search.instance_index import InstanceIndex
from claid_ext.search.query import Hit, Query
from claid_ext.search.searcher import Searcher

__all__ = ["AddReport", "Hit", "InstanceIndex", "Query", "Searcher", "open_index"]
