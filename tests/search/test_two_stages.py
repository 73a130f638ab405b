"""Search in two stages: against the same done slowly by hand, and what it finds."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("faiss")
from claid_ext.describing import RegionDescriber
from claid_ext.index.box_search import BoxSearchOptions, CellMap, PhotoMap
from claid_ext.overlap import box_iou
from claid_ext.reference.box_search import box_search as slow_box_search
from claid_ext.regions import Regions, region_source
from claid_ext.search import InstanceIndex, Query, finding, fitting
from claid_ext.stage_times import StageTimes
from claid_ext.vectors import decode_vectors
from PIL import Image

SIZE = (200, 144)
THINGS = {"red": (4, 40, 30, 48, 40), "blue": (5, 110, 60, 40, 56)}  # seed, x, y, width, height


def thing(name, width, height):
    """A pattern that no photo has of itself."""
    small = np.random.default_rng(THINGS[name][0]).integers(0, 2, (4, 4, 1), dtype=np.uint8)
    colour = np.array((250, 30, 30) if name == "red" else (30, 60, 250))
    picture = Image.fromarray(np.where(small == 1, colour, 255 - colour).astype(np.uint8))
    return picture.resize((width, height), Image.Resampling.BICUBIC)


# What is in which photo, and where: x, y, width, height.
PASTED = {
    2: {"red": (20, 20, 60, 50)},
    5: {"red": (96, 72, 48, 40), "blue": (16, 40, 40, 56)},
    7: {"blue": (120, 24, 60, 84)},
    9: {"red": (104, 8, 72, 60), "blue": (40, 76, 40, 56)},
}


def paste(path, things):
    with Image.open(path) as image:
        picture = image.convert("RGB")
    for name, (x, y, width, height) in things.items():
        picture.paste(thing(name, width, height), (x, y))
    picture.save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory, album):
    paths = album(tmp_path_factory.mktemp("two stages") / "photos", 12, size=SIZE)
    for number, things in PASTED.items():
        paste(paths[number], things)
    return paths


@pytest.fixture(scope="module")
def queries(photos, album):
    """A query for each thing, in a photo that is not in the index; and one for both."""
    folder = Path(photos[0]).parent.parent
    (path,) = album(folder / "queries", 1, size=SIZE, first=70)
    places = {name: place for name, (_, *place) in THINGS.items()}
    paste(path, places)
    boxes = [(x, y, x + width, y + height) for x, y, width, height in places.values()]
    return {
        "red": Query(path, boxes[0]),
        "blue": Query(path, boxes[1]),
        "either": Query(path, boxes),
        "both": Query(path, boxes, all_of=True),
    }


@pytest.fixture(scope="module", params=["own", "none"])
def index(request, photos, two_stage):
    """With a basis of its own, int8 and codes; and without, floats."""
    folder = Path(photos[0]).parent.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "LEAST_PHOTOS", 8 if request.param == "own" else 50)
        made = InstanceIndex.create(folder / request.param, descriptor=two_stage, regions="grid")
        with made as index:
            assert index.add(photos).added == len(photos)
            assert (index.basis is None) == (request.param == "none")
            yield index


@pytest.fixture(scope="module")
def own(photos, two_stage):
    """A changeable copy of one with a basis of its own."""
    folder = Path(photos[0]).parent.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "LEAST_PHOTOS", 8)
        with InstanceIndex.create(folder / "o", descriptor=two_stage, regions="grid") as index:
            index.add(photos)
            yield index


def numbers(hits):
    return [int(Path(hit.image).stem) for hit in hits]


def pasted_box(number, name):
    x, y, width, height = PASTED[number][name]
    return (x, y, x + width, y + height)


class ByHand:
    """The same search from the stored records, one photo after the other."""

    def __init__(self, index, stored):
        self.basis = index.basis
        self.kept = []
        for path in index.images:
            record, maps = stored(index)[path]
            plain = record.vectors.dtype == np.float32
            vectors = record.vectors if plain else decode_vectors(record.vectors)
            self.kept.append((path, record.regions, vectors.astype(np.float64), maps))
        self.found = {}

    def search(self, prepared, k, *, refine, expand, min_size=0.0):
        vectors = prepared.vectors.astype(np.float64)
        if expand:
            sums = vectors.copy()
            for one in self.rank(prepared, vectors, refine, min_size)[:expand]:
                rows = self.kept[one["number"]][2]
                for i in range(len(sums)):
                    own = i if prepared.all_of else int(np.argmax(one["scores"]))
                    weight = max(one["cosines"][own], 0) ** 3
                    sums[i] += weight * rows[one["regions"][own]]
            vectors = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return self.rank(prepared, vectors, refine, min_size)[:k]

    def rank(self, prepared, vectors, refine, min_size):
        total = np.sum if prepared.all_of else np.max
        ranking = []
        for number, (_, regions, rows, _) in enumerate(self.kept):
            cosines = rows @ vectors.T
            cosines[regions.size < min_size] = -2
            ranking.append({
                "number": number, "regions": cosines.argmax(axis=0),
                "cosines": cosines.max(axis=0), "scores": cosines.max(axis=0),
                "boxes": regions.boxes[cosines.argmax(axis=0)],
            })  # fmt: skip
            ranking[-1]["score"] = total(ranking[-1]["scores"])
        ranking.sort(key=lambda one: -one["score"])
        top, rest = ranking[:refine], ranking[refine:]
        for one in top:
            _, regions, _, _ = self.kept[one["number"]]
            found = [self.box(prepared, i, one["number"], min_size) for i in range(len(vectors))]
            one["scores"] = one["cosines"] + np.array([its.core for its in found]) / 1.5
            one["score"] = total(one["scores"])
            for i, its in enumerate(found):
                x0, y0, x1, y1 = its.box
                if (x1 - x0) * (y1 - y0) >= min_size:
                    one["boxes"][i] = its.box
                    overlap = box_iou([its.box], regions.boxes)[0]
                    one["regions"][i] = np.where(regions.size >= min_size, overlap, -1).argmax()
        top.sort(key=lambda one: -one["score"])
        for one in rest:
            one["score"] = min(one["score"], top[-1]["score"]) if top else one["score"]
        return top + rest

    def box(self, prepared, i, number, min_size):
        key = prepared.templates[i].aspect, number, min_size  # of each thing another
        if key not in self.found:
            _, regions, _, maps = self.kept[number]
            photo = PhotoMap(
                *(CellMap(its.values, (its.cell[1], its.cell[0])) for its in maps),
                (regions.image_size[1], regions.image_size[0]),
                regions.boxes[regions.size >= min_size],
            )
            books = self.basis and tuple(its.centroids for its in self.basis.layers)
            self.found[key] = slow_box_search(
                photo, prepared.templates[i], codebooks=books, options=BoxSearchOptions()
            )
        return self.found[key]


OPTIONS = (
    {"refine": 5, "expand": 0},
    {"refine": 0, "expand": 3},
    {"refine": 0, "expand": 0},
    {"refine": 1, "expand": 3},
    {"refine": 2, "expand": 5},
    {"refine": 3, "expand": 3, "min_size": 3000},
    {"refine": 99, "expand": 3},
)


@pytest.fixture(scope="module")
def by_hand(index, stored):
    return ByHand(index, stored)


@pytest.mark.parametrize("name", ["red", "blue", "either", "both"])
def test_a_search_is_what_it_is_by_hand(index, queries, by_hand, name):
    (prepared,) = index.prepare([queries[name]])
    for options in OPTIONS:
        (hits,) = index.search(prepared, 12, **options)
        wanted = by_hand.search(prepared, 12, **options)
        assert numbers(hits) == [one["number"] for one in wanted], options
        for hit, one in zip(hits, wanted, strict=True):
            assert hit.score == pytest.approx(one["score"], abs=1e-4)
            parts = hit.parts or (hit,)
            chosen = range(len(parts)) if hit.parts else [int(np.argmax(one["scores"]))]
            regions = by_hand.kept[one["number"]][1]
            for part, i in zip(parts, chosen, strict=True):
                np.testing.assert_allclose(part.box, one["boxes"][i], atol=0.5)
                assert part.similarity == pytest.approx(one["cosines"][i], abs=1e-5)
                assert part.region == tuple(regions.boxes[one["regions"][i]].tolist())
                assert part.level == regions.level[one["regions"][i]]
            if hit.parts:
                assert hit.similarity == pytest.approx(one["cosines"].sum(), abs=1e-5)


@pytest.mark.parametrize("name", ["red", "blue"])
def test_the_things_are_found_with_their_boxes(index, queries, name):
    (hits,) = index.search(queries[name], 12)
    shown = [number for number, things in PASTED.items() if name in things]
    assert sorted(numbers(hits)[: len(shown)]) == shown
    for hit in hits[: len(shown)]:
        number = int(Path(hit.image).stem)
        wanted = [pasted_box(number, name)]
        refined = box_iou([hit.box], wanted)[0, 0]
        assert refined >= 0.6
        assert refined > box_iou([hit.region], wanted)[0, 0], "nearer than any stored region"


def test_all_of_finds_both_things_each_in_its_place(index, queries):
    (hits,) = index.search(queries["both"], 12)
    assert sorted(numbers(hits)[:2]) == [5, 9]
    for hit in hits[:2]:
        assert hit.score == pytest.approx(sum(part.score for part in hit.parts), abs=1e-9)
        for part, name in zip(hit.parts, THINGS, strict=True):
            wanted = pasted_box(int(Path(hit.image).stem), name)
            assert box_iou([part.box], [wanted])[0, 0] >= 0.6
            assert part.image == hit.image
            assert part.parts == ()
    (any_of,) = index.search(queries["either"], 12)
    assert sorted(numbers(any_of)[:4]) == sorted(PASTED)
    assert all(hit.parts == () for hit in any_of)


@pytest.mark.parametrize("name", ["red", "either", "both"])
def test_hits_are_whole_and_in_order(index, queries, name):
    for refine in (0, 1, 3, 30):
        for expand in (0, 3):
            (hits,) = index.search(queries[name], 99, refine=refine, expand=expand)
            assert sorted(numbers(hits)) == list(range(12))
            scores = [hit.score for hit in hits]
            assert scores == sorted(scores, reverse=True)
            (some,) = index.search(queries[name], 4, refine=refine, expand=expand)
            assert some == hits[:4], "k changes nothing but how many"
            for hit in hits:
                for part in (hit, *hit.parts):
                    for x0, y0, x1, y1 in (part.box, part.region):
                        assert 0 <= x0 < x1 <= SIZE[0]
                        assert 0 <= y0 < y1 <= SIZE[1]
            for hit in hits[refine:]:
                assert all(part.box == part.region for part in (hit, *hit.parts))


def test_runs_and_threads_change_no_bit(index, queries, monkeypatch):
    asked = list(queries.values())
    first = index.search(asked, 12)
    assert index.search(asked, 12) == first
    assert [index.search(query, 12)[0] for query in asked] == first
    real = finding.box_search
    for threads in (1, 3):
        monkeypatch.setattr(finding, "box_search", partial(real, threads=threads))
        assert index.search(asked, 12) == first


def test_stages_are_timed(index, queries):
    times = StageTimes()
    index.search(queries["red"], 3, times=times)
    assert list(times.seconds) == ["query", "stage 1", "stage 2"]
    assert min(times.seconds.values()) > 0
    before = dict(times.seconds)
    index.search(queries["red"], 3, times=times)
    assert all(times.seconds[stage] > seconds for stage, seconds in before.items())


def test_small_regions_and_boxes_are_passed_over(index, queries):
    for refine in (0, 30):
        (hits,) = index.search(queries["red"], 12, min_size=5000, refine=refine)
        assert hits
        for hit in hits:
            for x0, y0, x1, y1 in (hit.box, hit.region):
                assert (x1 - x0) * (y1 - y0) >= 5000
    assert index.search(queries["red"], 12, min_size=1e6) == [[]]


def test_what_stage_2_is_given_and_what_its_scores_do(own, queries, monkeypatch):
    """No region under min_size; and a core below 0 puts none behind what was not refined."""
    given = []

    def search(photos, *arguments, **options):
        given.extend(photos)
        found = finding_box_search(photos, *arguments, **options)
        return [dataclasses.replace(its, core=-1.0) for its in found]

    finding_box_search = finding.box_search
    monkeypatch.setattr(finding, "box_search", search)
    (hits,) = own.search(queries["red"], 12, refine=3, expand=0, min_size=3000)
    assert len(given) == 3
    for photo in given:
        x0, y0, x1, y1 = photo.regions.T
        assert len(photo.regions)
        assert ((x1 - x0) * (y1 - y0) >= 3000).all()
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert scores[2] < 0.5


def test_only_images_in_scope_are_found_and_expanded_by(index, photos, queries):
    (all_hits,) = index.search(queries["red"], 12)
    assert numbers(all_hits)[0] in (2, 5, 9)
    (hits,) = index.search(queries["red"], 12, images="*/00[0-5].png")
    assert sorted(numbers(hits)) == list(range(6))
    assert sorted(numbers(hits)[:2]) == [2, 5]
    (one,) = index.search(queries["red"], 12, images=[photos[9]])
    assert numbers(one) == [9]
    assert box_iou([one[0].box], [pasted_box(9, "red")])[0, 0] >= 0.6
    (none,) = index.search(queries["red"], 12, images=lambda path: False)
    assert none == []


def test_wrong_options(index, queries):
    for options, why in [
        ({"refine": -1}, "refine and expand must be at least 0, got -1 and 3"),
        ({"expand": -2}, "refine and expand must be at least 0, got 30 and -2"),
        ({"k": 0}, "k must be at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=why):
            index.search(queries["red"], **options)


def test_a_photo_without_maps_is_ranked_by_its_vectors(own, queries, stored):
    """Given with the vectors of a photo that shows the thing: stage 1 finds it, stage 2 cannot."""
    record, _ = stored(own)[own.images[2]]
    regions = Regions.of_boxes(record.regions.image_size, record.regions.boxes)
    path = "/none/given.png"
    assert own.add_described([(path, regions, decode_vectors(record.vectors))]) == 1
    try:
        (vectors_alone,) = own.search(queries["red"], 13, refine=0, expand=0)
        (twin,) = [hit for hit in vectors_alone if hit.image == own.images[2]]
        (given,) = [hit for hit in vectors_alone if hit.image == path]
        assert given.score == pytest.approx(twin.score, abs=1e-6)
        for refine in (1, 2, 30):
            (hits,) = own.search(queries["red"], 13, refine=refine)
            assert len(hits) == 13
            scores = [hit.score for hit in hits]
            assert scores == sorted(scores, reverse=True)
            (given,) = [hit for hit in hits if hit.image == path]
            assert given.box == given.region
            assert given.score <= given.similarity
        (only,) = own.search(queries["both"], 3, images=[path])
        assert [hit.image for hit in only] == [path]
    finally:
        own.remove(path)


def test_removed_photos_are_neither_found_nor_expanded_by(own, photos, queries):
    (before,) = own.search(queries["red"], 12)
    own.remove(photos[2])
    try:
        (hits,) = own.search(queries["red"], 12)
        assert sorted(numbers(hits)) == [i for i in range(12) if i != 2]
        scope = [photo for photo in photos if photo != photos[2]]
        assert hits == own.search(queries["red"], 12, images=scope)[0]
        assert own.search(queries["red"], 12, images=[photos[2]]) == [[]]
    finally:
        own.add(photos)
    # It comes last of equals now, but is what it was.
    assert {hit.image: hit for hit in own.search(queries["red"], 12)[0]}.keys() == {
        hit.image for hit in before
    }


def test_descriptors_of_one_stage_know_no_maps(tmp_path, fake, photos):
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="grid") as index:
        index.add(photos[:4])
        assert index.basis is None
        with index.store.reading() as view:
            assert list(view.maps(view.table.ids)) == []
        (prepared,) = index.prepare([Query(photos[1], (10, 10, 90, 90))])
        assert prepared.templates == ()
        (plain,) = index.search(prepared, 4, refine=0, expand=0)
        assert index.search(prepared, 4) == [plain]
        assert all(hit.box == hit.region and hit.score == hit.similarity for hit in plain)


def test_a_prepared_query_is_searched_as_the_query_itself(index, queries):
    for query in queries.values():
        (prepared,) = index.prepare([query])
        for options in ({}, {"refine": 2, "expand": 0}):
            assert index.search(prepared, 5, **options) == index.search(query, 5, **options)


def test_records_of_any_source_serve(tmp_path, two_stage, photos, queries, picture):
    """Regions of other sizes, an image with one region alone, and 1 x 1: all are searched."""
    paths = [*photos[:3], str(tmp_path / "tiny.png"), str(tmp_path / "long.png")]
    picture(0, (1, 1), (0, 0, 1, 1)).save(paths[3])
    picture(1, (900, 20), (100, 2, 400, 18)).save(paths[4])
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="full") as index:
        assert index.add(paths).failed == []
        (hits,) = index.search(queries["red"], 9)
        assert len(hits) == 5
        assert hits[0].image == photos[2]
        assert box_iou([hits[0].box], [pasted_box(2, "red")])[0, 0] >= 0.5
        (tiny,) = [hit for hit in hits if hit.image == paths[3]]
        assert tiny.region == (0, 0, 1, 1)
        x0, y0, x1, y1 = tiny.box
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1


def test_no_region_at_all(tmp_path, two_stage, photos, queries):
    """A source that finds nothing leaves a photo without vectors; the others are found."""

    class Nothing:
        def __init__(self):
            self.grid = region_source("grid")

        def __call__(self, images):
            found = self.grid(images)
            return [found[0].take(np.arange(0)), *found[1:]]

        def manifest(self):
            return {"name": "nothing"}

        def recipe(self):
            return None

    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions=Nothing()) as index:
        index.add(photos[:6], batch_size=6)
        assert len(index) == 6
        (hits,) = index.search(queries["red"], 9)
        assert sorted(numbers(hits)) == [1, 2, 3, 4, 5]


def real_boxes():
    """Photos of scikit-image, and a thing in each."""
    return {
        "coffee.png": (80, 18, 478, 388), "chelsea.png": (130, 20, 360, 280),
        "astronaut.png": (150, 0, 300, 190), "rocket.jpg": (280, 120, 380, 320),
    }  # fmt: skip


def test_a_query_cut_from_a_photo_finds_that_photo_first(tmp_path, real_descriptor):
    pytest.importorskip("skimage")
    from claid_ext.images import load_image
    from claid_ext.weights import package_file

    paths = []
    for name in real_boxes():
        with load_image(package_file("scikit-image", f"skimage/data/{name}")) as image:
            paths.append(str(tmp_path / f"{Path(name).stem}.png"))
            image.save(paths[-1])
    made = InstanceIndex.create(tmp_path / "i", descriptor=real_descriptor, regions="grid")
    with made as index:
        assert index.add(paths).failed == []
        for path, box in zip(paths, real_boxes().values(), strict=True):
            (hits,) = index.search(Query(path, box), 4)
            assert hits[0].image == path
            assert box_iou([hits[0].box], [box])[0, 0] >= 0.7
            assert hits[0].score > hits[1].score


def test_queries_find_their_own_photos_in_the_data(tmp_path, real_descriptor, data_dir):
    """Six of the queries, among their own photos and twelve others."""
    from claid_ext.evaluation.datasets import load_search

    search_set = load_search("folder", data_dir / "search")
    asked = search_set.queries[:: max(1, len(search_set.queries) // 6)][:6]
    paths = [str(query.image) for query in asked]
    others = [str(path) for path in search_set.images if str(path) not in paths][:12]
    made = InstanceIndex.create(tmp_path / "i", descriptor=real_descriptor, regions="grid")
    with made as index:
        assert index.add([*paths, *others]).failed == []
        right = 0
        for query in asked:
            (hits,) = index.search(Query(query.image, query.boxes), 3)
            same = Path(hits[0].image) == Path(query.image).absolute()
            right += same and box_iou([hits[0].box], query.boxes).max() >= 0.7
    assert right >= 0.9 * len(asked)


def test_a_describers_records_are_those_of_the_index(index, photos, stored):
    """The seam: what any machine makes with the index's basis is what is kept."""
    describer = RegionDescriber(region_source("grid"), index.descriptor, index.basis)
    for path in photos[:2]:
        (record,) = describer([path])
        kept, maps = stored(index)[path]
        assert record.vectors.dtype == kept.vectors.dtype
        assert np.abs(record.vectors.astype(float) - kept.vectors.astype(float)).max() <= (
            1e-5 if index.basis is None else 1
        )
        for one, other in zip(record.maps, maps, strict=True):
            assert (one.layer, one.cell) == (other.layer, other.cell)
            assert (one.values.dtype, one.values.shape) == (other.values.dtype, other.values.shape)
            assert (np.abs(one.values.astype(float) - other.values) <= 1e-3).mean() > 0.98
