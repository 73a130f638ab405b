"""How much faster `claid index` is with its defaults than with three scales and two octaves.

    python bench/index_speed.py PHOTOS [--photos 100] [--sample 10]

Photos are brought to 640 x 480 first. The default is timed over the whole of an `add`, its basis
included; the other way over a sample, half of it before and half of it after, in the same run.
Both make the networks' float32 features on all CPUs that torch takes. CPU time is printed too: with
OMP_NUM_THREADS=1 its ratio hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from claid_ext import Detector, InstanceIndex, RegionDescriptor
from claid_ext.images import find_images, load_image
from claid_ext.regions import region_source

SIZE = (640, 480)
THREE_SCALES = (1, 1.5, 2.25)


def timed(folder: Path, photos: list[Path], **options: object) -> np.ndarray:
    """Seconds per photo of indexing photos, of the clock and of the CPUs."""
    with InstanceIndex.create(folder, **options) as index:
        start = np.array([time.perf_counter(), time.process_time()])
        report = index.add(photos)
        taken = [time.perf_counter(), time.process_time()] - start
    assert report.added == len(photos), report.failed
    seconds = taken / len(photos)
    print(
        f"{folder.name}: {len(photos)} photos, {seconds[0]:.3f} s each, CPU {seconds[1]:.3f} s",
        flush=True,
    )
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos_at", type=Path, help="a folder of photos")
    parser.add_argument("--photos", type=int, default=100, help="how many (100)")
    parser.add_argument("--sample", type=int, default=10, help="of three scales (10)")
    args = parser.parse_args()
    detector = Detector("focus_vits14", runtime="torch")
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
            photos.append(work / f"{number}.jpg")
            load_image(given[number % len(given)]).resize(SIZE).save(photos[-1], quality=95)
        half = max(1, args.sample // 2)
        timed(work / "warm-up", photos[:2], **new)
        before = timed(work / "before", photos[:half], **old)
        default = timed(work / "default", photos, **new)
        after = timed(work / "after", photos[half : 2 * half], **old)
    clock, cpu = (before + after) / 2 / default
    print(f"three scales and two octaves take {clock:.1f} times as long, CPU time {cpu:.1f}")


if __name__ == "__main__":
    main()
