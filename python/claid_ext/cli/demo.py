"""`claid demo`: the whole way on real photos, with nothing to download but packages."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.cli._outputs import write_whole

if TYPE_CHECKING:
    from claid_ext.detector import Detector

__all__ = ["PHOTOS", "add_parser", "run"]

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
"""Photos in scikit-image's wheel."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="run on photos that come with the extra [offline]",
        description="Find the regions of a few photos with focus_vits14, both from the packages "
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


def run(args: argparse.Namespace) -> int:
    """Do the demo. Returns 0."""
    from claid_ext.detector import Detector

    photos = demo_photos()
    detector = Detector("focus_vits14")
    args.output.mkdir(parents=True, exist_ok=True)
    show_regions(photos, detector, args.output)
    print(f"pictures and JSON are in {args.output.resolve()}")
    return 0


def demo_photos() -> list[Path]:
    """Find the photos. Raises WeightsUnavailableError where scikit-image is not installed."""
    from claid_ext.offline import package_file

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
    """Time the two halves of the way for one image: the backbone, and `claid_ext.detect`."""
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
