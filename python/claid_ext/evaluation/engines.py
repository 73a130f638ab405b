"""A system built on one set: its index, and the ranking of each query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from claid_ext.baselines.cam_boxes import CamQuery, cam_query, find_box
from claid_ext.descriptors.blcf import Blcf, Vocabulary
from claid_ext.errors import ClaidError
from claid_ext.evaluation.expansion import expanded_vectors
from claid_ext.evaluation.ranking import ranking_of
from claid_ext.evaluation.scoring import Ranking
from claid_ext.files import write_whole
from claid_ext.images import read_photo
from claid_ext.index.paths import absolute, file_state
from claid_ext.progress import progress as show_progress
from claid_ext.search.finding import Prepared
from claid_ext.search.query import Query, query_boxes
from claid_ext.stage_times import StageTimes
from claid_ext.vectors import unit

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from claid_ext.descriptors.cam_weight import CamWeight
    from claid_ext.images import Photo
    from claid_ext.search import InstanceIndex, Searcher

__all__ = ["BagEngine", "CamEngine", "Engine", "IndexEngine", "OpenedEngine"]


class Engine(Protocol):
    """What `Measurer` asks of a system; use it as a context manager."""

    def add(self, progress: bool) -> int:
        """Build or complete the index; return how many images could not be read."""

    def prepare(self, query: Query) -> Any:
        """Describe a query, to rank by it several times."""

    def rank(self, prepared: Any, refine: int, expand: int, times: StageTimes) -> Ranking:
        """Rank all images."""

    def has_two_stages(self, prepared: Any) -> bool:
        """Whether the first of two stages can be told apart."""

    def describe(self, photo: Photo, times: StageTimes) -> None:
        """Find and describe the regions of a photo, to be timed."""

    @property
    def features(self) -> int:
        """Vectors in the index."""

    @property
    def images(self) -> int:
        """Images in the index."""

    def record_bytes(self) -> NDArray[np.int64]:
        """Bytes that each image takes."""

    def close(self) -> None:
        """Close the files."""


class OpenedEngine:
    """Regions and their vectors in what is there already, whichever store holds them."""

    def __init__(self, index: Searcher, images: Sequence[Path]) -> None:
        """Search among a set's images."""
        self.index = index
        self._images = images

    def add(self, progress: bool) -> int:
        """Add nothing; return how many of the images are not there.

        Raises
        ------
        ValueError : none is there.
        """
        del progress
        held = set(self.index.images)
        missing = sum(absolute(path) not in held for path in self._images)
        if missing == len(self._images):
            raise ValueError(f"{self.index.path} holds no image of the set")
        return missing

    def prepare(self, query: Query) -> Any:
        """Describe a query, as `Engine`."""
        (prepared,) = self.index.prepare([query])
        return prepared

    def rank(self, prepared: Any, refine: int, expand: int, times: StageTimes) -> Ranking:
        """Rank all images, as `Engine`."""
        asked: Prepared = prepared
        k = len(self.index) or 1
        if expand and not asked.templates:
            with times.stage("stage 1"):
                vectors = expanded_vectors(self.index, asked.vectors, expand)
                (hits,) = self.index.search_vectors([(vectors, asked.all_of)], k)
        else:
            (hits,) = self.index.search([asked], k, refine=refine, expand=expand, times=times)
        return ranking_of(hits, self._images)

    def has_two_stages(self, prepared: Any) -> bool:
        """Whether the index keeps maps."""
        return bool(prepared.templates)

    def describe(self, photo: Photo, times: StageTimes) -> None:
        """Find and describe regions, as `Engine`."""
        from claid_ext.describing import RegionDescriber

        describer = RegionDescriber(self.index.source, self.index.descriptor, self.index.basis)
        with times.stage("regions"):
            regions = self.index.source([photo])
        with times.stage("describe"):
            describer.describe([photo], regions)

    @property
    def features(self) -> int:
        """Vectors in the index."""
        return self.index.regions_count

    @property
    def images(self) -> int:
        """Images in the index."""
        return len(self.index)

    def record_bytes(self) -> NDArray[np.int64]:
        """Bytes of each image's record."""
        return self.index.store.record_bytes()

    def close(self) -> None:
        """Close the index."""
        self.index.close()


class IndexEngine(OpenedEngine):
    """Regions and their vectors in an `InstanceIndex`, which is built."""

    index: InstanceIndex

    def __init__(self, index: InstanceIndex, images: Sequence[Path]) -> None:
        """Search among a set's images."""
        super().__init__(index, images)

    def add(self, progress: bool) -> int:
        """Build or complete the index, as `Engine`."""
        return len(self.index.add([str(path) for path in self._images], progress=progress).failed)


class _CamAsked(NamedTuple):
    vectors: Prepared
    query: CamQuery


class CamEngine(IndexEngine):
    """CAM-weight, whose best images are ranked again by the box that class maps give."""

    def __init__(self, index: InstanceIndex, images: Sequence[Path], describe: CamWeight) -> None:
        """Search among a set's images; the index's vectors are those of `describe`."""
        super().__init__(index, images)
        self._describe = describe

    def prepare(self, query: Query) -> Any:
        """Describe a query, as `Engine`; of several views, its box is that of the first."""
        photo = read_photo(query.image)
        box = query_boxes(query, photo.size)[0].tolist()
        return _CamAsked(super().prepare(query), cam_query(self._describe, photo, box))

    def rank(self, prepared: Any, refine: int, expand: int, times: StageTimes) -> Ranking:
        """Rank all images by their vectors, and the best `refine` of them by their boxes."""
        asked: _CamAsked = prepared
        by_vectors = super().rank(asked.vectors, 0, expand, times)
        with times.stage("stage 2"):
            boxes = by_vectors.boxes.copy()
            cosines = []
            for place, number in enumerate(by_vectors.images[:refine].tolist()):
                photo = read_photo(self._images[number])
                found = find_box(
                    self._describe, self._describe.see(photo.picture), asked.query, photo.size
                )
                boxes[place] = found.box
                cosines.append(found.cosine)
            best = np.argsort(-np.array(cosines), kind="stable")
        order = np.concatenate([best, np.arange(len(best), len(by_vectors.images))]).astype(int)
        return Ranking(by_vectors.images[order], boxes[order])

    def has_two_stages(self, prepared: Any) -> bool:
        """No: its first stage alone is CAM-weight, a system of its own."""
        return False


class BagEngine:
    """BLCF: sparse histograms in two files of a folder, compared by cosine.

    The folder is made anew when the images, or anything that describes them, has changed.
    """

    def __init__(self, folder: Path, describe: Blcf, images: Sequence[Path]) -> None:
        """Search among a set's images; `describe` gets the vocabulary of the folder."""
        self._folder = folder
        self._describe = describe
        self._images = images
        self._rows: csr_array | None = None
        self._numbers: NDArray[np.int64] = np.zeros(0, np.int64)

    def add(self, progress: bool) -> int:
        """Learn the words and describe all images, unless that is done; as `Engine`."""
        from scipy.sparse import load_npz, save_npz, vstack

        made_of = json.dumps(self._made_of())
        manifest = self._folder / "manifest.json"
        words, rows = self._folder / "vocabulary.npz", self._folder / "histograms.npz"
        if manifest.is_file() and json.loads(manifest.read_text("utf-8"))["of"] == made_of:
            self._describe.vocabulary = Vocabulary.load(words)
            self._rows = load_npz(rows)
            read = json.loads(manifest.read_text("utf-8"))["read"]
        else:
            read, photos = self._readable()
            self._describe.fit(photos)
            shown = show_progress(
                photos, len(photos), "indexing", disable=None if progress else True
            )
            self._rows = vstack([self._describe.photo(path) for path in shown], format="csr")
            vocabulary = self._describe.vocabulary
            assert vocabulary is not None
            vocabulary.save(words)
            write_whole(rows, lambda part: _to_file(part, save_npz, self._rows))
            content = json.dumps({"of": made_of, "read": read})
            write_whole(manifest, lambda part: part.write_text(content, encoding="utf-8"))
        self._numbers = np.array(read, np.int64)
        return len(self._images) - len(read)

    def prepare(self, query: Query) -> Any:
        """Describe a query's boxes, as `Engine`."""
        photo = read_photo(query.image)
        boxes = query_boxes(query, photo.size).tolist()
        return [self._describe.query(photo, box).toarray()[0] for box in boxes]

    def rank(self, prepared: Any, refine: int, expand: int, times: StageTimes) -> Ranking:
        """Rank all images by cosine; the box is the whole image. There is nothing to refine."""
        del refine
        with times.stage("stage 1"):
            order = self._order(prepared)
            if expand:
                best = self._histograms[order[:expand]].sum(axis=0)
                order = self._order([query + best for query in prepared])
        images = self._numbers[order]
        return Ranking(images, np.tile([0.0, 0.0, 1.0, 1.0], (len(images), 1)))

    def has_two_stages(self, prepared: Any) -> bool:
        """No."""
        del prepared
        return False

    def describe(self, photo: Photo, times: StageTimes) -> None:
        """Describe a photo, as `Engine`."""
        with times.stage("describe"):
            self._describe.photo(photo)

    @property
    def features(self) -> int:
        """One histogram per image."""
        return int(self._histograms.shape[0])

    @property
    def images(self) -> int:
        """Images in the index."""
        return int(self._histograms.shape[0])

    @property
    def words(self) -> int:
        """How many words the vocabulary has."""
        return self._describe.words_count

    def record_bytes(self) -> NDArray[np.int64]:
        """Bytes of each histogram: a number and a weight for each of its words."""
        rows = self._histograms
        entry = rows.indices.itemsize + rows.data.itemsize
        sizes: NDArray[np.int64] = np.diff(rows.indptr).astype(np.int64) * entry
        return sizes

    def close(self) -> None:
        """Nothing is open."""

    @property
    def _histograms(self) -> csr_array:
        assert self._rows is not None, "add comes first"
        return self._rows

    def _order(self, queries: Sequence[NDArray[np.float32]]) -> NDArray[np.int64]:
        """Numbers of all rows by the best cosine with the views of a query, best first."""
        scores = [self._histograms @ unit(query) for query in queries]
        return np.argsort(-np.max(scores, axis=0), kind="stable")

    def _made_of(self) -> dict[str, Any]:
        saliency = self._describe.saliency
        return {
            "images": [[str(path), *file_state(str(path))] for path in self._images],
            "network": [self._describe.network.name, list(self._describe.network.layers)],
            "weights": self._describe.network.fingerprint,
            "saliency": None if saliency is None else saliency.fingerprint,
        }

    def _readable(self) -> tuple[list[int], list[Path]]:
        numbers = []
        for number, path in enumerate(self._images):
            try:
                read_photo(path)
            except ClaidError:
                continue
            numbers.append(number)
        return numbers, [self._images[number] for number in numbers]


def _to_file(path: Path, save: Any, rows: Any) -> None:
    with path.open("wb") as file:  # by its name, SciPy would add a suffix
        save(file, rows)
