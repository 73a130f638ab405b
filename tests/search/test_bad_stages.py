"""Odd boxes, odd photos and damaged maps in a search of two stages; its command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("faiss")
from claid_ext.errors import DamagedRecordError
from claid_ext.overlap import box_iou
from claid_ext.search import InstanceIndex, Query, fitting

SIZE = (160, 120)


@pytest.fixture(scope="module", params=["own", "none"])
def index(request, tmp_path_factory, two_stage, album, picture):
    """Ordinary photos, one of 1 x 1 and two of 20,000 x 50; with a basis of its own or none."""
    folder = tmp_path_factory.mktemp("bad stages")
    paths = album(folder / "photos", 4, size=SIZE)
    for name, size, box in [
        ("one", (1, 1), (0, 0, 1, 1)),
        ("wide", (20000, 50), (3000, 5, 9000, 45)),
        ("high", (50, 20000), (5, 3000, 45, 9000)),
    ]:
        paths.append(str(folder / "photos" / f"{name}.png"))
        picture(0, size, box).save(paths[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "LEAST_PHOTOS", 7 if request.param == "own" else 50)
        made = InstanceIndex.create(folder / "i", descriptor=two_stage, regions="grid")
        with made as index:
            assert index.add(paths).failed == []
            assert (index.basis is None) == (request.param == "none")
            yield index


def photo(index, name):
    (path,) = [path for path in index.images if Path(path).stem == name]
    return path


def check_hits(index, hits):
    with index.store.reading() as view:
        ids = dict(zip(view.table.paths, view.table.ids, strict=True))
        sizes = {p: next(view.records(i[None]))[1].regions.image_size for p, i in ids.items()}
    assert sorted(hit.image for hit in hits) == sorted(sizes)
    scores = [hit.score for hit in hits]
    assert np.isfinite(scores).all()
    assert scores == sorted(scores, reverse=True)
    for hit in hits:
        height, width = sizes[hit.image]
        for x0, y0, x1, y1 in (hit.box, hit.region):
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height


BOXES = {
    "a pixel": (80, 60, 81, 61),
    "the last pixel": (159, 119, 160, 120),
    "a part of a pixel": (80.2, 60.2, 80.4, 60.4),
    "a line across": (0, 60, 160, 61),
    "a line down": (80, 0, 81, 120),
    "all of it": (0, 0, 160, 120),
    "top left": (0, 0, 60, 50),
    "bottom right": (100, 70, 160, 120),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_boxes_of_any_size_and_place(index, box):
    path = photo(index, "002")
    (hits,) = index.search(Query(path, box), 9)
    check_hits(index, hits)
    x0, y0, x1, y1 = box
    if min(x1 - x0, y1 - y0) >= 50:  # large enough to tell anything
        assert hits[0].image == path
        assert box_iou([hits[0].box], [box])[0, 0] >= 0.6


def test_boxes_over_the_border_are_clipped(index):
    path = photo(index, "001")
    for over, inside in [
        ((100, 70, 1e9, 500), (100, 70, 160, 120)),
        ((-50, -1e9, 60, 50), (0, 0, 60, 50)),
        ((-7, -7, 1e6, 1e6), None),
    ]:
        assert index.search(Query(path, over), 9) == index.search(Query(path, inside), 9)


@pytest.mark.parametrize(
    "box", [(160, 0, 170, 50), (0, 120, 50, 130), (-9, 0, 0, 50), (5e5, 5e5, 6e5, 6e5)]
)
def test_boxes_outside_are_told(index, box):
    with pytest.raises(ValueError, match="outside the image of 160 x 120 pixels"):
        index.search(Query(photo(index, "001"), box))
    with pytest.raises(ValueError, match="outside the image of 160 x 120 pixels"):
        index.search(Query(photo(index, "001"), [(0, 0, 50, 50), box]))


def test_a_box_too_thin_for_float32_is_empty(index):
    with pytest.raises(ValueError, match=r"box \[80.0, 60.0, 80.00000.*\] is empty"):
        index.search(Query(photo(index, "001"), (80, 60, 80.000001, 90)))


QUERIES = {
    "one": [None, (0, 0, 1, 1), (0.25, 0.25, 0.5, 0.5)],
    "wide": [None, (3000, 5, 9000, 45), (0, 0, 1, 1), (19999, 0, 20000, 50), (0, 24, 20000, 25)],
    "high": [None, (5, 3000, 45, 9000), (49, 19999, 50, 20000), (24, 0, 25, 20000)],
}


@pytest.mark.parametrize("name", QUERIES)
def test_photos_of_strange_sizes_are_searched_and_ask(index, name):
    for box in QUERIES[name]:
        (hits,) = index.search(Query(photo(index, name), box), 9)
        check_hits(index, hits)
    (hits,) = index.search(Query(photo(index, name), QUERIES[name][1]), 9)
    if name != "one":
        assert hits[0].image == photo(index, name)
        assert box_iou([hits[0].box], [QUERIES[name][1]])[0, 0] >= 0.5


@pytest.fixture
def small(tmp_path, two_stage, album, monkeypatch):
    """An index of three photos with a basis of its own, closed."""
    monkeypatch.setattr(fitting, "LEAST_PHOTOS", 3)
    paths = album(tmp_path / "photos", 3, size=SIZE)
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        index.add(paths)
    return tmp_path / "i", paths, two_stage


def flipped(content, place):
    changed = bytearray(content)
    changed[place * len(content) // 100] ^= 1 << place % 8
    return bytes(changed)


HARMS = {
    "a bit near the start": lambda content: flipped(content, 1),
    "a bit in the middle": lambda content: flipped(content, 50),
    "a bit at the end": lambda content: flipped(content, 99),
    "cut short": lambda content: content[:-20],
    "cut to the half": lambda content: content[: len(content) // 2],
    "nothing left": lambda content: b"",
    "another's": lambda content: b"\x89PNG" + content[4:],
}


@pytest.mark.parametrize("table", ["records", "maps"])
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_damaged_records_are_named(small, table, harm):
    folder, paths, descriptor = small
    with InstanceIndex.open(folder, descriptor=descriptor) as index:
        (first,) = index.search(Query(paths[2], (10, 10, 90, 90)), 3)
        connection = index.store._file._connection
        ((image, content),) = connection.execute(
            f"SELECT image, data FROM {table} ORDER BY image LIMIT 1 OFFSET 1"
        ).fetchall()
        connection.execute(f"UPDATE {table} SET data = ? WHERE image = ?", (harm(content), image))
        part = "record" if table == "records" else "maps"
        with (
            InstanceIndex.open(folder, descriptor=descriptor) as again,
            pytest.raises(DamagedRecordError, match=f"the {part} of image {image}"),
        ):
            again.search(Query(paths[2], (10, 10, 90, 90)), 3)
        # Added again, it is what it was.
        index.remove(paths[1])
        index.add(paths)
        (mended,) = index.search(Query(paths[2], (10, 10, 90, 90)), 3)
    # But for roundings: whole cells went through float16 before they were coded.
    assert {hit.image for hit in mended} == {hit.image for hit in first}
    assert mended[0].image == paths[2]
    assert mended[0].box == first[0].box


FIELDS = {"image", "box", "score", "level", "parts", "region", "similarity"} | {
    "probability",
    "likely",
}


@pytest.mark.parametrize("descriptor", ["tokens", "conv"])
def test_the_command_line_says_what_both_stages_found(
    claid, networks, picture, tmp_path, descriptor
):
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        picture(seed).save(tmp_path / "photos" / f"{seed}.png")
    from claid_ext.cli import main

    assert main(["index", "photos", "-o", "made", *networks(descriptor)]) == 0
    query = ("made", "photos/1.png", "--box", 40, 30, 110, 80)
    status, out, err = claid("search", *query, "--json", "-v")
    assert status == 0
    hits = json.loads(out)["results"]
    assert [set(hit) for hit in hits] == [FIELDS] * 3
    for hit in hits:
        assert hit["parts"] == []
        assert hit["score"] > hit["similarity"]
        assert len(hit["box"]) == len(hit["region"]) == 4
    # By stage, on stderr alone.
    times = dict(re.fullmatch(r"(.+): +([\d.]+) ms", line).groups() for line in err.splitlines())
    assert list(times) == ["query", "stage 1", "stage 2"]
    assert claid("search", *query, "--json") == (0, out, "")

    first = json.loads(claid("search", *query, "--json", "--refine", 0, "--expand", 0)[1])
    assert all(hit["score"] == hit["similarity"] for hit in first["results"])
    assert all(hit["box"] == hit["region"] for hit in first["results"])
    one = json.loads(claid("search", *query, "--json", "--refine", 1)[1])["results"]
    assert [hit["box"] == hit["region"] for hit in one] == [False, True, True]

    both = (*query, "--box", 0, 0, 30, 30, "--all-of", "--json")
    parts = json.loads(claid("search", *both)[1])["results"]
    for hit in parts:
        assert [set(part) for part in hit["parts"]] == [FIELDS] * 2
        assert hit["score"] == pytest.approx(sum(part["score"] for part in hit["parts"]))


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (("--refine", -1), "refine and expand must be at least 0, got -1 and 3"),
        (("--expand", -1), "refine and expand must be at least 0, got 30 and -1"),
    ],
)
def test_wrong_stages_are_told_before_anything_is_done(claid, things, tmp_path, option, why):
    command = ("search", "things", "photos/0.png", *option, "--json", "--draw", "s.png", "-v")
    assert claid(*command) == (1, "", f"claid search: {why}\n")
    assert not (tmp_path / "s.png").exists()


@pytest.mark.parametrize("most", [0, -1])
def test_no_regions_at_all_cannot_be_asked_for(claid, networks, picture, tmp_path, most):
    picture().save(tmp_path / "q.png")
    for command in (("index", "q.png"), ("detect", "q.png", "-o", "o", *networks()[:8])):
        status, out, err = claid(*command, "--max-regions", most)
        assert (status, out) == (1, "")
        assert err == (f"claid {command[0]}: max_regions must be at least 1 or None, got {most}\n")
    assert not (tmp_path / "things").exists()


def test_refit_from_the_command_line(claid, results, album, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "LEAST_PHOTOS", 4)
    paths = album(tmp_path / "photos", 7, size=SIZE)
    assert claid("index", *paths[:3], "--refit")[::2] == (
        1, "claid index: a basis needs 4 photos, the index has 3\n",
    )  # fmt: skip
    assert claid("index", *paths[:4])[0] == 0
    with InstanceIndex.open(tmp_path / "things") as index:
        first = index.basis.fingerprint
    status, out, err = claid("index", "photos", "--refit")
    assert (status, err) == (0, "")
    assert "basis fitted to 7 photos" in out
    assert "3 added" in out
    with InstanceIndex.open(tmp_path / "things") as index:
        assert index.basis.fingerprint != first
        assert index.store.get("basis photos") == 7
    assert results("things", paths[5], "-k", 1)[0]["image"] == paths[5]

    status, _, err = claid("index", "photos", "--regions", "grid", "--refit")
    assert status == 1
    assert "the index has" in err
    Path(paths[2]).write_bytes(b"\x89PNG")
    status, out, err = claid("index", paths[0], "--refit")
    assert status == 1
    assert "002.png" in err
    with InstanceIndex.open(tmp_path / "things") as index:
        assert index.store.get("basis photos") == 7
