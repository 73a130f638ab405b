"""The networks of setups, loaded once for those that share them, and the engines of systems."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from claid_ext.evaluation.caching import ForwardCache
from claid_ext.evaluation.engines import BagEngine, CamEngine, Engine, IndexEngine
from claid_ext.evaluation.setup import LeftOutError, Setup
from claid_ext.evaluation.systems import PEERS, WHITENED
from claid_ext.files import write_whole

if TYPE_CHECKING:
    from claid_ext.backbones import Backbone
    from claid_ext.describing import Descriptor
    from claid_ext.descriptors import RegionDescriptor
    from claid_ext.descriptors.cam_weight import CamWeight
    from claid_ext.descriptors.classifier import GapClassifier
    from claid_ext.descriptors.networks import ConvNetwork
    from claid_ext.descriptors.rmac import RegionMac, RMac
    from claid_ext.descriptors.saliency import Saliency
    from claid_ext.detector import Detector
    from claid_ext.evaluation.datasets import SearchSet
    from claid_ext.regions import RegionSource

__all__ = ["Maker"]

R = TypeVar("R")

# The fields of a setup that each network is made by.
_FIELDS = {
    "backbone": ("backbone", "weights", "device", "runtime", "precision"),
    "detector": ("backbone", "weights", "device", "runtime", "precision", "batch_size", "detect"),
    "descriptor": (
        "descriptor",
        "descriptor_weights",
        "backbone",
        "weights",
        "pooling",
        "layer",
        "octaves",
        "device",
        "runtime",
        "precision",
    ),
    "classifier": ("descriptor", "descriptor_weights", "device"),
    "local": ("descriptor", "descriptor_weights", "device"),
    "whole": ("descriptor", "descriptor_weights", "device"),
    "last": ("descriptor", "descriptor_weights", "layer", "device"),
    "saliency": ("saliency", "salgan_weights", "device"),
}


@dataclass
class Maker:
    """Makes the engine of a setup on a set.

    work: the folder of the indexes. cache: where what networks give is kept.
    """

    work: Path
    cache: ForwardCache
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)
    _photos: list[Path] = field(default_factory=list, repr=False)  # that int8 is calibrated on

    def engine(self, search_set: SearchSet, setup: Setup) -> Engine:
        """Make the engine, which is then to be filled.

        Raises
        ------
        LeftOutError : a file or package it needs is missing, or a network does not suit it.
        WeightsUnavailableError : a network's weights cannot be had here.
        """
        from claid_ext.search import InstanceIndex

        _check_given(setup)
        self._photos = list(search_set.images)
        folder = self.work / setup.folder_name(search_set.name)
        if setup.vectors == "blcf":
            from claid_ext.descriptors.blcf import Blcf

            return BagEngine(
                folder, Blcf(self._local(setup), self._saliency(setup)), search_set.images
            )
        descriptor = self.descriptor(setup)
        index = InstanceIndex.open_or_create(
            folder,
            descriptor=descriptor,
            regions=self.source(setup),
            pca=setup.pca if setup.vectors == "network" else None,
        )
        if setup.vectors == "cam boxes":
            from claid_ext.descriptors.cam_weight import CamWeight

            assert isinstance(descriptor, CamWeight)
            return CamEngine(index, search_set.images, descriptor)
        return IndexEngine(index, search_set.images)

    def source(self, setup: Setup) -> RegionSource:
        """Make what finds a setup's regions."""
        made = self._source(setup)
        # The tokens of a detector go on to its descriptor, and are not kept.
        return made if setup.descriptor == "tokens" else self.cache.source(made)

    def _source(self, setup: Setup) -> RegionSource:
        from claid_ext.regions import region_source

        if setup.regions in PEERS:
            from claid_ext.baselines.peer_regions import PeerRegions

            return PeerRegions(self._backbone(setup), setup.regions, setup.max_regions)
        if setup.regions in {"dasr", "dasr_star"}:
            from claid_ext.baselines.dasr import DasrRegions

            return self.cache.dasr(DasrRegions(self._whole_last(setup), setup.regions))
        detector = self._detector(setup) if setup.regions == "detect" else None
        return region_source(
            setup.regions,
            detector,
            setup.scales if detector is not None else None,
            with_dummies=setup.dummies and bool(detector),
            max_regions=setup.max_regions,
            **(
                asdict(setup.regions_file) if setup.regions_file and setup.regions == "file" else {}
            ),
        )

    def descriptor(self, setup: Setup) -> Descriptor:
        """Make what describes a setup's regions, its whitening learned."""
        if setup.vectors == "network":
            return self._region_descriptor(setup)
        if setup.vectors in {"cam", "cam boxes"}:
            from claid_ext.descriptors.cam_weight import CamWeight

            return self._whitened(CamWeight(self._classifier(setup)), setup)
        from claid_ext.descriptors.rmac import RegionMac, RMac

        kind = {"rmac": RMac, "mac": RegionMac}[setup.vectors]
        return self._whitened(kind(self._last(setup)), setup)

    def _whitened(self, made: R, setup: Setup) -> R:
        """Learn a descriptor's whitening, or take it from where an earlier run has left it."""
        from claid_ext.descriptors.basis import Basis
        from claid_ext.images import find_images
        from claid_ext.index.paths import file_state

        assert setup.whitening is not None, "checked before"
        describe: RMac | RegionMac | CamWeight = made  # type: ignore[assignment]
        photos = [str(path) for path in find_images([setup.whitening])]
        key = [describe.manifest(), [[path, *file_state(path)] for path in photos]]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
        path = self.work / f"whitening-{digest}.basis"
        if path.is_file():
            describe.whitening = Basis.from_bytes(path.read_bytes(), str(path))
        else:
            describe.fit(photos)
            assert describe.whitening is not None
            content = describe.whitening.to_bytes()
            write_whole(path, lambda part: part.write_bytes(content))
        return made

    def _detector(self, setup: Setup) -> Detector:
        from claid_ext.detector import Detector

        backbone, tokens = self._backbone(setup), setup.descriptor == "tokens"
        return self._keep(
            "detector",
            setup,
            lambda: Detector(
                backbone, batch_size=setup.batch_size, keep_features=tokens, **setup.detect
            ),
            (id(backbone), tokens),
        )

    def _region_descriptor(self, setup: Setup) -> RegionDescriptor:
        from claid_ext.descriptors import RegionDescriptor
        from claid_ext.descriptors.networks import ConvNetwork

        def make() -> RegionDescriptor:
            if setup.descriptor == "tokens":
                return RegionDescriptor(self._backbone(setup), pooling=setup.pooling)
            made = RegionDescriptor(
                setup.descriptor,
                weights=setup.descriptor_weights,
                pooling=setup.pooling,
                layer=setup.layer,
                octaves=setup.octaves,
                device=setup.device,
                runtime=setup.runtime,
                precision=setup.precision,
            )
            made.calibrate(self._photos)
            if isinstance(made.network, ConvNetwork):
                made.network = self.cache.network(made.network)
            return made

        return self._keep("descriptor", setup, make)

    def _backbone(self, setup: Setup) -> Backbone:
        from claid_ext.backbones import load_backbone

        def make() -> Backbone:
            made = load_backbone(
                setup.backbone,
                setup.weights,
                setup.device,
                runtime=setup.runtime,
                precision=setup.precision,
            )
            made.calibrate(self._photos)
            return self.cache.backbone(made)

        return self._keep("backbone", setup, make)

    def _classifier(self, setup: Setup) -> GapClassifier:
        from claid_ext.descriptors.classifier import GapClassifier, gap_classifier

        def make() -> GapClassifier:
            made = _suited(gap_classifier, setup)
            return GapClassifier(self.cache.network(made.network), made.weight, made.bias)

        return self._keep("classifier", setup, make)

    def _local(self, setup: Setup) -> ConvNetwork:
        """The network of the layer of stride 16."""
        from claid_ext.descriptors.classifier import local_network

        return self._keep("local", setup, lambda: self.cache.network(_suited(local_network, setup)))

    def _last(self, setup: Setup) -> ConvNetwork:
        """The descriptor's own network; its last layer is what R-MAC pools."""
        from claid_ext.descriptors.networks import timm_network

        def make() -> ConvNetwork:
            if setup.descriptor == "tokens":
                raise LeftOutError("it needs a convolutional network as --descriptor")
            return self.cache.network(
                timm_network(setup.descriptor, setup.descriptor_weights, setup.layer, setup.device)
            )

        return self._keep("last", setup, make)

    def _whole_last(self, setup: Setup) -> ConvNetwork:
        """The network to its very last map, whose peaks DASR sends back."""
        from claid_ext.descriptors.classifier import local_network

        return self._keep("whole", setup, lambda: _suited(local_network, setup))

    def _saliency(self, setup: Setup) -> Saliency | None:
        from claid_ext.descriptors.saliency import FocusSaliency, SalGan

        if setup.saliency is None:
            return None
        if setup.saliency == "focus":
            return self._keep("saliency", setup, lambda: FocusSaliency(setup.device))
        weights = setup.salgan_weights
        assert weights is not None, "checked before"
        return self._keep("saliency", setup, lambda: SalGan(weights, setup.device))

    def _keep(self, kind: str, setup: Setup, make: Callable[[], R], extra: Any = None) -> R:
        """Return a network of a setup, that of the setup before if it is the same."""
        key = [*(repr(getattr(setup, name)) for name in _FIELDS[kind]), extra]
        if kind not in self._loaded or self._loaded[kind][0] != key:
            self._loaded.pop(kind, None)  # before the next is made: two may not fit a device
            self._loaded[kind] = (key, make())
        made: R = self._loaded[kind][1]
        return made


def _check_given(setup: Setup) -> None:
    """Find out what a setup lacks before its networks are loaded."""
    if setup.regions == "file" and setup.regions_file is None:
        raise LeftOutError("no boxes of a detector: --regions-file FILE")
    if setup.vectors in WHITENED and setup.whitening is None:
        raise LeftOutError("no photos to learn its whitening from: --whitening DIR")
    if setup.saliency == "salgan" and setup.salgan_weights is None:
        raise LeftOutError("no weights of SalGAN's generator: --salgan FILE")


def _suited(make: Callable[..., R], setup: Setup) -> R:
    """Make a network by its name, or say that it does not suit the system."""
    try:
        return make(setup.descriptor, setup.descriptor_weights, setup.device)
    except ValueError as error:
        raise LeftOutError(str(error)) from error
