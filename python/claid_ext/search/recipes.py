"""From the recipes in a manifest to what finds and describes regions.

A recipe says by name and version how a part is made. The names here are the manifest's own: they
stay the same when a constructor's arguments are renamed, and older versions are still read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from claid_ext.describing import RegionDescriber
from claid_ext.errors import (
    IndexMismatchError,
    InvalidIndexError,
    RuntimeUnavailableError,
)
from claid_ext.index.manifest import check_same

if TYPE_CHECKING:
    import torch

    from claid_ext.describing import Descriptor
    from claid_ext.descriptors.basis import Basis
    from claid_ext.regions import RegionSource

    Recipe = Mapping[str, Any]

__all__ = ["DEFAULT_RUNNING", "Networks", "Running", "make_descriptor", "make_source"]


class Running(NamedTuple):
    """Where and how networks run; it changes no record, but for a runtime that is allowed.

    `device` is torch's, None for a GPU where there is one; `threads` and `batch_size` are of the
    detector, None for its defaults. `runtime` and `precision` are as `claid_ext.Detector`, None for
    those of the recipe; others than in the manifest are an error, unless `allow_runtime`.
    """

    device: torch.device | str | None = None
    threads: int | None = None
    batch_size: int | None = None
    runtime: str | None = None
    precision: str | None = None
    allow_runtime: bool = False

    def choice(self, recipe: Recipe) -> dict[str, Any]:
        """Return runtime and precision of a recipe's network, as arguments.

        Where those of the recipe are not here and others are allowed, they are what suits this
        machine.

        Raises
        ------
        RuntimeUnavailableError : they are not here, and no others are allowed.
        """
        made = recipe.get("runtime", "torch"), recipe.get("precision", "float32")
        if self.runtime is not None:
            asked = self.runtime, self.precision or "auto"
        else:
            asked = made[0], self.precision or made[1]
        from claid_ext.backbones.runtimes import choose

        try:
            choice = choose(*asked, self.device)
        except (RuntimeUnavailableError, ValueError) as error:
            if asked != made:
                raise
            if not self.allow_runtime:
                raise RuntimeUnavailableError(
                    f"the networks were run by {', '.join(made)}, and cannot be here: {error}. "
                    "--allow-runtime (allow_runtime=True) runs them by what is here; what is "
                    "described then is a little unlike what is stored"
                ) from error
            choice = choose("auto", "auto", self.device)
        return choice._asdict()


DEFAULT_RUNNING = Running()


def make_source(recipe: Recipe, running: Running = DEFAULT_RUNNING) -> RegionSource:
    """Make a source of regions from its recipe.

    Raises
    ------
    InvalidIndexError : a recipe of unknown name or version.
    """
    source: RegionSource = _maker(_SOURCES, recipe)(recipe, running)
    return source


def make_descriptor(recipe: Recipe, running: Running = DEFAULT_RUNNING) -> Descriptor:
    """Make a descriptor from its recipe, as `make_source`."""
    descriptor: Descriptor = _maker(_DESCRIPTORS, recipe)(recipe, running)
    return descriptor


class Networks:
    """The describer of an index, made from the manifest's recipes when it is first needed."""

    def __init__(
        self,
        folder: Path | str,
        manifest: Recipe,
        *,
        source: RegionSource | None = None,
        descriptor: Descriptor | None = None,
        running: Running = DEFAULT_RUNNING,
    ) -> None:
        """Keep the parts that are given, which must match the manifest; the others are made later.

        Raises
        ------
        IndexMismatchError : the index was made with others.
        """
        self._folder = folder
        self._manifest = manifest
        self._running = running
        self._source = source
        self._descriptor = descriptor
        if source is not None:
            self._check("regions", source)
        if descriptor is not None:
            self._check("descriptor", descriptor)

    @property
    def source(self) -> RegionSource:
        """What finds regions in images."""
        if self._source is None:
            source = make_source(self._recipe("regions"), self._running)
            self._check("regions", source)
            self._source = source
        return self._source

    @property
    def descriptor(self) -> Descriptor:
        """What describes regions."""
        if self._descriptor is None:
            descriptor = make_descriptor(self._recipe("descriptor"), self._running)
            self._check("descriptor", descriptor)
            self._descriptor = descriptor
        return self._descriptor

    def describer(self, basis: Basis | None) -> RegionDescriber:
        """Both, with the index's basis, as what turns photos into records."""
        return RegionDescriber(self.source, self.descriptor, basis)

    def _check(self, part: str, made: RegionSource | Descriptor) -> None:
        check_same(
            self._folder,
            self._manifest[part],
            made.manifest(),
            part,
            allow_runtime=self._running.allow_runtime,
        )

    def _recipe(self, part: str) -> Recipe:
        recipe: Recipe | None = self._manifest["recipes"][part]
        if recipe is None:
            what = "detector" if part == "regions" else part
            raise IndexMismatchError(
                f"{self._folder} was made with a {what} of your own: give it when opening"
            )
        return recipe


def _maker(makers: Mapping[tuple[str, int], Callable[..., Any]], recipe: Recipe) -> Any:
    key = recipe.get("recipe"), recipe.get("version")
    if key not in makers:
        known = ", ".join(f"{name} {version}" for name, version in makers)
        raise InvalidIndexError(
            f"the manifest asks for the recipe {key[0]} {key[1]}; this release knows {known}"
        )
    return makers[key]  # type: ignore[index]


def _detected(recipe: Recipe, running: Running) -> RegionSource:
    from claid_ext.detector import Detector
    from claid_ext.regions import DetectedRegions

    backbone = recipe["backbone"]
    options = dict(recipe["options"])
    if running.threads is not None:
        options["threads"] = running.threads
    detector = Detector(
        backbone["name"],
        weights=backbone["weights"],
        device=running.device,
        batch_size=running.batch_size,
        **running.choice(recipe),
        **options,
    )
    return DetectedRegions(
        detector,
        recipe["scales"],
        with_dummies=recipe["with_dummies"],
        max_regions=recipe["max_regions"],
    )


def _boxes(recipe: Recipe, _: Running) -> RegionSource:
    from claid_ext.regions import BoxRegions

    return BoxRegions(recipe["name"], recipe["max_regions"])


def _file(recipe: Recipe, _: Running) -> RegionSource:
    from claid_ext.regions import FileRegions

    return FileRegions(
        recipe["file"],
        recipe["images_json"],
        min_score=recipe["min_score"],
        masks=recipe["masks"],
        max_regions=recipe["max_regions"],
        sha256=recipe["sha256"],
    )


def _network(recipe: Recipe, running: Running) -> Descriptor:
    from claid_ext.descriptors import RegionDescriptor

    return RegionDescriptor(
        recipe["name"],
        weights=recipe["weights"],
        layer=recipe["layers"],
        octaves=recipe["octaves"],
        pooling=recipe["pooling"],
        device=running.device,
        **running.choice(recipe),
    )


def _tokens(recipe: Recipe, running: Running) -> Descriptor:
    from claid_ext.backbones import load_backbone
    from claid_ext.descriptors import RegionDescriptor

    backbone = recipe["backbone"]
    loaded = load_backbone(
        backbone["name"],
        weights=backbone["weights"],
        device=running.device,
        **running.choice(recipe),
    )
    return RegionDescriptor(loaded, pooling=recipe["pooling"])


_SOURCES = {("detect", 1): _detected, ("boxes", 1): _boxes, ("file", 1): _file}
_DESCRIPTORS = {("network", 1): _network, ("tokens", 1): _tokens}
