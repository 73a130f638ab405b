"""`Searcher`: what is the same whichever store holds the records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from claid_ext.choices import EXPAND, REFINE
from claid_ext.errors import BasisChangedError
from claid_ext.index.paths import ImageFilter, absolute
from claid_ext.index.store import Store
from claid_ext.record import check_vectors
from claid_ext.regions import RegionSource
from claid_ext.search.finding import FindOptions, Prepared, find
from claid_ext.search.fitting import Frozen, frozen_basis
from claid_ext.search.preparing import prepare
from claid_ext.search.query import Hit, as_query, is_one_query
from claid_ext.search.recipes import Networks
from claid_ext.stage_times import StageTimes

if TYPE_CHECKING:
    from claid_ext.describing import Descriptor
    from claid_ext.descriptors.basis import Basis

__all__ = ["Searcher"]


class Searcher:
    """Queries against the records of any store. Use it as a context manager, or `close` it.

    Attributes
    ----------
    path : where the records are: a folder, or the address of a store.
    manifest : every option they were made with.
    store : what holds them.
    """

    store: Store

    def __init__(
        self, path: Path | str, store: Store, stored: dict[str, Any], networks: Networks
    ) -> None:
        """Search `store`, whose manifest is `stored`, with the networks of its records."""
        self.path = path
        self.manifest = stored
        self.store = store
        self._networks = networks
        self._frozen: Frozen | None = None

    def close(self) -> None:
        """Close the files; the index cannot be used afterwards."""
        self.store.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __repr__(self) -> str:
        """Return its folder, images and vectors."""
        with self.store.reading() as view:
            counts = view.table.counts
        held = f"{len(counts)} images, {counts.sum()} regions"
        return f"{type(self).__name__}({str(self.path)!r}, {held})"

    def __contains__(self, image: str | os.PathLike[str]) -> bool:
        """Whether it holds an image of this path."""
        return self.store.holds(absolute(image))

    @property
    def images(self) -> list[str]:
        """The paths of its images, in the order they were added."""
        with self.store.reading() as view:
            return list(view.table.paths)

    @property
    def regions_count(self) -> int:
        """The number of regions of all its images: each has a vector."""
        with self.store.reading() as view:
            return int(view.table.counts.sum())

    @property
    def basis(self) -> Basis | None:
        """What its maps and vectors are coded by; None where they are not coded."""
        self._frozen = frozen_basis(self.store, self._frozen)
        return self._frozen.basis

    @property
    def dim(self) -> int:
        """Length of its vectors as they are now."""
        return int(self.store.get("dim"))

    @property
    def descriptor(self) -> Descriptor:
        """What describes queries; made when it is first asked for."""
        return self._networks.descriptor

    @property
    def source(self) -> RegionSource:
        """What gives regions of images; made when it is first asked for."""
        return self._networks.source

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        min_size: float = 0.0,
        images: ImageFilter | None = None,
        refine: int = REFINE,
        expand: int = EXPAND,
        times: StageTimes | None = None,
    ) -> list[list[Hit]]:
        """Find the images that show a thing, and where.

        Parameters
        ----------
        queries : a Query, an (image, box) pair, an image, what `prepare` gave; or a list of these.
        k : how many distinct images; fewer come back only where fewer are in scope.
        min_size : regions smaller than this, in square pixels of their image, are passed over.
        images : which images may be found: a pattern such as "*/2024/*", paths, or a function of
            the path; None for all.
        refine : in how many of the best images the box is searched for on their maps (stage 2); 0
            for none: then hits have the boxes of stored regions.
        expand : by how many of the best images the query is expanded, if there are maps; 0: none.
        times : where to add up what each stage took.

        Returns
        -------
        The hits of each query, best first; a list of lists also for one query.

        Raises
        ------
        UnreadableImageError : a query's image.
        BasisChangedError : what `prepare` gave before the index was refitted.
        ValueError : k below 1, refine or expand below 0; a box that is empty or outside its image.
        """
        many = [queries] if is_one_query(queries) else list(queries)
        if min(refine, expand) < 0:
            raise ValueError(f"refine and expand must be at least 0, got {refine} and {expand}")
        options = FindOptions(k, min_size, images, refine, expand)
        try:
            return self._find(self.prepare(many, times), options, times)
        except BasisChangedError:  # another process refitted it just now
            return self._find(self.prepare(many, times), options, times)

    def prepare(self, queries: Sequence[Any], times: StageTimes | None = None) -> list[Prepared]:
        """Describe a list of queries once, to `search` for them several times."""
        basis = self.basis
        with (times or StageTimes()).stage("query"):
            return [
                one if isinstance(one, Prepared) else prepare(as_query(one), self.descriptor, basis)
                for one in queries
            ]

    def describe(self, queries: Sequence[Any]) -> list[NDArray[np.float32]]:
        """Return the vectors of queries, float32 (B, D) each, as stage 1 compares them."""
        return [prepared.vectors for prepared in self.prepare(queries)]

    def search_vectors(
        self,
        queries: Sequence[tuple[NDArray[np.float32], bool]],
        k: int = 10,
        *,
        min_size: float = 0.0,
        images: ImageFilter | None = None,
    ) -> list[list[Hit]]:
        """Search by vectors alone: stage 1 without expansion.

        `queries` holds float32 (B, D) unit vectors of each, and whether all of them are asked for;
        the rest is as of `search`.
        """
        prepared = [
            Prepared(check_vectors("a query's vectors", its, None, self.dim), all_of)
            for its, all_of in queries
        ]
        return self._find(prepared, FindOptions(k, min_size, images, 0, 0))

    def to_supervision(self, hits: Iterable[Hit]) -> dict[str, Any]:
        """Return the hits of a query as `supervision.Detections` by image, best image first.

        `supervision` must be installed. With the images' paths as `images`, this is what its
        `DetectionDataset` takes as `annotations`. An image has one box, or, where all of several
        are wanted, one per part. `confidence` is the score, which may be up to 2 per box;
        `class_id` is 0, or the number of the part. `data` has "similarity", "level",
        "probability" and "likely"; where that is not known NaN and False.
        """
        from claid_ext.search.exporting import to_supervision

        return to_supervision(hits)

    def _find(
        self, queries: Sequence[Prepared], options: FindOptions, times: StageTimes | None = None
    ) -> list[list[Hit]]:
        if options.k < 1:
            raise ValueError(f"k must be at least 1, got {options.k}")
        return find(self.store, queries, options, self.basis, times)
