"""`claid eval`: the paper's tables and figures on your own machine and data."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.choices import REGION_SOURCES
from claid_ext.cli._descriptor import add_descriptor_options
from claid_ext.cli._detector import add_detector_options, detect_options, detector_from
from claid_ext.cli._regions import add_file_options, check_file_options, file_options
from claid_ext.cli._runtime import given_running, new_running
from claid_ext.cli._stages import add_stage_options
from claid_ext.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from claid_ext.evaluation.setup import Setup
    from claid_ext.evaluation.table import Table

__all__ = ["add_parser", "run"]

DOTS = 150  # per inch, of drawn figures
OFFLINE = {"backbone": "focus_vits14", "descriptor": "efficientnet_lite0"}
PUBLISHED_POOLING = "gem"  # of the paper's tables, as the authors' code has it
SEARCH_POOLINGS = ["mean", "whitened"]  # as rivals publish it, and ours, with both stages

_TABLES = {
    "table1": "instance search on Instance-160, Instance-335 and INSTRE",
    "table2": "INSTRE-M: two things at once",
    "table3": "localisation: mean IoU over the true positives",
    "table5": "image retrieval: Holidays, Oxford5k, Paris6k and the revisited sets",
    "table6": "seeds against random starts, dummies in or out, number of features",
    "table7": "the detector's backbone",
    "figure6": "sensitivity to the thresholds of dominance and connectivity",
    "search": "any sets in the JSON layout: mAP, localised mAP, mIoU, vectors per image, times",
}
_ONE_SET = {"table6": "instre", "table7": "instre", "figure6": "instance160"}


def add_parser(subparsers: Any) -> None:
    """Add `eval` and its tables to the command line."""
    parser = subparsers.add_parser(
        "eval",
        help="the paper's tables on your own data",
        description="Measure and print Markdown tables: our rows beside the paper's figures. "
        "docs/evaluation.md describes the layouts of the data sets.",
    )
    kinds = parser.add_subparsers(dest="table", required=True, metavar="TABLE")
    for name, what in _TABLES.items():
        table = kinds.add_parser(name, help=what, description=what)
        _add_common(table, "DIR", "folder with the data sets")
        _add_search_options(table, name)
    recall = kinds.add_parser("recall", help="recall of objects over IoU thresholds (Fig. 5)")
    _add_common(recall, "PATH", "COCO instances file, or folder with an annotations.json")
    recall.add_argument("--images", type=Path, metavar="DIR", help="folder of a COCO file's images")
    recall.add_argument(
        "--overlap", choices=("box", "mask"), default="box", help="of boxes or masks (box)"
    )
    recall.add_argument(
        "--budget", type=int, metavar="N", help="take the first N regions per image"
    )
    recall.add_argument("--draw", type=Path, metavar="FILE", help="draw the curves here")
    recall.add_argument(
        "--regions",
        nargs="+",
        choices=REGION_SOURCES,
        default=["detect"],
        help="where regions come from, two rows each (detect)",
    )
    add_file_options(recall)
    add_detector_options(recall)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and write the files that were asked for. Returns 0."""
    table, figure = _recall(args) if args.table == "recall" else _search(args)
    print(table.markdown())
    if args.json is not None:
        content = json.dumps(table.to_dict(), indent=1, allow_nan=False) + "\n"
        write_whole(args.json, lambda part: part.write_text(content, encoding="utf-8"))
    if figure is not None and args.draw is not None:
        kind = args.draw.suffix.removeprefix(".") or "png"
        write_whole(args.draw, lambda part: figure.savefig(part, dpi=DOTS, format=kind))
    return 0


def _add_common(parser: argparse.ArgumentParser, metavar: str, data: str) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar=metavar, help=data)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")


def _add_search_options(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("claid-eval"),
        metavar="DIR",
        help="folder of the indexes; re-running the command resumes from it (claid-eval)",
    )
    parser.add_argument(
        "--denominator",
        choices=("min", "positives"),
        default="min",
        help="of average precision: min(cutoff, positives), or positives (min)",
    )
    if name in _ONE_SET:
        parser.add_argument(
            "--set", default=_ONE_SET[name], help=f"the search set ({_ONE_SET[name]})"
        )
    else:
        _add_system_options(parser)
    if name == "search":
        parser.add_argument("--sets", nargs="+", metavar="DIR", help="folders in the data (all)")
        parser.add_argument(
            "--index",
            metavar="INDEX",
            help="search this in place of building one: a folder, or milvus:URI with --dataset; "
            "networks and regions are its own",
        )
        parser.add_argument("--dataset", metavar="DATASET", help="records of milvus:URI")
    if name == "table7":
        parser.add_argument(
            "--backbones", nargs="+", metavar="NAME", help="default: the paper's five"
        )
    if name == "figure6":
        for option in ("dominance", "connectivity"):
            parser.add_argument(
                f"--{option}-values", nargs="+", type=float, metavar="X", help="thresholds to try"
            )
        parser.add_argument("--draw", type=Path, metavar="FILE", help="draw the curves here")
    parser.add_argument(
        "--pca", type=int, metavar="N", help="length of the whitened vectors (default: 208)"
    )
    add_detector_options(parser, opens=name == "search")
    add_descriptor_options(parser)
    if name == "search":  # they need no model hub, and give the project's own figures
        parser.set_defaults(**OFFLINE)
    elif name not in _ONE_SET:  # nor do the paper's tables expand queries
        parser.set_defaults(expand=0)


def _add_system_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("systems")
    group.add_argument(
        "--systems", nargs="+", metavar="NAME", help="which ones, one row or more each (all)"
    )
    group.add_argument(
        "--regions",
        nargs="+",
        choices=REGION_SOURCES,
        help="instead of --systems: our vectors of regions from these sources",
    )
    group.add_argument(
        "--descriptors", nargs="+", metavar="NAME", help="descriptor networks, rows for each"
    )
    group.add_argument(
        "--whitening",
        type=Path,
        metavar="DIR",
        help="photos that R-MAC and CAM-weight learn their whitening from, none of which may show "
        "what is searched for (default: detect/ in the data, or beside it)",
    )
    group.add_argument(
        "--salgan", type=Path, metavar="FILE", help="weights of SalGAN's generator (.npz)"
    )
    group.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep what networks give here, so that systems that share one run it once; about 10 "
        "MB a photo",
    )
    add_file_options(parser)
    add_stage_options(parser)


def _setups(args: argparse.Namespace) -> list[Setup]:
    """The setups that the options describe: every system with every descriptor."""
    from claid_ext.backbones import running_of
    from claid_ext.evaluation.setup import RegionsFile, Setup
    from claid_ext.evaluation.systems import SYSTEMS, setups_of

    masks = args.pooling == "mask"

    one = Setup(
        backbone=args.backbone,
        weights=_text(args.weights),
        descriptor=args.descriptor,
        descriptor_weights=_text(args.descriptor_weights),
        pooling=args.pooling or PUBLISHED_POOLING,
        layer=None if args.layer is None else tuple(args.layer),
        octaves=args.octaves,
        scales=None if args.scales is None else tuple(args.scales),
        device=args.device,
        **running_of(args.backbone, device=args.device, **new_running(args))._asdict(),
        batch_size=args.batch_size,
        pca=args.pca,
        max_regions=args.max_regions,
        detect=detect_options(args),
        expand=0,
    )
    if args.table in _ONE_SET:
        return [one]
    names = _system_names(args)
    file = args.regions_file
    check_file_options(args, [SYSTEMS[name].regions for name in names if name in SYSTEMS])
    one = one.but(
        regions_file=None
        if file is None
        else RegionsFile(**file_options(args, "file", masks=masks)),
        whitening=_text(args.whitening or _photos_beside(args.data)),
        salgan_weights=_text(args.salgan),
        refine=args.refine,
        expand=args.expand,
    )
    return [
        setup
        for descriptor in args.descriptors or [one.descriptor]
        for setup in setups_of(names, one.but(descriptor=descriptor), _poolings(args))
    ]


def _system_names(args: argparse.Namespace) -> list[str]:
    """Return the systems that are asked for, by their names or by their regions."""
    from claid_ext.evaluation.systems import SYSTEMS

    if args.regions is None:
        return args.systems or list(SYSTEMS)
    if args.systems is not None:
        raise ValueError("--regions is instead of --systems: give one of them")
    if "file" in args.regions:
        file_options(args, "file")  # which says what is missing
    ours = {system.regions: name for name, system in SYSTEMS.items() if system.vectors == "network"}
    return [ours[regions] for regions in args.regions]


def _poolings(args: argparse.Namespace) -> list[str]:
    """Return how vectors of a network are pooled, rows for each."""
    if args.pooling is not None:
        return [args.pooling]
    if args.table != "search":
        return [PUBLISHED_POOLING]
    return SEARCH_POOLINGS if args.regions is None else SEARCH_POOLINGS[-1:]


def _photos_beside(data: Path) -> Path | None:
    """The folder of photos to learn whitening from, where nothing else is said."""
    return next(
        (found for found in (data / "detect", data.parent / "detect") if found.is_dir()), None
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _search(args: argparse.Namespace) -> tuple[Table, Figure | None]:
    from claid_ext.benchmarks import machine
    from claid_ext.evaluation import tables
    from claid_ext.evaluation.charts import draw_sensitivity
    from claid_ext.evaluation.measuring import Measurer

    setups = _setups(args)
    measure = Measurer(args.work, args.denominator, cache=getattr(args, "cache", None))
    if getattr(args, "index", None) is not None:
        measure.index, measure.dataset = args.index, args.dataset
        measure.running = given_running(args)
        setups = [_setup_of(args.index, args.dataset, setups[0])]
    if args.table == "table6":
        return tables.table6(args.data, setups[0], measure, args.set), None
    if args.table == "table7":
        names = args.backbones or tables.TABLE_7_BACKBONES
        found = tables.table7(args.data, setups[0], measure, backbones=names, set_name=args.set)
        return found, None
    if args.table == "figure6":
        table = tables.figure6(
            args.data,
            setups[0],
            measure,
            dominance=args.dominance_values or tables.FIGURE_6_DOMINANCE,
            connectivity=args.connectivity_values or tables.FIGURE_6_CONNECTIVITY,
            set_name=args.set,
        )
        return table, None if args.draw is None else draw_sensitivity(table)
    if args.table == "search":
        table = tables.search_table(args.data, setups, measure, args.sets)
        table.notes.append(machine.to_markdown(machine.describe()))
        return table, None
    make: dict[str, Callable[..., Table]] = {
        "table1": tables.table1,
        "table2": tables.table2,
        "table3": tables.table3,
        "table5": tables.table5,
    }
    return make[args.table](args.data, setups, measure), None


def _setup_of(index: str, dataset: str | None, given: Setup) -> Setup:
    """The setup that an index was made with, by its manifest; searched as was given."""
    from claid_ext.search import open_index

    with open_index(index, dataset=dataset) as opened:
        made = opened.manifest
    regions, descriptor = made["regions"], made["descriptor"]
    backbone = ((made["recipes"]["regions"] or {}).get("backbone") or {}).get("name")
    return given.but(
        regions=regions["name"],
        backbone=backbone or given.backbone,
        descriptor=descriptor["name"],
        pooling=descriptor.get("pooling", given.pooling),
        pca=made["pca"],
    )


def _recall(args: argparse.Namespace) -> tuple[Table, Figure | None]:
    from claid_ext.evaluation import load_detection, measure_recall
    from claid_ext.evaluation.charts import draw_recall
    from claid_ext.evaluation.table import recall_table
    from claid_ext.regions import region_source

    check_file_options(args, args.regions)
    found = load_detection(args.data, args.images)
    detector = detector_from(args) if "detect" in args.regions else None
    if detector is not None:
        detector.calibrate([image.path for image in found.images])
    curves = {
        name: measure_recall(
            found,
            region_source(
                name,
                *((detector, args.scales) if name == "detect" else ()),
                max_regions=None,  # of all that the detector finds
                **file_options(args, name, masks=args.overlap == "mask"),
            ),
            overlap=args.overlap,
            budget=args.budget,
            show_progress=True,
        )
        for name in args.regions
    }
    table = recall_table(f"Recall, {found.name}, {args.overlap} IoU", curves)
    return table, None if args.draw is None else draw_recall(curves)
