"""What is fuzzed: the arguments of the extension, and every kind of file that is read.

A target takes bytes and must return, or raise one of its `expected` errors. Anything else is a
bug: another exception, a crash, or an assertion that a value which came back makes no sense.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import argument_targets
import file_targets
import sound_files
from claid_ext.errors import ClaidError

Run = Callable[[bytes, Path], None]


@dataclass(frozen=True)
class Target:
    """One thing to fuzz.

    Attributes
    ----------
    run : takes the bytes, and an empty folder for files.
    seeds : what to begin with: sound inputs.
    expected : what it may raise.
    needs : modules without which it cannot run.
    """

    run: Run
    seeds: Callable[[], list[bytes]]
    expected: tuple[type[Exception], ...] = (ClaidError, ValueError)
    needs: tuple[str, ...] = ()


_MISSING = (ValueError, FileNotFoundError)
_TORCH = ("torch", "safetensors", "onnx")


def _of_arguments(run: Run) -> Target:
    return Target(run, argument_targets.seeds, (ValueError, TypeError))


TARGETS: dict[str, Target] = {
    "detect": _of_arguments(argument_targets.detect),
    "core_detect": _of_arguments(argument_targets.core_detect),
    "boxes": _of_arguments(argument_targets.boxes),
    "record": Target(file_targets.record, sound_files.record_seeds),
    "maps": Target(file_targets.maps, sound_files.map_seeds),
    "basis": Target(file_targets.basis, sound_files.basis_seeds, needs=("faiss",)),
    "sealed_record": Target(file_targets.sealed_record, sound_files.record_seeds),
    "sealed_maps": Target(file_targets.sealed_maps, sound_files.map_seeds),
    "sealed_basis": Target(file_targets.sealed_basis, sound_files.basis_seeds, needs=("faiss",)),
    "tree": Target(file_targets.tree, sound_files.tree_seeds),
    "manifest": Target(file_targets.manifest, sound_files.manifest_seeds),
    "table": Target(file_targets.table, sound_files.table_seeds, needs=("faiss",)),
    "weights": Target(file_targets.weights, sound_files.weight_seeds, needs=_TORCH),
    "ground_truth": Target(
        file_targets.ground_truth, sound_files.truth_seeds, _MISSING, needs=("torch", "scipy")
    ),
    "picture": Target(
        file_targets.picture, sound_files.picture_seeds, expected=(ClaidError,), needs=("PIL",)
    ),
    "found_regions": Target(
        file_targets.found_regions, sound_files.found_seeds, needs=("PIL", "pycocotools")
    ),
    "listing": Target(file_targets.listing, sound_files.listing_seeds, needs=("pyarrow", "torch")),
    "listed_columns": Target(
        file_targets.listed_columns, argument_targets.seeds, needs=("pyarrow", "torch")
    ),
    "data_set": Target(file_targets.data_set, sound_files.part_seeds, needs=("pyarrow", "torch")),
}


def run(name: str, content: bytes, folder: Path) -> str:
    """Run a target; returns the name of the expected error, or "fine"."""
    target = TARGETS[name]
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        target.run(content, folder)
    except target.expected as error:
        if not str(error):
            raise AssertionError("an error says what is wrong") from error
        return type(error).__name__
    return "fine"
