"""`Detector`: photos in, trees of regions out, with boxes in the photos' own pixels."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from claid_ext import _detect
from claid_ext._arguments import check_options, check_threads
from claid_ext._coco import mask_runs
from claid_ext.errors import UnreadableImageError
from claid_ext.images import Photo, read_photo
from claid_ext.in_order import in_order
from claid_ext.progress import progress as show_progress
from claid_ext.stage_times import stage
from claid_ext.tree import RegionTree

if TYPE_CHECKING:
    import torch

    from claid_ext.backbones import Backbone

__all__ = ["Detection", "Detector", "DetectorError"]

DetectorError: TypeAlias = UnreadableImageError | ValueError
"""What may be wrong with a single image: it cannot be read, or is too elongated for a grid."""

_OPTIONS = {
    name: parameter.default
    for name, parameter in inspect.signature(_detect.detect).parameters.items()
    if name not in {"features", "grid", "device"}
}
SCALES = (0.1, 10.0)  # least and most
_GPU_BATCH = 16
_READERS = 4


@dataclass(frozen=True, eq=False)
class Detection:
    """The regions of one image.

    Attributes
    ----------
    tree : the regions over the grid of patches.
    image_size : (height, width) of the image in pixels, upright.
    covered : (height, width) in pixels of the part, from the top left corner, that the grid covers:
        the image without the rest of a patch at the bottom and at the right.
    path : the image file, None for an image from memory.
    features : (N, D) torch tensor where `keep_features` asked for it, else None.
    """

    tree: RegionTree
    image_size: tuple[int, int]
    covered: tuple[float, float]
    path: str | None = None
    features: torch.Tensor | None = None

    @property
    def kept(self) -> NDArray[np.int64]:
        """The regions that are not dummies, int64 (K,)."""
        return self.tree.kept

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Boxes of all R regions in the image's pixels, float64 (R, 4), [x0, y0, x1, y1)."""
        return self.tree.pixel_boxes(self.covered)

    def masks(self, indices: Any = None) -> NDArray[np.bool_]:
        """Return masks over the grid of patches, bool (n, H, W), as `RegionTree.masks`."""
        masks: NDArray[np.bool_] = self.tree.masks(indices)
        return masks

    def to_supervision(self, kept_only: bool = True) -> Any:
        """Return the regions as `supervision.Detections`, whose package must be installed.

        As `claid_ext.regions.Regions.to_supervision`, with masks of pixels and, in `data`, also
        "region", each one's number in the tree. `kept_only` leaves dummies out.
        """
        from claid_ext.regions.scales import of_detection

        made = of_detection(self, with_dummies=not kept_only).to_supervision()
        made["region"] = self.kept if kept_only else np.arange(len(self.tree))
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the features, ready for json.dump: what `claid detect` writes.

        `rle` is a region's mask over the grid as COCO's uncompressed RLE: runs of patches column
        by column, the first of them outside. Boxes are in pixels of the image, not rounded.
        """
        tree = self.tree
        rows, columns = (np.arange(side + 1) for side in tree.grid)
        regions = []
        for i, box in enumerate(self.boxes.tolist()):
            runs = mask_runs(tree.masks(i), rows, columns, tree.grid)
            regions.append(
                {
                    "box": box,
                    "level": int(tree.level[i]),
                    "parent": int(tree.parent[i]),
                    "size": int(tree.size[i]),
                    "connectivity": float(tree.connectivity[i]),
                    "dominance": float(tree.dominance[i]),
                    "dummy": bool(tree.dummy[i]),
                    "rle": {"size": list(tree.grid), "counts": runs.tolist()},
                }
            )
        return {
            "image": self.path,
            "image_size": list(self.image_size),
            "grid": list(tree.grid),
            "covered": list(self.covered),
            "regions": regions,
        }


@dataclass(frozen=True)
class _Input:
    """An image made ready for the backbone."""

    pixels: torch.Tensor
    image_size: tuple[int, int]
    covered: tuple[float, float]
    path: str | None


class Detector:
    """Finds the regions of images: backbone, then `claid_ext.detect`.

    Attributes
    ----------
    backbone : the Backbone that gives the features.
    detect_options : options of `claid_ext.detect`, the backbone's defaults among them.
    given_options : those of them that were given.
    batch_size : how many images of equal size go through the backbone at once.
    keep_features : whether detections hold their features.
    scale : how much larger than the paper's size the backbone sees the images.
    """

    def __init__(
        self,
        backbone: Any = "dino_vitb8",
        *,
        weights: str | os.PathLike[str] | None = None,
        device: torch.device | str | None = None,
        patch_size: int | None = None,
        keep_features: bool = False,
        batch_size: int | None = None,
        scale: float = 1.0,
        runtime: str = "auto",
        precision: str = "auto",
        **detect_options: Any,
    ) -> None:
        """Load the backbone.

        Parameters
        ----------
        backbone, weights, device, patch_size : as `claid_ext.backbones.load_backbone`.
        keep_features : whether detections hold their features, (N, D) on the backbone's device.
        batch_size : images of equal size at once; None for 16 on a GPU and 1 on the CPU, where
            more are no faster. The features, and so the regions, may differ in the last bits of
            float32 with the batch, as networks do.
        scale : 1 for the paper's size of the input; more finds smaller things and takes longer: the
            patches grow with its square, a ViT's attention with the square of their number.
        runtime : what runs the backbone: "torch"; "openvino" (extra `[fast]`), for CPUs; or "auto",
            which is OpenVINO on CPUs with bfloat16, where it is installed, else torch.
        precision : "float32", "bfloat16", "int8" (OpenVINO alone; see `calibrate`), or "auto":
            bfloat16 for OpenVINO on CPUs that have it, else float32. Regions differ a little.
        detect_options : options of `claid_ext.detect`; `tau` and `min_patches` are else those that
            suit the backbone at this scale.

        Raises
        ------
        TypeError, ValueError : an option that is unknown or wrong; and as `load_backbone`.
        RuntimeUnavailableError : the runtime or the precision is not here.
        """
        _check_detect_options(detect_options)
        if batch_size is not None and (
            isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1
        ):
            raise ValueError(f"batch_size must be a positive int or None, got {batch_size!r}")
        check_scale(scale)
        from claid_ext.backbones import load_backbone

        self.backbone: Backbone = load_backbone(
            backbone,
            weights,
            device,
            patch_size=patch_size,
            runtime=runtime,
            precision=precision,
        )
        self.scale = float(scale)
        self.given_options = dict(detect_options)
        self.detect_options: dict[str, Any] = {
            "tau": self.backbone.tau if scale <= 1 else self.backbone.enlarged_tau,
            "min_patches": self.backbone.min_patches,
            **detect_options,
        }
        self._on_gpu = str(self.backbone.device).startswith("cuda")
        self.batch_size = batch_size or (_GPU_BATCH if self._on_gpu else 1)
        self.keep_features = keep_features
        # Where detect has no CUDA, features of a GPU go to the CPU for it.
        self._detect_on_gpu = self._on_gpu and bool(_detect.build_info()["cuda"])

    @property
    def workers(self) -> int:
        """How many calls at once make the best of the machine."""
        return self.backbone.runner.workers

    def __repr__(self) -> str:
        """Return backbone and options."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.detect_options.items())
        return f"Detector({self.backbone!r}, {options})"

    def at(self, scale: float) -> Detector:
        """Return the same detector at another scale; they share the backbone."""
        return Detector(
            self.backbone,
            keep_features=self.keep_features,
            batch_size=self.batch_size,
            scale=scale,
            **self.given_options,
        )

    def calibrate(self, photos: Sequence[Any]) -> None:
        """Calibrate a backbone of int8 on 24 of some photos; of another precision, do nothing.

        What comes of it is kept in the user's cache folder, by the weights: later calls, and other
        processes, find it there and look at no photo.

        Parameters
        ----------
        photos : images as for a call, 24 or more, such as those to be looked at.

        Raises
        ------
        ValueError : fewer than 24 photos that can be read.
        RuntimeUnavailableError : NNCF is not installed.
        """
        self.backbone.calibrate(photos)

    def __call__(self, images: Any, progress: bool = False) -> list[Detection]:
        """Find the regions of one image or of many.

        Parameters
        ----------
        images : a path, a PIL image or a uint8 array (H, W[, 3 or 4]); or a sequence of these.
        progress : whether to show a bar on stderr, where that is a terminal.

        Returns
        -------
        A Detection for each image, in their order; a list also for one image.

        Raises
        ------
        UnreadableImageError : an image file that cannot be read.
        TypeError, ValueError : what is no image, or one too elongated for a grid of 65535 patches.
        """
        one = isinstance(images, str | os.PathLike | np.ndarray | Photo) or not isinstance(
            images, Sequence
        )
        many = [images] if one else images
        if len(many) == 1:
            return self._detect_in_order([self._read(many[0])])
        found = self.stream(many)
        bar = show_progress(found, len(many), "detecting", disable=None if progress else True)
        return list(bar)

    def stream(
        self,
        images: Iterable[Any],
        on_error: Callable[[Any, DetectorError], None] | None = None,
    ) -> Iterator[Detection]:
        """Find the regions of any number of images, holding few of them in memory.

        Parameters
        ----------
        images : as for a call, or (name, image) pairs, such as `claid_ext.named_images` gives,
            whose name is the detection's path; read as they are needed, a little ahead of the
            backbone.
        on_error : called with an image, as given, that is left out, and the reason: it cannot be
            read, or is too elongated. None: the error is raised.

        Yields
        ------
        A Detection for each image, in their order.
        """
        window = 4 * self.batch_size if self.batch_size > 1 else 1
        # Pillow decodes without the GIL: while the backbone works, the next images are read.
        readers = _READERS if self._on_gpu else 1
        read = in_order(images, self._read_or_why, workers=readers, ahead=max(window, self.workers))
        coming = _windows(read, window, on_error)
        for found in in_order(coming, self._detect_in_order, workers=self.workers):
            yield from found

    def _read_or_why(self, image: Any) -> tuple[Any, _Input | DetectorError]:
        try:
            return image, self._read(image)
        except (UnreadableImageError, ValueError) as error:
            return image, error

    def _read(self, image: Any) -> _Input:
        with stage("read"):
            photo = read_photo(image)
        try:
            with stage("resize"):
                pixels, covered = self.backbone.preprocess(photo.picture, self.scale)
        except ValueError as error:
            where = "" if photo.path is None else f"{photo.path}: "
            raise ValueError(f"{where}{error}") from None
        return _Input(pixels, photo.size, covered, photo.path)

    def _detect_in_order(self, inputs: list[_Input]) -> list[Detection]:
        """Run batches of equal size, and return the results in the order of `inputs`."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for i, item in enumerate(inputs):
            by_size.setdefault(tuple(item.pixels.shape), []).append(i)
        detections: dict[int, Detection] = {}
        for same in by_size.values():
            for start in range(0, len(same), self.batch_size):
                batch = same[start : start + self.batch_size]
                found = self._detect_batch([inputs[i] for i in batch])
                detections.update(zip(batch, found, strict=True))
        return [detections[i] for i in range(len(inputs))]

    def _detect_batch(self, inputs: list[_Input]) -> list[Detection]:
        import torch

        pixels = torch.stack([item.pixels for item in inputs])
        with stage("backbone"):
            features = self.backbone.features(pixels)
        side = self.backbone.patch_size
        grid = (pixels.shape[2] // side, pixels.shape[3] // side)
        where = features if self._detect_on_gpu else features.cpu()
        with stage("detect"):
            trees = _detect.detect(where, grid, **self.detect_options)
        assert isinstance(trees, list)
        return [
            Detection(
                tree,
                item.image_size,
                item.covered,
                item.path,
                features[i] if self.keep_features else None,
            )
            for i, (tree, item) in enumerate(zip(trees, inputs, strict=True))
        ]


def _windows(
    read: Iterable[tuple[Any, _Input | DetectorError]],
    size: int,
    on_error: Callable[[Any, DetectorError], None] | None,
) -> Iterator[list[_Input]]:
    """Yield inputs, so many at a time; what is none goes to `on_error`, or is raised."""
    window: list[_Input] = []
    for image, made in read:
        if isinstance(made, _Input):
            window.append(made)
        elif on_error is None:
            raise made
        else:
            on_error(image, made)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


def check_scale(scale: Any) -> None:
    """Raise unless a scale is a number from 0.1 to 10.

    Raises
    ------
    TypeError, ValueError : it is not.
    """
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise TypeError(f"scale must be a number, got {scale!r}")
    if not SCALES[0] <= scale <= SCALES[1]:
        raise ValueError(f"scale must be from {SCALES[0]} to {SCALES[1]}, got {scale!r}")


def _check_detect_options(options: dict[str, Any]) -> None:
    """Find a wrong option before the weights are loaded, not after the first image."""
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(f"Detector has no option {name!r}; it has {', '.join(_OPTIONS)}")
    complete = {**_OPTIONS, **options}
    check_threads(complete.pop("threads"))
    check_options(**complete)
