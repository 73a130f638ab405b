"""Loaders for the paper's data sets, in their published layouts, and for sets in plain JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from claid_ext.evaluation.datasets.coco import load_coco
from claid_ext.evaluation.datasets.folder import load_annotations, load_folder
from claid_ext.evaluation.datasets.holidays import load_holidays
from claid_ext.evaluation.datasets.instre import load_instre
from claid_ext.evaluation.datasets.oxford import load_oxford_paris, load_revisited
from claid_ext.evaluation.datasets.sets import DetectionImage, DetectionSet, SearchQuery, SearchSet

__all__ = [
    "SEARCH_SETS",
    "DetectionImage",
    "DetectionSet",
    "SearchQuery",
    "SearchSet",
    "load_annotations",
    "load_coco",
    "load_detection",
    "load_folder",
    "load_holidays",
    "load_instre",
    "load_oxford_paris",
    "load_revisited",
    "load_search",
]

SEARCH_SETS: dict[str, Callable[[Path], SearchSet]] = {
    "instance160": partial(load_folder, name="Instance-160"),
    "instance335": partial(load_folder, name="Instance-335"),
    "instre": load_instre,
    "instre-m": partial(load_instre, multiple_only=True),
    "holidays": load_holidays,
    "oxford5k": partial(load_oxford_paris, name="Oxford5k"),
    "paris6k": partial(load_oxford_paris, name="Paris6k"),
    **{
        f"{name}-{protocol}": partial(load_revisited, name=name, protocol=protocol)
        for name in ("roxford5k", "rparis6k")
        for protocol in ("easy", "medium", "hard")
    },
    "folder": load_folder,
}
"""Search sets by name, each a function of the folder that holds it."""


def load_search(name: str, root: str | Path) -> SearchSet:
    """The search set `name`, a key of `SEARCH_SETS`, from its folder. ValueError otherwise."""
    if name not in SEARCH_SETS:
        raise ValueError(f"search set: wanted one of {', '.join(SEARCH_SETS)}, got {name!r}")
    return SEARCH_SETS[name](Path(root))


def load_detection(path: str | Path, images: str | Path | None = None) -> DetectionSet:
    """A detection set: a COCO instances file, or what `load_annotations` reads.

    `images`: the folder of a COCO file's images, if they are not beside it.
    """
    place = Path(path)
    if place.is_dir() or place.name == "annotations.json":
        return load_annotations(place)
    return load_coco(place, images)
