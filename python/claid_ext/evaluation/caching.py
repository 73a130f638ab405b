"""What networks gave, kept on disk: systems that share a network then run it once per photo."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from claid_ext.backbones import Backbone
from claid_ext.baselines.dasr import DasrRegions, Peaks
from claid_ext.descriptors.networks import ConvNetwork
from claid_ext.files import write_whole
from claid_ext.images import read_photo
from claid_ext.regions.value import Regions

if TYPE_CHECKING:
    from PIL import Image

    from claid_ext.backbones.runtimes import Runner
    from claid_ext.images import Photo
    from claid_ext.regions import RegionSource

__all__ = ["ForwardCache"]

Arrays = list[NDArray[Any]]

_COLUMNS = ("boxes", "level", "size", "connectivity", "dominance")


class ForwardCache:
    """A folder of arrays, by a digest of a network's weights and of its input.

    Without a folder it does nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        """Use a folder, which is made when something is first kept there."""
        self.folder = folder
        self._paused = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let networks run each time, as where they are timed."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def arrays(self, key: tuple[Any, ...], make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of a key, made where they are not there yet."""
        if self.folder is None or self._paused:
            return make()
        digest = hashlib.blake2b(digest_size=20)
        for part in key:
            digest.update(part if isinstance(part, bytes) else f"{part} ".encode())
        name = digest.hexdigest()
        path = self.folder / name[:2] / f"{name[2:]}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as content:
                return [content[str(number)] for number in range(len(content.files))]
        made = make()
        write_whole(path, lambda part: _save(part, made))
        return made

    def network(self, network: ConvNetwork) -> ConvNetwork:
        """Return a network whose maps are kept."""
        return _CachedNetwork(network, self)

    def backbone(self, backbone: Backbone) -> Backbone:
        """Return a backbone whose features are kept."""
        weights = f"{backbone.fingerprint} {json.dumps(backbone.running())}"

        def tokens(batch: Tensor) -> Tensor:
            rows = [
                self.arrays(
                    (backbone.name, weights, tuple(row.shape), _bytes(row)),
                    lambda row=row: [backbone.features(row[None])[0].cpu().numpy()],  # type: ignore[misc]
                )
                for row in batch
            ]
            return torch.stack([torch.from_numpy(one) for (one,) in rows]).to(backbone.device)

        return _CachedBackbone(backbone, tokens)

    def source(self, source: RegionSource) -> RegionSource:
        """Return a source whose regions are kept, but for those with tokens."""
        return source if self.folder is None else _CachedSource(source, self)

    def dasr(self, source: DasrRegions) -> DasrRegions:
        """Return a source whose peaks are kept: those of DASR are among those of DASR*."""
        return _CachedDasr(source, self)


class _CachedNetwork(ConvNetwork):
    def __init__(self, inner: ConvNetwork, cache: ForwardCache) -> None:
        super().__init__(
            inner.module,
            name=inner.name,
            layers=inner.layers,
            mean=inner.mean,
            std=inner.std,
            octaves=inner.octaves,
            device=inner.device,
        )
        self.runner = inner.runner
        self._cache = cache
        self._key = (
            inner.name,
            inner.layers,
            inner.fingerprint,
            json.dumps(inner.runner.manifest()),
        )

    def forward(self, batch: Tensor) -> list[Tensor]:
        """Return the maps of a batch, each row's from the folder or made for it alone."""
        if self._cache.folder is None:
            return super().forward(batch)
        rows = [
            self._cache.arrays(
                (*self._key, tuple(row.shape), _bytes(row)),
                lambda row=row: self._of_one(row),  # type: ignore[misc]
            )
            for row in batch
        ]
        return [
            torch.stack([torch.from_numpy(one) for one in layer]).to(self.device)
            for layer in zip(*rows, strict=True)
        ]

    def _of_one(self, row: Tensor) -> Arrays:
        return [layer[0].cpu().numpy() for layer in super().forward(row[None])]


class _CachedRunner:
    """A `Runner` whose tokens come from a folder; in a manifest it is the one that made them."""

    workers = 1
    calibrated = True

    def __init__(self, inner: Runner, tokens: Callable[[Tensor], Tensor]) -> None:
        self.choice = inner.choice
        self.calibrate = inner.calibrate
        self.manifest = inner.manifest
        self._tokens = tokens

    def __call__(self, batch: Tensor) -> Tensor:
        return self._tokens(batch)


class _CachedBackbone(Backbone):
    """Another's features from a folder; in a manifest and a recipe it is that other."""

    def __init__(self, inner: Backbone, tokens: Callable[[Tensor], Tensor]) -> None:
        super().__init__(
            inner.name,
            tokens,
            patch_size=inner.patch_size,
            tau=inner.tau,
            min_patches=inner.min_patches,
            enlarged_tau=inner.enlarged_tau,
            mean=inner.mean,
            std=inner.std,
            device=inner.device,
            weights=inner.weights,
            runner=_CachedRunner(inner.runner, tokens),
        )
        self._inner = inner

    @property
    def fingerprint(self) -> str:
        return self._inner.fingerprint


class _CachedSource:
    """Another source's regions from a folder; in a manifest and a recipe it is that other."""

    def __init__(self, inner: RegionSource, cache: ForwardCache) -> None:
        self.inner = inner
        self.name = inner.name
        self._cache = cache
        self._key = json.dumps(inner.manifest(), sort_keys=True)

    def __call__(self, images: Sequence[Any]) -> list[Regions]:
        return [self._regions(read_photo(image)) for image in images]

    def manifest(self) -> dict[str, Any]:
        return self.inner.manifest()

    def recipe(self) -> dict[str, Any] | None:
        return self.inner.recipe()

    def _regions(self, photo: Photo) -> Regions:
        def make() -> Arrays:
            (found,) = self.inner([photo])
            covered = np.array([] if found.covered is None else found.covered, np.float64)
            masks = np.zeros(0, bool) if found.masks is None else found.masks
            return [*(getattr(found, name) for name in _COLUMNS), masks, covered]

        # By the file too: regions that somebody else found are known by their photo's name.
        key = (self._key, photo.path or "", photo.picture.size, photo.picture.tobytes())
        boxes, level, size, connectivity, dominance, masks, covered = self._cache.arrays(key, make)
        return Regions(
            photo.size,
            boxes,
            level,
            size,
            connectivity,
            dominance,
            masks=masks if masks.ndim == 3 else None,
            covered=(float(covered[0]), float(covered[1])) if len(covered) else None,
        )


class _CachedDasr(DasrRegions):
    def __init__(self, inner: DasrRegions, cache: ForwardCache) -> None:
        super().__init__(inner.network, inner.name)
        self._cache = cache
        self._all = DasrRegions(inner.network, "dasr_star")
        self._weights = inner.network.fingerprint

    def peaks(self, picture: Image.Image) -> Peaks:
        def make() -> Arrays:
            boxes, scores, mean = self._all.peaks(picture)
            return [boxes, scores, np.array(mean)]

        if self._cache.folder is None or self._cache._paused:
            return super().peaks(picture)
        key = ("dasr", self._weights, picture.size, picture.tobytes())
        boxes, scores, mean = self._cache.arrays(key, make)
        return Peaks(boxes, scores, float(mean))


def _bytes(row: Tensor) -> bytes:
    return row.cpu().contiguous().numpy().tobytes()


def _save(path: Path, arrays: Arrays) -> None:
    with path.open("wb") as file:
        named: dict[str, Any] = {str(number): one for number, one in enumerate(arrays)}
        np.savez(file, **named)
