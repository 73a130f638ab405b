"""`claid bench`: the paper's Table IV and Fig. 5, cost over size, and ablations, on your photos."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.cli._runtime import add_runtime_options, new_running

if TYPE_CHECKING:
    from claid_ext.benchmarks.features import Photo
    from claid_ext.evaluation.datasets import DetectionImage

__all__ = ["add_parser", "run"]

_OFFLINE = "focus_vits14"

Failures = list[tuple[Path, str]]


def add_parser(subparsers: Any) -> None:
    """Add `bench` and its four measurements to the command line."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and recall against other methods, on this machine and your photos",
        description="Measure speed and recall against the peers. Writes Markdown, JSON and PNG. "
        "Photos that cannot be used are listed at the end, and the exit code is then 1.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="WHAT")

    table4 = kinds.add_parser("table4", help="cuts, time per image, time per cut (paper, Table IV)")
    table4.add_argument("photos", nargs="+", help="image files, folders or patterns")
    table4.add_argument("--rounds", type=int, default=5, help="timings of each photo (default 5)")
    table4.add_argument("--limit", type=int, help="use at most this many photos")
    _add_methods(table4)

    recall = kinds.add_parser("recall", help="recall over IoU (paper, Fig. 5)")
    _add_truth(recall)
    _add_methods(recall)

    scale = kinds.add_parser("scale", help="time and memory as patches and channels grow")
    scale.add_argument("--patches", type=int, nargs="+", help="numbers of patches to measure")
    scale.add_argument("--channels", type=int, nargs="+", help="numbers of channels to measure")
    scale.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="timings of each size, more of small ones (default 3)",
    )
    scale.add_argument("--no-memory", action="store_true", help="do not measure peak memory")

    ablation = kinds.add_parser("ablation", help="change one part of the method at a time")
    _add_truth(ablation)
    ablation.add_argument("--studies", nargs="+", metavar="STUDY", help="default: all of them")

    for one in (table4, recall, ablation):
        one.add_argument("--backbone", default=_OFFLINE, help=f"default: {_OFFLINE}")
        one.add_argument("--weights", help="local file with the backbone's weights")
        one.add_argument("--device", help="device of the backbone (default: a GPU if there is one)")
        add_runtime_options(one)
        one.add_argument("--tau", type=float, help="default: the backbone's")
        one.add_argument("--min-patches", type=int, help="default: the backbone's")
        one.add_argument(
            "--keep-features", type=Path, metavar="DIR", help="keep features for later runs"
        )
    for one in (table4, recall, scale, ablation):
        one.add_argument(
            "-o",
            "--out",
            type=Path,
            default=Path("claid-bench"),
            help="folder of the results (claid-bench)",
        )


def run(args: argparse.Namespace) -> int:
    """Measure, print the Markdown, and write all files into the folder.

    Returns 0, or 1 if a photo could not be used; the others are still measured.
    """
    kinds = {"table4": _table4, "recall": _recall, "scale": _scale, "ablation": _ablation}
    failed: Failures = []
    kinds[args.kind](args, failed)
    for path, why in failed:
        print(why if str(path) in why else f"{path}: {why}", file=sys.stderr)
    return 1 if failed else 0


def _add_methods(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="cpu, cuda, reference, tokencut, maskcut, deep_spectral, lost, claid_ncut, "
        "ncut_pytorch, grid; with :generalized or :lanczos for another eigensolver",
    )


def _add_truth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("truth", help="COCO instances JSON, or a folder with annotations.json")
    parser.add_argument("--images", help="folder of a COCO file's images, if not beside it")
    parser.add_argument("--limit", type=int, help="use at most this many photos")


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """tau and min_patches: as given, else the backbone's own."""
    from claid_ext.backbones import BACKBONES

    spec = BACKBONES.get(args.backbone)
    if spec is None and (args.tau is None or args.min_patches is None):
        raise ValueError(
            f"--tau and --min-patches are needed: {args.backbone!r} is not a named backbone"
        )
    return {
        "tau": args.tau if args.tau is not None or spec is None else spec.tau,
        "min_patches": (
            args.min_patches if args.min_patches is not None or spec is None else spec.min_patches
        ),
    }


def _photos(args: argparse.Namespace, paths: list[Path], failed: Failures) -> list[Photo]:
    """Return the photos that can be used; add the others to `failed`."""
    from claid_ext.benchmarks.features import photo_features

    photos = photo_features(
        paths,
        args.backbone,
        weights=args.weights,
        device=args.device,
        **new_running(args),
        keep=args.keep_features,
        on_error=lambda path, error: failed.append((path, str(error))),
    )
    if not photos:
        raise ValueError("; ".join(why for _, why in failed) or "there are no photos to measure on")
    return photos


def _annotated(
    args: argparse.Namespace, failed: Failures
) -> tuple[list[Photo], list[DetectionImage], str]:
    from claid_ext.evaluation.datasets import load_detection

    truth = load_detection(args.truth, args.images)
    images = list(truth.images)[: args.limit]
    photos = _photos(args, [image.path for image in images], failed)
    left_out = {path for path, _ in failed}
    return photos, [image for image in images if image.path not in left_out], truth.name


def _names(args: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    import claid_ext

    if args.methods:
        return list(args.methods)
    chosen = list(names)
    if importlib.util.find_spec("ncut_pytorch"):
        chosen.append("ncut_pytorch")
    if args.kind == "table4" and claid_ext.build_info()["cuda"]:
        chosen.append("cuda")
    return chosen


def _setting(args: argparse.Namespace, photos: list[Photo], options: dict[str, Any]) -> str:
    grids = sorted({photo.grid for photo in photos})
    shapes = ", ".join(f"{h}x{w}" for h, w in grids[:4]) + (", ..." if len(grids) > 4 else "")
    return (
        f"{len(photos)} photos, {args.backbone}, grids {shapes}, "
        f"{photos[0].features.shape[1]} channels, tau {options['tau']:g}, "
        f"min_patches {options['min_patches']}"
    )


def _table4(args: argparse.Namespace, failed: Failures) -> None:
    from claid_ext.benchmarks import table4
    from claid_ext.benchmarks.methods import TIMED, methods
    from claid_ext.images import find_images

    options = _options(args)
    paths = find_images(
        args.photos, on_error=lambda given, error: failed.append((Path(given), str(error)))
    )
    if not paths:
        raise FileNotFoundError("; ".join(why for _, why in failed))
    photos = _photos(args, paths[: args.limit], failed)
    chosen = methods(_names(args, TIMED), **options)
    unit = "cpu" if "cpu" in [m.name for m in chosen] else chosen[-1].name
    rows = table4.measure(photos, chosen, rounds=args.rounds, unit=unit)
    _write(
        args.out / "table4",
        f"{_setting(args, photos, options)}; one thread; "
        f"medians of {args.rounds} interleaved rounds",
        table4.to_markdown(rows, unit),
        [row.to_dict() for row in rows],
    )


def _recall(args: argparse.Namespace, failed: Failures) -> None:
    from claid_ext.benchmarks import recall
    from claid_ext.benchmarks.methods import DETECTORS, methods

    options = _options(args)
    photos, truth, name = _annotated(args, failed)
    found = recall.measure(photos, truth, methods(_names(args, DETECTORS), **options))
    _write(
        args.out / "recall",
        f"{name}: {_setting(args, photos, options)}; boxes, crowds ignored",
        recall.to_markdown(found),
        recall.to_dict(found),
        recall.draw(found),
    )


def _scale(args: argparse.Namespace, _: Failures) -> None:
    import claid_ext
    from claid_ext.benchmarks import scale

    found = scale.measure(
        args.patches or scale.PATCHES,
        args.channels or scale.CHANNELS,
        rounds=args.rounds,
        memory=not args.no_memory,
        cuda=claid_ext.build_info()["cuda"],
    )
    _write(
        args.out / "scale",
        f"synthetic features; medians of {args.rounds} interleaved rounds, up to five times as "
        "many for small sizes; peak memory beyond the features",
        scale.to_markdown(found),
        scale.to_dict(found),
        scale.draw(found),
    )


def _ablation(args: argparse.Namespace, failed: Failures) -> None:
    from claid_ext.benchmarks import ablation

    studies = args.studies or list(ablation.STUDIES)
    if unknown := set(studies) - set(ablation.STUDIES):
        raise ValueError(
            f"--studies must be one or more of {', '.join(ablation.STUDIES)}, "
            f"got {', '.join(sorted(unknown))}"
        )
    options = _options(args)
    photos, truth, name = _annotated(args, failed)
    for study in studies:
        settings = ablation.measure(study, photos, truth, **options)
        _write(
            args.out / f"ablation_{study}",
            f"{name}: {_setting(args, photos, options)}, except for the value in the first column",
            ablation.to_markdown(study, settings),
            ablation.to_dict(settings),
            ablation.draw(study, settings),
        )


def _write(stem: Path, setting: str, table: str, figures: Any, drawn: Any = None) -> None:
    """Print one result and write STEM.md, STEM.json and, where there is a plot, STEM.png."""
    from claid_ext.benchmarks import machine
    from claid_ext.benchmarks.output import save_figure, save_json, save_text

    measured_on = machine.describe()
    text = f"{setting}.\n\n{table}\n{machine.to_markdown(measured_on)}\n"
    save_text(stem.with_suffix(".md"), text)
    save_json(
        stem.with_suffix(".json"),
        {"setting": setting, "machine": measured_on, "results": figures},
    )
    if drawn is not None:
        save_figure(stem.with_suffix(".png"), drawn)
    print(text)
