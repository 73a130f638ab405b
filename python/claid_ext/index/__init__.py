"""Records on disk and the search in them: arrays alone, no pictures, networks or torch."""

from claid_ext.index.embedded import EmbeddedStore
from claid_ext.index.store import Candidates, Entry, GrowingStore, ImageTable, Store, StoreView

__all__ = [
    "Candidates",
    "EmbeddedStore",
    "Entry",
    "GrowingStore",
    "ImageTable",
    "Store",
    "StoreView",
]
