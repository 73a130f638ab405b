"""The basis of an index: fitted on its own photos, then frozen; and recoding of its records.

Whitening by a collection's own statistics finds more than by another's (docs/search.md), so
an index of 50 photos or more has its own. Until then it has the one that is shipped for its
network, or none: then records hold float32 vectors and float16 maps.

Coded records cannot be recoded from themselves: only 64 dimensions of a cell are kept, and a vector
needs more. So their photos are read again, which keeps records small. Records without a basis hold
whole cells, and can be coded without their photos.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from claid_ext.describing import map_records, record_of
from claid_ext.descriptors.basis import Basis, default_dims
from claid_ext.descriptors.shipped import shipped_basis
from claid_ext.errors import UnreadableImageError
from claid_ext.images import read_photo
from claid_ext.index.paths import file_state, is_name
from claid_ext.index.store import FileState, GrowingStore, Store
from claid_ext.progress import progress as show_progress
from claid_ext.record import ImageRecord

if TYPE_CHECKING:
    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.descriptors.pooling import FeatureMap

__all__ = [
    "BASIS_PHOTOS",
    "LEAST_PHOTOS",
    "NO_BASIS",
    "Frozen",
    "all_have_maps",
    "code",
    "final_dim",
    "fit",
    "fitted",
    "frozen_basis",
    "refit",
    "spread",
    "start_basis",
    "to_raw",
]

T = TypeVar("T")

LEAST_PHOTOS = 50  # with fewer, the shipped basis or none is better
BASIS_PHOTOS = 256  # it is fitted on at most, evenly spread
PHOTOS_AT_ONCE = 8


@dataclass(frozen=True)
class Frozen:
    """The basis that the records of an index are coded by.

    Attributes
    ----------
    basis : None where they are not coded.
    photos : how many of its own photos it was fitted on; 0 for the shipped one, or none.
    """

    basis: Basis | None
    photos: int

    def state(self) -> dict[str, Any]:
        """Return it as entries of a store's state, to be set along with the records."""
        return {
            "basis": None if self.basis is None else self.basis.to_bytes(),
            "basis fingerprint": None if self.basis is None else self.basis.fingerprint,
            "basis photos": self.photos,
        }


NO_BASIS = Frozen(None, 0)


def frozen_basis(store: Store, before: Frozen | None = None) -> Frozen:
    """Read the basis of an index from its store, unless it is still the one `before`."""
    with store.reading():
        fingerprint, photos = store.get("basis fingerprint"), store.get("basis photos") or 0
        if fingerprint is None:
            return NO_BASIS
        if before and before.basis and before.basis.fingerprint == fingerprint:
            return Frozen(before.basis, photos)
        return Frozen(Basis.from_bytes(store.get("basis"), "the index's basis"), photos)


def start_basis(descriptor: RegionDescriptor, dims: int | None) -> Basis | None:
    """Return the basis of a new index: the one shipped for its network, if that is long enough.

    `dims` is the length of the vectors, None for the basis's own.
    """
    basis = shipped_basis(descriptor.weights)
    if basis is None or dims is None:
        return basis
    wanted = _dims([layer.channels for layer in basis.layers], dims)
    if any(dim > len(layer.axes) for dim, layer in zip(wanted, basis.layers, strict=True)):
        return None
    layers = zip(basis.layers, wanted, strict=True)
    return replace(basis, layers=tuple(replace(layer, vector_dim=dim) for layer, dim in layers))


def final_dim(descriptor: RegionDescriptor, dims: int | None) -> int:
    """Return the length of vectors once an index has a basis of its own.

    Raises
    ------
    ValueError : `dims`, if not None, cannot be divided among the network's layers.
    """
    from PIL import Image

    from claid_ext.regions import Regions

    side = 64
    probe = Regions.of_boxes((side, side), [[0, 0, side, side]])
    (maps,) = descriptor.maps([Image.new("RGB", (side, side))], [probe])
    channels = [its.values.shape[0] for its in maps]
    return sum(default_dims(channels) if dims is None else _dims(channels, dims))


def all_have_maps(store: Store) -> bool:
    """Whether all images have maps; those whose vectors were given have none."""
    with store.reading() as view:
        return all(
            next(iter(view.maps(view.table.ids[i : i + 1])), None) is not None
            for i in range(len(view.table.ids))
        )


def to_raw(store: GrowingStore, descriptor: RegionDescriptor) -> None:
    """Make the records of a small index hold whole cells again, by reading its photos again.

    Raises
    ------
    UnreadableImageError, ValueError : a photo is gone or has changed; nothing is done then.
    """
    paths = _paths(store)
    with store.reading() as view:
        stored = dict(view.records(np.array(list(paths), np.int64)))
    records = dict(_described(descriptor, None, paths, stored, store.file_states()))
    state = NO_BASIS.state()
    if not records:
        state["dim"] = descriptor.channels
    store.recode(iter(records.items()), state)


def fit(store: GrowingStore, descriptor: RegionDescriptor, dims: int | None) -> None:
    """Fit a basis to an index whose records hold whole cells, and code them all with it."""
    paths = _paths(store)
    sample = spread(list(paths))
    with store.reading() as view:
        cells: list[list[np.ndarray]] = []
        for _, maps in view.maps(np.array(sample, np.int64)):
            cells.append([one.values.reshape(-1, one.values.shape[2]) for one in maps])
    basis = fitted(cells, descriptor, dims)
    code(store, descriptor, basis, len(sample))


def code(store: GrowingStore, descriptor: RegionDescriptor, basis: Basis, photos: int) -> None:
    """Code the records of an index, which hold whole cells, with a basis."""
    from claid_ext.descriptors.pooling import FeatureMap

    ids = np.array(list(_paths(store)), np.int64)

    def coded() -> Iterator[tuple[int, ImageRecord]]:
        import torch

        with store.reading() as view:
            for image in ids:
                ((number, record),) = view.records(image[None])
                ((_, maps),) = view.maps(image[None])
                features: list[FeatureMap] = []
                for one in maps:
                    values = torch.from_numpy(one.values.astype(np.float32)).permute(2, 0, 1)
                    rows, columns = one.values.shape[:2]
                    extent = (rows * one.cell[0], columns * one.cell[1])
                    features.append(FeatureMap(values, extent))
                yield number, record_of(record.regions, features, descriptor.network.layers, basis)

    store.recode(coded(), Frozen(basis, photos).state())


def refit(
    store: GrowingStore, descriptor: RegionDescriptor, dims: int | None, *, progress: bool = False
) -> int:
    """Fit the basis to an index's photos as they are now, and code all of them with it.

    Photos are read again: a sample to fit it, then all. Nothing changes until all are done.

    Returns
    -------
    How many photos it was fitted on.

    Raises
    ------
    ValueError : fewer than 50 photos, or one that has changed since it was added.
    UnreadableImageError : a photo that can no longer be read; remove it from the index first.
    """
    paths = _paths(store)
    if len(paths) < LEAST_PHOTOS:
        raise ValueError(f"a basis needs {LEAST_PHOTOS} photos, the index has {len(paths)}")
    with store.reading() as view:
        stored = dict(view.records(np.array(list(paths), np.int64)))
    files = store.file_states()
    sample = spread(list(paths))
    disable = None if progress else True
    shown = show_progress(
        _described(descriptor, None, {i: paths[i] for i in sample}, stored, files),
        len(sample),
        "fitting",
        disable=disable,
    )
    cells = [
        [one.values.reshape(-1, one.values.shape[2]) for one in record.maps] for _, record in shown
    ]
    basis = fitted(cells, descriptor, dims)
    records = show_progress(
        _described(descriptor, basis, paths, stored, files), len(paths), "coding", disable=disable
    )
    store.recode(records, Frozen(basis, len(sample)).state())
    return len(sample)


def fitted(
    cells: Sequence[Sequence[np.ndarray]], descriptor: RegionDescriptor, dims: int | None
) -> Basis:
    """Fit a basis to the cells of some photos, (n, C) of each layer of each."""
    layers = [np.concatenate(of_layer) for of_layer in zip(*cells, strict=True)]
    wanted = None if dims is None else _dims([its.shape[1] for its in layers], dims)
    return Basis.fit(layers, dims=wanted, network=descriptor.weights)


def _dims(channels: Sequence[int], dims: int) -> list[int]:
    """Divide the length of a vector among the layers in the proportions of the default."""
    shares = np.array(default_dims(channels), np.float64)
    ends = np.rint(np.cumsum(shares) * dims / shares.sum()).astype(int)
    wanted: list[int] = np.diff(ends, prepend=0).tolist()
    if any(not 1 <= dim <= most for dim, most in zip(wanted, channels, strict=True)):
        raise ValueError(f"pca must suit layers of {list(channels)} channels, got {dims}")
    return wanted


def _described(
    descriptor: RegionDescriptor,
    basis: Basis | None,
    paths: dict[int, str],
    stored: dict[int, ImageRecord],
    files: dict[str, FileState],
) -> Iterator[tuple[int, ImageRecord]]:
    """Describe stored photos again, keeping their regions.

    Raises
    ------
    UnreadableImageError : a photo can no longer be read.
    ValueError : one has changed since it was stored: its regions are not those of the new state.
    """
    if names := [path for path in paths.values() if is_name(path)]:
        raise UnreadableImageError(
            f"{names[0]} was added by a name, not as a file, and so cannot be read again"
        )
    for some in _batches(list(paths)):
        photos = [read_photo(paths[i]) for i in some]
        for i in some:
            if file_state(paths[i]) != files[paths[i]]:
                raise ValueError(f"{paths[i]} has changed since it was added: add it again")
        regions = [stored[i].regions for i in some]
        yield from zip(some, map_records(descriptor, photos, regions, basis), strict=True)


def _batches(items: list[int]) -> Iterable[list[int]]:
    return (items[i : i + PHOTOS_AT_ONCE] for i in range(0, len(items), PHOTOS_AT_ONCE))


def _paths(store: Store) -> dict[int, str]:
    with store.reading() as view:
        return dict(zip(view.table.ids.tolist(), view.table.paths, strict=True))


def spread(items: Sequence[T], most: int = BASIS_PHOTOS) -> list[T]:
    """Return at most `most` of some items, evenly spread."""
    places = np.linspace(0, len(items) - 1, min(len(items), most)).astype(np.int64)
    return [items[place] for place in places.tolist()]
