"""Making the folder of a new index, and checking what is given for one that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claid_ext.describing import map_descriptor
from claid_ext.index.base import check_factory
from claid_ext.index.embedded import EmbeddedStore
from claid_ext.index.lock import writer_lock
from claid_ext.index.manifest import check_same, clear_leftovers, write_manifest
from claid_ext.regions import RegionSource, region_source
from claid_ext.search.fitting import Frozen, final_dim, start_basis

if TYPE_CHECKING:
    from claid_ext.describing import Descriptor
    from claid_ext.detector import Detector

__all__ = ["given_source", "make_empty", "make_folder", "source_of"]


def source_of(
    regions: str | RegionSource, detector: Detector | None, scales: Sequence[float] | None
) -> RegionSource:
    """Return the source of regions that the arguments of `InstanceIndex.create` describe."""
    if isinstance(regions, str):
        return region_source(regions, detector, scales)
    if detector is not None or scales is not None:
        raise ValueError("regions is a source already: it takes no detector and no scales")
    return regions


def given_source(
    path: Path, made: dict[str, Any], detector: Detector | None, scales: Sequence[float] | None
) -> RegionSource | None:
    """Return the source that a detector makes for an index, None without a detector.

    Parameters
    ----------
    path : the index.
    made : what its manifest says of its regions.
    detector, scales : as given to `InstanceIndex.open`.

    Raises
    ------
    IndexMismatchError : the index was made with other scales.
    """
    its_scales = sorted(map(float, made.get("scales", ())))
    if scales is not None and sorted(map(float, scales)) != its_scales:
        check_same(path, its_scales, sorted(scales), "scales")
    if detector is None:
        return None
    return region_source(
        "detect",
        detector,
        its_scales or None,
        with_dummies=made.get("with_dummies", False),
        max_regions=made.get("max_regions"),
    )


def make_folder(
    path: Path,
    source: RegionSource,
    descriptor: Descriptor,
    *,
    factory: str,
    pca: int | None,
    probes: int,
) -> None:
    """Make an empty index in a new or empty folder; arguments as `InstanceIndex.create`.

    Raises
    ------
    ValueError : pca, probes or factory.
    FileExistsError : the folder holds something.
    """
    described = descriptor.manifest()
    dim = described["dim"]
    network = map_descriptor(descriptor)
    if pca is not None and network is None:
        raise ValueError(f'pca is for a descriptor with pooling="whitened", got pca={pca}')
    if pca is not None and pca < 1:
        raise ValueError(f"pca must be at least 1, got {pca}")
    if probes < 1:
        raise ValueError(f"probes must be at least 1, got {probes}")
    check_factory(factory, dim if network is None else final_dim(network, pca))
    options = {
        "regions": source.manifest(),
        "descriptor": described,
        "recipes": {"regions": source.recipe(), "descriptor": descriptor.recipe()},
        "factory": factory,
        "pca": pca,
        "probes": probes,
    }
    basis = start_basis(network, pca) if network else None
    make_empty(path, options, dim if basis is None else basis.vector_dim, Frozen(basis, 0))


def make_empty(path: Path, options: dict[str, Any], dim: int, frozen: Frozen) -> None:
    """Make an empty index in a new or empty folder.

    Parameters
    ----------
    path : the folder.
    options : of its manifest.
    dim : length of its vectors.
    frozen : its basis.

    Raises
    ------
    FileExistsError : the folder holds something.
    """
    path.mkdir(parents=True, exist_ok=True)
    with writer_lock(path):
        clear_leftovers(path)
        EmbeddedStore(path, dim=dim, state=frozen.state()).close()
        write_manifest(path, options)
