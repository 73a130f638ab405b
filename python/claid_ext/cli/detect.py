"""`claid detect`: the regions of images, as files."""

from __future__ import annotations

import argparse
import glob
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from claid_ext._version import __version__
from claid_ext.cli._detector import add_detector_options, detector_from, detector_settings
from claid_ext.cli._outputs import Job, Outputs
from claid_ext.files import write_whole
from claid_ext.progress import progress
from claid_ext.regions import DetectedRegions

if TYPE_CHECKING:
    from claid_ext.detector import Detection

__all__ = ["add_parser", "run"]

_SUFFIXES = {"json": ".json", "npz": ".npz", "coco": ".coco-part.json"}
_PICTURE = ".regions.png"
_COCO_FILE = "coco.json"

_DESCRIPTION = """\
Find the regions of images. OUT gets one file per image, named by the image's path below the given
folder; --format coco makes one file, OUT/coco.json, of the kept regions of all images.
With several --scales, the JSON holds a tree per scale, and --draw shows the joined regions that
`claid index` would store. Re-running processes only new and changed images."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "detect", help="find the regions of images", description=_DESCRIPTION
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="image files, folders, patterns")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder")
    parser.add_argument("--format", choices=sorted(_SUFFIXES), default="json", help="(json)")
    parser.add_argument(
        "--draw", action="store_true", help=f"also write a picture of each image, <name>{_PICTURE}"
    )
    parser.add_argument("--force", action="store_true", help="also process images already done")
    add_detector_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns 0, or 1 if an image failed; the others are still processed."""
    if args.weights is not None and not args.weights.is_file():
        raise FileNotFoundError(f"weights: there is no file {args.weights}")
    settings = {"version": __version__, **detector_settings(args)}
    suffixes = [_SUFFIXES[args.format], *([_PICTURE] if args.draw else [])]
    outputs = Outputs(args.output, settings, [*_SUFFIXES.values(), _PICTURE, _COCO_FILE])
    failures: list[str] = []
    try:
        jobs = [
            outputs.job(image, relative, suffixes)
            for image, relative in _inputs(args.paths, args.output, failures)
        ]
        waiting = [job for job in jobs if args.force or not outputs.is_done(job)]
        done = _detect(args, settings, outputs, waiting, failures) if waiting else 0
        if args.format == "coco":
            _write_coco(outputs)
    finally:
        outputs.close()
    print(
        f"{args.output}: {done} done, {len(jobs) - len(waiting)} skipped as done before, "
        f"{len(failures)} failed"
    )
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _inputs(paths: list[str], output: Path, failures: list[str]) -> Iterator[tuple[Path, Path]]:
    """Yield each image once, with its path below the given folder."""
    from claid_ext.images import find_images

    seen = set()
    own = output.resolve()
    for given in paths:
        images = find_images([given], on_error=lambda _, error: failures.append(str(error)))
        base = _base(given)
        for image in images:
            target = image.resolve()
            if target in seen or (image.name.endswith(_PICTURE) and own in target.parents):
                continue
            seen.add(target)
            yield image, image.relative_to(base)


def _base(given: str) -> Path:
    """Return the folder relative to which results are named."""
    path = Path(given)
    if path.is_dir():
        return path
    parents = [p for p in path.parents if path.is_file() or not glob.has_magic(str(p))]
    return parents[0]


def _detect(
    args: argparse.Namespace,
    settings: dict[str, Any],
    outputs: Outputs,
    jobs: list[Job],
    failures: list[str],
) -> int:
    """Work through the jobs and return how many were done; the others get a line in `failures`."""
    source = DetectedRegions(detector_from(args), args.scales, max_regions=args.max_regions)
    source.calibrate([job.image for job in jobs])
    if len(source.scales) > 1 and args.format != "json":
        raise ValueError(f"--format {args.format} holds one scale, got --scales {source.scales}")
    by_path = {str(job.image): job for job in jobs}
    stream = source.stream(
        [job.image for job in jobs],
        on_error=lambda image, error: failures.append(str(error)),
    )
    done = 0
    for found in progress(stream, len(jobs), "detecting"):
        assert found[0].path is not None
        job = by_path[found[0].path]
        sizes = [_write(file, found, source, settings) for file in job.files]
        outputs.finish(job, sizes)
        done += 1
    return done


def _write(
    file: Path, found: list[Detection], source: DetectedRegions, settings: dict[str, Any]
) -> int:
    """Write one result of an image, of the kind that its suffix says; return its size in bytes.

    `found` are its detections, one per scale.
    """
    if file.name.endswith(_PICTURE):
        from claid_ext.images import load_image
        from claid_ext.plot import draw_detection

        assert found[0].path is not None
        # What `claid index` keeps: on the photo, all scales joined.
        regions = source.join(found)
        picture = draw_detection(load_image(found[0].path), found[0], regions=regions)
        return write_whole(file, lambda part: picture.save(part, "PNG"))
    if file.name.endswith(_SUFFIXES["npz"]):
        return write_whole(file, lambda part: _write_npz(part, found[0]))
    if file.name.endswith(_SUFFIXES["coco"]):
        content = _coco_part(found[0])
    else:
        content = {"claid_ext": settings["version"], "detector": settings}
        if len(found) == 1:
            content |= found[0].to_dict()
        else:
            trees = [detection.to_dict() for detection in found]
            shared = {name: trees[0][name] for name in ("image", "image_size")}
            scales = zip(source.scales, trees, strict=True)
            content |= {**shared, "scales": [{"scale": scale, **tree} for scale, tree in scales]}
    return write_whole(file, lambda part: part.write_text(json.dumps(content)))


def _write_npz(path: Path, detection: Detection) -> None:
    """Write the tree as `RegionTree.save` does, with what places it in the image."""
    import numpy as np

    detection.tree.save(path)
    beside = {
        "image_size": np.array(detection.image_size, np.int64),
        "covered": np.array(detection.covered, np.float64),
        "pixel_boxes": detection.boxes,
    }
    with zipfile.ZipFile(path, "a") as archive:
        for name, array in beside.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", content.getvalue())


def _coco_part(detection: Detection) -> dict[str, Any]:
    height, width = detection.image_size
    return {
        "image": {"file_name": detection.path, "width": width, "height": height},
        "annotations": detection.tree.to_coco(detection.image_size, covered=detection.covered),
    }


def _write_coco(outputs: Outputs) -> None:
    """Join the parts of all images done with these settings into one file, part by part."""
    parts = list(outputs.done_files(_SUFFIXES["coco"]))

    def images() -> Iterator[dict[str, Any]]:
        for image_id, part in enumerate(parts):
            yield {"id": image_id, **json.loads(part.read_text())["image"]}

    def annotations() -> Iterator[dict[str, Any]]:
        annotation_id = 0
        for image_id, part in enumerate(parts):
            for annotation in json.loads(part.read_text())["annotations"]:
                annotation_id += 1
                yield {**annotation, "id": annotation_id, "image_id": image_id}

    def write(path: Path) -> None:
        with path.open("w") as file:
            file.write('{"categories": [{"id": 1, "name": "region"}], "images": [')
            _write_items(file, images())
            file.write('], "annotations": [')
            _write_items(file, annotations())
            file.write("]}\n")

    write_whole(outputs.folder / _COCO_FILE, write)


def _write_items(file: TextIO, items: Iterator[dict[str, Any]]) -> None:
    comma = ""
    for item in items:
        file.write(comma + json.dumps(item))
        comma = ", "
