"""Recall of a detector's regions: the mean number kept, and the part of the objects they cover.

    python bench/recall.py DATA [--backbone NAME] [--regions detect grid] ...

DATA is a COCO instances file or a folder with an annotations.json (see docs/evaluation.md). Crowds
are not counted; a large object's box covers over 2 %
of its image. `claid eval recall` prints the same
with all thresholds; this script is the short form that goes with the other benchmarks.
"""

from __future__ import annotations

import argparse

from claid_ext import Detector
from claid_ext.evaluation import load_detection, measure_recall
from claid_ext.regions import REGION_SOURCES, region_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="COCO instances file, or folder with an annotations.json")
    parser.add_argument("--images", help="folder of a COCO file's pictures")
    parser.add_argument("--backbone", default="focus_vits14")
    parser.add_argument("--weights")
    parser.add_argument("--device")
    parser.add_argument("--regions", nargs="+", default=["detect", "grid"], choices=REGION_SOURCES)
    parser.add_argument("--overlap", default="box", choices=["box", "mask"])
    args = parser.parse_args()
    found = load_detection(args.data, args.images)
    for name in args.regions:
        detector = (
            Detector(args.backbone, weights=args.weights, device=args.device)
            if name == "detect"
            else None
        )
        curve = measure_recall(
            found, region_source(name, detector), overlap=args.overlap, show_progress=True
        )
        print(
            f"{name:8} {curve.images} images  {curve.regions:5.1f} regions  "
            f"recall at {args.overlap} IoU 0.5: {curve.all[0]:.3f} of {curve.objects} objects, "
            f"{curve.large[0]:.3f} of the {curve.large_objects} large"
        )


if __name__ == "__main__":
    main()
