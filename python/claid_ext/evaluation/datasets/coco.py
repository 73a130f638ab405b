"""COCO's instances JSON (paper, Fig. 5).

    FILE.json    images[]: id, file_name, height, width
                 annotations[]: image_id, bbox (x, y, width, height), iscrowd, segmentation
    IMAGES/      the images; by default they are looked for beside the file

Any detection set written in this form will do: COCO, COCO 20k, UVO, your own.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from claid_ext.evaluation.datasets.sets import DetectionImage, DetectionSet
from claid_ext.files import get, read_json
from claid_ext.overlap import check_boxes

__all__ = ["load_coco"]


def load_coco(file: str | Path, images: str | Path | None = None) -> DetectionSet:
    """Objects of a COCO instances file. `images`: the folder of its images.

    Without it they are looked for beside the file, in `images/` beside it, and in the folder above
    that, under the file's own split name (annotations/instances_val2017.json, val2017/).
    Raises FileNotFoundError if the file or its images are missing, ValueError on another layout.
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
        f"{file}: the image {names[0] if names else '?'} is in none of "
        f"{', '.join(str(place) for place in places)}"
    )
