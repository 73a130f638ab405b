"""Fit the basis that the package ships for efficientnet_lite0, from the photos of a folder.

    python bench/fit_basis.py ../shared/data/detect/images             # writes the package's file
    python bench/fit_basis.py FOLDER --output other.basis --check      # compares, writes nothing

It holds statistics of the cells of all photos (mean, principal axes, centroids), no picture. Run
twice on one machine it writes the same bytes; another BLAS may differ in the last digits. An index
of 50 photos and more fits a basis of its own. Never fit this one to photos of a test set.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import claid_ext
import numpy as np
from claid_ext import RegionDescriptor
from claid_ext.descriptors.basis import Basis
from claid_ext.descriptors.maps import photo_maps
from claid_ext.images import find_images, load_image

NETWORK = "efficientnet_lite0"
SHIPPED = Path(claid_ext.__file__).parent / "descriptors" / "data" / f"{NETWORK}.basis"
TOLERANCE = 1e-4  # of the mean and the variances, between two machines


def fit(folder: Path) -> Basis:
    """Fit to all cells of all photos in a folder."""
    network = RegionDescriptor(NETWORK).network
    layers: list[list[np.ndarray]] = [[] for _ in network.layers]
    photos = find_images([folder])
    for photo in photos:
        (maps,) = photo_maps(network, [load_image(photo)])
        for cells, one in zip(layers, maps, strict=True):
            cells.append(one.values.flatten(1).T.cpu().numpy())
    joined = [np.concatenate(cells) for cells in layers]
    shapes = ", ".join(f"{len(cells)} x {cells.shape[1]}" for cells in joined)
    print(f"{len(photos)} photos, cells: {shapes}", file=sys.stderr)
    return Basis.fit(joined, network=network.fingerprint)


def differences(one: Basis, other: Basis) -> list[str]:
    """What two bases differ in by more than rounding."""
    found = []
    if one.network != other.network:
        found.append("the network's weights")
    for number, (a, b) in enumerate(zip(one.layers, other.layers, strict=True)):
        for name in ("mean", "variances"):
            gap = np.abs(getattr(a, name) - getattr(b, name)).max()
            if gap > TOLERANCE * np.abs(getattr(a, name)).max():
                found.append(f"{name} of layer {number} by {gap:.3g}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="photos")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="default: the package's file")
    parser.add_argument("--check", action="store_true", help="compare with the file, write nothing")
    args = parser.parse_args()
    start = time.perf_counter()
    basis = fit(args.folder)
    content = basis.to_bytes()
    print(f"{len(content)} bytes, {time.perf_counter() - start:.0f} s", file=sys.stderr)
    if not args.check:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_bytes(content)
        return
    kept = Basis.from_bytes(args.output.read_bytes())
    if kept.fingerprint == basis.fingerprint:
        print("the same bytes")
    elif wrong := differences(kept, basis):
        sys.exit(f"{args.output} differs in {', '.join(wrong)}")
    else:
        print("the same but for rounding")


if __name__ == "__main__":
    main()
