"""`claid load`: the records of a data set into a store to search."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Bring a store to have every record that `claid extract` has written to DATASET. Re-running brings
what is missing, and takes away what was removed or replaced. Then `claid search FOLDER`, or
`claid search milvus:URI --dataset DATASET`."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "load", help="the records of a data set into a store", description=_DESCRIPTION
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder or URI")
    parser.add_argument(
        "--store",
        required=True,
        metavar="STORE",
        help="milvus:URI, such as milvus:http://127.0.0.1:19530, or the folder of an index",
    )
    parser.add_argument(
        "--index",
        metavar="NAME",
        help="of a new store: IVF_SQ8 or FLAT for Milvus (default: IVF_SQ8), faiss's factory "
        "string for a folder (default: Flat)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns 0."""
    from claid_ext.scale import DataSet, load

    report = load(DataSet(args.dataset), args.store, index=args.index, progress=True)
    print(
        f"{args.store}: {report.shards} shards loaded in {report.seconds:.1f} s, "
        f"{report.present} already there"
    )
    return 0
