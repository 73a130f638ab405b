"""How much faster `claid index` is with its defaults than with three scales and two octaves.

    python bench/index_speed.py PHOTOS [--photos 100] [--sample 10]

Photos are brought to 640 x 480 first. The default is timed over the whole of an `add`, its basis
included; the other way over a sample, half of it before and half of it after, in the same run.
Both make the networks' float32 features on all CPUs that torch takes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from claid_ext import Detector, InstanceIndex, RegionDescriptor
from claid_ext.images import find_images, load_image
from claid_ext.regions import region_source

SIZE = (640, 480)
THREE_SCALES = (1, 1.5, 2.25)


def timed(folder: Path, photos: list[Path], **options: object) -> float:
    """Seconds per photo of indexing photos."""
    with InstanceIndex.create(folder, **options) as index:
        start = time.perf_counter()
        report = index.add(photos)
        seconds = time.perf_counter() - start
    assert report.added == len(photos), report.failed
    return seconds / len(photos)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos_at", type=Path, help="a folder of photos")
    parser.add_argument("--photos", type=int, default=100, help="how many (100)")
    parser.add_argument("--sample", type=int, default=10, help="of three scales (10)")
    args = parser.parse_args()
    detector = Detector("focus_vits14")
    new = {
        "descriptor": RegionDescriptor("efficientnet_lite0"),
        "regions": region_source("detect", detector),
    }
    old = {
        "descriptor": RegionDescriptor("efficientnet_lite0", pooling="cells", octaves=2),
        "regions": region_source("detect", detector, THREE_SCALES, max_regions=None),
    }
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        given = find_images([args.photos_at])
        photos = []
        for number in range(args.photos):
            photos.append(work / f"{number}.png")
            load_image(given[number % len(given)]).resize(SIZE).save(photos[-1])
        half = max(1, args.sample // 2)
        timed(work / "warm-up", photos[:2], **new)
        before = timed(work / "before", photos[:half], **old)
        default = timed(work / "default", photos, **new)
        after = timed(work / "after", photos[half : 2 * half], **old)
    three = (before + after) / 2
    print(f"three scales, two octaves: {three:.3f} s per photo ({before:.3f}, {after:.3f})")
    print(f"default, {args.photos} photos with their basis: {default:.3f} s per photo")
    print(f"ratio: {three / default:.1f}")


if __name__ == "__main__":
    main()
