"""Regions of the peers on patch features (`BASELINES`) as a `RegionSource`, to be searched by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from claid_ext.baselines import BASELINES
from claid_ext.choices import MAX_REGIONS
from claid_ext.images import read_photo
from claid_ext.regions.scales import join_scales
from claid_ext.regions.thinning import thin

if TYPE_CHECKING:
    from claid_ext.backbones import Backbone
    from claid_ext.regions.value import Regions

__all__ = ["PeerRegions"]


class PeerRegions:
    """What a peer finds on a backbone's features, without the dummies of CLAID (NCut).

    A photo in which it finds nothing gets its whole area.
    """

    def __init__(
        self, backbone: Backbone, peer: str, max_regions: int | None = MAX_REGIONS
    ) -> None:
        """Choose a peer.

        Parameters
        ----------
        backbone : gives the features, and the peer's tau and min_patches.
        peer : a key of `BASELINES`.
        max_regions : as of `claid_ext.regions.region_source`.

        Raises
        ------
        ValueError : no such peer.
        """
        if peer not in BASELINES:
            raise ValueError(f"peer must be one of {', '.join(BASELINES)}, got {peer!r}")
        self.backbone = backbone
        self.name = peer
        self.max_regions = max_regions
        common = {"tau": backbone.tau, "min_patches": backbone.min_patches}
        taken = BASELINES[peer].options
        self.options = {name: value for name, value in common.items() if name in taken}

    def __call__(self, images: Sequence[Any]) -> list[Regions]:
        """Return the regions of each image, as `RegionSource`."""
        return [self._regions(image) for image in images]

    def manifest(self) -> dict[str, Any]:
        """Return the peer, its options, and the backbone and its weights."""
        return {
            "name": self.name,
            "backbone": self.backbone.name,
            "weights": self.backbone.fingerprint,
            "options": self.options,
            "max_regions": self.max_regions,
        }

    def recipe(self) -> None:
        """None: its backbone is an object."""

    def _regions(self, image: Any) -> Regions:
        from claid_ext.detector import Detection

        photo = read_photo(image)
        pixels, covered = self.backbone.preprocess(photo.picture)
        side = self.backbone.patch_size
        grid = (pixels.shape[1] // side, pixels.shape[2] // side)
        features = self.backbone.features(pixels[None])[0].float().cpu().numpy()
        tree = BASELINES[self.name].detect(features, grid, **self.options)
        found = join_scales([Detection(tree, photo.size, covered, photo.path)], [1.0])
        if self.max_regions is None or len(found) <= self.max_regions:
            return found
        return found.take(thin(found.boxes, self.max_regions))
