"""Both detection loaders on small folders, what they say of wrong ones, and masks decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from claid_ext._coco import decode_segmentation
from claid_ext.evaluation import DetectionSet, load_detection


def check_detection(found: DetectionSet, picture: Path) -> None:
    (image,) = found.images
    assert image.path == picture
    assert image.size == (4, 5)
    assert image.boxes.tolist() == [[1, 0, 3, 2], [0, 0, 5, 4]]
    assert image.crowd.tolist() == [False, True]
    assert image.area_fraction.tolist() == [0.2, 1.0]
    masks = image.masks()
    assert masks[0].astype(int).tolist() == [[0, 1, 1, 0, 0], [0, 1, 0, 0, 0]] + [[0] * 5] * 2
    assert masks[1].all()
    found.check_files()


RUNS = [{"size": [4, 5], "counts": [4, 2, 2, 1, 11]}, {"size": [4, 5], "counts": [0, 20]}]


def test_annotations_folder(tmp_path: Path, make_files, write_json) -> None:
    make_files(tmp_path, "images/1.jpg")
    instances = [
        {"box": [1, 0, 3, 2], "crowd": False, "rle": RUNS[0]},
        {"box": [0, 0, 5, 4], "crowd": True, "rle": RUNS[1]},
    ]
    record = {"file": "images/1.jpg", "width": 5, "height": 4, "instances": instances}
    file = write_json(tmp_path / "annotations.json", {"images": [record]})
    check_detection(load_detection(tmp_path), tmp_path / "images/1.jpg")
    check_detection(load_detection(file), tmp_path / "images/1.jpg")


@pytest.mark.parametrize(
    "where", ["annotations/1.jpg", "annotations/images/1.jpg", "val2017/1.jpg", "elsewhere/1.jpg"]
)
def test_coco(tmp_path: Path, make_files, write_json, where: str) -> None:
    make_files(tmp_path, where)
    annotations = [
        {"image_id": 7, "bbox": [1, 0, 2, 2], "iscrowd": 0, "segmentation": RUNS[0]},
        {"image_id": 7, "bbox": [0, 0, 5, 4], "iscrowd": 1, "segmentation": RUNS[1]},
    ]
    images = [{"id": 7, "file_name": "1.jpg", "height": 4, "width": 5}]
    file = write_json(
        tmp_path / "annotations/instances_val2017.json",
        {"images": images, "annotations": annotations},
    )
    given = tmp_path / "elsewhere" if "elsewhere" in where else None
    check_detection(load_detection(file, given), tmp_path / where)


def test_coco_wrong_layouts(tmp_path: Path, write_json) -> None:
    file = write_json(tmp_path / "instances_x.json", {"images": []})
    with pytest.raises(ValueError, match="wanted the key 'annotations'"):
        load_detection(file)
    images = [{"id": 1, "file_name": "1.jpg", "height": 4, "width": 5}]
    write_json(file, {"images": images, "annotations": []})
    with pytest.raises(FileNotFoundError, match=r"the image 1.jpg is in none of"):
        load_detection(file)


def test_coco_packed_masks_and_polygons() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((4, 5), dtype=np.uint8)
    mask[1:3, 2:4] = 1
    packed = coco_mask.encode(np.asfortranarray(mask))
    assert np.array_equal(decode_segmentation(packed, (4, 5)), mask.astype(bool))
    square = decode_segmentation([[2, 1, 4, 1, 4, 3, 2, 3]], (4, 5))
    assert np.array_equal(square, mask.astype(bool))
    with pytest.raises(ValueError, match="run lengths: wanted 4 x 6 pixels"):
        decode_segmentation(RUNS[0], (4, 6))


def test_real_pictures(shared_data: Path) -> None:
    detect = load_detection(shared_data / "detect")
    detect.check_files()
    assert len(detect.images) == 79
    assert sum(int((~image.crowd).sum()) for image in detect.images) == 675
    assert sum(int(image.crowd.sum()) for image in detect.images) == 7
    image = detect.images[0]
    for mask, (x0, y0, x1, y1) in zip(image.masks(), image.boxes.astype(int), strict=True):
        assert mask[y0:y1, x0:x1].sum() == mask.sum() > 0, "the box holds the mask"
