"""From a request to hits: describe the query on the thread of the networks, then search."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np

from claid_ext.errors import BasisChangedError
from claid_ext.search.finding import Prepared
from claid_ext.search.query import Hit, Query
from claid_ext.serve.errors import UnusableError
from claid_ext.serve.listing import index_state, photo_details
from claid_ext.serve.models import HitOut, PartOut, SearchIn, SearchOut
from claid_ext.serve.pictures import PhotoFiles
from claid_ext.serve.reader import Catalogue, Reader, Scope
from claid_ext.serve.uploads import Uploads
from claid_ext.serve.workers import Stop, Workers
from claid_ext.stage_times import StageTimes

__all__ = ["Searching"]

T = TypeVar("T")
Key = tuple[int | str, tuple[tuple[float, ...], ...], bool]
MOST_PREPARED = 64  # queries of one box take some 0.2 MB each


class _Times(StageTimes):
    """Times that end the search between two stages once nobody waits for it."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._stop.check()
        with super().stage(name):
            yield


class Searching:
    """Searches of an index. Queries that were described are kept: the same one is not again."""

    def __init__(
        self, networks: Workers, searchers: Workers, files: PhotoFiles, uploads: Uploads
    ) -> None:
        """Take one thread that runs the networks, and those that search."""
        self._networks = networks
        self._searchers = searchers
        self._files = files
        self._uploads = uploads
        self._prepared: OrderedDict[Key, Prepared] = OrderedDict()

    async def search(self, asked: SearchIn) -> SearchOut:
        """Answer a request.

        Raises
        ------
        NotFoundError, GoneError, ForbiddenError : the query's photo, or upload.
        UnusableError : a box that is empty or outside the photo.
        BusyError : too many are waiting.
        """
        try:
            return await self._search(asked)
        except BasisChangedError:  # the index was refitted since the query was described
            self._prepared.pop(_key(asked), None)
            return await self._search(asked)

    async def _search(self, asked: SearchIn) -> SearchOut:
        key = _key(asked)
        prepared = self._prepared.get(key)
        seconds: dict[str, float] = {}
        if prepared is None:
            described = await self._networks.run(partial(self._prepare, asked))
            prepared, seconds = described
            self._prepared[key] = prepared
            if len(self._prepared) > MOST_PREPARED:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(key)
        found = await self._searchers.run(partial(_find, asked, prepared))
        found.seconds = {**found.seconds, **seconds}
        return found

    def _prepare(
        self, asked: SearchIn, reader: Reader, stop: Stop
    ) -> tuple[Prepared, dict[str, float]]:
        times = _Times(stop)
        if asked.upload is not None:
            photo = self._uploads.get(asked.upload).photo()
        else:
            with reader.reading() as (_, catalogue):
                photo = self._files.read(catalogue, asked.photo or 0)
        query = Query(photo, asked.boxes or None, all_of=asked.all_of)
        try:
            (prepared,) = reader.index.prepare([query], times)
        except ValueError as error:
            raise UnusableError(str(error)) from error
        return prepared, times.seconds


def _key(asked: SearchIn) -> Key:
    source = asked.photo if asked.photo is not None else str(asked.upload)
    return source, tuple(asked.boxes), asked.all_of


def _find(asked: SearchIn, prepared: Prepared, reader: Reader, stop: Stop) -> SearchOut:
    times = _Times(stop)
    own = None if asked.with_itself else asked.photo
    with reader.reading() as (view, catalogue):
        if asked.photo is not None:
            catalogue.path(asked.photo)  # may have been removed since the query was described
        hits = reader.index.search(
            [prepared],
            asked.k,
            min_size=asked.min_size,
            images=catalogue.selected(Scope(asked.folder, without=own)),
            times=times,
        )[0]
        if asked.min_score is not None:
            hits = [hit for hit in hits if hit.score >= asked.min_score]
        ids = [catalogue.ids[hit.image] for hit in hits]
        sizes = {
            photo: record.regions.image_size
            for photo, record in view.records(np.array(ids, np.int64))
        }
        shown = [
            _shown(hit, photo, sizes[photo], catalogue)
            for hit, photo in zip(hits, ids, strict=True)
        ]
        return SearchOut(hits=shown, state=index_state(catalogue), seconds=times.seconds)


def _shown(hit: Hit, photo: int, size: tuple[int, int], catalogue: Catalogue) -> HitOut:
    return HitOut(
        photo=photo_details(catalogue, photo, size),
        box=hit.box,
        score=hit.score,
        similarity=hit.similarity,
        level=hit.level,
        probability=hit.probability,
        likely=hit.likely,
        parts=[PartOut(box=part.box, score=part.score) for part in hit.parts],
    )
