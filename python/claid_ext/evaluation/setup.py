"""What is measured: where regions come from, how they are described, and the results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from claid_ext.choices import MAX_REGIONS, REFINE
from claid_ext.errors import ClaidError
from claid_ext.evaluation.datasets import SearchSet
from claid_ext.evaluation.scoring import Scores

__all__ = ["LeftOutError", "Measure", "Measurement", "RegionsFile", "Setup"]

_ON_FEATURES = ("claid_ncut", "maskcut", "tokencut")


class LeftOutError(ClaidError, RuntimeError):
    """A system cannot be run here: a file is missing, or a network does not suit it."""


@dataclass(frozen=True)
class RegionsFile:
    """Regions from a file: arguments of `claid_ext.regions.region_source` for "file"."""

    file: str | os.PathLike[str]
    images_json: str | os.PathLike[str] | None = None
    min_score: float | None = None
    masks: bool = False

    def fingerprint(self) -> str:
        """Return a digest of what is in the files, and of the options."""
        digest = hashlib.sha256()
        for path in [Path(its) for its in (self.file, self.images_json) if its is not None]:
            for one in sorted(path.glob("*.json")) if path.is_dir() else [path]:
                digest.update(one.name.encode() + b"\0" + one.read_bytes())
        return f"{digest.hexdigest()} {self.min_score} {self.masks}"


@dataclass(frozen=True)
class Setup:
    """One configuration of detector, descriptor and index; the defaults are the paper's.

    regions, vectors, saliency: as of `claid_ext.evaluation.systems.System`. regions_file: where
    regions are "file". whitening: a folder of photos that R-MAC and CAM-weight learn their
    whitening from. salgan_weights: SalGAN's file. backbone, weights: of the detector.
    scales: of the detector, None for what suits its backbone. descriptor, descriptor_weights,
    pooling, layer, octaves: of the descriptor; the descriptor "tokens" is the detector's own
    network. device: of both networks. runtime, precision: what runs the backbone and our
    descriptor, as `claid_ext.Detector`; other systems' networks are run by torch. batch_size: of
    the detector, None for its default. pca: dimensions of the index's whitening, None for none.
    detect: options of `claid_ext.detect` that differ from the backbone's own. dummies: whether
    dummy regions get a vector too. max_regions: how many regions of an image get a vector at
    most. refine: in how many images the box is searched for, where the descriptor is "whitened"
    or the method re-ranks. expand: by how many images queries are expanded; 0 for none.
    """

    regions: str = "detect"
    vectors: str = "network"
    saliency: str | None = None
    whitening: str | None = None
    salgan_weights: str | None = None
    backbone: str = "dino_vitb8"
    weights: str | None = None
    scales: tuple[float, ...] | None = None
    descriptor: str = "resnet50"
    descriptor_weights: str | None = None
    pooling: str = "gem"
    layer: tuple[str, ...] | None = None
    octaves: int | None = None
    device: str | None = None
    runtime: str = "torch"
    precision: str = "float32"
    batch_size: int | None = None
    pca: int | None = None
    detect: Mapping[str, Any] = field(default_factory=dict)
    dummies: bool = False
    max_regions: int | None = MAX_REGIONS
    refine: int = REFINE
    expand: int = 0
    regions_file: RegionsFile | None = None

    def but(self, **changes: Any) -> Setup:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def folder_name(self, set_name: str) -> str:
        """Name the index folder of a set under this setup: equal setups give equal names."""
        fields = {**asdict(self), "detect": dict(self.detect)}
        del fields["regions_file"]
        if self.regions_file is not None and self.regions == "file":
            fields["regions_file"] = self.regions_file.fingerprint()
        for name in ("device", "batch_size", "refine", "expand"):  # of computing and searching it
            del fields[name]
        fields["detect"].pop("threads", None)
        if self.regions != "detect":  # rivals have no detector, unless it describes
            fields["detect"], fields["scales"], fields["max_regions"] = {}, None, None
            if self.regions in {"file", *_ON_FEATURES}:  # which may find any number of them
                fields["max_regions"] = self.max_regions
            if self.descriptor != "tokens" and self.regions not in _ON_FEATURES:
                fields["backbone"] = fields["weights"] = None
        if self.vectors == "network":
            fields["whitening"] = fields["salgan_weights"] = None
        else:  # they pool in their own way
            fields["pooling"] = fields["pca"] = None
            fields["vectors"] = self.vectors.removesuffix(" boxes")  # the same, ranked otherwise
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]
        plain = "".join(c if c.isalnum() or c == "-" else "_" for c in set_name)
        what = self.regions if self.vectors == "network" else fields["vectors"]
        return f"{plain}-{what}-{self.descriptor.replace('/', '_')}-{digest}"

    @property
    def finds_boxes(self) -> bool:
        """Whether its answers say where a thing is; a vector for all of a photo does not."""
        return self.vectors not in {"rmac", "cam", "blcf"}


@dataclass(frozen=True)
class Measurement:
    """The results of one setup on one set.

    scores: as `score` gives them, of both stages where there are two. expanded: the same with
    queries expanded; None where that was not asked for. features: vectors in the index. images:
    images in it. milliseconds: by stage; per image while the index is built, per query while it is
    searched. unreadable: images of the set that could not be read, and so cannot be found. stage_1,
    stage_1_expanded: the scores of stage 1 alone, None where there is no other. words: of BLCF's
    vocabulary. bytes_per_image, largest_bytes: of the images' records, their mean and the largest.
    """

    scores: Scores
    features: int
    images: int
    expanded: Scores | None = None
    stage_1: Scores | None = None
    stage_1_expanded: Scores | None = None
    words: int | None = None
    bytes_per_image: float = 0.0
    largest_bytes: int = 0
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    unreadable: int = 0

    @property
    def features_per_image(self) -> float:
        """Mean number of vectors per image."""
        return self.features / self.images if self.images else float("nan")

    @property
    def final(self) -> Scores:
        """The scores of all that was asked for."""
        return self.scores if self.expanded is None else self.expanded

    @property
    def milliseconds_per_image(self) -> float:
        """Time to read, detect and describe an image."""
        return sum(self.milliseconds.get(stage, 0.0) for stage in ("read", "regions", "describe"))


Measure = Callable[[SearchSet, Setup], Measurement]
