"""Images that are no files: (name, image) pairs, and how data sets of other libraries become such.

`Detector.stream`, `Detector.__call__` and `InstanceIndex.add` take pairs in place of paths. The
name is what a detection, a hit or an error calls the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["NamedImages", "named_images"]

IMAGE_KEYS = ("image", "img", "jpg", "jpeg", "png", "webp")
NAME_KEYS = ("__key__", "file_name", "path")


class NamedImages:
    """(name, image) pairs, made one by one as they are asked for; see `named_images`."""

    def __init__(self, items: Any, prefix: str, image: str | None) -> None:
        """Keep what `named_images` got."""
        self._items, self._prefix, self._image = items, prefix, image

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield the pairs."""
        number = 0
        for item in _each(self._items):
            for name, image in _pairs(item, self._image):
                yield f"{self._prefix}{number if name is None else name}", image
                number += 1


def named_images(
    items: Iterable[Any], prefix: str = "", *, image: str | None = None
) -> NamedImages:
    """Give the images of a data set names.

    Parameters
    ----------
    items : a torch Dataset or DataLoader, a Hugging Face `Dataset` or one of its columns, a
        WebDataset, or any iterable. An item is an image; a pair of a name and an image; a tuple
        that begins with an image, such as (image, label); a dict; or a batch: a list of any of
        these, or a list or dict with a tensor (B, C, H, W).
    prefix : before each name, such as "cifar10/train/".
    image : the key of the image in a dict; None for the first there is of "image", "img", "jpg",
        "jpeg", "png" and "webp".

    Returns
    -------
    What to give to `Detector.stream` or `InstanceIndex.add`. A dict's name is its "__key__",
    "file_name" or "path"; an image without a name gets its number, so the order must stay the same
    if the images are to be recognised the next time.

    Raises
    ------
    TypeError, ValueError : while it is iterated over: a dict without an image.
    """
    return NamedImages(items, prefix, image)


def _each(items: Any) -> Iterator[Any]:
    """Go through items; a torch Dataset by index, since it may not say where it ends."""
    if hasattr(items, "__iter__"):
        yield from items
    else:
        for number in range(len(items)):
            yield items[number]


def _pairs(item: Any, key: str | None) -> Iterator[tuple[str | None, Any]]:
    """Yield the names, None for none, and the images of an item."""
    if isinstance(item, list) and _are_items(item):
        for one in item:
            yield from _pairs(one, key)
        return
    name: str | None = None
    if isinstance(item, Mapping):
        keys = IMAGE_KEYS if key is None else (key,)
        there = next((one for one in keys if one in item), None)
        if there is None:
            raise ValueError(f"no {' or '.join(keys)} in {sorted(map(str, item))}")
        name = next((item[k] for k in NAME_KEYS if isinstance(item.get(k), str)), None)
        image = item[there]
    elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        name, image = item
    else:
        image = item[0] if isinstance(item, tuple | list) and item else item
    if _is_batch(image) or isinstance(image, list):
        yield from ((None, one) for one in image)
    else:
        yield name, image


def _are_items(items: list[Any]) -> bool:
    """Whether a list is a batch; else it is a sample that begins with an image, or with a batch."""
    return all(
        isinstance(one, tuple | Mapping)
        or getattr(one, "ndim", 0) in {2, 3}
        or hasattr(one, "getbands")  # Pillow's
        for one in items
    )


def _is_batch(image: Any) -> bool:
    return getattr(image, "ndim", 0) == 4
