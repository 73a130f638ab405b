"""A search set or a detection set described by plain JSON files beside its images.

Search; also for Instance-160 and Instance-335, whose authors document no layout: convert their
lists into this one.
    ROOT/queries.json        {"queries": [{"query", "image", "box" | "boxes" | neither, "instance",
                             "positives": [file, ...]}]}
    ROOT/references.json     {"images": [{"file", "width", "height",
                             "instances": [{"instance", "box"}]}]}
    ROOT/distractors.json    optional: more images, same form, that match no query

Detection:
    ROOT/annotations.json    {"images": [{"file", "width", "height",
                             "instances": [{"box", "crowd", "rle"}]}]}

Boxes are [x0, y0, x1, y1] in pixels, x1 and y1 exclusive. Paths are relative to the file that names
them. If a query's own image is in the database it is junk: finding it counts neither way.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from claid_ext.evaluation.datasets.files import find_one
from claid_ext.evaluation.datasets.sets import DetectionImage, DetectionSet, SearchQuery, SearchSet
from claid_ext.files import get, read_json
from claid_ext.overlap import check_boxes

__all__ = ["load_annotations", "load_folder"]


def load_folder(root: str | Path, name: str | None = None) -> SearchSet:
    """A search set in the layout above; `name` is the folder's own unless given.

    Truth boxes are those of the query's `instance` in each positive; if one lacks them the set
    has no truth boxes at all. Raises FileNotFoundError or ValueError naming the file and the key.
    """
    folder = Path(root)
    queries_file = find_one(folder, ["queries.json"], "queries.json")
    images: dict[Path, dict[str, Any]] = {}
    references = find_one(folder, ["references.json"], "references.json")
    for file in (references, folder / "distractors.json"):
        if not file.is_file():
            continue
        for record in get(read_json(file), "images", file):
            path = _beside(file, get(record, "file", file, "images"))
            if path in images:
                raise ValueError(f"{file}: {path.name} is there more than once")
            images[path] = record
    place = {path: number for number, path in enumerate(images)}
    queries = tuple(
        _query(queries_file, record, place, images)
        for record in get(read_json(queries_file), "queries", queries_file)
    )
    if not all(query.truths is not None for query in queries):
        queries = tuple(SearchQuery(q.name, q.image, q.boxes, q.positives, q.junk) for q in queries)
    return SearchSet(name or folder.resolve().name, tuple(images), queries)


def load_annotations(root: str | Path) -> DetectionSet:
    """A detection set in the layout above, from its folder or its annotations.json."""
    path = Path(root)
    if path.is_dir():
        path = find_one(path, ["annotations.json"], "annotations.json")
    images = []
    for record in get(read_json(path), "images", path):
        instances = get(record, "instances", path, "images")
        boxes = check_boxes([get(i, "box", path, "instances") for i in instances], str(path))
        outlines = tuple(instance.get("rle") for instance in instances)
        images.append(
            DetectionImage(
                path=_beside(path, get(record, "file", path, "images")),
                size=(int(get(record, "height", path)), int(get(record, "width", path))),
                boxes=boxes,
                crowd=np.array([bool(i.get("crowd", False)) for i in instances], dtype=bool),
                segmentations=outlines if all(item is not None for item in outlines) else None,
            )
        )
    return DetectionSet(path.resolve().parent.name, tuple(images))


def _query(
    file: Path, record: Any, place: dict[Path, int], images: dict[Path, dict[str, Any]]
) -> SearchQuery:
    name = str(get(record, "query", file, "queries"))
    image = _beside(file, get(record, "image", file, f"query {name}"))
    positives = []
    for listed in get(record, "positives", file, f"query {name}"):
        path = _beside(file, listed)
        if path not in place:
            raise ValueError(f"{file}: query {name}: {listed} is not in the database")
        positives.append(path)
    positives.sort(key=place.__getitem__)
    boxes = record.get("boxes", record.get("box"))
    truths = [_boxes_of(images[path], record.get("instance")) for path in positives]
    return SearchQuery(
        name=name,
        image=image,
        boxes=None if boxes is None else check_boxes(boxes, f"{file}: query {name}: box"),
        positives=np.array([place[path] for path in positives], dtype=np.int64),
        junk=np.array([place[image]] if image in place else [], dtype=np.int64),
        truths=tuple(truths) if all(len(truth) for truth in truths) else None,
    )


def _boxes_of(record: dict[str, Any], instance: Any) -> Any:
    instances = record.get("instances", ())
    return check_boxes(
        [i["box"] for i in instances if i.get("instance") == instance and "box" in i]
    )


def _beside(file: Path, name: str) -> Path:
    # Not resolved: a data set may be a farm of links, and its names are what it is known by.
    return Path(os.path.normpath(file.parent / name))
