"""The index, its folders and its photos, as the API lists them."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from claid_ext.regions import Regions
from claid_ext.search.addresses import milvus_uri
from claid_ext.serve.models import (
    FolderOut,
    IndexOut,
    PhotoDetails,
    PhotoOut,
    PhotosOut,
    RegionOut,
    RegionsOut,
)
from claid_ext.serve.reader import Catalogue, Reader, Scope, file_name, folder_of

__all__ = [
    "index_state",
    "list_folders",
    "list_photos",
    "photo_details",
    "regions_out",
    "show_index",
]


def index_state(catalogue: Catalogue) -> str:
    """Return what changes when photos are added or removed: ids are never used again."""
    ids = catalogue.table.ids
    return f"{len(ids)}-{int(ids.sum())}"


def show_index(reader: Reader) -> IndexOut:
    """Say what the index holds."""
    with reader.reading() as (_, catalogue):
        table = catalogue.table
        return IndexOut(
            name=_name(reader.index.path),
            photos=len(table.ids),
            regions=int(table.counts.sum()),
            newest=int(table.ids[-1]) if len(table.ids) else 0,
            state=index_state(catalogue),
        )


def _name(index: Path | str) -> str:
    """Return the name of a folder, or of a server, without its user and password."""
    uri = milvus_uri(index)
    return Path(index).name if uri is None else urlsplit(uri).netloc.rpartition("@")[2]


def list_folders(reader: Reader) -> list[FolderOut]:
    """List the folders that photos are in."""
    with reader.reading() as (_, catalogue):
        common = catalogue.common
        return [
            FolderOut(folder=folder, label=_label(folder, common), photos=count)
            for folder, count in catalogue.folders.items()
        ]


def _label(folder: str, common: str) -> str:
    if not common or len(Path(common).parts) < 2:
        return folder
    below = os.path.relpath(folder, common)
    name = Path(common).name
    return name if below == "." else f"{name}/{Path(below).as_posix()}"


def list_photos(reader: Reader, scope: Scope, after: int, count: int) -> PhotosOut:
    """List photos in the order they were added, from the first whose id is above `after`."""
    with reader.reading() as (_, catalogue):
        rows, total = catalogue.listed(scope, after, count + 1)
        photos = [_photo(catalogue, int(catalogue.table.ids[row])) for row in rows[:count]]
    return PhotosOut(photos=photos, total=total, next=photos[-1].id if len(rows) > count else None)


def photo_details(catalogue: Catalogue, photo: int, size: tuple[int, int]) -> PhotoDetails:
    """Say what a photo is; `size` is (height, width)."""
    return PhotoDetails(**dict(_photo(catalogue, photo)), height=size[0], width=size[1])


def _photo(catalogue: Catalogue, photo: int) -> PhotoOut:
    path = catalogue.path(photo)
    return PhotoOut(id=photo, name=file_name(path), folder=folder_of(path))


def regions_out(regions: Regions) -> RegionsOut:
    """Return regions as the API gives them, those of the lowest level first."""
    height, width = regions.image_size
    both = zip(regions.level.tolist(), regions.boxes.tolist(), strict=True)
    return RegionsOut(
        width=width,
        height=height,
        regions=[RegionOut(box=tuple(box), level=level) for level, box in sorted(both)],
    )
