"""`claid demo`: everything from photos to found things, on photos and weights from packages."""

from __future__ import annotations

import argparse
import io
import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from claid_ext.cli._runtime import add_runtime_options, new_running
from claid_ext.cli.serve import add_serve_options, serve
from claid_ext.files import write_whole

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.detector import Detection, Detector
    from claid_ext.search import InstanceIndex

__all__ = ["PHOTOS", "add_parser", "run"]

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
"""Photos in scikit-image's wheel."""


class Thing(NamedTuple):
    """A thing in a photo, `box` as a person would draw it, in pixels."""

    photo: str
    box: tuple[int, int, int, int]


class Paste(NamedTuple):
    """Where a thing is pasted: its region, scaled by `scale`, top left corner at `corner`."""

    thing: str
    photo: str
    scale: float
    corner: tuple[int, int]


THINGS = {
    "cup": Thing("coffee.png", (80, 18, 478, 388)),
    "helmet": Thing("astronaut.png", (280, 345, 512, 512)),
}
PASTES = (
    Paste("cup", "rocket.jpg", 0.5, (385, 40)),
    Paste("cup", "motorcycle_left.png", 0.45, (30, 310)),
    Paste("helmet", "chelsea.png", 0.8, (10, 150)),
)
SHOWN = 4  # photos found, beside the query


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="run on photos that come with the extra [offline]",
        description="Find the regions of a few photos with focus_vits14; then paste things from "
        "some of them into others, and find them again. Photos and weights come with the packages "
        "of the extra [offline]: no model hub, no download.",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("claid-demo"),
        metavar="DIR",
        help="folder for the results (default: claid-demo)",
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="then serve the photos' index as `claid serve` does, and open the page",
    )
    add_runtime_options(parser)
    add_serve_options(parser)


def run(args: argparse.Namespace) -> int:
    """Do the demo. Returns 0."""
    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.detector import Detector

    photos = demo_photos()
    running = new_running(args)
    detector = Detector("focus_vits14", **running)
    args.output.mkdir(parents=True, exist_ok=True)
    show_regions(photos, detector, args.output)
    find_again(photos, detector, RegionDescriptor("efficientnet_lite0", **running), args.output)
    print(f"pictures, JSON and the index are in {args.output.resolve()}")
    return _serve(args) if args.serve else 0


def _serve(args: argparse.Namespace) -> int:
    """Show the search for the cup on the page."""
    from claid_ext.search import InstanceIndex

    cup = THINGS["cup"]
    with InstanceIndex.open(args.output / "index") as index, index.store.reading() as view:
        ids = dict(zip(view.table.paths, view.table.ids.tolist(), strict=True))
        photo = next(number for path, number in ids.items() if Path(path).name == cup.photo)
    query = f"photo={photo}&box={','.join(map(str, cup.box))}"
    return serve(partial(InstanceIndex.open, args.output / "index"), args, True, query)


def demo_photos() -> list[Path]:
    """Find the photos. Raises WeightsUnavailableError where scikit-image is not installed."""
    from claid_ext.weights import package_file

    return [package_file("scikit-image", f"skimage/data/{name}") for name in PHOTOS]


def show_regions(photos: list[Path], detector: Detector, folder: Path) -> None:
    """Write each photo's regions as picture and JSON, and print a line for each photo."""
    for photo in photos:
        print(_show(photo, detector, folder))


def _show(photo: Path, detector: Detector, folder: Path) -> str:
    from claid_ext.images import load_image
    from claid_ext.plot import draw_detection

    image = load_image(photo)
    (detection,) = detector(photo)
    picture = draw_detection(image, detection)
    drawn = folder / f"{photo.stem}.regions.png"
    write_whole(drawn, lambda part: picture.save(part, "PNG"))
    content = json.dumps(detection.to_dict())
    write_whole(folder / f"{photo.stem}.json", lambda part: part.write_text(content))
    vit, regions = _milliseconds(image, detector)
    return (
        f"{photo.stem:<16} {len(detection.kept):3} regions kept of {len(detection.tree):3}, "
        f"ViT {vit:5.0f} ms, detect {regions:5.1f} ms  {drawn}"
    )


def _milliseconds(image: Any, detector: Detector) -> tuple[float, float]:
    """Time the two steps for one image: the backbone, and `claid_ext.detect`."""
    import claid_ext

    backbone = detector.backbone
    pixels, _ = backbone.preprocess(image)
    grid = tuple(side // backbone.patch_size for side in pixels.shape[1:])
    start = time.perf_counter()
    features = backbone.features(pixels[None])[0].cpu()  # .cpu() waits for a GPU
    middle = time.perf_counter()
    claid_ext.detect(features, grid, **detector.detect_options)
    end = time.perf_counter()
    return 1e3 * (middle - start), 1e3 * (end - middle)


def find_again(
    photos: list[Path], detector: Detector, descriptor: RegionDescriptor, folder: Path
) -> None:
    """Paste things into photos, index all, search; write contact sheets and print what was found.

    The photo that a thing comes from is excluded from its search.
    """
    from claid_ext.search import Query, report

    by_name = {photo.name: photo for photo in photos}
    pasted = paste_things(by_name, detector, folder / "pasted")
    everything = [*photos, *(path for path, _, _ in pasted)]
    with _open_index(folder / "index", detector, descriptor) as index:
        index.add(everything, progress=True)
        for name, thing in THINGS.items():
            source = by_name[thing.photo]
            query = Query(source, thing.box)
            others = [photo for photo in everything if photo != source]
            hits = index.search(query, len(others), images=others)[0]
            sheet = report.contact_sheet(query, hits[:SHOWN])
            drawn = folder / f"found-{name}.png"
            write_whole(drawn, partial(sheet.save, format="PNG"))
            ranks = {Path(hit.image).name: (rank, hit) for rank, hit in enumerate(hits, 1)}
            found = []
            for path, what, box in pasted:
                if what == name:
                    rank, hit = ranks[path.name]
                    found.append(
                        f"{path.name} at rank {rank}, box IoU {_overlap(hit.box, box):.2f}"
                    )
            print(f"{name:<8} found again among {len(others)} photos: {'; '.join(found)}  {drawn}")


def paste_things(
    photos: dict[str, Path], detector: Detector, folder: Path
) -> list[tuple[Path, str, tuple[int, int, int, int]]]:
    """Write photos with things pasted into them.

    Returns for each its path, the thing's name, and the thing's box there in pixels.
    """
    from claid_ext.images import load_image

    folder.mkdir(parents=True, exist_ok=True)
    cut_out = {}
    for name, thing in THINGS.items():
        (detection,) = detector(photos[thing.photo])
        cut_out[name] = _cut_out(load_image(photos[thing.photo]), detection, thing.box)
    pasted = []
    for paste in PASTES:
        picture = load_image(photos[paste.photo])
        cut = cut_out[paste.thing]
        size = (round(cut.width * paste.scale), round(cut.height * paste.scale))
        small = cut.resize(size)
        picture.paste(small, paste.corner, small.getchannel("A"))
        x, y = paste.corner
        box = (x, y, min(picture.width, x + size[0]), min(picture.height, y + size[1]))
        path = folder / f"{Path(paste.photo).stem}-with-{paste.thing}.png"
        _write_if_changed(path, picture)
        pasted.append((path, paste.thing, box))
    return pasted


def _cut_out(image: Image.Image, detection: Detection, box: tuple[int, ...]) -> Image.Image:
    """Cut out the region most like a box: RGBA, opaque where the region's patches are."""
    import numpy as np
    from PIL import Image

    best = max(detection.kept, key=lambda region: _overlap(detection.boxes[region], box))
    height, width = detection.covered
    patches = Image.fromarray(detection.masks(best).astype(np.uint8) * 255)
    mask = patches.resize((round(width), round(height)), Image.Resampling.BILINEAR)
    opaque = Image.new("L", image.size)
    opaque.paste(mask.point(lambda share: 255 * (share > 127)))
    cut = image.copy()
    cut.putalpha(opaque)
    return cut.crop(opaque.getbbox())


def _write_if_changed(path: Path, picture: Image.Image) -> None:
    """Leave an unchanged file alone, so that the index need not add it again."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    if not path.is_file() or path.read_bytes() != file.getvalue():
        write_whole(path, lambda part: part.write_bytes(file.getvalue()))


def _open_index(path: Path, detector: Detector, descriptor: RegionDescriptor) -> InstanceIndex:
    from claid_ext.regions import region_source
    from claid_ext.search import InstanceIndex

    source = region_source("detect", detector)
    return InstanceIndex.open_or_create(path, regions=source, descriptor=descriptor)


def _overlap(one: Any, other: Any) -> float:
    from claid_ext.overlap import box_iou

    return float(box_iou([one], [other])[0, 0])
