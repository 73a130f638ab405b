"""Making a data set, and listing photos in it: frozen, append-only, in shards.

Shards, not photos, are what an engine hands out. Listing photos ourselves also avoids what engines
do before they start: some take hours over 10^8 paths.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claid_ext._version import __version__
from claid_ext.describing import Describer, RegionDescriber, map_descriptor
from claid_ext.index.manifest import check_same
from claid_ext.index.paths import absolute, file_state
from claid_ext.scale.dataset import (
    BASIS,
    FORMAT,
    MANIFEST,
    SHARD_PHOTOS,
    VERSION,
    DataSet,
    Listed,
)
from claid_ext.scale.files import Files, filesystem, import_pyarrow, is_uri, uri_below
from claid_ext.scale.parquet import listing_rows
from claid_ext.scale.shard import describe_photos
from claid_ext.search import fitting

if TYPE_CHECKING:
    from claid_ext.descriptors.basis import Basis
    from claid_ext.record import ImageRecord

__all__ = ["PlanReport", "check_options", "create", "listed", "plan", "remove"]

BATCH = 8  # photos described together


@dataclass
class PlanReport:
    """What became of the photos given to `plan`: new ones, changed ones, unchanged ones."""

    new: int = 0
    changed: int = 0
    present: int = 0


def create(
    address: str,
    describer: Describer,
    sample: Sequence[str] = (),
    *,
    pca: int | None = None,
    batch: int = BATCH,
    shard_photos: int = SHARD_PHOTOS,
) -> DataSet:
    """Make a data set without photos; its basis is fitted on a sample, and frozen.

    Parameters
    ----------
    address : where: a path, or a URI of any filesystem that pyarrow knows.
    describer : what turns its photos into records.
    sample : paths or URIs of the photos to come: 256 of them, evenly spread, are described to fit
        the basis. With fewer than 50 readable ones it is the one shipped for the network, or none.
    pca : length of whitened vectors, None for 208.
    batch : photos that are described together; features differ in their last bits with it.
    shard_photos : photos in a shard.

    Raises
    ------
    FileExistsError : something is there.
    ValueError : a wrong option.
    """
    for name, value in {"batch": batch, "shard_photos": shard_photos}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    files = Files(address)
    if not files.is_empty(but=BASIS):  # written by one that was killed before it was made
        raise FileExistsError(f"{files.shown()} is not empty")
    made, recipes = describer.manifest(), describer.recipe()
    basis, photos = _basis(describer, fitting.spread(sample), pca, batch)
    if basis is not None:
        files.write(BASIS, basis.to_bytes())
    content = {
        "format": FORMAT,
        "version": VERSION,
        "claid_ext": __version__,
        "id": uuid.uuid4().hex,
        "regions": made["regions"],
        "descriptor": made["descriptor"],
        "recipes": recipes,
        "pca": pca,
        "basis": None if basis is None else basis.fingerprint,
        "basis photos": photos,
        "dim": _dim(describer) if basis is None else basis.vector_dim,
        "batch size": batch,
        "shard photos": shard_photos,
    }
    files.write(MANIFEST, (json.dumps(content, indent=2) + "\n").encode())
    return DataSet(address)


def check_options(
    dataset: DataSet, given: Mapping[str, Any], *, allow_runtime: bool = False
) -> None:
    """Compare options with those of a data set; `given` has entries of its manifest.

    `allow_runtime`: another runtime or precision of the networks is no difference.

    Raises
    ------
    IndexMismatchError : it is made with others.
    """
    stored = {name: dataset.manifest[name] for name in given}
    check_same(dataset.files.shown(), stored, dict(given), "", allow_runtime=allow_runtime)


def _dim(describer: Describer) -> int:
    network = _network(describer)
    return int(describer.manifest()["descriptor"]["dim"] if network is None else network.channels)


def _network(describer: Describer) -> Any:
    if not isinstance(describer, RegionDescriber):
        return None
    return map_descriptor(describer.descriptor)


def _basis(
    describer: Describer, sample: Sequence[str], dims: int | None, batch: int
) -> tuple[Basis | None, int]:
    """Return the basis, and how many photos it was fitted on."""
    network = _network(describer)
    if network is None or not isinstance(describer, RegionDescriber):
        if dims is not None:
            raise ValueError(f'pca is for a descriptor with pooling="whitened", got pca={dims}')
        return None, 0
    fitting.final_dim(network, dims)  # refuses what cannot be
    if len(sample) >= fitting.LEAST_PHOTOS:
        plain = RegionDescriber(describer.source, describer.descriptor)
        cells = [
            [one.values.reshape(-1, one.values.shape[2]) for one in record.maps]
            for record in _records(plain, sample, batch)
        ]
        if len(cells) >= fitting.LEAST_PHOTOS:
            return fitting.fitted(cells, network, dims), len(cells)
    return fitting.start_basis(network, dims), 0


def _records(describer: Describer, uris: Sequence[str], batch: int) -> Iterator[ImageRecord]:
    for record in describe_photos(describer, uris, batch):
        if not isinstance(record, str):
            yield record


def plan(dataset: DataSet, photos: Iterable[Listed]) -> PlanReport:
    """List photos that a data set does not have, or that have changed since they were listed.

    A changed photo gets a new number; the old one counts until the new one has a record.

    Raises
    ------
    IndexLockedError : another process is planning.
    """
    report = PlanReport()
    with dataset.files.writing("listing"):
        states, numbers = _known(dataset)
        shard, replaces = list[Listed](), list[list[int]]()
        number = dataset.next_shard()
        for photo in photos:
            if states.get(photo.uri) == photo.file:
                report.present += 1
                continue
            if photo.uri in states:
                report.changed += 1
            else:
                report.new += 1
            states[photo.uri] = photo.file
            shard.append(photo)
            replaces.append(numbers.get(photo.uri, []))
            if len(shard) == dataset.manifest["shard photos"]:
                dataset.add_listing(number, shard, replaces)
                number, shard, replaces = number + 1, [], []
        if shard:
            dataset.add_listing(number, shard, replaces)
    return report


def remove(dataset: DataSet, uris: Sequence[str]) -> int:
    """Remove photos from a data set, by their paths or URIs; return how many were there.

    Their records stay in its files. A store lacks them from the next `load` on.

    Raises
    ------
    IndexLockedError : another process is planning.
    """
    given = {uri if is_uri(uri) else absolute(uri) for uri in uris}
    with dataset.files.writing("listing"):
        states, numbers = _known(dataset)
        there = [uri for uri in given if uri in states]
        if there:
            dataset.add_removed(sorted(number for uri in there for number in numbers[uri]))
    return len(there)


def _known(dataset: DataSet) -> tuple[dict[str, tuple[int, int]], dict[str, list[int]]]:
    """Return the state of each listed photo that is not removed, and all numbers of each."""
    states: dict[str, tuple[int, int]] = {}
    numbers: dict[str, list[int]] = {}
    removed = set(dataset.removed().tolist())
    for shard in dataset.planned():
        for row in dataset.listing(shard):
            numbers.setdefault(row.uri, []).append(row.image)
            states[row.uri] = (row.bytes, row.modified)
    for uri, its in numbers.items():
        if its[-1] in removed:
            del states[uri]
    return states, numbers


def listed(given: Iterable[str]) -> Iterator[Listed]:
    """Yield the photos that listings (.parquet files) and URIs of folders or files stand for.

    A listing has the column `uri`, paths or URIs; and `bytes` and `modified`, integers that differ
    when a file has changed, or else the files are asked for them. Other paths are photos here.
    """
    for one in given:
        if one.lower().endswith(".parquet"):
            yield from _of_listing(one)
        elif is_uri(one):
            yield from _below(one)
        else:
            yield Listed(absolute(one), file_state(one))


def _of_listing(address: str) -> Iterator[Listed]:
    fs, path = filesystem(address)
    with fs.open_input_file(path) as file:
        for row in listing_rows(file, address):
            uri = row["uri"] if is_uri(row["uri"]) else absolute(row["uri"])
            if len(row) == len(Listed._fields) + 1:
                state = (row["bytes"] or 0, row["modified"] or 0)
            else:
                state = _state(uri)
            yield Listed(uri, state)


def _state(uri: str) -> tuple[int, int]:
    if not is_uri(uri):
        return file_state(uri)
    fs, path = filesystem(uri)
    info = fs.get_file_info(path)
    return info.size or 0, info.mtime_ns or 0


def _below(address: str) -> Iterator[Listed]:
    from claid_ext.images import IMAGE_SUFFIXES

    pa = import_pyarrow()
    fs, path = filesystem(address)
    if fs.get_file_info(path).type == pa.fs.FileType.File:
        yield Listed(address, _state(address))
        return
    found = fs.get_file_info(pa.fs.FileSelector(path, recursive=True))
    for info in sorted(found, key=lambda its: its.path):
        suffix = f".{info.base_name.rpartition('.')[2]}".lower()
        if info.type == pa.fs.FileType.File and suffix in IMAGE_SUFFIXES:
            yield Listed(uri_below(address, info.path), (info.size or 0, info.mtime_ns or 0))
