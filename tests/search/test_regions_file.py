"""Regions from COCO JSON: every layout, how photos are matched, and what is said of wrong files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("timm")
from claid_ext import InstanceIndex
from claid_ext._coco import decode_segmentation, encode_runs
from claid_ext.errors import IndexMismatchError
from claid_ext.regions import region_source
from PIL import Image

WIDTH, HEIGHT = 64, 48


def region(box, **more):
    return {"bbox": box, "category_id": 1, **more}


def runs_of(mask):
    """COCO's run lengths of a mask, down the columns, zeros first."""
    flat = mask.flatten(order="F").astype(int)
    edges = np.flatnonzero(np.diff(flat, prepend=0))
    return np.diff(edges, prepend=0, append=flat.size)


@pytest.fixture
def album(tmp_path):
    """Photos a/1.png, b/1.png and b/2.png."""
    paths = []
    for number, name in enumerate(("a/1.png", "b/1.png", "b/2.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths


@pytest.fixture
def write(tmp_path):
    def write(content, name="found.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    return write


IMAGES = [
    {"id": 10, "file_name": "a/1.png", "height": HEIGHT, "width": WIDTH},
    {"id": 11, "file_name": "b/1.png", "height": HEIGHT, "width": WIDTH},
    {"id": 12, "file_name": "2.png"},
]
FOUND = [
    {"image_id": 10, **region([1, 2, 10, 20], score=0.25)},
    {"image_id": 10, **region([5, 6, 7, 8], score=0.75)},
    {"image_id": 11, **region([0, 0, 64, 48], score=0.5)},
]
BOXES = [[[5, 6, 12, 14], [1, 2, 11, 22]], [[0, 0, 64, 48]], [[0, 0, 64, 48]]]


def assert_found(source, album, boxes=BOXES):
    for photo, its, wanted in zip(album, source(album), boxes, strict=True):
        assert its.boxes.tolist() == wanted, photo
        assert its.image_size == (HEIGHT, WIDTH)


def test_results_with_the_images_of_another_file(album, write):
    results, images = write(FOUND), write({"images": IMAGES, "annotations": []}, "images.json")
    source = region_source("file", file=results, images_json=images)
    assert_found(source, album)
    found = source(album)
    assert [its.level.tolist() for its in found] == [[1, 1], [1], [0]]  # the last: whole area
    assert np.isnan(found[0].connectivity).all()


def test_a_data_set(album, write):
    annotations = [{"id": n, **one} for n, one in enumerate(FOUND)]
    crowd = {"image_id": 12, **region([1, 1, 5, 5]), "iscrowd": 1}
    file = write({"images": IMAGES, "annotations": [*annotations, crowd], "categories": []})
    assert_found(region_source("file", file=file), album)
    with pytest.raises(ValueError, match="lists its images itself"):
        region_source("file", file=file, images_json=file)


def test_results_whose_ids_are_names(album, write):
    names = {10: "a/1.png", 11: "b/1.png"}
    named = [{**one, "image_id": names[one["image_id"]]} for one in FOUND]
    source = region_source("file", file=write([*named, {"image_id": "2", **region([3, 3, 4, 4])}]))
    assert_found(source, album, [*BOXES[:2], [[3, 3, 7, 7]]])  # "2": without its suffix


def test_a_folder_as_segment_anything_writes_it(album, write, tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:20, 30:50] = True
    packed = {"size": [HEIGHT, WIDTH], "counts": encode_runs(runs_of(mask))}
    one = {"area": 200, "bbox": [30, 10, 20, 10], "predicted_iou": 1.0, "segmentation": packed}
    write([one], "sam/2.json")
    image = {"image_id": 5, "file_name": "a/1.png", "height": HEIGHT, "width": WIDTH}
    del one["bbox"]
    write({"image": image, "annotations": [one]}, "sam/sa_5.json")
    source = region_source("file", file=tmp_path / "sam", masks=True)
    for its in source([album[0], album[2]]):
        assert its.boxes.tolist() == [[30, 10, 50, 20]]
        assert its.covered == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(its.masks[0], mask)
    with pytest.raises(ValueError, match=r"b/1\.png: not among the 2 images of"):
        source([album[1]])


def test_the_longest_name_wins_and_other_folders_do_not_match(album, write):
    images = [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "photos/b/1.png"}]
    found = [{"image_id": n, **region([n, n, 5, 5])} for n in (1, 2)]
    source = region_source("file", file=write({"images": images, "annotations": found}))
    assert_found(source, album[:2], [[[1, 1, 6, 6]], [[2, 2, 7, 7]]])
    images[0]["file_name"] = "elsewhere/1.png"
    source = region_source("file", file=write({"images": images, "annotations": found}))
    with pytest.raises(ValueError, match=r"a/1\.png: not among the 2 images of .*elsewhere/1\.png"):
        source(album[:1])
    with pytest.raises(ValueError, match="one is from memory"):
        source([Image.new("RGB", (9, 9))])


def test_scores_areas_and_the_most(album, write):
    found = [
        {"image_id": "1.png", **region([n, n, 10, 10], score=n / 10, area=60.0 + n)}
        for n in range(10)
    ]
    found.append({"image_id": "1.png", **region([3, 3, 0, 9], score=1.0)})  # no area: left out
    file = write(found)
    (all_of_them,) = region_source("file", file=file, max_regions=None)(album[:1])
    assert all_of_them.boxes[:, 0].tolist() == list(range(9, -1, -1))
    assert all_of_them.size.tolist() == [69.0 - n for n in range(10)]
    (sure,) = region_source("file", file=file, min_score=0.65)(album[:1])
    assert sure.boxes[:, 0].tolist() == [9, 8, 7]
    (few,) = region_source("file", file=file, max_regions=3)(album[:1])
    assert len(few) == 3
    assert 9 in few.boxes[:, 0]
    with pytest.raises(ValueError, match=r"region 0: min_score is 0\.5, but it has no score"):
        region_source("file", file=write([{"image_id": "1.png", **region([1, 1, 2, 2])}]),
                      min_score=0.5)(album[:1])  # fmt: skip


def test_masks_of_every_form(album, write):
    pytest.importorskip("pycocotools")
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[4:12, 6:20] = True
    forms = [
        [[6, 4, 20, 4, 20, 12, 6, 12]],
        {"size": [HEIGHT, WIDTH], "counts": runs_of(mask).tolist()},
        {"size": [HEIGHT, WIDTH], "counts": encode_runs(runs_of(mask))},
    ]
    for form in forms:
        for more in ({}, {"bbox": [6, 4, 14, 8]}):
            file = write([{"image_id": "1.png", "segmentation": form, **more}])
            (its,) = region_source("file", file=file, masks=True)(album[:1])
            np.testing.assert_array_equal(its.masks, mask[None])
            assert its.boxes.tolist() == [[6, 4, 20, 12]]
            assert region_source("file", file=file)(album[:1])[0].masks is None


def test_masks_of_large_photos_are_coarse_and_never_empty(write, tmp_path):
    Image.new("RGB", (700, 500)).save(tmp_path / "large.png")
    mask = np.zeros((500, 700), bool)
    mask[100:300, 200:400] = True
    small = np.zeros((500, 700), bool)
    small[499, 699] = True
    found = [
        {"image_id": "large.png",
         "segmentation": {"size": [500, 700], "counts": encode_runs(runs_of(its))}}
        for its in (mask, small)
    ]  # fmt: skip
    source = region_source("file", file=write(found), masks=True)
    (its,) = source([tmp_path / "large.png"])
    assert its.masks.shape == (2, 167, 234)
    assert its.covered == (501.0, 702.0)
    assert its.masks[0].sum() * 9 == pytest.approx(mask.sum(), rel=0.03)
    assert np.argwhere(its.masks[1]).tolist() == [[166, 233]]
    assert its.boxes[1].tolist() == [699, 499, 700, 500]


def test_packed_runs_are_read_as_pycocotools_reads_them():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 0.98, 1):
        for size in ((1, 1), (3, 50), (61, 40)):
            mask = np.kron(rng.random(size) < share, np.ones((3, 2))) > 0
            packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
            assert np.array_equal(decode_segmentation(packed, mask.shape), mask)
    for wrong in ("\x7f", "é", "0" * 3 + "P", "P" * 30 + "0"):
        with pytest.raises(ValueError, match="run lengths"):
            decode_segmentation({"size": [4, 4], "counts": wrong}, (4, 4))


def test_another_size_is_an_error(album, write):
    image = {"id": 1, "file_name": "1.png", "height": WIDTH, "width": HEIGHT}
    found = {"image_id": 1, **region([1, 1, 5, 5])}
    file = write({"images": [image], "annotations": [found]})
    with pytest.raises(ValueError, match="says 48 x 64 pixels, the photo has 64 x 48 upright"):
        region_source("file", file=file)(album[:1])
    file = write([{"image_id": "1.png", **region([100, 10, 20, 20])}])
    with pytest.raises(ValueError, match=r"region 0: the box .* is outside the photo of 64 x 48"):
        region_source("file", file=file)(album[:1])
    file = write([{"image_id": "1.png", **region([60, 40, 20, 20])}])  # clipped
    assert region_source("file", file=file)(album[:1])[0].boxes.tolist() == [[60, 40, 64, 48]]


ONE = {"image_id": "1.png", "bbox": [1, 1, 2, 2]}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "found.json: not a JSON file"),
        ("[" * 100_000, "found.json: not a JSON file"),
        ("3", "regions must be a list, got int"),
        ({"images": []}, "wanted the key 'annotations'"),
        ({"annotations": []}, "wanted the key 'images'"),
        ({"images": 3, "annotations": []}, "images must be a list, got int"),
        ([ONE, 3], "found.json: region 1 must be an object, got 3"),
        ([{"bbox": [1, 1, 2, 2]}], "region 0: wrong layout: wanted the key 'image_id'"),
        ([{**ONE, "image_id": 7}], "region 0: nothing says which photo image_id 7 is: give the"),
        ([{**ONE, "image_id": [7]}], "region 0: an id must be a number or a name, got"),
        ([{**ONE, "image_id": ""}], "region 0: file_name must be a file's name, got ''"),
        ([{**ONE, "bbox": [1, 1, 2]}], "region 0: bbox must be 4 finite"),
        ([{**ONE, "bbox": [1, 1, "2", 2]}], "region 0: bbox must be 4 finite"),
        ('[{"image_id": "1.png", "bbox": [1, 1, NaN, 2]}]', "region 0: bbox must be 4 finite"),
        ([{**ONE, "bbox": [5, 5, -1, 2]}], r"region 0: bbox must be \[x, y, width, height\]"),
        ([{"image_id": "1.png"}], "region 0: wanted a bbox or a segmentation"),
        ([{**ONE, "score": "high"}], "region 0: score must be 1 finite"),
        ([{**ONE, "area": True}], "region 0: area must be 1 finite"),
        ([{"image_id": "1.png", "segmentation": [[1, 2, "x"]]}], "region 0: polygons must be"),
        ([{"image_id": "1.png", "segmentation": [3]}], "region 0: polygons must be"),
        (
            [{"image_id": "1.png", "segmentation": {"size": [2, 2], "counts": [1]}}],
            "region 0: segmentation: run lengths: wanted 2 x 2 pixels",
        ),
        (
            {"images": [IMAGES[0], IMAGES[0]], "annotations": []},
            "image 1: another image has the id 10",
        ),
        (
            {"images": [IMAGES[0], {**IMAGES[0], "id": 3}], "annotations": []},
            "image 1: another image is called 'a/1.png'",
        ),
        (
            {"images": [{"id": 1, "file_name": "1.png", "height": "9", "width": 9}],
             "annotations": []},
            "image 0: height and width must be 2 finite",
        ),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("album")
def test_a_wrong_file_is_an_error_and_leaves_no_index(claid, write, content, why, tmp_path):
    file = write(content)
    with pytest.raises(ValueError, match=why):
        region_source("file", file=file)
    status, _, err = claid("index", "photos", "--regions", "file", "--regions-file", file)
    assert status == 1
    assert str(file) in err
    assert not (tmp_path / "things").exists()


def test_wrong_arguments(write, tmp_path):
    file = write(FOUND)
    with pytest.raises(FileNotFoundError, match=r"missing\.json: no such file"):
        region_source("file", file=tmp_path / "missing.json")
    with pytest.raises(ValueError, match="needs a file, and only it takes one"):
        region_source("file")
    with pytest.raises(ValueError, match="needs a file, and only it takes one"):
        region_source("grid", file=file)
    with pytest.raises(ValueError, match='are for regions="file"'):
        region_source("grid", min_score=0.5)
    with pytest.raises(ValueError, match="image_id 10 is not among those of"):
        region_source("file", file=file, images_json=write({"images": []}, "none.json"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no JSON file in the folder"):
        region_source("file", file=tmp_path / "empty")


def test_an_index_of_somebody_elses_regions(claid, write, album, results, tmp_path):
    results_file = write(FOUND)
    options = ("--regions", "file", "--regions-file", results_file)
    status, _, err = claid("index", "photos", *options)
    assert status == 1
    assert "give the COCO JSON that lists the images" in err
    images = write({"images": IMAGES[:2]}, "images.json")
    status, out, err = claid("index", "photos", *options, "--images-json", images)
    assert (status, "2 added" in out) == (1, True)
    assert "b/2.png: not among the 2 images of" in err
    hits = results("things", "photos/a/1.png", "--box", 5, 6, 12, 14, "--refine", 0)
    assert Path(hits[0]["image"]) == album[0]
    assert hits[0]["region"] == [5, 6, 12, 14]
    # A new file for more photos; then the first file has changed under the recipe.
    more = write([{"image_id": "2.png", **region([7, 8, 20, 20])}], "more.json")
    assert claid("index", "photos", "--regions-file", more)[0] == 0
    results_file.write_text(json.dumps(FOUND[:1]), encoding="utf-8")
    album[0].write_bytes(album[2].read_bytes())
    status, _, err = claid("index", "photos")
    assert status == 1
    assert "found.json has changed since regions were taken from it" in err
    status, _, err = claid("index", "photos", "--regions-file", more, "--regions-min-score", "0.5")
    assert status == 1
    assert "regions min_score: the index has None, got 0.5" in err
    status, _, err = claid("index", "photos", "--regions", "grid", "--regions-file", more)
    assert status == 1
    assert "--regions-file is for --regions file, got --regions grid" in err


def test_a_recipe_makes_it_again(fake, album, write, tmp_path):
    file = write(FOUND), write({"images": IMAGES}, "images.json")
    source = region_source("file", file=file[0], images_json=file[1], min_score=0.1, max_regions=5)
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions=source) as index:
        assert index.add(album[:1]).added == 1
    with InstanceIndex.open(tmp_path / "i", descriptor=fake()) as index:
        assert index.source.recipe() == source.recipe()
        assert index.add(album).failed == []
        assert index.regions_count == 4
    file[1].write_text(json.dumps({"images": IMAGES[:2]}), encoding="utf-8")
    with (
        InstanceIndex.open(tmp_path / "i", descriptor=fake()) as index,
        pytest.raises(IndexMismatchError, match="has changed since"),
    ):
        _ = index.source


def test_eval_takes_a_file(claid, networks, write, album, tmp_path):
    """Recall of the very objects that a file says is 1; an index's folder follows the content."""
    from claid_ext.evaluation.setup import RegionsFile, Setup

    images = [{**one, "height": HEIGHT, "width": WIDTH} for one in IMAGES[:2]]
    truth = write({"images": images, "annotations": FOUND}, "photos/instances.json")
    results_file = write(FOUND)
    options = ("--regions", "file", "--regions-file", results_file, "--images-json", truth)
    status, out, _ = claid("eval", "recall", "--data", truth, *options, "--json", "r.json")
    assert status == 0
    assert "file" in out
    (row, *_) = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert 1.0 in row.values()
    setup = Setup(regions="file", regions_file=RegionsFile(results_file, truth))
    before = setup.folder_name("x")
    assert before != setup.but(regions_file=RegionsFile(results_file, truth, 0.5)).folder_name("x")
    assert before == setup.but(device="cpu").folder_name("x")
    write(FOUND[:1])
    assert setup.folder_name("x") != before
    status, _, err = claid("eval", "search", "--data", ".", "--regions", "file")
    assert status == 1
    assert "--regions file needs --regions-file" in err
