"""How long a photo takes from its file to its record, by what runs the networks.

    python bench/runtimes.py PHOTOS [--photos 16] [--rounds 7] [--kinds openvino:int8 ...]

PHOTOS is a folder of 24 photos or more: int8 is calibrated on them. Photos are brought to 640 x 480
and to 854 x 480 first. Networks are focus_vits14 and efficientnet_lite0, records those of an index
with the shipped basis, made as `claid index` makes them, but for writing them. In each round every
kind takes all photos once, so that what else the machine does hits all alike; ratios are to torch's
float32 of the same round. CPU time is printed too: its ratio depends less on the neighbours. It
takes all CPUs that the process has: `taskset -c 0,1` for two.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from claid_ext import Detector, RegionDescriptor
from claid_ext.backbones.runtimes import bfloat16_flag, openvino_version
from claid_ext.benchmarks import machine
from claid_ext.describing import RegionDescriber
from claid_ext.descriptors.shipped import shipped_basis
from claid_ext.images import find_images, load_image
from claid_ext.regions import DetectedRegions
from claid_ext.search.adding import AddReport, describe_images, read_files
from claid_ext.stage_times import StageTimes, collecting

SIZES = ((640, 480), (854, 480))
FIRST = "torch:float32"  # what the others are compared with
KINDS = (FIRST, "torch:bfloat16", "openvino:float32", "openvino:bfloat16", "openvino:int8")
WORKERS = 2  # threads that read, as of `claid index`
TOGETHER = 8  # photos, as there


def describer_of(kind: str, photos: list[Path]) -> RegionDescriber:
    """Load both networks as a kind says, and calibrate them if they need it."""
    runtime, precision = kind.split(":")
    detector = Detector("focus_vits14", device="cpu", runtime=runtime, precision=precision)
    descriptor = RegionDescriptor(
        "efficientnet_lite0", device="cpu", runtime=runtime, precision=precision
    )
    for one in (detector, descriptor):
        one.calibrate(photos)
    basis = shipped_basis(descriptor.weights)
    return RegionDescriber(DetectedRegions(detector), descriptor, basis)


def timed(describer: RegionDescriber, paths: list[str], times: StageTimes) -> np.ndarray:
    """Seconds per photo, of the clock and of the CPUs."""
    report = AddReport()
    with collecting(times):
        start = np.array([time.perf_counter(), time.process_time()])
        read = read_files(paths, WORKERS, progress=False)
        for _ in describe_images(describer, read, report, batch_size=TOGETHER):
            pass
        taken = [time.perf_counter(), time.process_time()] - start
    assert report.added == len(paths), report.failed
    return taken / len(paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos_at", type=Path, help="a folder of photos")
    parser.add_argument("--photos", type=int, default=16, help="how many (16)")
    parser.add_argument("--rounds", type=int, default=7, help="how often (7)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS[1:], default=KINDS[1:])
    args = parser.parse_args()
    given = find_images([args.photos_at])
    describers = {kind: describer_of(kind, given) for kind in (FIRST, *args.kinds)}
    print(f"openvino {openvino_version()}, {bfloat16_flag() or 'no bfloat16'}")
    print(
        f"| size | networks | ms a photo | {FIRST} / this | CPU ms | the same | ms by stage |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    )
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for number in range(args.photos):
                paths.append(str(Path(folder) / f"{number}.jpg"))
                photo = load_image(given[number % len(given)])
                photo.resize(size).save(paths[-1], quality=95)
            for describer in describers.values():
                timed(describer, paths[:2], StageTimes())
            times = {kind: StageTimes() for kind in describers}
            seconds = np.array(
                [
                    [timed(its, paths, times[kind]) for kind, its in describers.items()]
                    for _ in range(args.rounds)
                ]
            )
        ratios = seconds[:, :1] / seconds  # rounds, kinds, clock and CPUs
        for column, kind in enumerate(describers):
            low, middle, high = np.quantile(ratios[:, column, 0], (0, 0.5, 1))
            clock, cpus = 1000 * np.median(seconds[:, column], axis=0)
            parts = ", ".join(
                f"{stage} {1000 * taken / args.rounds / args.photos:.0f}"
                for stage, taken in times[kind].seconds.items()
            )
            print(
                f"| {size[0]} x {size[1]} | {kind.replace(':', ', ')} | "
                f"{clock:.0f} | {middle:.2f} ({low:.2f}..{high:.2f}) | {cpus:.0f} | "
                f"{np.median(ratios[:, column, 1]):.2f} | {parts} |",
                flush=True,
            )
    print(machine.to_markdown(machine.describe()))


if __name__ == "__main__":
    main()
