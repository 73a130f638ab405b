"""Draw what the second stage of a search does on one photo: docs/images/box-search.jpg.

    python bench/draw_box_search.py docs/images/box-search.jpg

The query is the cup of scikit-image's coffee.png, the photo its motorcycle_left.png with that cup
pasted into it, as `claid demo` makes it. The photo is indexed as `claid index` does it, and its
stored maps are searched as `claid search` searches them; every box scored comes back and is drawn.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from claid_ext import Detector, InstanceIndex, Query, RegionDescriptor
from claid_ext.cli.demo import THINGS, demo_photos, paste_things
from claid_ext.files import write_whole
from claid_ext.images import load_image
from claid_ext.index.box_search import CellMap, FoundBox, PhotoMap, box_search
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

THING, PHOTO = "cup", "motorcycle_left-with-cup.png"
SHOWN = 12  # boxes framed of each round, the best ones
DOTS = 100  # per inch
WIDTH, HEIGHT = 10.0, 7.1  # inches
OPAQUE = 0.85  # of the heat where the score is highest
QUALITY = 84  # of the JPEG
QUERY_COLOUR, FOUND_COLOUR = "#e8590c", "#40c057"


def main() -> None:
    """Search one photo and draw how its box was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, metavar="JPG")
    output = parser.parse_args().output
    photos = {photo.name: photo for photo in demo_photos()}
    thing = THINGS[THING]
    query = Query(photos[thing.photo], thing.box)
    with tempfile.TemporaryDirectory() as folder:
        detector = Detector("focus_vits14", runtime="torch")
        pasted = paste_things(photos, detector, Path(folder) / "pasted")
        (photo,) = (path for path, _, _ in pasted if path.name == PHOTO)
        found = search(Path(folder) / "index", photo, query, detector)
        picture = draw(np.asarray(load_image(query.image)), thing.box, load_image(photo), found)
    file = io.BytesIO()
    picture.savefig(file, dpi=DOTS, format="jpeg", pil_kwargs={"quality": QUALITY})
    write_whole(output, lambda part: part.write_bytes(file.getvalue()))
    answer = " ".join(f"{side:.0f}" for side in found.box)
    refined = found.count - found.coarse
    print(f"{output}: {found.coarse} coarse boxes, {refined} refined, answer [{answer}]")


def search(folder: Path, photo: Path, query: Query, detector: Detector) -> FoundBox:
    """Index a photo, and search its stored maps for the query; every box scored comes back."""
    descriptor = RegionDescriptor("efficientnet_lite0")
    with InstanceIndex.create(folder, detector=detector, descriptor=descriptor) as index:
        index.add([photo])
        (templates,) = index.prepare([query])[0].templates
        basis = index.basis
        assert basis is not None
        with index.store.reading() as view:
            ((_, record),) = view.records(view.table.ids)
            ((_, maps),) = view.maps(view.table.ids)
    height, width = record.regions.image_size
    first, last = (CellMap(one.values, one.cell[::-1]) for one in (maps[0], maps[-1]))
    (found,) = box_search(
        [PhotoMap(first, last, (float(width), float(height)), record.regions.boxes)],
        templates,
        codebooks=(basis[0].centroids, basis[-1].centroids),
        return_boxes=True,
    )
    return found


def draw(query: NDArray[np.uint8], box: tuple[int, ...], photo: Any, found: FoundBox) -> Figure:
    """Draw the query, the scores of both rounds and the answer side by side."""
    assert found.boxes is not None
    assert found.scores is not None
    pixels = np.asarray(photo)
    best = found.scores.max()
    low = np.median(found.scores[: found.coarse])
    rounds = (slice(0, found.coarse), slice(found.coarse, found.count))
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    for one in axes:
        one.set_axis_off()
    axes[0].imshow(query)
    _frame(axes[0], box, QUERY_COLOUR, 3)
    axes[0].set_title("the query, with its box")
    axes[3].imshow(pixels)
    _frame(axes[3], found.box, FOUND_COLOUR, 3)
    axes[3].set_title("3. the answer: the weighted mean around the best")
    refined = found.count - found.coarse
    names = (f"1. a coarse grid: {found.coarse:,} boxes", f"2. around the best 40: {refined:,}")
    for one, part, name in zip(axes[1:3], rounds, names, strict=True):
        boxes, scores = found.boxes[part], found.scores[part]
        heat = np.clip((best_score(boxes, scores, pixels.shape[:2]) - low) / (best - low), 0, 1)
        one.imshow(pixels.mean(axis=2), cmap="gray", vmin=0, vmax=255)
        one.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=OPAQUE * np.sqrt(heat))
        for number in np.argsort(-scores)[:SHOWN]:
            _frame(one, boxes[number], "white", 1)
        one.set_title(name)
    return figure


def best_score(
    boxes: NDArray[np.float32], scores: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Give each pixel (height, width) the score of the best box that covers it; else the lowest."""
    heat = np.full(size, scores.min())
    for number in np.argsort(scores):  # better ones over worse ones
        x0, y0, x1, y1 = boxes[number]
        heat[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = scores[number]
    return heat


def _frame(axes: Any, box: Any, colour: str, width: float) -> None:
    x0, y0, x1, y1 = (float(side) for side in box)
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=colour, lw=width))


if __name__ == "__main__":
    main()
