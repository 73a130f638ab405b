"""COCO's instances JSON (paper, Fig. 5), and its three ways to write a mask.

    FILE.json    images[]: id, file_name, height, width
                 annotations[]: image_id, bbox (x, y, width, height), iscrowd, segmentation
    IMAGES/      the pictures; by default they are looked for beside the file

Any detection set written in this form will do: COCO, COCO 20k, UVO, one's own.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from claid_ext.evaluation.datasets.files import get, read_json
from claid_ext.evaluation.datasets.sets import DetectionImage, DetectionSet
from claid_ext.overlap import check_boxes

__all__ = ["decode_segmentation", "load_coco"]

BoolArray = npt.NDArray[np.bool_]


def load_coco(file: str | Path, images: str | Path | None = None) -> DetectionSet:
    """Objects of a COCO instances file. `images`: the folder of the pictures.

    Without it they are looked for beside the file, in `images/` beside it, and in the folder above
    that, under the file's own split name (annotations/instances_val2017.json, val2017/).
    Raises FileNotFoundError if the file or its pictures are missing, ValueError on another layout.
    """
    path = Path(file)
    contents = read_json(path)
    listed, objects = get(contents, "images", path), defaultdict(list)
    for annotation in get(contents, "annotations", path):
        objects[get(annotation, "image_id", path, "annotations")].append(annotation)
    names = [get(image, "file_name", path, "images") for image in listed]
    folder = Path(images) if images is not None else _find_pictures(path, names)
    return DetectionSet(
        path.stem,
        tuple(
            _image(path, folder / name, image, objects[get(image, "id", path, "images")])
            for name, image in zip(names, listed, strict=True)
        ),
    )


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> BoolArray:
    """One mask, bool (height, width), of polygons or of run lengths, packed or not.

    Plain run lengths ({"size": [h, w], "counts": [...]}, down the columns, zeros first) are read
    here; polygons and packed run lengths as pycocotools reads them, which has to be installed.
    """
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
        runs = np.asarray(segmentation["counts"], dtype=np.int64)
        if tuple(segmentation.get("size", ())) != tuple(size) or runs.sum() != size[0] * size[1]:
            raise ValueError(
                f"run lengths: wanted {size[0]} x {size[1]} pixels, got size "
                f"{segmentation.get('size')} and {runs.sum()} pixels"
            )
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return np.ascontiguousarray(inside.reshape(size, order="F"))
    try:
        from pycocotools import mask as coco_mask
    except ImportError:
        raise ImportError(
            "masks as polygons or packed run lengths need pycocotools: pip install pycocotools"
        ) from None
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    decoded: BoolArray = np.asarray(coco_mask.decode(segmentation), dtype=bool)
    return decoded


def _image(file: Path, picture: Path, image: Any, annotations: list[Any]) -> DetectionImage:
    height, width = (int(get(image, key, file, "images")) for key in ("height", "width"))
    corner = np.array(
        [get(a, "bbox", file, "annotations") for a in annotations], dtype=np.float64
    ).reshape(-1, 4)
    boxes = check_boxes(
        np.hstack([corner[:, :2], corner[:, :2] + corner[:, 2:]]), f"{file}: {picture.name}"
    )
    outlines = tuple(a.get("segmentation") for a in annotations)
    return DetectionImage(
        path=picture,
        size=(height, width),
        boxes=boxes,
        crowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations], dtype=bool),
        segmentations=outlines if all(item is not None for item in outlines) else None,
    )


def _find_pictures(file: Path, names: list[str]) -> Path:
    split = file.stem.split("_")[-1]
    places = [file.parent, file.parent / "images", file.parent.parent / split]
    for place in places:
        if names and (place / names[0]).is_file():
            return place
    raise FileNotFoundError(
        f"{file}: the picture {names[0] if names else '?'} is in none of "
        f"{', '.join(str(place) for place in places)}"
    )
