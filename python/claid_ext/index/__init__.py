"""Records on disk and the search in them: arrays alone, no pictures, networks or torch."""

from claid_ext.index.embedded import EmbeddedStore
from claid_ext.index.store import Candidates, Entry, ImageTable, Store, StoreView

__all__ = ["Candidates", "EmbeddedStore", "Entry", "ImageTable", "Store", "StoreView"]
