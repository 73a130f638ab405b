"""A picture of a tree of regions: the photo with its regions, and below it the tree's levels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claid_ext.regions.scales import join_scales

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.detector import Detection
    from claid_ext.regions import Regions

__all__ = ["PALETTE", "draw_detection"]

Canvas = NDArray[np.float32]

PALETTE = np.array(
    [
        *[(255, 75, 66), (38, 166, 255), (255, 196, 0), (46, 204, 113), (214, 92, 255)],
        *[(255, 138, 30), (0, 224, 208), (255, 105, 180), (180, 220, 40), (122, 124, 255)],
        *[(255, 170, 140), (150, 215, 255)],
    ],
    np.float32,
)
"""Colours that stand apart from each other and from photos, float32 (12, 3)."""

_PHOTO = (1600, 1040)  # width and height that the photo is fitted into
_NARROWEST = 900  # so that the title has room
_MARGIN = 48
_GAP = 20
_TITLE_SIZE = 34
_LABEL_SIZE = 25
_OUTLINE = 4
_BOX_OPACITY = 0.75
_DIMMED = 0.35
_BRIGHTNESS = 0.9
_SATURATION = 0.65
_FILLED = 0.72
_DUMMY = np.array((150, 150, 150), np.float32)
_PAPER = (255, 255, 255)
_INK = (28, 30, 34)
_FAINT_INK = (110, 114, 122)


def draw_detection(
    image: Image.Image,
    detection: Detection,
    title: str | None = None,
    regions: Regions | None = None,
) -> Any:
    """Draw the regions of one image.

    On the photo, each region has an outline along the edges of its patches, set in a little
    further with each level so that nested ones stay apart, and its box. The strip shows the tree
    level by level: kept regions filled in the same colours, dummies in grey.

    Parameters
    ----------
    image : the photo, RGB, of size detection.image_size.
    detection : its tree.
    title : a line above the photo; None for the file's name.
    regions : what to draw on the photo, such as what an index keeps of several scales; None for the
        kept regions of the tree.

    Returns
    -------
    A PIL image, RGB, some 1700 pixels wide.

    Raises
    ------
    ValueError : the image has another size than the detection's.
    """
    from PIL import Image, ImageDraw

    if (image.height, image.width) != detection.image_size:
        raise ValueError(
            f"image must be of the detection's size (height, width) {detection.image_size}, "
            f"got {(image.height, image.width)}"
        )
    tree = detection.tree
    colours = _colours(detection)
    if regions is None:
        regions = join_scales([detection], [1], whole=False)
        photo = _draw_photo(image, regions, colours[tree.kept])
    else:
        photo = _draw_photo(image, regions, _unlike_colours(regions.boxes))
    height, width = photo.shape[:2]
    levels = range(1, int(tree.level.max(initial=0)) + 1)
    places, extent = _strip_places(len(levels), width, height)

    top = _MARGIN + _TITLE_SIZE + _GAP
    wide = max(extent[0], _NARROWEST) + 2 * _MARGIN
    page = Image.new("RGB", (wide, top + extent[1] + _MARGIN), _PAPER)
    page.paste(_to_image(photo), (_MARGIN, top))
    pen = ImageDraw.Draw(page)
    name = title if title is not None else Path(detection.path or "image").name
    dummies = _counted(int(tree.dummy.sum()), "dummy", "dummies")
    found = f"{_counted(len(regions), 'region')} kept, {dummies}"
    _write_title(pen, (_MARGIN, _MARGIN - 8), page.width - 2 * _MARGIN, name, found)
    labels = [f"level {n}: {_counted(int(np.sum(tree.level == n)), 'region')}" for n in levels]
    label_size = _fitting_size(labels, places)
    for level, label, (x, y, w, h) in zip(levels, labels, places, strict=True):
        panel = _draw_level(image, detection, colours, level, (w, h))
        page.paste(_to_image(panel), (_MARGIN + x, top + y))
        _write(pen, (_MARGIN + x, top + y + h + 6), label, label_size)
    return page


def _colours(detection: Detection) -> Canvas:
    """Choose a colour for each region of a tree, (R, 3); dummies are grey."""
    tree = detection.tree
    colours = np.tile(_DUMMY, (len(tree), 1))
    colours[tree.kept] = _unlike_colours(tree.boxes[tree.kept])
    return colours


def _unlike_colours(boxes: NDArray[Any]) -> Canvas:
    """Choose a colour for each box, (n, 3): unlike those of the boxes it touches or is in."""
    chosen = np.zeros(len(boxes), np.intp)
    used = np.zeros(len(PALETTE))
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        earlier = boxes[:i]
        across = (earlier[:, 0] <= x1) & (earlier[:, 2] >= x0)
        near = across & (earlier[:, 1] <= y1) & (earlier[:, 3] >= y0)
        clashes = np.bincount(chosen[:i][near], minlength=len(PALETTE))
        chosen[i] = np.argmin(clashes + used / (1 + used.sum()))
        used[chosen[i]] += 1
    colours: Canvas = PALETTE[chosen]
    return colours


def _draw_photo(image: Image.Image, regions: Regions, colours: Canvas) -> Canvas:
    """Draw the photo with the regions' outlines, where they have masks, and boxes; (h, w, 3)."""
    scale = min(_PHOTO[0] / image.width, _PHOTO[1] / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    photo = _resized(image, size)
    grey = photo.mean(axis=2, keepdims=True)
    canvas: Canvas = _BRIGHTNESS * (grey + _SATURATION * (photo - grey))
    boxes = regions.boxes * np.tile([size[0] / image.width, size[1] / image.height], 2)
    for box, colour in zip(boxes, colours, strict=True):
        _draw_box(canvas, box, colour)
    if regions.masks is None or regions.covered is None:
        return canvas
    edges = _edges(regions.masks.shape[1:], regions.covered, regions.image_size, size)
    deepest = 0.3 * min(np.diff(edges[0]).min(), np.diff(edges[1]).min())
    for region, level, colour in zip(regions.masks, regions.level, colours, strict=True):
        mask = _pixels(region, edges, canvas.shape[:2])
        inset = int(min(max(0, level - 1) * (_OUTLINE + 1), deepest))
        rim = _eroded(mask, inset) & ~_eroded(mask, inset + _OUTLINE)
        canvas[rim] = colour
    return canvas


def _draw_level(
    image: Image.Image, detection: Detection, colours: Canvas, level: int, size: tuple[int, int]
) -> Canvas:
    """Draw the photo dimmed, with the regions of one level filled."""
    photo = _resized(image, size)
    canvas: Canvas = photo.mean(axis=2, keepdims=True) * _DIMMED + np.zeros(3, np.float32)
    edges = _edges(detection.tree.grid, detection.covered, detection.image_size, size)
    for i in np.flatnonzero(detection.tree.level == level).tolist():
        mask = _pixels(detection.masks(i), edges, canvas.shape[:2])
        opacity = _FILLED if not detection.tree.dummy[i] else _DIMMED
        canvas[mask] = photo[mask] * (1 - opacity) + colours[i] * opacity
        canvas[mask & ~_eroded(mask, 1)] = _PAPER
    return canvas


def _draw_box(canvas: Canvas, box: NDArray[np.float64], colour: Canvas) -> None:
    """Draw a thin frame just inside a box, [x0, y0, x1, y1) in pixels of the canvas."""
    x0, y0, x1, y1 = np.rint(box).astype(int)
    frame = np.zeros(canvas.shape[:2], bool)
    frame[y0:y1, x0:x1] = True
    frame[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = False
    canvas[frame] = canvas[frame] * (1 - _BOX_OPACITY) + colour * _BOX_OPACITY


def _edges(
    grid: tuple[int, ...],
    covered: tuple[float, float],
    image_size: tuple[int, int],
    size: tuple[int, int],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return where the rows and columns of patches begin and end, in pixels of a canvas."""
    rows, columns = grid
    height = size[1] * covered[0] / image_size[0]
    width = size[0] * covered[1] / image_size[1]
    return (
        np.rint(np.linspace(0, height, rows + 1)).astype(int),
        np.rint(np.linspace(0, width, columns + 1)).astype(int),
    )


def _pixels(
    mask: NDArray[np.bool_], edges: tuple[NDArray[Any], NDArray[Any]], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Bring a mask over patches to the pixels of a canvas."""
    pixels = np.zeros(shape, bool)
    grown = mask.repeat(np.diff(edges[0]), axis=0).repeat(np.diff(edges[1]), axis=1)
    pixels[: grown.shape[0], : grown.shape[1]] = grown
    return pixels


def _eroded(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Take `by` pixels off the rim; exact for masks of squares wider than that."""
    if by == 0:
        return mask
    framed = np.pad(mask, by)
    across = framed[:, : -2 * by] & framed[:, 2 * by :]
    inner: NDArray[np.bool_] = across[: -2 * by] & across[2 * by :] & mask
    return inner


def _strip_places(
    count: int, width: int, height: int
) -> tuple[list[tuple[int, int, int, int]], tuple[int, int]]:
    """Lay out the levels: below a landscape photo, to the right of a portrait one.

    Returns
    -------
    places : (x, y, w, h) of each level's panel, from the photo's top left corner.
    extent : (width, height) of photo and panels together.
    """
    if count == 0:
        return [], (width, height)
    line = _LABEL_SIZE + 2 * _GAP
    if width >= height:
        most = 1 if width > 4 * height else 6
        columns = min(most, max(4, math.ceil(count / math.ceil(count / most))))
        w = (width - (columns - 1) * _GAP) // columns
        h = max(1, round(w * height / width))
        x, y = 0, height + _GAP
    else:
        rows = 1 if height > 4 * width else 2 if count <= 8 else 3
        columns = math.ceil(count / rows)
        h = (height - rows * line + _GAP) // rows
        w = max(1, round(h * width / height))
        w, h = (w, h) if w >= 40 else (40, h)
        x, y = width + 2 * _GAP, 0
    step = max(w, 9 * _LABEL_SIZE) if width < height else w
    places = [
        (x + i % columns * (step + _GAP), y + i // columns * (h + line), w, h) for i in range(count)
    ]
    right = max(width, *(px + (step if width < height else w) for px, _, _, _ in places))
    bottom = max(height, *(py + h + line - _GAP for _, py, _, _ in places))
    return places, (right, bottom)


def _fitting_size(labels: list[str], places: list[tuple[int, int, int, int]]) -> int:
    """Choose the largest size, up to _LABEL_SIZE, at which no label runs into the next panel's."""
    from PIL import ImageFont

    columns = sorted({x for x, _, _, _ in places})
    if len(columns) < 2:
        return _LABEL_SIZE
    room = columns[1] - columns[0] - _GAP
    longest = max(ImageFont.load_default(_LABEL_SIZE).getlength(label) for label in labels)
    return min(_LABEL_SIZE, int(_LABEL_SIZE * room / longest))


def _resized(image: Image.Image, size: tuple[int, int]) -> Canvas:
    from PIL import Image as Pillow

    return np.array(image.resize(size, Pillow.Resampling.LANCZOS), np.float32)


def _to_image(canvas: Canvas) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.rint(np.clip(canvas, 0, 255)).astype(np.uint8))


def _write_title(pen: Any, at: tuple[int, int], width: int, name: str, found: str) -> None:
    """Write the name at the left and what was found at the right; a long name is cut."""
    from PIL import ImageFont

    font = ImageFont.load_default(_TITLE_SIZE)
    room = width - font.getlength(found) - 2 * _GAP
    if font.getlength(name) > room:
        while name and font.getlength(f"{name}…") > room:
            name = name[:-1]
        name = f"{name}…" if name else ""
    _write(pen, at, name, _TITLE_SIZE)
    pen.text((at[0] + width, at[1]), found, fill=_FAINT_INK, font=font, anchor="ra")


def _write(pen: Any, at: tuple[int, int], text: str, size: int) -> None:
    from PIL import ImageFont

    pen.text(at, text, fill=_INK, font=ImageFont.load_default(size))


def _counted(number: int, one: str, many: str = "regions") -> str:
    return f"{number} {one if number == 1 else many}"
