"""COCO's polygons and run lengths: what is read of them, and what is said of wrong ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from claid_ext._coco import decode_segmentation, mask_runs, runs_box
from claid_ext.regions import region_source

WIDTH, HEIGHT = 64, 48


@pytest.mark.parametrize(
    "polygons",
    [
        [[1, 1, 5, 5]],  # pycocotools takes it for a box
        [[1, 1, 5, 5, 1]],
        [[]],
        [1, 1, 5, 1, 5, 5],
        [{"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}],
        [[1, 1, 5, 1, "5", 5]],
        [[1, 1, 5, 1, float("nan"), 5]],
        [[1, 1, 10**9, 1, 5, 5]],  # pycocotools would walk there, pixel by pixel
        [[1, 1, -65, 1, 5, 5]],
    ],
)
def test_polygons_that_are_none_are_errors(polygons):
    pytest.importorskip("pycocotools")
    with pytest.raises(ValueError, match=r"polygons must be lists of at least 3 points .*\(64 pix"):
        decode_segmentation(polygons, (HEIGHT, WIDTH))


def test_polygons_may_go_a_little_beyond_the_photo():
    pytest.importorskip("pycocotools")
    mask = decode_segmentation([[-9, -9, 10, -9, 10, 10, -9, 10]], (HEIGHT, WIDTH))
    assert mask[:10, :10].all()
    assert mask.sum() == 100


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ({"size": [4, 4], "counts": [2**62, 2**62, 2**62, 2**62, 16]}, "4 x 4 pixels"),
        ({"size": [4, 4], "counts": [20, -4]}, "4 x 4 pixels"),
        ({"size": [4, 4], "counts": []}, "4 x 4 pixels, got runs of 0"),
        ({"size": [4, 4], "counts": [[16]]}, "a string or a list of whole numbers"),
        ({"size": [4, 4], "counts": None}, "a string or a list of whole numbers"),
        ({"size": 16, "counts": [16]}, r"size must be \[height, width\], got 16"),
        ({"size": [4, 0], "counts": []}, r"size must be \[height, width\]"),
        ({"size": [10**12, 10**12], "counts": [10**24]}, r"size must be \[height, width\]"),
        ({"counts": [16]}, r"size must be \[height, width\], got None"),
    ],
)
def test_run_lengths_that_are_none_are_errors(tmp_path, runs, why):
    with pytest.raises(ValueError, match=why):
        decode_segmentation(runs, (4, 4))
    file = tmp_path / "found.json"
    file.write_text(json.dumps([{"image_id": "1.png", "segmentation": runs}]))
    with pytest.raises(ValueError, match=rf"region 0: segmentation: .*{why}"):
        region_source("file", file=file)


def test_the_box_of_run_lengths_is_that_of_their_pixels():
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = rng.integers(1, 9, 2).tolist()
        mask = rng.random((height, width)) < rng.choice([0, 0.1, 0.5, 0.9, 1])
        counts = [
            0,
            0,
            *mask_runs(mask, np.arange(height + 1), np.arange(width + 1), mask.shape).tolist(),
            0,
        ]
        y, x = np.nonzero(mask)
        wanted = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None
        assert runs_box({"size": [height, width], "counts": counts}) == wanted


def test_a_box_of_run_lengths_needs_no_room_for_their_pixels():
    side = 10**6
    runs = {"size": [side, side], "counts": [side + 5, 3, side * side - side - 8]}
    assert runs_box(runs) == (1, 5, 2, 8)
