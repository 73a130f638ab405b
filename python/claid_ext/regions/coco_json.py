"""Regions as COCO JSON, read and checked whole: of which photo, where, how sure.

A file is one of

- a COCO data set: {"images": [{"id", "file_name", "height", "width"}], "annotations": [...]};
- COCO results, a list of {"image_id", "bbox", "segmentation", "score"}. Names and sizes of the
  photos are then in the `images` of another file; without one, an `image_id` must be the photo's
  name;
- a folder of JSON files, one per photo, as Segment Anything writes them: a list of {"bbox",
  "segmentation"} for the photo of that stem, or {"image": {...}, "annotations": [...]}.

`bbox` is [x, y, width, height] in pixels; where there is none, it is that of the segmentation.
Crowds are left out. `category_id` plays no part.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from claid_ext._coco import runs_box
from claid_ext.files import get, read_json

__all__ = ["FoundRegion", "ListedPhoto", "RegionFile"]


@dataclass(frozen=True)
class FoundRegion:
    """A region of a file.

    Attributes
    ----------
    where : what to call it in an error.
    box : [x0, y0, x1, y1) in pixels, as in the file.
    score, area : None where the file says none.
    segmentation : as in the file; None where there is none.
    """

    where: str
    box: tuple[float, float, float, float]
    score: float | None
    area: float | None
    segmentation: Any


@dataclass
class ListedPhoto:
    """A photo of a file: what to call it in an error, its (height, width) or None, its regions."""

    where: str
    size: tuple[int, int] | None = None
    regions: list[FoundRegion] = field(default_factory=list)


class RegionFile:
    """What a file says, by the photos' names.

    Attributes
    ----------
    names : the file that lists the photos, for errors.
    """

    def __init__(self, file: Path, images_json: Path | None) -> None:
        """Read and check the whole file, or folder.

        Raises
        ------
        FileNotFoundError : there is no such file.
        ValueError : no JSON, or no COCO JSON; names the file, the entry, and what is wrong.
        """
        self.names = images_json or file
        self._digest = hashlib.sha256()
        self._by_name: dict[str, list[tuple[tuple[str, ...], ListedPhoto]]] = {}
        if file.is_dir():
            self._read_folder(file, images_json)
        else:
            self._read_one(file, images_json)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what was read."""
        return self._digest.hexdigest()

    def find(self, path: str) -> ListedPhoto:
        """Return the photo whose name's parts are the last ones of `path`; the longest, of several.

        Raises ValueError if there is none.
        """
        parts = _parts(str(Path(path).absolute()))
        stem = (*parts[:-1], PurePosixPath(parts[-1]).stem)
        found = [
            (len(its), listed)
            for full in (parts, stem)
            for its, listed in self._by_name.get(full[-1], ())
            if full[-len(its) :] == its
        ]
        if found:
            return max(found, key=lambda one: one[0])[1]
        near = self._by_name.get(parts[-1]) or next(iter(self._by_name.values()), [])
        example = f", such as {'/'.join(near[0][0])}" if near else ""
        count = sum(map(len, self._by_name.values()))
        raise ValueError(f"{path}: not among the {count} images of {self.names}{example}")

    def _read_folder(self, folder: Path, images_json: Path | None) -> None:
        files = sorted(folder.glob("*.json"))
        if not files:
            raise ValueError(f"{folder}: no JSON file in the folder")
        if images_json is not None:
            raise ValueError(f"{folder} is a folder of a file per photo: give no {images_json}")
        for path in files:
            content = self._json(path)
            photo = ListedPhoto(str(path))
            if isinstance(content, dict):
                image = get(content, "image", path)
                photo.size = _size(str(path), image)
                self._name(photo, get(image, "file_name", path, "image"))
                content = get(content, "annotations", path)
            else:
                self._name(photo, path.stem)
            for where, region in _entries(content, f"{path}: region"):
                _add(photo, where, region)

    def _read_one(self, file: Path, images_json: Path | None) -> None:
        content = self._json(file)
        photos: dict[Any, ListedPhoto] = {}
        if isinstance(content, dict):
            if images_json is not None:
                raise ValueError(f"{file} lists its images itself: give no {images_json}")
            photos = self._images(file, content)
            content = get(content, "annotations", file)
        elif images_json is not None:
            photos = self._images(images_json, self._json(images_json))
        for where, region in _entries(content, f"{file}: region"):
            image = get(region, "image_id", Path(where))
            photo = _looked_up(photos, image, where)
            if photo is None:
                photo = photos[image] = self._unlisted(where, image, images_json)
            _add(photo, where, region)

    def _images(self, path: Path, content: Any) -> dict[Any, ListedPhoto]:
        photos: dict[Any, ListedPhoto] = {}
        for where, image in _entries(get(content, "images", path), f"{path}: image"):
            number = get(image, "id", Path(where))
            if _looked_up(photos, number, where) is not None:
                raise ValueError(f"{where}: another image has the id {number!r}")
            photos[number] = photo = ListedPhoto(where, _size(where, image))
            self._name(photo, get(image, "file_name", Path(where)))
        return photos

    def _unlisted(self, where: str, image: Any, images_json: Path | None) -> ListedPhoto:
        if images_json is not None:
            raise ValueError(f"{where}: image_id {image!r} is not among those of {images_json}")
        if not isinstance(image, str):
            raise ValueError(
                f"{where}: nothing says which photo image_id {image!r} is: give the COCO JSON that "
                "lists the images as images_json (--images-json)"
            )
        photo = ListedPhoto(where)
        self._name(photo, image)
        return photo

    def _name(self, photo: ListedPhoto, name: Any) -> None:
        if not isinstance(name, str) or not (parts := _parts(name)):
            raise ValueError(f"{photo.where}: file_name must be a file's name, got {name!r}")
        others = self._by_name.setdefault(parts[-1], [])
        if any(parts == its for its, _ in others):
            raise ValueError(f"{photo.where}: another image is called {name!r}")
        others.append((parts, photo))

    def _json(self, path: Path) -> Any:
        content = read_json(path)
        self._digest.update(path.read_bytes())
        return content


def _add(photo: ListedPhoto, where: str, region: dict[str, Any]) -> None:
    if region.get("iscrowd"):
        return
    score, area = (
        None if region.get(name) is None else _numbers(f"{where}: {name}", [region[name]], 1)[0]
        for name in ("score", "area")
    )
    segmentation = region.get("segmentation") or None
    box = _box(where, region.get("bbox"), segmentation)
    photo.regions.append(FoundRegion(where, box, score, area, segmentation))


def _entries(content: Any, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what each entry is called, and the entry."""
    if not isinstance(content, list):
        raise ValueError(f"{what}s must be a list, got {type(content).__name__}")
    for number, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise ValueError(f"{what} {number} must be an object, got {entry!r:.60}")
        yield f"{what} {number}", entry


def _looked_up(photos: dict[Any, ListedPhoto], image: Any, where: str) -> ListedPhoto | None:
    try:
        return photos.get(image)
    except TypeError:
        raise ValueError(f"{where}: an id must be a number or a name, got {image!r:.60}") from None


def _parts(name: str) -> tuple[str, ...]:
    return tuple(p for p in name.replace("\\", "/").split("/") if p not in {"", ".", ".."})


def _size(where: str, image: Any) -> tuple[int, int] | None:
    sides = [image.get("height"), image.get("width")] if isinstance(image, dict) else [None]
    if None in sides:
        return None
    height, width = _numbers(f"{where}: height and width", sides, 2)
    return int(height), int(width)


def _box(where: str, box: Any, segmentation: Any) -> tuple[float, float, float, float]:
    """Return [x0, y0, x1, y1] of a region."""
    if box is not None:
        x, y, width, height = _numbers(f"{where}: bbox", box, 4)
        if width < 0 or height < 0:
            raise ValueError(f"{where}: bbox must be [x, y, width, height], got {box}")
        return x, y, x + width, y + height
    if isinstance(segmentation, list) and segmentation:
        points = [n for part in segmentation if isinstance(part, list) for n in part]
        outline = np.reshape(_numbers(f"{where}: polygons", points, len(points) // 2 * 2), (-1, 2))
        x0, y0 = outline.min(axis=0).tolist()
        x1, y1 = outline.max(axis=0).tolist()
        return x0, y0, x1, y1
    if isinstance(segmentation, dict):
        try:
            x0, y0, x1, y1 = runs_box(segmentation) or (0, 0, 0, 0)
        except ValueError as error:
            raise ValueError(f"{where}: segmentation: {error}") from None
        return float(x0), float(y0), float(x1), float(y1)
    raise ValueError(f"{where}: wanted a bbox or a segmentation")


def _numbers(what: str, values: Any, count: int) -> list[float]:
    numbers = [
        float(value)
        for value in (values if isinstance(values, list) else [])
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]
    if len(numbers) != count or len(values) != count or count == 0:
        raise ValueError(f"{what} must be {count} finite number(s), got {values!r:.80}")
    return numbers
